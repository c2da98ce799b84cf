//! The protocol is told from the client's first bytes, however they come.

mod common;

use common::Observed;
use common::heads::method as told;
use observer_ebpf::layout::{Protocol, Role, Side};
use observer_ebpf::protocols::http::Http;
use observer_ebpf::protocols::kafka::Kafka;
use observer_ebpf::protocols::memcached::Memcached;
use observer_ebpf::protocols::postgres::Postgres;
use observer_ebpf::protocols::recognise;
use observer_ebpf::protocols::redis::Redis;
use observer_ebpf::protocols::tls::Tls;
use observer_ebpf::protocols::websocket::layout::StreamCounters;
use observer_ebpf::stream::parser::Recognise as _;
use observer_ebpf::stream::start::{Match, Start};
use proptest::prelude::*;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// How connections start.
const STARTS: &[(&[u8], Protocol)] = &[
    (b"GET / HTTP/1.1\r\n\r\n", Protocol::Http),
    (b"POST /a HTTP/1.1\r\n", Protocol::Http),
    (b"PUT /a HTTP/1.1\r\n", Protocol::Http),
    (b"HEAD / HTTP/1.0\r\n", Protocol::Http),
    (b"DELETE /a HTTP/1.1\r\n", Protocol::Http),
    (b"OPTIONS * HTTP/1.1\r\n", Protocol::Http),
    (b"PATCH /a HTTP/1.1\r\n", Protocol::Http),
    (b"CONNECT a:443 HTTP/1.1\r\n", Protocol::Http),
    (b"TRACE / HTTP/1.1\r\n", Protocol::Http),
    (b"PROPFIND /a HTTP/1.1\r\n", Protocol::Http),
    (b"PURGE /a HTTP/1.1\r\n", Protocol::Http),
    (b"MKCOL / HTTP/1.1\r\n", Protocol::Http),
    (b"COPY a b\r\n", Protocol::Unknown),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2),
    (b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", Protocol::Fastcgi),
    (b"70:CONTENT_LENGTH\x00", Protocol::Scgi),
    // Kafka's ApiVersions and Metadata, which a response is to confirm: of 3.9, as a StartupMessage would have it.
    (b"\x00\x00\x00\x0B\x00\x12\x00\x03\x00\x00\x00\x01\x00\x01c", Protocol::Unknown),
    (b"\x00\x00\x00\x0B\x00\x03\x00\x09\x00\x00\x00\x01\x00\x01c", Protocol::Unknown),
    (b"12345:CONTENT_LENGTH\x00", Protocol::Scgi),
    (b"7a:CONTENT_LENGTH\x00", Protocol::Unknown),
    (b"\x01\x02\x00\x01\x00\x08\x00\x00", Protocol::Unknown),
    // ClientHello in records of TLS 1.0 and 1.2.
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03", Protocol::Tls),
    (b"\x16\x03\x03\x00\xF0\x01\x00\x00\xEC\x03\x03", Protocol::Tls),
    // StartupMessage of 3.0, 3.2 and 3.9999, SSLRequest, GSSENCRequest, CancelRequest.
    (b"\x00\x00\x00\x23\x00\x03\x00\x00user\x00anna\x00database\x00d\x00\x00", Protocol::Postgres),
    (b"\x00\x00\x00\x23\x00\x03\x00\x02user\x00anna\x00database\x00d\x00\x00", Protocol::Postgres),
    (b"\x00\x00\x00\x23\x00\x03\x27\x0Fuser\x00anna\x00database\x00d\x00\x00", Protocol::Postgres),
    (b"\x00\x00\x00\x08\x04\xD2\x16\x2F", Protocol::Postgres),
    (b"\x00\x00\x00\x08\x04\xD2\x16\x30", Protocol::Postgres),
    (b"\x00\x00\x00\x10\x04\xD2\x16\x2E\x00\x00\x00\x01\x00\x00\x00\x02", Protocol::Postgres),
    (b"*1\r\n$4\r\nPING\r\n", Protocol::Redis),
    (b"*12\r\n$3\r\nSET\r\n", Protocol::Redis),
    (b"*999\r\n$4\r\nMGET\r\n", Protocol::Redis),
    (b"get / HTTP/1.1\r\n", Protocol::Unknown),
    (b"GETX / HTTP/1.1\r\n", Protocol::Unknown),
    (b"PRI * UDP", Protocol::Unknown),
    (b"SSH-2.0-OpenSSH_9.9\r\n", Protocol::Unknown),
    (b"EHLO example.com\r\n", Protocol::Unknown),
    // MQTT CONNECT.
    (b"\x10\x1A\x00\x04MQTT\x04\x02\x00\x3C", Protocol::Unknown),
    // A TLS alert, and a handshake that is no ClientHello.
    (b"\x15\x03\x03\x00\x02\x02\x28\x00", Protocol::Unknown),
    (b"\x16\x03\x03\x00\xF0\x02\x00\x00\xEC", Protocol::Unknown),
    (b"\x16\x02\x00\x00\x10\x01\x00\x00", Protocol::Unknown),
    // Postgres 2.0, and a length too long.
    (b"\x00\x00\x01\x28\x00\x02\x00\x00user", Protocol::Unknown),
    (b"\x00\x00\xFF\xFF\x00\x03\x00\x00", Protocol::Unknown),
    (b"\x00\x00\x00\x00\x00\x00\x00\x00", Protocol::Unknown),
    (b"*10000\r\n$4\r\n", Protocol::Unknown),
    (b"*a\r\n$4\r\n", Protocol::Unknown),
    (b"*1\r\n+OK\r\n", Protocol::Unknown),
    (b"*\r\n$4\r\n", Protocol::Unknown),
    (b"\x81\x85\x01\x02\x03\x04abcde", Protocol::Unknown),
];

