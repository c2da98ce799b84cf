//! The two streams of one connection: told apart by protocol, then handed to its parser.
//!
//! ```text
//!            client's first bytes           GET …            101, Upgrade: websocket
//!   Opening ─────────────────────► Message ───────► Head ──────────────────────────► Frames
//!      │                              ▲    ◄───────  │                                 │  ▲
//!      │ nothing known here           └ other head ──┘                         desync  ▼  │ in step
//!      └────────────► Opaque                                                          Lost ──► Trial
//!                                                                                      ▲   ◄──
//!   a connection first seen in the middle starts here ─────────────────────────────────┘
//! ```
//!
//! A stream that is lost gets in step at the start of a call whose bytes are whole frames, or with a long
//! frame that turns out to end where another frame starts, or the call ends. A connection first seen in
//! the middle is a WebSocket once that has happened twice; what was counted on the way counts then.

mod handshake;
mod step;

use super::http::Head;
use super::postgres::Postgres;
use super::redis::Redis;
use super::source::Source;
use super::websocket::{Deflate, Frames, Rules};
use crate::layout::Zeroes as _;
use crate::layout::connection::Connection;
use crate::layout::health::Desync;
use crate::layout::{Direction, Protocol, Role};

/// What a stream's next bytes are held to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// The connection's first.
    Opening = 0,
    /// The start of an HTTP message, or something in its middle.
    Message = 1,
    /// In an HTTP head that may be a handshake's.
    Head = 2,
    /// WebSocket frames.
    Frames = 3,
    /// WebSocket frames, out of step; or anything, on a connection first seen in the middle.
    Lost = 4,
    /// The payload of what may be a long frame.
    Trial = 5,
    /// Not looked at.
    Opaque = 6,
    /// Messages of Postgres, in step or not.
    Postgres = 7,
    /// Commands and replies of Redis, in step or not.
    Redis = 8,
}

/// One direction.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stream {
    /// A [`Mode`].
    mode: u8,
    /// Calls looked at in vain while lost.
    tries: u8,
    /// 1 if frames have been in step since the handshake, or for a whole call since they were lost.
    proven: u8,
    head: Head,
    reserved: u16,
    frames: Frames,
}

impl Stream {
    const fn new(mode: Mode) -> Self {
        Self {
            mode: mode as u8,
            tries: 0,
            proven: 0,
            head: Head::START,
            reserved: 0,
            frames: Frames::RESUMED,
        }
    }

    #[inline(always)]
    fn is(&self, mode: Mode) -> bool {
        self.mode == mode as u8
    }
}

/// What a call's bytes go through, in this order, until they are found to be frames. The kernel half has the
/// verifier look at each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection's first bytes tell its protocol.
    Open,
    /// So do those of a call in the middle.
    Tell,
    /// An HTTP message may start.
    Message,
    /// An HTTP head goes on.
    Scan,
    /// Frames may start.
    Search,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Open, Self::Tell, Self::Message, Self::Scan, Self::Search];
}

/// How many calls of an unknown stream are looked at before only one in [`TRY_EVERY`] is.
const TRIES: u8 = 64;
const TRY_EVERY: u8 = 16;

/// How many calls in step make a connection first seen in the middle a WebSocket.
const MATCHES: u8 = 2;

/// The state of the one protocol besides WebSocket that the connection speaks.
#[derive(Clone, Copy)]
#[repr(C)]
union Parser {
    postgres: Postgres,
    redis: Redis,
}

impl Parser {
    /// In neither, all of whose states are of integers only.
    const START: Self = Self { redis: Redis::START };

    #[inline(always)]
    const fn postgres(&self) -> &Postgres {
        // SAFETY: integers, whatever they are.
        unsafe { &self.postgres }
    }

    #[inline(always)]
    const fn postgres_mut(&mut self) -> &mut Postgres {
        // SAFETY: integers, whatever they are.
        unsafe { &mut self.postgres }
    }

    #[inline(always)]
    const fn redis(&self) -> &Redis {
        // SAFETY: integers, whatever they are.
        unsafe { &self.redis }
    }

    #[inline(always)]
    const fn redis_mut(&mut self) -> &mut Redis {
        // SAFETY: integers, whatever they are.
        unsafe { &mut self.redis }
    }
}

