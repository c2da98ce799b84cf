//! Words that are told apart from a table, without a loop over their bytes.

use super::text::words;

/// Words of at most 16 bytes, each with a number. `PLACES` and `NAMES` are powers of two, `NAMES` no less than there are
/// words: a masked number is always in bounds.
pub(crate) struct Vocabulary<const PLACES: usize, const NAMES: usize> {
    multiplier: u64,
    /// The number of the word that has a place; 0 if none has.
    places: [u8; PLACES],
    /// Words by number.
    names: [(u64, u64); NAMES],
}

impl<const PLACES: usize, const NAMES: usize> Vocabulary<PLACES, NAMES> {
    /// Of all words but the first, whose number stands for any other word. With the multiplier, which is found by trial,
    /// no two of them have the same place.
    pub(crate) const fn new(all: &[&str], multiplier: u64) -> Self {
        assert!(PLACES.is_power_of_two() && NAMES.is_power_of_two() && all.len() <= NAMES);
        let mut vocabulary = Self { multiplier, places: [0; PLACES], names: [(0, 0); NAMES] };
        let mut at = 1;
        while at < all.len() {
            let (lo, hi) = words(all[at]);
            let place = vocabulary.place(lo, hi);
            assert!(vocabulary.places[place] == 0, "another multiplier is needed");
            vocabulary.places[place] = at as u8;
            vocabulary.names[at] = (lo, hi);
            at += 1;
        }
        vocabulary
    }

    #[inline(always)]
    const fn place(&self, lo: u64, hi: u64) -> usize {
        ((lo ^ hi << 3).wrapping_mul(self.multiplier) >> (64 - PLACES.trailing_zeros())) as usize
            & (PLACES - 1)
    }

    /// The number of a word; 0 if it is none of them.
    #[inline(always)]
    pub(crate) fn number(&self, lo: u64, hi: u64) -> u8 {
        let number = self.places[self.place(lo, hi)];
        if self.names[usize::from(number) & (NAMES - 1)] == (lo, hi) { number } else { 0 }
    }
}