/// Methods that tell HTTP.
const METHODS: [&str; 19] = [
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LOCK",
    "MKCOL",
    "MOVE",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNLOCK",
];

#[test]
fn a_request_of_any_of_these_methods_is_counted_wherever_it_is_cut() {
    for method in METHODS {
        let request = format!("{method} /a/7 HTTP/1.1\r\nHost: a\r\n\r\n");
        for split in 0..request.len() {
            let mut observed = Observed::new(Role::Server);
            observed.client(&request.as_bytes()[..split]);
            observed.client(&request.as_bytes()[split..]);
            observed.server(b"HTTP/1.1 207 x\r\nContent-Length: 0\r\n\r\n");
            // What a tunnel leads to has no path.
            let route = if method == "CONNECT" { "*" } else { "/a/{id}" };
            let row = (route.to_owned(), told(method), 207);
            assert_eq!(observed.labels.requests(), [(row, 1)].into(), "{request:?} cut at {split}");
            assert!(observed.desyncs.is_empty());
        }
    }
}

#[test]
fn a_connection_is_what_its_first_bytes_are_at_every_split() {
    for &(bytes, protocol) in STARTS {
        for role in ROLES {
            for first in 0..bytes.len().min(9) {
                for second in first..bytes.len().min(10) {
                    let mut observed = Observed::new(role);
                    for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                        observed.client(part);
                    }
                    assert_eq!(observed.protocol(), protocol, "{} {first} {second}", bytes.escape_ascii());
                }
            }
            let mut observed = Observed::new(role);
            for byte in bytes.chunks(1) {
                observed.client(byte);
            }
            assert_eq!(observed.protocol(), protocol, "{} a byte a call", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_connection_is_what_its_first_bytes_are_whatever_lies_behind_them() {
    for &(bytes, protocol) in STARTS {
        for buffer in 1..=16 {
            for poison in [0, b'\n', 0xFF] {
                let mut observed = Observed::new(Role::Client).in_buffers_of(buffer);
                observed.poison = poison;
                observed.client(bytes);
                assert_eq!(observed.protocol(), protocol, "{} {buffer}", bytes.escape_ascii());
            }
        }
    }
}

#[test]
fn a_connection_known_to_be_something_else_stays_that() {
    for &(bytes, protocol) in STARTS.iter().filter(|(_, protocol)| *protocol != Protocol::Http) {
        let mut observed = Observed::new(Role::Server);
        observed.client(bytes);
        for _ in 0..3 {
            observed.server(b"\x81\x05hello");
            observed.client(b"\x81\x85\x01\x02\x03\x04abcde");
            observed.client(b"GET /chat HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
            observed.server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
        }
        assert_eq!(observed.protocol(), protocol, "{}", bytes.escape_ascii());
        assert_eq!(observed.connection.websocket().streams, [StreamCounters::ZERO; 2]);
        assert_eq!(observed.connection.pending, 0);
    }
}

#[test]
fn a_server_that_speaks_first_speaks_nothing_known_here() {
    for greeting in
        [&b"220 mail.example.com ESMTP\r\n"[..], b"SSH-2.0-x\r\n", b"\x4A\x00\x00\x00\x0A8.4.0", b"x"]
    {
        for role in ROLES {
            let mut observed = Observed::new(role);
            observed.server(greeting);
            observed.client(b"GET / HTTP/1.1\r\n\r\n");
            assert_eq!(observed.protocol(), Protocol::Unknown);
        }
    }
}

#[test]
fn too_few_bytes_tell_nothing_yet() {
    for &(bytes, protocol) in STARTS.iter().filter(|(_, protocol)| *protocol != Protocol::Unknown) {
        let mut observed = Observed::new(Role::Client);
        for byte in bytes[..3].chunks(1) {
            observed.client(byte);
            assert_eq!(observed.protocol(), Protocol::Unknown, "{}", bytes.escape_ascii());
        }
        observed.client(&bytes[3..]);
        assert_eq!(observed.protocol(), protocol, "{}", bytes.escape_ascii());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn eight_bytes_are_enough_and_more_bytes_change_no_answer(
        start in 0..STARTS.len(),
        change in 0..16usize,
        byte: u8,
    ) {
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(STARTS[start].0) {
            *to = *from;
        }
        if let Some(place) = first.get_mut(change) {
            *place = byte;
        }
        let answers: Vec<_> = (1..=8)
            .map(|length| {
                // What lies behind the length must not matter.
                let mut shown = [byte; 8];
                shown[..length].copy_from_slice(&first[..length]);
                recognise(Start::new(u64::from_le_bytes(shown), length as u32), Side::Client)
            })
            .collect();
        prop_assert_ne!(answers[7].0, Match::More);
        let told = answers.iter().position(|&(found, _)| found != Match::More).unwrap_or(7);
        prop_assert!(answers[told..].iter().all(|answer| *answer == answers[told]), "{:?}", answers);
    }

    #[test]
    fn detection_takes_any_word_and_any_length(word: u64, length: u32) {
        let start = Start::new(word, length);
        for side in [Side::Client, Side::Server] {
            let _ = recognise(start, side);
            let _ = [Http::adopts(start, side), Postgres::adopts(start, side), Kafka::adopts(start, side)];
            let _ = [Redis::adopts(start, side), Tls::adopts(start, side), Memcached::adopts(start, side)];
        }
    }
}
