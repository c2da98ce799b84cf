//! Topics of Kafka: names that were learnt, and how far partitions are written, read and acknowledged.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray};
use aya_ebpf::helpers::generated::bpf_map_update_elem;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::NONE;
use observer_ebpf::queues::deque::ticks;
use observer_ebpf::queues::layout::{OTHER_TOPIC, System};
use observer_ebpf::queues::partition::{COMMIT_STEPS, Partition, PartitionKey};
use observer_ebpf::queues::topics::{Event, LearntKey, Told, Topics};
use observer_ebpf::stream::bytes::{Host as _, hide_field};
use observer_ebpf::stream::prefix::Text;

use super::counts::{count_acknowledged, count_taken, counts_of};
use super::{pair, queue_number, queue_pair};
use crate::calls::buffers::Buffers;
use crate::host::repeat;
use crate::losses;
use crate::names::{entry, lookup, service_of};

/// How far partitions are written, read and acknowledged, by process, server and topic. The agent removes those of processes
/// that are gone.
#[btf_map]
static PARTITIONS: HashMap<PartitionKey, Partition, 4096, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// What an entry starts as.
#[btf_map]
static NO_PARTITION: Array<Partition, 1> = Array::new();

/// A name that was learnt.
#[repr(C)]
struct Learnt {
    name: Text,
    /// 0 where there were several.
    length: u64,
}

/// Names of topics by id, and of consumer groups by client. Those not used for long give way to others.
#[btf_map]
static LEARNT: LruHashMap<LearntKey, Learnt, 2048> = LruHashMap::new();

/// Where keys of those are put together to be looked up, as `QUEUE_KEYS` has.
#[btf_map]
static LEARNT_KEYS: PerCpuArray<LearntKey, 1> = PerCpuArray::new();

/// Where names are put together to be kept, likewise.
#[btf_map]
static NEW_LEARNT: PerCpuArray<Learnt, 1> = PerCpuArray::new();

/// `BPF_ANY` (`include/uapi/linux/bpf.h`).
const ANY: u64 = 0;

/// A key, where it can be looked up.
#[inline(always)]
fn learnt_key(key: &LearntKey, buffers: &Buffers) -> Option<&'static LearntKey> {
    let place = LEARNT_KEYS.get_ptr_mut(buffers.room())?;
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let place = unsafe { &mut *place };
    place.id = [hide_field(&key.id[0]), hide_field(&key.id[1])];
    place.address = [hide_field(&key.address[0]), hide_field(&key.address[1])];
    place.process = hide_field(&key.process);
    Some(place)
}

/// What was learnt of a key.
#[inline(always)]
fn known(key: &LearntKey) -> Option<&'static mut Learnt> {
    // SAFETY: the map has such keys and values.
    unsafe { lookup::<_, Learnt>((&raw const LEARNT).cast_mut().cast(), key).as_mut() }
}

/// [`Topics::learn`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn topics_learn(
    key: *const LearntKey,
    name: *const Text,
    buffers: *mut Buffers,
    length: u32,
) -> u32 {
    // SAFETY: null, or within entries of maps that nothing else uses while the direction is locked.
    let (key, name, buffers) = unsafe { (key.as_ref(), name.as_ref(), buffers.as_mut()) };
    let (Some(key), Some(name), Some(buffers)) = (key, name, buffers) else { return 0 };
    let Some(key) = learnt_key(key, buffers) else { return 0 };
    if let Some(known) = known(key) {
        let mut differs = known.length ^ u64::from(length);
        let mut at = 0;
        while at < 8 {
            differs |= known.name.word_at(at) ^ name.word_at(at);
            at += 1;
        }
        if differs != 0 {
            known.length = 0;
        }
        return 0;
    }
    let Some(new) = NEW_LEARNT.get_ptr_mut(buffers.room()) else { return 0 };
    let words = new.cast::<u64>();
    let mut at = 0;
    while at < 8 {
        // SAFETY: this processor's entry for this program, which begins with the name's eight words.
        unsafe { words.add(at).write_volatile(name.word_at(at)) };
        at += 1;
    }
    // SAFETY: as above; and the map has such keys and values.
    unsafe {
        (*new).length = u64::from(length);
        let map = (&raw const LEARNT).cast_mut().cast();
        bpf_map_update_elem(map, core::ptr::from_ref(key).cast_mut().cast(), new.cast(), ANY);
    }
    0
}

