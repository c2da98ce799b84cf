//! One connection, fed as the kernel half feeds it.

use observer_ebpf::layout::connection::{Connection, FLAG_ENCRYPTED};
use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::websocket::layout::StreamCounters;
use observer_ebpf::stream::bytes::ITERATIONS_MAX;
use observer_ebpf::stream::session::Session;

use super::queues::Queues;
use super::{Buffers, Extension, Handshake, Keys, Labels};

/// A connection as seen from one end.
#[derive(Clone)]
pub(crate) struct Observed {
    pub(crate) session: Session,
    pub(crate) connection: Connection,
    pub(crate) role: Role,
    /// Bytes of each buffer that a call's bytes lie in.
    pub(crate) buffer: u32,
    /// The same for what tells the protocol of a new connection: it is looked for in the first buffer only.
    pub(crate) first_buffer: u32,
    /// What the parser sees where it must not look.
    pub(crate) poison: u8,
    pub(crate) thresholds: Thresholds,
    /// When the next call is.
    pub(crate) now_ns: u64,
    /// Whether calls that need no look are passed, as the kernel half does.
    pub(crate) passing: bool,
    pub(crate) desyncs: Vec<Desync>,
    /// By direction.
    pub(crate) oversized: [Vec<(u64, u32)>; 2],
    /// The time of day; 0 where it is not known.
    pub(crate) wall_ns: u64,
    pub(crate) keys: Keys,
    pub(crate) labels: Labels,
    pub(crate) queues: Queues,
    /// Looks at bytes so far.
    pub(crate) looks: u32,
    /// What records have told of the plaintext; unknown of what moves on a socket.
    told: Protocol,
}

impl Observed {
    /// From its first byte on.
    pub(crate) fn new(role: Role) -> Self {
        Self::with(&Session::new(role), role)
    }

    /// The plaintext of an encrypted connection, of which records have told a protocol: from its first byte on, or in the
    /// middle.
    pub(crate) fn inside(role: Role, told: Protocol, in_the_middle: bool) -> Self {
        let mut observed = Self::new(role);
        observed.session.start_inside(told as u8, role, in_the_middle);
        observed.connection.flags |= FLAG_ENCRYPTED;
        observed.connection.protocol = told as u8;
        observed.told = told;
        observed
    }

    /// Two connections alike, to see whole calls and the same ones split.
    pub(crate) fn whole_and_split(role: Role, passing: bool) -> (Self, Self) {
        let (mut whole, mut split) = (Self::new(role), Self::new(role));
        whole.passing = false;
        split.passing = passing;
        split.poison = 0x5A;
        (whole, split)
    }

    /// First seen in the middle.
    pub(crate) fn adopted(role: Role) -> Self {
        Self::with(&Session::adopted(role), role)
    }

    /// Just after its handshake.
    pub(crate) fn upgraded(role: Role, deflate: bool) -> Self {
        Self::agreed(role, if deflate { Extension::Deflate } else { Extension::None })
    }

    /// Just after a handshake that agreed to an extension.
    pub(crate) fn agreed(role: Role, extension: Extension) -> Self {
        let mut observed = Self::new(role);
        let handshake = Handshake::with(extension);
        observed.client(&handshake.request);
        observed.server(&handshake.response);
        observed
    }

    fn with(session: &Session, role: Role) -> Self {
        // SAFETY: the layout is of integers only, of which all may be zero.
        let mut connection: Connection = unsafe { core::mem::zeroed() };
        connection.role = role as u8;
        Self {
            session: *session,
            connection,
            role,
            buffer: 1024,
            first_buffer: 1,
            poison: 0xAA,
            thresholds: Thresholds::DEFAULT,
            now_ns: 0,
            passing: true,
            desyncs: Vec::new(),
            oversized: [const { Vec::new() }; 2],
            wall_ns: 0,
            keys: Keys::default(),
            labels: Labels::default(),
            queues: Queues::default(),
            looks: 0,
            told: Protocol::Unknown,
        }
    }

    pub(crate) fn in_buffers_of(mut self, buffer: u32) -> Self {
        self.buffer = buffer;
        self
    }

    pub(crate) fn with_thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    /// A call that moved `bytes`.
    pub(crate) fn call(&mut self, direction: Direction, bytes: &[u8]) {
        self.call_readable(direction, bytes, u32::MAX);
    }

