//! Message queues: their numbers, their deques, and what is counted of them: see [`observer_ebpf::queues`].

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, Stack};
use aya_ebpf::helpers::generated::{bpf_map_lookup_elem, bpf_map_update_elem};
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::{AF_INET, AF_UNIX, Connection};
use observer_ebpf::layout::names::{CROWDED, CountKey, FIRST, OTHER};
use observer_ebpf::queues::deque::{Deque, Expected, TICK_BITS, ticks};
use observer_ebpf::queues::layout::{
    AGE_BOUNDS, AGE_BUCKETS, ANY_DB, KEY_MAX, OTHER_STREAM, PLACES, QueueCounts, QueueKey, QueueKeys, System,
    place_of,
};
use observer_ebpf::queues::{End, Queues};
use observer_ebpf::stream::bytes::Host as _;
use observer_ebpf::stream::prefix::Text;

use crate::calls::buffers::Buffers;
use crate::host::repeat;
use crate::maps::UNIX_PATHS;
use crate::names::{NO_EXIST, epoch, give, known, service_of};
use crate::{assembly, losses};

/// Numbers of queues. One may be there twice: in its database, and in [`ANY_DB`].
#[btf_map]
static QUEUES: HashMap<QueueKey, u64, { 4 * PLACES as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Numbers that may be given to queues that messages are taken out of.
#[btf_map]
static FREE_QUEUES: Stack<u32, { PLACES as usize }> = Stack::new();

/// Numbers that may be given to lists that messages are put into.
#[btf_map]
static FREE_TRIAL_QUEUES: Stack<u32, { PLACES as usize }> = Stack::new();

/// When the messages of each queue were put in, by place.
#[btf_map]
static DEQUES: Array<Deque, { PLACES as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

/// What processes have done with queues. All room is there beforehand: what a program cannot get at once would be lost.
#[btf_map]
static QUEUE_COUNTS: HashMap<CountKey, QueueCounts, 2048> = HashMap::new();

/// What an entry starts as.
#[btf_map]
static NO_QUEUE_COUNTS: Array<QueueCounts, 1> = Array::new();

/// Where queues are put together to be looked up, an entry for each program that sees calls, as `SERVICE_KEYS` has.
#[btf_map]
static QUEUE_KEYS: PerCpuArray<QueueKey, 1> = PerCpuArray::new();

/// How often it is tried to get a deque that another processor is at work on: each try takes some nanoseconds, as the
/// other's work does some hundred.
const TRIES: u32 = 2048;

/// Beside a [`System`]: messages are taken out.
const TAKES: u32 = 1 << 8;

/// A number of 32 bits and another one in its upper half, as global functions take no more than five arguments.
#[inline(always)]
const fn pair(lower: u32, upper: u32) -> u64 {
    lower as u64 | (upper as u64) << 32
}

/// Puts the server of a connection into a key.
#[inline(always)]
fn set_server(key: &mut QueueKey, connection: &Connection, index: u32) {
    key.port = 0;
    key.netns = 0;
    if connection.role == Role::Server as u8 {
        key.server = [connection.owner.start_ns, u64::from(connection.owner.tgid)];
        return;
    }
    key.server = [0; 2];
    if connection.family == AF_UNIX {
        let Some(path) = UNIX_PATHS.get_ptr(index) else { return };
        // SAFETY: a map's value, which is not written again while the slot is in use.
        let words = unsafe { (*path).path.as_ptr().cast::<u32>() };
        let mut sums = [0xCBF2_9CE4_8422_2325_u64, 0x9E37_79B9_7F4A_7C15];
        let mut at = 0;
        while at < 27 {
            // SAFETY: within the path, of 108 bytes, which is aligned to four bytes.
            let word = u64::from(unsafe { words.add(at).read_volatile() });
            sums[0] = (sums[0] ^ word).wrapping_mul(0x0000_0100_0000_01B3);
            sums[1] = (sums[1] ^ word).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
            at += 1;
        }
        key.server = sums;
        key.netns = connection.netns;
        return;
    }
    let words = connection.remote.as_ptr().cast::<u64>();
    // SAFETY: within the address, of 16 bytes, which is aligned to eight bytes where it is in its structure.
    key.server = unsafe { [words.read_volatile(), words.add(1).read_volatile()] };
    key.port = u32::from(connection.remote_port);
    let is_loopback =
        if connection.family == AF_INET { connection.remote[0] == 127 } else { key.server == [0, 1 << 56] };
    if is_loopback {
        key.netns = connection.netns;
    }
}

/// A deque by its queue's number, if it is that queue's still.
#[inline(always)]
fn deque_of(number: u32) -> Option<&'static mut Deque> {
    let deque = DEQUES.get_ptr_mut(place_of(number))?;
    // SAFETY: a map's value; what changes it meanwhile has it locked.
    let deque = unsafe { &mut *deque };
    if number >= FIRST && deque.number == number { Some(deque) } else { None }
}

/// Takes a free number for the queue that a key tells. None if there is none, or another processor came first.
#[inline(always)]
fn add(key: &QueueKey, service: u32, takes: bool, now: u32) -> Option<u32> {
    let free = if takes { &FREE_QUEUES } else { &FREE_TRIAL_QUEUES };
    let Ok(Some(number)) = free.pop() else { return None };
    let deque = DEQUES.get_ptr_mut(place_of(number))?;
    let db = if key.db == ANY_DB { 0 } else { key.db.wrapping_add(1) };
    // SAFETY: a map's value; what changes it meanwhile has it locked: a call may still be at work on the queue that had the
    // place before.
    let deque = unsafe { &mut *deque };
    if !lock(deque, now) {
        let _ = free.push(number, 0);
        return None;
    }
    deque.start(number, service, db, now);
    unlock(deque);
    // SAFETY: the map's own key.
    if unsafe { give((&raw const QUEUES).cast_mut().cast(), key, number) } {
        return Some(number);
    }
    let _ = free.push(number, 0);
    None
}

/// [`Queues::queue`], [`Queues::stream`] and [`Queues::group`]. `length` has the [`System`] in its upper half, with [`TAKES`]
/// if messages are taken.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_number(
    text: *const Text,
    connection: *mut Connection,
    buffers: *mut Buffers,
    length: u64,
    db: u32,
) -> u32 {
    // SAFETY: null, or within entries of maps that nothing else uses while the direction is locked.
    let (text, connection, buffers) = unsafe { (text.as_ref(), connection.as_mut(), buffers.as_mut()) };
    let (Some(text), Some(connection), Some(buffers)) = (text, connection, buffers) else { return OTHER };
    let Some(key) = QUEUE_KEYS.get_ptr_mut(buffers.room()) else { return CROWDED };
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let key = unsafe { &mut *key };
    let system = (length >> 32) as u32 & !TAKES;
    let crowded = if system == System::RedisList as u32 { CROWDED } else { OTHER_STREAM };
    if system == System::Group as u32 {
        key.server = [0; 2];
        key.port = 0;
        key.netns = 0;
    } else {
        set_server(key, connection, buffers.index());
    }
    key.db = db;
    key.system = system;
    key.length = length as u32;
    key.reserved = 0;
    let words = key.bytes.as_mut_ptr().cast::<u64>();
    let mut at = 0;
    while at < KEY_MAX as usize / 8 {
        // SAFETY: within the key's bytes, which are aligned to eight bytes where they are.
        unsafe { words.add(at).write_volatile(text.word_at(at)) };
        at += 1;
    }
    let map = (&raw const QUEUES).cast_mut().cast();
    // SAFETY: the map's own key.
    if let Some(number) = unsafe { known(map, key) } {
        return number;
    }
    let takes = (length >> 32) as u32 != System::RedisList as u32;
    let now = ticks(buffers.now_ns());
    let service = service_of(connection, buffers);
    if db == ANY_DB || system == System::Group as u32 {
        return add(key, service, takes, now).unwrap_or(crowded);
    }
    // The list may be known by connections of which it is not known what they have selected.
    key.db = ANY_DB;
    // SAFETY: the map's own key.
    let any = unsafe { known(map, key) };
    key.db = db;
    if let Some(number) = any
        && let Some(deque) = deque_of(number)
        && deque.db == 0
    {
        deque.db = db.wrapping_add(1);
        // SAFETY: the map's own key.
        unsafe { give(map, key, number) };
        return number;
    }
    let Some(number) = add(key, service, takes, now) else {
        // Another processor may have come first.
        // SAFETY: the map's own key.
        return unsafe { known(map, key) }.unwrap_or(crowded);
    };
    if any.is_none() {
        key.db = ANY_DB;
        // SAFETY: the map's own key.
        unsafe { give(map, key, number) };
    }
    number
}

