//! Inline commands: words in a line.
//!
//! What stands in quotes is taken for words as well, whose prefixes are `other` and whose sizes are not counted.

use super::arguments::count_value;
use super::kinds::{is_key, is_many, is_value, is_word};
use super::{KEY_MAX, Look, WORD_MAX};
use crate::layout::connection::Connection;
use crate::layout::health::Desync;
use crate::layout::redis::{Command, PREFIX_NONE, PREFIX_OTHER};
use crate::wire::head::Head;
use crate::wire::redis::Redis;
use crate::wire::redis::text::{self, Prefix};
use crate::wire::source::{Source, recall};

impl Redis {
    /// A line comes that is no array's: an inline command.
    #[inline(always)]
    pub(super) fn begin_inline(&mut self) {
        let commands = &mut self.commands;
        commands.index = 0;
        commands.pushed = 0;
        commands.look_at(Look::InlineName, WORD_MAX);
        // Bytes that are kept are of the name, or else were told not to be of one.
        let kept = u32::from(commands.head_length);
        (commands.text[0], commands.text[1]) = (commands.head.bytes[0], commands.head.bytes[1]);
        commands.text_length = kept as u8;
        commands.head = Head::EMPTY;
        commands.head_length = 0;
    }

    /// Bytes of an inline command.
    #[inline(always)]
    pub(in crate::wire::redis) fn read_inline<S: Source>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let at = source.position();
        let available = source.window(at).map_err(|_| Desync::Unread)?;
        let (lo, hi) = source.words(at);
        if self.commands.is(Look::InlineWord) {
            let reach = if available < 16 { available } else { 16 };
            let end = text::find_in_two(lo, hi, b'\n').min(text::find_in_two(lo, hi, b' '));
            if end > 0 {
                source.go_to(at + end.min(reach));
                return Ok(());
            }
        }
        source.go_to(at + 1);
        self.read_inline_byte(lo as u8, source, connection)
    }

    #[inline(always)]
    fn read_inline_byte<S: Source>(
        &mut self,
        byte: u8,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let commands = &mut self.commands;
        let in_name = commands.is(Look::InlineName);
        let is_end = byte == b'\n';
        let is_blank = is_end || matches!(byte, b' ' | b'\t' | b'\r');
        if !is_blank {
            if commands.is(Look::InlineBlank) {
                commands.index = commands.index.wrapping_add(1);
                commands.skip = 0;
                let (code, index) = (recall(&commands.command), recall(&commands.index));
                let looked_at = is_key(code, index) || is_value(code, index) || is_word(code, index);
                commands.look_at(if looked_at { Look::InlineText } else { Look::InlineWord }, 0);
            }
            if in_name {
                // No name has any other: this is no command.
                if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'"' | b'\'')) {
                    return Err(Desync::Header);
                }
                commands.add(byte);
            } else if commands.is(Look::InlineText) {
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
                    commands.look = Look::Over as u8;
                }
                return Ok(());
            }
            let [first, second, ..] = commands.text;
            let named = length <= WORD_MAX;
            commands.begin(if named { text::command(first, second, length) } else { Command::Other as u8 });
            commands.look_at(Look::InlineBlank, 0);
        } else {
            if commands.is(Look::InlineText) {
                self.end_inline_word(source, connection);
            }
            self.commands.look = Look::InlineBlank as u8;
        }
        if is_end {
            self.end_inline(source, connection);
        }
        Ok(())
    }

    /// An argument that is looked at is over.
    #[inline(always)]
    fn end_inline_word<S: Source>(&mut self, source: &mut S, connection: &mut Connection) {
        let commands = &mut self.commands;
        let (code, index) = (recall(&commands.command), recall(&commands.index));
        let length = commands.skip;
        commands.skip = 0;
        let quoted = matches!(commands.text[0] as u8, b'"' | b'\'');
        if is_key(code, index) {
            let number = match text::prefix(&commands.text, source.separator()) {
                _ if quoted => PREFIX_OTHER,
                Prefix::Without if commands.wanted != 0 => PREFIX_OTHER,
                Prefix::Without => PREFIX_NONE,
                Prefix::Other => PREFIX_OTHER,
                Prefix::Is(length) => self.number(length, source),
            };
            self.commands.number = number;
            if self.commands.pushed == 0 {
                self.push(code, 1, source, connection);
            }
            if is_many(code) {
                self.push_keys(code, 1, source);
            }
        } else if is_value(code, index) {
            if !quoted {
                count_value(connection, length);
            }
        } else if length <= WORD_MAX {
            let [first, second, ..] = commands.text;
            self.end_word(first, second, length, source, connection);
        }
    }

    /// An inline command is complete.
    #[inline(always)]
    fn end_inline<S: Source>(&mut self, source: &mut S, connection: &mut Connection) {
        let commands = &mut self.commands;
        commands.look = Look::Over as u8;
        commands.skip = 0;
        let code = recall(&commands.command);
        let args = commands.index;
        // Its name counts, as in an array.
        commands.index = args.wrapping_add(1);
        if commands.pushed == 0 {
            commands.number = PREFIX_NONE;
            self.push(code, args, source, connection);
        }
        self.end_command(connection);
    }
}
