//! What the replies to commands that use lists as queues tell.

use super::line::Line;
use super::{Elements, Replies};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::names::OTHER;
use crate::protocols::redis::commands::QueueUse;
use crate::protocols::redis::queues::{Put, messages};
use crate::protocols::redis::{Redis, Subprogram};
use crate::queues::deque::{Asked, Expected};
use crate::queues::{End, Followed, Queues};
use crate::stream::bytes::hide_field;
use crate::stream::pipeline::{ELEMENTS, KEYS, MIXED, REPLIES, Run, TIMELESS, Transaction, UNKNOWN};

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
    /// What was told of a queue is to be handed on.
    Settle = 5,
    /// A transaction is over, and the commands that it would have consisted of are not executed.
    Thrown = 6,
}

/// What replies that follow on one another tell of one queue: it is handed on together.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Changes {
    /// Messages put in, or taken out.
    messages: u32,
    /// What was expected with the last reply, and what it said.
    expected: u32,
    taken: u32,
    said: u32,
    /// The number of the queue; 0 if there is nothing to be handed on.
    queue: u16,
    /// 1 if the messages were taken out.
    is_taken: u8,
    /// At which [`End`].
    end: u8,
    /// 1 if there is something to be compared.
    is_said: u8,
    reserved: [u8; 3],
}

impl Changes {
    /// None.
    pub(super) const NONE: Self = Self {
        messages: 0,
        expected: 0,
        taken: 0,
        said: 0,
        queue: 0,
        is_taken: 0,
        end: 0,
        is_said: 0,
        reserved: [0; 3],
    };
}

