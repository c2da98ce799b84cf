//! Routes: what the target of a request is of, without what is particular to the request.
//!
//! ```text
//!   /api/users/4711/orders?page=2        /api/users/{id}/orders
//!   /files/0b6c3f5e9a7d4c21              /files/{id}
//!   /a/b/c/d/e/f/g/h/i/j                 /a/b/c/d/e/f/g/h/…
//! ```
//!
//! A template is put together segment by segment, however the target is split. A segment is an identifier by the classes of
//! its bytes, which are counted without a loop over them.

use super::layout::ROUTE_MAX;
use crate::stream::bytes::{hide_field, is_not_zero, low_bytes};
use crate::stream::prefix::Text;
use crate::stream::text::{between, digits_of, equals_of, everywhere, sum_of_bytes, unprintable, within};

/// Bytes of a template, but for what stands for the rest of a path.
const TEMPLATE_MAX: u32 = 96;
/// Segments of a template.
const SEGMENTS_MAX: u32 = 8;
/// The longest segment that is told from others.
const SEGMENT_MAX: u32 = 32;

/// Words of a template; more than it needs, so that a masked place is in bounds.
const WORDS: usize = 16;

/// `{id}`, which stands for a segment that is an identifier.
const IDENTIFIER: u64 = u32::from_le_bytes(*b"{id}") as u64;
/// `/…`, which stands for the rest of a path.
const REST: u64 = u32::from_le_bytes([b'/', 0xE2, 0x80, 0xA6]) as u64;

/// A template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Template {
    /// Its text, zeroes behind.
    pub(super) words: [u64; WORDS],
    /// Bytes of it.
    pub(super) length: u32,
    /// Segments so far that are not empty.
    segments: u32,
    /// 1 once the rest of the path is left out.
    is_over: u32,
    /// 1 if there is something in the path that may not be in a label.
    pub(super) is_odd: u32,
}

// SAFETY: of integers only, without padding.
unsafe impl crate::layout::Zeroes for Template {}

impl Template {
    /// Before the first segment. All zeroes.
    pub(super) const START: Self = Self { words: [0; WORDS], length: 0, segments: 0, is_over: 0, is_odd: 0 };

    /// Which word of its text, of those that it may use.
    #[inline(always)]
    pub fn word(&self, at: usize) -> u64 {
        hide_field(&self.words[at & (WORDS - 1)])
    }

    /// Sets which word of its text.
    #[inline(always)]
    pub fn set_word(&mut self, at: usize, word: u64) {
        self.words[at & (WORDS - 1)] = word;
    }

    /// Sets of how many bytes it is, as it was given.
    #[inline(always)]
    pub fn set_length(&mut self, length: u32) {
        self.length = length;
        self.is_odd = 0;
    }

