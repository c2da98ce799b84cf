//! Prefixes of cache keys: what the segments that a key starts with say of its kind.
//!
//! ```text
//!   user:7   :1:user:7   {42}:user:7   app:1:user:7      the separator is `:`, and `app` is to be stepped over
//!   └──┘        └──┘          └──┘           └──┘        the prefix, of one segment
//! ```
//!
//! Where the segments of a key's start are is told by bits, one for each byte, of separators, digits and braces: without
//! a loop over bytes, and with the same work whatever they are.

use super::bytes::{hide_field, low_bytes, low_of_two};
use super::names::Keys;
use super::text::{bits_of, digits_of, equals_of, is_printable, within};
use crate::layout::names::{LAST, NAME_MAX, NONE, Name, OTHER};

/// How far into a key is looked for its prefix, in bytes.
pub(crate) const KEY_MAX: u32 = 64;
/// How many segments a prefix may have.
pub const SEGMENTS_MAX: u32 = 4;
/// How often what is stepped over may alternate: empty segments and numbers, then one in braces, then one that is named.
const ROUNDS: u32 = 3;

/// The number of a key of which only the first bytes are known, and no separator is among them.
pub(crate) const UNDECIDED: u32 = u32::MAX;

/// Bytes that are kept of a word in progress: sixteen fewer than a text has room for, as so many are taken at once.
pub(crate) const WORD_KEPT: u32 = 48;

/// The first bytes of a key, or of another text; zeroes behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Text {
    pub(crate) words: [u64; 8],
}

impl Text {
    pub(crate) const NONE: Self = Self { words: [0; 8] };

    /// Which of its eight words.
    #[inline(always)]
    pub fn word_at(&self, at: usize) -> u64 {
        hide_field(&self.words[at & 7])
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Adds what was taken of two words behind the first `length` bytes of a word in progress, of which it keeps
    /// [`WORD_KEPT`]. What is taken starts with a word of eight bytes, or goes on with the rest of one.
    #[inline(always)]
    pub(crate) fn add(&mut self, length: u32, lo: u64, hi: u64) {
        let inside = length & 7;
        // Out of the compiler's sight, which would leave out the mask where the length has been compared: before Linux 6.13
        // the verifier does not know of a number on the stack what was compared of its copy.
        let place = core::hint::black_box(length >> 3) as usize & 7;
        self.words[place] |= lo << (8 * inside);
        if inside == 0 {
            self.words[(place + 1) & 7] = hi;
        }
    }

    /// Of a word of `length` bytes at the end of a line, drops the carriage return that it may end with: tells how long it
    /// is without.
    #[inline(always)]
    pub(crate) fn without_return(&mut self, length: u32) -> u32 {
        let last = length.wrapping_sub(1);
        let word = &mut self.words[(last >> 3) as usize & 7];
        if last < WORD_KEPT && (*word >> (8 * (last & 7))) as u8 == b'\r' {
            *word = low_bytes(*word, last & 7);
            return last;
        }
        length
    }

    /// A bit for each byte in whose place `find` sets the highest bit of a word.
    #[inline(always)]
    fn bits(&self, find: impl Fn(u64) -> u64) -> u64 {
        let mut bits = 0;
        let mut at = 0;
        while at < 8 {
            // Read each time: kept, all words would need more of the stack than there is.
            bits |= bits_of(find(hide_field(&self.words[at]))) << (8 * at);
            at += 1;
        }
        bits
    }

    /// Where `byte` is.
    #[inline(always)]
    fn bits_of(&self, byte: u8) -> u64 {
        self.bits(|word| equals_of(word, byte))
    }

    /// Which word of the `length` (1 to 32) bytes from `start` on; zeroes behind.
    #[inline(always)]
    fn word(&self, start: u32, length: u32, at: u32) -> u64 {
        let (place, bits) = ((start >> 3) + at, 8 * (start & 7));
        // What would lie behind the last word is behind the part as well. A shift by 64 is split in two.
        let lo = hide_field(&self.words[place as usize & 7]) >> bits;
        let hi = (hide_field(&self.words[(place + 1) as usize & 7]) << 1) << (63 - bits);
        low_bytes(lo | hi, within(length, at))
    }
}

/// What is put together while a key is looked at. It is in a map: before Linux 6.13 there is little room on the stack.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Work {
    /// Where in the text there are separators, digits, and braces: a bit for each byte.
    separators: u64,
    digits: u64,
    open: u64,
    close: u64,
    /// What is left of the text: all ones from some byte on.
    left: u64,
    /// How many bytes of the key the text holds, and 1 if it is all of it.
    length: u32,
    is_whole: u32,
    /// A name, zeroes behind.
    words: [u64; 4],
}

impl Work {
    /// A bit for each byte of the key that the text holds.
    #[inline(always)]
    fn valid(&self) -> u64 {
        let length = hide_field(&self.length);
        if length < 64 { (1 << length) - 1 } else { u64::MAX }
    }

    /// Whether the text holds the whole key.
    #[inline(always)]
    fn is_whole(&self) -> bool {
        hide_field(&self.is_whole) != 0
    }

