//! When each message of a queue was put in, by its order.
//!
//! ```text
//!    head                                            tail
//!     ▼                                               ▼
//!     17 │ 18   19   20   21   22   23   24   25   26 │ 27       ordinals of messages
//!          ──────────────────────────────────────────          level 0: a time for each, of the last 256
//!               20             24                               level 1: for each fourth, of the last 1,024
//!                                                               …
//! ```
//!
//! A message that is put in gets the next ordinal, and its time goes to each level in which the ordinal has a place. When
//! the message is taken out, its time is looked up in the finest level that still has it. So the times of the last 256
//! messages are all there. Of a message that is deeper, two times are there between which it was put in, of messages that
//! are no further apart than a 63rd of the messages behind them; its own is taken to lie between those as its ordinal does.
//!
//! What the server says of the list's length is compared with it (`deque/drift.rs`). What happens while another processor
//! has it is done later (`deque/late.rs`).

mod drift;
mod late;
mod streams;

pub use self::drift::{Expected, LASTING};
pub use self::late::{Late, TAKERS, Taken};
pub use self::streams::Asked;
use super::End;
use crate::stream::bytes::{Bytes, hide_field};

/// Levels of times.
pub const LEVELS: usize = 8;
/// Times in each level. One level has a time for each fourth message of those that the one before has them for.
pub const TIMES: usize = 256;
/// Times of messages that were put in where messages are taken out.
pub const FRONT: usize = 64;

/// Times are in units of so many bits of nanoseconds: some 1.05 ms. They wrap around after 52 days.
pub const TICK_BITS: u32 = 20;
/// How much one processor's clock may be behind another's: some minutes, which is far more than it is.
const BEHIND: u32 = 1 << 18;
/// The most messages that a list is taken to have: with more, numbers of 32 bits would not tell lengths apart.
const LENGTH_MAX: u32 = 1 << 30;

/// The ordinal of the first message: what was there before it comes to be known has lower ones.
const FIRST_ORDINAL: u64 = 1 << 40;

/// The time in ticks.
#[inline(always)]
pub const fn ticks(now_ns: u64) -> u32 {
    (now_ns >> TICK_BITS) as u32
}

/// A queue's messages, as far as they are known.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Deque {
    /// 1 while a processor is at work on it.
    pub busy: u64,
    /// What happened meanwhile and is still to be done.
    pub late: Late,
    /// The ordinal of the message at the end at which none are put in, as a rule, and the one behind the last.
    pub head: u64,
    /// See `head`.
    pub tail: u64,
    /// The highest `tail` since the list was empty: times are as of then.
    high: u64,
    /// From which ordinal on times are known.
    first: u64,
    /// The queue's number; 0 while the place is nobody's.
    pub number: u32,
    /// The number of the process and server that its length is told of, as in
    /// [`ServiceKey`](crate::layout::names::ServiceKey)'s map: that which took a message first, or until then put one in.
    pub service: u32,
    /// The database that it is known to be in, less one; 0 while that is not known.
    pub db: u32,
    /// When it was last used, in ticks.
    pub used: u32,
    /// When the server last told its length.
    pub told: u32,
    /// What lies before `first` was put in before this.
    since: u32,
    /// How much longer the list seems to be than it was thought to be, and since when.
    drift: i32,
    drift_since: u32,
    /// The sum of all differences that have been set right.
    corrected: u32,
    /// The differences nearest to zero on either side since the window began, how many there were, and when that was.
    window: [i32; 2],
    window_samples: u32,
    window_since: u32,
    /// How many messages at the head were put in there: their times are in `front`, the first to go last.
    front_count: u32,
    /// The end at which messages are put in, as a rule: an [`End`].
    put_end: u8,
    /// 1 once the server has told the length.
    pub is_told: u8,
    /// 1 once a message has been taken out.
    pub is_taken: u8,
    /// 1 if messages are taken out where they are put in.
    is_stack: u8,
    /// Where the loop over times stands.
    step: u32,
    /// How many messages have been taken out.
    taken: u32,
    /// Of a consumer group of a stream (`deque/streams.rs`): the number of the stream, and how much there is to be said against
    /// knowing of all that is added to it.
    pub stream: u32,
    doubt: u32,
    /// When a command was last seen to be executed behind others that had come later.
    overtaken: u32,
    reserved: u32,
    front: [u32; FRONT],
    times: [[u32; TIMES]; LEVELS],
}

const _: () = assert!(size_of::<Deque>().is_multiple_of(8) && align_of::<Deque>() == 8);

/// Whether a time is not before another one.
#[inline(always)]
const fn since_ticks(now: u32, then: u32) -> u32 {
    let passed = now.wrapping_sub(then);
    // Another processor's clock may be a little behind.
    if passed > u32::MAX - BEHIND { 0 } else { passed }
}

