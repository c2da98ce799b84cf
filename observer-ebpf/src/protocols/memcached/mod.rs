//! memcached's text protocol, with the meta commands (`doc/protocol.txt` of memcached).
//!
//! ```text
//!   client:  get user:1 user:2 │ set user:1 0 60 5 │ Alice │ …     lines, and data behind those that tell its length
//!   server:  VALUE user:1 0 5 │ Alice │ END │ STORED │ …           lines and data; replies in order
//! ```
//!
//! Of a line its first word is looked at, keys, and the length of data; of a key nothing is kept but its prefix. A reply
//! to a command of several keys names those that were found: one that it passes over was not.
//!
//! **Silence.** A command with `noreply` is not waited for. A quiet meta command is answered only if there is something to
//! say. Which were not answered shows once the reply to a later command comes. Where that may be a quiet one's as well,
//! the server's stream is out of sync.
//!
//! **Likely.** Redis has commands that look the same, in a line. So until the first reply a connection is only likely
//! memcached's, and then goes over to Redis if that is what answers (`redis.rs`).

mod commands;
mod detect;
pub mod layout;
mod line;
mod redis;
mod replies;

use self::commands::Commands;
use self::replies::Replies;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side, Zeroes as _};
use crate::protocols::Protocol;
use crate::protocols::redis::is_type;
use crate::stream::bytes::{Bytes, ITERATIONS_MAX, is_done};
use crate::stream::names::Keys;
use crate::stream::parser::{Opening, Outcome, Parse, Parser, StreamId};
use crate::stream::pipeline::Pipeline;
use crate::stream::subprograms::{Looks, Runs, Subprograms};

/// Words, or stretches of data, in one iteration of the loop over a call's bytes.
const AT_ONCE: u32 = 2;

/// The most data of a command or a reply: the largest item that a server may be told to take (`-I`).
const DATA_MAX: u64 = 1 << 30;

/// Both directions of a session. All zeroes at its start.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Memcached {
    /// First, as with Redis, which goes on with it where a connection turns out to be Redis'.
    pipeline: Pipeline,
    commands: Commands,
    replies: Replies,
    /// Commands so far that have a reply, written by the client's direction.
    asked: u32,
    /// How many of them are answered, written by the server's direction.
    answered: u32,
    /// By [`Side`]: bytes of data that have not passed, with the two behind them.
    skip: [u32; 2],
    /// By [`Side`]: 1 while out of sync.
    lost: [u8; 2],
    /// By [`Side`]: 1 inside a message, apart from its data.
    inside: [u8; 2],
    /// Set by the client's direction when it is not known any more which reply belongs to which command.
    unmatched: u8,
    /// 1 once the server writes its log.
    ignored: u8,
    /// 1 before the first reply.
    tentative: u8,
    reserved: u8,
}

const _: () = assert!(align_of::<Memcached>() == 8 && size_of::<Memcached>().is_multiple_of(8));

/// Functions that the verifier checks each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes in a call of the client's: [`Outcome::code`].
    ClientCall,
    /// Takes in a call of the server's.
    ServerCall,
    /// Tells by the server's first call what is spoken: [`Outcome::code`].
    FirstReply,
    /// Takes what is in reach of a call of the client's: [`Desync::code`] of what went wrong.
    Command,
    /// The same of the server's.
    Reply,
}

impl Subprograms for Memcached {
    type Subprogram = Subprogram;
}

impl Memcached {
    /// Nothing seen yet.
    pub const START: Self = Self {
        pipeline: Pipeline::START,
        commands: Commands::START,
        replies: Replies::START,
        asked: 0,
        answered: 0,
        skip: [0; 2],
        lost: [0; 2],
        inside: [0; 2],
        unmatched: 0,
        ignored: 0,
        tentative: 0,
        reserved: 0,
    };

    #[inline(always)]
    fn reset(&mut self, lost: u8) {
        self.commands.clear();
        self.replies.clear();
        self.pipeline.reset();
        self.asked = 0;
        self.answered = 0;
        self.skip = [0; 2];
        self.lost = [lost; 2];
        self.inside = [0; 2];
        self.unmatched = 0;
        self.ignored = 0;
        self.tentative = 0;
    }

