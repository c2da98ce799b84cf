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
//! iterations are bounded by [`ITERATIONS_MAX`].

mod commands;
mod detect;
mod header;
pub mod layout;
mod queues;
mod replies;
mod streams;
mod subprograms;
mod text;

use self::commands::Commands;
use self::header::Header;
use self::layout::State;
use self::replies::Replies;
pub(in crate::protocols) use self::replies::is_type;
pub use self::subprograms::Subprogram;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side, Zeroes as _};
use crate::protocols::Protocol;
use crate::queues::Queues;
use crate::stream::bytes::{Bytes, ITERATIONS_MAX, is_done, pass};
use crate::stream::names::Keys;
use crate::stream::parser::{Opening, Outcome, Parse, Parser, StreamId};
use crate::stream::pipeline::Pipeline;
use crate::stream::subprograms::{Looks, Runs, Subprograms};

/// Commands or replies in one iteration of the loop over a call's bytes.
const AT_ONCE: u32 = 4;

/// The longest bulk string: `proto-max-bulk-len` as it is unless changed.
const LENGTH_MAX: u64 = 512 << 20;

/// Of a [`Run`](crate::stream::pipeline::Run): its commands are not answered before something happens.
const BLOCKING: u8 = 32;
/// Of one: what follows is no longer commands and replies, once they have been accepted.
const TURNS: u8 = 128;

/// The most elements of an aggregate.
const COUNT_MAX: u64 = 1 << 31;

/// Both directions of a session. All zeroes at its start.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Redis {
    /// First, as with memcached, of which it takes them over.
    pipeline: Pipeline,
    commands: Commands,
    replies: Replies,
    /// By [`Side`]: 1 while out of sync.
    lost: [u8; 2],
    /// Set by the client's direction when it falls out of sync: which reply belongs to which command is then
    /// not known either.
    unmatched: u8,
    /// 1 if it is a replica's connection, or a monitor's.
    ignored: u8,
    /// 1 while only inline commands have been seen, and no reply to them; or a server's first words.
    tentative: u8,
    /// 1 while it has subscribed to channels or patterns, and 2 to channels of shards, in RESP2.
    subscriptions: u8,
    reserved: [u8; 2],
}

const _: () = assert!(align_of::<Redis>() == 8 && size_of::<Redis>().is_multiple_of(8));

impl Redis {
    /// Nothing seen yet.
    pub const START: Self = Self {
        pipeline: Pipeline::START,
        commands: Commands::START,
        replies: Replies::START,
        lost: [0; 2],
        unmatched: 0,
        ignored: 0,
        tentative: 0,
        subscriptions: 0,
        reserved: [0; 2],
    };

    #[inline(always)]
    fn reset(&mut self, lost: u8) {
        if lost == 0 {
            self.commands.clear();
        } else {
            self.commands.resume();
        }
        self.replies.clear();
        self.lost = [lost; 2];
        self.unmatched = 0;
        self.ignored = 0;
        self.tentative = 0;
        self.subscriptions = 0;
    }

    /// From here on the connection is a replica's, or a monitor's.
    #[inline(always)]
    fn turn(&mut self, connection: &mut Connection) {
        self.ignored = 1;
        self.lost = [0; 2];
        connection.details.redis_mut().state = State::Ignored as u8;
    }

