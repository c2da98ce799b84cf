//! What is produced, and what brokers say to it.

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse, TopicName};
use uuid::Uuid;

use super::super::response;
use super::{Exchange, Talk};

impl Talk {
    pub(super) fn produce(&mut self, version: i16) -> Exchange {
        let (by_id, is_flexible) = (version >= 13, version >= 9);
        let (mut asked, mut answered, mut written) = (Vec::new(), Vec::new(), Vec::new());
        for topic in self.some_topics() {
            let queue = self.queue(topic, by_id, false);
            let (mut data, mut told) = (Vec::new(), Vec::new());
            for partition in self.some_partitions() {
                let batches = self.batches(0);
                if let Some(queue) = &queue {
                    *self.model.put.entry(queue.clone()).or_default() +=
                        batches.iter().map(|batch| batch.count).sum::<u64>();
                    if let Some(batch) = batches.last() {
                        let offsets = batch.last - batch.first + 1;
                        self.writing.insert((queue.clone(), partition), offsets);
                        self.model.partition(queue, partition);
                    }
                }
                let records = self.records(&batches);
                data.push(
                    PartitionProduceData::default()
                        .with_index(partition)
                        .with_records(records)
                        .with_unknown_tagged_fields(self.tags(is_flexible)),
                );
                let (code, offset) = (self.noise.code(), self.noise.offset());
                self.model.error(code);
                if let Some(queue) = &queue
                    && code == 0
                    && offset >= 0
                {
                    written.push((queue.clone(), partition, offset));
                }
                let mut one = PartitionProduceResponse::default()
                    .with_index(partition)
                    .with_error_code(code)
                    .with_base_offset(offset)
                    .with_log_append_time_ms(self.noise.long())
                    .with_unknown_tagged_fields(self.tags(is_flexible));
                if version >= 5 {
                    one = one.with_log_start_offset(self.noise.long());
                }
                if version >= 8 {
                    let errors = self.noise.some(3, |noise| {
                        let message = noise.text_or_none();
                        BatchIndexAndErrorMessage::default()
                            .with_batch_index(noise.number())
                            .with_batch_index_error_message(message)
                    });
                    one = one.with_record_errors(errors).with_error_message(self.noise.text_or_none());
                }
                if version >= 10 && self.noise.is() {
                    one.current_leader.leader_id = BrokerId(self.noise.number());
                }
                told.push(one);
            }
            let (name, id) =
                if by_id { (TopicName::default(), self.id(topic)) } else { (self.name(topic), Uuid::nil()) };
            asked.push(
                TopicProduceData::default()
                    .with_name(name.clone())
                    .with_topic_id(id)
                    .with_partition_data(data)
                    .with_unknown_tagged_fields(self.tags(is_flexible)),
            );
            answered.push(
                TopicProduceResponse::default()
                    .with_name(name)
                    .with_topic_id(id)
                    .with_partition_responses(told)
                    .with_unknown_tagged_fields(self.tags(is_flexible)),
            );
        }
        for (queue, partition, offset) in written {
            let offsets = self.writing.get(&(queue.clone(), partition)).copied().unwrap_or(1);
            let known = self.model.partition(&queue, partition);
            known.high = known.high.max(Some(offset + offsets));
        }
        let body = ProduceRequest::default()
            .with_transactional_id(self.noise.text_or_none().map(Into::into))
            .with_acks([1, -1][self.noise.below(2) as usize])
            .with_timeout_ms(self.noise.number())
            .with_topic_data(asked)
            .with_unknown_tagged_fields(self.tags(is_flexible));
        let mut answer = ProduceResponse::default()
            .with_responses(answered)
            .with_throttle_time_ms(self.noise.number())
            .with_unknown_tagged_fields(self.tags(is_flexible));
        if version >= 10 {
            answer.node_endpoints =
                self.noise.some(2, |noise| NodeEndpoint::default().with_host(noise.text()));
        }
        self.model.produces += 1;
        (self.ask(version, &body), response(version, self.correlation, &answer))
    }
}
