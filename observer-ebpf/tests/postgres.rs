//! Sessions with `PostgreSQL`, recorded and written, count the same in calls of any lengths and buffers of any sizes.

mod common;
#[path = "common/postgres/mod.rs"]
mod pg;

use common::{Call, observe, parts};
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::postgres::layout::{QueryKind, State};
use pg::{
    Model, Outcome, RECORDED, Request, SEEN_NS, STATEMENTS, Script, Start, client, keyword, known, observed,
    outcome, recorded, server,
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

fn total(outcome: &Outcome) -> [u32; 5] {
    outcome.counters.queries.map(|buckets| buckets.iter().sum())
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
            assert_eq!(total(&outcome), kinds, "{name}");
            assert_eq!(outcome.counters.transactions.iter().sum::<u32>(), transactions, "{name}");
            assert_eq!(classes(&outcome), errors, "{name}");
            assert_eq!(State::from_u8(outcome.counters.state), state, "{name}");
            assert!(!outcome.counters.is_active(), "{name}");
            assert_eq!(outcome.counters.acquire_ns > 0, matches!(state, Idle), "{name}");
        }
    }
    assert_eq!(whole(&recorded("ssl-yes"), Role::Client).protocol, Protocol::Tls);
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
        assert_eq!(total(&found), total(&expected), "{name}");
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
        (script(&[(false, &ssl), (true, b"N"), (false, &startup)]), postgres, State::Waiting),
        (script(&[(false, &gss), (true, b"N"), (false, &newer)]), postgres, State::Waiting),
        (
            script(&[(false, &gss), (true, b"N"), (false, &ssl), (true, b"N"), (false, &startup)]),
            postgres,
            State::Waiting,
        ),
        (script(&[(false, &ssl), (true, b"N"), (false, &cancel)]), postgres, State::None),
        (script(&[(false, &ssl), (true, b"S")]), Protocol::Tls, State::Waiting),
        (script(&[(false, &gss), (true, b"G")]), Protocol::Tls, State::Waiting),
        (script(&[(false, &gss), (true, b"N"), (false, &ssl), (true, b"S")]), Protocol::Tls, State::Waiting),
        // An old server, or one that is full, answers with an error.
        (script(&[(false, &ssl), (true, &server::error("53300"))]), postgres, State::Waiting),
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
    assert_eq!(outcome.protocol, Protocol::Tls);
    assert_eq!((outcome.pending, outcome.lost, outcome.counters.asked), (0, [0; 2], 0));
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
        if start == Start::Full {
            assert_eq!((counters.acquire_ns, counters.state), (0, State::Waiting as u8));
            assert_eq!((counters.errors[0].class, counters.errors[0].count), (*b"53", 1));
        } else {
            assert_eq!(counters.acquire_ns, last.now_ns - SEEN_NS, "{start:?}");
            assert_eq!(State::from_u8(counters.state), State::Idle, "{start:?}");
        }
        assert_eq!(counters.query_ns, [0; 5]);
        assert_eq!((counters.asked, counters.answered), (0, 0));
    }
}

/// A session that is idle.
fn idle() -> (common::Observed, u64) {
    let mut script = Script::new();
    Start::Trust.write(&mut script);
    let mut observed = observed(Role::Client);
    observe(&mut observed, &script.calls);
    (observed, script.now_ns)
}

fn at(observed: &mut common::Observed, now_ns: u64, server: bool, bytes: &[u8]) {
    parts(observed, &Call { server, bytes: bytes.to_vec(), now_ns }, &[]);
}

#[test]
fn a_request_goes_from_its_first_byte_to_the_last_of_ready_for_query() {
    let query = client(|to| frontend::query("select 1", to).expect("no zero bytes"));
    let answer = [server::complete("SELECT 1"), server::ready(b'I')].concat();
    let (mut observed, now) = idle();
    for (place, byte) in query.iter().enumerate() {
        at(&mut observed, now + place as u64, false, &[*byte]);
        assert!(observed.connection.postgres().is_active(), "after byte {place}");
    }
    for (place, byte) in answer.iter().enumerate() {
        assert!(observed.connection.postgres().is_active(), "before byte {place}");
        at(&mut observed, now + 1_000 + place as u64, true, &[*byte]);
    }
    let counters = observed.connection.postgres();
    assert!(!counters.is_active());
    assert_eq!(counters.query_ns, [1_000 + answer.len() as u64 - 1, 0, 0, 0, 0]);
}