impl core::fmt::Debug for Parser {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Parser").finish_non_exhaustive()
    }
}

const _: () =
    assert!(size_of::<Redis>() >= size_of::<Postgres>() && align_of::<Postgres>() == align_of::<Redis>());

/// Both directions.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Session {
    /// A [`Protocol`]; of an HTTP connection that may be upgraded, [`Protocol::Http`].
    protocol: u8,
    /// A [`Role`].
    role: u8,
    /// A [`Deflate`].
    deflate: u8,
    /// Calls in step so far, while a connection first seen in the middle is not known to be a WebSocket.
    matches: u8,
    reserved: u32,
    streams: [Stream; 2],
    parser: Parser,
}

const _: () = assert!(size_of::<Session>() == 8 + 2 * 56 + size_of::<Parser>());

impl Session {
    /// A connection from its first byte on.
    pub fn new(role: Role) -> Self {
        let blank = Stream::new(Mode::Opening);
        let mut session = Self {
            protocol: 0,
            role: 0,
            deflate: 0,
            matches: 0,
            reserved: 0,
            streams: [blank; 2],
            parser: Parser::START,
        };
        session.start(role, false);
        session
    }

    /// A connection first seen in the middle.
    pub fn adopted(role: Role) -> Self {
        let mut session = Self::new(role);
        session.start(role, true);
        session
    }

    /// Starts anew, in place, with the connection's first byte or in its middle.
    #[inline(always)]
    pub fn start(&mut self, role: Role, in_the_middle: bool) {
        self.protocol = Protocol::Unknown as u8;
        self.role = role as u8;
        self.deflate = Deflate::Unknown as u8;
        self.matches = 0;
        let mode = if in_the_middle { Mode::Lost } else { Mode::Opening };
        for stream in &mut self.streams {
            *stream = Stream::new(mode);
        }
    }

    /// The [`Protocol`] that the connection speaks, as far as known, by its number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether the direction's stream is a WebSocket's and between two frames, or of no interest: a call
    /// that leads from such a point to another was seen whole.
    #[inline(always)]
    pub fn is_settled(&self, direction: Direction) -> bool {
        let stream = &self.streams[direction as usize];
        if stream.is(Mode::Postgres) {
            return self.parser.postgres().between_messages(self.is_answer(direction));
        }
        if stream.is(Mode::Redis) {
            return self.parser.redis().between_messages(self.is_answer(direction));
        }
        !stream.is(Mode::Frames) || stream.frames.between_frames()
    }

    /// Whether a direction's bytes are the server's.
    #[inline(always)]
    pub fn is_answer(&self, direction: Direction) -> bool {
        direction as u8 != Role::from_u8(self.role).request_direction() as u8
    }

    /// Takes note of `bytes` that need no look, if a call of so many needs none: tells whether that was so.
    #[inline(always)]
    pub fn pass(&mut self, direction: Direction, bytes: u32, connection: &mut Connection) -> bool {
        let stream = &mut self.streams[direction as usize];
        if stream.is(Mode::Opaque) {
            return true;
        }
        if stream.is(Mode::Postgres) {
            let server = self.is_answer(direction);
            return self.parser.postgres_mut().pass(server, u64::from(bytes));
        }
        if stream.is(Mode::Redis) {
            let server = self.is_answer(direction);
            return self.parser.redis_mut().pass(server, u64::from(bytes));
        }
        if stream.is(Mode::Frames) && stream.frames.payload_left() >= u64::from(bytes) {
            stream.frames.pass(u64::from(bytes), &mut connection.details.websocket_mut()[direction as usize]);
            if stream.proven == 0 && stream.frames.between_frames() {
                self.prove(direction, connection);
            }
            return true;
        }
        if stream.is(Mode::Lost) && self.protocol == Protocol::Unknown as u8 {
            // Nothing was found in a good many calls: this is unlikely to be anything known here.
            let skip = stream.tries >= TRIES && !stream.tries.is_multiple_of(TRY_EVERY);
            if skip {
                stream.tries = if stream.tries == u8::MAX { TRIES } else { stream.tries + 1 };
            }
            return skip;
        }
        false
    }

