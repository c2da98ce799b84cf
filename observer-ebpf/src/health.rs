//! Counting what could not be done.

use observer_ebpf::layout::health::{Desync, Health, Unread};

use crate::assembly::opaque;
use crate::maps::HEALTH;

#[inline(always)]
fn with(note: impl FnOnce(&mut Health)) {
    if let Some(health) = HEALTH.get_ptr_mut(0) {
        // SAFETY: the element is this processor's, and programs on one processor do not overlap in it
        // but for one that interrupts another: at worst a count of the interrupted one is not seen.
        note(unsafe { &mut *health });
    }
}

/// A connection for which no element was left.
#[inline(always)]
pub fn untracked() {
    with(|health| health.untracked += 1);
}

/// A record for which the ring had no room.
#[inline(always)]
pub fn event_lost() {
    with(|health| health.events_lost += 1);
}

/// A change of owner that was not followed.
#[inline(always)]
pub fn handoff_refused() {
    with(|health| health.handoffs_refused += 1);
}

/// Bytes that could not be read.
#[inline(always)]
pub fn unread(reason: Unread, bytes: u64) {
    with(|health| {
        health.unread_bytes[(opaque(reason as u64) & 7) as usize] += bytes;
    });
}

/// A stream of this `Protocol` that fell out of step.
#[inline(always)]
pub fn desync(protocol: u8, reason: Desync) {
    with(|health| {
        let by_reason = &mut health.desyncs[usize::from(protocol & 7)];
        by_reason[(opaque(reason as u64) & 7) as usize] += 1;
    });
}
