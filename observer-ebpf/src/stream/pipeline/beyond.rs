//! Runs for which a pipeline has no room of its own.
//!
//! ```text
//!   numbers   … 70 71 │ 72 73 … 1071 1072 │ 1073 …
//!             pipeline│ backlog           │ pipeline, once the readers have come as far
//! ```
//!
//! Once the pipeline is full, runs go to the backlog, and go on to do so until the oldest that is needed is the last one of
//! them. Where another stretch begins while a reader still stands there, that one is in the backlog, too: no more than two
//! stretches are needed at a time, and of the earlier one only its last run.

use super::{
    Backlog, IS_ONE, KEYS, MIXED, Pipeline, REPLIES, RUNS, Run, SUMMED, TIMELESS, Transaction, UNKNOWN,
};
use crate::layout::names::OTHER;
use crate::stream::bytes::hide_field;

/// The most runs of one connection that are kept.
const MOST: u32 = 4096;

/// What becomes of commands that are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// They are in the last run.
    Last,
    /// They are in it, and their replies cannot be told apart.
    Lost,
    /// They need a run of their own.
    Own,
    /// They need one of unknown commands.
    Unknown,
    /// They are left out.
    None,
}

/// Adds to the last run, if that may be. `is_full` if there is no room for another one.
#[inline(always)]
fn join(last: &mut Run, run: &Run, end: u32, is_full: bool) -> Place {
    let are_keys = run.has(KEYS) && last.has(KEYS);
    if last.is_like(run) && last.start_ns == run.start_ns {
        last.end = end;
        return Place::Last;
    }
    if are_keys && (is_full || run.has(SUMMED)) {
        last.prefix = OTHER as u16;
        last.flags |= MIXED;
        last.end = end;
        return Place::Last;
    }
    if !is_full {
        return Place::Own;
    }
    if last.code == run.code && (last.flags | run.flags | TIMELESS) == TIMELESS {
        // Without room for another time, or another prefix.
        if last.start_ns != run.start_ns {
            last.flags |= TIMELESS;
        }
        if last.prefix != run.prefix {
            last.prefix = OTHER as u16;
        }
        last.end = end;
        return Place::Last;
    }
    if run.has(KEYS) {
        return Place::None;
    }
    if last.has(UNKNOWN) {
        last.end = end;
        return Place::Lost;
    }
    Place::Unknown
}

impl Run {
    /// As words.
    #[inline(always)]
    const fn words(&self) -> [u64; 2] {
        let tail = self.end as u64 | (self.prefix as u64) << 32 | (self.code as u64) << 48;
        [self.start_ns, tail | (self.flags as u64) << 56]
    }

    /// What [`Run::words`] made words of.
    #[inline(always)]
    const fn from_words([start_ns, tail]: [u64; 2]) -> Self {
        let (prefix, code, flags) = ((tail >> 32) as u16, (tail >> 48) as u8, (tail >> 56) as u8);
        Self { start_ns, end: tail as u32, prefix, code, flags }
    }
}

impl Pipeline {
    /// Whether the run of a number is in the backlog.
    #[inline(always)]
    pub(super) fn is_beyond(&self, number: u32) -> bool {
        let beyond = hide_field(&self.beyond);
        let (from, to) = (beyond as u32, (beyond >> 32) as u32);
        number.wrapping_sub(from) < to.wrapping_sub(from)
            || hide_field(&self.before) == u64::from(number) | IS_ONE
    }

