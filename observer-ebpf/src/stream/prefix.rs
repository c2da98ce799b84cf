//! Prefixes of cache keys: what the segments that a key starts with say of its kind.
//!
//! ```text
//!   user:7   :1:user:7   {42}:user:7   app:1:user:7      the separator is `:`, and `app` is to be stepped over
//!   └──┘        └──┘          └──┘           └──┘        the prefix, of one segment
//! ```
//!
//! Where the segments of a key's start are is told by bits, one for each byte, of separators, digits and braces: without
//! a loop over bytes, and with the same work whatever they are.

use super::bytes::{low_bytes, low_of_two};
use super::names::Keys;
use super::text::{digits_of, equals_of, is_printable, within};
use crate::layout::names::{LAST, NAME_MAX, NONE, Name, OTHER};

/// How far into a key is looked for its prefix, in bytes.
pub(crate) const KEY_MAX: u32 = 64;
/// How many segments a prefix may have.
pub const SEGMENTS_MAX: u32 = 4;
/// How often what is stepped over may alternate: empty segments and numbers, then one in braces, then one that is named.
const ROUNDS: u32 = 3;

/// The number of a key of which only the first bytes are known, and no separator is among them.
pub(crate) const UNDECIDED: u32 = u32::MAX;

/// The first bytes of a key, or of another text; zeroes behind.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Text {
    pub(crate) words: [u64; 8],
}

impl Text {
    pub(crate) const NONE: Self = Self { words: [0; 8] };

    /// A bit for each byte in whose place `find` sets the highest bit of a word.
    #[inline(always)]
    fn bits(&self, find: impl Fn(u64) -> u64) -> u64 {
        let mut bits = 0;
        let mut at = 0;
        while at < 8 {
            let found = find(self.words[at]) >> 7;
            // Each lowest bit of a byte, times a word that has the highest byte take one after the other.
            bits |= (found.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * at);
            at += 1;
        }
        bits
    }

    /// Where `byte` is.
    #[inline(always)]
    fn bits_of(&self, byte: u8) -> u64 {
        self.bits(|word| equals_of(word, byte))
    }

    /// The `length` (1 to 32) bytes from `start` on, zeroes behind.
    #[inline(always)]
    fn part(&self, start: u32, length: u32) -> [u64; 4] {
        let (place, bits) = (start >> 3, 8 * (start & 7));
        let mut words = [0; 4];
        let mut at = 0;
        while at < 4 {
            // What would lie behind the last word is behind the part as well. A shift by 64 is split in two.
            let lo = self.words[(place + at) as usize & 7] >> bits;
            let hi = (self.words[(place + at + 1) as usize & 7] << 1) << (63 - bits);
            words[at as usize] = low_bytes(lo | hi, within(length, at));
            at += 1;
        }
        words
    }
}

/// The lowest bit that is set.
#[inline(always)]
const fn lowest(bits: u64) -> u64 {
    bits & bits.wrapping_neg()
}

/// Which bit it is, from 0 on.
#[inline(always)]
const fn place(bit: u64) -> u32 {
    bit.wrapping_sub(1).count_ones()
}

/// A bit, with all below it; nothing for no bit.
#[inline(always)]
const fn through(bit: u64) -> u64 {
    bit | bit.wrapping_sub((bit != 0) as u64)
}

/// The highest bit that is set, with all below it; nothing for none.
#[inline(always)]
const fn through_highest(bits: u64) -> u64 {
    let bits = bits | bits >> 1;
    let bits = bits | bits >> 2;
    let bits = bits | bits >> 4;
    let bits = bits | bits >> 8;
    let bits = bits | bits >> 16;
    bits | bits >> 32
}

/// The name that the `length` bytes from `start` on are, if it may be one.
#[inline(always)]
fn name(text: &Text, start: u32, length: u32) -> Option<[u64; 4]> {
    if length == 0 || length > NAME_MAX as u32 {
        return None;
    }
    let words = text.part(start, length);
    let mut is_clean = true;
    let mut at = 0;
    while at < 4 {
        is_clean &= is_printable(words[at], within(length, at as u32));
        at += 1;
    }
    if is_clean { Some(words) } else { None }
}

/// Steps over leading segments: those that are empty, digits only, or in braces (with what separators are in there), and
/// those that the settings name. The bits of what is left.
#[inline(always)]
fn step_over<S: Keys>(text: &Text, separators: u64, valid: u64, source: &mut S) -> u64 {
    let digits = text.bits(digits_of);
    let (open, close) = (text.bits_of(b'{'), text.bits_of(b'}'));
    let named = !(digits | separators) & valid;
    let skips = source.has_skips();
    let mut left = u64::MAX;
    let mut round = 0;
    loop {
        let first_named = lowest(named & left);
        if first_named == 0 {
            return 0;
        }
        left &= !through_highest(separators & left & (first_named - 1));
        if round == ROUNDS {
            return left;
        }
        round += 1;
        let behind_tag = (lowest(close & left) << 1) & separators;
        let in_braces = lowest(left) & open != 0;
        left &= !through(if in_braces { behind_tag } else { 0 });
        if skips {
            let (first, end) = (lowest(left), lowest(separators & left));
            let start = place(first);
            let length = place(end).wrapping_sub(start);
            if end != 0
                && let Some(words) = name(text, start, length)
                && source.is_skipped(&Name::new(words, u64::from(length)))
            {
                left &= !through(end);
            }
        }
    }
}

