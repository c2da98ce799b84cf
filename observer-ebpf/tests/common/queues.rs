//! What the kernel half keeps in maps of queues.

use std::collections::BTreeMap;

use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::{FIRST, OTHER};
use observer_ebpf::queues::deque::{Deque, ticks};
use observer_ebpf::queues::layout::ANY_DB;
use observer_ebpf::queues::{End, Queues as _};
use observer_ebpf::stream::bytes::Host as _;
use observer_ebpf::stream::prefix::Text;

use super::source::Buffers;

/// What was counted of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) put: u64,
    pub(crate) taken: u64,
    pub(crate) unknown: u64,
    /// Ages of messages taken out, in ticks.
    pub(crate) ages: Vec<u32>,
}

/// Queues by number, from `FIRST` on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    numbers: BTreeMap<(Vec<u8>, u32), u32>,
    deques: Vec<Deque>,
    counts: BTreeMap<u32, Counted>,
}

impl PartialEq for Queues {
    fn eq(&self, other: &Self) -> bool {
        let lengths = |of: &Self| of.deques.iter().map(Deque::length).collect::<Vec<_>>();
        self.numbers == other.numbers && self.counts == other.counts && lengths(self) == lengths(other)
    }
}

impl Eq for Queues {}

impl Queues {
    fn number(&mut self, key: &[u8], db: u32) -> u32 {
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

    fn put(&mut self, queue: u32, end: End, count: u32) -> Option<u32> {
        let now = ticks(self.now_ns());
        let deque = self.queues.deque(queue)?;
        deque.settle([0; 2], now);
        Some(deque.put::<Self>(end, count, now))
    }

    fn refuse(&mut self, queue: u32, end: End, count: u32) {
        if let Some(deque) = self.queues.deque(queue) {
            deque.refuse(end, count);
        }
    }

    fn count_put(&mut self, _connection: &mut Connection, queue: u32, count: u32) {
        self.queues.counts.entry(queue).or_default().put += u64::from(count);
    }

    fn compare(&mut self, queue: u32, expected: u32, length: u32) {
        let now = ticks(self.now_ns());
        if let Some(deque) = self.queues.deque(queue) {
            deque.settle([0; 2], now);
            deque.compare(expected, length, now);
        }
    }

    fn take(&mut self, _connection: &mut Connection, queue: u32, end: End, count: u32) {
        let now = ticks(self.now_ns());
        let mut ages = Vec::new();
        if let Some(deque) = self.queues.deque(queue) {
            deque.settle([0; 2], now);
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