/// [`Queues::stream_group`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_stream_group(
    connection: *mut Connection,
    buffers: *mut Buffers,
    stream: u32,
    group: u32,
) -> u32 {
    // SAFETY: null, or entries of maps that nothing else uses while the direction is locked.
    let (connection, buffers) = unsafe { (connection.as_mut(), buffers.as_mut()) };
    let (Some(connection), Some(buffers)) = (connection, buffers) else { return OTHER_STREAM };
    let Some(key) = QUEUE_KEYS.get_ptr_mut(buffers.room()) else { return OTHER_STREAM };
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let key = unsafe { &mut *key };
    key.server = [u64::from(stream), u64::from(group)];
    key.port = 0;
    key.netns = 0;
    key.db = 0;
    key.system = System::StreamGroup as u32;
    key.length = 0;
    key.reserved = 0;
    let words = key.bytes.as_mut_ptr().cast::<u64>();
    let mut at = 0;
    while at < KEY_MAX as usize / 8 {
        // SAFETY: within the key's bytes, which are aligned to eight bytes where they are.
        unsafe { words.add(at).write_volatile(0) };
        at += 1;
    }
    // SAFETY: the map's own key.
    if let Some(number) = unsafe { known((&raw const QUEUES).cast_mut().cast(), key) } {
        return number;
    }
    let now = ticks(buffers.now_ns());
    let service = service_of(connection, buffers);
    add(key, service, true, now).unwrap_or(OTHER_STREAM)
}

