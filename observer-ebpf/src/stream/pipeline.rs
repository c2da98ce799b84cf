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
//! A unit is a reply, or a key of a command that looks up several. Like commands that follow on one another are one run.
//! a pipeline has room for a few runs, which is enough but for deep pipelines of unlike commands. What comes when it is full
//! goes to a [`Backlog`], outside of the connection's state, until all of it has been answered (`pipeline/beyond.rs`).
//!
//! When there is no room there either, a command joins the last run if it is the same, whose prefix is then another one,
//! and whose latencies are not told if it was sent later. Others go into a run of unknown ones, of which only their number
//! is known: replies behind them match again.

mod beyond;

use super::bytes::hide_field;

/// Runs that a pipeline has room for.
pub(crate) const RUNS: u32 = 64;

/// Where runs are kept for which a pipeline has no room, by the connection's id and their number. Beyond the most entries
/// that it has, which all connections share, the oldest are forgotten.
pub trait Backlog {
    /// [`Pipeline::push_beyond`]: in the kernel a function of its own.
    fn push_beyond(&mut self, pipeline: &mut Pipeline, id: u64) -> bool;

    /// [`Pipeline::fetch`]: in the kernel a function of its own.
    fn fetch(&mut self, pipeline: &mut Pipeline, id: u64, who: u32) -> bool;

    /// Keeps a run, in place of one of the same number. False if that cannot be.
    fn keep(&mut self, id: u64, number: u32, run: [u64; 2]) -> bool;

    /// A run that was kept.
    fn kept(&mut self, id: u64, number: u32) -> Option<[u64; 2]>;

    /// Forgets a run.
    fn forget(&mut self, id: u64, number: u32);
}

/// The run is of keys of the command before it.
pub(crate) const KEYS: u8 = 1;
/// The run is of commands for which there was no room.
pub(crate) const UNKNOWN: u8 = 2;
/// The run's commands were sent at different times.
pub(crate) const TIMELESS: u8 = 4;
/// No other command joins the run.
pub(crate) const ALONE: u8 = 8;
/// The run is of keys of which a reply tells how many were found, and not which.
pub(crate) const SUMMED: u8 = 16;
/// The run is of keys of several prefixes.
pub(crate) const MIXED: u8 = 64;
// The others, 32 and 128, are the protocols' own.

/// Equal commands.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Run {
    /// When they were sent.
    pub(crate) start_ns: u64,
    /// The unit behind the last one.
    pub(crate) end: u32,
    /// The number of their keys' prefix.
    pub(crate) prefix: u16,
    /// The command, by the protocol's own number; 0 is another one.
    pub(crate) code: u8,
    /// [`KEYS`] and so on.
    pub(crate) flags: u8,
}

impl Run {
    pub(crate) const BLANK: Self = Self { start_ns: 0, end: 0, prefix: 0, code: 0, flags: 0 };

    #[inline(always)]
    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether commands like these may be in one run with it.
    #[inline(always)]
    const fn is_like(&self, other: &Self) -> bool {
        self.code == other.code
            && self.prefix == other.prefix
            && (self.flags | TIMELESS) == (other.flags | TIMELESS)
            && !other.has(ALONE)
    }
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Reader {
    /// The number of its run. One that it has read to the end is left when it goes on, as more may join it.
    run: u32,
    /// Units read.
    done: u32,
}

/// A transaction, by the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Transaction {
    /// There is none.
    None = 0,
    /// Commands have been queued by the server.
    Queued = 1,
    /// Their replies come, in `EXEC`'s.
    Executed = 2,
}

/// The reader of replies.
pub(crate) const REPLIES: u32 = 0;
/// The reader of the elements of `EXEC`'s reply, which come to commands that have been answered with `QUEUED`.
pub(crate) const ELEMENTS: u32 = 1;

/// The runs.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pipeline {
    runs: [Run; RUNS as usize],
    /// Runs so far. Written by the client's direction, as is `sent`.
    tail: u32,
    /// Units so far.
    sent: u32,
    /// [`REPLIES`] and [`ELEMENTS`]. Written by the server's direction, as is what follows.
    readers: [Reader; 2],
    /// The run that a reader has asked for.
    fetched: Run,
    /// A [`Transaction`]. While there is one, its commands are kept: the second reader is at the first of them.
    transaction: u8,
    /// 1 if runs may be in the backlog. Written by the client's direction, as is what follows.
    has_beyond: u8,
    /// 1 while new ones go there.
    goes_beyond: u8,
    /// 1 while none may go there.
    is_pinned: u8,
    reserved: [u8; 4],
    /// The numbers of the runs in the backlog, from the lower half on to before the upper half: both change at once.
    beyond: u64,
    /// The run to be pushed, with how many units it has instead of its end.
    pushed: Run,
    /// The last run, while that is in the backlog.
    newest: Run,
    /// The number of the last run of those that were there before, with [`IS_ONE`]; 0 if it is not needed any more.
    before: u64,
}

/// That there is a number in the lower half.
const IS_ONE: u64 = 1 << 32;

