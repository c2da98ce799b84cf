//! Offsets that were committed before.

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use super::super::{response, text};
use super::{Exchange, Talk};

impl Talk {
    pub(super) fn offsets(&mut self, version: i16) -> Exchange {
        let is_flexible = version >= 6;
        let written = version.min(9);
        let mut body = OffsetFetchRequest::default().with_unknown_tagged_fields(self.tags(is_flexible));
        let topics = if version >= 2 && self.noise.is() {
            None
        } else {
            let one = OffsetFetchRequestTopic::default().with_partition_indexes(self.some_partitions());
            Some(vec![one.with_name(self.name(0))])
        };
        if version >= 8 {
            let group = OffsetFetchRequestGroup::default().with_group_id(self.group()).with_topics(None);
            body.groups = vec![group.with_unknown_tagged_fields(self.tags(true))];
            if version >= 9 {
                (body.groups[0].member_id, body.groups[0].member_epoch) = (self.noise.text_or_none(), 7);
            }
        } else {
            (body.group_id, body.topics) = (self.group(), topics);
        }
        if version >= 7 {
            body.require_stable = self.noise.is();
        }
        let mut asked = self.ask(written, &body);
        asked[7] = version.to_be_bytes()[1];

        let mut answer = OffsetFetchResponse::default().with_unknown_tagged_fields(self.tags(is_flexible));
        if version >= 3 {
            answer.throttle_time_ms = self.noise.number();
        }
        let (mut topics, mut grouped) = (Vec::new(), Vec::new());
        for topic in self.some_topics() {
            let queue = self.queue(topic, version >= 10, true);
            let (mut partitions, mut of_group) = (Vec::new(), Vec::new());
            for partition in self.some_partitions() {
                let (offset, code) = (self.noise.offset(), self.noise.code());
                let (metadata, tags) = (self.noise.text_or_none(), self.tags(is_flexible));
                self.model.error(code);
                self.committed(queue.as_deref(), partition, offset);
                let mut one = OffsetFetchResponsePartition::default().with_partition_index(partition);
                (one.committed_offset, one.error_code) = (offset, code);
                (one.metadata, one.unknown_tagged_fields) = (metadata.clone(), tags.clone());
                let mut other = OffsetFetchResponsePartitions::default().with_partition_index(partition);
                (other.committed_offset, other.error_code) = (offset, code);
                (other.metadata, other.unknown_tagged_fields) = (metadata, tags);
                if version >= 5 {
                    one.committed_leader_epoch = 9;
                    other.committed_leader_epoch = 9;
                }
                partitions.push(one);
                of_group.push(other);
            }
            let tags = self.tags(is_flexible);
            let one =
                OffsetFetchResponseTopic::default().with_name(self.name(topic)).with_partitions(partitions);
            topics.push(one.with_unknown_tagged_fields(tags.clone()));
            let other = OffsetFetchResponseTopics::default().with_partitions(of_group);
            let other = other.with_unknown_tagged_fields(tags);
            grouped.push(if version >= 10 {
                other.with_topic_id(self.id(topic))
            } else {
                other.with_name(self.name(topic))
            });
        }
        let code = if version >= 2 { self.noise.code() } else { 0 };
        self.model.error(code);
        if version >= 8 {
            let group = OffsetFetchResponseGroup::default().with_group_id(text(&self.group).into());
            let group = group.with_topics(grouped).with_error_code(code);
            answer.groups = vec![group.with_unknown_tagged_fields(self.tags(true))];
        } else {
            (answer.topics, answer.error_code) = (topics, code);
        }
        (asked, response(version, self.correlation, &answer))
    }
}
