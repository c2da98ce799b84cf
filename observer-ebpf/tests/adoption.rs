//! A connection first seen in the middle counts from where it gets in sync, and nothing else is taken for a WebSocket.

mod common;

use common::{Handshake, Observed, PING, PONG, Wire};
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::websocket::layout::{MessageType, Opcode, StreamCounters};

/// Each end, and each direction with whether its frames are masked.
const WAYS: [(Role, Direction, bool); 4] = [
    (Role::Client, Direction::Sent, true),
    (Role::Client, Direction::Received, false),
    (Role::Server, Direction::Sent, false),
    (Role::Server, Direction::Received, true),
];

/// What was counted, without the number of headers: that of a long frame is not seen as one when it passes.
fn counted(observed: &Observed, direction: Direction) -> StreamCounters {
    StreamCounters { headers: 0, ..observed.connection.websocket().streams[direction as usize] }
}

fn expected(wire: &Wire) -> StreamCounters {
    StreamCounters { headers: 0, ..wire.expected }
}

/// Feeds frames from edge to edge: each call holds `frames` of them.
fn feed_frames(observed: &mut Observed, direction: Direction, wire: &Wire, frames: usize) {
    let starts: Vec<_> = wire.edges.iter().copied().step_by(2 * frames).chain([wire.bytes.len()]).collect();
    for range in starts.windows(2) {
        observed.call(direction, &wire.bytes[range[0]..range[1]]);
    }
}

#[test]
fn a_websocket_counts_from_its_first_call_of_whole_frames() {
    for (role, direction, masked) in WAYS {
        for frames in 1..5 {
            let mut wire = Wire::new(masked);
            for size in [3, 0, 125, 126, 700, 70_000, 1] {
                wire.message(MessageType::Text, size).message(MessageType::Binary, size).control(PING, 2);
            }
            let mut observed = Observed::adopted(role);
            feed_frames(&mut observed, direction, &wire, frames);
            assert_eq!(observed.protocol(), Protocol::WebSocket);
            assert_eq!(
                counted(&observed, direction),
                expected(&wire),
                "{role:?} {direction:?} {frames} a call"
            );
            assert!(!observed.is_lost(direction));
            assert!(observed.desyncs.is_empty());
        }
    }
}

#[test]
fn both_directions_get_in_sync_on_their_own() {
    for role in [Role::Client, Role::Server] {
        let (mut client, mut server) = (Wire::from_client(), Wire::from_server());
        client.message(MessageType::Text, 20).message(MessageType::Text, 21);
        server.message(MessageType::Binary, 40).message(MessageType::Binary, 400);
        let mut observed = Observed::adopted(role);
        for [one, other] in [[0, 0], [2, 2]] {
            let range =
                |wire: &Wire| wire.edges[one]..wire.edges.get(other + 2).copied().unwrap_or(wire.bytes.len());
            let (sent, answered) = (range(&client), range(&server));
            observed.client(&client.bytes[sent]);
            observed.server(&server.bytes[answered]);
        }
        assert_eq!(observed.protocol(), Protocol::WebSocket);
        assert_eq!(observed.by_client(), client.expected);
        assert_eq!(observed.by_server(), server.expected);
    }
}

#[test]
fn one_call_in_sync_is_not_enough() {
    for (role, direction, masked) in WAYS {
        let mut wire = Wire::new(masked);
        wire.message(MessageType::Text, 20);
        let mut observed = Observed::adopted(role);
        observed.call(direction, &wire.bytes);
        assert_eq!(observed.protocol(), Protocol::Unknown);
        // What comes next is none: what was counted was not there.
        observed.call(direction, b"\xFFnothing that could be a frame");
        assert_eq!(observed.connection.websocket().streams, [StreamCounters::ZERO; 2]);
        assert_eq!(observed.protocol(), Protocol::Unknown);
    }
}

#[test]
fn one_long_frame_is_not_enough() {
    for (role, direction, masked) in WAYS {
        for call in [1_000, 700] {
            let mut wire = Wire::new(masked);
            wire.message(MessageType::Binary, 2_000);
            let mut observed = Observed::adopted(role);
            for part in wire.bytes.chunks(call) {
                observed.call(direction, part);
            }
            assert_eq!(observed.protocol(), Protocol::Unknown, "{call}");
            observed.call(direction, &[0xFF; 20]);
            assert_eq!(observed.connection.websocket().streams, [StreamCounters::ZERO; 2]);
        }
    }
}

