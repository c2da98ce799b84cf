//! Bounded names: texts of which at most so many are told apart at a time, such as the prefixes of cache keys.
//!
//! ```text
//!   text ──NAMES──► number ──┐
//!                            ├──COUNTS──► counts of a name, for a process and a server
//!   process, server ─SERVICES► number ┘
//! ```
//!
//! Each kind of names is a [`Namespace`] with three maps of its own. The agent hands out the numbers, through a stack
//! of those that are free: as many as names may be told apart. It takes a number back when its name has not been used
//! for long and others find no place, and gives it out again, to another name, only once nothing can count under it
//! any more. So a number is never two names at once, and the kernel half never looks for what to give up.

use core::ops::AddAssign;

use super::connection::Owner;

/// The longest name of most kinds, in bytes.
pub const NAME_MAX: usize = 32;

/// The most leading segments of cache keys that settings may have stepped over.
pub const SKIPS_MAX: u32 = 64;

/// The number of what has no name: a key without a separator.
pub const NONE: u32 = 0;
/// The number of names that may not be labels (too long, empty, or not of printable ASCII), and of several at once.
pub const OTHER: u32 = 1;
/// The number of names that found no place.
pub const CROWDED: u32 = 2;
/// The first number that stands for a name.
pub const FIRST: u32 = 3;
/// The last one: parsers keep 16 bits of it.
pub const LAST: u32 = u16::MAX as u32;

/// A kind of names.
pub trait Namespace {
    /// What is counted under each name.
    type Counts;
    /// Its place in [`Control::epochs`](super::control::Control::epochs).
    const PLACE: usize;
}

/// How many kinds of names there is room for.
pub const NAMESPACES: usize = 4;

/// Prefixes of cache keys.
#[derive(Clone, Copy, Debug)]
pub enum Prefixes {}

impl Namespace for Prefixes {
    type Counts = KeyCounts;
    const PLACE: usize = 0;
}

/// A name: a key of a namespace's map of names, whose values are numbers from [`FIRST`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Name {
    /// Printable ASCII; zeroes behind `length`.
    pub bytes: [u8; NAME_MAX],
    /// Bytes used.
    pub length: u64,
}

const _: () = assert!(size_of::<Name>() == 40);

/// A process and a server that it has to do with: a key of the `SERVICES` map, whose values are their numbers, from 1
/// on. What is counted by name is counted for one of these, however many connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ServiceKey {
    /// The process, as in [`Connection::owner`](super::connection::Connection::owner).
    pub owner: Owner,
    /// Its leader's name.
    pub comm: [u8; 16],
    /// The server's address: IPv4 in the first four bytes, or IPv6; or the path of a UNIX socket, as bound.
    pub address: [u8; super::connection::UNIX_PATH_MAX],
    /// `AF_*`.
    pub family: u16,
    /// The server's port, host byte order; bytes used of a path.
    pub port: u16,
    /// The process's [`Role`](super::Role).
    pub role: u32,
    /// The [`Protocol`](super::Protocol) that they speak.
    pub protocol: u32,
}

const _: () = assert!(size_of::<ServiceKey>() == 152 && align_of::<ServiceKey>() == 8);

/// A key of a namespace's map of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct CountKey {
    /// The number of a process and a server, from `SERVICES`.
    pub service: u32,
    /// The number of a name, or [`NONE`] and so on.
    pub name: u32,
}

/// What is counted under a prefix: keys that were looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KeyCounts {
    /// Keys found.
    pub hits: u64,
    /// Keys not found.
    pub misses: u64,
}

impl AddAssign for KeyCounts {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
    }
}
