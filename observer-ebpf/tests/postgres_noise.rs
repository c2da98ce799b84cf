//! Bytes at random that no session has: nothing panics, work is bounded, and a state that they leave wrong does not last.

mod common;
#[path = "common/postgres/mod.rs"]
mod pg;

use common::{Call, Observed, observe, parts};
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Role};
use observer_ebpf::protocols::postgres::layout::State;
use pg::{
    CLIENT_TYPES, Request, SERVER_TYPES, Script, Start, assert_right, client, cycle, header, observed,
    outcome, query, server,
};
use postgres_protocol::message::frontend;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Debug)]
enum Step {
    Call { sent: bool, buffer: u32, readable: u32, bytes: Vec<u8> },
    Miss { sent: bool, bytes: u64 },
    Pass { sent: bool, bytes: u32 },
}

/// Bytes that get somewhere: noise, headers of any length, whole messages, and a session's first.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let kinds = [CLIENT_TYPES, SERVER_TYPES].concat();
    let length = prop_oneof![6 => 4..30u32, 1 => 0..4u32, 1 => any::<u32>(), 1 => 30..3_000u32];
    let headers = (select(kinds.clone()), length, vec(any::<u8>(), 0..30))
        .prop_map(|(kind, length, payload)| [header(kind, length), payload].concat());
    let messages = (select(kinds), vec(any::<u8>(), 0..20)).prop_map(|(kind, payload)| {
        let empty = b"HSXc123Ins".contains(&kind);
        server::message(kind, if empty { &[] } else { &payload })
    });
    let starts = vec![
        client(frontend::ssl_request),
        b"N".to_vec(),
        b"S".to_vec(),
        client(|to| frontend::startup_message([("user", "u")], to).expect("fine")),
        client(|to| frontend::cancel_request(1, 2, to)),
        server::ready(b'I'),
        server::ready(b'T'),
        query("/* select */ update"),
        client(frontend::copy_done),
        b"\x82\x05hello".to_vec(),
    ];
    prop_oneof![
        1 => vec(any::<u8>(), 1..40),
        3 => headers,
        4 => vec(messages, 1..5).prop_map(|messages| messages.concat()),
        3 => select(starts),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let readable = prop_oneof![9 => Just(u32::MAX), 1 => 0..4u32];
    let amount = prop_oneof![0..300u64, any::<u64>()];
    prop_oneof![
        12 => (any::<bool>(), 1..40u32, readable, bytes(), any::<prop::sample::Index>(), 0..3u8).prop_map(
            |(sent, buffer, readable, mut bytes, cut, whole)| {
                if whole == 0 {
                    bytes.truncate(1 + cut.index(bytes.len()));
                }
                Step::Call { sent, buffer, readable, bytes }
            }
        ),
        1 => (any::<bool>(), amount).prop_map(|(sent, bytes)| Step::Miss { sent, bytes }),
        1 => (any::<bool>(), prop_oneof![0..300u32, any::<u32>()]).prop_map(|(sent, bytes)| Step::Pass { sent, bytes }),
    ]
}

fn run(observed: &mut Observed, steps: &[Step]) {
    let direction = |sent| if sent { Direction::Sent } else { Direction::Received };
    for step in steps {
        match step {
            Step::Call { sent, buffer, readable, bytes } => {
                observed.buffer = *buffer;
                observed.call_readable(direction(*sent), bytes, *readable);
            }
            Step::Miss { sent, bytes } => {
                observed.miss(direction(*sent), *bytes, Desync::Gap);
            }
            Step::Pass { sent, bytes } => {
                observed.session.pass(direction(*sent), *bytes, &mut observed.connection);
            }
        }
        let counters = observed.connection.postgres();
        assert!(counters.asked >= counters.answered, "{} of {}", counters.answered, counters.asked);
        assert!(counters.state <= State::Replication as u8);
        assert!(observed.connection.lost.iter().all(|&lost| lost <= 1));
        let queries: u32 = counters.queries.as_flattened().iter().sum();
        assert!(queries <= counters.answered);
    }
}

/// Fresh, adopted, or idle.
fn start(kind: u8, role: Role) -> Observed {
    match kind {
        0 => observed(role),
        1 => Observed::adopted(role),
        _ => {
            let mut script = Script::new();
            Start::Trust.write(&mut script);
            let mut observed = observed(role);
            observe(&mut observed, &script.calls);
            observed
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_nothing_out_of_reach_is_looked_at(
        steps in vec(step(), 1..25),
        kind in 0..4u8,
        is_server: bool,
        passing: bool,
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let [zeros, ones] = [0, 0xFF].map(|poison| {
            let mut observed = start(kind, role);
            (observed.poison, observed.passing) = (poison, passing);
            run(&mut observed, &steps);
            (outcome(&observed), observed.desyncs)
        });
        prop_assert_eq!(zeros, ones);
    }

    #[test]
    fn a_wrong_state_ends_with_the_next_request_and_its_answer(
        steps in vec(step(), 1..25),
        is_server: bool,
        status in select(b"ITE".to_vec()),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut observed = start(2, role);
        run(&mut observed, &steps);
        // A length that can be is believed: its end must have gone by.
        for direction in Direction::ALL {
            observed.miss(direction, u64::MAX, Desync::Gap);
        }
        cycle(&mut observed, status);
        let state = match status { b'I' => State::Idle, b'T' => State::InTransaction, _ => State::Failed };
        assert_right(&observed, state);
        let before = outcome(&observed).counters.queries;
        Request::Simple { statement: 0, rows: vec![], error: None }.write(&mut Script::new(), status);
        cycle(&mut observed, status);
        assert_right(&observed, state);
        prop_assert_eq!(outcome(&observed).counters.queries[0].iter().sum::<u32>(), before[0].iter().sum::<u32>() + 1);
    }

    /// Up to the first byte that cannot be.
    #[test]
    fn any_bytes_count_the_same_however_they_are_split(
        calls in vec((any::<bool>(), bytes()), 1..20),
        lengths in vec(1..30usize, 1..10),
        buffer in 1..40u32,
        passing: bool,
    ) {
        let mut whole = start(2, Role::Client);
        let mut split = start(2, Role::Client);
        (split.buffer, split.passing) = (buffer, passing);
        for (is_server, bytes) in calls {
            let call = Call { server: is_server, bytes, now_ns: 0 };
            parts(&mut whole, &call, &[]);
            let mut rest = &call.bytes[..];
            for &length in lengths.iter().cycle() {
                if rest.is_empty() || !split.desyncs.is_empty() {
                    break;
                }
                let (part, behind) = rest.split_at(length.min(rest.len()));
                parts(&mut split, &Call { server: is_server, bytes: part.to_vec(), now_ns: 0 }, &[]);
                rest = behind;
            }
            prop_assert_eq!(outcome(&whole), outcome(&split));
            prop_assert_eq!(&whole.desyncs, &split.desyncs);
            if !whole.desyncs.is_empty() {
                break;
            }
        }
    }
}