#[test]
fn the_rest_of_a_frame_in_progress_is_not_counted() {
    for (role, direction, masked) in WAYS {
        for rest in [1, 2, 100, 5_000] {
            let mut observed = Observed::adopted(role);
            observed.call(direction, &vec![b'x'; rest]);
            assert!(observed.session.is_settled(direction), "no frame was taken to be in progress");
            let mut wire = Wire::new(masked);
            wire.message(MessageType::Text, 20).control(PONG, 0).message(MessageType::Text, 300);
            feed_frames(&mut observed, direction, &wire, 1);
            assert_eq!(observed.protocol(), Protocol::WebSocket);
            assert_eq!(counted(&observed, direction), expected(&wire));
        }
    }
}

#[test]
fn the_end_of_a_message_whose_start_was_not_seen_counts_as_frames_only() {
    for (role, direction, masked) in WAYS {
        let mut observed = Observed::adopted(role);
        let mut whole = Wire::new(masked);
        whole.fragments(MessageType::Text, true, &[5, 6, 7, 8], &[(PING, 1)]);
        // From the first ping on, which may start a stream; a continuation may not.
        let start = whole.edges[2];
        for range in
            whole.edges.iter().copied().step_by(2).chain([whole.bytes.len()]).collect::<Vec<_>>().windows(2)
        {
            if range[0] >= start {
                observed.call(direction, &whole.bytes[range[0]..range[1]]);
            }
        }
        let mut seen = Wire::new(masked);
        for size in [6, 7, 8] {
            seen.control(PING, 1).count_frame(Opcode::Continuation, size);
        }
        assert_eq!(counted(&observed, direction), expected(&seen));
        assert_eq!(observed.protocol(), Protocol::WebSocket);
        seen.message(MessageType::Binary, 77);
        let start = *seen.edges.iter().rev().nth(1).expect("a frame");
        observed.call(direction, &seen.bytes[start..]);
        assert_eq!(counted(&observed, direction), expected(&seen));
    }
}

#[test]
fn long_frames_over_many_calls_get_a_stream_in_sync() {
    for (role, direction, masked) in WAYS {
        for size in [126, 1_000, 65_535, 65_536, 3_000_000] {
            for call in [200, 4_096, 65_536] {
                let mut wire = Wire::new(masked);
                wire.message(MessageType::Binary, size).message(MessageType::Text, size + 1);
                let mut observed = Observed::adopted(role);
                let second = wire.edges[2];
                for frame in [&wire.bytes[..second], &wire.bytes[second..]] {
                    for part in frame.chunks(call) {
                        observed.call(direction, part);
                    }
                }
                assert_eq!(observed.protocol(), Protocol::WebSocket, "{size}, {call}");
                assert_eq!(counted(&observed, direction), expected(&wire), "{size}, {call}");
                assert_eq!(observed.oversized[direction as usize], wire.oversized, "{size}, {call}");
            }
        }
    }
}

#[test]
fn headers_written_apart_from_long_payloads_get_a_stream_in_sync() {
    for (role, direction, masked) in WAYS {
        let mut wire = Wire::new(masked);
        for size in [126, 5_000, 1_000_000] {
            wire.message(MessageType::Text, size);
        }
        let mut observed = Observed::adopted(role);
        for range in wire.edges.iter().copied().chain([wire.bytes.len()]).collect::<Vec<_>>().windows(2) {
            observed.call(direction, &wire.bytes[range[0]..range[1]]);
        }
        assert_eq!(observed.protocol(), Protocol::WebSocket);
        assert_eq!(counted(&observed, direction), expected(&wire));
        assert_eq!(observed.oversized[direction as usize], wire.oversized);
    }
}