#[test]
fn an_extended_request_is_active_from_its_first_message_to_ready_for_query() {
    let first = [
        client(|to| frontend::parse("", "delete from t", [], to).expect("no zero bytes")),
        client(|to| frontend::describe(b'S', "", to).expect("no zero bytes")),
        client(|to| frontend::close(b'S', "", to).expect("no zero bytes")),
        client(|to| frontend::execute("", 0, to).expect("no zero bytes")),
    ];
    for message in &first {
        let (mut observed, now) = idle();
        at(&mut observed, now, false, message);
        assert!(observed.connection.postgres().is_active(), "{message:?}");
        at(&mut observed, now + 5, true, &server::message(b'1', &[]));
        assert!(observed.connection.postgres().is_active(), "{message:?}");
        at(&mut observed, now + 7, false, &client(frontend::sync));
        assert_eq!(observed.connection.postgres().asked, 1, "{message:?}");
        at(&mut observed, now + 9, true, &server::ready(b'I'));
        assert!(!observed.connection.postgres().is_active(), "{message:?}");
        // Only what is executed is a query.
        let expected = if message[0] == b'E' { 9 } else { 0 };
        assert_eq!(observed.connection.postgres().query_ns, [0, 0, 0, 0, expected], "{message:?}");
    }
}

/// libpq sends one behind a pipeline's last Sync.
#[test]
fn a_flush_by_itself_asks_for_nothing() {
    let flush = client(frontend::flush);
    let sync = client(frontend::sync);
    for length in 1..=flush.len() {
        let (mut observed, now) = idle();
        at(&mut observed, now, false, &sync);
        for part in flush.chunks(length) {
            at(&mut observed, now, false, part);
            assert_eq!(observed.connection.postgres().asked, 1, "in parts of {length}");
        }
        at(&mut observed, now, true, &server::ready(b'I'));
        assert!(!observed.connection.postgres().is_active(), "in parts of {length}");
    }
}

#[test]
fn durations_fall_in_the_buckets_of_the_contract() {
    const MS: u64 = 1_000_000;
    let bounds = [MS, 5 * MS, 10 * MS, 50 * MS, 100 * MS, 500 * MS, 1_000 * MS, 5_000 * MS];
    let query = client(|to| frontend::query("update t set v = 1", to).expect("no zero bytes"));
    let begin = client(|to| frontend::query("begin", to).expect("no zero bytes"));
    let longer = [30_000 * MS, 300_000 * MS];
    for (place, bound) in bounds.into_iter().chain(longer).enumerate() {
        for (past, bucket) in [(0, place), (1, place + 1)] {
            let (mut observed, mut now) = idle();
            at(&mut observed, now, false, &query);
            now += bound + past;
            at(&mut observed, now, true, &[server::complete("UPDATE 1"), server::ready(b'I')].concat());
            let mut expected = [0; 9];
            expected[bucket.min(8)] = 1;
            assert_eq!(
                observed.connection.postgres().queries[QueryKind::Update as usize],
                expected,
                "{bound}"
            );
            assert_eq!(observed.connection.postgres().transactions, [0; 11]);

            at(&mut observed, now, false, &begin);
            at(&mut observed, now + 3, true, &[server::complete("BEGIN"), server::ready(b'T')].concat());
            assert_eq!(observed.connection.postgres().state, State::InTransaction as u8);
            at(&mut observed, now + 5, false, &begin);
            at(&mut observed, now + 5, true, &[server::error("42601"), server::ready(b'E')].concat());
            assert_eq!(observed.connection.postgres().state, State::Failed as u8);
            at(&mut observed, now + 5, false, &begin);
            let end = now + 3 + bound + past;
            at(&mut observed, end, true, &[server::complete("ROLLBACK"), server::ready(b'I')].concat());
            let mut expected = [0; 11];
            expected[bucket] = 1;
            assert_eq!(observed.connection.postgres().transactions, expected, "{bound}");
            assert_eq!(observed.connection.postgres().transaction_ns, bound + past);
        }
    }
}

#[test]
fn requests_in_flight_keep_their_own_start() {
    let query = client(|to| frontend::query("vacuum", to).expect("no zero bytes"));
    for requests in [1, 2, 31, 32] {
        let (mut observed, now) = idle();
        for place in 0..requests {
            at(&mut observed, now + place * 10, false, &query);
        }
        assert_eq!(u64::from(observed.connection.postgres().asked), requests);
        let mut expected = 0;
        for place in 0..requests {
            at(&mut observed, now + 1_000 + place * 17, true, &server::ready(b'I'));
            expected += 1_000 + place * 7;
            assert_eq!(observed.connection.postgres().query_ns[4], expected, "{place} of {requests}");
        }
        assert!(!observed.connection.postgres().is_active());
    }
}

