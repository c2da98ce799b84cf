//! Whatever the bytes, the calls, the buffers and the faults: no panic, and bounded work (which [`Observed`] asserts).

mod common;

#[path = "common/kafka/mod.rs"]
mod kafka;

use common::{Handshake, Observed};
use kafka::{Batch, old_message, request_of, response_of, sized};
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Role};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Call { sent: bool, buffer: u32, readable: u32, bytes: Vec<u8> },
    Miss { sent: bool, bytes: u64 },
    Pass { sent: bool, bytes: u32 },
}

/// Bytes that get somewhere: noise, frames, heads, and starts of other protocols.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let frame = (
        prop::sample::select(vec![0x81, 0x82, 0x01, 0x00, 0x80, 0xC1, 0x88, 0x89, 0x8A]),
        any::<bool>(),
        0..130u8,
    )
        .prop_map(|(first, masked, length)| {
            let mut frame = vec![first, length.min(125) | if masked { 0x80 } else { 0 }];
            frame.resize(2 + usize::from(length.min(125)) + if masked { 4 } else { 0 }, length);
            frame
        });
    let Handshake { request, response } = Handshake::new(true);
    let heads = vec![
        request,
        response,
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x17\x03\x03\x01\x00".to_vec(),
        b"*1\r\n$4\r\n".to_vec(),
        b"get a:1 a:2\r\nmg a:1 q\r\nset a:1 0 0 5\r\n".to_vec(),
        b"END\r\nVALUE a:1 0 5\r\n".to_vec(),
        b"\x00\x00\x00\x08\x04\xD2\x16\x2F".to_vec(),
        b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02\x04\0\0".to_vec(),
        vec![0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0],
        vec![0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4],
        vec![0x82, 0x7E, 0x02, 0x00],
    ];
    prop_oneof![
        2 => vec(any::<u8>(), 1..60),
        4 => vec(frame, 1..6).prop_map(|frames| frames.concat()),
        3 => prop::sample::select(heads),
        3 => kafka_bytes(),
        1 => (any::<u8>(), 1..3_000usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

/// Messages of Kafka, of any version and with any body, and parts of them.
fn kafka_bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        3 => vec(any::<u8>(), 0..40),
        2 => vec(prop::sample::select(vec![0, 0, 0, 1, 2, 0x7F, 0x80, 0xFF]), 0..40),
        1 => Just(b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05".to_vec()),
        1 => Just(b"\x02\x02t\x02\0\0\0\x05".to_vec()),
        1 => (any::<i64>(), any::<i32>(), any::<i16>(), any::<i32>(), any::<i64>(), 0..90u32).prop_map(
            |(first, records, attributes, last_delta, newest_ms, length)| {
                Batch { first, last_delta, records, newest_ms, attributes, length }.bytes()
            }
        ),
        1 => (0..4u8, any::<i64>(), 0..90u32).prop_map(|(format, offset, value)| old_message(format, offset, value)),
    ];
    let key = prop::sample::select(vec![0, 0, 1, 1, 1, 3, 8, 9, 11, 12, 13, 14, 18, 28, 68, 127, 128]);
    let body = vec(part, 0..5).prop_map(|parts| parts.concat());
    let client = prop::sample::select(vec![None, Some("c"), Some("broker-1-fetcher-0")]);
    let message = (any::<bool>(), key, 0..20i16, 0..6i32, client, body.clone(), any::<bool>());
    prop_oneof![
        9 => message.prop_map(|(is_request, key, version, correlation, client, body, is_sized)| {
            // Record batches behind the length of all.
            let body = if is_sized { [&body[..body.len() / 2], &sized(&body)].concat() } else { body };
            if is_request {
                request_of(key, version, correlation, client, &body)
            } else {
                response_of(correlation, &body)
            }
        }),
        1 => body.prop_map(|body| [&body[..], b"\0"].concat()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let readable = prop_oneof![9 => Just(u32::MAX), 1 => 0..4u32];
    let amount = prop_oneof![0..300u64, any::<u64>(), Just(u64::MAX)];
    prop_oneof![
        10 => (any::<bool>(), 1..40u32, readable, bytes(), any::<prop::sample::Index>(), any::<bool>()).prop_map(
            |(sent, buffer, readable, mut bytes, cut, whole)| {
                if !whole {
                    bytes.truncate(1 + cut.index(bytes.len()));
                }
                Step::Call { sent, buffer, readable, bytes }
            }
        ),
        1 => (any::<bool>(), amount).prop_map(|(sent, bytes)| Step::Miss { sent, bytes }),
        1 => (any::<bool>(), prop_oneof![0..300u32, any::<u32>()]).prop_map(|(sent, bytes)| Step::Pass { sent, bytes }),
    ]
}

fn direction(sent: bool) -> Direction {
    if sent { Direction::Sent } else { Direction::Received }
}

fn run(observed: &mut Observed, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Call { sent, buffer, readable, bytes } => {
                observed.buffer = buffer;
                observed.call_readable(direction(sent), &bytes, readable);
            }
            Step::Miss { sent, bytes } => {
                observed.miss(direction(sent), bytes, Desync::Gap);
            }
            Step::Pass { sent, bytes } => {
                observed.session.pass(direction(sent), bytes, &mut observed.connection);
            }
        }
        for direction in Direction::ALL {
            observed.session.is_settled(direction);
            assert!(observed.connection.lost[direction as usize] <= 1);
        }
        observed.protocol();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_steps_panic(steps in vec(step(), 0..60), server: bool, start in 0..4u8, passing: bool, poison: u8) {
        let role = if server { Role::Server } else { Role::Client };
        let mut observed = match start {
            0 => Observed::new(role),
            1 => Observed::adopted(role),
            2 => kafka::session(role),
            _ => Observed::upgraded(role, true),
        };
        observed.passing = passing;
        observed.poison = poison;
        run(&mut observed, steps);
    }

    #[test]
    fn no_messages_of_kafka_panic(
        steps in vec(prop_oneof![
            12 => (any::<bool>(), 1..40u32, kafka_bytes()).prop_map(|(sent, buffer, bytes)| {
                Step::Call { sent, buffer, readable: u32::MAX, bytes }
            }),
            1 => step(),
        ], 0..20),
        server: bool,
        passing: bool,
        poison: u8,
    ) {
        let [zeros, other] = [0, poison].map(|poison| {
            let mut observed = kafka::session(if server { Role::Server } else { Role::Client });
            observed.passing = passing;
            observed.poison = poison;
            run(&mut observed, steps.clone());
            kafka::Outcome::of(&observed)
        });
        prop_assert_eq!(zeros, other);
    }

    #[test]
    fn what_is_out_of_reach_changes_nothing(steps in vec(step(), 0..40), server: bool, adopted: bool, poison: u8) {
        let role = if server { Role::Server } else { Role::Client };
        let [zeros, other] = [0, poison].map(|poison| {
            let mut observed = if adopted { Observed::adopted(role) } else { Observed::new(role) };
            observed.poison = poison;
            run(&mut observed, steps.clone());
            observed
        });
        prop_assert_eq!(zeros.connection.websocket(), other.connection.websocket());
        prop_assert_eq!(zeros.protocol(), other.protocol());
        prop_assert_eq!(zeros.connection.lost, other.connection.lost);
        prop_assert_eq!(zeros.desyncs, other.desyncs);
    }
}

#[test]
fn a_long_call_of_anything_takes_bounded_work() {
    for fill in [
        &[0x81, 0x00][..],
        &[0x00],
        &[0x81, 0x80, 0, 0, 0, 0],
        b"HTTP/1.1 101\r\n",
        b"HTTP/1.1 100\r\n\r\n",
        b"GET / ",
        b"\xFF",
        b"a",
        b"get a b\r\n",
        b"\0\0\0\x0B\0\x01\0\x04\0\0\0\x01\0\x01c",
        b"\0\0\0\x04\0\0\0\x01",
        b"\x01",
    ] {
        let bytes = fill.repeat(400_000 / fill.len());
        for role in [Role::Client, Role::Server] {
            for start in [
                Observed::new(role),
                Observed::adopted(role),
                Observed::upgraded(role, false),
                kafka::session(role),
            ] {
                for buffer in [1, 1024] {
                    let mut observed = start.clone().in_buffers_of(buffer);
                    for _ in 0..2 {
                        observed.client(&bytes);
                        observed.server(&bytes);
                    }
                }
            }
        }
    }
}
