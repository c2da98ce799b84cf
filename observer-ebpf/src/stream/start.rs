//! The first bytes of a stream or of a call, held against what protocols start with. It is they that tell what a
//! connection speaks, never its port.

use super::bytes::{is_not_zero, low_bytes};

/// What first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// They are not the protocol's.
    No,
    /// They may still become the protocol's.
    More,
    /// They are likely the protocol's: what follows tells.
    Maybe,
    /// They are the protocol's.
    Yes,
}

/// Bytes that are enough to tell any protocol here.
pub const ENOUGH: u32 = 8;

/// The first bytes of a stream or of a call: as many as there are, at most 8, little-endian.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    bytes: u64,
    /// All ones in the bytes that are there.
    known: u64,
}

impl Start {
    /// The first `length` bytes of `word`.
    #[inline(always)]
    pub const fn new(word: u64, length: u32) -> Self {
        let known = low_bytes(u64::MAX, if length < ENOUGH { length } else { ENOUGH });
        Self { bytes: word & known, known }
    }

    /// Whether the bytes hold all of `pattern`.
    #[inline(always)]
    pub(crate) const fn is(self, pattern: Pattern) -> bool {
        (self.bytes ^ pattern.bits) & pattern.mask == 0 && pattern.mask & !self.known == 0
    }

    /// Whether the bytes hold all of one of these patterns, or may still come to: [`Match::Yes`], or [`Match::More`].
    #[inline(always)]
    pub(crate) fn one_of<const N: usize>(self, patterns: &[Pattern; N]) -> Match {
        // How many patterns do not fit is added up: straight-line code, which the verifier walks once, where comparisons
        // would have it go on with every combination of what fits.
        let (mut unlike, mut incomplete) = (0, 0);
        for pattern in patterns {
            let difference = (self.bytes ^ pattern.bits) & pattern.mask;
            unlike += is_not_zero(difference & self.known);
            incomplete += is_not_zero(difference | pattern.mask & !self.known);
        }
        if incomplete < N as u64 {
            Match::Yes
        } else if unlike < N as u64 {
            Match::More
        } else {
            Match::No
        }
    }

    /// The bytes, zeroes behind.
    #[inline(always)]
    pub(crate) const fn word(self) -> u64 {
        self.bytes
    }

    /// The first byte; 0 if there is none.
    #[inline(always)]
    pub(crate) const fn first(self) -> u8 {
        self.bytes as u8
    }

    /// Whether there are `count` (1 to 8) bytes at least.
    #[inline(always)]
    pub(crate) const fn has(self, count: u32) -> bool {
        self.known >> (8 * (count - 1)) & 0xFF != 0
    }
}

/// Bits that a stream of some protocol starts with.
///
/// Comparisons under masks, of whole words: the same work whatever the bytes, and one way through it for the
/// verifier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    bits: u64,
    mask: u64,
}

impl Pattern {
    /// A text of at most 8 bytes.
    pub(crate) const fn text(text: &[u8]) -> Self {
        Self::masked(text, &[0xFF; 8])
    }

    /// A text of at most 8 letters and blanks, whatever the letters' case.
    pub(crate) const fn word(text: &[u8]) -> Self {
        Self::masked(text, &[0xDF; 8])
    }

    /// The bits of `bytes` that are set in `masks`, which has at least as many bytes.
    pub(crate) const fn masked(bytes: &[u8], masks: &[u8]) -> Self {
        let (mut bits, mut mask) = (0, 0);
        let mut at = 0;
        while at < bytes.len() && at < 8 {
            bits |= ((bytes[at] & masks[at]) as u64) << (8 * at);
            mask |= (masks[at] as u64) << (8 * at);
            at += 1;
        }
        Self { bits, mask }
    }
}
