//! One processor at a time has a queue's deque. What others do meanwhile is noted, and done by whoever lets go of it next:
//! see [`observer_ebpf::queues::deque::Late`].
//!
//! Who notes something tries once more to get the deque afterwards, and who lets go of it looks afterwards whether something
//! was noted. So one of both does it. Of several queues that one call has to do with, the last one counts: for the others it
//! is done with whatever happens to them next.

use observer_ebpf::queues::End;
use observer_ebpf::queues::deque::{Deque, TAKERS, Taken, ticks};
use observer_ebpf::queues::layout::QueueCounts;
use observer_ebpf::stream::bytes::{Host as _, hide_field};

use super::counts::{counts_of, take_out};
use super::deque_of;
use crate::assembly;
use crate::calls::buffers::Buffers;
use crate::host::repeat;

/// How often it is tried to get a deque: each try takes some nanoseconds, as what another processor does with it takes some
/// hundred. It takes longer only where that is interrupted.
const TRIES: u32 = 256;
/// How often where nothing can be noted: for about a millisecond.
const PATIENT_TRIES: u32 = 1 << 16;
/// How often one processor does what others have noted, before it leaves the rest to them.
const ROUNDS: u32 = 64;

/// Gets a deque, for something that can be noted instead. False if another processor has it.
#[inline(always)]
pub fn lock(deque: &mut Deque) -> bool {
    hold_within(deque, TRIES)
}

/// The same, for something that cannot. False if another processor does not let go of it for long.
#[inline(always)]
pub fn lock_patiently(deque: &mut Deque) -> bool {
    hold_within(deque, PATIENT_TRIES)
}

/// Gets a deque to take messages out, which can be noted as well: false, too, where something is noted, which may be that
/// they were put in.
#[inline(always)]
pub fn lock_to_take(deque: &mut Deque) -> bool {
    if !hold_within(deque, TRIES) {
        return false;
    }
    if is_any_noted(deque) {
        release(deque);
        return false;
    }
    true
}

/// Whether something is noted.
#[inline(always)]
fn is_any_noted(deque: &Deque) -> bool {
    // SAFETY: a field.
    unsafe { (&raw const deque.late.is_any).read_volatile() != 0 }
}

/// Waits for it to be let go of, which is looked at so often at most.
#[inline(always)]
fn hold_within(deque: &mut Deque, tries: u32) -> bool {
    if hold(deque) {
        return true;
    }
    let busy = &raw const deque.busy;
    // To look is all that is done in the loop: a loop that succeeds at its last try is taken for one that does not.
    // SAFETY: a field.
    repeat(tries, move || unsafe { busy.read_volatile() != 0 });
    hold(deque)
}

/// Tries once.
#[inline(always)]
fn hold(deque: &mut Deque) -> bool {
    // SAFETY: a field of a map's entry.
    unsafe { assembly::exchange(&raw mut deque.busy, 1) == 0 }
}

/// Lets go of a queue's deque. What others have noted meanwhile is done once the call has been taken in.
#[inline(always)]
pub fn unlock(buffers: &mut Buffers, deque: &mut Deque) {
    release(deque);
    if is_any_noted(deque) {
        buffers.set_late_queue(hide_field(&deque.number));
    }
}

/// Lets go of a deque. What comes next is not before that for any processor.
#[inline(always)]
pub fn release(deque: &mut Deque) {
    // SAFETY: a field of a map's entry.
    unsafe { assembly::exchange(&raw mut deque.busy, 0) };
}

/// Notes messages that were put in.
#[inline(always)]
pub fn put_later(buffers: &mut Buffers, deque: &mut Deque, end: End, count: u32) {
    let at = match end {
        End::Any => &mut deque.late.put[0],
        End::Left => &mut deque.late.put[1],
        End::Right => &mut deque.late.put[2],
    };
    // SAFETY: a field of a map's entry.
    unsafe { assembly::add(&raw mut *at, u64::from(count)) };
    noted(buffers, deque);
}