    /// Runs through the bytes of a call of the client's, or of the server's.
    #[inline(always)]
    fn run_call<const SERVER: bool, S: Runs<Self> + Looks<Self> + Keys + Queues>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        if self.ignored != 0 {
            return Outcome::SAME;
        }
        let side = if SERVER { Side::Server } else { Side::Client };
        if SERVER && self.tentative != 0 {
            self.tentative = 0;
            let is_reply = source.window(0).is_ok_and(|available| {
                let (lo, hi) = source.words(0);
                is_type(lo as u8) && detect::may_be_refusal(lo, hi, available)
            });
            return if is_reply { Outcome::CONFIRMED } else { Outcome::became(Protocol::Unknown) };
        }
        let mut resynced = false;
        if SERVER && self.unmatched != 0 {
            self.unmatched = 0;
            self.lose(side, connection);
            resynced = true;
        }
        if self.lost[side as usize] != 0 {
            let found = if SERVER { self.resync_replies(source, connection) } else { source.is_whole(side) };
            if !found {
                return if resynced { Outcome::RESYNCED } else { Outcome::SAME };
            }
            self.lost[side as usize] = 0;
            resynced = true;
        }
        if !SERVER {
            self.commands.refresh(source);
        }
        let mut code = 0;
        let finished = S::repeat(ITERATIONS_MAX / AT_ONCE, || {
            (0..AT_ONCE).all(|_| {
                code = self.take::<SERVER, S>(stream, source, connection);
                code == 0 && !is_done(source)
            })
        });
        if SERVER {
            self.settle(source, connection);
            if self.replies.has_changes() {
                self.replies.settle_changes();
                source.run(Subprogram::QueueReply, self, stream, connection);
            }
        } else if self.commands.puts.has_any() {
            self.put_waiting(source);
        }
        if code == 0 && finished {
            return if resynced { Outcome::RESYNCED } else { Outcome::SAME };
        }
        if SERVER && self.turns_next(source, connection) {
            // What a replica is sent before and with the answer is no reply: empty lines, a length that is none.
            self.turn(connection);
            return Outcome::RESYNCED;
        }
        if !SERVER && self.is_tentative() {
            return Outcome::became(Protocol::Unknown);
        }
        self.lose(side, connection);
        Outcome::lost(Desync::from_code(code).unwrap_or(Desync::Bound))
    }

    /// Runs the subprogram that looks at what is in reach, and those that are asked for then; tells [`Desync::code`] of
    /// what went wrong.
    #[inline(always)]
    fn take<const SERVER: bool, S: Runs<Self>>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        let [plain, any, one, other] = if SERVER {
            [Subprogram::PlainReply, Subprogram::Reply, Subprogram::Line, Subprogram::Value]
        } else {
            [Subprogram::PlainCommand, Subprogram::Command, Subprogram::Argument, Subprogram::Inline]
        };
        let [queue, of_stream] = if SERVER {
            [Subprogram::QueueReply, Subprogram::StreamReply]
        } else {
            [Subprogram::QueueUse, Subprogram::StreamKey]
        };
        let mut code = source.run(plain, self, stream, connection);
        let plain_queue = if SERVER { Subprogram::PlainQueueReply } else { Subprogram::QueueCommand };
        if code == plain_queue.asked() {
            code = source.run(plain_queue, self, stream, connection);
        }
        if code == any.asked() {
            code = source.run(any, self, stream, connection);
        }
        if !SERVER && code == of_stream.asked() {
            code = source.run(of_stream, self, stream, connection);
        }
        if code == one.asked() {
            code = source.run(one, self, stream, connection);
        } else if code == other.asked() {
            code = source.run(other, self, stream, connection);
        }
        if code == queue.asked() {
            source.run(queue, self, stream, connection)
        } else if SERVER && code == of_stream.asked() {
            source.run(of_stream, self, stream, connection)
        } else {
            code
        }
    }

    /// Runs a subprogram.
    #[inline(always)]
    pub fn run_subprogram<S: Runs<Self> + Looks<Self> + Keys + Queues>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        let outcome = match subprogram {
            Subprogram::ClientCall => return self.run_call::<false, S>(stream, source, connection).code(),
            Subprogram::ServerCall => return self.run_call::<true, S>(stream, source, connection).code(),
            Subprogram::PlainCommand => return self.plain_command(source, connection),
            Subprogram::QueueCommand => return self.queue_command(source, connection),
            Subprogram::Command => return self.command(source, connection),
            Subprogram::Argument => {
                let uses_queue = self.end_look(source, connection);
                if let Some(skip) = self.commands.unread() {
                    pass(skip, source);
                }
                if uses_queue {
                    return Subprogram::QueueUse.asked();
                }
                Ok(())
            }
            Subprogram::QueueUse => {
                self.push_queue_use(source, connection);
                Ok(())
            }
            Subprogram::PlainQueueReply => return self.plain_queue_reply(source, connection),
            Subprogram::StreamKey => {
                self.end_stream_key(source, connection);
                return Subprogram::Argument.asked();
            }
            Subprogram::Inline => self.read_inline(source, connection),
            Subprogram::PlainReply => return self.plain_reply(source, connection),
            Subprogram::Reply => return self.reply(source),
            Subprogram::Line => {
                let outcome = self.take_line(source, connection).map(|()| self.end_line(source));
                if outcome.is_ok() && self.replies.has_queue() {
                    return self.replies.asked();
                }
                outcome
            }
            Subprogram::Value => {
                self.read_value(source, connection);
                if self.replies.has_queue() {
                    return self.replies.asked();
                }
                Ok(())
            }
            Subprogram::QueueReply => {
                self.take_queue(source, connection);
                Ok(())
            }
            Subprogram::StreamReply => {
                self.take_stream(source, connection);
                Ok(())
            }
        };
        Desync::code(outcome.err())
    }
}