    /// Puts the name of `length` bytes that was kept into a key of a map, a word at a time: as one value it would go by
    /// way of the stack.
    #[inline(always)]
    pub fn put(&self, length: u32, key: &mut Name) {
        const { assert!(core::mem::offset_of!(Name, bytes) == 0) };
        let words = core::ptr::from_mut(key).cast::<u64>();
        let mut at = 0;
        while at < 4 {
            // SAFETY: within the name's bytes, which come first and are aligned as its length is.
            unsafe { words.add(at).write_volatile(hide_field(&self.words[at])) };
            at += 1;
        }
        key.length = u64::from(length);
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

/// The next number of a loop that the compiler is not to unroll: it would need more of the stack than there is. In eight
/// bytes the verifier knows it all the same.
#[inline(always)]
fn one_more(number: u64) -> u64 {
    core::hint::black_box(number + 1)
}

/// Keeps the name that the `length` bytes from `start` on are, if it may be one; tells whether it may.
#[inline(always)]
fn keep_name<S: Keys>(text: &Text, start: u32, length: u32, source: &mut S) -> bool {
    let mut is_clean = length != 0 && length <= NAME_MAX as u32;
    let mut at = 0_u64;
    while at < 4 {
        let word = text.word(start, length, at as u32);
        is_clean &= is_printable(word, within(length, at as u32));
        source.work().words[at as usize & 3] = word;
        at = one_more(at);
    }
    is_clean
}

/// Steps over leading segments: those that are empty, digits only, or in braces (with what separators are in there), and
/// those that the settings name. Tells whether anything is left.
#[inline(always)]
fn step_over<S: Keys>(text: &Text, source: &mut S) -> bool {
    let digits = text.bits(digits_of);
    source.work().digits = digits;
    let open = text.bits_of(b'{');
    source.work().open = open;
    let close = text.bits_of(b'}');
    source.work().close = close;
    let mut round = 0_u64;
    loop {
        let work = source.work();
        let separators = hide_field(&work.separators);
        let left = hide_field(&work.left);
        let first_named = lowest(!(hide_field(&work.digits) | separators) & work.valid() & left);
        if first_named == 0 {
            return false;
        }
        let mut left = left & !through_highest(separators & left & (first_named - 1));
        work.left = left;
        if round == u64::from(ROUNDS) {
            return true;
        }
        round = one_more(round);
        let behind_tag = (lowest(hide_field(&work.close) & left) << 1) & separators;
        let in_braces = lowest(left) & hide_field(&work.open) != 0;
        left &= !through(if in_braces { behind_tag } else { 0 });
        work.left = left;
        if source.has_skips() {
            let end = lowest(separators & left);
            let start = place(lowest(left));
            let length = place(end).wrapping_sub(start);
            if end != 0 && keep_name(text, start, length, source) && source.is_skipped(length) {
                let left = &mut source.work().left;
                *left = hide_field(left) & !through(end);
            }
        }
    }
}

/// The number of the prefix of a key that starts with the first `length` bytes (at most 64) of a text, of which it has
/// more unless it `is_whole`. `UNDECIDED` if there is no separator among them.
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
    let work = source.work();
    work.length = length;
    work.is_whole = u32::from(is_whole);
    let separators = text.bits_of(separator) & work.valid();
    if separators == 0 {
        return if work.is_whole() { NONE } else { UNDECIDED };
    }
    work.separators = separators;
    work.left = u64::MAX;
    let first = text.words[0] as u8;
    let is_odd = first == separator || first == b'{' || first.is_ascii_digit();
    if (is_odd || source.has_skips()) && !step_over(text, source) {
        return OTHER;
    }
    let left = hide_field(&source.work().left);
    let mut rest = hide_field(&source.work().separators) & left;
    let mut end = lowest(rest);
    let mut ends = u32::from(rest != 0);
    let mut more = 1;
    while more < SEGMENTS_MAX {
        rest &= rest.wrapping_sub(1);
        let goes_on = rest != 0 && more < source.segments();
        end = if goes_on { lowest(rest) } else { end };
        ends += u32::from(goes_on);
        more += 1;
    }
    let work = source.work();
    if lowest(left) & work.valid() == 0 || (end == 0 && !work.is_whole()) {
        return OTHER;
    }
    let start = place(lowest(left));
    let stop = if end == 0 { hide_field(&work.length) } else { place(end) };
    let size = stop.wrapping_sub(start);
    if !keep_name(text, start, size, source) {
        return OTHER;
    }
    // Another key that starts so has the same prefix, unless there are fewer segments than might be, or a brace that it may
    // close.
    if ends == source.segments() && stop <= 16 && source.work().words[0] as u8 != b'{' {
        (last.head[0], last.head[1]) = low_of_two(text.words[0], text.words[1], stop);
        last.head_length = stop;
    }
    last.number(size, source)
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

    /// The number of the prefix that was kept, of `length` bytes.
    #[inline(always)]
    fn number<S: Keys>(&mut self, length: u32, source: &mut S) -> u32 {
        let mut same = self.length == length;
        let mut at = 0;
        while at < 4 {
            let word = hide_field(&source.work().words[at]);
            same &= word == self.words[at];
            self.words[at] = word;
            at += 1;
        }
        self.length = length;
        if !same {
            let number = source.kept_number(length);
            // Parsers keep 16 bits of it.
            self.number = if number <= LAST { number } else { OTHER };
        }
        self.number
    }
}
