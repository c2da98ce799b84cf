//! Sessions of any messages: who talks of what, in every version of every message, each written by the
//! `kafka-protocol` crate, with what they must count.

mod batches;
mod commit;
mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use kafka_protocol::protocol::Request;
use observer_ebpf::protocols::kafka::layout::Api;
use uuid::Uuid;

use super::{Model, Noise, request, response, text};

/// The API keys of which messages are looked into, and the versions that both know.
pub(crate) const VERSIONS: [(u8, RangeInclusive<i16>); 11] = [
    (0, 3..=13),
    (1, 4..=18),
    (3, 0..=13),
    (8, 2..=10),
    (9, 1..=10),
    (11, 0..=9),
    (12, 0..=4),
    (13, 0..=5),
    (14, 0..=5),
    (28, 0..=5),
    (68, 0..=1),
];

/// Who talks of what.
pub(crate) struct Talk {
    noise: Noise,
    pub(crate) topics: Vec<(String, Uuid)>,
    /// Whether the topics' ids were told.
    has_ids: bool,
    pub(crate) group: String,
    /// Whether the group's name was told.
    has_group: bool,
    client: Option<String>,
    correlation: i32,
    /// Offsets of the last batch that was sent to each partition.
    writing: BTreeMap<(String, i32), i64>,
    pub(crate) model: Model,
}

/// What is asked, and what is answered.
pub(crate) type Exchange = (Vec<u8>, Vec<u8>);

impl Talk {
    pub(crate) fn new(seed: u64) -> Self {
        let mut noise = Noise(seed);
        let mut topics: Vec<(String, Uuid)> = Vec::new();
        for number in 0..=noise.below(4) {
            let id = Uuid::from_u64_pair(noise.next() + 1, noise.next());
            topics.push((format!("{number}{}", noise.name().chars().skip(1).collect::<String>()), id));
        }
        let (group, client) = (noise.name(), if noise.is() { None } else { Some(noise.name()) });
        let correlation = noise.number();
        Self {
            noise,
            topics,
            has_ids: false,
            group,
            has_group: false,
            client,
            correlation,
            writing: BTreeMap::new(),
            model: Model::default(),
        }
    }

    fn name(&self, topic: usize) -> TopicName {
        text(&self.topics[topic].0).into()
    }

    fn id(&self, topic: usize) -> Uuid {
        self.topics[topic].1
    }

    /// The queue that a topic is, where it is named or given by its id; or the group's of that topic.
    fn queue(&self, topic: usize, by_id: bool, of_group: bool) -> Option<String> {
        let name = &self.topics[topic].0;
        if name.len() > 64 || by_id && !self.has_ids {
            return None;
        }
        if !of_group {
            return Some(format!("topic {name}"));
        }
        (self.group.len() <= 64).then(|| format!("topic {name} group {}", self.group))
    }

    /// The same of a topic that is fetched from.
    fn fetched_queue(&self, topic: usize, by_id: bool) -> Option<String> {
        // A name that is too long is not kept.
        self.queue(topic, by_id, self.has_group && self.group.len() <= 64)
    }

    fn group(&mut self) -> GroupId {
        self.has_group = true;
        text(&self.group).into()
    }

    /// Some of the topics, some twice, with what is asked or told of each.
    fn some_topics(&mut self) -> Vec<usize> {
        let count = self.topics.len() as u64;
        self.noise.some(3, |noise| noise.below(count) as usize)
    }

    fn some_partitions(&mut self) -> Vec<i32> {
        self.noise.some(3, |noise| noise.below(5) as i32)
    }

    fn tags(&mut self, is_flexible: bool) -> BTreeMap<i32, Bytes> {
        if is_flexible { self.noise.tags() } else { BTreeMap::new() }
    }

    fn ask<T: Request>(&mut self, version: i16, body: &T) -> Vec<u8> {
        self.correlation = self.correlation.wrapping_add(1 + self.noise.below(3) as i32);
        let name = Api::NAMES[usize::from(Api::index(T::KEY.to_be_bytes()[1]))];
        *self.model.requests.entry(name.to_owned()).or_default() += 1;
        request(version, self.correlation, self.client.as_deref(), body)
    }

    pub(crate) fn exchange(&mut self, key: u8, version: i16) -> Exchange {
        match key {
            0 => self.produce(version),
            1 => self.fetch(version),
            3 => self.metadata(version),
            8 => self.commit(version),
            9 => self.offsets(version),
            11 => self.join(version),
            12 => self.heartbeat(version),
            13 => self.leave(version),
            14 => self.sync(version),
            28 => self.commit_in_transaction(version),
            _ => {
                let body = ConsumerGroupHeartbeatRequest::default().with_group_id(self.group());
                let body = body.with_member_id(self.noise.text());
                let answer = ConsumerGroupHeartbeatResponse::default();
                (self.ask(version, &body), response(version, self.correlation, &answer))
            }
        }
    }
}