impl Pipeline {
    pub(crate) const START: Self = Self {
        runs: [Run::BLANK; RUNS as usize],
        tail: 0,
        sent: 0,
        readers: [Reader { run: 0, done: 0 }; 2],
        fetched: Run::BLANK,
        transaction: Transaction::None as u8,
        has_beyond: 0,
        goes_beyond: 0,
        is_pinned: 0,
        reserved: [0; 4],
        beyond: 0,
        pushed: Run::BLANK,
        newest: Run::BLANK,
        before: 0,
    };

    /// Nothing has been sent.
    #[inline(always)]
    pub(crate) fn reset(&mut self) {
        self.tail = 0;
        self.sent = 0;
        self.readers = [Reader { run: 0, done: 0 }; 2];
        self.transaction = Transaction::None as u8;
        self.has_beyond = 0;
        self.goes_beyond = 0;
        self.is_pinned = 0;
        self.beyond = 0;
        self.before = 0;
    }

    /// Has all runs stay in the pipeline, or not.
    #[inline(always)]
    pub(crate) fn pin(&mut self, is_pinned: bool) {
        self.is_pinned = u8::from(is_pinned);
    }

    /// How many runs are still needed.
    #[inline(always)]
    fn waiting(&self) -> u32 {
        let kept = usize::from(self.transaction != Transaction::None as u8);
        let reader = &self.readers[kept & 1];
        self.tail.wrapping_sub(reader.run)
    }

    /// Adds `units` to the last run, if they are like it, or in one more. Tells whether they can be matched.
    #[inline(always)]
    pub(crate) fn push<B: Backlog>(&mut self, units: u32, run: Run, id: u64, backlog: &mut B) -> bool {
        if self.has_beyond == 0 {
            let tail = self.tail;
            let end = self.sent.wrapping_add(units);
            let last = &mut self.runs[(tail.wrapping_sub(1) & (RUNS - 1)) as usize];
            if last.is_like(&run) && last.start_ns == run.start_ns && tail != 0 {
                last.end = end;
                self.sent = end;
                return true;
            }
            let is_one_of_a_sum = run.has(SUMMED) && last.has(KEYS);
            if !is_one_of_a_sum && self.waiting() < RUNS - 1 {
                self.append(Run { end, ..run });
                return true;
            }
        }
        self.pushed = Run { end: units, ..run };
        backlog.push_beyond(self, id)
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
    pub(crate) fn next<B: Backlog>(&mut self, who: u32, id: u64, backlog: &mut B) -> Option<Run> {
        // Looked at first: what is added later may be in the backlog.
        let tail = hide_field(&self.tail);
        if hide_field(&self.has_beyond) != 0 {
            return if backlog.fetch(self, id, who) { Some(hide_field(&self.fetched)) } else { None };
        }
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
        Some(self.runs[(run & (RUNS - 1)) as usize])
    }

    /// A run by its number, from 0 on, while none of them is answered and all are in the pipeline.
    #[inline(always)]
    pub(crate) fn run_mut(&mut self, number: u32) -> Option<&mut Run> {
        if number < hide_field(&self.tail) {
            Some(&mut self.runs[(number & (RUNS - 1)) as usize])
        } else {
            None
        }
    }

    /// Units that have been sent.
    #[inline(always)]
    pub(crate) fn sent(&self) -> u32 {
        hide_field(&self.sent)
    }

    /// Units that a reader has read.
    #[inline(always)]
    pub(crate) fn done(&self, who: u32) -> u32 {
        hide_field(&self.readers[who as usize & 1].done)
    }

    /// Units left in `run`, where the reader stands.
    #[inline(always)]
    pub(crate) fn left(&self, who: u32, run: &Run) -> u32 {
        run.end.wrapping_sub(self.readers[who as usize & 1].done)
    }

    /// Goes on by `units`, of the run that was told.
    #[inline(always)]
    pub(crate) fn advance(&mut self, who: u32, units: u32) {
        let done = &mut self.readers[who as usize & 1].done;
        *done = done.wrapping_add(units);
    }

    /// Goes on behind `run`.
    #[inline(always)]
    pub(crate) fn leave(&mut self, who: u32, run: &Run) {
        self.readers[who as usize & 1].done = run.end;
    }

    /// Whether commands have been queued by the server, and not been executed.
    #[inline(always)]
    pub(crate) fn is_in(&self, transaction: Transaction) -> bool {
        self.transaction == transaction as u8
    }

    /// The next command is the first that the server has queued, unless there was one.
    #[inline(always)]
    pub(crate) fn begin_transaction(&mut self) {
        if self.transaction != Transaction::Queued as u8 {
            self.readers[1] = self.readers[0];
            self.transaction = Transaction::Queued as u8;
        }
    }

    /// Goes over to, or ends, a transaction.
    #[inline(always)]
    pub(crate) fn go_to(&mut self, transaction: Transaction) {
        self.transaction = transaction as u8;
    }

    /// Takes all that was sent for answered.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        let tail = hide_field(&self.tail);
        if tail != self.readers[0].run {
            let last = tail.wrapping_sub(1);
            let end = self.runs[(last & (RUNS - 1)) as usize].end;
            // Nothing joins a run in the backlog once all is answered.
            let is_beyond = self.is_beyond(last);
            self.readers[0] = if is_beyond {
                Reader { run: tail, done: hide_field(&self.sent) }
            } else {
                Reader { run: last, done: end }
            };
        }
        self.transaction = Transaction::None as u8;
    }
}
