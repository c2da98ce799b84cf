//! What processes have done with queues: taking out of deques, and entries of streams.

use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::buckets::bucket;
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::{CROWDED, CountKey};
use observer_ebpf::queues::End;
use observer_ebpf::queues::deque::{Deque, TICK_BITS, Taken, ticks};
use observer_ebpf::queues::layout::{AGE_BOUNDS, AGE_BUCKETS, QueueCounts};
use observer_ebpf::stream::bytes::Host as _;

use super::deque_of;
use super::lock::{lock_to_take, take_later, unlock};
use crate::calls::buffers::Buffers;
use crate::host::repeat;
use crate::names::{entry, service_of};
use crate::{assembly, losses};

/// What processes have done with queues. All room is there beforehand: what a program cannot get at once would be lost.
#[btf_map]
static QUEUE_COUNTS: HashMap<CountKey, QueueCounts, 2048> = HashMap::new();

/// What an entry starts as.
#[btf_map]
static NO_QUEUE_COUNTS: Array<QueueCounts, 1> = Array::new();

/// What a process has done with a queue: zeroes at first. None if there is no room.
#[inline(always)]
pub fn counts_of(service: u32, queue: u32) -> Option<&'static mut QueueCounts> {
    let key = CountKey { service, name: queue };
    if service == 0 {
        return None;
    }
    // SAFETY: the map has such keys and values, and all that is in them may be written.
    unsafe {
        entry((&raw const QUEUE_COUNTS).cast_mut().cast(), &key, || NO_QUEUE_COUNTS.get_ptr(0))
            .map(|counts| &mut *counts)
    }
}

/// Adds to one of the counts, which another processor may do as well.
#[inline(always)]
fn count(counter: &mut u64, amount: u64) {
    // SAFETY: a field of a map's entry.
    unsafe { assembly::add(&raw mut *counter, amount) };
}

/// Counts the age in nanoseconds of messages that were taken out together; [`u64::MAX`] where it is not known.
#[inline(always)]
fn count_ages(counts: &mut QueueCounts, number: u64, age_ns: u64) {
    if age_ns == u64::MAX {
        count(&mut counts.unknown, number);
        return;
    }
    count(&mut counts.age_ns, age_ns.wrapping_mul(number));
    let place = age_bucket(age_ns);
    // SAFETY: within the buckets, of which there are eight.
    unsafe { assembly::add(counts.ages.as_mut_ptr().add(place), number) };
}

/// An age in ticks as [`count_ages`] has it.
#[inline(always)]
fn in_ns(age: Option<u32>) -> u64 {
    age.map_or(u64::MAX, |age| u64::from(age) << TICK_BITS)
}

/// The bucket of an age, which the verifier knows to be one.
#[inline(always)]
fn age_bucket(age_ns: u64) -> usize {
    assembly::hide(bucket(&AGE_BOUNDS, age_ns) as u64) as usize & (AGE_BUCKETS - 1)
}

/// [`Queues::deliver`] and [`Queues::acknowledge`], which has how many they are; [`u64::MAX`] where it is not known how long
/// ago they were added.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_entries(
    connection: *mut Connection,
    buffers: *mut Buffers,
    queue: u32,
    acknowledged: u32,
    age_ns: u64,
) -> u32 {
    // SAFETY: null, or entries of maps that nothing else uses while the direction is locked.
    let (connection, buffers) = unsafe { (connection.as_mut(), buffers.as_mut()) };
    let (Some(connection), Some(buffers)) = (connection, buffers) else { return 0 };
    let service = service_of(connection, buffers);
    let Some(counts) = counts_of(service, queue) else {
        losses::uncounted_messages(1);
        return 0;
    };
    if acknowledged == 0 {
        count_taken(counts, 1, age_ns);
        return 0;
    }
    count_acknowledged(counts, u64::from(acknowledged), age_ns);
    0
}

/// Counts messages that were acknowledged, so many nanoseconds after they had been put in; [`u64::MAX`] where that is not
/// known.
#[inline(always)]
pub fn count_acknowledged(counts: &mut QueueCounts, number: u64, age_ns: u64) {
    count(&mut counts.acknowledged, number);
    if age_ns != u64::MAX {
        count(&mut counts.latency_ns, age_ns.wrapping_mul(number));
        let place = age_bucket(age_ns);
        // SAFETY: within the buckets, of which there are eight.
        unsafe { assembly::add(counts.latencies.as_mut_ptr().add(place), number) };
    }
}

/// Counts messages that were taken out together, of an age in nanoseconds; [`u64::MAX`] where it is not known.
#[inline(always)]
pub fn count_taken(counts: &mut QueueCounts, number: u32, age_ns: u64) {
    let number = u64::from(number);
    count(&mut counts.taken, number);
    count_ages(counts, number, age_ns);
}

/// [`Queues::take`]. `count` has the end in its upper half.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_take(
    connection: *mut Connection,
    buffers: *mut Buffers,
    queue: u32,
    amount: u64,
) -> u32 {
    // SAFETY: null, or entries of maps that nothing else uses while the direction is locked.
    let (connection, buffers) = unsafe { (connection.as_mut(), buffers.as_mut()) };
    let (Some(connection), Some(buffers)) = (connection, buffers) else { return 0 };
    let now = ticks(buffers.now_ns());
    let service = service_of(connection, buffers);
    let Some(counts) = counts_of(service, queue) else {
        losses::uncounted_messages(u64::from(amount as u32));
        return 0;
    };
    let taken = Taken::new(service, End::from_u8((amount >> 32) as u8), amount as u32);
    let messages = u64::from(taken.count());
    count(&mut counts.taken, messages);
    let Some(deque) = deque_of(queue) else {
        count(&mut counts.unknown, messages);
        return 0;
    };
    if lock_to_take(deque) {
        deque.settle(now);
        take_out(deque, Some(counts), taken, now);
        unlock(buffers, deque);
    } else if !take_later(buffers, deque, taken) {
        count(&mut counts.unknown, messages);
    }
    0
}

/// Takes messages out of a deque that is locked, and counts their ages by the process that takes them, if it is known.
#[inline(always)]
pub fn take_out(deque: &mut Deque, mut counts: Option<&mut QueueCounts>, taken: Taken, now: u32) {
    if deque.is_taken == 0 && taken.service() != 0 {
        deque.service = taken.service();
    }
    let (end, messages) = (taken.end(), taken.count());
    deque.begin();
    // What it has of its own takes half as much of the stack as references to it.
    repeat(messages, move || {
        let age = deque.take(end, now);
        if let Some(counts) = counts.as_deref_mut() {
            count_ages(counts, 1, in_ns(age));
        }
        deque.goes_on(messages)
    });
}

/// [`Queues::count_put`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_count_put(
    connection: *mut Connection,
    buffers: *mut Buffers,
    queue: u32,
    messages: u32,
) -> u32 {
    // SAFETY: as above.
    let (connection, buffers) = unsafe { (connection.as_mut(), buffers.as_mut()) };
    let (Some(connection), Some(buffers)) = (connection, buffers) else { return 0 };
    if queue == CROWDED {
        // Most lists that are only ever put into are none that messages wait in: those that find a place tell.
        return 0;
    }
    let service = service_of(connection, buffers);
    let Some(counts) = counts_of(service, queue) else {
        losses::uncounted_messages(u64::from(messages));
        return 0;
    };
    count(&mut counts.put, u64::from(messages));
    0
}