/// [`Topics::learnt`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn topics_learnt(
    connection: *mut Connection,
    buffers: *mut Buffers,
    key: *const LearntKey,
) -> u32 {
    // SAFETY: null, or within entries of maps that nothing else uses while the direction is locked.
    let (connection, buffers, key) = unsafe { (connection.as_mut(), buffers.as_mut(), key.as_ref()) };
    let (Some(connection), Some(buffers), Some(key)) = (connection, buffers, key) else { return NONE };
    let system = if hide_field(&key.process) == 0 { System::KafkaTopic } else { System::Group };
    let Some(key) = learnt_key(key, buffers) else { return NONE };
    let Some(known) = known(key) else { return NONE };
    let length = hide_field(&known.length) as u32;
    if length == 0 {
        return NONE;
    }
    queue_number(&raw const known.name, connection, buffers, pair(length, system as u32), 0)
}

/// [`Topics::follow`]: 1 if there are messages.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn topics_follow(
    connection: *mut Connection,
    buffers: *mut Buffers,
    told: *const Told,
) -> u32 {
    // SAFETY: null, or within entries of maps that nothing else uses while the direction is locked.
    let (connection, buffers, told) = unsafe { (connection.as_mut(), buffers.as_mut(), told.as_ref()) };
    let (Some(connection), Some(buffers), Some(told)) = (connection, buffers, told) else { return 0 };
    let wall_ns = buffers.wall_ns();
    let now = ticks(buffers.now_ns());
    let service = service_of(connection, buffers);
    let queue = hide_field(&told.queue);
    let (event, offset) = (hide_field(&told.event), hide_field(&told.offset));
    let (records, written_ms) = (hide_field(&told.records), hide_field(&told.written_ms));
    let age_ns = if written_ms == 0 || wall_ns == 0 {
        u64::MAX
    } else {
        wall_ns.saturating_sub(written_ms.wrapping_mul(1_000_000))
    };
    if queue <= OTHER_TOPIC {
        if event == Event::Delivered as u32
            && let Some(counts) = counts_of(service, OTHER_TOPIC)
        {
            count_taken(counts, records, age_ns);
        }
        return 0;
    }
    let key = PartitionKey { service, queue, partition: hide_field(&told.partition), reserved: 0 };
    // SAFETY: the map has such keys and values, and all that is in them may be written.
    let partition = unsafe {
        entry((&raw const PARTITIONS).cast_mut().cast(), &key, || NO_PARTITION.get_ptr(0))
            .map(|partition| &mut *partition)
    };
    let Some(partition) = partition else {
        losses::uncounted_messages(u64::from(records));
        return 0;
    };
    if event == Event::Fetching as u32 {
        return u32::from(partition.fetch(offset, now));
    }
    match event {
        event if event == Event::Known as u32 => partition.know(offset, now),
        event if event == Event::Watermark as u32 => partition.watermark(offset, false, now),
        event if event == Event::Writing as u32 => {
            partition.write(hide_field(&told.last).wrapping_sub(offset).wrapping_add(1))
        }
        event if event == Event::Written as u32 => partition.written(offset, now),
        _ => {}
    }
    if event != Event::Delivered as u32 && event != Event::Committed as u32 {
        return 0;
    }
    let Some(counts) = counts_of(service, queue) else {
        losses::uncounted_messages(u64::from(records));
        return 0;
    };
    if event == Event::Delivered as u32 {
        let count = partition.deliver(offset, hide_field(&told.last), records, written_ms, now);
        count_taken(counts, count, age_ns);
        return 0;
    }
    partition.commit(offset, now);
    let wall_ms = (wall_ns / 1_000_000) as u32;
    repeat(COMMIT_STEPS, || {
        let one = partition.acknowledge(offset);
        // A clock that is behind makes none old.
        let waited_ms = wall_ms.wrapping_sub(one.written_ms).cast_signed().max(0).cast_unsigned();
        let age_ns = if one.is_known && wall_ns != 0 { u64::from(waited_ms) * 1_000_000 } else { u64::MAX };
        count_acknowledged(counts, one.messages, age_ns);
        one.goes_on
    });
    0
}

impl Topics for Buffers {
    #[inline(always)]
    fn topic(&mut self, connection: &mut Connection, name: &Text, length: u32) -> u32 {
        queue_number(name, connection, self, pair(length, System::KafkaTopic as u32), 0)
    }

    #[inline(always)]
    fn topic_group(&mut self, connection: &mut Connection, topic: u32, group: u32) -> u32 {
        queue_pair(connection, self, System::TopicGroup as u32, topic, group)
    }

    #[inline(always)]
    fn learn(&mut self, key: &LearntKey, name: &Text, length: u32) {
        topics_learn(key, name, self, length);
    }

    #[inline(always)]
    fn learnt(&mut self, connection: &mut Connection, key: &LearntKey) -> u32 {
        topics_learnt(connection, self, key)
    }

    #[inline(always)]
    fn follow(&mut self, connection: &mut Connection, told: &Told) -> bool {
        topics_follow(connection, self, told) != 0
    }
}
