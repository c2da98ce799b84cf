//! Has the agent look at processes whose encrypted connections are not read: they may have mapped a library since it did.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::generated::bpf_map_update_elem;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::connection::Owner;
use observer_ebpf::layout::event::Encrypted;

use crate::globals::LIBRARIES;
use crate::kernel::Task;
use crate::maps::EVENTS;
use crate::{clock, losses, names};

/// How long a process that was looked at is not to be looked at again, in nanoseconds.
const AGAIN_NS: u64 = 60_000_000_000;
/// [`LIBRARIES`] where libraries that are mapped later are attached to.
const FOLLOWS: u32 = 2;

/// When the agent was last told of each process: `CLOCK_MONOTONIC`.
#[btf_map]
static LOOKED_AT: LruHashMap<Owner, u64, 1> = LruHashMap::new();

/// Bytes of an encrypted connection have moved, outside of any call that is read.
#[inline(never)]
pub fn unread(task: Task) {
    if LIBRARIES.load() != FOLLOWS {
        return;
    }
    let owner = task.owner();
    let map = (&raw const LOOKED_AT).cast_mut().cast();
    let now = clock::monotonic_ns();
    // SAFETY: a map that the verifier knows; a value is one number.
    let before = unsafe { names::lookup::<_, u64>(map, &owner).as_ref() };
    if before.is_some_and(|&before| now.wrapping_sub(before) < AGAIN_NS) {
        return;
    }
    // SAFETY: a map that the verifier knows, with a key and a value as it has them.
    unsafe {
        bpf_map_update_elem(map, (&raw const owner).cast_mut().cast(), (&raw const now).cast_mut().cast(), 0)
    };
    let process = Encrypted::from(task.owner_to_agent().tgid);
    if process != 0 && EVENTS.output(process, 0).is_err() {
        losses::event_lost();
    }
}
