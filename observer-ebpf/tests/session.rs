//! Bytes that moved unseen are stepped over inside a payload, and otherwise put the stream out of step, with the reason.

mod common;

use common::{Handshake, Observed, PING, Wire};
use observer_ebpf::layout::connection::FLAG_UNREAD_START;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::websocket::layout::{MessageType, StreamCounters};
use observer_ebpf::stream::bytes::ITERATIONS_MAX;

const SERVER: Direction = Direction::Received;

/// One message of 1,000 bytes from the server, of which `seen` bytes behind the header have passed.
fn inside(seen: usize) -> (Observed, Wire) {
    let mut wire = Wire::from_server();
    wire.message(MessageType::Binary, 1_000);
    let mut observed = Observed::upgraded(Role::Client, false);
    observed.server(&wire.bytes[..wire.edges[1] + seen]);
    (observed, wire)
}

#[test]
fn bytes_missed_inside_a_payload_are_stepped_over() {
    for seen in [0, 1, 500, 999] {
        let left = 1_000 - seen;
        for missed in [0, 1, left / 2, left - 1, left] {
            let (mut observed, mut wire) = inside(seen);
            assert_eq!(observed.miss(SERVER, missed as u64, Desync::Gap), None);
            let here = wire.edges[1] + seen + missed;
            wire.message(MessageType::Text, 3).control(PING, 0);
            observed.server(&wire.bytes[here..]);
            assert_eq!(observed.by_server(), wire.expected, "{seen} seen, {missed} missed");
            assert!(!observed.is_lost(SERVER));
        }
    }
}

#[test]
fn a_header_among_the_missed_bytes_loses_the_stream_for_the_reason_given() {
    for why in [Desync::Unread, Desync::Gap, Desync::Concurrent] {
        for (seen, missed) in [(0, 1_001), (999, 2), (1_000, 1), (10, u64::MAX)] {
            let (mut observed, mut wire) = inside(seen);
            assert_eq!(observed.miss(SERVER, missed, why), Some(why));
            assert!(observed.is_lost(SERVER));
            assert!(!observed.is_lost(SERVER.opposite()));
            assert_eq!(observed.protocol(), Protocol::WebSocket);
            if seen < 1_000 {
                wire.expected = StreamCounters { headers: 1, ..StreamCounters::ZERO };
            }
            assert_eq!(observed.by_server(), wire.expected);
            // Missing more changes nothing.
            assert_eq!(observed.miss(SERVER, missed, why), None);
            let here = wire.bytes.len();
            wire.message(MessageType::Text, 9);
            observed.server(&wire.bytes[here..]);
            assert_eq!(observed.by_server(), wire.expected);
            assert!(!observed.is_lost(SERVER));
        }
    }
}

#[test]
fn bytes_missed_inside_a_header_lose_the_stream() {
    let mut wire = Wire::from_server();
    wire.message(MessageType::Binary, 70_000);
    for cut in 1..wire.edges[1] {
        let mut observed = Observed::upgraded(Role::Client, false);
        observed.server(&wire.bytes[..cut]);
        assert_eq!(observed.miss(SERVER, 1, Desync::Gap), Some(Desync::Gap), "{cut}");
        assert!(observed.is_lost(SERVER));
        assert_eq!(observed.by_server(), StreamCounters::ZERO);
    }
}

#[test]
fn calls_inside_a_payload_need_no_look() {
    let (mut observed, mut wire) = inside(0);
    assert!(!observed.session.pass(SERVER, 1_001, &mut observed.connection));
    assert!(observed.session.pass(SERVER, 400, &mut observed.connection));
    assert!(!observed.session.is_settled(SERVER));
    assert!(!observed.session.pass(SERVER, 601, &mut observed.connection));
    assert!(observed.session.pass(SERVER, 600, &mut observed.connection));
    assert!(observed.session.is_settled(SERVER));
    assert_eq!(observed.by_server(), wire.expected);
    assert!(!observed.session.pass(SERVER, 1, &mut observed.connection));
    wire.message(MessageType::Text, 0);
    observed.server(&[0x81, 0]);
    assert_eq!(observed.by_server(), wire.expected);
}

