//! Putting into deques, which are one processor's at a time.

use observer_ebpf::queues::deque::{Asked, Deque, Expected, ticks};
use observer_ebpf::queues::{End, Followed};
use observer_ebpf::stream::bytes::{Host as _, hide_field};

use super::lock::{lock, lock_patiently, put_later, unlock};
use super::{deque_of, pair};
use crate::calls::buffers::Buffers;

/// Of what [`queue_put`] returns, in its upper half.
pub const IS_EXPECTED: u32 = 1 << 31;

/// Has something done with a queue's deque, if it has one that another processor is not at work on for long.
#[inline(always)]
fn with_deque(buffers: *mut Buffers, queue: u32, work: impl FnOnce(&mut Deque, u32)) {
    // SAFETY: null, or this processor's entry for this program.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return };
    let now = ticks(buffers.now_ns());
    let Some(deque) = deque_of(queue) else { return };
    if lock_patiently(deque) {
        deque.settle(now);
        work(deque, now);
        unlock(buffers, deque);
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
    if !lock(deque) {
        put_later(buffers, deque, End::from_u8((count >> 32) as u8), count as u32);
        return 0;
    }
    deque.settle(now);
    let expected = deque.put::<Buffers>(End::from_u8((count >> 32) as u8), count as u32, now);
    unlock(buffers, deque);
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

/// [`Queues::follow_stream`]. What else than an entry that is added cannot be done, as another processor does not let go of
/// the deque, is as what was not seen.
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
    if lock_patiently(deque) {
        deque.follow(what, count, Asked::from_code(asked), tail, now);
        unlock(buffers, deque);
    } else if what == Followed::Added as u32 {
        put_later(buffers, deque, End::Any, 1);
    }
    tail as u32
}
