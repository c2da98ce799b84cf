//! `PostgreSQL`'s frontend/backend protocol, version 3, followed by its message headers ("Message Flow" and
//! "Message Formats" in the `PostgreSQL` documentation).
//!
//! ```text
//!   client:  StartupMessage … │ Query │ Parse Bind Execute Sync │ …      each ends one request,
//!   server:  Authentication … ReadyForQuery │ … ReadyForQuery │ …        each ReadyForQuery answers one
//! ```
//!
//! A message tells its type and length in five bytes; its payload is stepped over, but for a command's tag,
//! `ReadyForQuery`'s status, an error's SQLSTATE, and a statement's first word, of which nothing is kept.
//!
//! **Bulk.** A row costs a look at its five bytes and no more: rows that lie whole in one window are stepped
//! over several to a turn of the loop, a row longer than that by its length, and a call that lies inside one
//! is not read at all. A call's turns are bounded by [`STEPS_MAX`].

mod backend;
mod frontend;
mod text;

use self::text::Text;
use super::head::Head;
use super::source::{STEPS_MAX, Source};
use crate::layout::connection::Connection;
use crate::layout::health::Desync;
use crate::layout::postgres::{QueryKind, State};

/// Requests in flight whose start is kept. Past that, a request's time is counted from the oldest start that
/// is: too short, never too long.
const KEPT: usize = 32;

/// Messages stepped over in one turn of the loop, which costs as much as several of them.
const PLAIN_A_TURN: usize = 8;

/// The longest message: what the server allocates at once, `MaxAllocSize` in `src/include/utils/memutils.h`.
const LENGTH_MAX: u32 = 0x3FFF_FFFF;

/// What a stream's next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// A message without a type: what a client starts with.
    Startup = 0,
    /// A message, or the payload of one.
    Messages = 1,
    /// Out of step.
    Lost = 2,
}

/// One direction.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Stream {
    /// The first bytes of a message of which too few have come.
    head: Head,
    /// Payload bytes of the message in progress that have not passed.
    skip: u32,
    /// How many bytes `head` holds.
    head_length: u8,
    /// A [`Mode`].
    mode: u8,
    reserved: u16,
    /// The text in progress, if the payload has one that is looked at.
    text: Text,
}

impl Stream {
    const fn new(mode: Mode) -> Self {
        Self { head: Head::EMPTY, skip: 0, head_length: 0, mode: mode as u8, reserved: 0, text: Text::NONE }
    }

    #[inline(always)]
    const fn is(&self, mode: Mode) -> bool {
        self.mode == mode as u8
    }

    /// The kept start of a message, with `available` bytes of `lo` and `hi` behind it; see [`Head::join`].
    #[inline(always)]
    fn join(&self, lo: u64, hi: u64, available: u32) -> (u64, u64, u32) {
        self.head.join(self.head_length, lo, hi, available)
    }

    /// Keeps the first `have` bytes of a message until more come.
    #[inline(always)]
    fn keep(&mut self, lo: u64, hi: u64, have: u32) {
        self.head = Head::of(lo, hi, have);
        self.head_length = have as u8;
    }
}

/// Both directions of a session.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Postgres {
    /// The client's stream, then the server's.
    streams: [Stream; 2],
    /// When requests in flight began, by their number.
    starts: [u64; KEPT],
    /// What they do, as far as their statement tells: [`QueryKind`]s, with [`EXECUTED`] if they do it.
    kinds: [u8; KEPT],
    /// When the transaction in progress began; 0 where that was not seen.
    transaction_ns: u64,
    /// Requests so far, and those that are over.
    asked: u32,
    answered: u32,
    /// 1 from a request's first message to the one that ends it.
    open: u8,
    /// 1 once the client has ended a COPY, until its next request.
    copied: u8,
    /// 1 while the server's answer to a request for encryption is awaited.
    encryption: u8,
    /// 1 once the server was ready.
    ready: u8,
    /// 1 once the server has agreed to TLS, or to GSSAPI encryption.
    encrypted: u8,
    /// What the request being answered did, by its first command's tag: a [`QueryKind`], or [`UNTOLD`].
    tag: u8,
    /// While a call is looked through: the type of its last message, and that message's first payload byte.
    last: [u8; 2],
}

