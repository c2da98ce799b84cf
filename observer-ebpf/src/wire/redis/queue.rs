//! Commands that await their replies, in order: runs of equal ones, written by the client's direction and read by
//! the server's, which may be at work at the same time.
//!
//! ```text
//!   GET a:1  GET a:2  MGET a:1 b:2 b:3  SET c    becomes
//!   ┌────────┬────────┬─────────┬─────────┬─────┐
//!   │ get ×2 │ mget   │ key a   │ keys b  │ set │   each ends at a number of units: 2 3 4 6 7
//!   └────────┴────────┴─────────┴─────────┴─────┘
//! ```
//!
//! A unit is a reply, or a key of an `MGET` or `EXISTS`. When there is no room, a command joins the last run if it
//! is the same, whose prefix is then another one, and whose latencies are not told if it was sent later. Others go
//! into a run of unknown ones, of which only their number is known: replies behind them match again.

use crate::layout::redis::{Command, PREFIX_OTHER};
use crate::wire::source::recall;

/// Runs that are kept.
pub(super) const RUNS: u32 = 64;

/// The run is of keys of the command before it.
pub(super) const KEYS: u8 = 1;
/// The run is of commands for which there was no room.
pub(super) const UNKNOWN: u8 = 2;
/// The run's commands were sent at different times.
pub(super) const TIMELESS: u8 = 4;
/// No other command joins the run.
pub(super) const ALONE: u8 = 8;

/// Equal commands.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Run {
    /// When they were sent.
    pub(super) start_ns: u64,
    /// The unit behind the last one.
    pub(super) end: u32,
    /// The number of their keys' prefix.
    pub(super) prefix: u16,
    /// A [`Command`].
    pub(super) code: u8,
    /// [`KEYS`] and so on.
    pub(super) flags: u8,
}

impl Run {
    const BLANK: Self = Self { start_ns: 0, end: 0, prefix: 0, code: 0, flags: 0 };

    #[inline(always)]
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Reader {
    /// The number of its run. One that it has read to the end is left when it goes on, as more may join it.
    run: u32,
    /// Units read.
    done: u32,
}

/// A transaction, by the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Transaction {
    /// There is none.
    None = 0,
    /// Commands have been queued by the server.
    Queued = 1,
    /// Their replies come, in `EXEC`'s.
    Executed = 2,
}

/// The reader of replies.
pub(super) const REPLIES: u32 = 0;
/// The reader of the elements of `EXEC`'s reply, which come to commands that have been answered with `QUEUED`.
pub(super) const ELEMENTS: u32 = 1;

/// The runs.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Queue {
    runs: [Run; RUNS as usize],
    /// Runs so far. Written by the client's direction, as is `sent`.
    tail: u32,
    /// Units so far.
    sent: u32,
    /// [`REPLIES`] and [`ELEMENTS`]. Written by the server's direction, as is what follows.
    readers: [Reader; 2],
    /// A [`Transaction`]. While there is one, its commands are kept: the second reader is at the first of them.
    transaction: u8,
    reserved: [u8; 7],
}

impl Queue {
    pub(super) const START: Self = Self {
        runs: [Run::BLANK; RUNS as usize],
        tail: 0,
        sent: 0,
        readers: [Reader { run: 0, done: 0 }; 2],
        transaction: Transaction::None as u8,
        reserved: [0; 7],
    };

    /// Nothing has been sent.
    #[inline(always)]
    pub(super) fn reset(&mut self) {
        self.tail = 0;
        self.sent = 0;
        self.readers = [Reader { run: 0, done: 0 }; 2];
        self.transaction = Transaction::None as u8;
    }

    /// How many runs there is room for.
    #[inline(always)]
    fn room(&self) -> u32 {
        let kept = usize::from(self.transaction != Transaction::None as u8);
        let reader = &self.readers[kept & 1];
        RUNS.saturating_sub(self.tail.wrapping_sub(reader.run))
    }

