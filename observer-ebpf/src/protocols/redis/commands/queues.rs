//! Commands that use a queue, of which all is in reach: taken at once, as others are.

use super::QueueUse;
use super::plain::Bulk;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::protocols::redis::queues::{Put, messages};
use crate::protocols::redis::{Redis, Subprogram};
use crate::queues::layout::{KEY_MAX, PLACES};
use crate::queues::{End, Queues};
use crate::stream::bytes::{hide_field, low_of_two};

/// A queue of a short name, and the number that it has.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct LastQueue {
    /// Its name, zeroes behind.
    name: [u64; 2],
    /// [`Queues::queues_epoch`] when it was looked up.
    epoch: u32,
    /// How long the name is; 0 if there is none.
    length: u16,
    db: u16,
    number: u16,
    reserved: [u16; 3],
}

impl LastQueue {
    /// None. All zeroes.
    pub(super) const NONE: Self =
        Self { name: [0; 2], epoch: 0, length: 0, db: 0, number: 0, reserved: [0; 3] };

    /// Forgets it, if its number may be another queue's by now. To be called at the start of each call.
    #[inline(always)]
    pub(super) fn refresh<S: Queues>(&mut self, source: &S) {
        let epoch = source.queues_epoch();
        if self.epoch != epoch {
            self.epoch = epoch;
            self.length = 0;
        }
    }
}

/// Messages that commands of a call have put into one queue, each as many as the one before it: they are put in together.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(in crate::protocols::redis) struct Puts {
    /// What a run of the first command has.
    code: u64,
    /// Units sent with the last of them: the next command follows on it if there are no more.
    sent: u32,
    /// How many messages each of them puts in, and how many are still to be put in.
    each: u32,
    waiting: u32,
    /// The number of the queue; 0 if there is none.
    queue: u16,
    /// An [`End`].
    end: u8,
    reserved: u8,
}

impl Puts {
    /// None.
    pub(super) const NONE: Self =
        Self { code: 0, sent: 0, each: 0, waiting: 0, queue: 0, end: 0, reserved: 0 };

    /// Whether there are some left to be put in.
    #[inline(always)]
    pub(in crate::protocols::redis) fn has_any(&self) -> bool {
        hide_field(&self.waiting) != 0
    }
}

impl Redis {
    /// Takes a command that uses a queue and starts at the source's position, if all of it is in reach; or asks for another
    /// subprogram. Its name has been told.
    #[inline(always)]
    pub(in crate::protocols::redis) fn queue_command<S: Queues>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        const NO: u32 = Subprogram::Command.asked();
        let at = source.position();
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        let reach = at + available;
        let (shape, _) = source.words(at);
        let words = u32::from(((shape >> 8) as u8).wrapping_sub(b'0'));
        let length = u32::from(((shape >> 40) as u8).wrapping_sub(b'0'));
        let code = hide_field(&self.commands.command);
        let queue_use = QueueUse::of(code);
        let expected = if queue_use.puts() { 3 } else { 2 };
        let Some(name) = Bulk::read(source, at + 8 + length + 2, reach) else { return NO };
        if words != expected || name.length == 0 || name.length > KEY_MAX || name.at + name.length > reach {
            return NO;
        }
        let mut behind = name.behind();
        if queue_use.puts() {
            let Some(message) = Bulk::read(source, behind, reach) else { return NO };
            behind = message.behind();
        }
        if behind > source.end() {
            return NO;
        }
        let number = self.queue_named(name, queue_use.takes(), source, connection);
        let commands = &mut self.commands;
        commands.queue = number as u16;
        commands.number = number;
        commands.index = words;
        commands.blocks = 0;
        commands.client_reply = 0;
        source.go_to(behind);
        Subprogram::QueueUse.asked()
    }

    /// The number of the queue of a name that is in reach.
    #[inline(always)]
    fn queue_named<S: Queues>(
        &mut self,
        name: Bulk,
        takes: bool,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        let commands = &mut self.commands;
        let (lo, hi) = source.words(name.at);
        let (lo, hi) = low_of_two(lo, hi, name.length);
        let last = &mut commands.last_queue;
        let is_same =
            u32::from(last.length) == name.length && last.name == [lo, hi] && last.db == commands.db;
        if is_same {
            return u32::from(last.number);
        }
        commands.gather(name.at, name.length, source);
        let db = commands.database();
        let number = source.queue(connection, &self.commands.text, name.length, db, takes);
        let commands = &mut self.commands;
        let is_short = name.length <= 16 && number >= PLACES;
        let last = &mut commands.last_queue;
        last.name = [lo, hi];
        last.length = if is_short { name.length as u16 } else { 0 };
        last.db = commands.db;
        last.number = number as u16;
        number
    }

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
        let messages = messages(u64::from(values));
        let sent = self.pipeline.sent();
        let end = queue_use.end() as u8;
        let puts = &mut self.commands.puts;
        let follows = u32::from(puts.queue) == queue && puts.sent == sent && puts.end == end;
        if follows && puts.each == messages && is_answered && messages > 0 {
            puts.sent = sent.wrapping_add(1);
            puts.waiting = puts.waiting.saturating_add(messages);
            return puts.code;
        }
        self.put_waiting(source);
        let expected = source.put(queue, queue_use.end(), messages);
        if !is_answered {
            source.count_put(connection, queue, messages);
        }
        let code = Put::new(messages, expected, sent.wrapping_add(1)).code();
        let puts = &mut self.commands.puts;
        puts.code = code;
        puts.sent = sent.wrapping_add(1);
        puts.each = messages;
        puts.queue = queue as u16;
        puts.end = end;
        code
    }

    /// Puts in what waits for that.
    #[inline(always)]
    pub(in crate::protocols::redis) fn put_waiting<S: Queues>(&mut self, source: &mut S) {
        let puts = &mut self.commands.puts;
        let waiting = hide_field(&puts.waiting);
        if waiting != 0 {
            puts.waiting = 0;
            let (queue, end) = (u32::from(puts.queue), End::from_u8(puts.end));
            let _ = source.put(queue, end, waiting);
        }
    }
}
