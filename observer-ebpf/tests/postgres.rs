//! Sessions with `PostgreSQL`, recorded and written, count the same in calls of any lengths and buffers of any sizes.

mod common;
#[path = "common/postgres/mod.rs"]
mod pg;

use common::{Call, observe, parts};
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::postgres::layout::State;
use pg::{
    Model, Outcome, RECORDED, SEEN_NS, Script, Start, client, known, observed, outcome, queries, recorded,
    server,
};
use postgres_protocol::message::frontend;

/// All sessions, by name.
fn sessions() -> Vec<(String, Vec<Call>)> {
    let recorded = RECORDED.iter().map(|(name, _)| ((*name).to_string(), recorded(name)));
    let written = known().into_iter().map(|(start, script)| (format!("{start:?}"), script.calls));
    recorded.chain(written).collect()
}

fn whole(calls: &[Call], role: Role) -> Outcome {
    let mut observed = observed(role);
    observe(&mut observed, calls);
    assert!(observed.desyncs.is_empty(), "{:?}", observed.desyncs);
    outcome(&observed)
}

fn classes(outcome: &Outcome) -> Vec<(&str, u32)> {
    let counted = outcome.counters.errors.iter().filter(|error| error.count > 0);
    let known = ["22", "25", "28", "42", "53", "57"];
    let name = |class: [u8; 2]| known.into_iter().find(|name| name.as_bytes() == class).unwrap_or("");
    counted.map(|error| (name(error.class), error.count)).collect()
}

#[test]
fn recordings_count_what_was_asked_for() {
    use State::{Idle, None, Waiting};
    // By kind, then transactions, errors and the state at the end.
    type Expected<'a> = (&'a str, [u32; 5], u32, &'a [(&'a str, u32)], State);
    let expected: [Expected<'_>; 14] = [
        ("simple", [7, 2, 1, 2, 8], 2, &[("42", 1), ("22", 1), ("25", 1)], Idle),
        ("password", [1, 0, 0, 0, 0], 0, &[], Idle),
        ("scram", [1, 0, 0, 0, 0], 0, &[], Idle),
        ("scram-refused", [0; 5], 0, &[("28", 1)], Waiting),
        ("too-many", [0; 5], 0, &[("53", 1)], Waiting),
        ("ssl-no", [1, 0, 0, 0, 0], 0, &[], Idle),
        ("copy", [0, 0, 0, 0, 6], 0, &[("22", 1), ("42", 1)], Idle),
        ("function-call", [1, 0, 0, 0, 6], 1, &[], Idle),
        ("cancel", [1, 0, 0, 0, 0], 0, &[("57", 1)], Idle),
        ("cancel-request", [0; 5], 0, &[], None),
        ("pgbench-extended", [2, 0, 2, 0, 4], 2, &[], Idle),
        // To prepare a statement is no query.
        ("pgbench-prepared", [2, 0, 2, 0, 4], 2, &[], Idle),
        // One Sync each.
        ("pgbench-pipeline", [2, 0, 0, 0, 0], 0, &[], Idle),
        ("pgbench-pipeline-error", [1, 0, 0, 0, 0], 0, &[("22", 1)], Idle),
    ];
    for (name, kinds, transactions, errors, state) in expected {
        for role in [Role::Client, Role::Server] {
            let outcome = whole(&recorded(name), role);
            assert_eq!(outcome.protocol, Protocol::Postgres, "{name}");
            assert_eq!((outcome.pending, outcome.lost), (0, [0; 2]), "{name}");
            assert_eq!(queries(&outcome), kinds, "{name}");
            assert_eq!(outcome.counters.transactions.iter().sum::<u32>(), transactions, "{name}");
            assert_eq!(classes(&outcome), errors, "{name}");
            assert_eq!(State::from_u8(outcome.counters.state), state, "{name}");
            assert!(!outcome.counters.is_active(), "{name}");
            assert_eq!(outcome.counters.acquire_ns > 0, matches!(state, Idle), "{name}");
        }
    }
    let encrypted = whole(&recorded("ssl-yes"), Role::Client);
    assert_eq!((encrypted.protocol, encrypted.encrypted), (Protocol::Postgres, true));
    assert_eq!(State::from_u8(encrypted.counters.state), None);
}