/// Notes messages that were taken out. False if their ages will not be counted, as there is no room.
#[inline(always)]
pub fn take_later(buffers: &mut Buffers, deque: &mut Deque, taken: Taken) -> bool {
    let mut is_kept = false;
    let mut at = 0;
    while at < TAKERS && !is_kept {
        is_kept = keep_taken(&mut deque.late.taken[at], taken);
        at += 1;
    }
    if !is_kept {
        // SAFETY: a field of a map's entry.
        unsafe { assembly::add(&raw mut deque.late.gone, u64::from(taken.count())) };
    }
    noted(buffers, deque);
    is_kept
}

/// Adds to one word, if it is free or tells of the same process, and no other processor comes first.
#[inline(always)]
fn keep_taken(word: &mut u64, taken: Taken) -> bool {
    // SAFETY: a field.
    let before = unsafe { (&raw const *word).read_volatile() };
    let after = if before == 0 { Some(taken) } else { Taken::from_code(before).with(taken) };
    // SAFETY: a field of a map's entry.
    after.is_some_and(|after| unsafe { assembly::compare_exchange(&raw mut *word, before, after.code()) })
}

/// Something was noted: if the deque has been let go of by then, it is done once the call has been taken in.
#[inline(always)]
fn noted(buffers: &mut Buffers, deque: &mut Deque) {
    // SAFETY: a field of a map's entry.
    unsafe { assembly::exchange(&raw mut deque.late.is_any, 1) };
    buffers.set_late_queue(hide_field(&deque.number));
}

/// Does what was noted for a queue, unless another processor has its deque: then that does it.
///
/// It is called where the chain of calls is short: behind a parser there would be too many ("the call stack of 8 frames is
/// too deep").
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_catch_up(buffers: *mut Buffers) -> u32 {
    // SAFETY: null, or this processor's entry for this program.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    let now = ticks(buffers.now_ns());
    let queue = buffers.late_queue();
    buffers.set_late_queue(0);
    let Some(deque) = deque_of(queue) else { return 0 };
    repeat(ROUNDS, || {
        if !is_any_noted(deque) || !hold(deque) {
            return false;
        }
        do_noted(queue, deque, now);
        release(deque);
        true
    });
    0
}

/// Puts messages into a deque that is locked.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn deque_put(deque: *mut Deque, end: u32, count: u32, now: u32) -> u32 {
    // SAFETY: null, or a map's value.
    if let Some(deque) = unsafe { deque.as_mut() } {
        deque.put::<Buffers>(End::from_u8(end as u8), count, now);
    }
    0
}

/// Takes messages out of a deque that is locked, and counts their ages by the process that takes them, if it is known.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn deque_take(deque: *mut Deque, counts: *mut QueueCounts, taken: u64, now: u32) -> u32 {
    // SAFETY: null, or map's values.
    let (deque, counts) = unsafe { (deque.as_mut(), counts.as_mut()) };
    if let Some(deque) = deque {
        take_out(deque, counts, Taken::from_code(taken), now);
    }
    0
}

/// Does what was noted, where the deque is locked.
///
/// What was put in comes first, and is looked at last: so whatever was noted to be taken finds what was put in before it.
#[inline(always)]
fn do_noted(queue: u32, deque: &mut Deque, now: u32) {
    // SAFETY: a field of a map's entry.
    let take = |field: &mut u64| unsafe { assembly::exchange(&raw mut *field, 0) };
    take(&mut deque.late.is_any);
    let gone = take(&mut deque.late.gone);
    let mut taken = [0; TAKERS];
    let mut at = 0;
    while at < TAKERS {
        taken[at] = take(&mut deque.late.taken[at]);
        at += 1;
    }
    deque.settle(now);
    let mut end = 0;
    while end < 3 {
        let count = take(&mut deque.late.put[end as usize]);
        if count != 0 {
            deque_put(deque, end, count as u32, now);
        }
        end += 1;
    }
    at = 0;
    while at < TAKERS {
        if taken[at] != 0 {
            let counts = counts_of(Taken::from_code(taken[at]).service(), queue);
            let counts = counts.map_or(core::ptr::null_mut(), core::ptr::from_mut);
            deque_take(deque, counts, taken[at], now);
        }
        at += 1;
    }
    if gone != 0 {
        deque_take(deque, core::ptr::null_mut(), Taken::new(0, End::Any, gone as u32).code(), now);
    }
}
