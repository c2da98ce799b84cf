//! What the replies to commands that use streams tell.
//!
//! ```text
//!   XREADGROUP:  *1   *2   $1 s   *2   *2   $15 1700000000000-0   *4   $1 f  $1 v  $1 g  $1 w   *2   …
//!                     │    └─ stream   │    └─ id                 └─ fields and values
//!                     └─ of RESP2      └─ entries, each of these two
//!   XAUTOCLAIM:  *3   $3 0-0   *2   *2   $15 1700000000000-0   …   *0
//!                     └─ where to go on      └─ as above           └─ what is not there any more
//! ```

use super::line::{Line, is_aggregate};
use super::queues::QueueStep;
use super::{Elements, Replies, ReplyField};
use crate::layout::connection::Connection;
use crate::layout::names::NONE;
use crate::protocols::redis::Redis;
use crate::protocols::redis::commands::{FROM_TAIL, QueueUse};
use crate::protocols::redis::streams::{added_ms, age_ns};
use crate::queues::deque::Asked;
use crate::queues::{Followed, Queues};
use crate::stream::bytes::hide_field;
use crate::stream::pipeline::{KEYS, MIXED, REPLIES, TIMELESS, UNKNOWN};

/// The most runs of ids that one command acknowledges: as many as can be in flight.
const RUNS_MAX: u32 = 4096;

/// What the next element of a reply with entries of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum EntryStep {
    /// A stream's key and its entries, or in RESP3 the key.
    Pair = 0,
    /// The key.
    Key = 1,
    /// The entries.
    Entries = 2,
    /// An entry.
    Entry = 3,
    /// Its id.
    Id = 4,
    /// Its fields.
    Fields = 5,
    /// One of the fields, or its value.
    Field = 6,
}

impl Replies {
    /// An element of a reply with entries of a stream.
    #[inline(always)]
    pub(super) fn take_entry_element(&mut self, line: &Line) {
        let step = hide_field(&self.entry_step);
        let count = line.count as u32;
        let is_key =
            step == EntryStep::Key as u8 || (step == EntryStep::Pair as u8 && !is_aggregate(line.kind));
        if step == EntryStep::Field as u8 {
            self.fields = self.fields.saturating_sub(1);
            if self.fields == 0 {
                self.end_entry();
            }
        } else if step == EntryStep::Id as u8 {
            if line.kind == b'$' && line.count > 0 {
                // The next step is told by its end.
                self.look_at(ReplyField::Word);
            } else {
                self.elements = Elements::Any as u8;
            }
        } else if step == EntryStep::Fields as u8 {
            self.fields = count;
            self.entry_step = EntryStep::Field as u8;
            if count == 0 {
                self.end_entry();
            }
        } else if is_key {
            self.entry_step = EntryStep::Entries as u8;
        } else if step == EntryStep::Pair as u8 {
            self.entry_step = EntryStep::Key as u8;
        } else if step == EntryStep::Entries as u8 {
            self.entries = count.wrapping_add(1);
            self.end_entry();
            if Asked::from_code(hide_field(&self.run.start_ns)).is_one() {
                self.ask(QueueStep::Element, REPLIES);
            }
        } else if line.is_nil() {
            self.end_entry();
        } else if !is_aggregate(line.kind) {
            // With `JUSTID` they are not delivered.
            self.elements = Elements::Any as u8;
        } else {
            self.entry_step = EntryStep::Id as u8;
        }
    }

    /// An entry is over.
    #[inline(always)]
    fn end_entry(&mut self) {
        self.entries = self.entries.saturating_sub(1);
        self.entry_step = if self.entries == 0 { EntryStep::Pair } else { EntryStep::Entry } as u8;
        if self.entries == 0 && QueueUse::of(hide_field(&self.run.code)).claims() {
            self.elements = Elements::Any as u8;
        }
    }
}

