//! A direction of a socket, or of a library's session, is one processor's at a time.

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::socket::Locks;

use crate::assembly;

/// Counts the bytes of a call that found another one at work on its stream.
#[inline(always)]
pub fn count_contended(locks: &mut Locks, direction: Direction, bytes: u64) {
    // SAFETY: a field of a map's entry.
    unsafe { assembly::add(&raw mut locks.contended[direction as usize], bytes) };
}

/// Takes what [`count_contended`] counted, for whoever has the stream to add.
#[inline(always)]
pub fn take_contended(locks: &mut Locks, direction: Direction) -> u64 {
    // SAFETY: a field of a map's entry.
    unsafe { assembly::exchange(&raw mut locks.contended[direction as usize], 0) }
}

/// Takes a direction's stream for this processor; false if another one is at work on it.
#[inline(always)]
pub fn lock(locks: &mut Locks, direction: Direction) -> bool {
    // SAFETY: a field of a map's entry.
    unsafe { assembly::exchange(&raw mut locks.busy[direction as usize], 1) == 0 }
}

/// Lets go of what [`lock`] took.
#[inline(always)]
pub fn unlock(locks: &mut Locks, direction: Direction) {
    assembly::order_writes();
    // SAFETY: the field is there; a volatile write stays behind those before it.
    unsafe { (&raw mut locks.busy[direction as usize]).write_volatile(0) };
}
