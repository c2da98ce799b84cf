//! Waiting for memory whose pages the kernel is moving.

use crate::clock;
use crate::host::repeat;

/// How long memory is waited for that cannot be read, and how often it is tried again meanwhile, at most.
///
/// The kernel has just copied the call's bytes from there or to there. But while it moves pages, as where it makes a huge
/// one of many (`collapse_huge_page` in `mm/khugepaged.c`), nobody can reach them: the process would sleep until they are
/// back, which a program cannot. That takes a part of a millisecond, unless whoever moves them is kept from it. Before
/// Linux 7.0 nothing else runs on the processor meanwhile.
const PATIENCE_NS: u64 = 1_000_000;
const TRIES: u32 = 1 << 16;
/// How long nothing is waited for on a processor where that was in vain: a process whose memory can never be read pays a
/// thousandth of its time at most.
const PAUSE_NS: u64 = 1_000_000_000;

/// Tries for a while, until an attempt succeeds: tells when that was in vain, and else what it was told.
#[inline(always)]
pub fn try_on(vain_ns: u64, mut attempt: impl FnMut() -> bool) -> u64 {
    let since = clock::monotonic_ns();
    if vain_ns != 0 && since.saturating_sub(vain_ns) < PAUSE_NS {
        return vain_ns;
    }
    let mut is_done = false;
    repeat(TRIES, || {
        is_done = attempt();
        !is_done && clock::monotonic_ns() - since < PATIENCE_NS
    });
    if is_done { vain_ns } else { since }
}
