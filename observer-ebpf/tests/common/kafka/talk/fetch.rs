//! What is fetched, and what is delivered.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use uuid::Uuid;

use super::super::{NOW_MS, response};
use super::batches::Batch;
use super::{Exchange, Talk};

impl Talk {
    pub(super) fn fetch(&mut self, version: i16) -> Exchange {
        let (by_id, is_flexible) = (version >= 13, version >= 12);
        let mut has_messages = false;
        let mut asked = Vec::new();
        for topic in self.some_topics() {
            let queue = self.fetched_queue(topic, by_id);
            let mut partitions = Vec::new();
            for partition in self.some_partitions() {
                let offset = self.noise.offset();
                if let Some(queue) = &queue
                    && offset >= 0
                {
                    let known = self.model.partition(queue, partition);
                    known.position = Some(offset);
                    has_messages |= known.high.is_some_and(|high| offset < high);
                }
                let mut one = FetchPartition::default()
                    .with_partition(partition)
                    .with_fetch_offset(offset)
                    .with_log_start_offset(self.noise.long())
                    .with_partition_max_bytes(self.noise.number())
                    .with_unknown_tagged_fields(self.tags(is_flexible));
                if version >= 9 {
                    one.current_leader_epoch = self.noise.number();
                }
                if version >= 12 {
                    one.last_fetched_epoch = self.noise.number();
                }
                if version >= 17 && self.noise.is() {
                    one.replica_directory_id = Uuid::from_u128(9);
                }
                partitions.push(one);
            }
            let one = FetchTopic::default().with_partitions(partitions);
            let one = one.with_unknown_tagged_fields(self.tags(is_flexible));
            asked.push(if by_id {
                one.with_topic_id(self.id(topic))
            } else {
                one.with_topic(self.name(topic))
            });
        }
        let mut body = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(self.noise.number())
            .with_max_bytes(self.noise.number())
            .with_isolation_level(self.noise.below(2) as i8)
            .with_topics(asked)
            .with_unknown_tagged_fields(self.tags(is_flexible));
        if version >= 7 {
            (body.session_id, body.session_epoch) = (self.noise.number(), self.noise.number());
            let forgotten = ForgottenTopic::default().with_partitions(self.some_partitions());
            body.forgotten_topics_data = vec![forgotten];
        }
        if version >= 11 {
            body.rack_id = self.noise.text();
        }
        if version >= 12 && self.noise.is() {
            body.cluster_id = self.noise.text_or_none();
        }
        let asked = self.ask(version, &body);
        *(if has_messages { &mut self.model.fetches } else { &mut self.model.waits }) += 1;
        (asked, self.fetched(version))
    }

    fn fetched(&mut self, version: i16) -> Vec<u8> {
        let (by_id, is_flexible) = (version >= 13, version >= 12);
        let mut answer = FetchResponse::default().with_throttle_time_ms(self.noise.number());
        if version >= 7 {
            (answer.error_code, answer.session_id) = (self.noise.code(), self.noise.number());
            self.model.error(answer.error_code);
        }
        for topic in self.some_topics() {
            let queue = self.fetched_queue(topic, by_id);
            let mut partitions = Vec::new();
            for partition in self.some_partitions() {
                let (code, high) = (self.noise.code(), self.noise.offset());
                self.model.error(code);
                let first = self.noise.below(200).cast_signed();
                let batches = self.batches(first);
                if let Some(queue) = &queue {
                    self.deliver(queue, partition, high, &batches);
                }
                let mut one = PartitionData::default()
                    .with_partition_index(partition)
                    .with_error_code(code)
                    .with_high_watermark(high)
                    .with_last_stable_offset(self.noise.long())
                    .with_records(self.records(&batches))
                    .with_unknown_tagged_fields(self.tags(is_flexible));
                if version >= 5 {
                    one.log_start_offset = self.noise.long();
                }
                one.aborted_transactions = if self.noise.is() {
                    None
                } else {
                    Some(
                        self.noise
                            .some(3, |noise| AbortedTransaction::default().with_first_offset(noise.long())),
                    )
                };
                if version >= 11 {
                    one.preferred_read_replica = BrokerId(self.noise.number());
                }
                if version >= 12 && self.noise.is() {
                    one.current_leader.leader_id = BrokerId(self.noise.number());
                    one.diverging_epoch.end_offset = self.noise.long();
                    one.snapshot_id.end_offset = self.noise.long();
                }
                partitions.push(one);
            }
            let one = FetchableTopicResponse::default().with_partitions(partitions);
            let one = one.with_unknown_tagged_fields(self.tags(is_flexible));
            let named =
                if by_id { one.with_topic_id(self.id(topic)) } else { one.with_topic(self.name(topic)) };
            answer.responses.push(named);
        }
        let answer = answer.with_unknown_tagged_fields(self.tags(is_flexible));
        response(version, self.correlation, &answer)
    }

    fn deliver(&mut self, queue: &str, partition: i32, high: i64, batches: &[Batch]) {
        let known = self.model.partition(queue, partition);
        if high >= 0 {
            known.high = Some(high);
        }
        let mut taken = Vec::new();
        for batch in batches {
            let from = known.position.map_or(batch.first, |position| position.max(batch.first));
            if batch.last < from {
                continue;
            }
            known.position = Some(batch.last + 1);
            let count = batch.count.min((batch.last - from + 1).cast_unsigned());
            let age_ms = if batch.newest_ms < 0 { -1 } else { NOW_MS.cast_signed() - batch.newest_ms };
            taken.extend((0..count).map(|_| age_ms));
        }
        self.model.taken.entry(queue.to_owned()).or_default().extend(taken);
    }
}
