//! Numbers that names are given, round and round.

use std::io;

use aya::maps::{MapData, MapError, Stack};
use observer_ebpf::layout::names::{FIRST, LAST};

/// The number that was last made free.
#[derive(Debug)]
pub struct Numbers(u32);

impl Numbers {
    /// Makes as many numbers free, from the first on, as there is room for names.
    ///
    /// # Errors
    ///
    /// If the map cannot be written.
    pub fn of(free: &mut Stack<MapData, u32>, room: usize) -> Result<Self, MapError> {
        let mut numbers = Self(FIRST - 1);
        for _ in 0..room {
            free.push(numbers.next(|_| false), 0)?;
        }
        Ok(numbers)
    }

    /// Makes another number free, where a name has given up its own.
    ///
    /// # Errors
    ///
    /// If the map cannot be written.
    pub fn free(&mut self, free: &mut Stack<MapData, u32>, is_used: impl Fn(u32) -> bool) -> io::Result<()> {
        free.push(self.next(is_used), 0).map_err(io::Error::other)
    }

    /// A number that no name has, and none had lately: counts may still arrive under one that was given up.
    fn next(&mut self, is_used: impl Fn(u32) -> bool) -> u32 {
        loop {
            self.0 = if self.0 < LAST { self.0 + 1 } else { FIRST };
            if !is_used(self.0) {
                return self.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::names::{FIRST, LAST};

    use super::Numbers;

    #[test]
    fn numbers_go_round() {
        let next = |last| Numbers(last).next(|_| false);
        assert_eq!([next(FIRST - 1), next(LAST - 1), next(LAST)], [FIRST, LAST, FIRST]);
    }

    #[test]
    fn numbers_in_use_are_left_out() {
        let mut numbers = Numbers(LAST - 1);
        let is_used = |number| number == LAST || number == FIRST;
        assert_eq!([numbers.next(is_used), numbers.next(is_used)], [FIRST + 1, FIRST + 2]);
    }
}
