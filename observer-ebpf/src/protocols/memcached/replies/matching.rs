//! Which command a line answers, and what that tells.

use super::{ERRORS, GETS, Kind, Kinds, SETS, Taken, UNFINISHED, VALUE, count_latency, counters};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::protocols::memcached::Memcached;
use crate::protocols::memcached::commands::{MAY_BE_SILENT, Shape, is_classic_write, is_meta, shape};
use crate::protocols::memcached::layout::Command;
use crate::stream::bytes::hide_field;
use crate::stream::lookups::Found;
use crate::stream::names::Keys;
use crate::stream::pipeline::{ALONE, KEYS, REPLIES, Run, UNKNOWN};

/// What `mg` is answered with where the key was found, and where not.
const FOUND: Kinds = Kinds::of(&[Kind::Hd, Kind::Va]);
const NOT_FOUND: Kinds = Kinds::of(&[Kind::En]);
/// What a quiet command that changes something is answered with: that it could not.
const FAILED: Kinds = Kinds::of(&[Kind::Ns, Kind::Ex, Kind::Nf]);
/// What any meta command but `mg` and `mn` is answered with.
const META: Kinds = FAILED.or(FOUND);
/// What the commands that write are answered with.
const WRITTEN: Kinds = Kinds::of(&[Kind::Stored, Kind::NotStored, Kind::Exists, Kind::NotFound]);
/// What only some commands are answered with.
const PARTICULAR: Kinds = UNFINISHED.or(META).or(NOT_FOUND).or(Kinds::of(&[Kind::Mn]));
/// What ends the reply to a command that lists something.
const LIST_ENDS: Kinds = ERRORS.or(NOT_FOUND).or(Kinds::of(&[Kind::End, Kind::Ok, Kind::Reset, Kind::Busy]));

/// Whether a command is answered with a list, or with one line of some kinds.
#[inline(always)]
const fn is_list(code: u8) -> bool {
    code == Command::Stats as u8 || code == Command::LruCrawler as u8
}

/// Whether a line may be the reply to a command that looks nothing up.
#[inline(always)]
fn may_answer(kind: u8, code: u8) -> bool {
    if code == Command::Mn as u8 {
        kind == Kind::Mn as u8
    } else if code == Command::Me as u8 {
        kind == Kind::Me as u8 || kind == Kind::En as u8
    } else if is_meta(code) {
        META.has(kind)
    } else if is_classic_write(code) {
        WRITTEN.has(kind)
    } else {
        !PARTICULAR.has(kind)
    }
}

impl Memcached {
    /// Holds a line against the next command, or keys of it.
    #[inline(always)]
    pub(super) fn match_line<S: Keys>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        // It goes through memory: of an `Option` the compiler may leave words unset, which the verifier refuses to have
        // copied.
        let is_there = match self.pipeline.next(REPLIES, connection.id, source) {
            Some(next) => {
                self.replies.next = next;
                true
            }
            None => false,
        };
        let run = self.replies.next;
        let taken = if self.replies.in_keys != 0 {
            self.take_keys(is_there && run.has(KEYS), &run)?
        } else {
            if !is_there {
                return Err(Desync::Header);
            }
            self.replies.run = run;
            if run.has(KEYS) {
                // Of a command whose reply was an error.
                self.pipeline.leave(REPLIES, &run);
                Taken::AGAIN
            } else if run.has(MAY_BE_SILENT) {
                self.take_line_behind_quiet(&run)?
            } else {
                self.take_line(&run, source, connection)?
            }
        };
        self.replies.is_over = u8::from(taken.again);
        self.replies.lookups.add(taken.found, source, connection, counters);
        if taken.timed != 0 {
            let run = self.replies.run;
            count_latency(taken.timed, &run, source, connection);
        }
        Ok(())
    }

    /// Commands of the next run are answered.
    #[inline(always)]
    fn answer(&mut self, count: u32) {
        self.pipeline.advance(REPLIES, count);
        self.answered = self.answered.wrapping_add(count);
    }

    /// A line of the reply to the next command.
    #[inline(always)]
    fn take_line<S: Keys>(
        &mut self,
        run: &Run,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<Taken, Desync> {
        let kind = hide_field(&self.replies.kind);
        let is_error = ERRORS.has(kind);
        if run.has(UNKNOWN) {
            if !UNFINISHED.has(kind) {
                let counters = counters(connection);
                counters.unmatched = counters.unmatched.wrapping_add(1);
                self.answer(1);
            }
            return Ok(Taken::LINE);
        }
        let mut taken = Taken::LINE;
        match shape(run.code) {
            Shape::Keys(_) if VALUE.has(kind) && !run.has(ALONE) => {
                self.replies.is_found = 1;
                return Ok(taken);
            }
            Shape::Keys(_) if run.has(ALONE) && (VALUE.has(kind) || kind == Kind::End as u8) => {
                self.answer(1);
                self.begin_keys(source, connection);
                return Ok(Taken::AGAIN);
            }
            Shape::Keys(_) if kind == Kind::End as u8 => {
                taken.found = Found::one(run.prefix, self.replies.is_found != 0);
                taken.timed = GETS;
            }
            Shape::Lookup if FOUND.has(kind) || NOT_FOUND.has(kind) => {
                taken.found = Found::one(run.prefix, FOUND.has(kind));
                taken.timed = GETS;
            }
            Shape::Keys(_) | Shape::Lookup if !is_error => return Err(Desync::Header),
            Shape::Line if is_list(run.code) => {
                if !LIST_ENDS.has(kind) {
                    return Ok(taken);
                }
            }
            Shape::Data(_) | Shape::Line if !is_error => {
                if !may_answer(kind, run.code) {
                    return Err(Desync::Header);
                }
                if run.code == Command::Set as u8 || run.code == Command::Ms as u8 {
                    taken.timed = SETS;
                }
            }
            Shape::Keys(_) | Shape::Lookup | Shape::Data(_) | Shape::Line => {}
        }
        self.replies.is_found = 0;
        self.answer(1);
        Ok(taken)
    }

    /// A line that a quiet command is next to answer with, if it has something to say.
    #[inline(always)]
    fn take_line_behind_quiet(&mut self, run: &Run) -> Result<Taken, Desync> {
        let kind = hide_field(&self.replies.kind);
        let is_lookup = run.code == Command::Mg as u8;
        if ERRORS.has(kind) {
            // Whose it is cannot be told.
            return Err(Desync::Header);
        }
        let is_answered = if is_lookup { FOUND.has(kind) } else { FAILED.has(kind) };
        // If not, it answers another command: these had nothing to say.
        let count = if is_answered { 1 } else { self.pipeline.left(REPLIES, run) };
        self.answer(count);
        let mut taken = Taken { again: !is_answered, ..Taken::LINE };
        if is_lookup {
            let (hits, misses) = if is_answered { (1, 0) } else { (0, count) };
            taken.found = Found { prefix: run.prefix, hits, misses };
            taken.timed = if is_answered { GETS } else { 0 };
        }
        Ok(taken)
    }
}
