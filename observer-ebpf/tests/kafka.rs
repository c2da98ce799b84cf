//! Sessions with Kafka count what was said, however their bytes are cut into calls and buffers.

mod common;

#[path = "common/kafka/mod.rs"]
mod kafka;

use std::collections::BTreeMap;

use common::queues::Counted;
use common::turns::ROLES;
use common::{Call, parts};
use kafka::{
    Batch, CLIENT, MS, NOW_MS, Outcome, RECORDED, assert_sound, each_way, fetch, fetched, heard, heartbeat,
    named, observed, outcome, produce, produced, recorded, request, response, session, text, with,
};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_response::{OffsetFetchResponseGroup, OffsetFetchResponseTopics};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse};
use observer_ebpf::layout::{Direction, Role};
use observer_ebpf::protocols::kafka::layout::Api;

/// The libraries, with their topics and groups.
const LIBRARIES: [(&str, &str, &str); 3] = [
    ("librdkafka", "gzip-confluent", "gzipgroup-confluent"),
    ("aiokafka", "topic-aiokafka", "group-aiokafka"),
    ("python", "gzip-kafkapython", "gzipgroup-kafkapython"),
];

/// Requests by name, as their sizes and API keys tell.
fn requests(calls: &[Call]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for call in calls.iter().filter(|call| !call.server) {
        let size = u32::from_be_bytes(call.bytes[..4].try_into().expect("four bytes"));
        assert_eq!(size as usize, call.bytes.len() - 4);
        let name = Api::NAMES[usize::from(Api::index(call.bytes[5]))];
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn producers_put_what_they_send() {
    for (library, topic, _) in LIBRARIES {
        let calls = recorded(&format!("{library}-produce"));
        let outcome = outcome(Role::Client, 1024, &calls, &[]);
        assert_sound(&outcome, library);
        assert_eq!(outcome.requests(), requests(&calls), "{library}");
        assert_eq!(outcome.errors(), named(&[]), "{library}");
        let key = format!("topic {topic}");
        assert_eq!(outcome.queues.of(&key, 0).1, Counted { put: 30, ..Counted::default() }, "{library}");
        let produced = outcome.requests()["produce"];
        let counters = &outcome.counters;
        assert_eq!((counters.produces[0], counters.produce_ns), (produced, 1_000 * u64::from(produced)));
        // Of the partition, at least the first message of the last batch is there.
        let partitions = outcome.queues.partitions_of(&key);
        assert_eq!(partitions.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "{library}");
        assert!(partitions.values().all(|partition| (1..=10).contains(&partition.high)), "{partitions:?}");
    }
}

#[test]
fn consumers_take_and_acknowledge_what_there_is() {
    for (library, topic, group) in LIBRARIES {
        for role in ROLES {
            let mut connections = [observed(role), observed(role)];
            let mut run = |which: usize, calls: &[Call]| {
                let [one, other] = &mut connections;
                let connection = if which == 0 { &mut *one } else { &mut *other };
                connection.wall_ns = NOW_MS * MS;
                for call in calls {
                    parts(connection, call, &[]);
                }
                let queues = connection.queues.clone();
                (one.queues, other.queues) = (queues.clone(), queues);
            };
            let (fetched, grouped) =
                (recorded(&format!("{library}-consume")), recorded(&format!("{library}-group")));
            let is_commit = |call: &Call| !call.server && call.bytes[4..6] == [0, 8];
            let commits = grouped.iter().position(is_commit).expect("it commits");
            run(1, &grouped[..commits]);
            run(0, &fetched);
            run(1, &grouped[commits..]);
            let [fetching, coordinated] = connections.map(|connection| Outcome::of(&connection));
            assert_sound(&fetching, library);
            assert_sound(&coordinated, library);
            assert_eq!(fetching.requests(), requests(&fetched), "{library}");
            assert_eq!(coordinated.requests(), requests(&grouped), "{library}");
            assert_eq!((fetching.errors(), coordinated.errors()), (named(&[]), named(&[])), "{library}");
            let timed = fetching.counters.fetches.iter().sum::<u32>() + fetching.counters.waits;
            let answered = fetched.iter().filter(|call| call.server).count();
            let unanswered = u32::try_from(fetched.len() - 2 * answered).expect("few");
            assert_eq!(timed + unanswered, fetching.requests()["fetch"], "{library}");

            let key = format!("topic {topic} group {group}");
            let (_, counted) = coordinated.queues.of(&key, 0);
            assert_eq!((counted.taken, counted.acknowledged, counted.unknown), (30, 30, 0), "{library}");
            assert_eq!((counted.ages_ns.len(), counted.latencies_ns.len()), (30, 30), "{library}");
            assert_eq!(coordinated.queues.of(&format!("topic {topic}"), 0).1, Counted::default());
            let partitions = coordinated.queues.partitions_of(&key);
            let ends: Vec<u64> = partitions.values().map(|partition| partition.high).collect();
            assert_eq!(ends.iter().sum::<u64>(), 30, "{library}");
            if library == "aiokafka" {
                assert_eq!(ends, [9, 5, 6, 10]);
            }
            for partition in partitions.values() {
                assert_eq!((partition.position, partition.committed), (partition.high, partition.high));
            }
        }
    }
}

#[test]
fn every_cut_counts_the_same() {
    for (name, _) in RECORDED {
        let calls = recorded(name);
        let longest = calls.iter().map(|call| call.bytes.len()).max().expect("some calls");
        let bytewise = vec![1; longest];
        for role in ROLES {
            let expected = outcome(role, 1024, &calls, &[]);
            assert_sound(&expected, name);
            for buffer in [1, 16, 1024] {
                assert_eq!(outcome(role, buffer, &calls, &[]), expected, "{name}, buffers of {buffer}");
                assert_eq!(outcome(role, buffer, &calls, &bytewise), expected, "{name}, a byte a call");
                // As Java's clients and brokers read.
                assert_eq!(outcome(role, buffer, &calls, &[4]), expected, "{name}, sizes on their own");
                assert_eq!(outcome(role, buffer, &calls, &[4, 4]), expected, "{name}, and correlation ids");
            }
            for cut in 1..longest {
                assert_eq!(outcome(role, 1024, &calls, &[cut]), expected, "{name}, cut at {cut}");
                if cut % 7 == 0 {
                    assert_eq!(
                        outcome(role, 16, &calls, &[cut, 1]),
                        expected,
                        "{name}, cut at {cut} and behind"
                    );
                }
            }
        }
    }
}

#[test]
fn requests_in_one_call_count_as_on_their_own() {
    for (name, _) in RECORDED {
        let calls = recorded(name);
        // The first response comes before the second request.
        let (first, rest) = calls.split_at(2);
        let both = [false, true].map(|server| {
            let bytes = rest.iter().filter(|call| call.server == server);
            Call { server, bytes: bytes.flat_map(|call| call.bytes.clone()).collect(), now_ns: 9_000 }
        });
        for role in ROLES {
            let expected = outcome(role, 1024, &calls, &[]);
            for lengths in [&[][..], &[100], &vec![1; 20_000]] {
                let found = outcome(role, 1024, &[first, &both].concat(), lengths);
                assert_sound(&found, name);
                assert_eq!(found.requests(), expected.requests(), "{name}");
                assert_eq!(found.errors(), expected.errors(), "{name}");
            }
        }
    }
}

#[test]
fn messages_are_as_old_as_their_batchs_newest() {
    let batches = [
        Batch::new(0, 3, 5_000).bytes(),
        // What a transaction ends with is no message.
        with(Batch::new(3, 1, 4_000), |batch| batch.attributes = 0x30),
        // Compressed by gzip, snappy, lz4 and zstd.
        with(Batch::new(4, 2, 70), |batch| (batch.attributes, batch.length) = (1, 3)),
        with(Batch::new(6, 1, 60), |batch| batch.attributes = 2),
        with(Batch::new(7, 1, 50), |batch| batch.attributes = 3),
        with(Batch::new(8, 1, 40), |batch| batch.attributes = 4),
        // Of a log that is compacted.
        with(Batch::new(9, 2, 30), |batch| batch.last_delta = 9),
        with(Batch::new(19, 1, 0), |batch| batch.newest_ms = -1),
        with(Batch::new(20, 1, 0), |batch| batch.newest_ms += 1_000),
    ];
    for version in [4, 11, 12] {
        let turns = [
            (false, fetch(version, 1, "t", 7, 0)),
            (true, fetched(version, 1, "t", 7, 30, batches.concat())),
        ];
        each_way(&turns, |outcome, how| {
            assert_sound(outcome, how);
            let (_, counted) = outcome.queues.of("topic t", 0);
            let ages = [5_000, 5_000, 5_000, 70, 70, 60, 50, 40, 30, 30, 0].map(|ms| ms * MS);
            let expected = Counted { taken: 12, unknown: 1, ages_ns: ages.to_vec(), ..Counted::default() };
            assert_eq!(counted, expected, "{how}");
            let partition = outcome.queues.partitions_of("topic t")[&7];
            assert_eq!((partition.position, partition.high, partition.committed), (21, 30, 0), "{how}");
        });
    }
    // A batch comes whole, even where it is asked for from its middle.
    let turns =
        [(false, fetch(11, 1, "t", 0, 2)), (true, fetched(11, 1, "t", 0, 5, Batch::new(0, 5, 9).bytes()))];
    each_way(&turns, |outcome, how| assert_eq!(outcome.queues.of("topic t", 0).1.taken, 3, "{how}"));
}

#[test]
fn a_batch_that_is_cut_off_is_not_delivered() {
    let whole = [Batch::new(0, 3, 5).bytes(), Batch::new(3, 2, 5).bytes(), Batch::new(5, 4, 5).bytes()];
    let ends = [whole[0].len(), whole[0].len() + whole[1].len(), whole.concat().len()];
    for version in [4, 12] {
        for cut in 0..=ends[2] {
            let mut session = session(Role::Client);
            let records = whole.concat()[..cut].to_vec();
            session.client(&fetch(version, 1, "t", 0, 0));
            session.server(&fetched(version, 1, "t", 0, 9, records));
            session.client(&heartbeat(2));
            session.server(&heard(2, 0));
            let outcome = Outcome::of(&session);
            assert_sound(&outcome, &format!("{cut}"));
            let complete = ends.iter().filter(|end| **end <= cut).count();
            let expected = [0, 3, 5, 9][complete];
            assert_eq!(outcome.queues.of("topic t", 0).1.taken, expected, "{cut} bytes");
            assert_eq!(outcome.queues.partitions_of("topic t")[&0].position, expected, "{cut} bytes");
        }
    }
}

#[test]
fn what_is_not_acknowledged_by_brokers_has_no_response() {
    let turns = [
        (false, produce(9, 1, 0, "t", 0, Batch::new(0, 3, 0).bytes())),
        (false, produce(3, 2, 0, "t", 0, Batch::new(0, 4, 0).bytes())),
        (false, produce(9, 3, -1, "t", 0, Batch::new(0, 5, 0).bytes())),
        (true, produced(9, 3, "t", 0, 7, 0)),
        (false, produce(9, 4, 0, "t", 1, Batch::new(0, 6, 0).bytes())),
        (false, heartbeat(5)),
        (true, heard(5, 27)),
    ];
    each_way(&turns, |outcome, how| {
        assert_sound(outcome, how);
        assert_eq!(outcome.queues.of("topic t", 0).1, Counted { put: 18, ..Counted::default() }, "{how}");
        assert_eq!(outcome.counters.produces[0], 1, "{how}");
        assert_eq!(outcome.errors(), named(&[("rebalance_in_progress", 1)]), "{how}");
        let partitions = outcome.queues.partitions_of("topic t");
        // What a response tells is the first offset of the batch before it.
        assert_eq!((partitions.len(), partitions[&0].high, partitions[&1].high), (2, 12, 0), "{how}");
    });
    // More of them than are kept in flight.
    let mut session = session(Role::Client);
    for number in 0..100 {
        session.client(&produce(9, number, 0, "t", 0, Batch::new(0, 1, 0).bytes()));
    }
    session.client(&heartbeat(100));
    session.server(&heard(100, 0));
    assert_sound(&Outcome::of(&session), "many");
}

#[test]
fn latencies_are_of_what_was_there() {
    for cut in [0, 1, 4, 8, 20, 40] {
        let mut session = session(Role::Client);
        let mut run = |start_ns: u64, end_ns: u64, asked: &[u8], answered: &[u8]| {
            session.now_ns = start_ns;
            session.client(asked);
            session.now_ns = end_ns - 500_000;
            let (part, behind) = answered.split_at(cut.min(answered.len()));
            session.server(part);
            session.now_ns = end_ns;
            session.server(behind);
            *session.connection.kafka()
        };
        let produced = produced(9, 1, "t", 0, 0, 0);
        let counters =
            run(10 * MS, 13 * MS, &produce(9, 1, 1, "t", 0, Batch::new(0, 5, 0).bytes()), &produced);
        assert_eq!((counters.produces[1], counters.produce_ns), (1, 3 * MS), "{cut}");
        // Nothing is known of this partition yet.
        let counters = run(
            20 * MS,
            30 * MS,
            &fetch(11, 2, "u", 0, 0),
            &fetched(11, 2, "u", 0, 1, Batch::new(0, 1, 0).bytes()),
        );
        assert_eq!((counters.waits, counters.fetch_ns), (1, 0), "{cut}");
        // The last one is there; and then there is none.
        let counters =
            run(40 * MS, 540 * MS, &fetch(11, 3, "u", 0, 1), &fetched(11, 3, "u", 0, 5, Vec::new()));
        assert_eq!((counters.waits, counters.fetch_ns), (2, 0), "{cut}");
        let counters = run(
            600 * MS,
            607 * MS,
            &fetch(11, 4, "u", 0, 1),
            &fetched(11, 4, "u", 0, 5, Batch::new(1, 4, 0).bytes()),
        );
        assert_eq!((counters.waits, counters.fetch_ns, counters.fetches[2]), (2, 7 * MS, 1), "{cut}");
        let counters =
            run(700 * MS, 900 * MS, &fetch(11, 5, "u", 0, 5), &fetched(11, 5, "u", 0, 5, Vec::new()));
        assert_eq!((counters.waits, counters.fetches.iter().sum::<u32>()), (3, 1), "{cut}");
        assert_eq!(counters.produces.iter().sum::<u32>(), 1);
    }
}

/// The rest of a message in a call of its own, where it is not looked at, or is a byte.
#[test]
fn a_response_is_over_with_its_last_byte() {
    let answered = produced(9, 1, "t", 0, 0, 0);
    for cut in 0..answered.len() {
        for passing in [true, false] {
            let mut session = session(Role::Client);
            session.passing = passing;
            session.client(&produce(9, 1, 1, "t", 0, Batch::new(0, 5, 0).bytes()));
            session.server(&answered[..cut]);
            assert_eq!(session.connection.kafka().produces[0], 0);
            session.now_ns = 100;
            session.server(&answered[cut..]);
            let counters = session.connection.kafka();
            assert_eq!((counters.produces[0], counters.produce_ns), (1, 100), "{cut}");
            for direction in Direction::ALL {
                assert!(session.session.is_settled(direction), "{cut}");
            }
        }
    }
}

#[test]
fn groups_are_known_by_their_clients() {
    let commit = |correlation, offset| {
        let data = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic =
            OffsetCommitRequestTopic::default().with_name(text("t").into()).with_partitions(vec![data]);
        let body = OffsetCommitRequest::default().with_group_id(text("g").into()).with_topics(vec![topic]);
        request(8, correlation, Some(CLIENT), &body)
    };
    let turns = [
        (false, fetch(11, 1, "t", 0, 0)),
        (true, fetched(11, 1, "t", 0, 20, Batch::new(0, 2, 9).bytes())),
        (false, heartbeat(2)),
        (true, heard(2, 0)),
        (false, fetch(11, 3, "t", 0, 2)),
        (
            true,
            fetched(
                11,
                3,
                "t",
                0,
                20,
                [Batch::new(2, 4, 900).bytes(), Batch::new(6, 4, 500).bytes()].concat(),
            ),
        ),
        (false, commit(4, 5)),
        (false, commit(5, -1)),
        (false, commit(6, 10)),
        (false, commit(7, 10)),
    ];
    each_way(&turns, |outcome, how| {
        assert_sound(outcome, how);
        assert_eq!(outcome.queues.of("topic t", 0).1.taken, 2, "{how}");
        let (_, counted) = outcome.queues.of("topic t group g", 0);
        let ages = [900, 900, 900, 900, 500, 500, 500, 500].map(|ms| ms * MS).to_vec();
        let expected = Counted {
            taken: 8,
            ages_ns: ages.clone(),
            acknowledged: 8,
            latencies_ns: ages,
            ..Counted::default()
        };
        assert_eq!(counted, expected, "{how}");
    });
    // What was committed before is told with the first offsets.
    let known = OffsetFetchResponse::default().with_groups(vec![
        OffsetFetchResponseGroup::default().with_group_id(text("g").into()).with_topics(vec![
            OffsetFetchResponseTopics::default().with_name(text("t").into()).with_partitions(vec![
                kafka_protocol::messages::offset_fetch_response::OffsetFetchResponsePartitions::default()
                    .with_committed_offset(3),
            ]),
        ]),
    ]);
    let turns = [
        (false, request(8, 1, Some(CLIENT), &OffsetFetchRequest::default())),
        (true, response(8, 1, &known)),
        (false, commit(2, 10)),
    ];
    each_way(&turns, |outcome, how| {
        assert_eq!(outcome.queues.of("topic t group g", 0).1.acknowledged, 7, "{how}");
    });
    // Of messages without a timestamp it is not known how long they took.
    let old = with(Batch::new(0, 2, 0), |batch| batch.newest_ms = -1);
    let turns = [
        (false, heartbeat(1)),
        (true, heard(1, 0)),
        (false, fetch(11, 2, "t", 0, 0)),
        (true, fetched(11, 2, "t", 0, 20, old)),
        (false, commit(3, 2)),
    ];
    each_way(&turns, |outcome, how| {
        let (_, counted) = outcome.queues.of("topic t group g", 0);
        let expected = Counted { taken: 2, unknown: 2, acknowledged: 2, ..Counted::default() };
        assert_eq!(counted, expected, "{how}");
    });
}

#[test]
fn names_that_are_too_long_have_no_place() {
    for length in [63, 64, 65, 249] {
        let topic = "n".repeat(length);
        let turns = [
            (false, produce(9, 1, 1, &topic, 0, Batch::new(0, 5, 0).bytes())),
            (true, produced(9, 1, &topic, 0, 0, 0)),
            (false, fetch(12, 2, &topic, 0, 0)),
            (true, fetched(12, 2, &topic, 0, 5, Batch::new(0, 5, 9).bytes())),
        ];
        each_way(&turns[..], |outcome, how| {
            assert_sound(outcome, how);
            let put = outcome.queues.of(&format!("topic {topic}"), 0).1.put;
            assert_eq!(put, if length <= 64 { 5 } else { 0 }, "{how}");
        });
    }
}

#[test]
fn long_messages_pass_unread() {
    let mut session = session(Role::Client);
    let records = with(Batch::new(0, 9, 7), |batch| batch.length = 3_000_000);
    session.client(&fetch(12, 1, "t", 0, 0));
    let answered = fetched(12, 1, "t", 0, 9, records);
    let looks = session.looks;
    for part in answered.chunks(65_536) {
        session.server(part);
    }
    assert!(session.looks - looks < 100, "{} looks", session.looks - looks);
    assert_sound(&Outcome::of(&session), "long");
    assert_eq!(session.queues.of("topic t", 0).1.taken, 9);
}
