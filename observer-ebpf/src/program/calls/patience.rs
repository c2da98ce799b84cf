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
/// How long nothing is waited for on a processor where that was in vain: at first, and at most. The pause doubles each
/// time, so that a process whose memory can never be read pays a thousandth of its time in the end, and one whose pages
/// were only kept away for longer than usual loses little.
const FIRST_PAUSE_NS: u64 = 8_000_000;
const LONGEST_PAUSE_NS: u64 = 1_024_000_000;

/// Whether memory is worth waiting for, on one processor.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Patience {
    /// When it was last waited for in vain: `CLOCK_MONOTONIC`.
    vain_ns: u64,
    /// How long nothing is waited for from then on; 0 if it was not in vain.
    pause_ns: u64,
}

impl Patience {
    /// Tries for a while, until an attempt succeeds; tells whether that was in vain, and until when nothing is waited for.
    #[inline(always)]
    pub fn try_on(self, mut attempt: impl FnMut() -> bool) -> Self {
        let since = clock::monotonic_ns();
        if since.saturating_sub(self.vain_ns) < self.pause_ns {
            return self;
        }
        let mut is_done = false;
        repeat(TRIES, || {
            is_done = attempt();
            !is_done && clock::monotonic_ns() - since < PATIENCE_NS
        });
        if is_done {
            return Self { vain_ns: 0, pause_ns: 0 };
        }
        Self {
            vain_ns: clock::monotonic_ns(),
            pause_ns: (2 * self.pause_ns).clamp(FIRST_PAUSE_NS, LONGEST_PAUSE_NS),
        }
    }
}