    /// Steps over `bytes` that moved unseen: harmless in the middle of a payload, else a desync for `why`.
    #[inline(always)]
    pub fn miss(
        &mut self,
        direction: Direction,
        bytes: u64,
        why: Desync,
        connection: &mut Connection,
    ) -> Option<Desync> {
        if self.has_messages(direction) {
            let server = self.is_answer(direction);
            if connection.lost[direction as usize] != 0 || self.parser.postgres_mut().pass(server, bytes) {
                return None;
            }
            self.parser.postgres_mut().lose(server);
            connection.lost[direction as usize] = 1;
            return Some(why);
        }
        if self.has_commands(direction) {
            let server = self.is_answer(direction);
            if connection.lost[direction as usize] != 0 || self.parser.redis_mut().pass(server, bytes) {
                return None;
            }
            if self.parser.redis().is_tentative() {
                self.become_unknown(connection);
                return None;
            }
            self.parser.redis_mut().lose(server);
            connection.lost[direction as usize] = 1;
            return Some(why);
        }
        let stream = &mut self.streams[direction as usize];
        let left = stream.frames.payload_left();
        if stream.is(Mode::Frames) {
            if left >= bytes {
                stream.frames.pass(bytes, &mut connection.details.websocket_mut()[direction as usize]);
                return None;
            }
            self.lose(direction, connection);
            return Some(why);
        }
        if stream.is(Mode::Trial) {
            if left > bytes {
                stream.frames.pass(bytes, &mut connection.details.websocket_mut()[direction as usize]);
            } else {
                stream.mode = Mode::Lost as u8;
            }
        } else if stream.is(Mode::Head) {
            stream.mode = Mode::Message as u8;
        } else if stream.is(Mode::Opening) {
            self.become_other(Protocol::Unknown, connection);
        }
        None
    }