impl Deque {
    /// Nobody's.
    pub const NONE: Self = Self {
        busy: 0,
        late: Late::NONE,
        head: 0,
        tail: 0,
        high: 0,
        first: 0,
        number: 0,
        service: 0,
        db: 0,
        used: 0,
        told: 0,
        since: 0,
        drift: 0,
        drift_since: 0,
        corrected: 0,
        window: [0; 2],
        window_samples: 0,
        window_since: 0,
        front_count: 0,
        put_end: End::Any as u8,
        is_told: 0,
        is_taken: 0,
        is_stack: 0,
        step: 0,
        taken: 0,
        stream: 0,
        doubt: 0,
        overtaken: 0,
        reserved: 0,
        front: [0; FRONT],
        times: [[0; TIMES]; LEVELS],
    };

    /// Begins as the queue of a number.
    #[inline(always)]
    pub fn start(&mut self, number: u32, service: u32, db: u32, now: u32) {
        self.head = FIRST_ORDINAL;
        self.tail = FIRST_ORDINAL;
        self.high = FIRST_ORDINAL;
        self.first = FIRST_ORDINAL;
        self.service = service;
        self.db = db;
        self.used = now;
        self.told = now;
        self.taken = 0;
        self.since = now;
        self.drift = 0;
        self.corrected = 0;
        self.window = [i32::MIN, i32::MAX];
        self.window_samples = 0;
        self.window_since = now;
        self.front_count = 0;
        self.put_end = End::Any as u8;
        self.is_told = 0;
        self.is_taken = 0;
        self.is_stack = 0;
        self.stream = 0;
        self.doubt = 0;
        self.overtaken = now.wrapping_sub(drift::LATE);
        // Last: whoever finds it is at work on a queue that has begun.
        // SAFETY: a field.
        unsafe { (&raw mut self.number).write_volatile(number) };
    }

    /// How many messages there are, as far as is known now.
    #[inline(always)]
    pub fn length(&self) -> u64 {
        self.tail.wrapping_sub(self.head)
    }

    /// The same, with a difference that has lasted. To be asked by who only looks.
    pub fn length_at(&self, now: u32) -> u64 {
        let drift = if self.is_drift_real(now) { i64::from(self.drift) } else { 0 };
        self.length().saturating_add_signed(drift)
    }

    /// The age in ticks of the message that goes next, and whether it is known to be no more than that. None if there is no
    /// message.
    pub fn oldest(&self, now: u32) -> Option<(u32, bool)> {
        if self.length_at(now) == 0 || self.length() == 0 {
            return None;
        }
        let age = if self.is_drift_real(now) {
            None
        } else if self.is_stack != 0 {
            self.age_of(self.tail.wrapping_sub(1), now)
        } else if self.front_count > 0 {
            Some(since_ticks(now, self.front[(self.front_count as usize - 1) % FRONT]))
        } else {
            self.age_of(self.head, now)
        };
        Some(age.map_or((since_ticks(now, self.since), false), |age| (age, true)))
    }

    /// A loop over messages begins: what it carries is kept here, for in a register or on the stack the verifier would
    /// follow it from one to the next.
    #[inline(always)]
    pub fn begin(&mut self) {
        self.step = 0;
    }

    /// One message is done: whether more of `count` are to come.
    #[inline(always)]
    pub fn goes_on(&mut self, count: u32) -> bool {
        let step = hide_field(&self.step).wrapping_add(1);
        self.step = step;
        step < count
    }

    /// Takes note that of what is there no age is known.
    #[inline(always)]
    fn forget(&mut self, now: u32) {
        self.first = self.tail;
        self.since = now;
        self.front_count = 0;
    }

    /// To be called before anything else: takes a difference that has lasted for real.
    #[inline(always)]
    pub fn settle(&mut self, now: u32) {
        if self.is_drift_real(now) {
            let drift = hide_field(&self.drift);
            self.correct(drift);
            self.forget(now);
        }
        self.used = now;
    }

    /// Messages are put in at an end. Tells what [`Deque::compare`] is to be told with the server's reply.
    #[inline(always)]
    pub fn put<S: Bytes>(&mut self, end: End, count: u32, now: u32) -> Expected {
        if self.put_end == End::Any as u8 {
            self.put_end = end as u8;
        }
        if self.length() > u64::from(LENGTH_MAX) {
            self.head = self.tail;
            self.forget(now);
        }
        if self.length() == 0 && self.first != self.tail && count != 0 {
            // Between this message and one that is gone nothing is interpolated.
            self.forget(now);
        }
        let at_front = end as u8 != self.put_end && end as u8 != End::Any as u8;
        if count == 0 {
            // It is only asked for the length.
        } else if at_front && self.front_count.wrapping_add(count) <= FRONT as u32 {
            self.begin();
            let _ = S::repeat(count, || {
                let place = hide_field(&self.front_count);
                self.front[place as usize % FRONT] = now;
                self.front_count = place.wrapping_add(1);
                self.goes_on(count)
            });
            self.head = self.head.wrapping_sub(u64::from(count));
        } else {
            if at_front {
                // It is rather the other way round.
                self.put_end = end as u8;
                self.forget(now);
            }
            self.keep_times::<S>(count, now);
            self.tail = self.tail.wrapping_add(u64::from(count));
            if self.tail > self.high {
                self.high = self.tail;
            }
        }
        let length = (self.length() as u32).wrapping_sub(self.corrected);
        Expected { length, taken: self.taken & Expected::TAKEN }
    }

