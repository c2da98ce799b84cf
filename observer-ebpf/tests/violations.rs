//! Each frame that breaks RFC 6455 counts once, by what it breaks, and the frames behind it count as ever.

mod common;

use common::{CLOSE, Extension, Form, Observed, PING, PONG, Wire};
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Role};
use observer_ebpf::protocols::websocket::layout::{MessageType, Violation};

/// A frame that breaks a rule: what it breaks, its first byte, its length's form, its size.
type Frame = (Violation, u8, Form, usize);

/// Feeds a stream in calls of several sizes, and holds what is counted against what the builder counted.
#[track_caller]
fn assert_counts(wire: &Wire, masked: bool, deflate: bool) {
    for size in [1, 2, 3, 5, 8, 13, 1 << 20] {
        for buffer in [1, 2, 5, 1024] {
            let mut observed = Observed::upgraded(Role::Server, deflate).in_buffers_of(buffer);
            for part in wire.bytes.chunks(size) {
                if masked { observed.client(part) } else { observed.server(part) }
            }
            let counted = if masked { observed.by_client() } else { observed.by_server() };
            assert_eq!(counted, wire.expected, "calls of {size}, buffers of {buffer}");
            assert!(observed.desyncs.is_empty(), "the stream is in sync");
        }
    }
}

/// Puts a frame between whole messages.
#[track_caller]
fn assert_counted_alone(deflate: bool, frames: &[Frame]) {
    for &(kind, first, form, size) in frames {
        for masked in [true, false] {
            let mut wire = Wire::new(masked);
            wire.message(MessageType::Text, 3);
            wire.violate(kind, first, form, size);
            wire.message(MessageType::Binary, 200).control(PING, 1);
            wire.fragments(MessageType::Text, false, &[1, 2], &[(PONG, 0)]);
            assert_counts(&wire, masked, deflate);
        }
    }
}

#[test]
fn a_frame_masked_the_wrong_way_counts_as_mask_and_as_everything_else() {
    for masked in [true, false] {
        for size in [0, 1, 2, 125, 126, 65_536] {
            let mut wire = Wire::new(masked);
            wire.message(MessageType::Text, 3);
            wire.wrongly_masked(|wire| {
                wire.message(MessageType::Text, size).control(PONG, size.min(125));
            });
            wire.message(MessageType::Binary, 200).control(PING, 1);
            wire.wrongly_masked(|wire| {
                wire.fragments(MessageType::Binary, true, &[size, 0, 9], &[(PING, 2)]).close(Some(1001), 4);
            });
            wire.fragments(MessageType::Text, false, &[1, 2], &[(PONG, 0)]);
            assert_eq!(wire.expected.violations, [8, 0, 0, 0], "the builder's own count");
            assert_counts(&wire, masked, true);
        }
    }
}

#[test]
fn a_frame_that_breaks_another_rule_as_well_counts_as_that_alone() {
    for masked in [true, false] {
        let mut wire = Wire::new(masked);
        wire.message(MessageType::Text, 3);
        wire.wrongly_masked(|wire| {
            wire.violate(Violation::Reserved, 0x91, Form::Shortest, 7)
                .violate(Violation::Opcode, 0x83, Form::Shortest, 7)
                .violate(Violation::Length, 0x82, Form::Two, 7);
        });
        wire.message(MessageType::Binary, 3);
        assert_eq!(wire.expected.violations, [0, 1, 1, 1], "the builder's own count");
        assert_counts(&wire, masked, false);
    }
}

#[test]
fn a_large_message_masked_the_wrong_way_is_oversized() {
    for (role, masked) in [(Role::Server, true), (Role::Client, false)] {
        let mut wire = Wire::new(masked);
        wire.wrongly_masked(|wire| {
            wire.message(MessageType::Binary, 12_000_000);
        });
        let header = wire.edges[1];
        let mut observed = Observed::upgraded(role, false);
        observed.call(Direction::Received, &wire.bytes[..header]);
        let counted = observed.connection.websocket().streams[Direction::Received as usize];
        assert_eq!((counted.oversized, counted.violations), ([0, 0, 1], [1, 0, 0, 0]));
        for part in wire.bytes[header..].chunks(1 << 16) {
            observed.call(Direction::Received, part);
        }
        assert_eq!(observed.connection.websocket().streams[Direction::Received as usize], wire.expected);
        assert_eq!(observed.oversized[Direction::Received as usize], [(12_000_000, 2)]);
    }
}