/// Set in [`Postgres::kinds`] once a request asks for more than to prepare: only that is a query.
const EXECUTED: u8 = 0x80;

/// [`Postgres::tag`] before a command was complete.
const UNTOLD: u8 = 0xFF;

const _: () = assert!(size_of::<Postgres>() == 2 * (24 + size_of::<Text>()) + 8 * KEPT + KEPT + 24);

impl Postgres {
    /// Nothing seen yet.
    pub const START: Self = Self {
        streams: [Stream::new(Mode::Startup), Stream::new(Mode::Messages)],
        starts: [0; KEPT],
        kinds: [QueryKind::Other as u8; KEPT],
        transaction_ns: 0,
        asked: 0,
        answered: 0,
        open: 0,
        copied: 0,
        encryption: 0,
        ready: 0,
        encrypted: 0,
        tag: UNTOLD,
        last: [0; 2],
    };

    /// Starts with the connection's first byte. Its first `kept` bytes, those of `first`, came with calls
    /// that are over.
    #[inline(always)]
    pub fn start(&mut self, first: u64, kept: u32, connection: &mut Connection) {
        self.reset(Mode::Startup, Mode::Messages);
        self.streams[0].keep(first, 0, kept);
        connection.details.postgres_mut().state = State::Waiting as u8;
    }

    /// Starts in the middle of a session, out of step.
    #[inline(always)]
    pub fn resume(&mut self) {
        self.reset(Mode::Lost, Mode::Lost);
        self.ready = 1;
    }

    #[inline(always)]
    fn reset(&mut self, client: Mode, server: Mode) {
        self.streams = [Stream::new(client), Stream::new(server)];
        self.transaction_ns = 0;
        self.asked = 0;
        self.answered = 0;
        self.open = 0;
        self.copied = 0;
        self.encryption = 0;
        self.ready = 0;
        self.encrypted = 0;
        self.tag = UNTOLD;
    }