/// Takes a deque for this processor, with what has happened meanwhile added. False if another one is at work on it, and
/// does not end.
#[inline(always)]
fn lock(deque: &mut Deque, now: u32) -> bool {
    let busy = &raw mut deque.busy;
    // SAFETY: a field of a map's entry.
    let is_free = unsafe { assembly::exchange(busy, 1) == 0 }
        || repeat(TRIES, || {
            // SAFETY: as above.
            unsafe { assembly::exchange(busy, 1) != 0 }
        });
    if !is_free {
        return false;
    }
    let contended = &raw mut deque.contended;
    // SAFETY: as above.
    let [put, taken] = unsafe { [(*contended)[0], (*contended)[1]] };
    if put | taken != 0 {
        // SAFETY: as above.
        let (put, taken) = unsafe {
            (
                assembly::exchange(contended.cast::<u64>(), 0),
                assembly::exchange(contended.cast::<u64>().add(1), 0),
            )
        };
        deque.settle([put, taken], now);
    } else {
        deque.settle([0; 2], now);
    }
    true
}

/// Lets go of what [`lock`] took.
#[inline(always)]
fn unlock(deque: &mut Deque) {
    assembly::order_writes();
    // SAFETY: the field is there; a volatile write stays behind those before it.
    unsafe { (&raw mut deque.busy).write_volatile(0) };
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
        unsafe { assembly::add((&raw mut deque.contended).cast::<u64>(), u64::from(count as u32)) };
        return 0;
    }
    let expected = deque.put::<Buffers>(End::from_u8((count >> 32) as u8), count as u32, now);
    unlock(deque);
    pair(expected.length, expected.taken | IS_EXPECTED)
}

const IS_EXPECTED: u32 = 1 << 31;

