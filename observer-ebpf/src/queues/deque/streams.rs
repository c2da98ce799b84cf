//! How far the consumer groups of a stream of Redis have been delivered its entries, at the server's end, which sees all
//! commands in the order in which they are executed.
//!
//! ```text
//!   stream:   17   18   19   20   21 │ 22     its tail: the ordinal of the entry that is added next
//!   group:              ▲                     its head: the ordinal of the entry that it is delivered next
//! ```
//!
//! An entry counts as added when its command comes, which keeps its time as that of a list's message. A group goes on by as
//! many entries as a reply delivers. Where it begins is not known, until a reply has fewer entries than there was room for:
//! then it had been delivered all that were there when the command came, and so it has whenever that happens again, whatever
//! has been deleted or trimmed meanwhile.
//!
//! Replies of several connections come in any order. So what was told by one that comes first is a difference, which must
//! last a while, as that of a list's length: what is delivered by those behind it is taken off, by when their commands came.

use super::{Deque, LASTING, since_ticks};
use crate::queues::Followed;
use crate::stream::bytes::hide_field;

/// What is said against knowing of all that is added, by an entry that is delivered and was not seen to be added. Each of
/// those that were says one less.
const DOUBT: u64 = 8;
/// The most that is said.
const DOUBT_MAX: u32 = 1024;

/// What the run of a command that uses a stream has in place of a time, where the stream is followed: where its tail was when
/// the command came, and what the command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(u64);

impl Asked {
    /// It is one, and no time.
    const IS_ONE: u64 = 1 << 63;
    /// The command waits for entries where there are none.
    const WAITS: u64 = 1 << 62;
    /// The most entries that a command asks for, as far as they are told apart.
    pub const COUNT_MAX: u32 = (1 << 30) - 1;

    /// Of a command that adds an entry.
    pub const ADDS: Self = Self(Self::IS_ONE);

    /// Of one that asks for at most `count` entries, 0 if for any number of them. `tail` has the lower half of the tail.
    #[inline(always)]
    pub const fn new(tail: u32, count: u32, waits: bool) -> Self {
        let waits = if waits { Self::WAITS } else { 0 };
        Self(Self::IS_ONE | waits | (count as u64) << 32 | tail as u64)
    }

    /// As a run has it.
    #[inline(always)]
    pub const fn code(self) -> u64 {
        self.0
    }

    /// What a run has, if it is one.
    #[inline(always)]
    pub const fn from_code(code: u64) -> Self {
        Self(code)
    }

    /// Whether it is one.
    #[inline(always)]
    pub const fn is_one(self) -> bool {
        self.0 & Self::IS_ONE != 0
    }

    /// How many entries are asked for at most.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        (self.0 >> 32) as u32 & Self::COUNT_MAX
    }

    #[inline(always)]
    const fn waits(self) -> bool {
        self.0 & Self::WAITS != 0
    }

    /// Where the tail was, of which is known where it is now.
    #[inline(always)]
    fn tail(self, now: u64) -> u64 {
        let added = (now as u32).wrapping_sub(self.0 as u32);
        // It is further back if the server has not taken what was to be added.
        if added > u32::MAX / 2 { now } else { now.wrapping_sub(u64::from(added)) }
    }
}

impl Deque {
    /// Something happened to a stream, or to a consumer group of one whose tail is told.
    #[inline(always)]
    pub fn follow(&mut self, what: u32, count: u32, asked: Asked, tail: u64, now: u32) {
        self.used = now;
        if what == Followed::Added as u32 {
            let ordinal = hide_field(&self.tail);
            self.keep_time(ordinal, now);
            let next = ordinal.wrapping_add(1);
            self.tail = next;
            if next > self.high {
                self.high = next;
            }
        } else if what == Followed::NotAdded as u32 {
            let length = self.length();
            let count = u64::from(count);
            self.tail = self.tail.wrapping_sub(if count < length { count } else { length });
        } else if what == Followed::Asked as u32 {
            self.stream = count;
        } else if what == Followed::Begun as u32 {
            self.head = asked.tail(tail);
            self.window_samples = 0;
            self.is_told = 1;
        } else if what == Followed::Lost as u32 {
            self.window_samples = 0;
            self.is_told = 0;
        } else {
            self.deliver(count, asked, tail, now);
        }
    }

    /// A group is delivered `count` entries.
    #[inline(always)]
    fn deliver(&mut self, count: u32, asked: Asked, tail: u64, now: u32) {
        if self.is_difference_real(now) {
            self.head = self.right_head();
            self.window_samples = 0;
            self.is_told = 1;
        }
        let most = asked.count();
        let is_all = count == 0 || most == 0 || count < most;
        let was_tail = asked.tail(tail);
        let next = hide_field(&self.head).wrapping_add(u64::from(count));
        let is_told = hide_field(&self.is_told) != 0;
        if is_told {
            let doubt = hide_field(&self.doubt);
            let unseen = next.saturating_sub(tail);
            self.doubt = if unseen == 0 {
                doubt.saturating_sub(count)
            } else {
                let more = u64::from(doubt) + unseen.saturating_mul(DOUBT);
                if more < u64::from(DOUBT_MAX) { more as u32 } else { DOUBT_MAX }
            };
        }
        self.head = if is_told && next > tail { tail } else { next };
        let known = hide_field(&self.high);
        let is_noted = self.window_samples != 0;
        if is_noted && was_tail <= known && (!asked.waits() || tail == known) {
            // It was executed before the command that told the difference, which left nothing behind for it.
            self.window[1] = self.window[1].wrapping_sub(count.cast_signed());
        }
        let has_waited = asked.waits() && was_tail != tail && count != 0;
        let at = if asked.waits() && count == 0 {
            // It has waited in vain until now.
            tail
        } else if has_waited {
            was_tail.wrapping_add(u64::from(count))
        } else {
            was_tail
        };
        // One that has waited may not have done so, where more was added before its reply: where it is known better, that is
        // no proof.
        if !is_all || at < known || (has_waited && is_told) {
            return;
        }
        let difference = (at as u32).wrapping_sub(next as u32).cast_signed();
        let is_none = is_told && difference <= 0;
        if is_none || !is_noted || difference < self.window[1] {
            self.window[1] = difference;
            self.high = at;
        }
        if is_none {
            self.window_samples = 0;
        } else if !is_noted {
            self.window_samples = 1;
            self.window_since = now;
        }
    }

    /// Whether there is a difference that has lasted.
    #[inline(always)]
    fn is_difference_real(&self, now: u32) -> bool {
        self.window_samples != 0 && since_ticks(now, self.window_since) >= LASTING
    }

    /// The head, set right by the difference that was noted.
    #[inline(always)]
    fn right_head(&self) -> u64 {
        hide_field(&self.head).wrapping_add(i64::from(hide_field(&self.window[1])).cast_unsigned())
    }

    /// How many entries of a stream a consumer group has not been delivered, and the age in ticks of the first of them, 0 if
    /// there is none. None if that is not known. To be asked by who only looks.
    pub fn lag(&self, stream: &Self, now: u32) -> Option<(u64, u32)> {
        let is_real = self.is_difference_real(now);
        if (self.is_told == 0 && !is_real) || self.doubt != 0 {
            return None;
        }
        let head = if is_real { self.right_head() } else { self.head };
        let head = if head < stream.tail { head } else { stream.tail };
        let entries = stream.tail.wrapping_sub(head);
        if entries == 0 {
            return Some((0, 0));
        }
        let age = stream.age_of(head, now);
        Some((entries, age.unwrap_or_else(|| since_ticks(now, stream.since))))
    }
}
