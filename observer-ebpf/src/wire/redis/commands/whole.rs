//! A plain command at once, where its headers are in reach: most are, and in a pipeline every turn counts.
//!
//! ```text
//!   *2␍␊$3␍␊ GET␍␊ $6␍␊ user:1␍␊
//!   └─ one word      └─ looked at for its prefix, which most often is the last one
//! ```

use super::arguments::{count_command, count_value, count_without_life};
use super::kinds::is_one;
use super::{KEY_MAX, Wanted};
use crate::layout::connection::Connection;
use crate::layout::redis::{Command, PREFIX_NONE, PREFIX_OTHER};
use crate::wire::redis::text::{self, Prefix};
use crate::wire::redis::{Header, LENGTH_MAX, Redis};
use crate::wire::source::{Source, low_bytes, low_of_two, recall};

/// How a plain command starts: counts of one digit.
const SHAPE: u64 = u64::from_le_bytes(*b"*\0\r\n$\0\r\n");
const SHAPE_MASK: u64 = u64::from_le_bytes(*b"\xFF\0\xFF\xFF\xFF\0\xFF\xFF");

/// The most words of a plain command.
const WORDS_MAX: u8 = 3;
/// The longest name of one.
const NAME_MAX: u8 = 9;

/// A bulk string whose header is in reach: where its bytes are, and how many.
#[derive(Clone, Copy)]
struct Bulk {
    at: u32,
    length: u32,
}

impl Bulk {
    /// The one whose header is at `at`, if all of that is before `reach`.
    #[inline(always)]
    fn read<S: Source>(source: &S, at: u32, reach: u32) -> Option<Self> {
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
    const fn behind(self) -> u32 {
        self.at + self.length + 2
    }
}

impl Redis {
    /// Takes the command that starts at `at`, with `available` bytes of the window, if it is a plain one. If not,
    /// nothing has been done that counts.
    #[inline(always)]
    pub(super) fn take_whole<S: Source>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
        at: u32,
        available: u32,
    ) -> bool {
        if self.commands.replies != Wanted::All as u8 {
            return false;
        }
        let reach = at + available;
        let (shape, _) = source.words(at);
        let words = ((shape >> 8) as u8).wrapping_sub(b'0');
        let length = ((shape >> 40) as u8).wrapping_sub(b'0');
        if shape & SHAPE_MASK != SHAPE
            || words.wrapping_sub(1) >= WORDS_MAX
            || length.wrapping_sub(1) >= NAME_MAX
        {
            return false;
        }
        let length = u32::from(length);
        let mut behind = at + 8 + length + 2;
        if behind > reach {
            return false;
        }
        let (lo, hi) = source.words(at + 8);
        let code = text::command(lo, hi, length);
        if !is_plain(code, words) {
            return false;
        }
        self.commands.number = PREFIX_NONE;
        let mut value = 0;
        if words > 1 {
            let Some(first) = Bulk::read(source, behind, reach) else { return false };
            if is_one(code) {
                match self.prefix_of(first, source, reach) {
                    Some(found) => self.commands.number = found,
                    None => return false,
                }
            }
            behind = first.behind();
        }
        if words > 2 {
            let Some(second) = Bulk::read(source, behind, reach) else { return false };
            value = second.length;
            behind = second.behind();
        }
        let end = source.end();
        self.commands.skip = behind.saturating_sub(end);
        source.go_to(if behind < end { behind } else { end });
        // Before 6.8 the verifier forgets that a copy of the code is as small as the code.
        self.commands.command = code;
        let code = recall(&self.commands.command);
        count_command(code, connection);
        if words > 2 && is_write(code) {
            count_value(connection, value);
            count_without_life(connection, 1);
        }
        self.await_reply(code, 1, 0, source, connection);
        true
    }

    /// The number of a key's prefix, if enough of the key is in reach to tell.
    #[inline(always)]
    fn prefix_of<S: Source>(&mut self, key: Bulk, source: &mut S, reach: u32) -> Option<u32> {
        let known = self.commands.known_length;
        let wanted = if key.length < KEY_MAX { key.length } else { KEY_MAX };
        if key.at + wanted > reach {
            return None;
        }
        let (first, second) = source.words(key.at);
        if known > 0 && known <= 16 && known < wanted {
            // A prefix has no separator in it: the first one is where that of the last key was.
            let same = low_of_two(first, second, known) == (self.commands.known[0], self.commands.known[1]);
            if same && source.words(key.at + known).0 as u8 == source.separator() {
                return Some(self.commands.known_number);
            }
        }
        // Two words at a time, which is what there are registers for.
        let commands = &mut self.commands;
        commands.text[0] = low_bytes(first, text::within(wanted, 0));
        commands.text[1] = low_bytes(second, text::within(wanted, 1));
        let (third, fourth) = source.words(key.at + 16);
        commands.text[2] = low_bytes(third, text::within(wanted, 2));
        commands.text[3] = low_bytes(fourth, text::within(wanted, 3));
        let (fifth, _) = source.words(key.at + 32);
        commands.text[4] = low_bytes(fifth, text::within(wanted, 4));
        match text::prefix(&commands.text, source.separator()) {
            Prefix::Without if key.length > KEY_MAX => None,
            Prefix::Without => Some(PREFIX_NONE),
            Prefix::Other => Some(PREFIX_OTHER),
            Prefix::Is(length) => Some(self.number(length, source)),
        }
    }
}

/// Whether nothing but its key and its value is of interest, in a command of so many words.
#[inline(always)]
fn is_plain(code: u8, words: u8) -> bool {
    let plain = PLAIN[usize::from(code) & 127];
    plain >= words
}

/// Whether the third word is a value that is written.
#[inline(always)]
const fn is_write(code: u8) -> bool {
    code == Command::Set as u8 || code == Command::Setnx as u8 || code == Command::Getset as u8
}

/// By [`Command`]: of how many words at most it is a plain one.
static PLAIN: [u8; 128] = {
    let mut plain = [0; 128];
    let mut at = 0;
    while at < crate::layout::redis::COMMANDS {
        plain[at] = super::kinds::plain_words(at as u8);
        at += 1;
    }
    plain
};