/// The number of the prefix of a key that starts with the first `length` bytes (at most 64) of a text, of which it has
/// more unless it `is_whole`. [`UNDECIDED`] if there is no separator among them.
///
/// A prefix ends where a separator is; what comes last in a key is one only where all before it was stepped over.
#[inline(always)]
pub fn number_of<S: Keys>(
    text: &Text,
    last: &mut LastPrefix,
    length: u32,
    is_whole: bool,
    source: &mut S,
) -> u32 {
    last.head_length = 0;
    let separator = source.separator();
    let valid = if length < 64 { (1 << length) - 1 } else { u64::MAX };
    let separators = text.bits_of(separator) & valid;
    if separators == 0 {
        return if is_whole { NONE } else { UNDECIDED };
    }
    let first = text.words[0] as u8;
    let is_odd = first == separator || first == b'{' || first.is_ascii_digit();
    let left =
        if is_odd || source.has_skips() { step_over(text, separators, valid, source) } else { u64::MAX };
    let segments = source.segments();
    let mut rest = separators & left;
    let mut end = lowest(rest);
    let mut ends = u32::from(rest != 0);
    let mut more = 1;
    while more < SEGMENTS_MAX {
        rest &= rest.wrapping_sub(1);
        let goes_on = rest != 0 && more < segments;
        end = if goes_on { lowest(rest) } else { end };
        ends += u32::from(goes_on);
        more += 1;
    }
    if lowest(left) & valid == 0 || (end == 0 && !is_whole) {
        return OTHER;
    }
    let start = place(lowest(left));
    let stop = if end == 0 { length } else { place(end) };
    let size = stop.wrapping_sub(start);
    let Some(words) = name(text, start, size) else { return OTHER };
    // Another key that starts so has the same prefix, unless there are fewer segments than might be, or a brace that it may
    // close.
    if ends == segments && stop <= 16 && words[0] as u8 != b'{' {
        (last.head[0], last.head[1]) = low_of_two(text.words[0], text.words[1], stop);
        last.head_length = stop;
    }
    last.number(words, size, source)
}

/// The last prefix of a stream, which the next key most often has as well: it is not looked up again then.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct LastPrefix {
    /// Its bytes, zeroes behind.
    words: [u64; 4],
    /// What the key started with up to the prefix's end, zeroes behind.
    head: [u64; 2],
    number: u32,
    /// How many bytes it has; 0 if there is none.
    length: u32,
    /// How many the start has; 0 if a key that starts so may have another prefix, or it is too long.
    head_length: u32,
    /// [`Names::epoch`](super::names::Names::epoch) when it was looked up.
    epoch: u32,
}

impl LastPrefix {
    /// None. All zeroes.
    pub(crate) const NONE: Self =
        Self { words: [0; 4], head: [0; 2], number: 0, length: 0, head_length: 0, epoch: 0 };

    /// Forgets it, if its number may be another name's by now. To be called at the start of each call.
    #[inline(always)]
    pub(crate) fn refresh<S: Keys>(&mut self, source: &S) {
        let epoch = source.epoch();
        if self.epoch != epoch {
            self.epoch = epoch;
            self.length = 0;
            self.head_length = 0;
        }
    }

    /// Its number, if a key of which `wanted` bytes are within reach at `at` starts as the last one did, as most keys do.
    #[inline(always)]
    pub(crate) fn same<S: Keys>(&self, at: u32, wanted: u32, source: &S) -> Option<u32> {
        let length = self.head_length;
        if length == 0 || length > 16 || length >= wanted {
            return None;
        }
        let (lo, hi) = source.words(at);
        let same = low_of_two(lo, hi, length) == (self.head[0], self.head[1]);
        if same && source.words(at + length).0 as u8 == source.separator() { Some(self.number) } else { None }
    }

    /// The number of the prefix of these `length` bytes.
    #[inline(always)]
    fn number<S: Keys>(&mut self, words: [u64; 4], length: u32, source: &mut S) -> u32 {
        let mut same = self.length == length;
        let mut at = 0;
        while at < 4 {
            same &= words[at] == self.words[at];
            at += 1;
        }
        if !same {
            self.words = words;
            self.length = length;
            let number = source.number(&Name::new(words, u64::from(length)));
            // Parsers keep 16 bits of it.
            self.number = if number <= LAST { number } else { OTHER };
        }
        self.number
    }
}
