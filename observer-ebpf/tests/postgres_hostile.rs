//! Bytes that no session has: what they lose is counted, and found again with the next whole messages.

mod common;
#[path = "common/postgres/mod.rs"]
mod pg;

use common::{Call, Observed, observe, parts};
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::postgres::layout::State;
use observer_ebpf::stream::bytes::ITERATIONS_MAX;
use pg::{
    CLIENT_TYPES, SERVER_TYPES, assert_right, client, cycle, header, idle, known, observed, outcome, query,
    server,
};
use postgres_protocol::message::frontend;

const SENT: usize = Direction::Sent as usize;
const RECEIVED: usize = Direction::Received as usize;

#[test]
fn a_type_that_cannot_be_loses_its_direction_only() {
    for kind in 0..=255 {
        for (is_server, types) in [(false, CLIENT_TYPES), (true, SERVER_TYPES)] {
            for cut in 0..5 {
                let mut observed = idle();
                let bytes = header(kind, if kind == b'Z' { 5 } else { 4 });
                let call = Call { server: is_server, bytes, now_ns: observed.now_ns };
                parts(&mut observed, &call, &[cut]);
                let lost = usize::from(is_server);
                if types.contains(&kind) {
                    assert!(observed.desyncs.is_empty(), "{kind}");
                    continue;
                }
                assert_eq!(observed.desyncs, [Desync::Header], "{kind}");
                assert_eq!(observed.connection.lost[lost], 1);
                assert_eq!(observed.connection.lost[1 - lost], 0);
                assert_eq!(observed.protocol(), Protocol::Postgres);
                cycle(&mut observed, b'T');
                assert_right(&observed, State::InTransaction);
                assert_eq!(observed.desyncs.len(), 1);
            }
        }
    }
}

#[test]
fn a_length_that_cannot_be_loses_its_direction_only() {
    let wrong = [0, 1, 2, 3, (1 << 30) + 1, 0x7FFF_FFFF, 0x8000_0000, u32::MAX];
    for (is_server, types) in [(false, CLIENT_TYPES), (true, SERVER_TYPES)] {
        for &kind in types {
            for length in wrong {
                for cut in 0..5 {
                    let mut observed = idle();
                    let call =
                        Call { server: is_server, bytes: header(kind, length), now_ns: observed.now_ns };
                    parts(&mut observed, &call, &[cut]);
                    assert_eq!(observed.desyncs, [Desync::Length], "{kind} {length}");
                    assert_eq!(observed.connection.lost[usize::from(is_server)], 1);
                    cycle(&mut observed, b'E');
                    assert_right(&observed, State::Failed);
                }
            }
        }
    }
}

#[test]
fn nothing_more_of_a_call_counts_once_it_is_out_of_sync() {
    let mut observed = idle();
    observed.server(&[header(b'?', 9), server::error("42601"), server::ready(b'T')].concat());
    observed.client(&[header(b'?', 9), query("select 1")].concat());
    assert_eq!(observed.desyncs, [Desync::Header; 2]);
    assert_eq!(observed.connection.lost, [1; 2]);
    let found = outcome(&observed).counters;
    assert_eq!((found.errors[0].count, found.state), (0, State::Idle as u8));
    // What is before it does.
    let mut observed = idle();
    observed.client(&[query("select 1"), header(b'?', 9)].concat());
    observed.server(&[server::complete("SELECT 1"), server::ready(b'T'), header(b'Z', 3)].concat());
    let found = outcome(&observed).counters;
    assert_eq!((found.queries[0][0], found.state), (1, State::InTransaction as u8));
}

#[test]
fn a_lost_client_gets_in_sync_with_a_call_of_whole_messages_that_ends_a_request() {
    let sync = client(frontend::sync);
    let execute = client(|to| frontend::execute("", 0, to).expect("no zero bytes"));
    let copy = server::copied(b"1\n");
    let cases: [(Vec<u8>, bool); 13] = [
        (query("select 1"), true),
        (sync.clone(), true),
        ([execute.clone(), sync.clone()].concat(), true),
        (server::message(b'F', &[0; 12]), true),
        (client(frontend::terminate), true),
        ([copy.clone(), client(frontend::copy_done), sync.clone()].concat(), true),
        (execute.clone(), false),
        (copy, false),
        ([sync.clone(), execute].concat(), false),
        (query("select 1")[1..].to_vec(), false),
        ([&sync[..], b"S"].concat(), false),
        ([&sync[..], b"Q\0\0\0\x09sel"].concat(), false),
        (b"S\0\0\0\x05 ".to_vec(), false),
    ];
    for (bytes, found) in cases {
        let mut observed = idle();
        observed.client(&query("begin"));
        observed.client(b"\xFF\xFF\xFF\xFF\xFF");
        assert!(observed.connection.postgres().is_active());
        observed.client(&bytes);
        assert_eq!(observed.connection.lost, [u8::from(!found), 0], "{bytes:?}");
        observed.server(&server::ready(b'T'));
        cycle(&mut observed, b'I');
        assert_right(&observed, State::Idle);
    }
}