#[test]
fn reserved_bits_without_a_meaning_count_as_reserved() {
    for reserved in [0x10, 0x20, 0x30, 0x50, 0x60, 0x70] {
        for first in [0x81, 0x82, CLOSE, PING, PONG] {
            assert_counted_alone(true, &[(Violation::Reserved, first | reserved, Form::Shortest, 7)]);
        }
    }
}

#[test]
fn rsv1_counts_as_reserved_without_deflate_and_on_control_frames() {
    for first in [0x81, 0x82, CLOSE, PING, PONG] {
        assert_counted_alone(false, &[(Violation::Reserved, first | 0x40, Form::Shortest, 7)]);
    }
    for first in [CLOSE, PING, PONG] {
        assert_counted_alone(true, &[(Violation::Reserved, first | 0x40, Form::Shortest, 7)]);
    }
}

#[test]
fn rsv1_on_a_continuation_counts_as_reserved_and_spoils_its_message() {
    for masked in [true, false] {
        let mut wire = Wire::new(masked);
        // The first frame counts as a frame, its message does not; nor does the continuation behind.
        wire.fragments(MessageType::Text, true, &[4], &[]);
        let mut spoilt = Wire::new(masked);
        spoilt.fragments(MessageType::Text, true, &[4, 6, 8], &[]);
        let second = spoilt.edges[2];
        let third = spoilt.edges[4];
        spoilt.bytes[second] |= 0x40;
        wire.bytes.extend(&spoilt.bytes);
        assert!(second < third);
        let expected = &mut wire.expected;
        expected.frames[1][0] += 1;
        expected.frame_bytes[1] += 4;
        expected.frames[0][0] += 1;
        expected.frame_bytes[0] += 8;
        expected.headers += 2;
        expected.violations[Violation::Reserved as usize] += 1;
        wire.message(MessageType::Binary, 5);
        assert_counts(&wire, masked, true);
    }
}

#[test]
fn extensions_of_others_may_use_any_reserved_bit_on_any_frame() {
    for masked in [true, false] {
        for reserved in (0x10..=0x70).step_by(0x10) {
            let mut wire = Wire::new(masked);
            wire.message(MessageType::Text, 3);
            wire.fragments(MessageType::Binary, true, &[300, 4], &[(PING, 2)]);
            let first = wire.edges[2];
            wire.bytes[first] = wire.bytes[first] & 0x8F | reserved;
            for at in [wire.edges[4], wire.edges[6]] {
                wire.bytes[at] |= reserved;
            }
            wire.fragments(MessageType::Text, true, &[60], &[]);
            for size in [1, 7, 1 << 20] {
                let mut observed = Observed::agreed(Role::Client, Extension::Vendor);
                for part in wire.bytes.chunks(size) {
                    if masked { observed.client(part) } else { observed.server(part) }
                }
                let counted = if masked { observed.by_client() } else { observed.by_server() };
                assert_eq!(counted, wire.expected, "{reserved:#x}");
            }
        }
    }
}

#[test]
fn undefined_opcodes_count_as_opcode() {
    for number in (3..=7).chain(0xB..=0xF) {
        for fin in [0x80, 0] {
            assert_counted_alone(
                true,
                &[
                    (Violation::Opcode, fin | number, Form::Shortest, 0),
                    (Violation::Opcode, fin | number, Form::Shortest, 125),
                    (Violation::Opcode, fin | number, Form::Shortest, 300),
                ],
            );
        }
    }
}

#[test]
fn a_fragmented_control_frame_counts_as_opcode() {
    for number in 8..=10 {
        for size in [0, 1, 2, 3, 125] {
            assert_counted_alone(false, &[(Violation::Opcode, number, Form::Shortest, size)]);
        }
    }
}

#[test]
fn a_continuation_of_nothing_counts_as_opcode() {
    for first in [0x80, 0x00] {
        for size in [0, 9, 126, 65_536] {
            assert_counted_alone(false, &[(Violation::Opcode, first, Form::Shortest, size)]);
        }
    }
}

#[test]
fn a_new_message_inside_another_counts_as_opcode_and_the_other_goes_on() {
    for masked in [true, false] {
        for first in [0x81, 0x82, 0x01, 0x02] {
            let mut whole = Wire::new(masked);
            whole.fragments(MessageType::Text, false, &[4, 130, 8], &[(PING, 3)]);
            let mut intruder = Wire::new(masked);
            intruder.violate(Violation::Opcode, first, Form::Shortest, 11);
            // Before each frame of the message but the first, and before the pings.
            for &place in whole.edges.iter().step_by(2).skip(1) {
                let mut wire = whole.clone();
                wire.bytes.splice(place..place, intruder.bytes.iter().copied());
                wire.expected.violations[Violation::Opcode as usize] += 1;
                wire.message(MessageType::Binary, 1);
                assert_counts(&wire, masked, false);
            }
        }
    }
}