    /// Adds `units` to the last run, if they are like it, or in one more. Tells whether they can be matched.
    #[inline(always)]
    pub(super) fn push(&mut self, units: u32, run: Run) -> bool {
        let tail = self.tail;
        let end = self.sent.wrapping_add(units);
        let last = &mut self.runs[(tail.wrapping_sub(1) & (RUNS - 1)) as usize];
        let same = last.code == run.code
            && last.prefix == run.prefix
            && (last.flags | TIMELESS) == (run.flags | TIMELESS)
            && !run.has(ALONE)
            && tail != 0;
        if same && last.start_ns == run.start_ns {
            last.end = end;
            self.sent = end;
            return true;
        }
        let room = self.room();
        let last = &mut self.runs[(tail.wrapping_sub(1) & (RUNS - 1)) as usize];
        // Which of its keys were found `EXISTS` does not tell.
        if run.has(KEYS) && last.has(KEYS) && (room <= 1 || run.code == Command::Exists as u8) {
            last.prefix = PREFIX_OTHER as u16;
            last.end = end;
            self.sent = end;
            return true;
        }
        if room > 1 {
            self.append(Run { end, ..run });
            return true;
        }
        if last.code == run.code && (last.flags | TIMELESS) == TIMELESS && !run.has(ALONE) && tail != 0 {
            // Without room for another time, or another prefix.
            if last.start_ns != run.start_ns {
                last.flags |= TIMELESS;
            }
            if last.prefix != run.prefix {
                last.prefix = PREFIX_OTHER as u16;
            }
            last.end = end;
            self.sent = end;
            return true;
        }
        if run.has(KEYS) {
            return false;
        }
        if last.has(UNKNOWN) && tail != 0 {
            last.end = end;
            self.sent = end;
        } else {
            self.append(Run { end, flags: UNKNOWN, code: Command::Other as u8, ..run });
        }
        false
    }

    #[inline(always)]
    fn append(&mut self, run: Run) {
        self.sent = run.end;
        self.runs[(self.tail & (RUNS - 1)) as usize] = run;
        // The other direction may look at once: what it sees is complete.
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
        self.tail = self.tail.wrapping_add(1);
    }

    /// The run that the next unit is in, keys or not.
    #[inline(always)]
    pub(super) fn next(&mut self, who: u32) -> Option<&Run> {
        let tail = recall(&self.tail);
        let reader = &mut self.readers[who as usize & 1];
        let mut run = reader.run;
        if run == tail {
            return None;
        }
        if self.runs[(run & (RUNS - 1)) as usize].end == reader.done {
            run = run.wrapping_add(1);
            if run == tail {
                return None;
            }
            reader.run = run;
        }
        Some(&self.runs[(run & (RUNS - 1)) as usize])
    }

    /// Units left in `run`, where the reader stands.
    #[inline(always)]
    pub(super) fn left(&self, who: u32, run: &Run) -> u32 {
        run.end.wrapping_sub(self.readers[who as usize & 1].done)
    }

    /// Goes on by `units`, of the run that was told.
    #[inline(always)]
    pub(super) fn advance(&mut self, who: u32, units: u32) {
        let done = &mut self.readers[who as usize & 1].done;
        *done = done.wrapping_add(units);
    }

    /// Goes on behind `run`.
    #[inline(always)]
    pub(super) fn leave(&mut self, who: u32, run: &Run) {
        self.readers[who as usize & 1].done = run.end;
    }

    /// Whether commands have been queued by the server, and not been executed.
    #[inline(always)]
    pub(super) fn is_in(&self, transaction: Transaction) -> bool {
        self.transaction == transaction as u8
    }

    /// The next command is the first that the server has queued, unless there was one.
    #[inline(always)]
    pub(super) fn begin_transaction(&mut self) {
        if self.transaction != Transaction::Queued as u8 {
            self.readers[1] = self.readers[0];
            self.transaction = Transaction::Queued as u8;
        }
    }

    /// Goes over to, or ends, a transaction.
    #[inline(always)]
    pub(super) fn go_to(&mut self, transaction: Transaction) {
        self.transaction = transaction as u8;
    }

    /// Takes all that was sent for answered.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        let tail = recall(&self.tail);
        if tail != self.readers[0].run {
            let last = tail.wrapping_sub(1);
            self.readers[0] = Reader { run: last, done: self.runs[(last & (RUNS - 1)) as usize].end };
        }
        self.transaction = Transaction::None as u8;
    }
}
