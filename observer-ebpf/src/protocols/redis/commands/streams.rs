//! What commands say of the streams that they use.
//!
//! ```text
//!   XADD s * field value     XREADGROUP GROUP g consumer COUNT 10 STREAMS s >     XACK s g 1700000000000-0
//! ```

use super::{CommandField, Commands, QueueUse};
use crate::layout::connection::Connection;
use crate::layout::names::NONE;
use crate::protocols::redis::Redis;
use crate::protocols::redis::streams::added_ms;
use crate::queues::Queues;
use crate::queues::layout::OTHER_STREAM;
use crate::stream::bytes::hide_field;

/// Of [`Commands::blocks`]: keys of streams, and as many ids, are all that is to come.
pub(super) const READS_STREAMS: u8 = 1;

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
        let names_group = index == 2 && !queue_use.adds() && commands.blocks & READS_STREAMS == 0;
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
}
