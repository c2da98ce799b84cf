//! What could not be done, counted: see [`observer_ebpf::layout::losses`].

use observer_ebpf::layout::losses::{Desync, Losses, PROTOCOLS, REASONS, Unread};
use observer_ebpf::layout::names::KeyCounts;

use crate::assembly::hide;
use crate::maps::LOSSES;

#[inline(always)]
fn with(note: impl FnOnce(&mut Losses)) {
    if let Some(losses) = LOSSES.get_ptr_mut(0) {
        // SAFETY: the entry is this processor's, and programs on one processor do not overlap in it
        // but for one that interrupts another: at worst a count of the interrupted one is not seen.
        note(unsafe { &mut *losses });
    }
}

/// A connection for which no slot was left.
#[inline(always)]
pub fn untracked() {
    with(|losses| losses.untracked += 1);
}

/// A record for which the ring had no room.
#[inline(always)]
pub fn event_lost() {
    with(|losses| losses.events_lost += 1);
}

/// A change of owner that was not followed.
#[inline(always)]
pub fn handoff_refused() {
    with(|losses| losses.handoffs_refused += 1);
}

/// Bytes that could not be read.
#[inline(always)]
pub fn unread(reason: Unread, bytes: u64) {
    with(|losses| losses.unread_bytes[hide(reason as u64) as usize & (REASONS - 1)] += bytes);
}

/// A stream of this `Protocol` that fell out of sync.
#[inline(always)]
pub fn desync(protocol: u8, reason: Desync) {
    with(|losses| {
        let by_reason = &mut losses.desyncs[usize::from(protocol) & (PROTOCOLS - 1)];
        by_reason[hide(reason as u64) as usize & (REASONS - 1)] += 1;
    });
}

/// Messages put into a queue, or taken out of one, that could not be counted.
#[inline(always)]
pub fn uncounted_messages(messages: u64) {
    with(|losses| losses.uncounted_messages += messages);
}

/// Keys of this `Protocol` that were counted without their prefix.
#[inline(always)]
pub fn unnamed(protocol: u8, counts: &KeyCounts) {
    with(|losses| {
        let [hits, misses] = &mut losses.unnamed[usize::from(protocol) & (PROTOCOLS - 1)];
        *hits += counts.hits;
        *misses += counts.misses;
    });
}
