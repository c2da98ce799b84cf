//! Commands that use lists as queues, and what their replies tell.
//!
//! ```text
//!   RPUSH q m1 m2   LLEN q   LPOP q     BLPOP q r 0       LMOVE q p LEFT RIGHT
//!   :2              :2       $2 m1      *2 $1 q $2 m2     $2 m1
//! ```
//!
//! A push counts when it comes, and the length in its reply is compared with that which the list was thought to have then.
//! The command awaits its reply with this length in place of the time, less the messages of all commands before it: so
//! pushes that follow on one another in a pipeline are one [`Run`](crate::stream::pipeline::Run), whatever their number.

use crate::queues::deque::Expected;

/// Of what a run has: the length in the reply is not to be compared with anything.
const NOT_COMPARED: u32 = 1 << 31;
/// How many bits the number of messages has.
const MESSAGES: u32 = 20;
const _: () = assert!(Expected::TAKEN.count_ones() + MESSAGES < 32);

/// The most messages of one command that are counted.
const MESSAGES_MAX: u32 = (1 << MESSAGES) - 1;

/// As many messages of one command, as far as they are counted.
#[inline(always)]
pub(super) const fn messages(count: u64) -> u32 {
    if count < MESSAGES_MAX as u64 { count as u32 } else { MESSAGES_MAX }
}

/// What a run has of a command that puts messages in or asks for the length: how many messages, and what
/// [`Queues::put`](crate::queues::Queues::put) told, less those of all units up to its own.
#[derive(Clone, Copy)]
pub(super) struct Put {
    /// How many messages; how many had been taken out, as [`Expected`] has it; and [`NOT_COMPARED`].
    bits: u32,
    base: u32,
}

impl Put {
    /// Of the unit that ends at `end`.
    #[inline(always)]
    pub(super) const fn new(messages: u32, expected: Option<Expected>, end: u32) -> Self {
        match expected {
            Some(Expected { length, taken }) => Self {
                bits: messages | taken << MESSAGES,
                base: length.wrapping_sub(messages.wrapping_mul(end)),
            },
            None => Self { bits: messages | NOT_COMPARED, base: 0 },
        }
    }

    /// As a run has it.
    #[inline(always)]
    pub(super) const fn code(self) -> u64 {
        (self.bits as u64) << 32 | self.base as u64
    }

    /// What [`Put::code`] made a number of.
    #[inline(always)]
    pub(super) const fn from_code(code: u64) -> Self {
        Self { bits: (code >> 32) as u32, base: code as u32 }
    }

    #[inline(always)]
    pub(super) const fn messages(self) -> u32 {
        self.bits & MESSAGES_MAX
    }

    /// What was expected of the unit that ends at `end`.
    #[inline(always)]
    pub(super) const fn expected(self, end: u32) -> Option<Expected> {
        if self.bits & NOT_COMPARED != 0 {
            return None;
        }
        let length = self.base.wrapping_add(self.messages().wrapping_mul(end));
        Some(Expected { length, taken: (self.bits >> MESSAGES) & Expected::TAKEN })
    }
}
