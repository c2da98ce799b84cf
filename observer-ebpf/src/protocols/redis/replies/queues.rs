//! What the replies to commands that use lists as queues tell.

use super::{Elements, Replies};
use crate::layout::connection::Connection;
use crate::layout::names::{FIRST, OTHER};
use crate::protocols::redis::commands::QueueUse;
use crate::protocols::redis::queues::{MESSAGES_MAX, Put};
use crate::protocols::redis::{Redis, Subprogram};
use crate::queues::{End, Queues};
use crate::stream::bytes::hide_field;
use crate::stream::pipeline::{KEYS, MIXED, TIMELESS, UNKNOWN};
use crate::stream::text::number;

/// What is to be done for a queue once the bytes in hand have been dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum QueueStep {
    /// Nothing.
    None = 0,
    /// The reply to a command that uses a queue is there, or the element of `EXEC`'s that answers it.
    Reply = 1,
    /// It is an error.
    Refused = 2,
    /// An element of a reply that names the queue is there.
    Element = 3,
    /// The name is.
    Name = 4,
}

impl Replies {
    /// Something is to be done for a queue.
    #[inline(always)]
    pub(super) fn ask(&mut self, step: QueueStep, who: u32) {
        self.queue_step = step as u8;
        self.who = who as u8;
    }

    /// The subprogram that does it.
    #[inline(always)]
    pub(in crate::protocols::redis) fn asked(&self) -> u32 {
        let is_entry = hide_field(&self.elements) == Elements::Entries as u8;
        let is_reply = hide_field(&self.queue_step) == QueueStep::Reply as u8;
        let is_of_streams = QueueUse::of(hide_field(&self.run.code)).is_of_streams();
        if is_entry || (is_reply && is_of_streams) {
            Subprogram::StreamReply.asked()
        } else {
            Subprogram::QueueReply.asked()
        }
    }

    /// Whether anything is.
    #[inline(always)]
    pub(in crate::protocols::redis) fn has_queue(&self) -> bool {
        hide_field(&self.queue_step) != QueueStep::None as u8
    }

    /// The name of a queue comes next.
    #[inline(always)]
    fn await_queue(&mut self, queue_use: QueueUse) {
        // Of several, as many as may be, it is not said at which end.
        let is_several = matches!(queue_use.end(), End::Any);
        self.end = queue_use.end() as u8;
        self.elements = if is_several { Elements::QueueOfSeveral } else { Elements::Queue } as u8;
    }
}

impl Redis {
    /// Does what is to be done for a queue.
    #[inline(always)]
    pub(in crate::protocols::redis) fn take_queue<S: Queues>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let step = hide_field(&self.replies.queue_step);
        self.replies.queue_step = QueueStep::None as u8;
        if step == QueueStep::Reply as u8 {
            self.take_queue_reply(source, connection);
        } else if step == QueueStep::Element as u8 {
            self.take_queue_element(source, connection);
        } else if step == QueueStep::Name as u8 {
            self.end_queue_name(source, connection);
        } else {
            self.refuse_messages(source);
        }
    }

    /// The reply to a command that uses a queue, or the element of `EXEC`'s that answers it.
    #[inline(always)]
    fn take_queue_reply<S: Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let line = hide_field(&self.replies.line);
        let who = u32::from(hide_field(&self.replies.who));
        let run = hide_field(&self.replies.run);
        let queue_use = QueueUse::of(run.code);
        let queue = u32::from(run.prefix);
        if queue_use.puts() || queue_use.asks_length() {
            let put = Put::from_code(run.start_ns);
            if line.kind != b':' {
                return;
            }
            let is_one = !run.has(MIXED | TIMELESS | UNKNOWN);
            if queue_use.puts() {
                source.count_put(connection, queue, put.messages());
            }
            let digits = line.length.saturating_sub(3);
            let said = number(line.lo >> 8 | line.hi << 56, line.hi >> 8, digits);
            if let (true, Some(expected), Some(said)) = (is_one, put.expected(self.pipeline.done(who)), said)
            {
                source.compare(queue, expected, said as u32);
            }
            return;
        }
        if line.is_nil() {
            return;
        }
        if queue_use.reply_names() {
            // The first element is the queue's name.
            if line.kind == b'*' && line.count > 0 {
                self.replies.await_queue(queue_use);
            }
            return;
        }
        let messages = if line.kind == b'*' { line.count as u32 } else { 1 };
        let messages = if messages < MESSAGES_MAX { messages } else { MESSAGES_MAX };
        if messages > 0 {
            source.take(connection, queue, queue_use.end(), messages);
        }
        if queue_use.moves()
            && let Some(to) = self.pipeline.next(who, connection.id, source)
            && to.has(KEYS)
        {
            self.pipeline.advance(who, 1);
            let to = u32::from(to.prefix);
            source.put(to, End::Any, 1);
            source.count_put(connection, to, 1);
        }
    }

    /// An element of a reply that names the queue.
    #[inline(always)]
    fn take_queue_element<S: Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let line = hide_field(&self.replies.line);
        let kind = hide_field(&self.replies.elements);
        if kind == Elements::Messages as u8 {
            self.replies.elements = Elements::Any as u8;
            let messages =
                if line.count < u64::from(MESSAGES_MAX) { line.count as u32 } else { MESSAGES_MAX };
            if line.kind == b'*' && messages > 0 {
                let queue = u32::from(hide_field(&self.replies.queue));
                source.take(connection, queue, End::from_u8(self.replies.end), messages);
            }
        } else {
            // It is none that a queue here has.
            self.taken_from(OTHER, kind, source, connection);
        }
    }

    /// The name of the queue that messages were taken out of is in the text.
    #[inline(always)]
    fn end_queue_name<S: Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let kind = hide_field(&self.replies.elements);
        let length = u32::from(hide_field(&self.replies.text_length));
        let db = self.commands.database();
        let queue = source.queue(connection, &self.replies.text, length, db, true);
        self.taken_from(queue, kind, source, connection);
    }

    /// It is known which queue messages were taken out of, and of one message, how many.
    #[inline(always)]
    fn taken_from<S: Queues>(&mut self, queue: u32, kind: u8, source: &mut S, connection: &mut Connection) {
        if kind == Elements::QueueOfSeveral as u8 {
            self.replies.queue = queue as u16;
            self.replies.elements = Elements::Messages as u8;
            return;
        }
        self.replies.elements = Elements::Any as u8;
        source.take(connection, queue, End::from_u8(self.replies.end), 1);
    }

    /// A command that uses a queue has failed.
    #[inline(always)]
    fn refuse_messages<S: Queues>(&mut self, source: &mut S) {
        let run = hide_field(&self.replies.run);
        let queue_use = QueueUse::of(run.code);
        let queue = u32::from(run.prefix);
        if queue_use.puts() && queue >= FIRST && !run.has(MIXED | UNKNOWN) {
            source.refuse(queue, queue_use.end(), Put::from_code(run.start_ns).messages());
        }
    }
}
