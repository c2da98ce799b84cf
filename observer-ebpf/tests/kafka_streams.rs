//! Kafka's bytes where they are in the middle of a session, lost, out of sync, or another protocol's.

mod common;

#[path = "common/kafka/mod.rs"]
mod kafka;

use common::turns::ROLES;
use common::{Call, Observed, parts};
use kafka::{
    Batch, MS, NOW_MS, Outcome, assert_sound, each_way, fetch, fetched, heard, heartbeat, named, observed,
    produce, produced, request_of, session,
};
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};

#[test]
fn responses_may_skip_requests_and_some_are_to_none() {
    let turns = [
        (false, [heartbeat(1), fetch(11, 2, "t", 0, 5), heartbeat(3)].concat()),
        (true, heard(3, 22)),
        // To none: before all, and after all.
        (true, [heard(1, 25), heard(99, 25)].concat()),
        (false, [heartbeat(4), fetch(11, 5, "t", 0, 6)].concat()),
        (true, [heard(40, 16), heard(4, 27), fetched(11, 5, "t", 0, 7, Vec::new())].concat()),
    ];
    each_way(&turns, |outcome, how| {
        assert_eq!((outcome.lost, &outcome.desyncs[..]), ([0; 2], &[][..]), "{how}");
        assert_eq!(outcome.counters.unparsed, 0, "{how}");
        assert!(outcome.counters.unmatched >= 2, "{how}");
        assert_eq!(outcome.errors()["illegal_generation"], 1, "{how}");
    });
    // Correlation ids count on from the greatest to the least.
    let mut session = session(Role::Server);
    session.client(&[heartbeat(i32::MAX - 1), heartbeat(i32::MAX), heartbeat(i32::MIN)].concat());
    session.server(&[heard(i32::MAX, 27), heard(i32::MIN, 27)].concat());
    let outcome = Outcome::of(&session);
    assert_eq!((outcome.counters.unmatched, outcome.errors()["rebalance_in_progress"]), (0, 2));
}

#[test]
fn more_in_flight_than_is_kept_is_told() {
    let mut session = session(Role::Client);
    session.client(&(0..40).flat_map(heartbeat).collect::<Vec<_>>());
    session.server(&(0..40).flat_map(|number| heard(number, 27)).collect::<Vec<_>>());
    session.client(&produce(9, 40, 1, "t", 0, Batch::new(0, 5, 0).bytes()));
    session.server(&produced(9, 40, "t", 0, 0, 3));
    let outcome = Outcome::of(&session);
    assert_eq!((outcome.lost, &outcome.desyncs[..]), ([0; 2], &[][..]));
    assert_eq!(outcome.requests(), named(&[("api_versions", 1), ("heartbeat", 40), ("produce", 1)]));
    assert_eq!(outcome.counters.unmatched, 8);
    let errors = named(&[("rebalance_in_progress", 32), ("unknown_topic_or_partition", 1)]);
    assert_eq!(outcome.errors(), errors);
    assert_eq!(outcome.counters.produces[0], 1);
}

#[test]
fn a_connection_from_before_is_told_by_a_whole_request() {
    for role in ROLES {
        for alone in [false, true] {
            let mut session = Observed::adopted(role);
            session.wall_ns = NOW_MS * MS;
            // What was asked before.
            session.server(&heard(6, 27));
            assert_eq!(session.protocol(), Protocol::Unknown);
            session.client(&fetch(11, 7, "t", 0, 0));
            assert_eq!((session.protocol(), session.connection.pending), (Protocol::Kafka, 0));
            assert!(session.is_lost(role.request_direction().opposite()));
            session.server(&heard(6, 27));
            for number in 7..12 {
                if number > 7 {
                    let asked = fetch(11, number, "t", 0, i64::from(number));
                    let (size, rest) = asked.split_at(if alone { 4 } else { 0 });
                    session.client(size);
                    session.client(rest);
                }
                let answered = fetched(11, number, "t", 0, 20, Batch::new(number.into(), 1, 3).bytes());
                let (size, rest) = answered.split_at(if alone { 4 } else { 0 });
                session.server(size);
                session.server(rest);
            }
            let outcome = Outcome::of(&session);
            assert_sound(&outcome, "found");
            assert_eq!(outcome.requests(), named(&[("fetch", 5)]));
            assert_eq!(outcome.queues.of("topic t", 0).1.taken, 5);
        }
    }
}