#[test]
fn a_lost_server_gets_in_sync_with_a_call_of_whole_messages_up_to_ready_for_query() {
    let ready = server::ready(b'I');
    let row = server::row(&server::lookalike(300));
    let cases: [(Vec<u8>, bool); 10] = [
        (ready.clone(), true),
        ([row.clone(), server::complete("SELECT 1"), ready.clone()].concat(), true),
        ([server::error("42601"), ready.clone()].concat(), true),
        ([ready.clone(), ready.clone()].concat(), true),
        (row.clone(), false),
        ([ready.clone(), server::notice()].concat(), false),
        ([&row[1..], &ready].concat(), false),
        ([&ready[..], b"Z"].concat(), false),
        (server::ready(b'X'), false),
        (b"Z\0\0\0\x06II".to_vec(), false),
    ];
    for (bytes, found) in cases {
        let mut observed = idle();
        observed.client(&query("select 1"));
        observed.server(b"\xFF\xFF\xFF\xFF\xFF");
        observed.server(&bytes);
        assert_eq!(observed.connection.lost, [0, u8::from(!found)], "{bytes:?}");
        assert_eq!(observed.connection.postgres().is_active(), !found);
        cycle(&mut observed, b'I');
        assert_right(&observed, State::Idle);
    }
}

#[test]
fn what_looks_like_ready_for_query_inside_a_message_is_not() {
    let inside = server::lookalike(500);
    let payload = |kind: u8| match kind {
        b'E' => [b"SERROR\0C42P01\0M", &inside[5..6], b"\0\0"].concat(),
        _ => inside.clone(),
    };
    for kind in *b"DdNSTKRVAEtvGH" {
        let bytes = server::message(kind, &payload(kind));
        for cut in 0..bytes.len() {
            for buffer in [7, 1024] {
                let mut observed = idle();
                observed.client(&query("begin"));
                let before = outcome(&observed).counters;
                observed.buffer = buffer;
                let call = Call { server: true, bytes: bytes.clone(), now_ns: observed.now_ns + 9 };
                parts(&mut observed, &call, &[cut]);
                let found = outcome(&observed).counters;
                assert_eq!(
                    (found.state, found.queries, found.answered),
                    (before.state, before.queries, before.answered)
                );
                observed.server(&server::ready(b'T'));
                assert_right(&observed, State::InTransaction);
                assert!(observed.desyncs.is_empty());
            }
        }
    }
    // The same from the client.
    for kind in *b"dpBCDE" {
        let bytes = server::message(kind, &b"Q\0\0\0\x04S\0\0\0\x04".repeat(30));
        for cut in 0..bytes.len() {
            let mut observed = idle();
            let call = Call { server: false, bytes: bytes.clone(), now_ns: observed.now_ns };
            parts(&mut observed, &call, &[cut]);
            assert_eq!(observed.connection.postgres().asked, u32::from(!b"dp".contains(&kind)));
        }
    }
}

#[test]
fn a_session_may_end_anywhere() {
    for (_, script) in known() {
        let end = script.calls.len() - 1;
        for (place, call) in script.calls.iter().enumerate().take(end) {
            for cut in [1, 4, 5, 6, call.bytes.len() / 2, call.bytes.len() - 1] {
                let mut observed = observed(Role::Server);
                observe(&mut observed, &script.calls[..place]);
                let bytes = call.bytes[..cut.min(call.bytes.len())].to_vec();
                parts(&mut observed, &Call { bytes, ..call.clone() }, &[]);
                assert!(observed.desyncs.is_empty());
                assert_eq!(observed.connection.lost, [0; 2]);
            }
        }
    }
}

