//! Where what frames tell is counted.

use super::layout::{SIZE_BOUNDS, StreamCounters};
use crate::layout::buckets::{add, bucket};

/// Where counts go.
pub(super) trait Tally {
    /// `None` while rehearsing.
    fn counters(&mut self) -> Option<&mut StreamCounters>;
}

/// Into a connection's counters.
pub(super) struct Counting<'a>(pub(super) &'a mut StreamCounters);

impl Tally for Counting<'_> {
    #[inline(always)]
    fn counters(&mut self) -> Option<&mut StreamCounters> {
        Some(self.0)
    }
}

/// Nowhere: the frames may be none.
pub(super) struct Rehearsing;

impl Tally for Rehearsing {
    #[inline(always)]
    fn counters(&mut self) -> Option<&mut StreamCounters> {
        None
    }
}

/// Counts a complete data message of this `MessageType`.
#[inline(always)]
pub(super) fn count_message(counters: &mut StreamCounters, kind: usize, compressed: bool, size: u64) {
    counters.message_bytes = counters.message_bytes.saturating_add(size);
    add(&mut counters.message_sizes, bucket(&SIZE_BOUNDS, size));
    if let Some(by_compression) = counters.messages.get_mut(kind) {
        add(by_compression, usize::from(compressed));
    }
}

/// Counts a message of this `MessageType` and of at most 125 bytes, in a single frame that is not compressed.
#[inline(always)]
pub(super) fn count_short(counters: &mut StreamCounters, kind: usize, length: u32) {
    let bucket = usize::from(u64::from(length) > SIZE_BOUNDS[0]);
    counters.headers = counters.headers.wrapping_add(1);
    // `Opcode::Text` and `Opcode::Binary` are one more than the type.
    if let Some(buckets) = counters.frames.get_mut(kind + 1) {
        add(buckets, bucket);
    }
    if let Some(bytes) = counters.frame_bytes.get_mut(kind + 1) {
        *bytes = bytes.saturating_add(u64::from(length));
    }
    counters.message_bytes = counters.message_bytes.saturating_add(u64::from(length));
    add(&mut counters.message_sizes, bucket);
    if let Some(by_compression) = counters.messages.get_mut(kind) {
        add(by_compression, 0);
    }
}