#[test]
fn a_stream_is_settled_between_frames_only() {
    for masked in [true, false] {
        let mut wire = Wire::new(masked);
        wire.message(MessageType::Text, 5).fragments(MessageType::Binary, false, &[130, 0], &[(PING, 2)]);
        wire.close(Some(1000), 4);
        let direction = if masked { Direction::Sent } else { SERVER };
        let mut observed = Observed::upgraded(Role::Client, false);
        let starts: Vec<_> = wire.edges.iter().copied().step_by(2).chain([wire.bytes.len()]).collect();
        for (place, byte) in wire.bytes.chunks(1).enumerate() {
            assert_eq!(
                observed.session.is_settled(direction),
                starts.contains(&place),
                "before byte {place}"
            );
            observed.call(direction, byte);
        }
        assert!(observed.session.is_settled(direction));
    }
}

#[test]
fn a_header_that_cannot_be_read_loses_the_stream() {
    let mut wire = Wire::from_server();
    wire.message(MessageType::Text, 5).message(MessageType::Binary, 7);
    let mut observed = Observed::upgraded(Role::Client, false);
    observed.call_readable(SERVER, &wire.bytes, 0);
    assert_eq!(observed.desyncs, [Desync::Unread]);
    assert!(observed.is_lost(SERVER));
    assert_eq!(observed.by_server(), StreamCounters::ZERO);

    // The first header only.
    let mut observed = Observed::upgraded(Role::Client, false);
    observed.call_readable(SERVER, &wire.bytes, 1);
    assert_eq!(observed.desyncs, [Desync::Unread]);
    assert_eq!(observed.by_server().messages, [[1, 0], [0, 0]]);

    // Lost, then unreadable again, then in sync.
    observed.call_readable(SERVER, &wire.bytes, 0);
    assert_eq!(observed.desyncs, [Desync::Unread]);
    assert!(observed.is_lost(SERVER));
    observed.server(&wire.bytes);
    assert!(!observed.is_lost(SERVER));
    assert_eq!(observed.by_server().messages, [[2, 0], [1, 0]]);
}

#[test]
fn a_handshake_missed_is_still_http() {
    let Handshake { request, response } = Handshake::new(false);
    for role in [Role::Client, Role::Server] {
        for cut in 1..response.len() {
            let mut observed = Observed::new(role);
            observed.client(&request);
            observed.server(&response[..cut]);
            let direction = role.request_direction().opposite();
            let missed = observed.miss(direction, (response.len() - cut) as u64, Desync::Gap);
            assert_eq!(missed, Some(Desync::Gap));
            assert!(observed.is_lost(direction));
            assert_eq!(observed.protocol(), Protocol::Http);
            assert_eq!(observed.connection.websocket().streams, [StreamCounters::ZERO; 2]);
        }
        // The request is not needed.
        let mut observed = Observed::new(role);
        observed.client(&request[..30]);
        observed.miss(role.request_direction(), request.len() as u64 - 30, Desync::Gap);
        observed.server(&response);
        let mut wire = Wire::from_client();
        wire.message(MessageType::Text, 8);
        observed.client(&wire.bytes);
        assert_eq!(observed.protocol(), Protocol::WebSocket);
        assert_eq!(observed.by_client(), wire.expected);
    }
}