#[test]
fn sessions_count_as_the_model_counts_them() {
    for (name, calls) in sessions() {
        let mut model = Model::new(SEEN_NS);
        let mut observed = observed(Role::Client);
        for (place, call) in calls.iter().enumerate() {
            model.feed(call.server, &call.bytes, call.now_ns);
            parts(&mut observed, call, &[]);
            let outcome = outcome(&observed);
            assert_eq!(outcome.counters, model.counters, "{name}, call {place}");
            assert_eq!(outcome.protocol, model.protocol, "{name}, call {place}");
        }
    }
}

#[test]
fn a_call_may_be_split_anywhere() {
    for (name, calls) in sessions() {
        for role in [Role::Client, Role::Server] {
            let expected = whole(&calls, role);
            let mut before = observed(role);
            for (place, call) in calls.iter().enumerate() {
                for at in 1..call.bytes.len() {
                    let mut observed = before.clone();
                    observed.passing = at % 2 == 0;
                    parts(&mut observed, call, &[at]);
                    observe(&mut observed, &calls[place + 1..]);
                    assert_eq!(outcome(&observed), expected, "{name}, call {place} at {at}");
                    assert!(observed.desyncs.is_empty(), "{name}, call {place} at {at}");
                }
                parts(&mut before, call, &[]);
            }
        }
    }
}

#[test]
fn both_directions_may_be_split_at_any_byte_at_once() {
    for (name, calls) in sessions() {
        let expected = whole(&calls, Role::Client);
        let longest = calls.iter().map(|call| call.bytes.len()).max().unwrap_or(0);
        for at in 1..longest {
            let mut observed = observed(Role::Client);
            for call in &calls {
                parts(&mut observed, call, &[at, at / 2 + 1]);
            }
            assert_eq!(outcome(&observed), expected, "{name} at {at}");
        }
    }
}

#[test]
fn calls_of_a_few_bytes_count_the_same() {
    for (name, calls) in sessions() {
        let expected = whole(&calls, Role::Server);
        for length in 1..40 {
            for passing in [true, false] {
                let mut observed = observed(Role::Server);
                observed.passing = passing;
                for call in &calls {
                    parts(&mut observed, call, &vec![length; call.bytes.len() / length]);
                }
                assert_eq!(outcome(&observed), expected, "{name}, {length} bytes a call");
            }
        }
    }
}

#[test]
fn buffers_of_any_size_count_the_same() {
    for (name, calls) in sessions() {
        let expected = whole(&calls, Role::Client);
        for buffer in 1..=64 {
            for poison in [0, 0xFF, b'Z'] {
                let mut observed = observed(Role::Client).in_buffers_of(buffer);
                observed.poison = poison;
                observe(&mut observed, &calls);
                assert_eq!(outcome(&observed), expected, "{name} in buffers of {buffer}");
            }
        }
    }
}

#[test]
fn calls_may_be_joined_where_a_side_goes_on() {
    for (name, calls) in sessions() {
        let expected = whole(&calls, Role::Client);
        let mut joined: Vec<Call> = Vec::new();
        for call in calls {
            match joined.last_mut() {
                Some(last) if last.server == call.server => last.bytes.extend(call.bytes),
                _ => joined.push(call),
            }
        }
        let found = whole(&joined, Role::Client);
        assert_eq!(queries(&found), queries(&expected), "{name}");
        assert_eq!(found.counters.errors, expected.counters.errors, "{name}");
        assert_eq!(found.counters.state, expected.counters.state, "{name}");
    }
}

