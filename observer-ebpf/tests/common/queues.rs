//! What the kernel half keeps in maps of queues.

use std::collections::BTreeMap;

use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::OTHER;
use observer_ebpf::queues::deque::{Asked, Deque, Expected, ticks};
use observer_ebpf::queues::layout::{ANY_DB, OTHER_STREAM, PLACES as FIRST};
use observer_ebpf::queues::partition::Partition;
use observer_ebpf::queues::{End, Followed, Queues as _};
use observer_ebpf::stream::bytes::Host as _;
use observer_ebpf::stream::prefix::Text;

use super::source::Buffers;
use super::topics::Topics;

/// What was counted of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) put: u64,
    pub(crate) taken: u64,
    pub(crate) unknown: u64,
    /// Ages of messages taken out, in ticks.
    pub(crate) ages: Vec<u32>,
    /// Ages in nanoseconds of entries of a stream that were delivered.
    pub(crate) ages_ns: Vec<u64>,
    /// How many were acknowledged, and how old they were then, as far as known.
    pub(crate) acknowledged: u64,
    pub(crate) latencies_ns: Vec<u64>,
}

/// How many ages are listed for one batch, as noise may tell of any number of messages.
const MOST_LISTED: usize = 1_000;

/// Queues by number, from `FIRST` on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    numbers: BTreeMap<(Vec<u8>, u32), u32>,
    deques: Vec<Deque>,
    counts: BTreeMap<u32, Counted>,
    /// What is known of topics of Kafka.
    pub(crate) topics: Topics,
}

impl PartialEq for Queues {
    fn eq(&self, other: &Self) -> bool {
        let lengths = |of: &Self| of.deques.iter().map(Deque::length).collect::<Vec<_>>();
        self.numbers == other.numbers
            && self.counts == other.counts
            && self.topics == other.topics
            && lengths(self) == lengths(other)
    }
}

impl Eq for Queues {}

impl Queues {
    pub(super) fn number(&mut self, key: &[u8], db: u32) -> u32 {
        if let Some(&number) = self.numbers.get(&(key.to_vec(), db)) {
            return number;
        }
        let any = self.numbers.get(&(key.to_vec(), ANY_DB)).copied();
        if let Some(number) = any
            && let Some(deque) = self.deque(number)
            && deque.db == 0
        {
            deque.db = db.wrapping_add(1);
            self.numbers.insert((key.to_vec(), db), number);
            return number;
        }
        let number = FIRST + u32::try_from(self.deques.len()).expect("few queues");
        let mut deque = Deque::NONE;
        deque.start(number, 1, db.wrapping_add(1), 0);
        self.deques.push(deque);
        self.numbers.insert((key.to_vec(), db), number);
        if any.is_none() {
            self.numbers.insert((key.to_vec(), ANY_DB), number);
        }
        number
    }

    fn deque(&mut self, number: u32) -> Option<&mut Deque> {
        self.deques.get_mut(number.checked_sub(FIRST)? as usize)
    }

    /// The length of a list, and what was counted of it.
    pub(crate) fn of(&self, key: &str, db: u32) -> (u64, Counted) {
        let number = self.numbers.get(&(key.as_bytes().to_vec(), db)).copied().unwrap_or(OTHER);
        let length = number.checked_sub(FIRST).map_or(0, |place| self.deques[place as usize].length());
        (length, self.counts.get(&number).cloned().unwrap_or_default())
    }

    /// How many entries of a stream a consumer group has not been delivered, and how old the first of them is in ticks.
    pub(crate) fn lag(&self, stream: &str, group: &str, now: u32) -> Option<(u64, u32)> {
        let of = |key: String| {
            let number = self.numbers.get(&(key.into_bytes(), 0))?;
            self.deques.get((number - FIRST) as usize)
        };
        of(format!("stream {stream} group {group}"))?.lag(of(format!("stream {stream}"))?, now)
    }

    /// The partitions of a queue, by their numbers.
    pub(crate) fn partitions_of(&self, key: &str) -> BTreeMap<u32, Partition> {
        let number = self.numbers.get(&(key.as_bytes().to_vec(), 0)).copied().unwrap_or(OTHER);
        let partitions = self.topics.partitions.iter().filter(|((queue, _), _)| *queue == number);
        partitions.map(|(&(_, partition), &state)| (partition, state)).collect()
    }

    /// Counts messages that were delivered, at the same age each.
    pub(super) fn count_taken(&mut self, number: u32, count: u32, age_ns: Option<u64>) {
        let counts = self.counts.entry(number).or_default();
        counts.taken += u64::from(count);
        match age_ns {
            Some(age_ns) => {
                counts.ages_ns.extend(std::iter::repeat_n(age_ns, (count as usize).min(MOST_LISTED)));
            }
            None => counts.unknown += u64::from(count),
        }
    }