    /// Whether what follows is encrypted.
    #[inline(always)]
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted != 0
    }

    /// Whether the stream stands between two messages.
    #[inline(always)]
    pub fn between_messages(&self, server: bool) -> bool {
        let stream = &self.streams[usize::from(server)];
        stream.skip == 0 && stream.head_length == 0
    }

    /// Steps over a call of `bytes` if it lies inside a payload that is not looked at: tells whether it does.
    #[inline(always)]
    pub fn pass(&mut self, server: bool, bytes: u64) -> bool {
        let stream = &mut self.streams[usize::from(server)];
        let inside = stream.text.is_over() && u64::from(stream.skip) >= bytes && !stream.is(Mode::Lost);
        if inside {
            stream.skip -= bytes as u32;
        }
        inside
    }

    /// Puts a direction out of step.
    #[inline(always)]
    pub fn lose(&mut self, server: bool) {
        self.streams[usize::from(server)] = Stream::new(Mode::Lost);
    }

    /// Runs through the bytes of a call of the client's, or of the server's. `lost` is whether the direction
    /// is out of step.
    #[inline(always)]
    pub fn run<const SERVER: bool, S: Source>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
        lost: &mut u8,
    ) -> Option<Desync> {
        let [whole, step] = if SERVER {
            [Part::ServerWhole, Part::ServerStep]
        } else {
            [Part::ClientWhole, Part::ClientStep]
        };
        if self.streams[usize::from(SERVER)].is(Mode::Lost) {
            if source.run_postgres(whole, self, connection) == 0 {
                return None;
            }
            self.regain(SERVER, connection);
            *lost = 0;
        }
        // Most calls take no more than a turn or two, which are not worth the set-up of a loop.
        let mut code = source.run_postgres(step, self, connection);
        if code == 0 && source.position() >= source.end() {
            return None;
        }
        let finished = code == 0
            && S::repeat(STEPS_MAX, || {
                code = source.run_postgres(step, self, connection);
                code == 0 && source.position() < source.end()
            });
        if code == 0 && finished {
            return None;
        }
        self.lose(SERVER);
        *lost = 1;
        Some(Desync::from_code(code).unwrap_or(Desync::Bound))
    }

    /// Runs a part; tells what it says there.
    #[inline(always)]
    pub fn run_part<S: Source>(&mut self, part: Part, source: &mut S, connection: &mut Connection) -> u32 {
        match part {
            Part::ClientStep => Desync::code(self.step::<false, S>(source, connection).err()),
            Part::ServerStep => Desync::code(self.step::<true, S>(source, connection).err()),
            Part::ClientWhole => u32::from(self.is_whole::<false, S>(source)),
            Part::ServerWhole => u32::from(self.is_whole::<true, S>(source)),
        }
    }

    /// Takes what is in reach: a payload's bytes, or a message's header and what is looked at behind it. Goes
    /// at least one byte further.
    #[inline(always)]
    fn step<const SERVER: bool, S: Source>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let at = source.position();
        let left = source.end().saturating_sub(at);
        if left == 0 {
            return Ok(());
        }
        let stream = &mut self.streams[usize::from(SERVER)];
        if stream.skip > 0 && stream.text.is_over() {
            let bytes = if stream.skip < left { stream.skip } else { left };
            stream.skip -= bytes;
            source.go_to(at + bytes);
            return Ok(());
        }
        let mut available = source.window(at).map_err(|_| Desync::Unread)?;
        let (mut lo, mut hi) = source.words(at);
        if stream.skip > 0 {
            stream.skip -= 1;
            source.go_to(at + 1);
            self.read_text::<SERVER>(lo as u8, connection);
            return Ok(());
        }
        let mut at = at;
        if stream.head_length == 0 && stream.is(Mode::Messages) && self.encryption == 0 {
            let all = available == left;
            let mut executes = false;
            if !SERVER {
                self.begin(lo as u8, source, connection);
            }
            let start = at;
            for _ in 0..PLAIN_A_TURN {
                let (kind, length) = (lo as u8, ((lo >> 8) as u32).swap_bytes());
                // With the next header in reach behind it, or the end.
                let room = if all { available } else { available.saturating_sub(16) };
                let begun = SERVER || self.open != 0 || kind == b'd';
                if !(begun && is_plain::<SERVER>(kind, length) && length < room && available >= 5) {
                    break;
                }
                executes |= !SERVER && kind == b'E';
                at += 1 + length;
                available -= 1 + length;
                (lo, hi) = source.words(at);
            }
            if executes {
                self.execute();
            }
            source.go_to(at);
            if available == 0 {
                return Ok(());
            }
            if !SERVER && at != start {
                self.begin(lo as u8, source, connection);
            }
        }
        let reach = if available < 16 { available } else { 16 };
        if SERVER {
            self.take_backend(at, (lo, hi), reach, source, connection)
        } else {
            self.take_frontend(at, (lo, hi), reach, source, connection)
        }
    }

    /// A byte of a text.
    #[inline(always)]
    fn read_text<const SERVER: bool>(&mut self, byte: u8, connection: &mut Connection) {
        let stream = &mut self.streams[usize::from(SERVER)];
        if SERVER {
            if let Some(class) = stream.text.push_field(byte) {
                count_error(connection, class);
            }
        } else if let Some(kind) = stream.text.push_statement(byte) {
            self.tell_kind(kind);
        }
        let stream = &mut self.streams[usize::from(SERVER)];
        if stream.skip == 0 {
            stream.text = Text::NONE;
        }
    }

    /// See [`Part::ClientWhole`].
    #[inline(always)]
    fn is_whole<const SERVER: bool, S: Source>(&mut self, source: &mut S) -> bool {
        self.last = [0; 2];
        source.go_to(0);
        let mut sound = true;
        let finished = S::repeat(STEPS_MAX, || {
            let at = source.position();
            let left = source.end().saturating_sub(at);
            let available = source.window(at).unwrap_or(0);
            let (lo, _) = source.words(at);
            let (kind, length) = (lo as u8, ((lo >> 8) as u32).swap_bytes());
            sound = available >= 5 && is_sound::<SERVER>(kind, length).is_ok() && length < left;
            if !sound {
                return false;
            }
            self.last = [kind, if available >= 6 && length > 4 { (lo >> 40) as u8 } else { 0 }];
            source.go_to(at + 1 + length);
            source.position() < source.end()
        });
        source.go_to(0);
        let [kind, payload] = self.last;
        let ends = if SERVER {
            kind == b'Z' && matches!(payload, b'I' | b'T' | b'E')
        } else {
            kind == b'Q' || kind == b'S' || kind == b'F' || kind == b'X'
        };
        finished && sound && ends
    }

    /// Gets in step at the start of a call.
    #[inline(always)]
    fn regain(&mut self, server: bool, connection: &mut Connection) {
        self.streams[usize::from(server)] = Stream::new(Mode::Messages);
        // What was asked before may have been answered meanwhile; but what the server says now is an answer,
        // most likely to what was asked last, and not the first time that it was ready.
        let awaited = u32::from(server && self.asked != self.answered);
        self.ready |= awaited as u8;
        self.answered = self.asked.wrapping_sub(awaited);
        let counters = connection.details.postgres_mut();
        counters.answered = counters.asked.wrapping_sub(awaited);
        self.open = 0;
        self.copied = 0;
        self.tag = UNTOLD;
    }
}

