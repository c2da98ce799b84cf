//! `PostgreSQL`'s frontend/backend protocol, version 3, followed by its message headers ("Message Flow" and
//! "Message Formats" in the `PostgreSQL` documentation).
//!
//! ```text
//!   client:  StartupMessage … │ Query │ Parse Bind Execute Sync │ …      each ends one request,
//!   server:  Authentication … ReadyForQuery │ … ReadyForQuery │ …        each ReadyForQuery answers one
//! ```
//!
//! From `CopyBothResponse` on a session streams replication, which no request asks for: it goes on until the server is
//! ready again.
//!
//! A message tells its type and length in five bytes; its payload is stepped over, but for a command's tag,
//! `ReadyForQuery`'s status, an error's SQLSTATE, and a statement's first word, of which nothing is kept.
//!
//! **Bulk.** A row costs a look at its five bytes and no more: rows that lie whole in one window are stepped
//! over several to an iteration of the loop, a row longer than that by its length, and a call that lies inside one
//! is not read at all. A call's iterations are bounded by [`ITERATIONS_MAX`].

mod backend;
mod detect;
mod frontend;
pub mod layout;
mod messages;
mod text;

use self::layout::{QueryKind, STARTS, State};
use self::messages::is_whole;
use self::text::Text;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side};
use crate::protocols::Protocol;
use crate::stream::bytes::{Bytes, ITERATIONS_MAX, is_done};
use crate::stream::carry::Carry;
use crate::stream::parser::{Opening, Outcome, Parse, Parser, StreamId};
use crate::stream::subprograms::{Looks, Runs, Subprograms};

/// Messages stepped over in one iteration of the loop, which costs as much as several of them.
const PLAIN_AT_ONCE: usize = 8;

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
    /// Out of sync.
    Lost = 2,
}

/// One direction.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Stream {
    /// The first bytes of a message of which too few have come.
    carry: Carry,
    /// Payload bytes of the message in progress that have not passed.
    skip: u32,
    /// How many bytes `carry` holds.
    carried: u8,
    /// A [`Mode`].
    mode: u8,
    reserved: u16,
    /// The text in progress, if the payload has one that is looked at.
    text: Text,
}

impl Stream {
    const fn new(mode: Mode) -> Self {
        Self { carry: Carry::EMPTY, skip: 0, carried: 0, mode: mode as u8, reserved: 0, text: Text::NONE }
    }

    #[inline(always)]
    const fn is(&self, mode: Mode) -> bool {
        self.mode == mode as u8
    }

    /// The kept start of a message, with `available` bytes of `lo` and `hi` behind it; see [`Carry::join`].
    #[inline(always)]
    fn join(&self, lo: u64, hi: u64, available: u32) -> (u64, u64, u32) {
        self.carry.join(self.carried, lo, hi, available)
    }

    /// Keeps the first `have` bytes of a message until more come.
    #[inline(always)]
    fn keep(&mut self, lo: u64, hi: u64, have: u32) {
        self.carry = Carry::of(lo, hi, have);
        self.carried = have as u8;
    }
}

/// Both directions of a session.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Postgres {
    /// The client's stream, then the server's.
    streams: [Stream; 2],
    /// What requests in flight do, as far as their statement tells: [`QueryKind`]s, with [`EXECUTED`] if they do it. By
    /// their number, as [`layout::Counters::starts`].
    kinds: [u8; STARTS],
    /// When the transaction in progress began; 0 where that was not seen.
    transaction_ns: u64,
    /// 1 from a request's first message to the one that ends it.
    open: u8,
    /// 1 once the client has ended a COPY, until its next request.
    copied: u8,
    /// 1 while the server's answer to a request for encryption is awaited, [`ENCRYPTED`] once that has granted it.
    encryption: u8,
    /// 1 once the server was ready.
    ready: u8,
    /// What the request being answered did, by its first command's tag: a [`QueryKind`], or [`UNTOLD`].
    tag: u8,
    /// 1 once the session was refused: an error came before the server was ready.
    refused: u8,
    reserved: [u8; 2],
}

