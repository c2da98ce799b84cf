//! What the server says of a list's length, where that is not what it was thought to be.
//!
//! Nothing is certain but what the server says: how long the list is after a push, or when it is asked. Where that is not
//! what was thought, messages were put in or taken out unseen, as by a script; or replies come in another order than that in
//! which commands were executed, and the difference is gone as soon as the rest of them has come. So it must last a while
//! to be taken for real. Then the length is set right, and of what is there no age is known any more.

use super::{Deque, LENGTH_MAX, since_ticks};
use crate::stream::bytes::hide_field;

/// How long after a reply others may come that were to be there before it.
pub(super) const LATE: u32 = 32;
/// How long a difference must last to be taken for real: some 100 ms.
pub const LASTING: u32 = 96;
/// The same where the queue is so busy that a difference never lasts: the least one in so long, of so many, is real.
const WINDOW: u32 = 1024;
const WINDOW_SAMPLES: u32 = 16;

/// What a command's reply is to be compared with: as it was when the command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How many messages there are with it, less what has been set right so far.
    pub length: u32,
    /// How many had been taken out, as far as [`Expected::TAKEN`] goes.
    pub taken: u32,
}

impl Expected {
    /// The bits of `taken` that are kept: more messages than that are not taken out while a command is in flight, most
    /// likely.
    pub const TAKEN: u32 = (1 << 11) - 1;
}

impl Deque {
    #[inline(always)]
    pub(super) fn is_drift_real(&self, now: u32) -> bool {
        self.drift != 0 && since_ticks(now, self.drift_since) >= LASTING
    }

    /// Sets the length right by a difference.
    #[inline(always)]
    pub(super) fn correct(&mut self, drift: i32) {
        let length = self.length();
        let size = u64::from(drift.unsigned_abs());
        if drift > 0 {
            self.head = self.head.wrapping_sub(size);
        } else {
            self.head = self.head.wrapping_add(if size < length { size } else { length });
        }
        self.corrected = self.corrected.wrapping_add(drift.cast_unsigned());
        self.drift = 0;
        self.window = [i32::MIN, i32::MAX];
        self.window_samples = 0;
    }

    /// The server says how long the list is, where `expected` is what [`Deque::put`] told when the command came.
    ///
    /// Messages that have been put in or taken out since then may have been there when the command was executed, or not:
    /// commands of other connections are executed, and replies to them come, in any order.
    #[inline(always)]
    pub fn compare(&mut self, expected: Expected, length: u32, now: u32) {
        let length = if length < LENGTH_MAX { length } else { LENGTH_MAX };
        let thought = expected.length.wrapping_add(self.corrected);
        let taken = self.taken.wrapping_sub(expected.taken) & Expected::TAKEN;
        let difference = length.wrapping_sub(thought).cast_signed();
        let with_taken = difference.saturating_add_unsigned(taken);
        let drift = if difference > 0 {
            difference
        } else if with_taken < 0 {
            with_taken
        } else {
            0
        };
        // So many have been put in since the command came. Where others did, some may have been there when it was executed.
        let put = (self.length() as u32).wrapping_sub(thought).wrapping_add(taken);
        self.told = now;
        if self.is_told == 0 && drift > 0 {
            if put != 0 && since_ticks(now, self.since) < LASTING {
                // Another reply will tell.
                self.overtaken = now;
                return;
            }
            // What was there before the first message that was seen.
            self.is_told = 1;
            self.correct(drift.saturating_sub_unsigned(put).max(0));
            return;
        }
        self.is_told = 1;
        let is_overtaken = drift > 0 && drift.cast_unsigned() <= put;
        if is_overtaken {
            // Others were executed before it, which had come later; so it is missing in what is said to those.
            self.overtaken = now;
        } else if drift < 0 && since_ticks(now, self.overtaken) < LATE {
            return;
        }
        if drift == 0 || is_overtaken {
            self.drift = 0;
            self.window = [i32::MIN, i32::MAX];
            self.window_samples = 0;
            return;
        }
        let is_same_way = (drift ^ self.drift) >= 0 && self.drift != 0;
        if is_same_way {
            let is_nearer = drift.unsigned_abs() < self.drift.unsigned_abs();
            self.drift = if is_nearer { drift } else { self.drift };
        } else {
            self.drift = drift;
            self.drift_since = now;
        }
        self.note(drift, now);
    }

    /// Takes note of a difference, and of whether all lately have been of one kind.
    #[inline(always)]
    fn note(&mut self, drift: i32, now: u32) {
        let samples = self.window_samples;
        if samples == 0 {
            self.window_since = now;
        }
        self.window_samples = samples.wrapping_add(1);
        if drift < 0 {
            self.window[0] = if drift > self.window[0] { drift } else { self.window[0] };
        } else {
            self.window[1] = if drift < self.window[1] { drift } else { self.window[1] };
        }
        if samples < WINDOW_SAMPLES || since_ticks(now, self.window_since) < WINDOW {
            return;
        }
        let [below, above] = hide_field(&self.window);
        if above == i32::MAX {
            self.correct(below);
            self.forget(now);
        } else if below == i32::MIN {
            self.correct(above);
            self.forget(now);
        } else {
            self.window = [i32::MIN, i32::MAX];
            self.window_samples = 0;
        }
    }
}