#[test]
fn past_32_in_flight_nothing_is_lost_and_no_time_is_too_long() {
    let query = client(|to| frontend::query("insert into t", to).expect("no zero bytes"));
    for requests in [33, 34, 64, 65, 200] {
        let (mut observed, now) = idle();
        for place in 0..requests {
            at(&mut observed, now + place * 10, false, &query);
        }
        for place in 0..requests {
            let before = observed.connection.postgres().query_ns[1];
            let end = 10_000 + place * 17;
            at(
                &mut observed,
                now + end,
                true,
                &[server::complete("INSERT 0 1"), server::ready(b'I')].concat(),
            );
            let took = observed.connection.postgres().query_ns[1] - before;
            let real = end - place * 10;
            assert!(took <= real && took >= end - requests * 10, "{place} of {requests}: {took} of {real}");
            assert!(took == real || requests - place > 32, "{place} of {requests}: {took} of {real}");
        }
        let counters = observed.connection.postgres();
        assert_eq!(u64::from(counters.queries[1].iter().sum::<u32>()), requests);
        assert_eq!((u64::from(counters.asked), counters.is_active()), (requests, false));
    }
}

#[test]
fn a_statement_tells_its_kind_where_no_command_was_complete() {
    use QueryKind::{Delete, Insert, Other, Select, Update};
    let expected = [
        Select, Select, Select, Insert, Insert, Update, Update, Delete, Delete, Other, Select, Other, Other,
        Other, Other, Other, Other, Other, Other, Other, Other, Other,
    ];
    let names = ["", "s", "a longer name of a statement"];
    for (statement, kind) in expected.into_iter().enumerate() {
        let text = STATEMENTS[statement].0;
        assert_eq!(keyword(text.as_bytes()), kind, "the model: {text:?}");
        let error = Some(String::from("42601"));
        let mut requests = vec![Request::Simple { statement, rows: vec![], error: error.clone() }];
        for name in names.map(String::from) {
            let (describe, error) = (false, error.clone());
            requests.push(Request::Extended { statement, name, describe, rows: vec![], error });
        }
        for request in requests {
            let asked = &request.parts(b'I', &[])[0].1;
            for length in 1..asked.len() {
                for buffer in [1, 3, 7, 16, 1024] {
                    let (mut observed, now) = idle();
                    observed.buffer = buffer;
                    for part in asked.chunks(length) {
                        at(&mut observed, now, false, part);
                    }
                    at(&mut observed, now, true, &[server::error("42601"), server::ready(b'I')].concat());
                    let mut counted = [0; 5];
                    counted[kind as usize] = 1;
                    let found = total(&outcome(&observed));
                    assert_eq!(found, counted, "{request:?}, {length} bytes a call, buffers of {buffer}");
                }
            }
        }
    }
}

#[test]
fn the_first_command_complete_tells_the_kind() {
    let query = client(|to| frontend::query("select 1", to).expect("no zero bytes"));
    let tags = [
        ("SELECT 1", 0),
        ("INSERT 0 1", 1),
        ("UPDATE 18446744073709551615", 2),
        ("DELETE 0", 3),
        ("SELECTED 1", 4),
        ("UPDATES", 4),
        ("DELET", 4),
        ("MERGE 2", 4),
        ("FETCH 1", 4),
        ("C", 4),
        ("", 4),
        ("CREATE TABLE", 4),
    ];
    for (first, kind) in tags {
        for (second, _) in tags {
            let (mut observed, now) = idle();
            at(&mut observed, now, false, &query);
            let answer = [server::complete(first), server::complete(second), server::ready(b'I')].concat();
            for part in answer.chunks(3) {
                at(&mut observed, now, true, part);
            }
            let mut expected = [0; 5];
            expected[kind] = 1;
            assert_eq!(total(&outcome(&observed)), expected, "{first:?}, then {second:?}");
        }
    }
}

