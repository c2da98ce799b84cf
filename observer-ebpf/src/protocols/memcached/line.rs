//! Lines, a word at a time: what both sides say.

use crate::layout::Zeroes;
use crate::layout::losses::Desync;
use crate::layout::names::{NONE, OTHER};
use crate::stream::bytes::{Bytes, ITERATIONS_MAX, Scratch, hide_field, is_done, low_bytes, low_of_two};
use crate::stream::names::Keys;
use crate::stream::prefix::{LastPrefix, Text, UNDECIDED, WORD_KEPT};
use crate::stream::text::{find, find_in_two, number};

/// What ends a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It goes on.
    None,
    /// Another word of the line.
    Blank,
    /// The line's end.
    Line,
}

/// The word in progress. All zeroes at the start of a line.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Word {
    /// Its first 48 bytes and those that were taken with them, zeroes behind. It has eight words, so that a masked place
    /// is in bounds.
    text: Text,
    /// How many bytes of it there have been.
    length: u32,
    /// How many words of the line there are before it.
    pub(super) index: u32,
    /// 1 if there was a separator of prefixes behind those that are kept.
    separated: u32,
    /// Of the bytes in reach, how many there are before the word's end, and before that of the line. They are kept here
    /// because the verifier forgets what it knows of numbers that go through memory; else it follows each place at which
    /// a word may end on its own.
    end: u32,
    newline: u32,
    /// How many bytes are taken.
    taken: u32,
}

// SAFETY: of integers only, without padding.
unsafe impl Zeroes for Word {}

impl Word {
    pub(super) const NONE: Self =
        Self { text: Text::NONE, length: 0, index: 0, separated: 0, end: 0, newline: 0, taken: 0 };

    /// Whether the next byte is a line's first.
    #[inline(always)]
    pub(super) const fn is_at_start(&self) -> bool {
        self.length == 0 && self.index == 0
    }

    /// Takes what is in reach, 16 bytes at most: goes at least one byte further.
    #[inline(always)]
    pub(super) fn read<S: Bytes>(&mut self, source: &mut S, separator: u8) -> Result<End, Desync> {
        let at = source.position();
        let available = source.window(at).map_err(|_| Desync::Unread)?;
        let (lo, hi) = source.words(at);
        self.newline = find_in_two(lo, hi, b'\n');
        self.end = find_in_two(lo, hi, b' ');
        self.end = hide_field(&self.end).min(hide_field(&self.newline));
        // Two words of eight bytes where it is at the start of one, else the rest of that one.
        let length = hide_field(&self.length);
        let inside = length & 7;
        self.taken = if inside == 0 { 16 } else { 8 - inside };
        self.taken = hide_field(&self.taken).min(available);
        self.taken = hide_field(&self.taken).min(hide_field(&self.end));
        let taken = hide_field(&self.taken);
        let (lo, hi) = low_of_two(lo, hi, taken);
        if length < WORD_KEPT {
            self.text.add(length, lo, hi);
        } else if find(lo, separator) < 8 || find(hi, separator) < 8 {
            self.separated = 1;
        }
        self.length = length.saturating_add(taken);
        let end = hide_field(&self.end);
        if end > taken || end >= available || end > 15 {
            source.go_to(at + taken);
            return Ok(End::None);
        }
        source.go_to(at + taken + 1);
        if hide_field(&self.newline) == end {
            self.length = self.text.without_return(self.length);
            return Ok(End::Line);
        }
        Ok(End::Blank)
    }

    /// Goes on to the next word, of the line or of the next line.
    #[inline(always)]
    pub(super) fn next(&mut self, end: End) {
        let index = if end == End::Line { 0 } else { self.index + u32::from(self.length > 0) };
        self.clear();
        self.index = index;
    }

    /// How long it is.
    #[inline(always)]
    pub(super) const fn length(&self) -> u32 {
        self.length
    }

    /// Its first 16 bytes, zeroes behind.
    #[inline(always)]
    pub(super) const fn start(&self) -> (u64, u64) {
        (self.text.words[0], self.text.words[1])
    }

    /// Whether there is a separator behind what a prefix is looked for in.
    #[inline(always)]
    fn is_separated(&self, separator: u8) -> bool {
        let [.., next, last] = self.text.words;
        self.separated != 0 || find(next, separator) < 8 || find(last, separator) < 8
    }

    /// The number of its prefix, as a key.
    #[inline(always)]
    pub(super) fn prefix_number<S: Keys>(&self, last: &mut LastPrefix, source: &mut S) -> u32 {
        let seen = self.length.min(WORD_KEPT);
        match source.prefix(&self.text, last, seen, seen == self.length) {
            UNDECIDED if self.is_separated(source.separator()) => OTHER,
            UNDECIDED => NONE,
            number => number,
        }
    }

    /// Keeps the first `kept` bytes of a line until more come: fewer than any command's name and the blank behind it.
    #[inline(always)]
    pub(super) fn keep(&mut self, first: u64, kept: u32) {
        self.text.words[0] = low_bytes(first, kept);
        self.length = kept;
    }

