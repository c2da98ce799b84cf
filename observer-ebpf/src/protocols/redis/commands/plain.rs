//! A plain command at once, where its headers are in reach: most are, and in a pipeline every iteration counts.
//!
//! ```text
//!   *2␍␊$3␍␊ GET␍␊ $6␍␊ user:1␍␊
//!   └─ one word      └─ looked at for its prefix, which most often is the last one
//! ```

use super::arguments::{count_command, count_value, count_without_life};
use super::kinds::{Kind, plain_words};
use super::{Commands, Wanted};
use crate::layout::connection::Connection;
use crate::layout::names::NONE;
use crate::protocols::redis::text;
use crate::protocols::redis::{Header, LENGTH_MAX, Redis, Subprogram};
use crate::stream::bytes::{Bytes, hide_field, low_bytes};
use crate::stream::names::Keys;
use crate::stream::prefix::{KEY_MAX, UNDECIDED};
use crate::stream::text::within;

/// How a plain command starts: counts of one digit.
const SHAPE: u64 = u64::from_le_bytes(*b"*\0\r\n$\0\r\n");
const SHAPE_MASK: u64 = u64::from_le_bytes(*b"\xFF\0\xFF\xFF\xFF\0\xFF\xFF");

/// The most words of a plain command.
const WORDS_MAX: u8 = 3;
/// The longest name of one.
const COMMAND_MAX: u8 = 9;

/// A bulk string whose header is in reach: where its bytes are, and how many.
#[derive(Clone, Copy)]
pub(super) struct Bulk {
    pub(super) at: u32,
    pub(super) length: u32,
}

impl Bulk {
    /// The one whose header is at `at`, if all of that is before `reach`.
    #[inline(always)]
    pub(super) fn read<S: Bytes>(source: &S, at: u32, reach: u32) -> Option<Self> {
        if at >= reach {
            return None;
        }
        let (lo, hi) = source.words(at);
        let have = if reach - at < 16 { reach - at } else { 16 };
        let Ok(Some(header)) = Header::read(lo, hi, have) else { return None };
        match header.value {
            Some(length) if header.kind == b'$' && length <= LENGTH_MAX => {
                Some(Self { at: at + header.length, length: length as u32 })
            }
            _ => None,
        }
    }

    /// Where the next one's header is.
    #[inline(always)]
    pub(super) const fn behind(self) -> u32 {
        self.at + self.length + 2
    }
}

impl Commands {
    /// Has the `wanted` bytes at `at`, all of which are in reach, be the text.
    #[inline(always)]
    pub(super) fn gather<S: Bytes>(&mut self, at: u32, wanted: u32, source: &S) {
        let (first, second) = source.words(at);
        // Two words at a time, which is what there are registers for.
        self.text.words[0] = low_bytes(first, within(wanted, 0));
        self.text.words[1] = low_bytes(second, within(wanted, 1));
        let mut place = 2;
        while place < 8 {
            let (first, second) = source.words(at + 8 * place);
            self.text.words[place as usize] = low_bytes(first, within(wanted, place));
            self.text.words[place as usize + 1] = low_bytes(second, within(wanted, place + 1));
            place += 2;
        }
    }
}

impl Redis {
    /// Takes the command that starts at `at`, with `available` bytes of the window, if it is a plain one. If not, nothing has
    /// been done that counts, and another subprogram is asked for.
    #[inline(always)]
    pub(super) fn take_plain_command<S: Keys>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
        at: u32,
        available: u32,
    ) -> u32 {
        const NO: u32 = Subprogram::Command.asked();
        if self.commands.replies != Wanted::All as u8 {
            return NO;
        }
        let reach = at + available;
        let (shape, _) = source.words(at);
        let words = ((shape >> 8) as u8).wrapping_sub(b'0');
        let length = ((shape >> 40) as u8).wrapping_sub(b'0');
        if shape & SHAPE_MASK != SHAPE
            || words.wrapping_sub(1) >= WORDS_MAX
            || length.wrapping_sub(1) >= COMMAND_MAX
        {
            return NO;
        }
        let length = u32::from(length);
        let mut behind = at + 8 + length + 2;
        if behind > reach {
            return NO;
        }
        let (lo, hi) = source.words(at + 8);
        let code = text::command(lo, hi, length);
        if plain_words(code) < words {
            return NO;
        }
        if Kind::of(code).has_queue() {
            self.commands.command = code;
            return Subprogram::QueueCommand.asked();
        }
        self.commands.number = NONE;
        let mut value = 0;
        if words > 1 {
            let Some(first) = Bulk::read(source, behind, reach) else { return NO };
            if Kind::of(code).finds_one() {
                match self.prefix_of(first, source, reach) {
                    Some(found) => self.commands.number = found,
                    None => return NO,
                }
            }
            behind = first.behind();
        }
        if words > 2 {
            let Some(second) = Bulk::read(source, behind, reach) else { return NO };
            value = second.length;
            behind = second.behind();
        }
        let end = source.end();
        self.commands.skip = behind.saturating_sub(end);
        source.go_to(if behind < end { behind } else { end });
        // Before 6.8 the verifier forgets that a copy of the code is as small as the code.
        self.commands.command = code;
        let code = hide_field(&self.commands.command);
        count_command(code, connection);
        if words > 2 && Kind::of(code).sets_one() {
            count_value(connection, value);
            count_without_life(connection, 1);
        }
        self.await_reply(code, 1, 0, source, connection);
        0
    }

    /// The number of a key's prefix, if enough of the key is in reach to tell.
    #[inline(always)]
    fn prefix_of<S: Keys>(&mut self, key: Bulk, source: &mut S, reach: u32) -> Option<u32> {
        let wanted = if key.length < KEY_MAX { key.length } else { KEY_MAX };
        if key.at + wanted > reach {
            return None;
        }
        if let Some(number) = self.commands.last.same(key.at, wanted, source) {
            return Some(number);
        }
        let commands = &mut self.commands;
        commands.gather(key.at, wanted, source);
        let number = source.prefix(&commands.text, &mut commands.last, wanted, key.length == wanted);
        if number == UNDECIDED { None } else { Some(number) }
    }
}