#[test]
fn bytes_missed_inside_a_message_are_stepped_over_and_others_lose_the_stream() {
    let row = server::row(&[0; 1_000]);
    let left = row.len() as u64 - 5;
    for missed in [0, 1, 500, left, left + 1, u64::MAX] {
        let mut observed = idle();
        observed.client(&query("select 1"));
        observed.server(&row[..5]);
        let desync = observed.miss(Direction::Received, missed, Desync::Gap);
        if missed > left {
            assert_eq!(desync, Some(Desync::Gap));
            assert_eq!(observed.connection.lost, [0, 1]);
            assert_eq!(observed.miss(Direction::Received, missed, Desync::Gap), None);
            cycle(&mut observed, b'I');
        } else {
            assert_eq!(desync, None);
            observed.server(&row[5 + missed as usize..]);
            observed.server(&[server::complete("SELECT 1"), server::ready(b'I')].concat());
            assert_eq!(observed.connection.postgres().queries[0][0], 1);
        }
        assert_right(&observed, State::Idle);
    }
}

#[test]
fn a_header_that_cannot_be_read_loses_the_stream() {
    let mut observed = idle();
    observed.call_readable(Direction::Received, &server::ready(b'T'), 0);
    assert_eq!(observed.desyncs, [Desync::Unread]);
    assert_eq!(observed.connection.lost, [0, 1]);
    assert_eq!(observed.connection.postgres().state, State::Idle as u8);
    observed.call_readable(Direction::Sent, &query("select"), 0);
    assert_eq!(observed.connection.lost, [1, 1]);
    cycle(&mut observed, b'T');
    assert_right(&observed, State::InTransaction);
}

#[test]
fn no_more_messages_are_looked_at_in_one_call_than_the_bound() {
    let mut observed = idle();
    observed.server(&server::ready(b'T').repeat(ITERATIONS_MAX as usize + 2));
    assert_eq!(observed.desyncs, [Desync::Bound]);
    assert_eq!(observed.connection.lost, [0, 1]);
    cycle(&mut observed, b'I');
    assert_right(&observed, State::Idle);
}

/// One call with which a session first seen in the middle is told.
#[test]
fn a_session_is_adopted_from_one_call() {
    for role in [Role::Client, Role::Server] {
        let mut observed = Observed::adopted(role);
        observed.client(&query("select 1"));
        assert_eq!(observed.protocol(), Protocol::Postgres);
        let (sent, received) = if role == Role::Client { (SENT, RECEIVED) } else { (RECEIVED, SENT) };
        assert_eq!((observed.connection.lost[sent], observed.connection.lost[received]), (0, 1));
        assert!(observed.connection.postgres().is_active());
        assert_eq!(observed.connection.postgres().state, State::None as u8);
        observed.server(&[server::complete("SELECT 1"), server::ready(b'T')].concat());
        assert_right(&observed, State::InTransaction);
        assert_eq!(observed.connection.postgres().queries[0][0], 1, "the query that was seen whole");
        assert_eq!(observed.connection.postgres().acquire_ns, 0);
        // A transaction whose start was not seen has no time.
        cycle(&mut observed, b'I');
        assert_right(&observed, State::Idle);
        assert_eq!(observed.connection.postgres().transactions, [0; 11]);

        let mut observed = Observed::adopted(role);
        let answer = [server::row(b"1"), server::complete("SELECT 1"), server::ready(b'E')].concat();
        observed.server(&answer);
        assert_eq!(observed.protocol(), Protocol::Postgres);
        assert_eq!((observed.connection.lost[sent], observed.connection.lost[received]), (1, 0));
        assert_eq!(State::from_u8(observed.connection.postgres().state), State::Failed);
        observed.client(&query("rollback"));
        observed.server(&[server::complete("ROLLBACK"), server::ready(b'I')].concat());
        assert_right(&observed, State::Idle);
        assert_eq!(observed.connection.postgres().queries[4][0], 1);
        assert!(observed.desyncs.is_empty());
    }
}

#[test]
fn half_a_call_adopts_nothing() {
    let calls = [
        (false, [client(|to| frontend::execute("", 0, to).expect("fine")), client(frontend::sync)].concat()),
        (true, [server::row(b"12345"), server::complete("SELECT 1"), server::ready(b'I')].concat()),
    ];
    for (is_server, bytes) in calls {
        for cut in 1..bytes.len() {
            let mut observed = Observed::adopted(Role::Server);
            let (first, second) = bytes.split_at(cut);
            for part in [first, second] {
                // Its end may be whole messages.
                if [b"S\0\0\0\x04".len(), 6].contains(&part.len()) || part.starts_with(b"C\0\0\0\x0dSELECT") {
                    continue;
                }
                let call = Call { server: is_server, bytes: part.to_vec(), now_ns: 0 };
                parts(&mut observed, &call, &[]);
                assert_eq!(observed.protocol(), Protocol::Unknown, "{part:?}");
            }
        }
    }
}