#[test]
fn a_control_frame_above_125_bytes_counts_as_length() {
    for first in [CLOSE, PING, PONG] {
        assert_counted_alone(
            false,
            &[
                (Violation::Length, first, Form::Shortest, 126),
                (Violation::Length, first, Form::Shortest, 65_535),
                (Violation::Length, first, Form::Shortest, 65_536),
            ],
        );
    }
}

#[test]
fn a_length_in_a_longer_form_than_it_needs_counts_as_length() {
    for first in [0x81, 0x82, CLOSE, PING] {
        for size in [0, 1, 2, 5, 125] {
            assert_counted_alone(
                false,
                &[(Violation::Length, first, Form::Two, size), (Violation::Length, first, Form::Eight, size)],
            );
        }
        assert_counted_alone(
            false,
            &[(Violation::Length, first, Form::Eight, 126), (Violation::Length, first, Form::Eight, 65_535)],
        );
    }
}

#[test]
fn several_frames_that_break_the_rules_count_one_each() {
    for masked in [true, false] {
        let mut wire = Wire::new(masked);
        wire.violate(Violation::Opcode, 0x83, Form::Shortest, 5)
            .wrongly_masked(|wire| {
                wire.control(PING, 5);
            })
            .control(PONG, 5)
            .violate(Violation::Reserved, 0xB2, Form::Shortest, 500)
            .violate(Violation::Length, 0x82, Form::Eight, 500)
            .message(MessageType::Binary, 70_000);
        assert_eq!(wire.expected.violations, [1, 1, 1, 1], "the builder's own count");
        assert_counts(&wire, masked, true);
    }
}

#[test]
fn a_length_of_two_to_the_63_loses_the_stream_until_a_call_of_whole_frames() {
    for (role, direction, masked) in [
        (Role::Client, Direction::Sent, true),
        (Role::Client, Direction::Received, false),
        (Role::Server, Direction::Sent, false),
        (Role::Server, Direction::Received, true),
    ] {
        for length in [1 << 63, u64::MAX] {
            let mut wire = Wire::new(masked);
            wire.message(MessageType::Text, 3);
            wire.header(0x82, masked, Form::Eight, length);
            wire.expected.violations[Violation::Length as usize] += 1;
            let broken = *wire.edges.last().expect("a header was written");
            for cut in 0..broken {
                let mut after = wire.clone();
                let mut observed = Observed::upgraded(role, false);
                observed.call(direction, &after.bytes[..cut]);
                observed.call(direction, &after.bytes[cut..]);
                assert_eq!(observed.desyncs, [Desync::Length], "cut at {cut}");
                assert!(observed.is_lost(direction));
                assert!(!observed.is_lost(direction.opposite()));
                // Nothing that could be a frame.
                observed.call(direction, b"\xFF\xFF\xFFnothing of interest");
                assert_eq!(observed.connection.websocket().streams[direction as usize], after.expected);
                after.message(MessageType::Binary, 30).control(PING, 2).message(MessageType::Text, 200);
                observed.call(direction, &after.bytes[broken..]);
                assert!(!observed.is_lost(direction), "cut at {cut}");
                assert_eq!(observed.connection.websocket().streams[direction as usize], after.expected);
                let here = after.bytes.len();
                after.fragments(MessageType::Binary, false, &[3, 4], &[]);
                observed.call(direction, &after.bytes[here..]);
                assert_eq!(observed.connection.websocket().streams[direction as usize], after.expected);
                assert_eq!(observed.desyncs, [Desync::Length], "cut at {cut}");
            }
        }
    }
}

#[test]
fn any_length_below_two_to_the_63_is_followed() {
    let mut wire = Wire::from_server();
    wire.header(0x82, false, Form::Eight, (1 << 63) - 1);
    let mut observed = Observed::upgraded(Role::Client, false);
    observed.server(&wire.bytes);
    observed.server(&[0x81; 4_000]);
    assert_eq!(observed.by_server().oversized, [0, 0, 1]);
    assert_eq!(observed.by_server().violations, [0; 4]);
    assert_eq!(observed.by_server().messages, [[0; 2]; 2]);
    assert!(observed.desyncs.is_empty());
}
