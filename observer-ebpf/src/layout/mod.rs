//! `repr(C)` types that the BPF program writes and the agent reads.
//!
//! Integers only, padding explicit, sizes asserted: both halves are built from these very definitions, so a layout
//! cannot differ between them. What a protocol counts is in `protocols/*/layout.rs`.

pub mod buckets;
#[macro_use]
mod named;
pub mod connection;
pub mod control;
pub mod event;
pub mod library;
pub mod losses;
pub mod names;
pub mod socket;

pub use crate::protocols::Protocol;

/// A way that bytes go, as the process that owns the socket sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// Written by the process.
    Sent = 0,
    /// Read by the process.
    Received = 1,
}

impl Direction {
    /// Both, in the order of the arrays indexed by direction.
    pub const ALL: [Self; 2] = [Self::Sent, Self::Received];

    /// The direction of a number.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Self {
        if code == Self::Sent as u32 { Self::Sent } else { Self::Received }
    }

    /// The other direction.
    #[must_use]
    #[inline(always)]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
        }
    }
}

/// Which end of the connection the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// It connected.
    Client = 0,
    /// It accepted.
    Server = 1,
}

impl Role {
    /// The role stored as `value`; anything unknown is a client.
    #[inline(always)]
    pub const fn from_u8(value: u8) -> Self {
        if value == Self::Server as u8 { Self::Server } else { Self::Client }
    }

    /// The direction in which a client's bytes pass through this end.
    #[inline(always)]
    pub const fn request_direction(self) -> Direction {
        match self {
            Self::Client => Direction::Sent,
            Self::Server => Direction::Received,
        }
    }

    /// The direction in which a side's bytes pass through this end.
    #[inline(always)]
    pub const fn direction_of(self, side: Side) -> Direction {
        match side {
            Side::Client => self.request_direction(),
            Side::Server => self.request_direction().opposite(),
        }
    }
}

/// Whose bytes a stream carries: the client's requests, or the server's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Side {
    /// What the client says.
    Client = 0,
    /// What the server says.
    Server = 1,
}

/// What goes back to zeroes, which is how it starts.
///
/// # Safety
///
/// The type must consist of integers only, any of which may be zero, without padding, and be whole words long.
pub(crate) unsafe trait Zeroes: Sized {
    /// Sets it to zeroes, word by word: the `memset` that a BPF program gets goes byte by byte, and the verifier
    /// follows it through each.
    #[inline(always)]
    fn clear(&mut self) {
        const { assert!(align_of::<Self>() == 8 && size_of::<Self>().is_multiple_of(8)) };
        let words = core::ptr::from_mut(self).cast::<u64>();
        for at in 0..size_of::<Self>() / 8 {
            // SAFETY: within the value, whose words are integers.
            unsafe { words.add(at).write_volatile(0) }
        }
    }
}