/// Set in [`Postgres::kinds`] once a request asks for more than to prepare: only that is a query.
const EXECUTED: u8 = 0x80;

/// [`Postgres::encryption`] once what follows is encrypted.
const ENCRYPTED: u8 = 2;

/// [`Postgres::tag`] before a command was complete.
const UNTOLD: u8 = 0xFF;

const _: () = assert!(size_of::<Postgres>() == 2 * (24 + size_of::<Text>()) + STARTS + 16);

impl Postgres {
    /// Nothing seen yet.
    pub const START: Self = Self {
        streams: [Stream::new(Mode::Startup), Stream::new(Mode::Messages)],
        kinds: [QueryKind::Other as u8; STARTS],
        transaction_ns: 0,
        open: 0,
        copied: 0,
        encryption: 0,
        ready: 0,
        tag: UNTOLD,
        refused: 0,
        reserved: [0; 2],
    };

    #[inline(always)]
    fn reset(&mut self, client: Mode, server: Mode) {
        self.streams = [Stream::new(client), Stream::new(server)];
        self.transaction_ns = 0;
        self.open = 0;
        self.copied = 0;
        self.encryption = 0;
        self.ready = 0;
        self.tag = UNTOLD;
        self.refused = 0;
    }

    /// Runs through the bytes of a call of the client's, or of the server's.
    #[inline(always)]
    fn run_call<const SERVER: bool, S: Runs<Self> + Looks<Self>>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        let side = if SERVER { Side::Server } else { Side::Client };
        let was_lost = self.is_lost(side);
        if was_lost {
            if !source.is_whole(side) {
                return Outcome::SAME;
            }
            let [last, _] = source.scratch().last;
            self.regain(SERVER, connection);
            if SERVER && last == b'd' {
                // Nothing else is told by such a message.
                self.ready = 1;
                self.replicate(connection);
            }
        }
        // Most calls take no more than an iteration or two, which are not worth the set-up of a loop.
        let mut code = source.run(const { iteration(SERVER) }, self, stream, connection);
        let finished = code != 0
            || is_done(source)
            || S::repeat(ITERATIONS_MAX, || {
                code = source.run(const { iteration(SERVER) }, self, stream, connection);
                code == 0 && !is_done(source)
            });
        if code != 0 || !finished {
            self.lose(side, connection);
            return Outcome::lost(Desync::from_code(code).unwrap_or(Desync::Bound));
        }
        if self.encryption == ENCRYPTED {
            connection.details.postgres_mut().state = State::None as u8;
            return Outcome::became(Protocol::Postgres);
        }
        if was_lost { Outcome::RESYNCED } else { Outcome::SAME }
    }

    /// Runs a subprogram.
    #[inline(always)]
    pub fn run_subprogram<S: Runs<Self> + Looks<Self>>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        match subprogram {
            Subprogram::ClientCall => self.run_call::<false, S>(stream, source, connection).code(),
            Subprogram::ServerCall => self.run_call::<true, S>(stream, source, connection).code(),
            Subprogram::ClientIteration => Desync::code(self.take::<false, S>(source, connection).err()),
            Subprogram::ServerIteration => Desync::code(self.take::<true, S>(source, connection).err()),
        }
    }

    /// Gets in sync at the start of a call.
    #[inline(always)]
    fn regain(&mut self, server: bool, connection: &mut Connection) {
        self.streams[usize::from(server)] = Stream::new(Mode::Messages);
        // What was asked before may have been answered meanwhile; but what the server says now is an answer,
        // most likely to what was asked last, and not the first time that it was ready.
        let counters = connection.details.postgres_mut();
        let awaited = u32::from(server && counters.asked != counters.answered);
        self.ready |= awaited as u8;
        counters.answered = counters.asked.wrapping_sub(awaited);
        self.open = 0;
        self.copied = 0;
        self.tag = UNTOLD;
    }
}

