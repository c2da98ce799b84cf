//! A message in fragments is weighed by what its headers have declared so far: told of at each threshold, and counted
//! once, whatever becomes of it.

mod common;

use common::{Form, Observed, PING, Wire};
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Role};
use observer_ebpf::protocols::websocket::layout::{MessageType, StreamCounters, Violation};

/// Low enough to be reached by short frames.
const THRESHOLDS: Thresholds = Thresholds { medium: 10, large: 50, huge: 100 };

/// Each end, and each direction with whether its frames are masked.
const WAYS: [(Role, Direction, bool); 4] = [
    (Role::Client, Direction::Sent, true),
    (Role::Client, Direction::Received, false),
    (Role::Server, Direction::Sent, false),
    (Role::Server, Direction::Received, true),
];

/// What is told: how many bytes were declared, and the category.
type Told<'a> = &'a [(u64, u32)];

fn wire(masked: bool) -> Wire {
    let mut wire = Wire::new(masked);
    wire.thresholds = THRESHOLDS;
    wire
}

fn observed(role: Role) -> Observed {
    Observed::upgraded(role, false).with_thresholds(THRESHOLDS)
}

fn counted(observed: &Observed, direction: Direction) -> StreamCounters {
    observed.connection.websocket().streams[direction as usize]
}