#[test]
fn reads_of_a_fixed_size_get_a_stream_of_long_frames_in_sync() {
    for (role, direction, masked) in WAYS {
        let mut wire = Wire::new(masked);
        wire.message(MessageType::Binary, 10_000).message(MessageType::Binary, 20_000).control(PING, 4);
        wire.message(MessageType::Text, 30_000).fragments(MessageType::Text, false, &[9_000, 1], &[]);
        for call in [600, 4_096, 8_192] {
            let mut observed = Observed::adopted(role);
            for part in wire.bytes.chunks(call) {
                observed.call(direction, part);
            }
            assert_eq!(observed.protocol(), Protocol::WebSocket, "{call}");
            assert_eq!(counted(&observed, direction), expected(&wire), "{call}");
        }
    }
}

#[test]
fn a_websocket_gets_in_sync_after_any_number_of_calls_in_vain() {
    for calls in [1, 63, 64, 65, 200, 255, 256, 1_000] {
        let mut observed = Observed::adopted(Role::Client);
        for _ in 0..calls {
            observed.server(b"xxxxxxxxxxxxxxxxxxx");
        }
        let mut wire = Wire::from_server();
        wire.message(MessageType::Text, 30);
        for _ in 0..32 {
            observed.server(&wire.bytes);
        }
        assert_eq!(observed.protocol(), Protocol::WebSocket, "{calls}");
        let messages = observed.by_server().messages[0][0];
        assert!((16..=32).contains(&messages), "{messages} after {calls}");
    }
}

#[test]
fn http_found_in_the_middle_may_still_be_upgraded() {
    for role in [Role::Client, Role::Server] {
        let Handshake { request, response } = Handshake::new(false);
        let mut wire = Wire::from_client();
        wire.message(MessageType::Text, 4);
        for with_request in [true, false] {
            let mut observed = Observed::adopted(role);
            observed.server(b"</body></html>\r\n");
            assert_eq!(observed.protocol(), Protocol::Unknown);
            if with_request {
                observed.client(&request);
                assert_eq!(observed.protocol(), Protocol::Http);
            }
            observed.server(&response);
            assert_eq!(observed.protocol(), Protocol::WebSocket);
            observed.client(&wire.bytes);
            assert_eq!(observed.by_client(), wire.expected);
            assert_eq!(observed.connection.lost, [0; 2]);
        }
    }
}

#[test]
fn tls_records_make_it_tls() {
    for record in [
        &b"\x17\x03\x03\x01\x00"[..],
        b"\x16\x03\x03\x00\x50\x02",
        b"\x14\x03\x03\x00\x01\x01",
        b"\x15\x03\x03\x00\x02xx",
    ] {
        for direction in Direction::ALL {
            let mut observed = Observed::adopted(Role::Client);
            observed.call(direction, record);
            assert_eq!(observed.protocol(), Protocol::Tls);
            observed.call(direction, b"\x81\x05hello");
            observed.call(direction.opposite(), b"\x81\x85\x00\x00\x00\x00hello");
            assert_eq!(observed.protocol(), Protocol::Tls);
            assert_eq!(observed.connection.websocket().streams, [StreamCounters::ZERO; 2]);
        }
    }
}

/// Numbers that look random, always the same.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = 1 + self.next() % most;
        (0..length).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn random_bytes_are_not_taken_for_a_websocket() {
    let mut noise = Noise(7);
    for connection in 0..1_000 {
        let mut observed = Observed::adopted(if connection % 2 == 0 { Role::Client } else { Role::Server });
        let most = [8, 40, 300, 3_000][connection % 4];
        for _ in 0..100 {
            observed.client(&noise.bytes(most));
            observed.server(&noise.bytes(most));
        }
        assert_ne!(observed.protocol(), Protocol::WebSocket, "{connection}");
    }
}

/// Calls of one end.
type Calls = &'static [&'static [u8]];

