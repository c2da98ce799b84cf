//! Partitions of Kafka's topics: the kernel half's map of them, and how far consumers are behind by that.

use std::io;

use observer_ebpf::queues::deque::ticks;
use observer_ebpf::queues::layout::{OTHER_TOPIC, PLACES, Partition, PartitionKey, System};

use super::lag::{Entry, Lags, Marks};
use super::{Queue, Queues};
use crate::kernel::batch;
use crate::kernel::pod::pod;
use crate::names::services::Services;

pod! {
    /// [`PartitionKey`] as a map's key.
    Key(PartitionKey);
    /// [`Partition`] as a map's value.
    Value(Partition);
}

impl Queues {
    /// Reads the map, if there may be anything in it.
    pub(super) fn read_partitions(&mut self) -> io::Result<()> {
        let has_topic = self.known.values().any(|queue| queue.row.system == System::KafkaTopic)
            || self.counted.keys().any(|key| key.name == OTHER_TOPIC);
        if !has_topic && self.partitions.is_empty() {
            return Ok(());
        }
        self.partitions.clear();
        batch::tell(&self.maps.partitions, self.rooms[2], |&Key(key), Value(partition): &Value| {
            self.partitions.insert(key, Marks::of(partition));
        })
    }

    /// Removes partitions that belong to nobody, or to a queue that has given up its place or has none: topics without a
    /// name cannot be told apart.
    pub(super) fn take_out_stray_partitions(&mut self, services: &Services) -> io::Result<()> {
        let stray = |key: &PartitionKey| {
            services.place(key.service).is_none() || key.queue < PLACES || !self.places_has(key.queue)
        };
        let stray: Vec<PartitionKey> = self.partitions.keys().copied().filter(stray).collect();
        self.take_out_partitions(&stray)
    }

    /// Removes those that are as told.
    pub(super) fn take_out_partitions_where(
        &mut self,
        is_gone: impl Fn(&PartitionKey) -> bool,
    ) -> io::Result<()> {
        let gone: Vec<PartitionKey> = self.partitions.keys().copied().filter(is_gone).collect();
        self.take_out_partitions(&gone)
    }

    fn take_out_partitions(&mut self, keys: &[PartitionKey]) -> io::Result<()> {
        let pods: Vec<Key> = keys.iter().copied().map(Key).collect();
        let (removed, outcome) = batch::remove(&self.maps.partitions, &pods);
        for key in &keys[..removed] {
            self.partitions.remove(key);
        }
        outcome
    }

    /// Finds out how many messages wait for whom.
    pub(super) fn compare_offsets(&mut self, services: &Services, now_ns: u64) {
        let entries = self.partitions.iter().filter_map(|(key, &marks)| {
            let Queue { row, name, server, .. } = self.known.get(&key.queue)?;
            Some(Entry {
                place: services.place(key.service)?,
                queue: key.queue,
                row,
                topic: name,
                group: if row.group.is_empty() { 0 } else { server[1] as u32 },
                partition: key.partition,
                marks,
            })
        });
        self.lags = Lags::of(&entries.collect::<Vec<_>>(), ticks(now_ns));
    }
}
