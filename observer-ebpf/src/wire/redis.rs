//! RESP2 and RESP3, and inline commands ("Redis serialization protocol specification" in the Redis
//! documentation).
//!
//! ```text
//!   client:  *2 $3 GET $6 user:1 │ *3 … │ PING        arrays of bulk strings, or a line
//!   server:  $5 Alice            │ +OK  │ +PONG       one reply each, in order; pushes in between
//! ```
//!
//! Of a command its name is looked at, the keys of those that find or miss one, and the options of those that give
//! a time to live; of a reply its first line, and the text of `INFO`'s. Nothing of a key is kept but its prefix.
//!
//! **Nesting.** Aggregates within a reply are stepped over by one count of elements still to come.
//!
//! **Bulk.** Values are stepped over by their length, and a call that lies inside one is not read at all. A call's
//! turns are bounded by [`STEPS_MAX`].

mod commands;
mod queue;
mod replies;
mod text;

use self::commands::Commands;
use self::queue::Queue;
use self::replies::Replies;
use super::source::{STEPS_MAX, Source};
use crate::layout::Zeroes as _;
use crate::layout::connection::Connection;
use crate::layout::health::Desync;
use crate::layout::redis::State;

/// Steps in one turn of the loop over a call's bytes.
const STEPS_AT_ONCE: u32 = 4;

/// The longest bulk string: `proto-max-bulk-len` as it is unless changed.
const LENGTH_MAX: u64 = 512 << 20;

/// The most elements of an aggregate.
const COUNT_MAX: u64 = 1 << 31;

/// Both directions of a session. All zeroes at its start.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Redis {
    commands: Commands,
    replies: Replies,
    queue: Queue,
    /// By the side that is the server's: 1 while out of step.
    lost: [u8; 2],
    /// Set by the client's direction when it falls out of step: which reply belongs to which command is then
    /// not known either.
    unmatched: u8,
    /// 1 if it is a replica's connection, or a monitor's.
    ignored: u8,
    /// 1 while only inline commands have been seen, and no reply to them.
    tentative: u8,
    reserved: [u8; 3],
}

const _: () = assert!(align_of::<Redis>() == 8 && size_of::<Redis>().is_multiple_of(8));

impl Redis {
    /// Nothing seen yet.
    pub const START: Self = Self {
        commands: Commands::START,
        replies: Replies::START,
        queue: Queue::START,
        lost: [0; 2],
        unmatched: 0,
        ignored: 0,
        tentative: 0,
        reserved: [0; 3],
    };

    /// Starts with the connection's first byte. Its first `kept` bytes, those of `first`, came with calls
    /// that are over. What starts with an inline command is `tentative`: the first reply tells.
    #[inline(always)]
    pub fn start(&mut self, first: u64, kept: u32, tentative: bool, connection: &mut Connection) {
        self.reset(0);
        self.commands.keep(first, 0, kept);
        self.tentative = u8::from(tentative);
        connection.details.redis_mut().state = State::Session as u8;
    }

    /// Starts in the middle of a session, out of step.
    #[inline(always)]
    pub fn resume(&mut self, connection: &mut Connection) {
        self.reset(1);
        connection.details.redis_mut().state = State::Session as u8;
    }

    #[inline(always)]
    fn reset(&mut self, lost: u8) {
        self.commands.clear();
        self.replies.clear();
        self.queue.reset();
        self.lost = [lost; 2];
        self.unmatched = 0;
        self.ignored = 0;
        self.tentative = 0;
    }

    /// Whether it is not known yet that this is Redis.
    #[inline(always)]
    pub const fn is_tentative(&self) -> bool {
        self.tentative != 0
    }

    /// Whether what a server says first, with its first byte in `first`, can be a reply.
    #[inline(always)]
    pub const fn may_answer(first: u64) -> bool {
        replies::is_type(first as u8)
    }

    /// Finds a session by a call of its client's in the middle: whether it is whole commands.
    #[inline(always)]
    pub fn is_whole<S: Source>(&mut self, source: &mut S) -> bool {
        self.commands.is_whole(source)
    }

    /// Whether the stream stands between two commands, or replies.
    #[inline(always)]
    pub const fn between_messages(&self, server: bool) -> bool {
        if server { self.replies.is_between() } else { self.commands.is_between() }
    }

    /// Steps over a call of `bytes` if it lies inside a value that is not looked at: tells whether it does.
    #[inline(always)]
    pub fn pass(&mut self, server: bool, bytes: u64) -> bool {
        if self.ignored != 0 {
            return true;
        }
        if self.lost[usize::from(server)] != 0 {
            return false;
        }
        let unread = if server { self.replies.unread() } else { self.commands.unread() };
        let Some(skip) = unread else { return false };
        let inside = u64::from(*skip) >= bytes;
        if inside {
            *skip -= bytes as u32;
        }
        inside
    }

    /// Puts a direction out of step.
    #[inline(always)]
    pub fn lose(&mut self, server: bool) {
        self.lost[usize::from(server)] = 1;
        if server {
            self.replies.clear();
        } else {
            self.commands.clear();
            self.unmatched = 1;
        }
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
        if self.ignored != 0 {
            return None;
        }
        if SERVER {
            if self.unmatched != 0 {
                self.unmatched = 0;
                self.lose(true);
                *lost = 1;
            }
            if self.tentative != 0 {
                self.tentative = 0;
            }
        }
        if self.lost[usize::from(SERVER)] != 0 {
            let found =
                if SERVER { self.regain_replies(source, connection) } else { self.commands.is_whole(source) };
            if !found {
                return None;
            }
            self.lost[usize::from(SERVER)] = 0;
            *lost = 0;
        }
        let mut code = 0;
        let finished = S::repeat(STEPS_MAX / STEPS_AT_ONCE, || {
            (0..STEPS_AT_ONCE).all(|_| {
                code = self.turn::<SERVER, S>(source, connection);
                code == 0 && source.position() < source.end()
            })
        });
        if SERVER {
            self.settle(source, connection);
        }
        if code == 0 && finished {
            return None;
        }
        self.lose(SERVER);
        *lost = 1;
        Some(Desync::from_code(code).unwrap_or(Desync::Bound))
    }

