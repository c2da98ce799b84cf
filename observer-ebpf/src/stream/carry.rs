//! Header bytes left over from earlier calls: the start of a header whose other bytes come with a later one.

use super::bytes::low_of_two;

/// At most 16 bytes that came with calls that are over, zeroes behind. Its owner knows how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Carry {
    pub(crate) bytes: [u64; 2],
}

impl Carry {
    pub(crate) const EMPTY: Self = Self { bytes: [0; 2] };

    /// The first `have` bytes of two words.
    #[inline(always)]
    pub(crate) const fn of(lo: u64, hi: u64, have: u32) -> Self {
        let (lo, hi) = low_of_two(lo, hi, have);
        Self { bytes: [lo, hi] }
    }

    /// The `kept` bytes, with `available` bytes of `lo` and `hi` behind them: the words, and how many of their
    /// bytes are there.
    #[inline(always)]
    pub(crate) fn join(&self, kept: u8, lo: u64, hi: u64, available: u32) -> (u64, u64, u32) {
        let kept = u32::from(kept) & 15;
        let bits = 8 * (kept & 7);
        // `lo` and `hi`, moved up by `kept` bytes; a shift by 64 is split in two.
        let carried = (lo >> 1) >> (63 - bits);
        let (low, high) = if kept >= 8 { (0, lo << bits) } else { (lo << bits, hi << bits | carried) };
        let have = kept + available;
        (low | self.bytes[0], high | self.bytes[1], if have < 16 { have } else { 16 })
    }
}