    /// The number that it spells, if it does.
    #[inline(always)]
    pub(super) const fn number(&self) -> Option<u64> {
        number(self.text.words[0], self.text.words[1], self.length)
    }

    /// Whether it is these at most 16 bytes.
    #[inline(always)]
    pub(super) const fn is(&self, (lo, hi): (u64, u64)) -> bool {
        self.text.words[0] == lo && self.text.words[1] == hi && self.length <= 16
    }

    /// Its first byte; 0 if it has none.
    #[inline(always)]
    pub(super) const fn first(&self) -> u8 {
        self.text.words[0] as u8
    }
}

/// What a line may not start with.
pub(super) const UNKNOWN_WORD: u8 = u8::MAX;

/// How the lines of one side are made up, by the number of their first word.
pub(super) trait Grammar {
    /// The number of a word of these at most 16 bytes, zeroes behind; [`UNKNOWN_WORD`] if no line starts so.
    fn code(lo: u64, hi: u64) -> u8;

    /// Which word of a line tells how many bytes of data come behind it; 0 if none does.
    fn data(code: u8) -> u32;

    /// Whether a message is over with such a line.
    fn is_last(code: u8) -> bool;
}

/// Whether a call consists of whole messages, with the data that they tell of; how many, [`Scratch::messages`] tells.
#[inline(always)]
pub(super) fn is_whole<G: Grammar, S: Bytes>(source: &mut S) -> bool {
    *source.scratch() = Scratch::default();
    source.go_to(0);
    let mut sound = true;
    let finished = S::repeat(ITERATIONS_MAX, || {
        sound = go_past_word::<G, S>(source);
        sound && !is_done(source)
    });
    source.go_to(0);
    let scratch = source.scratch();
    // The last line was a message's last.
    finished && sound && scratch.last[1] == 0 && scratch.in_line == 0 && G::is_last(scratch.last[0])
}

/// Goes past a word, or a part of one that is longer than what is in reach, and past the data behind a line that is over.
/// [`Scratch::last`] has the number of the line's first word, and how many words have been passed. False if no line is
/// made up so.
#[inline(always)]
fn go_past_word<G: Grammar, S: Bytes>(source: &mut S) -> bool {
    let at = source.position();
    let rest = source.end().saturating_sub(at);
    let available = source.window(at).unwrap_or(0);
    let (lo, hi) = source.words(at);
    // Numbers go through memory for the verifier, as those of a `Word` do.
    let scratch = source.scratch();
    scratch.newline = find_in_two(lo, hi, b'\n') as u8;
    scratch.end = find_in_two(lo, hi, b' ') as u8;
    scratch.end = hide_field(&scratch.end).min(hide_field(&scratch.newline));
    let end = u32::from(hide_field(&scratch.end));
    let [code, index] = hide_field(&scratch.last);
    if end >= available || end > 15 {
        scratch.in_line = 1;
        source.go_to(at + if available < 16 { available } else { 16 });
        // No line's first word is as long.
        return available > 0 && index > 0;
    }
    let is_in_reach = scratch.in_line == 0;
    scratch.in_line = 0;
    let length = without_return(lo, hi, end);
    let mut sound = true;
    if index == 0 {
        let (first, second) = low_of_two(lo, hi, length);
        scratch.last[0] = G::code(first, second);
        sound = length <= 15 && scratch.last[0] != UNKNOWN_WORD;
    } else if u32::from(index) == G::data(code) {
        // A length of more digits is not looked at here: the next call may be found whole.
        let bytes = if is_in_reach && length <= 8 { number(low_bytes(lo, length), 0, length) } else { None };
        sound = bytes.is_some();
        scratch.left = if let Some(bytes) = bytes { bytes + 2 } else { 0 };
    }
    let mut behind = u64::from(end) + 1;
    if hide_field(&scratch.newline) == hide_field(&scratch.end) {
        let code = hide_field(&scratch.last[0]);
        sound &= scratch.left > 0 || G::data(code) == 0;
        behind += hide_field(&scratch.left);
        scratch.left = 0;
        scratch.last[1] = 0;
        scratch.messages = scratch.messages.wrapping_add(u32::from(G::is_last(code)));
    } else if length > 0 || !is_in_reach {
        scratch.last[1] = index.saturating_add(1);
    }
    sound &= behind <= u64::from(rest);
    source.go_to(at + if sound { behind as u32 } else { end + 1 });
    sound
}

/// The first `length` of 16 bytes, without a carriage return that stands last.
#[inline(always)]
fn without_return(lo: u64, hi: u64, length: u32) -> u32 {
    let last = length.wrapping_sub(1);
    let word = if last < 8 { lo } else { hi };
    let is_return = last < 16 && (word >> (8 * (last & 7))) as u8 == b'\r';
    length - u32::from(is_return)
}
