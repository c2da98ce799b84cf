//! What a call's plaintext is read through. A probe on a library may be preempted in the middle of its run by another one
//! on its processor, so that it cannot have a room of its own there: each processor has a few, and a run takes one that is
//! free.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::library::ROOMS;

use crate::assembly;
use crate::globals::LIBRARY_ROOM;

/// For each room of a processor: 1 while a run has it.
#[btf_map]
static ROOMS_TAKEN: PerCpuArray<u64, { ROOMS as usize }> = PerCpuArray::new();

/// A room that is this run's alone, as an index of `BUFFERS`; none if all are taken.
#[inline(always)]
pub fn take() -> Option<u32> {
    for room in 0..ROOMS {
        let taken = ROOMS_TAKEN.get_ptr_mut(room)?;
        // SAFETY: a map's entry.
        if unsafe { assembly::exchange(taken, 1) } == 0 {
            return Some(LIBRARY_ROOM.load() + room);
        }
    }
    None
}

/// Gives back what [`take`] gave.
#[inline(always)]
pub fn give_back(room: u32) {
    if let Some(taken) = ROOMS_TAKEN.get_ptr_mut(room - LIBRARY_ROOM.load()) {
        assembly::order_writes();
        // SAFETY: a map's entry; a volatile write stays behind those before it.
        unsafe { taken.write_volatile(0) };
    }
}
