//! Times.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};

use crate::maps::CONTROL;

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

/// `CLOCK_REALTIME` in nanoseconds at `now_ns` of `CLOCK_MONOTONIC`, if the agent has told how they differ; else 0.
#[inline(always)]
pub fn wall_ns(now_ns: u64) -> u64 {
    match CONTROL.get(0) {
        Some(control) if control.wall_offset_ns != 0 => now_ns.wrapping_add_signed(control.wall_offset_ns),
        _ => 0,
    }
}