#[test]
fn a_stream_gets_in_sync_again() {
    for role in ROLES {
        for server in [false, true] {
            // Whole, with the size on its own, and with the correlation id as well.
            for lengths in [&[][..], &[4], &[8]] {
                let mut session = session(role);
                let direction = role.request_direction();
                let lost = if server { direction.opposite() } else { direction };
                session.client(&heartbeat(1));
                assert_eq!(session.miss(lost, 11, Desync::Gap), Some(Desync::Gap));
                assert!(session.is_lost(lost) && !session.is_lost(lost.opposite()));
                // The middle of something.
                session.by(server, b"something else, of whatever length");
                session.by(server, b"some");
                session.by(server, b"thing");
                assert!(session.is_lost(lost));
                for number in 2..5 {
                    let ask = Call { server: false, bytes: heartbeat(number), now_ns: 0 };
                    let answer = Call { server: true, bytes: heard(number, 27), now_ns: 0 };
                    // No client writes its key and its version on their own.
                    let is_likely = server || lengths != [8];
                    parts(&mut session, &ask, if is_likely { lengths } else { &[] });
                    parts(&mut session, &answer, lengths);
                }
                let outcome = Outcome::of(&session);
                assert_eq!((outcome.lost, &outcome.desyncs[..]), ([0; 2], &[][..]), "{server} {lengths:?}");
                assert_eq!(outcome.errors(), named(&[("rebalance_in_progress", 3)]), "{server} {lengths:?}");
                assert_eq!((outcome.counters.unparsed, outcome.counters.unmatched), (0, 0));
            }
        }
    }
}

