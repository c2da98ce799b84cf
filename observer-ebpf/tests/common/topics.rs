//! What the kernel half keeps in maps of topics of Kafka.

use std::collections::BTreeMap;

use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::names::NONE;
use observer_ebpf::queues::deque::ticks;
use observer_ebpf::queues::layout::OTHER_TOPIC;
use observer_ebpf::queues::partition::{COMMIT_STEPS, Partition};
use observer_ebpf::queues::topics::{Event, LearntKey, Told};
use observer_ebpf::queues::{Queues as _, topics};
use observer_ebpf::stream::bytes::Host as _;
use observer_ebpf::stream::prefix::Text;

use super::source::Buffers;

/// Partitions, and names that were learnt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topics {
    /// By the number of the queue, and their own.
    pub(crate) partitions: BTreeMap<(u32, u32), Partition>,
    /// None where there were several.
    learnt: BTreeMap<[u64; 5], Option<Vec<u8>>>,
}

fn words(key: &LearntKey) -> [u64; 5] {
    [key.id[0], key.id[1], key.address[0], key.address[1], key.process]
}

impl topics::Topics for Buffers<'_> {
    fn topic(&mut self, _connection: &mut Connection, name: &Text, length: u32) -> u32 {
        let bytes = name.to_bytes();
        let (name, behind) = bytes.split_at(length as usize);
        assert!(behind.iter().all(|&byte| byte == 0), "zeroes are behind the name");
        self.queues.number(&[b"topic ", name].concat(), 0)
    }

    fn topic_group(&mut self, connection: &mut Connection, topic: u32, group: u32) -> u32 {
        self.stream_group(connection, topic, group)
    }

    fn learn(&mut self, key: &LearntKey, name: &Text, length: u32) {
        let name = name.to_bytes()[..length as usize].to_vec();
        let known = self.queues.topics.learnt.entry(words(key)).or_insert_with(|| Some(name.clone()));
        if *known != Some(name) {
            *known = None;
        }
    }

    fn learnt(&mut self, _connection: &mut Connection, key: &LearntKey) -> u32 {
        let known = self.queues.topics.learnt.get(&words(key)).cloned().flatten();
        let kind: &[u8] = if key.process == 0 { b"topic " } else { b"group " };
        known.map_or(NONE, |name| self.queues.number(&[kind, &name].concat(), 0))
    }

    fn follow(&mut self, _connection: &mut Connection, told: &Told) -> bool {
        let now = ticks(self.now_ns());
        let wall_ns = self.wall_ns();
        let is_known = told.written_ms != 0 && wall_ns != 0;
        let age_ns = is_known.then(|| wall_ns.saturating_sub(told.written_ms.wrapping_mul(1_000_000)));
        if told.queue <= OTHER_TOPIC {
            if told.event == Event::Delivered as u32 {
                self.queues.count_taken(OTHER_TOPIC, told.records, age_ns);
            }
            return false;
        }
        let place = (told.queue, told.partition);
        let partition = self.queues.topics.partitions.entry(place).or_insert(Partition::NONE);
        match told.event {
            event if event == Event::Fetching as u32 => return partition.fetch(told.offset, now),
            event if event == Event::Watermark as u32 => partition.watermark(told.offset, false, now),
            event if event == Event::Writing as u32 => {
                partition.write(told.last.wrapping_sub(told.offset).wrapping_add(1));
            }
            event if event == Event::Written as u32 => partition.written(told.offset, now),
            event if event == Event::Known as u32 => partition.know(told.offset, now),
            event if event == Event::Delivered as u32 => {
                let count = partition.deliver(told.offset, told.last, told.records, told.written_ms, now);
                self.queues.count_taken(told.queue, count, age_ns);
            }
            _ => {
                partition.commit(told.offset, now);
                for _ in 0..COMMIT_STEPS {
                    let partition = self.queues.topics.partitions.get_mut(&place).expect("it is there");
                    let one = partition.acknowledge(told.offset);
                    let waited_ms = ((wall_ns / 1_000_000) as u32).wrapping_sub(one.written_ms);
                    let waited_ms = waited_ms.cast_signed().max(0).cast_unsigned();
                    let is_known = one.is_known && wall_ns != 0;
                    let age_ns = is_known.then(|| u64::from(waited_ms) * 1_000_000);
                    self.queues.count_acknowledged(told.queue, one.messages, age_ns);
                    if !one.goes_on {
                        break;
                    }
                }
            }
        }
        false
    }
}