    /// Whether it is the same as another.
    #[inline(always)]
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let mut difference = u64::from(hide_field(&self.length) ^ hide_field(&other.length));
        let mut at = 0;
        while at < ROUTE_MAX / 8 {
            difference |= self.word(at) ^ other.word(at);
            at += 1;
        }
        difference == 0
    }

    /// Bytes of its text.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        let length = hide_field(&self.length);
        if length < ROUTE_MAX as u32 { length } else { ROUTE_MAX as u32 }
    }

    /// Adds what a word has in its first `length` bytes, zeroes behind.
    #[inline(always)]
    fn append(&mut self, word: u64, length: u32) {
        let at = hide_field(&self.length);
        let (place, bits) = ((at >> 3) as usize, 8 * (at & 7));
        self.words[place & (WORDS - 1)] |= word << bits;
        // A shift by 64 is split in two.
        self.words[(place + 1) & (WORDS - 1)] |= (word >> 1) >> (63 - bits);
        self.length = at.wrapping_add(length);
    }

    /// A target that is no path: `*`, or a tunnel's.
    #[inline(always)]
    pub(super) fn set_asterisk(&mut self) {
        self.append(u64::from(b'*'), 1);
    }

    /// Adds a segment: the `length` bytes of a text, of which it holds the first 32 at least.
    #[inline(always)]
    pub(super) fn add(&mut self, text: &Text, length: u32) {
        if self.is_over != 0 {
            return;
        }
        let is_identifier = length > SEGMENT_MAX || self.is_identifier(text, length);
        let written = if is_identifier { 4 } else { length };
        self.segments += u32::from(length > 0);
        if self.segments > SEGMENTS_MAX || hide_field(&self.length) + 1 + written > TEMPLATE_MAX {
            self.append(REST, 4);
            self.is_over = 1;
            return;
        }
        self.append(u64::from(b'/'), 1);
        if is_identifier {
            self.append(IDENTIFIER, 4);
            return;
        }
        let mut at = 0;
        while at < 4 && 8 * at < length as usize {
            self.append(hide_field(&text.words[at]), within(length, at as u32));
            at += 1;
        }
    }

    /// Whether a segment of at most 32 bytes is an identifier.
    #[inline(always)]
    fn is_identifier(&mut self, text: &Text, length: u32) -> bool {
        let (mut digits, mut hexadecimal, mut letters, mut signs) = (0, 0, 0, 0);
        let mut unfit = 0;
        let mut at = 0;
        while at < 4 && 8 * at < length as usize {
            let word = hide_field(&text.words[at]);
            let next = hide_field(&text.words[at + 1]);
            digits += digits_of(word) >> 7;
            let lower = word | everywhere(0x20);
            hexadecimal += between(lower, b'a', b'f') >> 7;
            letters += between(lower, b'a', b'z') >> 7;
            signs += (equals_of(word, b'@') | encoded_at(word, next)) >> 7;
            unfit |= unprintable(word, length, at as u32);
            at += 1;
        }
        self.is_odd |= is_not_zero(unfit) as u32;
        let [digits, hexadecimal, letters, signs] = [digits, hexadecimal, letters, signs].map(sum_of_bytes);
        let is_number = length > 0 && digits == length;
        let is_hexadecimal = length >= 8 && digits > 0 && digits + hexadecimal == length;
        let is_mixed = length >= 16 && digits > 0 && letters > 0 && digits + letters == length;
        let is_address = length >= 3 && signs > 0 && text.words[0] as u8 != b'@';
        is_number | is_hexadecimal | is_mixed | is_address
    }
}

/// Where a word has an encoded `@`, which may go on in the next one: the highest bit of each first byte.
#[inline(always)]
const fn encoded_at(word: u64, next: u64) -> u64 {
    let fours = equals_of(word, b'4') >> 8 | equals_of(next, b'4') << 56;
    let zeroes = equals_of(word, b'0') >> 16 | equals_of(next, b'0') << 48;
    equals_of(word, b'%') & fours & zeroes
}

/// An authority's text as it is told: without what is the scheme's own port.
#[inline(always)]
pub(super) fn without_port_80(text: &mut Text, length: u32) -> u32 {
    const PORT: u64 = u32::from_le_bytes(*b":80\0") as u64;
    let start = length.wrapping_sub(3);
    if length < 4 || start >= 56 {
        return length;
    }
    // Out of the compiler's sight, and masked: before Linux 6.13 the verifier does not know of a number what was compared
    // of another one that differs by a constant.
    let place = (core::hint::black_box(start >> 3) & 7) as usize;
    let bits = 8 * (start & 7);
    let lo = hide_field(&text.words[place]) >> bits;
    let hi = (hide_field(&text.words[(place + 1) & 7]) << 1) << (63 - bits);
    if low_bytes(lo | hi, 3) != PORT {
        return length;
    }
    text.words[place] = low_bytes(hide_field(&text.words[place]), start & 7);
    if start & 7 > 5 {
        text.words[(place + 1) & 7] = 0;
    }
    start
}
