//! Times.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};

/// `CLOCK_MONOTONIC`, in nanoseconds; dear.
#[inline(always)]
pub fn monotonic_ns() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Ticks of the kernel's clock, coarse and free.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() }
}