/// The most commands of a transaction that is thrown away.
const THROWN_MAX: u32 = 1 << 16;

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

    /// Whether something was told of a queue that is to be handed on.
    #[inline(always)]
    pub(in crate::protocols::redis) fn has_changes(&self) -> bool {
        hide_field(&self.changes.queue) != 0
    }

    /// It is to be handed on next.
    #[inline(always)]
    pub(in crate::protocols::redis) fn settle_changes(&mut self) {
        self.queue_step = QueueStep::Settle as u8;
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
        if step == QueueStep::Reply as u8 && self.is_like_changes() {
            self.note_reply();
            return;
        }
        self.hand_on(source, connection);
        if step == QueueStep::Reply as u8 {
            self.take_queue_reply(source, connection);
        } else if step == QueueStep::Settle as u8 {
            // That was all.
        } else if step == QueueStep::Thrown as u8 {
            self.throw_away(source, connection);
        } else if step == QueueStep::Element as u8 {
            self.take_queue_element(source, connection);
        } else if step == QueueStep::Name as u8 {
            self.end_queue_name(source, connection);
        } else {
            self.refuse_messages(source);
        }
    }

    /// Takes a reply to a command that uses a queue, and starts at the source's position, if it is a plain one. The run has
    /// been kept. Asks for another subprogram if it is not, or tells of another queue than the one before it.
    #[inline(always)]
    pub(in crate::protocols::redis) fn plain_queue_reply<S: Queues>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        const NO: u32 = Subprogram::Reply.asked();
        let at = source.position();
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        let reach = if available < 16 { available } else { 16 };
        let (lo, hi) = source.words(at);
        let Ok(Some(line)) = Line::read(lo, hi, reach) else { return NO };
        let is_taken = QueueUse::of(hide_field(&self.replies.run.code)).takes();
        if line.complete == 0 || line.kind != if is_taken { b'$' } else { b':' } {
            return NO;
        }
        self.pipeline.advance(REPLIES, 1);
        let counters = connection.details.redis_mut();
        counters.answered = counters.answered.wrapping_add(1);
        let value = if is_taken && !line.is_nil() { line.count as u32 + 2 } else { 0 };
        let behind = at + line.length + value;
        let end = source.end();
        let replies = &mut self.replies;
        replies.line = line;
        replies.skip = behind.saturating_sub(end);
        source.go_to(if behind < end { behind } else { end });
        if self.is_like_changes() {
            self.replies.who = REPLIES as u8;
            self.note_reply();
            return 0;
        }
        self.replies.ask(QueueStep::Reply, REPLIES);
        Subprogram::QueueReply.asked()
    }

    /// Whether the reply tells of the same queue, and of the same use of it, as those before it.
    #[inline(always)]
    fn is_like_changes(&self) -> bool {
        let run = hide_field(&self.replies.run);
        let queue_use = QueueUse::of(run.code);
        let changes = &self.replies.changes;
        changes.queue != 0
            && changes.queue == run.prefix
            && (changes.is_taken != 0) == queue_use.takes()
            && changes.end == queue_use.end() as u8
            && !queue_use.reply_names()
            && !queue_use.moves()
            && !queue_use.removes()
    }

    /// Takes note of what a reply tells of the queue that its command has named.
    #[inline(always)]
    fn note_reply(&mut self) {
        let line = hide_field(&self.replies.line);
        let run = hide_field(&self.replies.run);
        let done = self.pipeline.done(u32::from(hide_field(&self.replies.who)));
        let queue_use = QueueUse::of(run.code);
        let changes = &mut self.replies.changes;
        if queue_use.takes() {
            let count = if line.kind == b'*' { messages(line.count) } else { 1 };
            changes.messages = changes.messages.saturating_add(if line.is_nil() { 0 } else { count });
            changes.is_taken = 1;
        } else if let Some(said) = line.integer() {
            let put = Put::from_code(run.start_ns);
            changes.messages = changes.messages.saturating_add(put.messages());
            changes.is_taken = 0;
            if let Some(Expected { length, taken }) = put.expected(done)
                && !run.has(MIXED | TIMELESS | UNKNOWN)
            {
                changes.expected = length;
                changes.taken = taken;
                changes.said = said as u32;
                changes.is_said = 1;
            }
        } else {
            return;
        }
        changes.queue = run.prefix;
        changes.end = queue_use.end() as u8;
    }

    /// Hands on what was told of a queue.
    #[inline(always)]
    fn hand_on<S: Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let changes = hide_field(&self.replies.changes);
        if changes.queue == 0 {
            return;
        }
        self.replies.changes = Changes::NONE;
        let queue = u32::from(changes.queue);
        if changes.is_taken != 0 {
            if changes.messages > 0 {
                source.take(connection, queue, End::from_u8(changes.end), changes.messages);
            }
            return;
        }
        if changes.messages > 0 {
            source.count_put(connection, queue, changes.messages);
        }
        if changes.is_said != 0 {
            let expected = Expected { length: changes.expected, taken: changes.taken };
            source.compare(queue, expected, changes.said);
        }
    }

    /// The reply to a command that names its queue in the reply, or moves messages to another one, or the element of
    /// `EXEC`'s that answers it; or the first one of others.
    #[inline(always)]
    fn take_queue_reply<S: Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let line = hide_field(&self.replies.line);
        let who = u32::from(hide_field(&self.replies.who));
        let run = hide_field(&self.replies.run);
        let queue_use = QueueUse::of(run.code);
        let queue = u32::from(run.prefix);
        if queue_use.removes() {
            if let Some(count @ 1..) = line.integer() {
                source.remove(queue, count as u32);
            }
            return;
        }
        if !queue_use.reply_names() && !queue_use.moves() {
            self.note_reply();
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
        source.take(connection, queue, queue_use.end(), 1);
        if let Some(to) = self.pipeline.next(who, connection.id, source)
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
            let count = messages(line.count);
            if line.kind == b'*' && count > 0 {
                let queue = u32::from(hide_field(&self.replies.queue));
                source.take(connection, queue, End::from_u8(self.replies.end), count);
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

    /// The commands of a transaction are not executed: `DISCARD`, or an `EXEC` that is refused, or is none as a watched key
    /// has changed.
    #[inline(always)]
    fn throw_away<S: Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let _ = S::repeat(THROWN_MAX, || {
            let left = self.pipeline.done(REPLIES).wrapping_sub(self.pipeline.done(ELEMENTS));
            if left == 0 || left > THROWN_MAX {
                return false;
            }
            let Some(run) = self.pipeline.next(ELEMENTS, connection.id, source) else { return false };
            let units = self.pipeline.left(ELEMENTS, &run);
            let units = if units < left { units } else { left };
            self.pipeline.advance(ELEMENTS, units);
            refuse(&run, units, source);
            units > 0
        });
        self.pipeline.go_to(Transaction::None);
    }

    /// A command that uses a queue has failed.
    #[inline(always)]
    fn refuse_messages<S: Queues>(&mut self, source: &mut S) {
        let run = hide_field(&self.replies.run);
        refuse(&run, 1, source);
        if QueueUse::of(run.code).reads() {
            // There is no such group, most likely.
            self.follow_reply(Followed::Lost, 0, source);
        }
    }
}

/// What so many commands of a run have put into a queue is not there.
#[inline(always)]
fn refuse<S: Queues>(run: &Run, commands: u32, source: &mut S) {
    let queue_use = QueueUse::of(run.code);
    if queue_use.puts() && !run.has(KEYS | MIXED | UNKNOWN) {
        let each = Put::from_code(run.start_ns).messages();
        source.refuse(
            u32::from(run.prefix),
            queue_use.end(),
            messages(u64::from(each.wrapping_mul(commands))),
        );
    } else if queue_use.adds() && !run.has(MIXED | UNKNOWN) && Asked::from_code(run.start_ns).is_one() {
        source.follow_stream(u32::from(run.prefix), Followed::NotAdded, commands, Asked::ADDS);
    }
}