/// Functions that the verifier checks each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes in a call of the client's: [`Outcome::code`].
    ClientCall,
    /// Takes in a call of the server's.
    ServerCall,
    /// Takes what is in reach of a call of the client's: [`Desync::code`] of what went wrong.
    ClientIteration,
    /// The same of the server's.
    ServerIteration,
}

/// The one that takes what is in reach of a side's call. A constant where a loop runs it: of a variable, each of the
/// loop's iterations would be any subprogram to the verifier, and to the stack.
const fn iteration(is_server: bool) -> Subprogram {
    if is_server { Subprogram::ServerIteration } else { Subprogram::ClientIteration }
}

impl Subprograms for Postgres {
    type Subprogram = Subprogram;
}

impl Parser for Postgres {
    #[inline(always)]
    fn start(&mut self, opening: Opening, _role: Role, connection: &mut Connection) {
        self.reset(Mode::Startup, Mode::Messages);
        self.streams[0].keep(opening.first, 0, opening.kept);
        connection.details.postgres_mut().state = State::Waiting as u8;
        // It may yet be a request to cancel, or become TLS.
        connection.pending = 1;
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, _connection: &mut Connection) {
        self.reset(Mode::Lost, Mode::Lost);
        self.ready = 1;
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        let stream = &self.streams[side as usize];
        stream.skip == 0 && stream.carried == 0
    }

    #[inline(always)]
    fn is_lost(&self, side: Side) -> bool {
        self.streams[side as usize].is(Mode::Lost)
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, _connection: &mut Connection) -> Option<Outcome> {
        let own = &mut self.streams[stream.side as usize];
        if !own.text.is_over() || u64::from(own.skip) < bytes || own.is(Mode::Lost) {
            return None;
        }
        own.skip -= bytes as u32;
        Some(Outcome::SAME)
    }

    #[inline(always)]
    fn lose(&mut self, side: Side, _connection: &mut Connection) {
        self.streams[side as usize] = Stream::new(Mode::Lost);
    }

    #[inline(always)]
    fn is_whole<S: Bytes>(side: Side, source: &mut S) -> bool {
        match side {
            Side::Client => is_whole::<false, S>(source),
            Side::Server => is_whole::<true, S>(source),
        }
    }

    #[inline(always)]
    fn is_full(connection: &Connection, _direction: Direction) -> bool {
        connection.details.postgres().is_full()
    }

    #[inline(always)]
    fn carry_over(before: &Connection, next: &mut Connection) {
        let (before, next) = (before.details.postgres(), next.details.postgres_mut());
        next.state = before.state;
        next.transaction_began_ns = before.transaction_began_ns;
        next.starts = before.starts;
        // As many requests are unanswered, in the same places.
        next.answered = before.answered & (STARTS as u32 - 1);
        next.asked = next.answered.wrapping_add(before.asked.wrapping_sub(before.answered));
    }
}

impl<S: Runs<Self> + Looks<Self>> Parse<S> for Postgres {
    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        let call = match stream.side {
            Side::Client => Subprogram::ClientCall,
            Side::Server => Subprogram::ServerCall,
        };
        Outcome::from_code(source.run(call, self, stream, connection))
    }
}

impl Postgres {
    /// An error of a SQLSTATE's class has come.
    #[inline(always)]
    fn take_error(&mut self, class: [u8; 2], connection: &mut Connection) {
        if self.ready == 0 && self.refused == 0 {
            self.refused = 1;
            connection.details.postgres_mut().refused = class;
        }
        count_error(connection, class);
    }
}

/// Counts an error by its SQLSTATE's class.
#[inline(always)]
fn count_error(connection: &mut Connection, class: [u8; 2]) {
    use self::layout::{ERROR_CLASSES, ErrorClass, OTHER_CLASSES};
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
