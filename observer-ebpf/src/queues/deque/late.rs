//! What happens to a queue while another processor is at work on it, and does not let go for long, as where it is
//! interrupted: it is noted here, and done by whoever lets go next.
//!
//! Who takes messages out is noted with how many they are, in one word that is exchanged as a whole, so that nothing is
//! counted twice, left out, or counted as another's, whatever several processors do at once.

use crate::queues::End;

/// How many processes that take messages out are told apart.
pub const TAKERS: usize = 8;

/// What is still to be done.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Late {
    /// Not 0 once there is any.
    pub is_any: u64,
    /// Messages put in, by [`End`].
    pub put: [u64; 3],
    /// Messages taken out for whose process there was no room: their ages have been counted as not known.
    pub gone: u64,
    /// What was taken out by others, each as a [`Taken`].
    pub taken: [u64; TAKERS],
}

impl Late {
    /// Nothing.
    pub const NONE: Self = Self { is_any: 0, put: [0; 3], gone: 0, taken: [0; TAKERS] };
}

/// Messages that a process takes out at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken(u64);

impl Taken {
    /// The most messages that one tells of.
    pub const MOST: u32 = (1 << 30) - 1;

    /// `count` messages, by the number of a process and server; 0 for whose ages are not counted.
    #[inline(always)]
    pub const fn new(service: u32, end: End, count: u32) -> Self {
        let count = if count < Self::MOST { count } else { Self::MOST };
        Self((service as u64) << 32 | (end as u64) << 30 | count as u64)
    }

    /// As it is kept.
    #[inline(always)]
    pub const fn code(self) -> u64 {
        self.0
    }

    /// What was kept as `code`.
    #[inline(always)]
    pub const fn from_code(code: u64) -> Self {
        Self(code)
    }

    /// The number of the process and server.
    #[inline(always)]
    pub const fn service(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// At which end.
    #[inline(always)]
    pub const fn end(self) -> End {
        End::from_u8((self.0 >> 30) as u8 & 3)
    }

    /// How many messages.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        self.0 as u32 & Self::MOST
    }

    /// Both together. None if they are not by the same process and at the same end, or too many.
    #[inline(always)]
    pub const fn with(self, other: Self) -> Option<Self> {
        let is_same = (self.0 ^ other.0) >> 30 == 0;
        if is_same && self.count() + other.count() <= Self::MOST {
            Some(Self(self.0 + other.count() as u64))
        } else {
            None
        }
    }
}
