//! Redis keys: the numbers of their prefixes, and how many were found.

use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_map_update_elem};
use observer_ebpf::layout::redis::{CountKey, KeyCounts, PREFIX_FIRST, PREFIX_OTHER, Prefix};

use crate::assembly;
use crate::maps::{CONTROL, PREFIX_COUNTS, PREFIXES};

/// `BPF_NOEXIST` (`include/uapi/linux/bpf.h`).
const NO_EXIST: u64 = 1;

/// The number of a prefix, a new one if it has none; `PREFIX_OTHER` if there is no room for it.
#[inline(never)]
pub fn number(prefix: &Prefix) -> u32 {
    if let Some(number) = known(prefix) {
        return number;
    }
    let Some(control) = CONTROL.get_ptr_mut(0) else { return PREFIX_OTHER };
    // SAFETY: a field of a map's element.
    let given = unsafe { assembly::fetch_add(&raw mut (*control).prefixes, 1) };
    let number = u64::from(PREFIX_FIRST) + given;
    let map = (&raw const PREFIXES).cast_mut().cast();
    // SAFETY: key and value are as the map has them.
    let stored = unsafe {
        bpf_map_update_elem(
            map,
            core::ptr::from_ref(prefix).cast_mut().cast(),
            (&raw const number).cast_mut().cast(),
            NO_EXIST,
        )
    };
    // Another processor may have come first.
    if stored == 0 { number as u32 } else { known(prefix).unwrap_or(PREFIX_OTHER) }
}

#[inline(always)]
fn known(prefix: &Prefix) -> Option<u32> {
    let map = (&raw const PREFIXES).cast_mut().cast();
    // SAFETY: the key is as the map has it; what it returns is null or a value, which is never written again.
    unsafe {
        bpf_map_lookup_elem(map, core::ptr::from_ref(prefix).cast_mut().cast())
            .cast::<u64>()
            .as_ref()
            .map(|&number| number as u32)
    }
}

/// Counts keys of one prefix on one connection. False if the map has no room.
#[inline(never)]
pub fn count(key: &CountKey, hits: u32, misses: u32) -> bool {
    let map = (&raw const PREFIX_COUNTS).cast_mut().cast();
    let place = core::ptr::from_ref(key).cast_mut().cast();
    // SAFETY: the key is as the map has it; what it returns is null or a value. Only the direction of the
    // server's bytes writes it, which is locked.
    let counts = unsafe { bpf_map_lookup_elem(map, place).cast::<KeyCounts>().as_mut() };
    if let Some(counts) = counts {
        counts.hits = counts.hits.wrapping_add(u64::from(hits));
        counts.misses = counts.misses.wrapping_add(u64::from(misses));
        return true;
    }
    let counts = KeyCounts { hits: u64::from(hits), misses: u64::from(misses) };
    // SAFETY: key and value are as the map has them.
    unsafe { bpf_map_update_elem(map, place, (&raw const counts).cast_mut().cast(), 0) == 0 }
}

/// The time of day at `now_ns` of `CLOCK_MONOTONIC`, if the agent has told how they differ; else 0.
#[inline(always)]
pub fn wall_ns(now_ns: u64) -> u64 {
    match CONTROL.get(0) {
        Some(control) if control.wall_offset_ns != 0 => now_ns.wrapping_add_signed(control.wall_offset_ns),
        _ => 0,
    }
}