impl Subprograms for Redis {
    type Subprogram = Subprogram;
}

impl Parser for Redis {
    #[inline(always)]
    fn start(&mut self, opening: Opening, _role: Role, connection: &mut Connection) {
        self.reset(0);
        if opening.before == Protocol::Memcached {
            self.pipeline.pin(false);
        } else {
            self.pipeline.reset();
        }
        self.commands.keep(opening.first, 0, opening.kept);
        // What starts with an inline command may be something else: the first reply tells.
        self.tentative = u8::from(opening.tentative);
        connection.pending = self.tentative;
        connection.details.redis_mut().state = State::Session as u8;
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, connection: &mut Connection) {
        self.reset(1);
        self.pipeline.reset();
        connection.details.redis_mut().state = State::Session as u8;
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        self.ignored != 0
            || match side {
                Side::Client => self.commands.is_between(),
                Side::Server => self.replies.is_between(),
            }
    }

    #[inline(always)]
    fn is_lost(&self, side: Side) -> bool {
        self.lost[side as usize] != 0
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, _connection: &mut Connection) -> Option<Outcome> {
        if self.ignored != 0 {
            return Some(Outcome::SAME);
        }
        if self.is_lost(stream.side) {
            return None;
        }
        let unread = match stream.side {
            Side::Client => self.commands.unread(),
            Side::Server => self.replies.unread(),
        };
        let skip = unread.filter(|skip| u64::from(**skip) >= bytes)?;
        *skip -= bytes as u32;
        Some(Outcome::SAME)
    }

    #[inline(always)]
    fn is_tentative(&self) -> bool {
        self.tentative != 0
    }

    #[inline(always)]
    fn lose(&mut self, side: Side, _connection: &mut Connection) {
        self.lost[side as usize] = 1;
        match side {
            Side::Server => self.replies.clear(),
            Side::Client => {
                self.commands.lose();
                self.unmatched = 1;
            }
        }
    }

    #[inline(always)]
    fn is_whole<S: Bytes>(side: Side, source: &mut S) -> bool {
        match side {
            Side::Client => commands::is_whole(source),
            Side::Server => replies::is_whole(source),
        }
    }

    #[inline(always)]
    fn is_full(connection: &Connection, _direction: Direction) -> bool {
        connection.details.redis().is_full()
    }

    #[inline(always)]
    fn carry_over(before: &Connection, next: &mut Connection) {
        let (before, next) = (before.details.redis(), next.details.redis_mut());
        next.state = before.state;
        next.asked = before.asked.wrapping_sub(before.answered);
        next.waits_asked = before.waits_asked.wrapping_sub(before.waits_answered);
    }

    const GOES_ON_FROM: Option<Protocol> = Some(Protocol::Memcached);
}

impl<S: Runs<Self> + Looks<Self> + Keys + Queues> Parse<S> for Redis {
    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        let call = match stream.side {
            Side::Client => Subprogram::ClientCall,
            Side::Server => Subprogram::ServerCall,
        };
        Outcome::from_code(source.run(call, self, stream, connection))
    }
}
