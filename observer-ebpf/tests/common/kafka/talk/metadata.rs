//! What topics there are.

use std::collections::BTreeMap;

use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse};
use uuid::Uuid;

use super::super::{Noise, response, text};
use super::{Exchange, Talk};

impl Talk {
    pub(super) fn metadata(&mut self, version: i16) -> Exchange {
        let is_flexible = version >= 9;
        let mut answer = MetadataResponse::default().with_controller_id(BrokerId(self.noise.number()));
        answer.throttle_time_ms = self.noise.number();
        answer.cluster_id = self.noise.text_or_none();
        answer.brokers = self.noise.some(4, |noise| {
            let mut one = MetadataResponseBroker::default();
            (one.node_id, one.host, one.port) = (BrokerId(noise.number()), noise.text(), noise.number());
            one.rack = noise.text_or_none();
            one.unknown_tagged_fields = if is_flexible { noise.tags() } else { BTreeMap::new() };
            one
        });
        if version >= 13 {
            // It is not counted: it comes behind all topics.
            answer.error_code = self.noise.code();
        }
        for (name, id) in self.topics.clone() {
            let mut one = MetadataResponseTopic::default().with_name(Some(text(&name).into()));
            one.error_code = self.noise.code();
            self.model.error(one.error_code);
            if version >= 10 {
                one.topic_id = id;
                self.has_ids = true;
            }
            one.is_internal = version >= 1 && self.noise.is();
            one.partitions = self.noise.some(3, |noise| {
                let ids = |noise: &mut Noise| noise.some(4, |noise| BrokerId(noise.number()));
                let mut one = MetadataResponsePartition::default().with_partition_index(noise.number());
                (one.error_code, one.leader_id) = (noise.code(), BrokerId(noise.number()));
                (one.replica_nodes, one.isr_nodes) = (ids(noise), ids(noise));
                if version >= 5 {
                    one.offline_replicas = ids(noise);
                }
                if version >= 7 {
                    one.leader_epoch = noise.number();
                }
                one.unknown_tagged_fields = if is_flexible { noise.tags() } else { BTreeMap::new() };
                one
            });
            if version >= 8 {
                one.topic_authorized_operations = self.noise.number();
            }
            one.unknown_tagged_fields = self.tags(is_flexible);
            answer.topics.push(one);
        }
        if version >= 12 && self.noise.is() {
            // A topic that is not known has no name.
            answer.topics.push(
                MetadataResponseTopic::default().with_error_code(100).with_topic_id(Uuid::from_u128(5)),
            );
            self.model.error(100);
        }
        answer.unknown_tagged_fields = self.tags(is_flexible);
        (self.ask(version, &MetadataRequest::default()), response(version, self.correlation, &answer))
    }
}
