//! Inline commands: words in a line.
//!
//! What stands in quotes is taken for words as well, whose prefixes are `other` and whose sizes are not counted.

use super::QueueUse;
use super::arguments::count_value;
use super::kinds::{Argument, Kind, argument};
use super::{CommandField, WORD_MAX};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::names::{NONE, OTHER};
use crate::protocols::redis::Redis;
use crate::protocols::redis::layout::Command;
use crate::protocols::redis::text;
use crate::queues::Queues;
use crate::queues::layout::OTHER_STREAM;
use crate::stream::bytes::hide_field;
use crate::stream::carry::Carry;
use crate::stream::names::Keys;
use crate::stream::prefix::{KEY_MAX, UNDECIDED};
use crate::stream::text::find_in_two;

impl Redis {
    /// A line comes that is no array's: an inline command.
    #[inline(always)]
    pub(super) fn begin_inline(&mut self) {
        let commands = &mut self.commands;
        commands.index = 0;
        commands.pushed = 0;
        commands.look_at(CommandField::InlineName, WORD_MAX);
        // Bytes that are kept are of the name, or else were told not to be of one.
        let kept = u32::from(commands.carried);
        (commands.text.words[0], commands.text.words[1]) = (commands.carry.bytes[0], commands.carry.bytes[1]);
        commands.text_length = kept as u8;
        commands.carry = Carry::EMPTY;
        commands.carried = 0;
    }

    /// Bytes of an inline command.
    #[inline(always)]
    pub(in crate::protocols::redis) fn read_inline<S: Keys + Queues>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let at = source.position();
        let available = source.window(at).map_err(|_| Desync::Unread)?;
        let (lo, hi) = source.words(at);
        if self.commands.is(CommandField::InlineWord) {
            let reach = if available < 16 { available } else { 16 };
            let end = find_in_two(lo, hi, b'\n').min(find_in_two(lo, hi, b' '));
            if end > 0 {
                source.go_to(at + end.min(reach));
                return Ok(());
            }
        }
        source.go_to(at + 1);
        self.read_inline_byte(lo as u8, source, connection)
    }

    #[inline(always)]
    fn read_inline_byte<S: Keys + Queues>(
        &mut self,
        byte: u8,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let commands = &mut self.commands;
        let in_name = commands.is(CommandField::InlineName);
        let is_end = byte == b'\n';
        let is_blank = is_end || matches!(byte, b' ' | b'\t' | b'\r');
        if !is_blank {
            if commands.is(CommandField::InlineBlank) {
                commands.index = commands.index.wrapping_add(1);
                commands.skip = 0;
                let (code, index) = (hide_field(&commands.command), hide_field(&commands.index));
                let looked_at = argument(code, index) != Argument::Other;
                commands
                    .look_at(if looked_at { CommandField::InlineText } else { CommandField::InlineWord }, 0);
            }
            if in_name {
                // No name has any other: this is no command.
                if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'"' | b'\'')) {
                    return Err(Desync::Header);
                }
                commands.add(byte);
            } else if commands.is(CommandField::InlineText) {
                commands.skip = commands.skip.saturating_add(1);
                if u32::from(commands.text_length) < KEY_MAX {
                    commands.add(byte);
                } else {
                    // A separator, far into a key.
                    commands.wanted |= u8::from(byte == source.separator());
                }
            }
            return Ok(());
        }
        if in_name {
            let length = u32::from(commands.text_length);
            if length == 0 {
                if is_end {
                    // Nothing to a server.
                    commands.look = CommandField::Over as u8;
                }
                return Ok(());
            }
            let [first, second, ..] = commands.text.words;
            let named = length <= WORD_MAX;
            commands.begin(if named { text::command(first, second, length) } else { Command::Other as u8 });
            commands.look_at(CommandField::InlineBlank, 0);
        } else {
            if commands.is(CommandField::InlineText) {
                self.end_inline_word(source, connection);
            }
            self.commands.look = CommandField::InlineBlank as u8;
        }
        if is_end {
            self.end_inline(source, connection);
        }
        Ok(())
    }

    /// An argument that is looked at is over.
    #[inline(always)]
    fn end_inline_word<S: Keys + Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let commands = &mut self.commands;
        let (code, index) = (hide_field(&commands.command), hide_field(&commands.index));
        let length = commands.skip;
        commands.skip = 0;
        let quoted = matches!(commands.text.words[0] as u8, b'"' | b'\'');
        let argument = argument(code, index);
        if argument == Argument::Key && QueueUse::of(code).is_of_streams() {
            // Which stream it is, is not followed where people type.
            commands.queue = OTHER_STREAM as u16;
        } else if argument == Argument::Key && Kind::of(code).has_queue() {
            let seen = u32::from(commands.text_length);
            let is_told = !quoted && seen == length && commands.index == 1;
            let db = commands.database();
            let takes = QueueUse::of(code).takes();
            if is_told {
                let number = source.queue(connection, &self.commands.text, seen, db, takes);
                self.commands.queue = number as u16;
            } else if index == 1 {
                self.commands.queue = OTHER as u16;
            }
        } else if argument == Argument::Key {
            let seen = u32::from(commands.text_length);
            let number = source.prefix(&commands.text, &mut commands.last, seen, seen == length);
            let undecided = if commands.wanted != 0 { OTHER } else { NONE };
            let number = if number == UNDECIDED { undecided } else { number };
            self.commands.number = if quoted { OTHER } else { number };
            if self.commands.pushed == 0 {
                self.push(code, 1, source, connection);
            }
            if Kind::of(code).finds_many() {
                self.push_keys(code, 1, source, connection);
            }
        } else if argument == Argument::Value {
            if !quoted {
                count_value(connection, length);
            }
        } else if length <= WORD_MAX {
            let [first, second, ..] = commands.text.words;
            self.end_word(first, second, length, source, connection);
        }
    }

    /// An inline command is complete.
    #[inline(always)]
    fn end_inline<S: Keys + Queues>(&mut self, source: &mut S, connection: &mut Connection) {
        let commands = &mut self.commands;
        commands.look = CommandField::Over as u8;
        commands.skip = 0;
        let code = hide_field(&commands.command);
        let args = commands.index;
        // Its name counts, as in an array.
        commands.index = args.wrapping_add(1);
        if commands.pushed == 0 {
            commands.number = NONE;
            if Kind::of(code).has_queue() {
                self.commands.number = u32::from(hide_field(&self.commands.queue));
                self.push_queue_use(source, connection);
            } else {
                self.push(code, args, source, connection);
            }
        }
        self.end_command(connection);
    }
}