    /// Takes in a call's bytes.
    pub fn feed<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        source.go_to(0);
        for stage in Stage::ALL {
            if self.is_at(direction, stage) {
                self.run_stage(direction, stage, source, connection);
            }
        }
        if self.has_messages(direction) {
            return if self.is_answer(direction) {
                self.run_messages::<true, S>(direction, source, connection)
            } else {
                self.run_messages::<false, S>(direction, source, connection)
            };
        }
        if self.has_commands(direction) {
            return if self.is_answer(direction) {
                self.run_commands::<true, S>(direction, source, connection)
            } else {
                self.run_commands::<false, S>(direction, source, connection)
            };
        }
        if !self.has_frames(direction) || source.position() >= source.end() {
            return None;
        }
        let desync = match self.first_frame(direction, source, connection) {
            None if source.position() < source.end() => self.run_frames(direction, source, connection),
            outcome => outcome,
        };
        self.end_call(direction, connection);
        desync
    }

    /// Takes in the first frame of a call, from the source's position on.
    #[inline(always)]
    pub fn first_frame<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let rules = self.rules(direction);
        let frames = &mut self.streams[direction as usize].frames;
        let outcome =
            frames.first(source, &mut connection.details.websocket_mut()[direction as usize], rules);
        self.conclude(direction, outcome, connection)
    }

    /// What the frames of a call tell of the stream.
    #[inline(always)]
    fn conclude(
        &mut self,
        direction: Direction,
        outcome: Result<(), Desync>,
        connection: &mut Connection,
    ) -> Option<Desync> {
        if let Err(desync) = outcome {
            self.lose(direction, connection);
            return Some(desync);
        }
        None
    }

    /// Takes note that a call was taken in to its end.
    #[inline(always)]
    pub fn end_call(&mut self, direction: Direction, connection: &mut Connection) {
        let stream = &self.streams[direction as usize];
        if stream.proven == 0 && stream.is(Mode::Frames) && stream.frames.between_frames() {
            self.prove(direction, connection);
        }
    }

    /// Whether the direction's bytes go through a stage next.
    #[inline(always)]
    pub fn is_at(&self, direction: Direction, stage: Stage) -> bool {
        let stream = &self.streams[direction as usize];
        match stage {
            Stage::Open => stream.is(Mode::Opening),
            Stage::Tell => stream.is(Mode::Lost) && self.protocol == Protocol::Unknown as u8,
            Stage::Message => stream.is(Mode::Message),
            Stage::Scan => stream.is(Mode::Head),
            Stage::Search => stream.is(Mode::Lost) || stream.is(Mode::Trial) || stream.is(Mode::Message),
        }
    }

    /// Takes the call's bytes through a stage, which [`Session::is_at`] said they go through.
    #[inline(always)]
    pub fn run_stage<S: Source>(
        &mut self,
        direction: Direction,
        stage: Stage,
        source: &mut S,
        connection: &mut Connection,
    ) {
        match stage {
            Stage::Open => self.open(direction, source, connection),
            Stage::Tell => self.tell_adopted(direction, source, connection),
            Stage::Message => self.start_message(direction, source, connection),
            Stage::Scan => self.scan(direction, source, connection),
            Stage::Search => self.search(direction, source, connection),
        }
    }

    /// Whether the direction's bytes are Postgres messages.
    #[inline(always)]
    pub fn has_messages(&self, direction: Direction) -> bool {
        self.streams[direction as usize].is(Mode::Postgres)
    }

    /// Takes in a call's Postgres messages, a client's or a server's.
    #[inline(always)]
    pub fn run_messages<const SERVER: bool, S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let mut lost = connection.lost[direction as usize];
        let desync = self.parser.postgres_mut().run::<SERVER, S>(source, connection, &mut lost);
        connection.lost[direction as usize] = lost;
        if self.parser.postgres().is_encrypted() {
            self.become_other(Protocol::Tls, connection);
        }
        desync
    }

    /// Whether the direction's bytes are Redis commands, or replies.
    #[inline(always)]
    pub fn has_commands(&self, direction: Direction) -> bool {
        self.streams[direction as usize].is(Mode::Redis)
    }

    /// Takes in a call's Redis commands, or replies.
    #[inline(always)]
    pub fn run_commands<const SERVER: bool, S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let tentative = self.parser.redis().is_tentative();
        if SERVER && tentative {
            if source.window(0).is_err() || !Redis::may_answer(source.words(0).0) {
                self.become_unknown(connection);
                return None;
            }
            self.protocol = Protocol::Redis as u8;
            connection.protocol = self.protocol;
            connection.pending = 0;
        }
        let mut lost = connection.lost[direction as usize];
        let desync = self.parser.redis_mut().run::<SERVER, S>(source, connection, &mut lost);
        if !SERVER && tentative && desync.is_some() {
            self.become_unknown(connection);
            return None;
        }
        connection.lost[direction as usize] = lost;
        desync
    }

    /// Whether the direction's next bytes are frames, or in one.
    #[inline(always)]
    pub fn has_frames(&self, direction: Direction) -> bool {
        self.streams[direction as usize].is(Mode::Frames)
    }

    #[inline(always)]
    fn rules(&self, direction: Direction) -> Rules {
        let deflate = match self.deflate {
            1 => Deflate::Off,
            2 => Deflate::On,
            _ => Deflate::Unknown,
        };
        let request = Role::from_u8(self.role).request_direction();
        let proven = self.streams[direction as usize].proven != 0;
        Rules::new(direction as u8 == request as u8, deflate, !proven)
    }

    /// Takes in the frames of a call behind the first one, from the source's position on.
    #[inline(always)]
    pub fn run_frames<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let rules = self.rules(direction);
        let frames = &mut self.streams[direction as usize].frames;
        let outcome = frames.run(source, &mut connection.details.websocket_mut()[direction as usize], rules);
        self.conclude(direction, outcome, connection)
    }

    /// A call ended between two frames: that is what a stream in step does.
    #[inline(always)]
    fn prove(&mut self, direction: Direction, connection: &mut Connection) {
        if self.protocol == Protocol::WebSocket as u8 {
            self.streams[direction as usize].proven = 1;
            return;
        }
        self.matches = self.matches.saturating_add(1);
        if self.protocol == Protocol::Unknown as u8 && self.matches >= MATCHES {
            self.protocol = Protocol::WebSocket as u8;
            connection.protocol = self.protocol;
            connection.pending = 0;
        }
    }

    /// Puts the stream out of step.
    #[inline(always)]
    fn lose(&mut self, direction: Direction, connection: &mut Connection) {
        if self.protocol == Protocol::WebSocket as u8 {
            self.streams[direction as usize] = Stream::new(Mode::Lost);
            connection.lost[direction as usize] = 1;
        } else {
            // It was no WebSocket after all: what was counted was not there.
            let mode = if self.protocol == Protocol::Http as u8 { Mode::Message } else { Mode::Lost };
            let tries = self.streams[direction as usize].tries;
            self.streams[direction as usize] = Stream { tries, ..Stream::new(mode) };
            let other = &mut self.streams[direction.opposite() as usize];
            if other.is(Mode::Frames) || other.is(Mode::Trial) {
                other.mode = mode as u8;
            }
            connection.lost = if mode as u8 == Mode::Lost as u8 { [1; 2] } else { [0; 2] };
            connection.details.clear();
            self.matches = 0;
        }
    }

    /// The connection speaks something that is not looked at further.
    #[inline(always)]
    fn become_other(&mut self, protocol: Protocol, connection: &mut Connection) {
        self.protocol = protocol as u8;
        self.streams[0].mode = Mode::Opaque as u8;
        self.streams[1].mode = Mode::Opaque as u8;
        connection.protocol = self.protocol;
        connection.pending = 0;
        connection.lost = [0; 2];
    }

    /// Postgres it is, from the connection's first byte on: of the eight in `first`, `kept` came with calls
    /// that are over.
    #[inline(always)]
    fn become_postgres(&mut self, first: u64, kept: u32, connection: &mut Connection) {
        self.speak_postgres(connection);
        self.parser.postgres_mut().start(first, kept, connection);
        connection.lost = [0; 2];
    }

    /// Postgres it is, found in the middle of a session.
    #[inline(always)]
    fn resume_postgres(&mut self, connection: &mut Connection) {
        self.speak_postgres(connection);
        self.parser.postgres_mut().resume();
        connection.pending = 0;
        connection.lost = [1; 2];
    }

    #[inline(always)]
    fn speak_postgres(&mut self, connection: &mut Connection) {
        self.protocol = Protocol::Postgres as u8;
        self.streams[0].mode = Mode::Postgres as u8;
        self.streams[1].mode = Mode::Postgres as u8;
        connection.details.clear();
        connection.protocol = self.protocol;
    }

    /// Redis it is, as [`Session::become_postgres`], or may be, if it starts with an inline command.
    #[inline(always)]
    fn become_redis(&mut self, first: u64, kept: u32, tentative: bool, connection: &mut Connection) {
        self.speak_redis(connection);
        self.parser.redis_mut().start(first, kept, tentative, connection);
        connection.lost = [0; 2];
        if tentative {
            self.protocol = Protocol::Unknown as u8;
        } else {
            connection.pending = 0;
        }
        connection.protocol = self.protocol;
    }

    /// Redis it is, found in the middle of a session.
    #[inline(always)]
    fn resume_redis(&mut self, connection: &mut Connection) {
        self.speak_redis(connection);
        self.parser.redis_mut().resume(connection);
        connection.protocol = self.protocol;
        connection.pending = 0;
        connection.lost = [1; 2];
    }

    #[inline(always)]
    fn speak_redis(&mut self, connection: &mut Connection) {
        self.protocol = Protocol::Redis as u8;
        self.streams[0].mode = Mode::Redis as u8;
        self.streams[1].mode = Mode::Redis as u8;
        connection.details.clear();
    }

    /// It was no Redis after all.
    #[inline(always)]
    fn become_unknown(&mut self, connection: &mut Connection) {
        connection.details.clear();
        self.become_other(Protocol::Unknown, connection);
    }

    /// HTTP it is; `settled` unless its first response may be an upgrade.
    #[inline(always)]
    fn become_http(&mut self, settled: bool, connection: &mut Connection) {
        self.protocol = Protocol::Http as u8;
        self.streams[0] = Stream::new(Mode::Message);
        self.streams[1] = Stream::new(Mode::Message);
        connection.protocol = self.protocol;
        connection.pending = u8::from(!settled);
        connection.lost = [0; 2];
    }
}
