//! Offsets that are committed, on their own and in transactions.

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::super::response;
use super::{Exchange, Talk};

impl Talk {
    pub(super) fn commit(&mut self, version: i16) -> Exchange {
        let is_flexible = version >= 8;
        // The crate does not write version 10 of the request: what is asked is of no topics then.
        let written = version.min(9);
        let mut body = OffsetCommitRequest::default()
            .with_group_id(self.group())
            .with_generation_id_or_member_epoch(self.noise.number())
            .with_member_id(self.noise.text())
            .with_unknown_tagged_fields(self.tags(is_flexible));
        if version >= 7 {
            body.group_instance_id = self.noise.text_or_none();
        }
        if version <= 4 {
            body.retention_time_ms = self.noise.long();
        }
        for topic in if version >= 10 { Vec::new() } else { self.some_topics() } {
            let queue = self.queue(topic, false, true);
            let mut partitions = Vec::new();
            for partition in self.some_partitions() {
                let offset = self.noise.offset();
                self.committed(queue.as_deref(), partition, offset);
                let mut one = OffsetCommitRequestPartition::default()
                    .with_partition_index(partition)
                    .with_committed_offset(offset)
                    .with_committed_metadata(self.noise.text_or_none())
                    .with_unknown_tagged_fields(self.tags(is_flexible));
                if version >= 6 {
                    one.committed_leader_epoch = self.noise.number();
                }
                partitions.push(one);
            }
            let one =
                OffsetCommitRequestTopic::default().with_name(self.name(topic)).with_partitions(partitions);
            body.topics.push(one.with_unknown_tagged_fields(self.tags(is_flexible)));
        }
        let mut answer = OffsetCommitResponse::default().with_unknown_tagged_fields(self.tags(is_flexible));
        if version >= 3 {
            answer.throttle_time_ms = self.noise.number();
        }
        for topic in self.some_topics() {
            let mut partitions = Vec::new();
            for partition in self.some_partitions() {
                let code = self.noise.code();
                self.model.error(code);
                let one = OffsetCommitResponsePartition::default().with_partition_index(partition);
                partitions.push(one.with_error_code(code).with_unknown_tagged_fields(self.tags(is_flexible)));
            }
            let one = OffsetCommitResponseTopic::default().with_partitions(partitions);
            let one = one.with_unknown_tagged_fields(self.tags(is_flexible));
            let one = if version >= 10 {
                one.with_topic_id(self.id(topic))
            } else {
                one.with_name(self.name(topic))
            };
            answer.topics.push(one);
        }
        let mut asked = self.ask(written, &body);
        asked[7] = version.to_be_bytes()[1];
        (asked, response(version, self.correlation, &answer))
    }

    pub(super) fn committed(&mut self, queue: Option<&str>, partition: i32, offset: i64) {
        if let Some(queue) = queue
            && offset >= 0
        {
            self.model.partition(queue, partition).committed = Some(offset);
        }
    }

    pub(super) fn commit_in_transaction(&mut self, version: i16) -> Exchange {
        let is_flexible = version >= 3;
        let mut body = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.noise.text().into())
            .with_group_id(self.group())
            .with_producer_id(self.noise.long().into())
            .with_producer_epoch(3)
            .with_unknown_tagged_fields(self.tags(is_flexible));
        if version >= 3 {
            (body.generation_id, body.member_id) = (self.noise.number(), self.noise.text());
            body.group_instance_id = self.noise.text_or_none();
        }
        for topic in self.some_topics() {
            let queue = self.queue(topic, false, true);
            let mut partitions = Vec::new();
            for partition in self.some_partitions() {
                let offset = self.noise.offset();
                self.committed(queue.as_deref(), partition, offset);
                let mut one = TxnOffsetCommitRequestPartition::default()
                    .with_partition_index(partition)
                    .with_committed_offset(offset)
                    .with_committed_metadata(self.noise.text_or_none())
                    .with_unknown_tagged_fields(self.tags(is_flexible));
                if version >= 2 {
                    one.committed_leader_epoch = self.noise.number();
                }
                partitions.push(one);
            }
            let one = TxnOffsetCommitRequestTopic::default()
                .with_name(self.name(topic))
                .with_partitions(partitions);
            body.topics.push(one.with_unknown_tagged_fields(self.tags(is_flexible)));
        }
        (self.ask(version, &body), response(version, self.correlation, &TxnOffsetCommitResponse::default()))
    }
}
