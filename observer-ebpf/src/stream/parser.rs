//! What a parser is.
//!
//! ```text
//!                     first bytes: recognise, start          Became: another's start
//!   nothing known ────────────────────────────────► parsed ─────────────────────────► parsed by another
//!        │                                          │    ▲
//!        │ a call in the middle: adopts, resume     │    │ a call of whole messages: is_whole
//!        └───────────────────────────────► out of sync ──┘
//!                                          lose ▲ anything that breaks the rules, or moved unseen
//! ```

use core::num::NonZeroU32;

use super::bytes::{Bytes, Host};
use super::start::{Match, Start};
use super::subprograms::Subprograms;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side};
use crate::protocols::Protocol;

/// Which of a connection's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    /// The way that its bytes go: counters are kept by it.
    pub direction: Direction,
    /// Whose bytes they are.
    pub side: Side,
}

impl StreamId {
    /// The stream in a direction of an end of this role.
    #[inline(always)]
    pub const fn new(direction: Direction, role: Role) -> Self {
        let is_request = direction as u8 == role.request_direction() as u8;
        Self { direction, side: if is_request { Side::Client } else { Side::Server } }
    }

    /// As a number for where only numbers can be passed.
    #[inline(always)]
    pub const fn code(self) -> u32 {
        self.direction as u32 | (self.side as u32) << 1
    }

    /// What [`StreamId::code`] made a number of.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Self {
        let direction = if code & 1 == 0 { Direction::Sent } else { Direction::Received };
        Self { direction, side: if code & 2 == 0 { Side::Client } else { Side::Server } }
    }

    /// Whether it is the client's.
    #[inline(always)]
    pub const fn is_request(self) -> bool {
        matches!(self.side, Side::Client)
    }
}

/// How a call's bytes went.
///
/// A number, and no enum with a protocol or a reason inside: of the words of such a one the compiler may leave some
/// unset, where no other branch needs them, and the verifier refuses to have them copied ("`R4 !read_ok`").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(NonZeroU32);

/// What an [`Outcome`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// See [`Outcome::SAME`].
    Same,
    /// See [`Outcome::RESYNCED`].
    Resynced,
    /// See [`Outcome::CONFIRMED`].
    Confirmed,
    /// See [`Outcome::became`].
    Became(Protocol),
    /// See [`Outcome::lost`].
    Lost(Desync),
}

impl Outcome {
    /// The stream goes on as it was.
    pub const SAME: Self = Self::from_code(0);
    /// Streams have got in sync or out of it, and nothing is to be counted for that.
    pub const RESYNCED: Self = Self::from_code(0x10);
    /// The protocol, which was only likely so far, is what is spoken. The call goes on from the source's position.
    pub const CONFIRMED: Self = Self::from_code(0x11);
    /// Of the first protocol that a connection became.
    const BECAME: u32 = 0x20;

    /// The connection speaks this from here on, from the source's position. Where that has no parser it is not looked at
    /// further, and where the connection is encrypted from here on, TLS has it; [`Protocol::Unknown`] where it was not what
    /// it seemed to be.
    #[inline(always)]
    pub const fn became(protocol: Protocol) -> Self {
        Self::from_code(Self::BECAME + protocol as u32)
    }

    /// The stream is out of sync now.
    #[inline(always)]
    pub const fn lost(why: Desync) -> Self {
        Self::of(Some(why))
    }

    /// Of what may have put a stream out of sync.
    #[inline(always)]
    pub const fn of(desync: Option<Desync>) -> Self {
        Self::from_code(Desync::code(desync))
    }

    /// As a number for where only numbers can be passed; 0 for [`Outcome::SAME`].
    #[inline(always)]
    pub const fn code(self) -> u32 {
        self.0.get() - 1
    }

    /// What [`Outcome::code`] made a number of.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Self {
        // SAFETY: at least one.
        Self(unsafe { NonZeroU32::new_unchecked((code & 0xFF) + 1) })
    }

    /// What it says.
    #[inline(always)]
    pub const fn told(self) -> Told {
        let code = self.code();
        match Desync::from_code(code) {
            None => Told::Same,
            Some(why) if code < Self::RESYNCED.code() => Told::Lost(why),
            Some(_) if code == Self::RESYNCED.code() => Told::Resynced,
            Some(_) if code < Self::BECAME => Told::Confirmed,
            Some(_) => Told::Became(Protocol::from_u8((code - Self::BECAME) as u8)),
        }
    }
}

/// A connection's first bytes, where it is seen from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The client's first bytes, as many as it took to tell the protocol.
    pub first: u64,
    /// How many of them came with calls that are over: the rest is at the start of the call in hand.
    pub kept: u32,
    /// Whether they make the protocol no more than likely.
    pub tentative: bool,
    /// What the connection was taken for before: [`Protocol::Unknown`] at its first byte.
    pub before: Protocol,
}