#[test]
fn bytes_that_move_unseen_cost_one_message() {
    let asked = fetch(12, 1, "t", 0, 0);
    let answered =
        fetched(12, 1, "t", 0, 20, [Batch::new(0, 2, 9).bytes(), Batch::new(2, 4, 9).bytes()].concat());
    let mut counts = [0; 3];
    for role in ROLES {
        for (server, bytes) in [(false, &asked), (true, &answered)] {
            let direction =
                if server { role.request_direction().opposite() } else { role.request_direction() };
            for from in 4..bytes.len() {
                for to in from + 1..=bytes.len() {
                    let mut session = session(role);
                    if server {
                        session.client(&asked);
                    }
                    session.by(server, &bytes[..from]);
                    assert_eq!(
                        session.miss(direction, (to - from) as u64, Desync::Gap),
                        None,
                        "{from}..{to}"
                    );
                    session.by(server, &bytes[to..]);
                    session.client(&produce(9, 2, 1, "t", 0, Batch::new(0, 5, 0).bytes()));
                    session.server(&produced(9, 2, "t", 0, 30, 0));
                    let outcome = Outcome::of(&session);
                    assert_eq!((outcome.lost, &outcome.desyncs[..]), ([0; 2], &[][..]), "{from}..{to}");
                    assert_eq!((outcome.counters.unmatched, outcome.counters.produces[0]), (0, 1));
                    let (_, counted) = outcome.queues.of("topic t", 0);
                    assert_eq!(counted.put, 5);
                    if server {
                        counts[usize::try_from(counted.taken / 2).expect("few").min(2)] += 1;
                    }
                }
                let mut session = session(role);
                if server {
                    session.client(&asked);
                }
                session.by(server, &bytes[..from]);
                let beyond = (bytes.len() - from + 1) as u64;
                assert_eq!(session.miss(direction, beyond, Desync::Gap), Some(Desync::Gap));
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 0), "none, the first batch, both: {counts:?}");
}

#[test]
fn a_response_whose_end_moved_unseen_has_no_latency() {
    let answered = produced(9, 1, "t", 0, 0, 0);
    let mut session = session(Role::Client);
    session.client(&produce(9, 1, 1, "t", 0, Batch::new(0, 5, 0).bytes()));
    session.server(&answered[..answered.len() - 3]);
    assert_eq!(session.miss(Direction::Received, 3, Desync::Gap), None);
    assert!(session.session.is_settled(Direction::Received));
    session.now_ns = 60_000 * MS;
    session.client(&produce(9, 2, 1, "t", 0, Batch::new(0, 5, 0).bytes()));
    session.server(&produced(9, 2, "t", 0, 30, 0));
    let outcome = Outcome::of(&session);
    assert_sound(&outcome, "unseen");
    assert_eq!((outcome.counters.produces.iter().sum::<u32>(), outcome.counters.produce_ns), (1, 0));
}

#[test]
fn what_is_not_answered_alike_is_unknown() {
    let ask = request_of(3, 9, 7, Some("c"), b"\0\x01");
    for answered in [
        &heard(8, 0)[..],
        &heard(-7, 0),
        b"\0\0\0\x03abc",
        b"\0\0\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xFF\xFF\xFF\xFF\0\0\0\x07",
        b"+OK\r\n+OK\r\n",
        b"\x15\x03\x01\x00\x02\x02\x0A\x15\x03",
        b"ERROR\r\n\r\n",
    ] {
        for role in ROLES {
            for cut in [0, 3, 4, 6] {
                let mut session = observed(role);
                session.client(&ask);
                assert_eq!((session.protocol(), session.connection.pending), (Protocol::Unknown, 1));
                let (part, behind) = answered.split_at(cut.min(answered.len()));
                session.server(part);
                session.server(behind);
                assert_eq!(session.protocol(), Protocol::Unknown, "{}", answered.escape_ascii());
                assert_eq!((session.connection.pending, session.connection.lost), (0, [0; 2]));
                assert_eq!(session.desyncs, []);
                // Nor is it later, and what was counted is not shown as another protocol's.
                for _ in 0..600 {
                    session.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                    session.server(b"HTTP/1.1 204 No Content\r\n\r\n");
                }
                assert_eq!(session.protocol(), Protocol::Http);
            }
        }
    }
    // What breaks the rules before the first response.
    for then in [
        request_of(200, 0, 8, Some("c"), b""),
        request_of(3, 300, 8, Some("c"), b""),
        b"\0\0\0\x05abcde".to_vec(),
    ] {
        let mut session = observed(Role::Client);
        session.client(&ask);
        session.client(&then);
        assert_eq!((session.protocol(), session.connection.pending), (Protocol::Unknown, 0));
    }
    for missed in [1, 1_000] {
        for direction in Direction::ALL {
            let mut session = observed(Role::Client);
            session.client(&ask);
            session.miss(direction, missed, Desync::Gap);
            assert_eq!((session.protocol(), session.connection.pending), (Protocol::Unknown, 0));
        }
    }
}

#[test]
fn other_protocols_are_not_taken_for_kafka() {
    let starts: [&[u8]; 17] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03",
        b"\x00\x00\x00\x08\x04\xD2\x16\x2F",
        b"\x00\x00\x00\x23\x00\x03\x00\x00user\x00anna\x00database\x00d\x00\x00",
        b"*1\r\n$4\r\nPING\r\n",
        b"set a 0 0 1\r\nx\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x10\x1A\x00\x04MQTT\x04\x02\x00\x3C",
        b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00",
        b"\x00\x1D\xAB\xCD\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example",
        b"AMQP\x00\x00\x09\x01",
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x00\x20\x80\x00\x00\x01",
        b"\x04\x00\x00\x01\x00\x00\x00\x1A",
        b"\x05\x01\x00",
        b"\x02\x00\x00\x00\x45\x00\x00\x00",
    ];
    for start in starts {
        for role in ROLES {
            for adopted in [false, true] {
                let mut session = if adopted { Observed::adopted(role) } else { Observed::new(role) };
                for _ in 0..20 {
                    session.client(start);
                    session.server(b"\x00\x00\x00\x08whatever");
                    assert_ne!(session.protocol(), Protocol::Kafka, "{}", start.escape_ascii());
                }
            }
        }
    }
    // A call in the middle that is no whole request, or has no name.
    for bytes in [
        request_of(1, 11, 7, None, &[0; 30]),
        request_of(1, 11, 7, Some(""), &[0; 30]),
        request_of(1, 11, 7, Some("\u{1}"), &[0; 30]),
        request_of(1, 99, 7, Some("c"), &[0; 30]),
        request_of(1, 11, 7, Some("c"), &[0; 30])[..40].to_vec(),
        request_of(1, 11, 7, Some("c"), &[0; 30])[4..].to_vec(),
    ] {
        let mut session = Observed::adopted(Role::Client);
        session.client(&bytes);
        assert_eq!(session.protocol(), Protocol::Unknown, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_breaks_the_rules_is_a_desync() {
    for (server, bytes, reason) in [
        (false, b"\0\0\0\x09abcdefghi".to_vec(), Desync::Length),
        (false, b"\x40\0\0\x01".to_vec(), Desync::Length),
        (false, b"\xFF\xFF\xFF\xFF".to_vec(), Desync::Length),
        (false, request_of(128, 0, 1, None, b""), Desync::Header),
        (false, request_of(-1, 0, 1, None, b""), Desync::Header),
        (false, request_of(0, 128, 1, None, b""), Desync::Header),
        (true, b"\0\0\0\x03abc".to_vec(), Desync::Length),
        (true, b"\0\0\0\0".to_vec(), Desync::Length),
        (true, b"\x7F\xFF\xFF\xFFabcd".to_vec(), Desync::Length),
    ] {
        let mut session = session(Role::Server);
        session.by(server, &bytes);
        assert_eq!(session.desyncs, [reason], "{}", bytes.escape_ascii());
        // In the call of the first response, which tells what it is.
        if server {
            let mut session = observed(Role::Server);
            session.client(&heartbeat(1));
            session.server(&[heard(1, 0), bytes.clone()].concat());
            assert_eq!(session.protocol(), Protocol::Kafka);
            session.server(&bytes);
            assert_eq!(session.desyncs, [reason], "{}", bytes.escape_ascii());
            assert_ne!(session.connection.lost, [0; 2]);
        }
    }
    let mut session = session(Role::Client);
    session.call_readable(Direction::Sent, &heartbeat(1), 0);
    assert_eq!(session.desyncs, [Desync::Unread]);
}