/// What a client and a server of other protocols say in the middle.
const OTHERS: &[(&str, Calls, Calls)] = &[
    (
        "Postgres",
        &[
            b"Q\x00\x00\x00\x0Dselect 1\x00",
            b"P\x00\x00\x00\x10\x00select $1\x00\x00\x00B\x00\x00\x00\x0C\x00\x00\x00\x00\x00\x00\x00\x00D\x00\x00\x00\x06P\x00E\x00\x00\x00\x09\x00\x00\x00\x00\x00S\x00\x00\x00\x04",
            b"B\x00\x00\x00\x0C\x00\x00\x00\x00\x00\x00\x00\x00E\x00\x00\x00\x09\x00\x00\x00\x00\x00S\x00\x00\x00\x04",
            b"S\x00\x00\x00\x04",
            b"H\x00\x00\x00\x04",
        ],
        &[
            b"T\x00\x00\x00\x21\x00\x01?column?\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xFF\xFF\xFF\xFF\x00\x00D\x00\x00\x00\x0B\x00\x01\x00\x00\x00\x011C\x00\x00\x00\x0DSELECT 1\x00Z\x00\x00\x00\x05I",
            b"1\x00\x00\x00\x042\x00\x00\x00\x04n\x00\x00\x00\x04C\x00\x00\x00\x0DINSERT 0\x00Z\x00\x00\x00\x05T",
            b"A\x00\x00\x00\x0F\x00\x00\x12\x34chan\x00x\x00",
            b"2\x00\x00\x00\x04",
            b"Z\x00\x00\x00\x05I",
        ],
    ),
    (
        "Redis",
        &[b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", b"*1\r\n$4\r\nPING\r\n", b"PING\r\n", b"GET a\r\n"],
        &[b"+OK\r\n", b"$-1\r\n", b"$5\r\nhello\r\n", b":1\r\n", b"*0\r\n", b"-ERR x\r\n", b"_\r\n", b"%1\r\n+a\r\n:1\r\n"],
    ),
    (
        "MQTT",
        &[b"\x82\x0A\x00\x01\x00\x05topic\x00", b"\x30\x0A\x00\x05topicabc", b"\xC0\x00", b"\x40\x02\x00\x01", b"\x62\x02\x00\x01", b"\xE0\x00"],
        &[b"\x90\x03\x00\x01\x00", b"\x20\x02\x00\x00", b"\xD0\x00", b"\x40\x02\x00\x01", b"\x30\x0A\x00\x05topicabc", b"\x50\x02\x00\x01"],
    ),
    (
        "MySQL",
        &[b"\x09\x00\x00\x00\x03select 1", b"\x01\x00\x00\x00\x0E", b"\x01\x00\x00\x00\x01"],
        &[
            b"\x01\x00\x00\x01\x01\x17\x00\x00\x02\x03def\x00\x00\x00\x011\x00\x0C\x3F\x00\x01\x00\x00\x00\x08\x81\x00\x00\x00\x00\x05\x00\x00\x03\xFE\x00\x00\x02\x00",
            b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00",
        ],
    ),
    ("DNS", &[b"\x00\x1D\xAB\xCD\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example"], &[b"\x00\x2D\xAB\xCD\x81\x80\x00\x01"]),
    ("lines", &[b"EHLO a\r\n", b"A1 LOGIN a b\r\n", b"\r\n", b"HELP\n"], &[b"250 OK\r\n", b"A1 OK\r\n", b"* BYE\r\n", b"\n"]),
];

#[test]
fn other_protocols_are_not_taken_for_a_websocket() {
    for (name, sent, answered) in OTHERS {
        for role in [Role::Client, Role::Server] {
            let mut observed = Observed::adopted(role);
            for turn in 0..400 {
                observed.client(sent[turn % sent.len()]);
                observed.server(answered[turn * 7 % answered.len()]);
                assert_ne!(observed.protocol(), Protocol::WebSocket, "{name}, turn {turn}");
            }
            let mut observed = Observed::adopted(role);
            for (sent, answered) in sent.iter().zip(answered.iter().cycle()) {
                for _ in 0..70 {
                    observed.client(sent);
                    observed.server(answered);
                    assert_ne!(observed.protocol(), Protocol::WebSocket, "{name}, {}", sent.escape_ascii());
                }
            }
        }
    }
}

#[test]
fn little_endian_numbers_are_not_taken_for_a_websocket() {
    for number in 0..=0x0F_u64 {
        for width in [2, 4, 8] {
            for role in [Role::Client, Role::Server] {
                let mut observed = Observed::adopted(role);
                for _ in 0..20 {
                    observed.client(&number.to_le_bytes()[..width]);
                    observed.server(&number.to_le_bytes()[..width]);
                }
                assert_ne!(observed.protocol(), Protocol::WebSocket, "{number} in {width} bytes");
            }
        }
    }
}