#[test]
fn errors_count_by_class_and_past_eight_as_others() {
    let (mut observed, now) = idle();
    for (place, class) in ["01", "02", "03", "42", "5Z", "6A", "7B"].iter().enumerate() {
        for _ in 0..=place {
            at(&mut observed, now, true, &server::error(&format!("{class}P01")));
        }
        let kept = observed.connection.postgres().errors[place];
        assert_eq!((&kept.class[..], kept.count), (class.as_bytes(), place as u32 + 1));
    }
    for code in ["53300", "53200"] {
        at(&mut observed, now, true, &server::error(code));
    }
    assert_eq!(observed.connection.postgres().errors[7].class, *b"53");
    for code in ["XX000", "53300", "08006"] {
        at(&mut observed, now, true, &server::error(code));
    }
    let last = observed.connection.postgres().errors[7];
    assert_eq!((last.class, last.count), (*b"??", 5));
    at(&mut observed, now, true, &server::error("42P01"));
    assert_eq!(observed.connection.postgres().errors[3].count, 5);
}

#[test]
fn an_error_may_have_its_fields_in_any_order_and_an_empty_one() {
    for fields in [
        &b"C53300\0SERROR\0\0"[..],
        b"SERROR\0C53300\0\0",
        b"MC08\0C53300\0\0",
        b"M\0C53300\0D\0\0",
        b"C53\0\0",
    ] {
        for length in 1..fields.len() {
            let (mut observed, now) = idle();
            for part in server::message(b'E', fields).chunks(length) {
                at(&mut observed, now, true, part);
            }
            at(&mut observed, now, true, &server::ready(b'E'));
            let first = observed.connection.postgres().errors[0];
            assert_eq!((first.class, first.count), (*b"53", 1), "{fields:?}");
            assert_eq!(observed.connection.postgres().state, State::Failed as u8);
        }
    }
    for fields in [&b""[..], b"\0", b"C", b"SX\0\0", b"C5"] {
        let (mut observed, now) = idle();
        at(&mut observed, now, true, &[server::message(b'E', fields), server::ready(b'T')].concat());
        assert!(observed.desyncs.is_empty());
        assert_eq!(observed.connection.postgres().state, State::InTransaction as u8, "{fields:?}");
    }
}

#[test]
fn what_may_come_at_any_time_changes_nothing() {
    let (mut observed, now) = idle();
    let before = outcome(&observed);
    let messages = [server::notice(), server::notification(), server::parameter("TimeZone", "Z")];
    at(&mut observed, now, true, &messages.concat());
    assert_eq!(outcome(&observed), before);
    // A server that goes away says so.
    at(&mut observed, now, true, &server::error("57P01"));
    assert_eq!(observed.connection.postgres().errors[0].class, *b"57");
    at(&mut observed, now, false, &client(frontend::terminate));
    assert!(!observed.connection.postgres().is_active());
    assert_eq!(observed.connection.lost[Direction::Sent as usize], 0);
}

#[test]
fn large_values_are_stepped_over_exactly() {
    let query = client(|to| frontend::query("select 1", to).expect("no zero bytes"));
    let zeros = vec![0; 1 << 16];
    for kind in [b'D', b'd'] {
        for size in [1_u32, 1_000, 65_531, 65_532, 200_000_000] {
            for passing in [true, false] {
                let (mut observed, now) = idle();
                observed.passing = passing;
                at(&mut observed, now, false, &query);
                let header = [&[kind], &(size + 4).to_be_bytes()[..]].concat();
                at(&mut observed, now, true, &header);
                let mut left = size as usize;
                while left > 0 {
                    let part = left.min(zeros.len());
                    at(&mut observed, now, true, &zeros[..part]);
                    left -= part;
                }
                assert!(observed.connection.postgres().is_active());
                at(
                    &mut observed,
                    now + 9,
                    true,
                    &[server::complete("SELECT 1"), server::ready(b'T')].concat(),
                );
                assert_eq!(observed.connection.postgres().query_ns[0], 9, "{size}");
                assert_eq!(observed.connection.postgres().state, State::InTransaction as u8);
                assert!(observed.desyncs.is_empty());
            }
        }
    }
}

#[test]
fn many_small_rows_cost_few_looks() {
    let (mut observed, now) = idle();
    at(&mut observed, now, false, &client(|to| frontend::query("select", to).expect("no zero bytes")));
    let rows = server::row(b"7").repeat(20_000);
    let mut all = [server::columns(), rows, server::complete("SELECT 20000")].concat();
    all.extend(server::ready(b'I'));
    for part in all.chunks(8_192) {
        at(&mut observed, now + 4, true, part);
    }
    assert_eq!(observed.connection.postgres().query_ns[0], 4);
    assert!(!observed.connection.postgres().is_active());
}
