//! Prefixes of cache keys: a key's first segment, up to the separator.

use super::bytes::{low_bytes, low_of_two};
use super::names::Names;
use super::text;
use crate::layout::names::{LAST, NAME_MAX, Name, OTHER, Prefixes};

/// How far into a key is looked for its prefix, in bytes.
pub(crate) const KEY_MAX: u32 = NAME_MAX as u32 + 1;

/// The last prefix of a stream, which the next key most often has as well: it is not looked up again then.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct LastPrefix {
    /// Its bytes, zeroes behind.
    words: [u64; 4],
    number: u32,
    /// How many bytes it has; 0 if there is none.
    length: u32,
    /// [`Names::epoch`] when it was looked up.
    epoch: u32,
    reserved: u32,
}

impl LastPrefix {
    /// None. All zeroes.
    pub(crate) const NONE: Self = Self { words: [0; 4], number: 0, length: 0, epoch: 0, reserved: 0 };

    /// Forgets it, if its number may be another name's by now. To be called at the start of each call.
    #[inline(always)]
    pub(crate) fn refresh<S: Names<Prefixes>>(&mut self, source: &S) {
        let epoch = source.epoch();
        if self.epoch != epoch {
            self.epoch = epoch;
            self.length = 0;
        }
    }

    /// Its number, if a key of which `wanted` bytes are within reach at `at` has it as well, as most keys do.
    #[inline(always)]
    pub(crate) fn same<S: Names<Prefixes>>(&self, at: u32, wanted: u32, source: &S) -> Option<u32> {
        let length = self.length;
        if length == 0 || length > 16 || length >= wanted {
            return None;
        }
        // A prefix has no separator in it: the first one is where that of the last key was.
        let (lo, hi) = source.words(at);
        let same = low_of_two(lo, hi, length) == (self.words[0], self.words[1]);
        if same && source.words(at + length).0 as u8 == source.separator() { Some(self.number) } else { None }
    }

    /// The number of the prefix that the first `length` bytes of a text are.
    #[inline(always)]
    pub(crate) fn number<S: Names<Prefixes>>(&mut self, text: &[u64; 5], length: u32, source: &mut S) -> u32 {
        let mut words = [0; 4];
        let mut same = self.length == length;
        let mut at = 0;
        while at < 4 {
            words[at] = low_bytes(text[at], text::within(length, at as u32));
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
