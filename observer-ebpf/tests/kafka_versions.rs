//! What differs by the version of a message of Kafka, and what is not looked into; errors, and what replicas fetch.

mod common;

#[path = "common/kafka/mod.rs"]
mod kafka;

use std::collections::BTreeMap;

use common::queues::Counted;
use kafka::{
    Batch, CLIENT, Outcome, assert_sound, each_way, fetch, fetched, fetching, heard, heartbeat, named,
    old_message, produce, produced, request, request_of, response, response_of, session, text,
};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::{
    ApiKey, FetchResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use observer_ebpf::layout::Role;
use observer_ebpf::protocols::kafka::layout::{Api, ErrorCode};

#[test]
fn formats_of_before_are_not_looked_into() {
    for format in [0, 1] {
        for value in [0, 1, 20, 60, 500] {
            let old = [old_message(format, 0, value), old_message(format, 1, value)].concat();
            let new = Batch::new(2, 4, 5).bytes();
            for records in [old.clone(), [new.clone(), old.clone()].concat()] {
                let before = if records == old { 0 } else { 4 };
                let turns = [
                    (false, produce(3, 1, 1, "t", 0, records.clone())),
                    (true, produced(3, 1, "t", 0, 0, 0)),
                    (false, fetch(4, 2, "t", 0, 0)),
                    (true, fetched(4, 2, "t", 0, 6, records)),
                    (false, heartbeat(3)),
                    (true, heard(3, 0)),
                ];
                let mut session = session(Role::Server);
                for (server, bytes) in &turns {
                    session.by(*server, bytes);
                }
                let outcome = Outcome::of(&session);
                assert_eq!((outcome.lost, &outcome.desyncs[..]), ([0; 2], &[][..]));
                assert_eq!(
                    (outcome.counters.unparsed, outcome.counters.unmatched),
                    (2, 0),
                    "{format} {value}"
                );
                let (_, counted) = outcome.queues.of("topic t", 0);
                assert_eq!((counted.put, counted.taken), (before, before), "{format} {value}");
                assert_eq!(outcome.queues.partitions_of("topic t")[&0].high, 6);
            }
        }
    }
}

#[test]
fn versions_of_before_are_known() {
    // Produce, Fetch and OffsetCommit of version 0, each as the guide has it.
    let records = Batch::new(0, 2, 10).bytes();
    let topic = |rest: &[&[u8]]| [b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05", &rest.concat()[..]].concat();
    let size = u32::try_from(records.len()).expect("few").to_be_bytes();
    for version in 0..3 {
        let throttled: &[u8] = if version == 0 { b"" } else { &[0; 4] };
        let appended: &[u8] = if version < 2 { b"" } else { &[0xFF; 8] };
        let produce = [&b"\0\x01\0\0\x03\xE8"[..], &topic(&[&size, &records])].concat();
        let produced = [&topic(&[b"\0\0\0\0\0\0\0\0\0\x29", appended]), throttled].concat();
        let fetch =
            [&b"\xFF\xFF\xFF\xFF\0\0\x01\0\0\0\0\x01"[..], &topic(&[b"\0\0\0\0\0\0\0\0\0\0\x10\0"])].concat();
        let fetched = [throttled, &topic(&[b"\0\0\0\0\0\0\0\0\0\x2A", &size, &records])].concat();
        let turns = [
            (false, request_of(0, version, 1, Some(CLIENT), &produce)),
            (true, response_of(1, &produced)),
            (false, request_of(1, version, 2, None, &fetch)),
            (true, response_of(2, &fetched)),
        ];
        each_way(&turns, |outcome, how| {
            assert_sound(outcome, how);
            let (_, counted) = outcome.queues.of("topic t", 0);
            assert_eq!((counted.put, counted.taken), (2, 2), "{how}");
            let partition = outcome.queues.partitions_of("topic t")[&5];
            assert_eq!((partition.high, partition.position), (42, 2), "{how}");
            assert_eq!((outcome.counters.produces[0], outcome.counters.fetches[0]), (1, 1), "{how}");
        });
    }
    for version in 0..2 {
        let member: &[u8] = if version == 0 { b"" } else { b"\0\0\0\x01\0\0" };
        let stamp: &[u8] = if version == 0 { b"" } else { &[0; 8] };
        let body = |offset: u8| {
            let at = [&[0; 7][..], &[offset]].concat();
            [&b"\0\x01g"[..], member, &topic(&[&at, stamp, b"\xFF\xFF"])].concat()
        };
        let answer = topic(&[b"\0\x10"]);
        let turns = [
            (false, request_of(8, version, 1, Some(CLIENT), &body(10))),
            (true, response_of(1, &answer)),
            (false, request_of(8, version, 2, Some(CLIENT), &body(17))),
            (true, response_of(2, &answer)),
        ];
        each_way(&turns, |outcome, how| {
            assert_sound(outcome, how);
            assert_eq!(outcome.queues.of("topic t group g", 0).1.acknowledged, 7, "{how}");
            assert_eq!(outcome.errors(), named(&[("not_coordinator", 2)]), "{how}");
        });
    }
}

#[test]
fn newer_versions_are_not_looked_into() {
    for version in [14, 19, 31, 127] {
        for key in [0, 1, 8, 28] {
            let turns = [
                (false, request_of(key, version.max(19), 1, Some(CLIENT), &[0xFF; 40])),
                (true, response_of(1, &[0xFF; 30])),
                (false, heartbeat(2)),
                (true, heard(2, 0)),
            ];
            let mut session = session(Role::Server);
            for (server, bytes) in &turns {
                session.by(*server, bytes);
            }
            let outcome = Outcome::of(&session);
            assert_eq!((outcome.lost, &outcome.desyncs[..]), ([0; 2], &[][..]));
            // Responses to commits of transactions are of no interest in any version.
            let expected = if key == 28 { 1 } else { 2 };
            assert_eq!(
                (outcome.counters.unparsed, outcome.counters.unmatched),
                (expected, 0),
                "{key} {version}"
            );
            assert_eq!(outcome.queues.partitions_of("topic t"), BTreeMap::new());
        }
    }
    // Metadata and OffsetFetch are looked into in responses only, and other requests not at all.
    let mut session = session(Role::Client);
    for (number, key) in (1..).zip([3, 9, 2, 60, 91]) {
        session.client(&request_of(key, 90, number, Some(CLIENT), &[0; 40]));
        session.server(&response_of(number, &[0xFF; 30]));
    }
    let outcome = Outcome::of(&session);
    assert_eq!((outcome.lost, outcome.counters.unparsed, outcome.counters.unmatched), ([0; 2], 2, 0));
    let expected = named(&[
        ("api_versions", 1),
        ("list_offsets", 1),
        ("metadata", 1),
        ("offset_fetch", 1),
        ("other", 2),
    ]);
    assert_eq!(outcome.requests(), expected);
}

#[test]
fn errors_count_by_their_code() {
    let metadata = MetadataResponse::default().with_topics(vec![
        MetadataResponseTopic::default().with_name(Some(text("t").into())).with_error_code(5),
        MetadataResponseTopic::default().with_name(Some(text("u").into())).with_error_code(0),
    ]);
    let offsets = OffsetFetchResponse::default().with_groups(vec![
        OffsetFetchResponseGroup::default().with_group_id(text("g").into()).with_error_code(16),
    ]);
    let many = FetchResponse::default().with_error_code(70).with_responses(vec![
        FetchableTopicResponse::default().with_topic(text("t").into()).with_partitions(vec![
            PartitionData::default().with_error_code(1).with_high_watermark(-1),
            PartitionData::default().with_error_code(-1).with_high_watermark(-1),
            PartitionData::default().with_error_code(9_999).with_high_watermark(-1),
        ]),
    ]);
    let turns = [
        (false, request(12, 1, None, &MetadataRequest::default())),
        (true, response(12, 1, &metadata)),
        (false, produce(9, 2, 1, "t", 0, Batch::new(0, 5, 0).bytes())),
        (true, produced(9, 2, "t", 0, -1, 6)),
        (false, request(8, 3, Some(CLIENT), &OffsetFetchRequest::default())),
        (true, response(8, 3, &offsets)),
        (false, request(7, 4, Some(CLIENT), &OffsetFetchRequest::default())),
        (true, response(7, 4, &OffsetFetchResponse::default().with_error_code(30))),
        (false, fetch(12, 5, "t", 0, 0)),
        (true, response(12, 5, &many)),
    ];
    each_way(&turns, |outcome, how| {
        assert_sound(outcome, how);
        let expected = named(&[
            ("fetch_session_id_not_found", 1),
            ("group_authorization_failed", 1),
            ("leader_not_available", 1),
            ("not_coordinator", 1),
            ("not_leader_or_follower", 1),
            ("offset_out_of_range", 1),
            ("other", 1),
            ("unknown_server_error", 1),
        ]);
        assert_eq!(outcome.errors(), expected, "{how}");
    });
}

#[test]
fn what_replicas_fetch_does_not_count() {
    let body = fetching("t", 0, 3);
    let fetches = [
        request(11, 1, Some("whoever"), &body.clone().with_replica_id(2.into())),
        request(11, 1, Some("broker-1-fetcher-0"), &body.clone().with_replica_id(1.into())),
        request(12, 1, Some("broker-12-fetcher-7"), &body),
    ];
    for (place, fetch) in fetches.into_iter().enumerate() {
        let version = if place < 2 { 11 } else { 12 };
        let turns = [
            (false, fetch.clone()),
            (true, fetched(version, 1, "t", 0, 9, Batch::new(3, 6, 0).bytes())),
            (false, heartbeat(2)),
            (true, heard(2, 0)),
        ];
        each_way(&turns, |outcome, how| {
            assert_sound(outcome, how);
            assert_eq!(outcome.queues.of("topic t", 0).1, Counted::default(), "{how}");
            assert_eq!(outcome.queues.partitions_of("topic t"), BTreeMap::new(), "{how}");
            assert_eq!(outcome.requests()["fetch"], 1);
        });
    }
    // Who is called alike is none.
    let mut session = session(Role::Server);
    session.client(&request(12, 1, Some("broker_1"), &body));
    session.server(&fetched(12, 1, "t", 0, 9, Batch::new(3, 6, 0).bytes()));
    assert_eq!(session.queues.of("topic t", 0).1.taken, 6);
}

#[test]
fn requests_and_errors_are_called_as_kafka_calls_them() {
    let snake = |name: String| {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(letter.to_lowercase());
        }
        snake
    };
    for key in 0..128 {
        let name = Api::NAMES[usize::from(Api::index(key))];
        let known = ApiKey::try_from(i16::from(key)).map(|key| snake(format!("{key:?}")));
        // Some are gone by now.
        let is_one = known.as_ref().map_or(true, |known| known == name);
        assert!(name == "other" || is_one, "{key}: {name}, {known:?}");
    }
    let mut differ = Vec::new();
    for code in -1..=200 {
        let name = ErrorCode::NAMES[usize::from(ErrorCode::index(code))];
        let known = ResponseError::try_from_code(code).map(|error| snake(format!("{error:?}")));
        let is_one = known.as_deref().is_none_or(|known| known == name);
        if code != 0 && name != "other" && !is_one {
            differ.push((code, name, known));
        }
    }
    assert_eq!(differ, []);
}
