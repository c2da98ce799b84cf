//! Message queues: their numbers, their deques (`queues/deques.rs`, `queues/lock.rs`), and what is counted of them
//! (`queues/counts.rs`): see [`observer_ebpf::queues`].

mod counts;
mod deques;
mod lock;
mod topics;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, Stack};
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::{AF_INET, AF_UNIX, Connection};
use observer_ebpf::layout::names::{CROWDED, FIRST, OTHER};
use observer_ebpf::queues::deque::{Asked, Deque, Expected, ticks};
use observer_ebpf::queues::layout::{
    ANY_DB, KEY_MAX, OTHER_STREAM, OTHER_TOPIC, PLACES, QueueKey, QueueKeys, System, place_of,
};
use observer_ebpf::queues::{End, Followed, Queues};
use observer_ebpf::stream::bytes::Host as _;
use observer_ebpf::stream::prefix::Text;

use self::counts::{queue_count_put, queue_entries, queue_take};
use self::deques::{IS_EXPECTED, queue_compare, queue_follow, queue_put, queue_refuse, queue_remove};
pub use self::lock::queue_catch_up;
use self::lock::{lock_patiently, release};
use crate::calls::buffers::Buffers;
use crate::maps::UNIX_PATHS;
use crate::names::{epoch, give, known, service_of};

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

/// Where queues are put together to be looked up, an entry for each program that sees calls, as `SERVICE_KEYS` has.
#[btf_map]
static QUEUE_KEYS: PerCpuArray<QueueKey, 1> = PerCpuArray::new();

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
    key.server = connection.remote_words();
    key.port = u32::from(connection.remote_port);
    let is_loopback =
        if connection.family == AF_INET { connection.remote[0] == 127 } else { key.server == [0, 1 << 56] };
    if is_loopback {
        key.netns = connection.netns;
    }
}

/// Puts what a queue is, and its name, into a key, a word at a time: as one value it would go by way of the stack.
#[inline(always)]
fn set_name(key: &mut QueueKey, system: u32, length: u32, word: impl Fn(usize) -> u64) {
    key.system = system;
    key.length = length;
    key.reserved = 0;
    let words = key.bytes.as_mut_ptr().cast::<u64>();
    let mut at = 0;
    while at < KEY_MAX as usize / 8 {
        // SAFETY: within the key's bytes, which are aligned to eight bytes where they are.
        unsafe { words.add(at).write_volatile(word(at)) };
        at += 1;
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
    if !lock_patiently(deque) {
        let _ = free.push(number, 0);
        return None;
    }
    deque.start(number, service, db, now);
    release(deque);
    // SAFETY: the map's own key.
    if unsafe { give((&raw const QUEUES).cast_mut().cast(), key, number) } {
        return Some(number);
    }
    let _ = free.push(number, 0);
    None
}

/// The number of what has no place, of a [`System`].
#[inline(always)]
const fn other(system: u32) -> u32 {
    if system == System::RedisList as u32 {
        CROWDED
    } else if system == System::KafkaTopic as u32 || system == System::TopicGroup as u32 {
        OTHER_TOPIC
    } else {
        OTHER_STREAM
    }
}

/// [`Queues::queue`], [`Queues::stream`] and [`Queues::group`], and the same of topics of Kafka. `length` has the
/// [`System`] in its upper half, with [`TAKES`] if messages are taken.
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
    let crowded = other(system);
    // A topic is told apart by its name alone: it is spread over the brokers of a cluster, and what is counted says of which.
    let has_no_server = system == System::Group as u32 || system == System::KafkaTopic as u32;
    if has_no_server {
        key.server = [0; 2];
        key.port = 0;
        key.netns = 0;
    } else {
        set_server(key, connection, buffers.index());
    }
    key.db = db;
    set_name(key, system, length as u32, |at| text.word_at(at));
    let map = (&raw const QUEUES).cast_mut().cast();
    // SAFETY: the map's own key.
    if let Some(number) = unsafe { known(map, key) } {
        return number;
    }
    let takes = (length >> 32) as u32 != System::RedisList as u32;
    let now = ticks(buffers.now_ns());
    let service = service_of(connection, buffers);
    if db == ANY_DB || has_no_server {
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

/// [`Queues::stream_group`], and the same of a topic of Kafka.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn queue_pair(
    connection: *mut Connection,
    buffers: *mut Buffers,
    system: u32,
    stream: u32,
    group: u32,
) -> u32 {
    // SAFETY: null, or entries of maps that nothing else uses while the direction is locked.
    let (connection, buffers) = unsafe { (connection.as_mut(), buffers.as_mut()) };
    let (Some(connection), Some(buffers)) = (connection, buffers) else { return OTHER_STREAM };
    let Some(key) = QUEUE_KEYS.get_ptr_mut(buffers.room()) else { return other(system) };
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let key = unsafe { &mut *key };
    key.server = [u64::from(stream), u64::from(group)];
    key.port = 0;
    key.netns = 0;
    key.db = 0;
    set_name(key, system, 0, |_| 0);
    // SAFETY: the map's own key.
    if let Some(number) = unsafe { known((&raw const QUEUES).cast_mut().cast(), key) } {
        return number;
    }
    let now = ticks(buffers.now_ns());
    let service = service_of(connection, buffers);
    add(key, service, true, now).unwrap_or(other(system))
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
        queue_pair(connection, self, System::StreamGroup as u32, stream, group)
    }

    #[inline(always)]
    fn follow_stream(&mut self, queue: u32, what: Followed, count: u32, asked: Asked) -> u32 {
        queue_follow(self, queue, what as u32, count, asked.code())
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