/// [`Queues::remove`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_remove(buffers: *mut Buffers, queue: u32, count: u32) -> u32 {
    // SAFETY: null, or this processor's entry for this program.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    let now = ticks(buffers.now_ns());
    let Some(deque) = deque_of(queue) else { return 0 };
    if lock(deque, now) {
        deque.remove(count, now);
        unlock(deque);
    }
    0
}

/// [`Queues::refuse`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_refuse(buffers: *mut Buffers, queue: u32, count: u64) -> u32 {
    // SAFETY: null, or this processor's entry for this program.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    let now = ticks(buffers.now_ns());
    let Some(deque) = deque_of(queue) else { return 0 };
    if lock(deque, now) {
        deque.refuse(End::from_u8((count >> 32) as u8), count as u32);
        unlock(deque);
    }
    0
}

/// [`Queues::compare`]. `expected` has what was taken out in its upper half.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_compare(buffers: *mut Buffers, queue: u32, expected: u64, length: u32) -> u32 {
    // SAFETY: null, or this processor's entry for this program.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    let now = ticks(buffers.now_ns());
    let Some(deque) = deque_of(queue) else { return 0 };
    if lock(deque, now) {
        let expected = Expected { length: expected as u32, taken: (expected >> 32) as u32 };
        deque.compare(expected, length, now);
        unlock(deque);
    }
    0
}

/// What a process has done with a queue: zeroes at first. None if there is no room.
#[inline(always)]
fn counts_of(service: u32, queue: u32) -> Option<&'static mut QueueCounts> {
    let key = CountKey { service, name: queue };
    let map = (&raw const QUEUE_COUNTS).cast_mut().cast();
    let place = (&raw const key).cast_mut().cast();
    if service == 0 {
        return None;
    }
    // SAFETY: the key is as the map has it; what it returns is null or a value.
    unsafe {
        let present = bpf_map_lookup_elem(map, place).cast::<QueueCounts>();
        if !present.is_null() {
            return Some(&mut *present);
        }
        let zeroes = NO_QUEUE_COUNTS.get_ptr(0)?;
        bpf_map_update_elem(map, place, zeroes.cast_mut().cast(), NO_EXIST);
        bpf_map_lookup_elem(map, place).cast::<QueueCounts>().as_mut()
    }
}

/// Adds to one of the counts, which another processor may do as well.
#[inline(always)]
fn count(counter: &mut u64, amount: u64) {
    // SAFETY: a field of a map's entry.
    unsafe { assembly::add(&raw mut *counter, amount) };
}

/// Counts the age in nanoseconds of a message that was taken out; [`u64::MAX`] where it is not known.
#[inline(always)]
fn count_age(counts: &mut QueueCounts, age_ns: u64) {
    if age_ns == u64::MAX {
        count(&mut counts.unknown, 1);
        return;
    }
    count(&mut counts.age_ns, age_ns);
    let place = age_bucket(age_ns);
    // SAFETY: within the buckets, of which there are eight.
    unsafe { assembly::add(counts.ages.as_mut_ptr().add(place), 1) };
}

/// An age in ticks as [`count_age`] has it.
#[inline(always)]
fn in_ns(age: Option<u32>) -> u64 {
    age.map_or(u64::MAX, |age| u64::from(age) << TICK_BITS)
}

