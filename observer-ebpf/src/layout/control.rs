//! What the agent sets before it loads the program, and what both write while it runs.

use super::buckets::bucket;
use super::names::NAMESPACES;

/// Thresholds in bytes, ascending, of oversized messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Thresholds {
    /// At least this many bytes is medium.
    pub medium: u64,
    /// At least this many is large.
    pub large: u64,
    /// At least this many is huge.
    pub huge: u64,
}

impl Thresholds {
    /// Those of the contract.
    pub const DEFAULT: Self = Self { medium: 1_000_000, large: 5_000_000, huge: 10_000_000 };

    /// How many thresholds a size has reached: 0 to [`Thresholds::ALL`].
    #[inline(always)]
    pub fn reached(&self, size: u64) -> u32 {
        let Self { medium, large, huge } = *self;
        bucket(&[medium, large, huge].map(|threshold| threshold.saturating_sub(1)), size) as u32
    }

    /// How many there are.
    pub const ALL: u32 = 3;
}

/// The single entry of the `CONTROL` array.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Control {
    /// Slots used so far: those from here on were never used. Written by the program.
    pub used: u64,
    /// The last [`super::connection::Connection::id`] given. Written by the program.
    pub last_id: u64,
    /// Connections tracked now. Written by the program, and by the agent for those that it finds gone.
    pub tracked: u64,
    /// The pass that the refresh program is on, or did last. Written by the agent.
    pub pass: u32,
    /// Zero.
    pub reserved: u32,
    /// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`, in nanoseconds; 0 while unknown. Written by the agent.
    pub wall_offset_ns: i64,
    /// Numbers given to entries of `SERVICES` so far. Written by the program.
    pub services: u64,
    /// By [`Namespace::PLACE`](super::names::Namespace::PLACE): how often names' places have been taken. Written by the
    /// agent.
    pub epochs: [u32; NAMESPACES],
}

const _: () = assert!(size_of::<Control>() == 48 + 4 * NAMESPACES);
