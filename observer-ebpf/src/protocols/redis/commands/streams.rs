//! What commands say of the streams that they use.
//!
//! ```text
//!   XADD s * field value     XREADGROUP GROUP g consumer COUNT 10 STREAMS s >     XACK s g 1700000000000-0
//!                            XGROUP CREATE s g $ MKSTREAM
//! ```

use super::{CommandField, Commands, QueueUse, Unit};
use crate::layout::Role;
use crate::layout::connection::Connection;
use crate::layout::names::NONE;
use crate::protocols::redis::layout::Command;
use crate::protocols::redis::streams::added_ms;
use crate::protocols::redis::{BLOCKING, Redis};
use crate::queues::deque::Asked;
use crate::queues::layout::OTHER_STREAM;
use crate::queues::{Followed, Queues};
use crate::stream::bytes::hide_field;
use crate::stream::text::{number, words};

/// Of [`Commands::blocks`]: keys of streams, and as many ids, are all that is to come.
pub(super) const READS_STREAMS: u8 = 1;
/// Entries that others have been delivered before are among those that are read.
const READS_PENDING: u8 = 2;

/// Of [`Commands::count`], for a command that sets a group: it is delivered what is added from now on.
pub(in crate::protocols::redis) const FROM_TAIL: u32 = 1;
/// It is somewhere else, or gone.
const ELSEWHERE: u32 = 2;

impl Commands {
    /// Whether the argument that is over is one that [`Redis::end_stream_key`] looks at.
    #[inline(always)]
    pub(super) fn has_stream_key(&self) -> bool {
        self.is(CommandField::Key) && QueueUse::of(hide_field(&self.command)).is_of_streams()
    }

    /// Whether the key of the first stream to be read comes next.
    #[inline(always)]
    pub(super) fn awaits_stream(&self) -> bool {
        let is_read = QueueUse::of(hide_field(&self.command)).reads();
        is_read && self.blocks & READS_STREAMS != 0 && self.stream == NONE as u16
    }

    /// An option, or an id, of a command that reads streams.
    #[inline(always)]
    pub(super) fn end_read_word(&mut self, option: u64, lo: u64, hi: u64, length: u32) {
        const BLOCK: u64 = words("block").0;
        const CLAIM: u64 = words("claim").0;
        const COUNT: u64 = words("count").0;
        const STREAMS: u64 = words("streams").0;
        let is_of_group = self.command == Command::Xreadgroup as u8;
        // `GROUP`, and the names of a group and a consumer, come before the other's options.
        if self.blocks & READS_STREAMS != 0 || (is_of_group && self.index <= 3) {
            if self.blocks & READS_STREAMS != 0 && is_of_group && (length != 1 || lo as u8 != b'>') {
                // Entries that were delivered before.
                self.queue = NONE as u16;
            }
        } else if self.unit != Unit::None as u8 {
            self.unit = Unit::None as u8;
            self.count = match number(lo, hi, length) {
                Some(count) if count < u64::from(Asked::COUNT_MAX) => count as u32,
                _ => Asked::COUNT_MAX,
            };
        } else if option == COUNT {
            self.unit = Unit::Entries as u8;
        } else {
            self.blocks |= match option {
                BLOCK => BLOCKING,
                CLAIM => READS_PENDING,
                STREAMS => READS_STREAMS,
                _ => 0,
            };
        }
    }

    /// What a command does with a group, or from which id on that is delivered entries.
    #[inline(always)]
    pub(super) fn end_group_word(&mut self, option: u64, length: u32, first: u8) {
        const CREATE: u64 = words("create").0;
        const SETID: u64 = words("setid").0;
        const DESTROY: u64 = words("destroy").0;
        if self.index == 1 {
            let is_set = option == CREATE || option == SETID || option == DESTROY;
            self.count = if is_set { ELSEWHERE } else { 0 };
        } else if self.index == 4 && self.count == ELSEWHERE && length == 1 && first == b'$' {
            self.count = FROM_TAIL;
        }
    }
}

impl Redis {
    /// The key of a stream, the name of a group, or an id is in the text.
    #[inline(always)]
    pub(in crate::protocols::redis) fn end_stream_key<S: Queues>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let commands = &mut self.commands;
        let queue_use = QueueUse::of(hide_field(&commands.command));
        let length = u32::from(commands.text_length);
        let is_whole = commands.skip <= 2 && length > 0;
        let index = hide_field(&commands.index);
        if queue_use.acknowledges() && index > 2 {
            let [lo, hi, ..] = commands.text.words;
            commands.added_ms = added_ms(lo, hi);
            return;
        }
        let group = if queue_use.sets_group() { 3 } else { 2 };
        let names_group = index == group && !queue_use.adds() && commands.blocks & READS_STREAMS == 0;
        // Of several streams, which entries are whose is not followed.
        let is_one = !queue_use.reads() || commands.args == 2;
        let mut number = OTHER_STREAM;
        if is_whole && is_one | names_group {
            number = if names_group {
                source.group(connection, &commands.text, length)
            } else {
                let db = commands.database();
                source.stream(connection, &commands.text, length, db)
            };
        }
        let commands = &mut self.commands;
        if names_group {
            commands.group = number as u16;
        } else {
            commands.stream = number as u16;
        }
        let (stream, group) =
            (u32::from(hide_field(&commands.stream)), u32::from(hide_field(&commands.group)));
        let mut queue = stream;
        if stream > OTHER_STREAM && group != NONE {
            queue = if group > OTHER_STREAM {
                source.stream_group(connection, stream, group)
            } else {
                OTHER_STREAM
            };
        }
        self.commands.queue = queue as u16;
    }

    /// A command that uses a stream has come, as far as it is looked at: tells what its run has in place of a time.
    #[inline(always)]
    pub(super) fn follow_command<S: Queues>(
        &mut self,
        queue: u32,
        queue_use: QueueUse,
        now_ns: u64,
        source: &mut S,
        connection: &Connection,
    ) -> u64 {
        let commands = &self.commands;
        if queue_use.acknowledges() {
            return hide_field(&commands.added_ms);
        }
        if connection.role != Role::Server as u8 || queue <= OTHER_STREAM {
            return now_ns;
        }
        if queue_use.adds() {
            source.follow_stream(queue, Followed::Added, 1, Asked::ADDS);
            return Asked::ADDS.code();
        }
        let is_new = !queue_use.claims() && commands.blocks & READS_PENDING == 0;
        if !is_new || hide_field(&commands.group) == NONE as u16 {
            return now_ns;
        }
        let stream = u32::from(hide_field(&commands.stream));
        let (count, waits) = (hide_field(&commands.count), commands.blocks & BLOCKING != 0);
        let tail = source.follow_stream(queue, Followed::Asked, stream, Asked::ADDS);
        Asked::new(tail, count, waits).code()
    }
}