    /// Takes the run that was handed over, where the pipeline is full or runs are in the backlog. Tells whether its commands
    /// can be matched.
    #[inline(always)]
    pub fn push_beyond<B: Backlog>(&mut self, id: u64, backlog: &mut B) -> bool {
        let run = hide_field(&self.pushed);
        let end = self.sent.wrapping_add(run.end);
        let tail = self.tail;
        let waiting = self.waiting();
        if self.goes_beyond != 0 && waiting <= 1 {
            self.before = u64::from(tail.wrapping_sub(1)) | IS_ONE;
            self.beyond = 0;
            self.goes_beyond = 0;
        }
        if self.goes_beyond == 0 {
            let is_last_beyond = self.before == u64::from(tail.wrapping_sub(1)) | IS_ONE;
            if tail.wrapping_sub(self.before as u32) > waiting {
                // The oldest that is needed comes behind all that are there.
                self.before = 0;
                self.has_beyond = 0;
            }
            let is_full = waiting >= RUNS - 1;
            let mut last = self.runs[(tail.wrapping_sub(1) & (RUNS - 1)) as usize];
            let has_last = tail != 0 && !is_last_beyond;
            let place = if has_last { join(&mut last, &run, end, false) } else { Place::Own };
            if place != Place::Own || !is_full {
                return self.put_here(place, last, run, end);
            }
            let is_kept = self.is_pinned == 0 && backlog.keep(id, tail, Run { end, ..run }.words());
            // Read again: what is kept over a call is on the stack, of which there is little before Linux 6.13.
            let run = hide_field(&self.pushed);
            let end = self.sent.wrapping_add(run.end);
            let tail = self.tail;
            if !is_kept {
                let mut last = self.runs[(tail.wrapping_sub(1) & (RUNS - 1)) as usize];
                let place = join(&mut last, &run, end, true);
                return self.put_here(place, last, run, end);
            }
            self.beyond = u64::from(tail) | u64::from(tail) << 32;
            self.goes_beyond = 1;
            self.has_beyond = 1;
            self.append_beyond(Run { end, ..run });
            return true;
        }
        let mut last = hide_field(&self.newest);
        let place = join(&mut last, &run, end, waiting >= MOST);
        let (number, kept) = match place {
            Place::None => return false,
            Place::Own => (tail, Run { end, ..run }),
            Place::Unknown => (tail, Run { end, flags: UNKNOWN, code: 0, ..run }),
            Place::Last | Place::Lost => (tail.wrapping_sub(1), last),
        };
        let is_kept = backlog.keep(id, number, kept.words());
        if !is_kept {
            // The reader is not to find an earlier state of it: what comes from there on cannot be matched.
            backlog.forget(id, number);
        }
        if number == tail {
            self.append_beyond(kept);
        } else {
            self.newest = kept;
            self.sent = end;
        }
        is_kept && matches!(place, Place::Own | Place::Last)
    }

    /// Puts commands into the pipeline's own runs.
    #[inline(always)]
    fn put_here(&mut self, place: Place, last: Run, run: Run, end: u32) -> bool {
        match place {
            Place::Own => self.append(Run { end, ..run }),
            Place::Unknown => self.append(Run { end, flags: UNKNOWN, code: 0, ..run }),
            Place::None => {}
            Place::Last | Place::Lost => {
                self.runs[(self.tail.wrapping_sub(1) & (RUNS - 1)) as usize] = last;
                self.sent = end;
            }
        }
        matches!(place, Place::Own | Place::Last)
    }

    /// Adds a run that the backlog has.
    #[inline(always)]
    fn append_beyond(&mut self, run: Run) {
        let next = self.tail.wrapping_add(1);
        self.newest = run;
        self.sent = run.end;
        self.beyond = (self.beyond & u64::from(u32::MAX)) | u64::from(next) << 32;
        // The other direction may look at once: what it sees is complete.
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
        self.tail = next;
    }

    /// Brings the run that the next unit of a reader is in within reach; false if there is none, or it is not known.
    #[inline(always)]
    pub fn fetch<B: Backlog>(&mut self, id: u64, who: u32, backlog: &mut B) -> bool {
        let tail = hide_field(&self.tail);
        let reader = self.readers[who as usize & 1];
        if reader.run == tail {
            return false;
        }
        if !self.fetch_number(id, reader.run, backlog) {
            return false;
        }
        if hide_field(&self.fetched.end) != reader.done {
            return true;
        }
        let next = reader.run.wrapping_add(1);
        if next == tail {
            return false;
        }
        if who == REPLIES && self.is_in(Transaction::None) && self.is_beyond(reader.run) {
            backlog.forget(id, reader.run);
        }
        self.readers[who as usize & 1].run = next;
        self.fetch_number(id, next, backlog)
    }

    #[inline(always)]
    fn fetch_number<B: Backlog>(&mut self, id: u64, number: u32, backlog: &mut B) -> bool {
        if !self.is_beyond(number) {
            self.fetched = self.runs[(number & (RUNS - 1)) as usize];
            return true;
        }
        match backlog.kept(id, number) {
            Some(words) => {
                self.fetched = Run::from_words(words);
                true
            }
            None => false,
        }
    }
}