    /// Runs the part that looks at what is in reach, and those that are asked for then; tells [`Desync::code`] of
    /// what went wrong.
    #[inline(always)]
    fn turn<const SERVER: bool, S: Source>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let [whole, step, one, other] = if SERVER {
            [Part::Plain, Part::Replies, Part::Take, Part::Value]
        } else {
            [Part::Whole, Part::Commands, Part::Argument, Part::Inline]
        };
        let mut code = source.run_redis(whole, self, connection);
        if code == step.asked() {
            code = source.run_redis(step, self, connection);
        }
        if code == one.asked() {
            source.run_redis(one, self, connection)
        } else if code == other.asked() {
            source.run_redis(other, self, connection)
        } else {
            code
        }
    }

    /// Runs a part; tells [`Desync::code`] of what went wrong, or which part is to follow.
    #[inline(always)]
    pub fn run_part<S: Source>(&mut self, part: Part, source: &mut S, connection: &mut Connection) -> u32 {
        let outcome = match part {
            Part::Whole => return self.step_whole(source, connection),
            Part::Commands => return self.step_commands(source, connection),
            Part::Argument => {
                self.end_look(source, connection);
                pass_unread(self.commands.unread(), source);
                Ok(())
            }
            Part::Inline => self.read_inline(source, connection),
            Part::Plain => return self.step_plain(source, connection),
            Part::Replies => return self.step_replies(source),
            Part::Take => self.take(source, connection).map(|()| self.end_line(source)),
            Part::Value => {
                self.read_value(source, connection);
                Ok(())
            }
        };
        Desync::code(outcome.err())
    }
}

/// Goes past those bytes of a value that is not looked at which are there.
#[inline(always)]
fn pass_unread<S: Source>(unread: Option<&mut u32>, source: &mut S) {
    if let Some(skip) = unread {
        let at = source.position();
        let left = source.end().saturating_sub(at);
        let bytes = if *skip < left { *skip } else { left };
        *skip -= bytes;
        source.go_to(at + bytes);
    }
}

/// What the parser is made of.
///
/// None calls another: before 6.13 the kernel gives all that are on the stack at once no more than 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A turn of the client's stream: a command in one piece, or what is not looked at; asks for the next one.
    Whole,
    /// Anything else of the client's: asks for one of the two that follow.
    Commands,
    /// An argument is over, as far as it is looked at.
    Argument,
    /// A byte of an inline command.
    Inline,
    /// A turn of the server's stream: a plain reply, or what is not looked at; asks for the next one.
    Plain,
    /// Anything else of the server's: asks for one of the two that follow.
    Replies,
    /// A line that starts a value.
    Take,
    /// Bytes of a value that is looked at.
    Value,
}

impl Part {
    /// What a part returns that wants this one run next: no [`Desync::code`].
    #[inline(always)]
    const fn asked(self) -> u32 {
        0x100 + self as u32
    }
}

/// A line that tells a length or a count: its type, the number, and how many bytes it has.
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u8,
    /// `None` for -1.
    value: Option<u64>,
    length: u32,
}

impl Header {
    /// One of one or two digits, which most are.
    #[inline(always)]
    const fn short(lo: u64) -> Option<Self> {
        const END: u16 = u16::from_le_bytes(*b"\r\n");
        let first = ((lo >> 8) as u8).wrapping_sub(b'0');
        let second = ((lo >> 16) as u8).wrapping_sub(b'0');
        if first > 9 {
            return None;
        }
        if (lo >> 16) as u16 == END {
            return Some(Self { kind: lo as u8, value: Some(first as u64), length: 4 });
        }
        if (lo >> 24) as u16 == END && second <= 9 {
            return Some(Self { kind: lo as u8, value: Some(first as u64 * 10 + second as u64), length: 5 });
        }
        None
    }

    /// The header at the start of two words of which `have` bytes are there. `Ok(None)` if it is not complete.
    #[inline(always)]
    fn read(lo: u64, hi: u64, have: u32) -> Result<Option<Self>, Desync> {
        if let Some(short) = Self::short(lo)
            && short.length <= have
        {
            return Ok(Some(short));
        }
        let end = text::find_in_two(lo, hi, b'\n');
        if end >= have {
            return if have < 16 { Ok(None) } else { Err(Desync::Header) };
        }
        let before = if end >= 9 { hi >> (8 * (end - 9)) } else { lo >> (8 * (end.max(1) - 1)) };
        if end < 3 || before as u8 != b'\r' {
            return Err(Desync::Header);
        }
        let (first, rest) = (lo >> 8 | hi << 56, hi >> 8);
        if end == 4 && first as u16 == u16::from_le_bytes(*b"-1") {
            return Ok(Some(Self { kind: lo as u8, value: None, length: end + 1 }));
        }
        match text::number(first, rest, end - 2) {
            Some(value) => Ok(Some(Self { kind: lo as u8, value: Some(value), length: end + 1 })),
            None => Err(Desync::Length),
        }
    }
}