#[test]
fn first_bytes_missed_leave_a_connection_as_one_first_seen_in_the_middle() {
    for role in [Role::Client, Role::Server] {
        for direction in Direction::ALL {
            let mut observed = Observed::new(role);
            assert_eq!(observed.miss(direction, 5, Desync::Unread), None);
            assert_eq!(observed.connection.flags, FLAG_UNREAD_START);
            assert_eq!((observed.connection.lost, observed.connection.pending), ([1; 2], 0));
            observed.client(b"GET / HTTP/1.1\r\n\r\n");
            assert_eq!(observed.protocol(), Protocol::Http);
            // What the server says is in sync with its next response.
            assert!(!observed.is_lost(role.request_direction()));
            assert!(observed.is_lost(role.request_direction().opposite()));
            observed.server(b"HTTP/1.1 204 No Content\r\n\r\n");
            assert_eq!(observed.connection.lost, [0; 2]);
        }
        // That they cannot be read is the same.
        let mut observed = Observed::new(role);
        observed.call_readable(role.request_direction(), b"GET / HTTP/1.1\r\n\r\n", 0);
        assert_eq!(observed.connection.flags, FLAG_UNREAD_START);
        observed.server(b"HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(observed.protocol(), Protocol::Http);
    }
}

#[test]
fn what_was_only_likely_when_bytes_were_missed_counts_for_nothing() {
    // Memcached or Redis, which the reply would have told.
    for opening in [&b"get a\r\n"[..], b"PING\r\n"] {
        let mut observed = Observed::new(Role::Server);
        observed.client(opening);
        assert_eq!(observed.miss(Direction::Sent, 5, Desync::Unread), None);
        let mut wire = Wire::from_client();
        wire.message(MessageType::Text, 5).message(MessageType::Text, 6);
        observed.client(&wire.bytes[..wire.edges[2]]);
        observed.client(&wire.bytes[wire.edges[2]..]);
        assert_eq!(observed.protocol(), Protocol::WebSocket, "{}", opening.escape_ascii());
        assert_eq!(observed.by_client(), wire.expected);
    }
}

/// How many of `calls` were looked at.
fn looked_at(observed: &mut Observed, direction: Direction, calls: u32) -> u32 {
    let looks = (0..calls).filter(|_| {
        let before = observed.looks;
        observed.call(direction, b"\x07nothing known here\n");
        observed.looks != before
    });
    u32::try_from(looks.count()).expect("few")
}

#[test]
fn what_is_nothing_known_is_looked_at_again_now_and_then() {
    for direction in Direction::ALL {
        let mut observed = Observed::new(Role::Server);
        observed.client(b"\x05\x01\x00SOCKS");
        assert_eq!(observed.protocol(), Protocol::Unknown);
        assert_eq!(looked_at(&mut observed, direction, 15), 0, "it has been looked at");
        let looks = looked_at(&mut observed, direction, 10_000);
        assert!((300..=400).contains(&looks), "{looks} of 10,000 calls");
        assert_eq!(observed.protocol(), Protocol::Unknown);
        assert_eq!((observed.connection.lost, &observed.desyncs), ([0; 2], &vec![]));
    }
}

#[test]
fn what_comes_behind_something_unknown_is_found() {
    let mut wire = Wire::from_server();
    wire.message(MessageType::Binary, 40);
    let query = b"Q\0\0\0\x0dselect 1\0";
    for (server, bytes, protocol) in [
        (false, &b"GET / HTTP/1.1\r\n\r\n"[..], Protocol::Http),
        (false, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", Protocol::Tls),
        (false, query, Protocol::Postgres),
        (false, b"*1\r\n$4\r\nPING\r\n", Protocol::Redis),
        (false, b"set a 0 0 1\r\nx\r\n", Protocol::Memcached),
        (true, &wire.bytes, Protocol::WebSocket),
    ] {
        // At once, and after a long time.
        for before in [0, 20, 1_000] {
            let mut observed = Observed::new(Role::Client);
            observed.client(b"\x05\x01\x00");
            observed.server(b"\x05\x00");
            assert_eq!(observed.protocol(), Protocol::Unknown);
            looked_at(&mut observed, Direction::Sent, before);
            for _ in 0..2 * 264 {
                observed.by(server, bytes);
            }
            assert_eq!(observed.protocol(), protocol, "after {before}");
        }
    }
}

#[test]
fn bytes_missed_in_a_long_frame_of_an_adopted_connection_are_stepped_over() {
    let mut wire = Wire::from_server();
    wire.message(MessageType::Binary, 10_000).message(MessageType::Text, 10);
    let second = wire.edges[2];
    for (missed, found) in [(1, true), (5_000, true), (8_999, true), (9_000, false), (20_000, false)] {
        let mut observed = Observed::adopted(Role::Client);
        let header = wire.edges[1];
        observed.server(&wire.bytes[..header + 1_000]);
        assert_eq!(observed.miss(SERVER, missed, Desync::Gap), None);
        let here = (header + 1_000 + missed as usize).min(second);
        observed.server(&wire.bytes[here..second]);
        observed.server(&wire.bytes[second..]);
        let counted = observed.by_server().messages;
        assert_eq!(counted, if found { [[1, 0], [1, 0]] } else { [[1, 0], [0, 0]] }, "{missed}");
    }
}

#[test]
fn no_more_headers_are_looked_at_in_one_call_than_the_bound() {
    let frames = ITERATIONS_MAX as usize + 1;
    let most = [0x81, 0].repeat(frames);
    let mut observed = Observed::upgraded(Role::Client, false);
    observed.server(&most);
    assert!(observed.desyncs.is_empty());
    assert_eq!(observed.by_server().messages, [[frames as u32, 0], [0, 0]]);

    observed.server(&[&most[..], &[0x81, 0]].concat());
    assert_eq!(observed.desyncs, [Desync::Bound]);
    assert!(observed.is_lost(SERVER));
    assert_eq!(observed.by_server().messages, [[2 * frames as u32, 0], [0, 0]]);
    observed.server(&[0x82, 0]);
    assert!(!observed.is_lost(SERVER));
}

#[test]
fn a_head_longer_than_the_bound_is_no_handshake() {
    let Handshake { request, response } = Handshake::new(false);
    let mut long = response[..response.len() - 2].to_vec();
    long.extend(b"X: ");
    // Such lines are gone through 64 bytes at a time.
    long.resize(64 * ITERATIONS_MAX as usize + 100, b'x');
    long.extend(b"\r\n\r\n");
    let mut observed = Observed::new(Role::Client);
    observed.client(&request);
    observed.server(&long);
    assert_eq!(observed.protocol(), Protocol::Http);
    assert_eq!(observed.desyncs, [Desync::Bound]);
}

#[test]
fn a_message_in_progress_when_the_stream_was_lost_does_not_count() {
    let mut wire = Wire::from_server();
    wire.message(MessageType::Text, 1);
    let mut observed = Observed::upgraded(Role::Client, false);
    observed.server(&wire.bytes);
    // The start of a message, a gap, and the message's end behind a ping.
    observed.server(&[0x01, 2, b'a', b'b']);
    assert_eq!(observed.miss(SERVER, 4, Desync::Gap), Some(Desync::Gap));
    observed.server(&[0x89, 0, 0x80, 1, b'c']);
    assert!(!observed.is_lost(SERVER));
    assert_eq!(observed.by_server().messages, [[1, 0], [0, 0]]);
    assert_eq!(observed.by_server().violations, [0; 4]);
    observed.server(&[0x82, 0]);
    assert_eq!(observed.by_server().messages, [[1, 0], [1, 0]]);
}

#[test]
fn a_lost_stream_gets_in_sync_with_a_long_frame_over_many_calls() {
    for masked in [true, false] {
        let direction = if masked { Direction::Sent } else { SERVER };
        let mut observed = Observed::upgraded(Role::Client, false);
        assert_eq!(observed.miss(direction, 1, Desync::Gap), Some(Desync::Gap));
        let mut wire = Wire::new(masked);
        wire.message(MessageType::Binary, 2_000_000).control(PING, 3);
        for part in wire.bytes.chunks(65_536) {
            observed.call(direction, part);
        }
        assert!(!observed.is_lost(direction));
        let counted = observed.connection.websocket().streams[direction as usize];
        assert_eq!(StreamCounters { headers: 0, ..counted }, StreamCounters { headers: 0, ..wire.expected });
        assert_eq!(observed.oversized[direction as usize], wire.oversized);
    }
}

#[test]
fn a_wrong_header_just_after_getting_in_sync_is_a_desync() {
    let mut observed = Observed::upgraded(Role::Client, false);
    observed.miss(SERVER, 1, Desync::Gap);
    // Three frames and the start of a fourth: in sync, and not yet proven.
    observed.server(&[0x81, 0, 0x82, 0, 0x89, 0, 0x81, 2, b'x']);
    assert!(!observed.is_lost(SERVER));
    observed.server(&[b'y', 0x83, 0]);
    assert_eq!(observed.desyncs, [Desync::Header]);
    assert!(observed.is_lost(SERVER));
    assert_eq!(observed.by_server().violations, [0; 4]);
}