/// Every way to ask for a session, and what it is then.
fn openings() -> Vec<(Vec<Call>, Protocol, State)> {
    let startup = client(|to| frontend::startup_message([("user", "u")], to).expect("no zero bytes"));
    let newer = [&startup[..7], &[2], &startup[8..]].concat();
    let ssl = client(frontend::ssl_request);
    let gss = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x30];
    let cancel = client(|to| frontend::cancel_request(7, 9, to));
    // As of 3.2 the key may be longer.
    let long_cancel = [&[0, 0, 0, 44, 0x04, 0xD2, 0x16, 0x2E][..], &[0x51; 36]].concat();
    let longest_cancel = [&[0, 0, 1, 12, 0x04, 0xD2, 0x16, 0x2E][..], &[0x51; 260]].concat();
    let newest = [&startup[..6], &9999_u16.to_be_bytes(), &startup[8..]].concat();
    let script = |parts: &[(bool, &[u8])]| {
        let mut script = Script::new();
        for &(server, bytes) in parts {
            if server {
                script.server(bytes)
            } else {
                script.client(bytes)
            };
        }
        script.calls
    };
    let postgres = Protocol::Postgres;
    vec![
        (script(&[(false, &startup)]), postgres, State::Waiting),
        (script(&[(false, &newer)]), postgres, State::Waiting),
        (script(&[(false, &cancel)]), postgres, State::None),
        (script(&[(false, &long_cancel)]), postgres, State::None),
        (script(&[(false, &longest_cancel)]), postgres, State::None),
        (script(&[(false, &newest)]), postgres, State::Waiting),
        (script(&[(false, &ssl), (true, b"N"), (false, &startup)]), postgres, State::Waiting),
        (script(&[(false, &gss), (true, b"N"), (false, &newer)]), postgres, State::Waiting),
        (
            script(&[(false, &gss), (true, b"N"), (false, &ssl), (true, b"N"), (false, &startup)]),
            postgres,
            State::Waiting,
        ),
        (script(&[(false, &ssl), (true, b"N"), (false, &cancel)]), postgres, State::None),
        (script(&[(false, &ssl), (true, b"S")]), postgres, State::None),
        (script(&[(false, &gss), (true, b"G")]), postgres, State::None),
        (script(&[(false, &gss), (true, b"N"), (false, &ssl), (true, b"S")]), postgres, State::None),
        // An old server, or one that is full, answers with an error.
        (script(&[(false, &ssl), (true, &server::error("53300"))]), postgres, State::Waiting),
        (script(&[(false, &ssl), (true, b"Ecould not fork\n\0")]), postgres, State::Waiting),
    ]
}

#[test]
fn every_way_to_start_is_told_however_it_is_split() {
    for role in [Role::Client, Role::Server] {
        for (calls, protocol, state) in openings() {
            let first = &calls[0];
            for cut in 1..=first.bytes.len() {
                for second in 1..=first.bytes.len() - cut + 1 {
                    let mut observed = observed(role);
                    parts(&mut observed, first, &[cut, second]);
                    observe(&mut observed, &calls[1..]);
                    let outcome = outcome(&observed);
                    assert_eq!(outcome.protocol, protocol, "{calls:?} split at {cut} and {second}");
                    if protocol == Protocol::Postgres {
                        assert_eq!(State::from_u8(outcome.counters.state), state, "{calls:?} split at {cut}");
                    }
                    assert!(!outcome.counters.is_active());
                    assert_eq!(outcome.lost, [0; 2]);
                }
            }
        }
    }
}

#[test]
fn an_encrypted_session_is_not_looked_at() {
    let mut script = Script::new();
    script.client(&client(frontend::ssl_request)).server(b"S");
    script.client(b"\x16\x03\x01\x02\0\x01\0\x01").server(&server::ready(b'T')).client(b"Q\0\0\0\x05\0");
    let outcome = whole(&script.calls, Role::Client);
    assert_eq!((outcome.protocol, outcome.encrypted), (Protocol::Postgres, true));
    assert_eq!((outcome.pending, outcome.lost, outcome.counters.asked), (0, [0; 2], 0));
    assert_eq!((outcome.counters.acquire_ns, outcome.counters.state), (0, State::None as u8));
}

#[test]
fn acquiring_ends_with_the_first_ready_for_query() {
    for start in Start::ALL {
        let mut script = Script::new();
        start.write(&mut script);
        let mut observed = observed(Role::Client);
        let (last, before) = script.calls.split_last().expect("calls");
        observe(&mut observed, before);
        let waiting = outcome(&observed).counters;
        assert_eq!((waiting.acquire_ns, State::from_u8(waiting.state)), (0, State::Waiting), "{start:?}");
        parts(&mut observed, last, &[]);
        let counters = outcome(&observed).counters;
        if let Some(class) = start.error() {
            assert_eq!((counters.acquire_ns, counters.state), (0, State::Waiting as u8));
            assert_eq!((counters.errors[0].class, counters.errors[0].count), (class, 1), "{start:?}");
            assert_eq!(counters.refused, class, "{start:?}");
        } else {
            assert_eq!(counters.refused, [0; 2]);
            assert_eq!(counters.acquire_ns, last.now_ns - SEEN_NS, "{start:?}");
            assert_eq!(State::from_u8(counters.state), State::Idle, "{start:?}");
        }
        assert_eq!(counters.query_ns, [0; 5]);
        assert_eq!((counters.asked, counters.answered), (0, 0));
    }
}
