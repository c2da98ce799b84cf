//! What a client asks of one partition, and what it is answered.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, HeartbeatRequest, HeartbeatResponse, ProduceRequest, ProduceResponse,
};

use super::{CLIENT, request, response, text};

/// A request to produce these batches to a partition.
pub(crate) fn produce(
    version: i16,
    correlation: i32,
    acks: i16,
    topic: &str,
    partition: i32,
    records: Vec<u8>,
) -> Vec<u8> {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::from(records)));
    let topic = TopicProduceData::default().with_name(text(topic).into()).with_partition_data(vec![data]);
    let body = ProduceRequest::default().with_acks(acks).with_timeout_ms(1_000).with_topic_data(vec![topic]);
    request(version, correlation, Some(CLIENT), &body)
}

pub(crate) fn produced(
    version: i16,
    correlation: i32,
    topic: &str,
    partition: i32,
    offset: i64,
    code: i16,
) -> Vec<u8> {
    let data = PartitionProduceResponse::default()
        .with_index(partition)
        .with_base_offset(offset)
        .with_error_code(code);
    let topic =
        TopicProduceResponse::default().with_name(text(topic).into()).with_partition_responses(vec![data]);
    response(version, correlation, &ProduceResponse::default().with_responses(vec![topic]))
}

/// A request to fetch from a partition.
pub(crate) fn fetch(version: i16, correlation: i32, topic: &str, partition: i32, offset: i64) -> Vec<u8> {
    request(version, correlation, Some(CLIENT), &fetching(topic, partition, offset))
}

pub(crate) fn fetching(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let data = FetchPartition::default().with_partition(partition).with_fetch_offset(offset);
    let topic = FetchTopic::default().with_topic(text(topic).into()).with_partitions(vec![data]);
    FetchRequest::default().with_replica_id((-1).into()).with_max_wait_ms(500).with_topics(vec![topic])
}

/// A response with these batches of a partition.
pub(crate) fn fetched(
    version: i16,
    correlation: i32,
    topic: &str,
    partition: i32,
    high: i64,
    records: Vec<u8>,
) -> Vec<u8> {
    let data = PartitionData::default()
        .with_partition_index(partition)
        .with_high_watermark(high)
        .with_records(Some(Bytes::from(records)));
    let topic = FetchableTopicResponse::default().with_topic(text(topic).into()).with_partitions(vec![data]);
    response(version, correlation, &FetchResponse::default().with_responses(vec![topic]))
}

pub(crate) fn heartbeat(correlation: i32) -> Vec<u8> {
    request(4, correlation, Some(CLIENT), &HeartbeatRequest::default().with_group_id(text("g").into()))
}

pub(crate) fn heard(correlation: i32, code: i16) -> Vec<u8> {
    response(4, correlation, &HeartbeatResponse::default().with_error_code(code))
}