impl Opening {
    /// Of a protocol that another one became.
    #[inline(always)]
    pub const fn behind(before: Protocol) -> Self {
        Self { first: 0, kept: 0, tentative: false, before }
    }
}

/// Whether a call in the middle of a connection tells by itself that it is a protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopts {
    /// Its first bytes are not.
    No,
    /// Its first bytes are.
    Yes,
    /// It is if all of it is whole messages.
    IfWhole,
}

/// How a protocol is told.
pub trait Recognise {
    /// Whether the first bytes that a side sends on a connection are the protocol's.
    fn recognise(start: Start, side: Side) -> Match;

    /// Whether a call in the middle of a connection is, by its first bytes.
    fn adopts(start: Start, side: Side) -> Adopts;
}

/// The state of both of a connection's streams, which a protocol's messages move on. It is one of a union: integers
/// only, without padding.
///
/// Whatever the bytes, it counts, or falls out of sync with a reason, in bounded work.
pub trait Parser: Recognise + Subprograms {
    /// Starts with the connection's first byte, or where another protocol has become this one: of the states that follow
    /// one another so, the later one begins with the earlier one, and may take over from that.
    fn start(&mut self, opening: Opening, role: Role, connection: &mut Connection);

    /// Starts in the middle of a connection, out of sync.
    fn resume(&mut self, role: Role, connection: &mut Connection);

    /// Whether a stream stands between two messages: a call that leads from such a point to another was seen whole. It
    /// does, too, where it is not looked at.
    fn is_between(&self, side: Side) -> bool;

    /// Whether a stream is out of sync.
    fn is_lost(&self, side: Side) -> bool;

    /// Whether the protocol is still no more than likely: what breaks its rules is then another one.
    #[inline(always)]
    fn is_tentative(&self) -> bool {
        false
    }

    /// Steps over so many bytes, if they lie inside a payload that is not looked at; `None` if they need a look.
    fn pass(&mut self, stream: StreamId, bytes: u64, connection: &mut Connection) -> Option<Outcome>;

    /// Steps over bytes that moved unseen, which is harmless in the middle of a payload, and else puts the stream out of
    /// sync, for `why`; or shows that what was only likely is not known.
    #[inline(always)]
    fn miss(&mut self, stream: StreamId, bytes: u64, why: Desync, connection: &mut Connection) -> Outcome {
        if self.is_lost(stream.side) {
            return Outcome::SAME;
        }
        if let Some(outcome) = self.pass(stream, bytes, connection) {
            return outcome;
        }
        if self.is_tentative() {
            return Outcome::became(Protocol::Unknown);
        }
        self.lose(stream.side, connection);
        Outcome::lost(why)
    }

    /// Whether a message of a stream has passed unread that is to be counted, which takes more than to step over it.
    #[inline(always)]
    fn owes(&self, _side: Side) -> bool {
        false
    }

    /// Puts a stream out of sync.
    fn lose(&mut self, side: Side, connection: &mut Connection);

    /// Whether a call consists of whole messages, the last of which ends what is said at once: that is where a lost stream
    /// is found again, and where a connection is [`Adopts::IfWhole`].
    #[inline(always)]
    fn is_whole<S: Bytes>(_side: Side, _source: &mut S) -> bool {
        false
    }

    /// Whether a count may overflow soon, of what a connection has counted in a direction.
    fn is_full(connection: &Connection, direction: Direction) -> bool;

    /// Takes over what is no count, as the state of a session, when a connection goes on in another slot.
    fn carry_over(before: &Connection, next: &mut Connection);

    /// The protocol that may become this one without a break: what that has counted is kept, and its state, where this
    /// one's begins with the same fields. Any other leaves nothing behind.
    const GOES_ON_FROM: Option<Protocol> = None;
}

/// The parser that has the streams of a connection first seen in the middle until they are known to be something.
pub trait Guess: Parser {
    /// Starts to look for messages in both streams.
    fn start_searching(&mut self);

    /// Whether messages are looked for in a stream, and none are likely so far.
    fn is_searching(&self, side: Side) -> bool;
}

/// A parser that reads bytes of this kind.
pub trait Parse<S: Host>: Parser {
    /// Takes in a call's bytes of a stream, from the source's position on.
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome;

    /// Counts what a stream [owes](Parser::owes).
    #[inline(always)]
    fn settle(&mut self, _stream: StreamId, _source: &mut S, _connection: &mut Connection) {}

    /// The same of the rest of a call that another parser has begun, which is rare: with little on the stack, and
    /// nothing inlined.
    #[inline(always)]
    fn run_rest(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        self.run(stream, source, connection)
    }
}