impl Redis {
    /// Does what is to be done for a stream.
    #[inline(always)]
    pub(in crate::protocols::redis) fn take_stream<S: Queues>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let step = hide_field(&self.replies.queue_step);
        self.replies.queue_step = QueueStep::None as u8;
        if step == QueueStep::Reply as u8 {
            self.take_stream_reply(source, connection);
        } else if step == QueueStep::Element as u8 {
            let entries = hide_field(&self.replies.entries);
            self.follow_reply(Followed::Delivered, entries, source);
        } else {
            self.deliver_entry(source, connection);
        }
    }

    /// The reply to a command that uses a stream.
    #[inline(always)]
    fn take_stream_reply<S: Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let line = hide_field(&self.replies.line);
        let run = hide_field(&self.replies.run);
        let queue_use = QueueUse::of(run.code);
        let queue = u32::from(run.prefix);
        if queue == NONE {
            return;
        }
        if line.is_nil() {
            // Nothing was added, or there is nothing that the group has not been delivered.
            let adds = queue_use.adds();
            let what = if adds { Followed::NotAdded } else { Followed::Delivered };
            self.follow_reply(what, u32::from(adds), source);
            return;
        }
        if queue_use.adds() {
            if line.kind == b'$' {
                source.count_put(connection, queue, 1);
            }
        } else if queue_use.reads() || queue_use.claims() {
            if is_aggregate(line.kind) && line.count > 0 {
                self.replies.queue = queue as u16;
                self.replies.elements = Elements::Entries as u8;
                self.replies.entry_step = EntryStep::Pair as u8;
            }
        } else if queue_use.sets_group() {
            let place = Asked::from_code(run.start_ns).count();
            if place != 0 {
                let what = if place == FROM_TAIL { Followed::Begun } else { Followed::Lost };
                self.follow_reply(what, 0, source);
            }
        } else if let Some(said) = line.integer() {
            self.replies.entries = said as u32;
            self.acknowledge_entries(queue, source, connection);
        }
    }

    /// Takes note of what a reply tells of a stream or a group that is followed.
    #[inline(always)]
    pub(super) fn follow_reply<S: Queues>(&mut self, what: Followed, count: u32, source: &mut S) {
        let run = hide_field(&self.replies.run);
        let asked = Asked::from_code(run.start_ns);
        if asked.is_one() && !run.has(MIXED | TIMELESS | UNKNOWN) {
            source.follow_stream(u32::from(run.prefix), what, count, asked);
        }
    }

    /// As many entries are acknowledged as the reply says: those of the command's ids, from the first on.
    #[inline(always)]
    fn acknowledge_entries<S: Queues>(&mut self, queue: u32, source: &mut S, connection: &mut Connection) {
        let who = u32::from(hide_field(&self.replies.who));
        let run = hide_field(&self.replies.run);
        let wall_ns = source.wall_ns();
        self.acknowledge_some(1, run.start_ns, run.flags, queue, wall_ns, source, connection);
        let _ = S::repeat(RUNS_MAX, || {
            let Some(more) = self.pipeline.next(who, connection.id, source) else { return false };
            if !more.has(KEYS) {
                return false;
            }
            let units = self.pipeline.left(who, &more);
            self.pipeline.advance(who, units);
            self.acknowledge_some(units, more.start_ns, more.flags, queue, wall_ns, source, connection);
            true
        });
    }

    /// Some entries that were added at one time are acknowledged, as far as the reply has said so of more.
    #[allow(clippy::too_many_arguments, reason = "a run would go by way of the stack")]
    #[inline(always)]
    fn acknowledge_some<S: Queues>(
        &mut self,
        units: u32,
        added: u64,
        flags: u8,
        queue: u32,
        wall_ns: u64,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let left = hide_field(&self.replies.entries);
        let count = if units < left { units } else { left };
        self.replies.entries = left - count;
        if count > 0 {
            let is_told = flags & (MIXED | TIMELESS | UNKNOWN) == 0;
            let age = if is_told { age_ns(added, wall_ns) } else { None };
            source.acknowledge(connection, queue, count, age);
        }
    }

    /// The id of an entry that is delivered is in the text.
    #[inline(always)]
    fn deliver_entry<S: Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let [lo, hi, ..] = self.replies.text.words;
        let age = age_ns(added_ms(lo, hi), source.wall_ns());
        let queue = u32::from(hide_field(&self.replies.queue));
        self.replies.entry_step = EntryStep::Fields as u8;
        source.deliver(connection, queue, age);
    }
}