#[test]
fn each_threshold_is_told_when_a_header_declares_that_it_is_reached() {
    let messages: [(&[usize], Told<'_>); 8] = [
        (&[9], &[]),
        (&[120], &[(120, 2)]),
        (&[9, 0], &[]),
        (&[9, 1], &[(10, 0)]),
        (&[30, 30, 30, 30], &[(30, 0), (60, 1), (120, 2)]),
        (&[10, 89, 900], &[(10, 0), (99, 1), (999, 2)]),
        (&[200, 200], &[(200, 0), (200, 1), (200, 2)]),
        (&[5, 70, 0], &[(75, 0), (75, 1)]),
    ];
    for (role, direction, masked) in WAYS {
        for (sizes, told) in messages {
            let mut wire = wire(masked);
            wire.fragments(MessageType::Text, false, sizes, &[(PING, 125)]);
            assert_eq!(wire.oversized, told, "the builder's own count");
            for split in 0..wire.bytes.len() {
                let mut observed = observed(role);
                observed.call(direction, &wire.bytes[..split]);
                observed.call(direction, &wire.bytes[split..]);
                assert_eq!(counted(&observed, direction), wire.expected, "{sizes:?} at {split}");
                assert_eq!(observed.oversized[direction as usize], told, "{sizes:?} at {split}");
            }
        }
    }
}

#[test]
fn what_is_unfinished_is_what_the_headers_have_declared() {
    for (role, direction, masked) in WAYS {
        let mut wire = wire(masked);
        wire.fragments(MessageType::Binary, false, &[20, 45, 130, 7], &[(PING, 3)]);
        // Headers of the message's frames are each second one, and end at these places.
        let ends: Vec<usize> = wire.edges.iter().copied().skip(1).step_by(4).collect();
        let declared = [20, 65, 195, 202];
        let mut observed = observed(role);
        for at in 0..wire.bytes.len() {
            observed.call(direction, &wire.bytes[at..=at]);
            let headers = ends.iter().filter(|&&end| end <= at + 1).count();
            let unfinished =
                if at + 1 == wire.bytes.len() || headers == 0 { 0 } else { declared[headers - 1] };
            assert_eq!(counted(&observed, direction).unfinished, unfinished, "{at}");
        }
        assert_eq!(counted(&observed, direction), wire.expected);
    }
}

#[test]
fn a_message_that_never_ends_counts_once_it_has_reached_the_highest_category() {
    for (role, direction, masked) in WAYS {
        let mut wire = wire(masked);
        wire.unfinished(MessageType::Binary, &[40; 20]);
        for size in [1, 7, 48, 10_000] {
            let mut observed = observed(role);
            wire.bytes.chunks(size).for_each(|part| observed.call(direction, part));
            assert_eq!(counted(&observed, direction), wire.expected);
            assert_eq!(wire.expected.oversized, [0, 0, 1]);
            assert_eq!((wire.expected.unfinished, wire.expected.unfinished_category()), (800, None));
            assert_eq!(observed.oversized[direction as usize], [(40, 0), (80, 1), (120, 2)]);
        }
    }
}

#[test]
fn a_message_that_never_ends_below_the_highest_category_is_left_to_count() {
    for (sizes, category) in
        [(&[9][..], None), (&[9, 9], Some(0)), (&[9, 9, 80], Some(1)), (&[9, 9, 82], None)]
    {
        for (role, direction, masked) in WAYS {
            let mut wire = wire(masked);
            wire.unfinished(MessageType::Text, sizes);
            let mut observed = observed(role);
            observed.call(direction, &wire.bytes);
            assert_eq!(counted(&observed, direction), wire.expected);
            assert_eq!(counted(&observed, direction).unfinished_category(), category);
        }
    }
    // The last header tells the full size: nothing is left to count behind it, although its payload is on its way.
    let mut wire = wire(false);
    wire.fragments(MessageType::Text, false, &[30, 30], &[]);
    let mut observed = observed(Role::Client);
    observed.server(&wire.bytes[..wire.edges[3]]);
    let counted = observed.by_server();
    assert_eq!((counted.unfinished, counted.unfinished_category(), counted.oversized), (60, None, [0, 1, 0]));
}

#[test]
fn a_stream_that_is_lost_counts_the_message_that_it_was_in() {
    for (role, direction, masked) in WAYS {
        for sizes in [&[9][..], &[9, 9], &[9, 9, 80], &[9, 9, 82], &[500, 1]] {
            let mut wire = wire(masked);
            wire.unfinished(MessageType::Text, sizes);
            let size = sizes.iter().sum::<usize>() as u64;
            for frame_goes_on in [false, true] {
                let mut wire = wire.clone();
                if frame_goes_on {
                    wire.bytes.pop();
                    wire.expected.frames[usize::from(sizes.len() == 1)][0] -= 1;
                }
                let mut observed = observed(role);
                observed.call(direction, &wire.bytes);
                observed.miss(direction, 1_000, Desync::Gap);
                assert!(observed.is_lost(direction));
                wire.give_up(size);
                let counted = counted(&observed, direction);
                assert_eq!(counted.oversized, wire.expected.oversized, "{sizes:?}");
                assert_eq!((counted.unfinished, counted.reached), (0, 0));
                assert_eq!(observed.oversized[direction as usize], wire.oversized, "nothing more is told");
                // The next message is another one.
                let mut next = Wire::new(masked);
                next.thresholds = THRESHOLDS;
                next.message(MessageType::Binary, 60);
                observed.call(direction, &next.bytes);
                observed.call(direction, &next.bytes);
                wire.expected.oversized[1] += 2;
                assert_eq!(self::counted(&observed, direction).oversized, wire.expected.oversized);
            }
        }
    }
}

#[test]
fn a_frame_that_breaks_the_rules_gives_its_message_up() {
    for masked in [true, false] {
        let mut wire = wire(masked);
        wire.unfinished(MessageType::Text, &[30, 30]);
        wire.violate(Violation::Reserved, 0x40, Form::Shortest, 70);
        wire.give_up(60);
        wire.message(MessageType::Binary, 30);
        wire.unfinished(MessageType::Text, &[70]);
        // One in between that is no part of it does not.
        wire.violate(Violation::Opcode, 0x81, Form::Shortest, 70);
        for size in [1, 10, 1_000] {
            let mut observed = observed(Role::Client);
            for part in wire.bytes.chunks(size) {
                if masked { observed.client(part) } else { observed.server(part) }
            }
            let counted = if masked { observed.by_client() } else { observed.by_server() };
            assert_eq!(counted, wire.expected);
        }
    }
}

#[test]
fn a_connection_that_goes_on_in_another_slot_takes_its_message_along() {
    for (role, direction, masked) in WAYS {
        let mut wire = wire(masked);
        wire.unfinished(MessageType::Text, &[30]);
        let mut observed = observed(role);
        observed.call(direction, &wire.bytes);
        let before = observed.connection;
        // SAFETY: the layout is of integers only, of which all may be zero.
        let mut next: Connection = unsafe { core::mem::zeroed() };
        (next.role, next.protocol) = (before.role, before.protocol);
        observed.session.carry_over(&before, &mut next);
        observed.connection = next;
        assert_eq!(
            (counted(&observed, direction).unfinished, counted(&observed, direction).reached),
            (30, 1)
        );
        // Only what is new is told there, and the message counts there.
        let mut rest = Wire::new(masked);
        rest.raw(0x80, masked, Form::Shortest, &[0; 30]);
        observed.oversized[direction as usize].clear();
        observed.call(direction, &rest.bytes);
        assert_eq!(observed.oversized[direction as usize], [(60, 1)]);
        let counted = counted(&observed, direction);
        assert_eq!((counted.oversized, counted.message_bytes, counted.unfinished), ([0, 1, 0], 60, 0));
    }
}

#[test]
fn a_message_whose_start_was_not_seen_is_not_weighed() {
    let mut observed = Observed::adopted(Role::Server).with_thresholds(THRESHOLDS);
    let mut wire = Wire::from_client();
    wire.control(PING, 2).control(PING, 2);
    observed.client(&wire.bytes);
    observed.client(&wire.bytes);
    let mut rest = Wire::from_client();
    rest.raw(0x00, true, Form::Shortest, &[0; 120]);
    rest.raw(0x80, true, Form::Shortest, &[0; 120]);
    for part in rest.bytes.chunks(50) {
        observed.client(part);
        assert_eq!((observed.by_client().unfinished, observed.by_client().reached), (0, 0));
    }
    assert_eq!((observed.by_client().oversized, observed.by_client().frames[0][1]), ([0; 3], 2));
}