/// What the parser is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A turn of the client's stream; [`Desync::code`] of what went wrong.
    ClientStep,
    /// A turn of the server's.
    ServerStep,
    /// 1 if a call of the client's consists of whole messages, the last of which ends what is said at once; else 0.
    /// Where a stream is out of step, or a connection not known, that is where it is found again.
    ClientWhole,
    /// The same of the server's.
    ServerWhole,
}

/// The types of a direction's messages, by bit, from 0 and from 64 on.
const fn types(list: &[u8]) -> [u64; 2] {
    let mut bits = [0; 2];
    let mut at = 0;
    while at < list.len() {
        bits[(list[at] >> 6) as usize & 1] |= 1 << (list[at] & 63);
        at += 1;
    }
    bits
}

const CLIENT_TYPES: [u64; 2] = types(b"BCDEFHPQSXcdfp");
const SERVER_TYPES: [u64; 2] = types(b"123ACDEGHIKNRSTVWZcdnstv");
/// Those that have no payload.
const CLIENT_EMPTY: [u64; 2] = types(b"HSXc");
const SERVER_EMPTY: [u64; 2] = types(b"123Icns");

/// Those that need no more than a look at their header, where a request is open already.
const CLIENT_PLAIN: [u64; 2] = types(b"BCDEHd");
const SERVER_PLAIN: [u64; 2] = types(b"123ADGHIKNRSTVWcdnstv");

/// Whether a message of this type and length is one of those.
#[inline(always)]
const fn is_plain<const SERVER: bool>(kind: u8, length: u32) -> bool {
    let (types, empty) = if SERVER { (SERVER_PLAIN, SERVER_EMPTY) } else { (CLIENT_PLAIN, CLIENT_EMPTY) };
    has(types, kind) && length >= 4 && (length == 4 || !has(empty, kind))
}

#[inline(always)]
const fn has(types: [u64; 2], kind: u8) -> bool {
    let bits = if kind < 64 { types[0] } else { types[1] };
    kind < 128 && bits >> (kind & 63) & 1 != 0
}

/// Whether a message of this type and length (its own four bytes included) can be.
#[inline(always)]
fn is_sound<const SERVER: bool>(kind: u8, length: u32) -> Result<(), Desync> {
    let (types, empty) = if SERVER { (SERVER_TYPES, SERVER_EMPTY) } else { (CLIENT_TYPES, CLIENT_EMPTY) };
    if !has(types, kind) {
        return Err(Desync::Header);
    }
    let exact = has(empty, kind);
    let ready = SERVER && kind == b'Z';
    if !(4..=LENGTH_MAX).contains(&length) || (exact && length != 4) || (ready && length != 5) {
        return Err(Desync::Length);
    }
    Ok(())
}

/// Counts an error by its SQLSTATE's class.
#[inline(always)]
fn count_error(connection: &mut Connection, class: [u8; 2]) {
    use crate::layout::postgres::{ERROR_CLASSES, ErrorClass, OTHER_CLASSES};
    let mut at = 0;
    while at < ERROR_CLASSES {
        let place = &mut connection.details.postgres_mut().errors[at];
        let last = at == ERROR_CLASSES - 1;
        if place.class == class || place.count == 0 || last {
            let kept = place.count == 0 || place.class == class;
            let class = if kept { class } else { OTHER_CLASSES };
            *place = ErrorClass { class, reserved: 0, count: place.count.wrapping_add(1) };
            return;
        }
        at += 1;
    }
}