    /// A call of which only the first `readable` windows can be read.
    pub(crate) fn call_readable(&mut self, direction: Direction, bytes: &[u8], readable: u32) {
        let length = u32::try_from(bytes.len()).expect("a call is shorter than 4 GiB");
        if length == 0 {
            return;
        }
        if self.passing && self.session.pass(direction, length, &mut self.connection) {
            self.settle(direction);
            return;
        }
        let told = self.protocol() != Protocol::Unknown;
        let least = if told { 1 } else { self.first_buffer };
        let mut source = Buffers::new(bytes, self.buffer.max(least));
        source.thresholds = self.thresholds;
        source.readable = readable;
        source.poison = self.poison;
        source.now_ns = self.now_ns;
        source.wall_ns = self.wall_ns;
        core::mem::swap(&mut source.keys, &mut self.keys);
        core::mem::swap(&mut source.labels, &mut self.labels);
        core::mem::swap(&mut source.queues, &mut self.queues);
        let desync = self.session.feed(direction, &mut source, &mut self.connection);
        self.desyncs.extend(desync);
        core::mem::swap(&mut source.keys, &mut self.keys);
        core::mem::swap(&mut source.labels, &mut self.labels);
        core::mem::swap(&mut source.queues, &mut self.queues);
        self.oversized[direction as usize].append(&mut source.oversized);
        self.looks += source.looks;
        // One look at each byte for a head, or two for frames that are tried first, and a few to begin with.
        // A line of a Redis server's is looked at again for each run of keys that nothing comes to, of which so many
        // are kept (`RUNS` in stream/pipeline.rs, `MOST` in stream/pipeline/beyond.rs).
        let is_answer = direction as u8 != self.role.request_direction() as u8;
        let is_redis = self.protocol() == Protocol::Redis;
        let again = if is_answer && is_redis { 2 * (64 + 4096) } else { 0 };
        // An empty line to a Redis server goes through three subprograms.
        let each = if is_redis { 3 } else { 2 };
        let bound = each * length.min(ITERATIONS_MAX + 1) + 16 + again;
        assert!(source.looks <= bound, "{} looks at {length} bytes", source.looks);
    }

    /// Has what passed unread be counted, as the kernel half does.
    fn settle(&mut self, direction: Direction) {
        if self.session.owes(direction) {
            let mut source = Buffers::new(&[], 1);
            source.now_ns = self.now_ns;
            core::mem::swap(&mut source.labels, &mut self.labels);
            core::mem::swap(&mut source.queues, &mut self.queues);
            self.session.settle(direction, &mut source, &mut self.connection);
            core::mem::swap(&mut source.labels, &mut self.labels);
            core::mem::swap(&mut source.queues, &mut self.queues);
        }
    }

    /// A call by the client's process (as seen from this end).
    pub(crate) fn client(&mut self, bytes: &[u8]) {
        self.call(self.role.request_direction(), bytes);
    }

    /// A call by the server's.
    pub(crate) fn server(&mut self, bytes: &[u8]) {
        self.call(self.role.request_direction().opposite(), bytes);
    }

    /// A call by the server's process, or by the client's.
    pub(crate) fn by(&mut self, server: bool, bytes: &[u8]) {
        if server { self.server(bytes) } else { self.client(bytes) }
    }

    /// The same in calls and buffers of these lengths, round and round, as long as the streams are in sync.
    pub(crate) fn by_cuts<'a>(
        &mut self,
        server: bool,
        mut bytes: &[u8],
        cuts: &mut impl Iterator<Item = &'a (u8, u8)>,
    ) {
        while !bytes.is_empty() && self.desyncs.is_empty() {
            let &(length, buffer) = cuts.next().expect("they go round and round");
            let (part, behind) = bytes.split_at((usize::from(length) + 1).min(bytes.len()));
            self.buffer = u32::from(buffer);
            self.by(server, part);
            bytes = behind;
        }
    }

    pub(crate) fn miss(&mut self, direction: Direction, bytes: u64, why: Desync) -> Option<Desync> {
        let desync = self.session.miss(direction, bytes, why, &mut self.connection);
        self.settle(direction);
        desync
    }

    pub(crate) fn protocol(&self) -> Protocol {
        let shown = if self.session.protocol() == Protocol::Unknown as u8 {
            self.told as u8
        } else {
            self.session.protocol()
        };
        assert_eq!(shown, self.connection.protocol, "both say the same");
        Protocol::from_u8(self.connection.protocol)
    }

    pub(crate) fn is_lost(&self, direction: Direction) -> bool {
        self.connection.lost[direction as usize] != 0
    }

    /// What was counted in the direction of the client's bytes.
    pub(crate) fn by_client(&self) -> StreamCounters {
        self.connection.details.websocket().streams[self.role.request_direction() as usize]
    }

    /// What was counted in the direction of the server's bytes.
    pub(crate) fn by_server(&self) -> StreamCounters {
        self.connection.details.websocket().streams[self.role.request_direction().opposite() as usize]
    }
}
