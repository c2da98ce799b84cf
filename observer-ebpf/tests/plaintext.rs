//! The plaintext of an encrypted connection is parsed as what moves on a socket in the clear.

mod common;

use common::{Call, Handshake, Observed, Wire, observe, parts, recorded};
use observer_ebpf::layout::connection::{Connection, Details};
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::websocket::layout::MessageType;

const RECORDED: &[(&str, &str)] = &[
    ("simple", include_str!("recorded/simple.txt")),
    ("copy", include_str!("recorded/copy.txt")),
    ("scram", include_str!("recorded/scram.txt")),
    ("pgbench-pipeline", include_str!("recorded/pgbench-pipeline.txt")),
    ("redis-basic", include_str!("recorded/redis-basic.txt")),
    ("redis-pipeline", include_str!("recorded/redis-pipeline.txt")),
    ("redis-resp3", include_str!("recorded/redis-resp3.txt")),
    ("memcached-basic", include_str!("recorded/memcached-basic.txt")),
    ("kafka-librdkafka-group", include_str!("recorded/kafka-librdkafka-group.txt")),
];

/// The words of what a connection has counted.
fn words(connection: &Connection) -> Vec<u64> {
    let details = (&raw const connection.details).cast::<u64>();
    // SAFETY: of integers only, aligned to eight bytes, and whole words long.
    (0..size_of::<Details>() / 8).map(|at| unsafe { details.add(at).read() }).collect()
}

/// Calls in parts of one byte each, or whole.
fn fed(mut observed: Observed, calls: &[Call], by_byte: bool) -> Observed {
    for call in calls {
        let lengths = if by_byte { vec![1; call.bytes.len()] } else { Vec::new() };
        parts(&mut observed, call, &lengths);
    }
    observed
}

#[test]
fn it_counts_as_in_the_clear() {
    for (name, _) in RECORDED {
        let calls = recorded(RECORDED, name, 1_000, 1_000);
        for role in [Role::Client, Role::Server] {
            for by_byte in [false, true] {
                let clear = fed(Observed::new(role), &calls, by_byte);
                for told in [Protocol::Tls, Protocol::Http2] {
                    let inside = fed(Observed::inside(role, told, false), &calls, by_byte);
                    assert_eq!(inside.protocol(), clear.protocol(), "{name}");
                    assert_ne!(inside.protocol(), Protocol::Unknown, "{name}");
                    assert_eq!(words(&inside.connection), words(&clear.connection), "{name}");
                    assert_eq!(inside.connection.lost, clear.connection.lost, "{name}");
                    assert_eq!(inside.connection.pending, 0, "{name}");
                }
            }
        }
    }
}

#[test]
fn a_websocket_is_one_inside_too() {
    let handshake = Handshake::with(common::Extension::None);
    let mut observed = Observed::inside(Role::Server, Protocol::Tls, false);
    observed.client(&handshake.request);
    observed.server(&handshake.response);
    assert_eq!(observed.protocol(), Protocol::WebSocket);
    let mut wire = Wire::new(true);
    wire.message(MessageType::Binary, 12_000_000);
    observed.client(&wire.bytes);
    assert_eq!(observed.by_client(), wire.expected);
    assert_eq!(observed.oversized[Direction::Received as usize], [(12_000_000, 2)]);
}

/// What has been counted before Postgres agreed to encrypt is kept: the connection is a session of Postgres already.
#[test]
fn a_session_that_was_told_before_goes_on() {
    let calls = recorded(RECORDED, "simple", 1_000, 1_000);
    let mut inside = Observed::inside(Role::Client, Protocol::Postgres, false);
    inside.connection.seen_ns = 500;
    observe(&mut inside, &calls);
    let mut clear = Observed::new(Role::Client);
    clear.connection.seen_ns = 500;
    observe(&mut clear, &calls);
    assert_eq!(words(&inside.connection), words(&clear.connection));
    assert!(inside.connection.details.postgres_mut().acquire_ns > 0);
}

#[test]
fn what_is_nothing_known_stays_what_records_have_told() {
    for told in [Protocol::Tls, Protocol::Http2] {
        let mut observed = Observed::inside(Role::Client, told, false);
        observed.client(b"\x01\x02\x03\x04 nothing that is known here");
        observed.server(b"\xFF\xFE neither");
        assert_eq!(observed.protocol(), told);
        assert_eq!((observed.connection.lost, observed.connection.pending), ([0; 2], 0));
    }
}

#[test]
fn one_that_is_joined_in_the_middle_is_found() {
    let calls = recorded(RECORDED, "redis-basic", 1_000, 1_000);
    let mut observed = Observed::inside(Role::Server, Protocol::Tls, true);
    observe(&mut observed, &calls[calls.len() / 2..]);
    assert_eq!(observed.protocol(), Protocol::Redis);
    assert_eq!(observed.connection.lost, [0; 2]);
}
