//! Putting into deques, which are one processor's at a time.

use observer_ebpf::queues::deque::{Asked, Deque, Expected, ticks};
use observer_ebpf::queues::{End, Followed};
use observer_ebpf::stream::bytes::{Host as _, hide_field};

use super::{deque_of, pair};
use crate::assembly;
use crate::calls::buffers::Buffers;
use crate::host::repeat;

/// How often it is tried to get a deque that another processor is at work on: each try takes some nanoseconds, as the
/// other's work does some hundred.
const TRIES: u32 = 2048;

/// Of what [`queue_put`] returns, in its upper half.
pub const IS_EXPECTED: u32 = 1 << 31;

/// Takes a deque for this processor, with what has happened meanwhile added. False if another one is at work on it, and
/// does not end.
#[inline(always)]
pub fn lock(deque: &mut Deque, now: u32) -> bool {
    if !hold(deque) {
        return false;
    }
    let [put, taken] = &mut deque.contended;
    let contended = if *put | *taken == 0 {
        [0; 2]
    } else {
        // SAFETY: fields of a map's entry.
        unsafe { [assembly::exchange(put, 0), assembly::exchange(taken, 0)] }
    };
    deque.settle(contended, now);
    true
}

/// Takes one as it is.
#[inline(always)]
fn hold(deque: &mut Deque) -> bool {
    let busy = &raw mut deque.busy;
    // SAFETY: a field of a map's entry.
    let was_busy = unsafe { assembly::exchange(busy, 1) };
    was_busy == 0
        || repeat(TRIES, || {
            // SAFETY: as above.
            unsafe { assembly::exchange(busy, 1) != 0 }
        })
}

/// Lets go of what [`lock`] took.
#[inline(always)]
pub fn unlock(deque: &mut Deque) {
    assembly::order_writes();
    // SAFETY: the field is there; a volatile write stays behind those before it.
    unsafe { (&raw mut deque.busy).write_volatile(0) };
}

/// Has something done with a queue's deque, if it has one that another processor is not at work on for long.
#[inline(always)]
fn with_deque(buffers: *mut Buffers, queue: u32, work: impl FnOnce(&mut Deque, u32)) {
    // SAFETY: null, or this processor's entry for this program.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return };
    let now = ticks(buffers.now_ns());
    let Some(deque) = deque_of(queue) else { return };
    if lock(deque, now) {
        work(deque, now);
        unlock(deque);
    }
}

/// [`Queues::put`]. `count` has the end in its upper half. What is returned has the length in its lower half, what was
/// taken out above it, and [`IS_EXPECTED`] if there is anything to expect.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_put(buffers: *mut Buffers, queue: u32, count: u64) -> u64 {
    // SAFETY: null, or this processor's entry for this program.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    let now = ticks(buffers.now_ns());
    let Some(deque) = deque_of(queue) else { return 0 };
    if !lock(deque, now) {
        // SAFETY: a field of a map's entry.
        unsafe { assembly::add(&raw mut deque.contended[0], u64::from(count as u32)) };
        return 0;
    }
    let expected = deque.put::<Buffers>(End::from_u8((count >> 32) as u8), count as u32, now);
    unlock(deque);
    pair(expected.length, expected.taken | IS_EXPECTED)
}

/// [`Queues::remove`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_remove(buffers: *mut Buffers, queue: u32, count: u32) -> u32 {
    with_deque(buffers, queue, |deque, now| deque.remove(count, now));
    0
}

/// [`Queues::refuse`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_refuse(buffers: *mut Buffers, queue: u32, count: u64) -> u32 {
    let (count, end) = (count as u32, End::from_u8((count >> 32) as u8));
    with_deque(buffers, queue, |deque, _| deque.refuse(end, count));
    0
}

/// [`Queues::compare`]. `expected` has what was taken out in its upper half.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_compare(buffers: *mut Buffers, queue: u32, expected: u64, length: u32) -> u32 {
    let expected = Expected { length: expected as u32, taken: (expected >> 32) as u32 };
    with_deque(buffers, queue, |deque, now| deque.compare(expected, length, now));
    0
}

/// [`Queues::follow_stream`]. What cannot be noted, as another processor does not let go of the deque, is as what was not
/// seen.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_follow(buffers: *mut Buffers, queue: u32, what: u32, count: u32, asked: u64) -> u32 {
    // SAFETY: null, or this processor's entry for this program.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    let now = ticks(buffers.now_ns());
    let Some(deque) = deque_of(queue) else { return 0 };
    let mut tail = 0;
    if what >= Followed::Asked as u32 {
        let stream = if what == Followed::Asked as u32 { count } else { hide_field(&deque.stream) };
        let Some(stream) = deque_of(stream) else { return 0 };
        tail = hide_field(&stream.tail);
    }
    if hold(deque) {
        deque.follow(what, count, Asked::from_code(asked), tail, now);
        unlock(deque);
    }
    tail as u32
}