    /// Keeps the time of the next `count` messages.
    #[inline(always)]
    fn keep_times<S: Bytes>(&mut self, count: u32, now: u32) {
        let first = hide_field(&self.tail);
        if count == 1 {
            self.keep_time(first, now);
            return;
        }
        // No more of them than a level has times, at each level in turn, from the last message on.
        let most = if count < TIMES as u32 { count } else { TIMES as u32 };
        let last = first.wrapping_add(u64::from(count)).wrapping_sub(1);
        let steps = most.wrapping_mul(LEVELS as u32);
        self.begin();
        let _ = S::repeat(steps, || {
            let step = hide_field(&self.step);
            let level = step as usize % LEVELS;
            let bits = 2 * level as u32;
            let place = (last >> bits).wrapping_sub(u64::from(step / LEVELS as u32));
            if place << bits >= first {
                self.times[level][place as usize % TIMES] = now;
            }
            self.goes_on(steps)
        });
    }

    /// Keeps the time of a message.
    #[inline(always)]
    fn keep_time(&mut self, ordinal: u64, now: u32) {
        let mut level = 0;
        while level < LEVELS {
            let place = ordinal >> (2 * level);
            if place << (2 * level) != ordinal {
                return;
            }
            self.times[level][place as usize % TIMES] = now;
            level += 1;
        }
    }

    /// The server has not taken messages.
    #[inline(always)]
    pub fn refuse(&mut self, end: End, count: u32) {
        let length = self.length();
        let count = if u64::from(count) < length { u64::from(count) } else { length };
        if end as u8 == self.put_end {
            self.tail = self.tail.wrapping_sub(count);
        } else {
            self.head = self.head.wrapping_add(count);
            self.front_count = self.front_count.saturating_sub(count as u32);
        }
    }

    /// Messages have gone from anywhere in the list: of those that are left, no age is known.
    #[inline(always)]
    pub fn remove(&mut self, count: u32, now: u32) {
        let length = self.length();
        let count = u64::from(count);
        self.head = self.head.wrapping_add(if count < length { count } else { length });
        self.forget(now);
    }

    /// A message is taken out at an end: tells its age in ticks, if that is known.
    #[inline(always)]
    pub fn take(&mut self, end: End, now: u32) -> Option<u32> {
        self.is_taken = 1;
        self.taken = self.taken.wrapping_add(1);
        if self.put_end == End::Any as u8 && end as u8 != End::Any as u8 {
            // Most likely they are put in at the other one.
            self.put_end = if end as u8 == End::Left as u8 { End::Right as u8 } else { End::Left as u8 };
        }
        if self.drift < 0 && since_ticks(now, self.drift_since) < drift::LATE {
            // It may be this one that was missing.
            self.drift += 1;
        }
        let length = self.length();
        if length == 0 {
            return None;
        }
        let is_stack = end as u8 == self.put_end && end as u8 != End::Any as u8;
        self.is_stack = u8::from(is_stack);
        let ordinal;
        if is_stack {
            if length <= u64::from(self.front_count) {
                self.forget(now);
            }
            self.tail = self.tail.wrapping_sub(1);
            ordinal = self.tail;
        } else {
            ordinal = self.head;
            self.head = self.head.wrapping_add(1);
            let front = hide_field(&self.front_count);
            if front > 0 {
                self.front_count = front - 1;
                let time = hide_field(&self.front[(front - 1) as usize % FRONT]);
                return Some(since_ticks(now, time));
            }
        }
        let age = self.age_of(ordinal, now);
        if self.head == self.tail {
            self.high = self.tail;
        }
        age
    }

    /// The age of the message of an ordinal.
    #[inline(always)]
    fn age_of(&self, ordinal: u64, now: u32) -> Option<u32> {
        let first = hide_field(&self.first);
        if ordinal < first {
            return None;
        }
        let depth = hide_field(&self.high).wrapping_sub(ordinal);
        // The level, as the number of those that are too fine: without branches, which the verifier would follow one by
        // one.
        let mut level = 0;
        let mut at = 0;
        while at < LEVELS {
            // One time fewer than there are, as the one looked for may be up to a step before the message.
            level += (((TIMES as u64 - 1) << (2 * at)) + 1).wrapping_sub(depth) >> 63;
            at += 1;
        }
        if level >= LEVELS as u64 {
            return None;
        }
        let bits = (2 * level) as u32;
        let place = ordinal >> bits;
        let lower = place << bits;
        let upper = lower + (1 << bits);
        let times = &self.times[core::hint::black_box(level) as usize % LEVELS];
        let from = if lower < first { self.since } else { hide_field(&times[place as usize % TIMES]) };
        let to = if upper < self.tail { hide_field(&times[(place + 1) as usize % TIMES]) } else { now };
        let between = (u64::from(since_ticks(to, from)) * (ordinal - lower)) >> bits;
        Some(since_ticks(now, from.wrapping_add(between as u32)))
    }
}
