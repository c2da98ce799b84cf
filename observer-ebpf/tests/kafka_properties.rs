//! Any session, in any calls, counts as its messages say, which the `kafka-protocol` crate writes: every version of every
//! message that both know.

mod common;

#[path = "common/kafka/mod.rs"]
mod kafka;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::queues::Counted;
use common::{Call, lengths, parts};
use kafka::{Outcome, RECORDED, Talk, VERSIONS, found, observed, recorded, session};
use kafka_protocol::messages::{FetchResponse, ProduceRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion};
use kafka_protocol::records::RecordBatchDecoder;
use observer_ebpf::layout::{Protocol, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// How calls and buffers are cut.
#[derive(Clone, Debug)]
struct Cuts {
    role: Role,
    buffer: u32,
    places: Vec<Index>,
    passing: bool,
    poison: u8,
}

fn cuts() -> impl Strategy<Value = Cuts> {
    let buffer = prop_oneof![1..40u32, Just(1024)];
    let cuts = (any::<bool>(), buffer, vec(any::<Index>(), 0..8), any::<bool>(), any::<u8>());
    cuts.prop_map(|(server, buffer, places, passing, poison)| Cuts {
        role: if server { Role::Server } else { Role::Client },
        buffer,
        places,
        passing,
        poison,
    })
}

/// Has requests of these keys and versions be made and answered, one by one, and compares what is counted.
fn check(seed: u64, asked: &[(u8, i16)], cuts: &Cuts) {
    let mut talk = Talk::new(seed);
    let mut observed = session(cuts.role).in_buffers_of(cuts.buffer);
    observed.passing = cuts.passing;
    observed.poison = cuts.poison;
    for &(key, version) in asked {
        let (asked, answered) = talk.exchange(key, version);
        for (server, bytes) in [(false, asked), (true, answered)] {
            let lengths = lengths(cuts.places.iter().map(|cut| cut.index(bytes.len())));
            parts(&mut observed, &Call { server, bytes, now_ns: 0 }, &lengths);
        }
    }
    let outcome = Outcome::of(&observed);
    let how = format!("{seed} {asked:?} {cuts:?}");
    assert_eq!((outcome.protocol, outcome.lost, outcome.pending), (Protocol::Kafka, [0; 2], 0), "{how}");
    assert_eq!(outcome.desyncs, [], "{how}");
    assert_eq!((outcome.counters.unmatched, outcome.counters.unparsed), (0, 0), "{how}");
    assert_eq!(found(&outcome, &talk.model), talk.model, "{how}");
    // No partition is there that nothing told of.
    for (topic, _) in &talk.topics {
        for queue in [format!("topic {topic}"), format!("topic {topic} group {}", talk.group)] {
            for (number, partition) in outcome.queues.partitions_of(&queue) {
                assert!(talk.model.partitions.contains_key(&(queue.clone(), number)), "{partition:?} {how}");
            }
        }
    }
}

#[test]
fn every_version_of_every_message_counts_what_it_says() {
    for (key, versions) in VERSIONS {
        for version in versions {
            for seed in 0..24 {
                for buffer in [3, 1024] {
                    let role = if seed % 2 == 0 { Role::Client } else { Role::Server };
                    let cuts =
                        Cuts { role, buffer, places: Vec::new(), passing: seed % 3 == 0, poison: 0x5A };
                    // With topics' ids known, and what comes behind in sync.
                    let asked = [(3, 12), (key, version), (1, 12), (key, version), (0, 9), (1, 16), (9, 7)];
                    let seed = seed * 1_000 + i64::from(version).cast_unsigned() * 16 + u64::from(key);
                    check(seed, &asked, &cuts);
                    check(seed, &[(key, version), (12, 4), (1, 13), (0, 13)], &cuts);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_session_counts_what_its_messages_say(
        seed in any::<u32>(),
        asked in vec((any::<Index>(), any::<Index>()), 1..25),
        cuts in cuts(),
    ) {
        let asked: Vec<(u8, i16)> = asked
            .iter()
            .map(|(key, version)| {
                let (key, versions) = &VERSIONS[key.index(VERSIONS.len())];
                (*key, version.get(&versions.clone().collect::<Vec<_>>()).to_owned())
            })
            .collect();
        check(u64::from(seed), &asked, &cuts);
    }
}

#[test]
fn recorded_sessions_count_as_the_crate_reads_them() {
    // Of producers and of consumers.
    for (name, _) in RECORDED.iter().filter(|(name, _)| !name.ends_with("-group")) {
        let calls = recorded(name);
        let mut observed = observed(Role::Server);
        let (mut put, mut taken) = (0, 0);
        let mut highs: BTreeMap<i32, i64> = BTreeMap::new();
        let mut asked = (0, 0);
        for call in &calls {
            parts(&mut observed, call, &[]);
            let mut bytes = Bytes::from(call.bytes[4..].to_vec());
            if !call.server {
                asked = (i16::from(call.bytes[5]), i16::from(call.bytes[7]));
                if asked.0 == 0 {
                    RequestHeader::decode(&mut bytes, ProduceRequest::header_version(asked.1))
                        .expect("a header");
                    let body = ProduceRequest::decode(&mut bytes, asked.1).expect("a request");
                    for data in body.topic_data.into_iter().flat_map(|topic| topic.partition_data) {
                        put += count(data.records);
                    }
                }
            } else if asked.0 == 1 {
                ResponseHeader::decode(&mut bytes, FetchResponse::header_version(asked.1)).expect("a header");
                let body = FetchResponse::decode(&mut bytes, asked.1).expect("a response");
                for data in body.responses.into_iter().flat_map(|topic| topic.partitions) {
                    highs.insert(data.partition_index, data.high_watermark);
                    taken += count(data.records);
                }
            }
        }
        let outcome = Outcome::of(&observed);
        let topic = ["topic gzip-confluent", "topic topic-aiokafka", "topic gzip-kafkapython"]
            .into_iter()
            .find(|topic| outcome.queues.of(topic, 0).1 != Counted::default())
            .expect("it counts");
        let (_, counted) = outcome.queues.of(topic, 0);
        assert_eq!((counted.put, counted.taken), (put, taken), "{name}");
        if taken > 0 {
            let partitions = outcome.queues.partitions_of(topic);
            for (number, high) in highs {
                assert_eq!(partitions[&number.cast_unsigned()].high, high.cast_unsigned(), "{name} {number}");
            }
        }
    }
}

/// How many messages there are, by the headers of their batches.
fn count(records: Option<Bytes>) -> u64 {
    let Some(mut records) = records.filter(|records| !records.is_empty()) else { return 0 };
    let batches = RecordBatchDecoder::decode_batch_info(&mut records).expect("record batches");
    batches.iter().map(|batch| u64::try_from(batch.record_count).expect("a number")).sum()
}