    /// Runs through the bytes of a call of the client's, or of the server's.
    #[inline(always)]
    fn run_call<const SERVER: bool, S: Runs<Self> + Looks<Self> + Keys>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        let side = if SERVER { Side::Server } else { Side::Client };
        if SERVER && self.tentative != 0 {
            self.tentative = 0;
            return Outcome::from_code(source.run(Subprogram::FirstReply, self, stream, connection));
        }
        if self.ignored != 0 {
            return Outcome::SAME;
        }
        let mut resynced = false;
        if SERVER && self.unmatched != 0 {
            self.unmatched = 0;
            self.lose(side, connection);
            resynced = true;
        }
        if self.lost[side as usize] != 0 {
            let found = if SERVER { self.resync_replies(source) } else { source.is_whole(side) };
            if !found {
                return if resynced { Outcome::RESYNCED } else { Outcome::SAME };
            }
            self.lost[side as usize] = 0;
            resynced = true;
        }
        if SERVER {
            self.replies.refresh(source);
        } else {
            self.commands.refresh(source);
        }
        let mut code = 0;
        let finished = S::repeat(ITERATIONS_MAX / AT_ONCE, || {
            (0..AT_ONCE).all(|_| {
                code = source.run(const { taking(SERVER) }, self, stream, connection);
                code == 0 && !(is_done(source) && !(SERVER && self.replies.is_pending()))
            })
        });
        let is_at_start = if SERVER {
            self.settle(source, connection);
            self.replies.is_at_start()
        } else {
            self.commands.is_at_start()
        };
        self.inside[side as usize] = u8::from(!is_at_start);
        if code == 0 && finished {
            return if resynced { Outcome::RESYNCED } else { Outcome::SAME };
        }
        if !SERVER && self.is_tentative() {
            return Outcome::became(Protocol::Unknown);
        }
        self.lose(side, connection);
        Outcome::lost(Desync::from_code(code).unwrap_or(Desync::Bound))
    }

    /// What the first reply tells of what is spoken.
    #[inline(always)]
    fn take_first_reply<S: Bytes>(&mut self, source: &mut S, connection: &mut Connection) -> Outcome {
        let Ok(available) = source.window(0) else { return Outcome::became(Protocol::Unknown) };
        let (lo, hi) = source.words(0);
        if replies::is_first(lo, hi, available) {
            self.pipeline.pin(false);
            Outcome::CONFIRMED
        } else if is_type(lo as u8) && self.hand_over(source, connection) {
            Outcome::became(Protocol::Redis)
        } else {
            Outcome::became(Protocol::Unknown)
        }
    }

    /// Runs a subprogram.
    #[inline(always)]
    pub fn run_subprogram<S: Runs<Self> + Looks<Self> + Keys>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        match subprogram {
            Subprogram::ClientCall => self.run_call::<false, S>(stream, source, connection).code(),
            Subprogram::ServerCall => self.run_call::<true, S>(stream, source, connection).code(),
            Subprogram::FirstReply => self.take_first_reply(source, connection).code(),
            Subprogram::Command => Desync::code(self.take_command(source, connection).err()),
            Subprogram::Reply => Desync::code(self.take_reply(source, connection).err()),
        }
    }
}

/// The subprogram that takes what is in reach of a side's call: a constant where a loop runs it.
const fn taking(is_server: bool) -> Subprogram {
    if is_server { Subprogram::Reply } else { Subprogram::Command }
}

impl Parser for Memcached {
    #[inline(always)]
    fn start(&mut self, opening: Opening, _role: Role, connection: &mut Connection) {
        self.reset(0);
        self.commands.keep(opening.first, opening.kept);
        self.tentative = u8::from(opening.tentative);
        // Redis may go on with what is there.
        self.pipeline.pin(opening.tentative);
        connection.pending = self.tentative;
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, _connection: &mut Connection) {
        self.reset(1);
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        self.skip[side as usize] == 0 && self.inside[side as usize] == 0
    }

    #[inline(always)]
    fn is_lost(&self, side: Side) -> bool {
        self.lost[side as usize] != 0
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, _connection: &mut Connection) -> Option<Outcome> {
        let skip = &mut self.skip[stream.side as usize];
        if self.ignored == 0 {
            if u64::from(*skip) < bytes {
                return None;
            }
            *skip -= bytes as u32;
        }
        Some(Outcome::SAME)
    }

    #[inline(always)]
    fn is_tentative(&self) -> bool {
        self.tentative != 0
    }

    #[inline(always)]
    fn lose(&mut self, side: Side, _connection: &mut Connection) {
        self.lost[side as usize] = 1;
        self.skip[side as usize] = 0;
        self.inside[side as usize] = 0;
        match side {
            Side::Client => {
                self.commands.clear();
                self.unmatched = 1;
            }
            Side::Server => self.replies.clear(),
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
        connection.details.memcached().is_full()
    }

    #[inline(always)]
    fn carry_over(_before: &Connection, _next: &mut Connection) {}
}

impl<S: Runs<Self> + Looks<Self> + Keys> Parse<S> for Memcached {
    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        let call = match stream.side {
            Side::Client => Subprogram::ClientCall,
            Side::Server => Subprogram::ServerCall,
        };
        Outcome::from_code(source.run(call, self, stream, connection))
    }
}