    /// The same of messages that were acknowledged.
    pub(super) fn count_acknowledged(&mut self, number: u32, count: u64, age_ns: Option<u64>) {
        let counts = self.counts.entry(number).or_default();
        counts.acknowledged = counts.acknowledged.wrapping_add(count);
        let listed = usize::try_from(count).map_or(MOST_LISTED, |count| count.min(MOST_LISTED));
        counts.latencies_ns.extend(std::iter::repeat_n(age_ns, listed).flatten());
    }

    /// What was counted of streams that have no name of their own.
    pub(crate) fn other_streams(&self) -> Counted {
        self.counts.get(&OTHER_STREAM).cloned().unwrap_or_default()
    }

    /// What was counted of lists that have no place.
    pub(crate) fn other(&self) -> Counted {
        self.counts.get(&OTHER).cloned().unwrap_or_default()
    }
}

impl observer_ebpf::queues::Queues for Buffers<'_> {
    fn queue(&mut self, _connection: &mut Connection, key: &Text, length: u32, db: u32, _takes: bool) -> u32 {
        let bytes = key.to_bytes();
        let (key, behind) = bytes.split_at(length as usize);
        assert!(behind.iter().all(|&byte| byte == 0), "zeroes are behind the key");
        self.queues.number(key, db)
    }

    fn queues_epoch(&self) -> u32 {
        0
    }

    fn stream(&mut self, _connection: &mut Connection, key: &Text, length: u32, db: u32) -> u32 {
        let bytes = key.to_bytes();
        self.queues.number(&[b"stream ", &bytes[..length as usize]].concat(), db)
    }

    fn group(&mut self, _connection: &mut Connection, name: &Text, length: u32) -> u32 {
        let bytes = name.to_bytes();
        self.queues.number(&[b"group ", &bytes[..length as usize]].concat(), 0)
    }

    fn stream_group(&mut self, _connection: &mut Connection, stream: u32, group: u32) -> u32 {
        let name = |number| {
            let (key, _) = self.queues.numbers.iter().find(|&(_, &of)| of == number).expect("it has a name");
            key.0.clone()
        };
        let both = [name(stream), b" ".to_vec(), name(group)].concat();
        self.queues.number(&both, 0)
    }

    fn follow_stream(&mut self, queue: u32, what: Followed, count: u32, asked: Asked) -> u32 {
        let now = ticks(self.now_ns());
        let mut tail = 0;
        if what as u32 >= Followed::Asked as u32 {
            let group = self.queues.deque(queue).expect("it is a group's");
            let stream = if what == Followed::Asked { count } else { group.stream };
            tail = self.queues.deque(stream).expect("it has a stream").tail;
        }
        let deque = self.queues.deque(queue).expect("it has a place");
        deque.follow(what as u32, count, asked, tail, now);
        tail as u32
    }

    fn deliver(&mut self, _connection: &mut Connection, queue: u32, age_ns: Option<u64>) {
        let counts = self.queues.counts.entry(queue).or_default();
        counts.taken += 1;
        match age_ns {
            Some(age_ns) => counts.ages_ns.push(age_ns),
            None => counts.unknown += 1,
        }
    }

    fn acknowledge(&mut self, _connection: &mut Connection, queue: u32, count: u32, age_ns: Option<u64>) {
        let counts = self.queues.counts.entry(queue).or_default();
        counts.acknowledged += u64::from(count);
        counts.latencies_ns.extend(std::iter::repeat_n(age_ns, count as usize).flatten());
    }

    fn put(&mut self, queue: u32, end: End, count: u32) -> Option<Expected> {
        let now = ticks(self.now_ns());
        let deque = self.queues.deque(queue)?;
        deque.settle(now);
        Some(deque.put::<Self>(end, count, now))
    }

    fn refuse(&mut self, queue: u32, end: End, count: u32) {
        if let Some(deque) = self.queues.deque(queue) {
            deque.refuse(end, count);
        }
    }

    fn remove(&mut self, queue: u32, count: u32) {
        let now = ticks(self.now_ns());
        if let Some(deque) = self.queues.deque(queue) {
            deque.remove(count, now);
        }
    }

    fn count_put(&mut self, _connection: &mut Connection, queue: u32, count: u32) {
        self.queues.counts.entry(queue).or_default().put += u64::from(count);
    }

    fn compare(&mut self, queue: u32, expected: Expected, length: u32) {
        let now = ticks(self.now_ns());
        if let Some(deque) = self.queues.deque(queue) {
            deque.settle(now);
            deque.compare(expected, length, now);
        }
    }

    fn take(&mut self, _connection: &mut Connection, queue: u32, end: End, count: u32) {
        let now = ticks(self.now_ns());
        let mut ages = Vec::new();
        if let Some(deque) = self.queues.deque(queue) {
            deque.settle(now);
            ages.extend((0..count).map(|_| deque.take(end, now)));
        } else {
            ages.extend((0..count).map(|_| None));
        }
        let counts = self.queues.counts.entry(queue).or_default();
        counts.taken += u64::from(count);
        counts.unknown += ages.iter().filter(|age| age.is_none()).count() as u64;
        counts.ages.extend(ages.into_iter().flatten());
    }
}
