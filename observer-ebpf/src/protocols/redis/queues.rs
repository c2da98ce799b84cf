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

use super::Redis;
use super::commands::QueueUse;
use crate::layout::connection::Connection;
use crate::queues::Queues;

/// Of the messages in a run's commands: the length in the reply is not to be compared with anything.
const NOT_COMPARED: u32 = 1 << 31;

/// The most messages of one command that are counted.
pub(super) const MESSAGES_MAX: u32 = 1 << 20;

/// What a run has of a command that puts messages in or asks for the length: how many messages, and what
/// [`Queues::put`] told, less those of all units up to its own.
#[derive(Clone, Copy)]
pub(super) struct Put {
    messages: u32,
    base: u32,
}

impl Put {
    /// Of the unit that ends at `end`.
    #[inline(always)]
    fn new(messages: u32, expected: Option<u32>, end: u32) -> Self {
        match expected {
            Some(expected) => Self { messages, base: expected.wrapping_sub(messages.wrapping_mul(end)) },
            None => Self { messages: messages | NOT_COMPARED, base: 0 },
        }
    }

    /// As a run has it.
    #[inline(always)]
    const fn code(self) -> u64 {
        (self.messages as u64) << 32 | self.base as u64
    }

    /// What [`Put::code`] made a number of.
    #[inline(always)]
    pub(super) const fn from_code(code: u64) -> Self {
        Self { messages: (code >> 32) as u32, base: code as u32 }
    }

    #[inline(always)]
    pub(super) const fn messages(self) -> u32 {
        self.messages & !NOT_COMPARED
    }

    /// What was expected of the unit that ends at `end`.
    #[inline(always)]
    pub(super) const fn expected(self, end: u32) -> Option<u32> {
        if self.messages & NOT_COMPARED != 0 {
            return None;
        }
        Some(self.base.wrapping_add(self.messages.wrapping_mul(end)))
    }
}

impl Redis {
    /// A command that uses a queue has come, as far as it is looked at: tells what its run has in place of a time.
    #[inline(always)]
    pub(super) fn put_messages<S: Queues>(
        &mut self,
        queue: u32,
        queue_use: QueueUse,
        values: u32,
        is_answered: bool,
        source: &mut S,
        connection: &mut Connection,
    ) -> u64 {
        let messages = if values < MESSAGES_MAX { values } else { MESSAGES_MAX };
        let expected = source.put(queue, queue_use.end(), messages);
        if !is_answered {
            source.count_put(connection, queue, messages);
        }
        Put::new(messages, expected, self.pipeline.sent().wrapping_add(1)).code()
    }
}