/// The bucket of an age: as many as there are bounds below it, without branches.
#[inline(always)]
fn age_bucket(age_ns: u64) -> usize {
    let mut bucket = 0;
    for bound in &AGE_BOUNDS {
        // SAFETY: a reference is always readable.
        let bound = unsafe { core::ptr::from_ref(bound).read_volatile() };
        bucket += bound.wrapping_sub(age_ns) >> 63;
    }
    assembly::hide(bucket) as usize & (AGE_BUCKETS - 1)
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
    let number = u64::from(acknowledged);
    if acknowledged == 0 {
        count(&mut counts.taken, 1);
        count_age(counts, age_ns);
        return 0;
    }
    count(&mut counts.acknowledged, number);
    if age_ns != u64::MAX {
        count(&mut counts.latency_ns, age_ns.wrapping_mul(number));
        let place = age_bucket(age_ns);
        // SAFETY: within the buckets, of which there are eight.
        unsafe { assembly::add(counts.latencies.as_mut_ptr().add(place), number) };
    }
    0
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
    let (messages, end) = (amount as u32, End::from_u8((amount >> 32) as u8));
    count(&mut counts.taken, u64::from(messages));
    let Some(deque) = deque_of(queue) else {
        count(&mut counts.unknown, u64::from(messages));
        return 0;
    };
    if !lock(deque, now) {
        count(&mut counts.unknown, u64::from(messages));
        // SAFETY: a field of a map's entry.
        unsafe { assembly::add((&raw mut deque.contended).cast::<u64>().add(1), u64::from(messages)) };
        return 0;
    }
    if deque.is_taken == 0 {
        deque.service = service;
    }
    if messages == 1 {
        let age = deque.take(end, now);
        count_age(counts, in_ns(age));
    } else {
        deque.begin();
        repeat(messages, || {
            let age = deque.take(end, now);
            count_age(counts, in_ns(age));
            deque.goes_on(messages)
        });
    }
    unlock(deque);
    0
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

impl Queues for Buffers {
    #[inline(always)]
    fn queues_epoch(&self) -> u32 {
        epoch::<QueueKeys>()
    }

    #[inline(always)]
    fn queue(&mut self, connection: &mut Connection, key: &Text, length: u32, db: u32, takes: bool) -> u32 {
        let system = System::RedisList as u32 | if takes { TAKES } else { 0 };
        queue_number(key, connection, self, pair(length, system), db)
    }

    #[inline(always)]
    fn stream(&mut self, connection: &mut Connection, key: &Text, length: u32, db: u32) -> u32 {
        queue_number(key, connection, self, pair(length, System::RedisStream as u32), db)
    }

    #[inline(always)]
    fn group(&mut self, connection: &mut Connection, name: &Text, length: u32) -> u32 {
        queue_number(name, connection, self, pair(length, System::Group as u32), 0)
    }

    #[inline(always)]
    fn stream_group(&mut self, connection: &mut Connection, stream: u32, group: u32) -> u32 {
        queue_stream_group(connection, self, stream, group)
    }

    #[inline(always)]
    fn deliver(&mut self, connection: &mut Connection, queue: u32, age_ns: Option<u64>) {
        queue_entries(connection, self, queue, 0, age_ns.unwrap_or(u64::MAX));
    }

    #[inline(always)]
    fn acknowledge(&mut self, connection: &mut Connection, queue: u32, count: u32, age_ns: Option<u64>) {
        queue_entries(connection, self, queue, count, age_ns.unwrap_or(u64::MAX));
    }

    #[inline(always)]
    fn put(&mut self, queue: u32, end: End, count: u32) -> Option<Expected> {
        let told = queue_put(self, queue, pair(count, end as u32));
        let (length, upper) = (told as u32, (told >> 32) as u32);
        if upper & IS_EXPECTED == 0 { None } else { Some(Expected { length, taken: upper & !IS_EXPECTED }) }
    }

    #[inline(always)]
    fn refuse(&mut self, queue: u32, end: End, count: u32) {
        queue_refuse(self, queue, pair(count, end as u32));
    }

    #[inline(always)]
    fn remove(&mut self, queue: u32, count: u32) {
        queue_remove(self, queue, count);
    }

    #[inline(always)]
    fn count_put(&mut self, connection: &mut Connection, queue: u32, count: u32) {
        queue_count_put(connection, self, queue, count);
    }

    #[inline(always)]
    fn compare(&mut self, queue: u32, expected: Expected, length: u32) {
        queue_compare(self, queue, pair(expected.length, expected.taken), length);
    }

    #[inline(always)]
    fn take(&mut self, connection: &mut Connection, queue: u32, end: End, count: u32) {
        queue_take(connection, self, queue, pair(count, end as u32));
    }
}
