//! Any session, in any calls, counts as the plain model counts it, which reads the server with `postgres-protocol`.

mod common;
#[path = "common/postgres/mod.rs"]
mod pg;

use common::{Call, observe, parts};
use observer_ebpf::layout::Role;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::protocols::postgres::layout::State;
use pg::{Model, Request, SEEN_NS, STATEMENTS, Script, Start, keyword, observed, outcome, server};
use postgres_protocol::message::frontend;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Requests that may be in flight together, and in which order their calls are.
#[derive(Clone, Debug)]
struct Group {
    requests: Vec<(Request, u8)>,
    /// Whether the server's next call comes before the client's.
    order: Vec<bool>,
    /// What stands before each of the server's messages.
    before: Vec<u8>,
    waits: Vec<u64>,
}

fn code() -> impl Strategy<Value = Option<String>> {
    let codes = [
        "42601", "53300", "40001", "22012", "25P02", "57014", "XX000", "08006", "0A000", "28P01", "3D000",
        "P0001",
    ];
    proptest::option::weighted(0.3, select(codes.to_vec()).prop_map(String::from))
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![8 => 0..40usize, 2 => 0..400usize, 1 => 0..5_000usize];
    prop_oneof![9 => vec(size, 0..6), 1 => (0..30usize, 0..400usize).prop_map(|(size, count)| vec![size; count])]
}

fn request() -> impl Strategy<Value = Request> {
    let statement = 0..STATEMENTS.len();
    let statements = vec(0..STATEMENTS.len(), 1..5);
    let name = select(vec!["", "s", "P_0", "statement: 0123456789"]).prop_map(String::from);
    prop_oneof![
        3 => (statement.clone(), sizes(), code())
            .prop_map(|(statement, rows, error)| Request::Simple { statement, rows, error }),
        1 => (statements.clone(), code()).prop_map(|(statements, error)| Request::Multi { statements, error }),
        1 => Just(Request::Empty),
        3 => (statement.clone(), name.clone(), any::<bool>(), sizes(), code()).prop_map(
            |(statement, name, describe, rows, error)| Request::Extended { statement, name, describe, rows, error }
        ),
        3 => (statement.clone(), name.clone(), sizes(), code())
            .prop_map(|(statement, name, rows, error)| Request::Bound { statement, name, rows, error }),
        1 => (statement.clone(), name).prop_map(|(statement, name)| Request::Prepare { statement, name }),
        1 => (statement, sizes()).prop_map(|(statement, rows)| Request::Suspended { statement, rows }),
        2 => (statements, any::<bool>(), code())
            .prop_map(|(statements, flush, error)| Request::Batch { statements, flush, error }),
        2 => (any::<[bool; 3]>(), sizes(), code()).prop_map(|([extended, early_sync, fail], rows, error)| {
            Request::CopyIn { extended, early_sync, rows, fail, error }
        }),
        1 => (sizes(), code()).prop_map(|(rows, error)| Request::CopyOut { rows, error }),
        1 => (0..300usize, code()).prop_map(|(size, error)| Request::Function { size, error }),
        1 => (sizes(), code()).prop_map(|(sizes, error)| Request::Replicate { sizes, error }),
        1 => Just(Request::Sync),
    ]
}

fn group() -> impl Strategy<Value = Group> {
    let before = prop_oneof![
        6 => Just(Vec::new()),
        1 => Just(server::notice()),
        1 => Just(server::notification()),
        1 => Just([server::parameter("a", "b"), server::notice()].concat()),
    ];
    let status = select(b"IIIITTE".to_vec());
    let wait = prop_oneof![
        4 => 0..1_000u64,
        2 => 0..3_000_000_000u64,
        1 => select(vec![1_000_000, 5_000_000, 1_000_000_000, 30_000_000_000, 400_000_000_000]),
    ];
    let in_flight = prop_oneof![6 => 1..3usize, 2 => 3..8usize, 1 => 30..70usize];
    let requests = in_flight.prop_flat_map(move |count| vec((request(), status.clone()), count));
    (requests, vec(any::<bool>(), 1..40), before, vec(wait, 1..20))
        .prop_map(|(requests, order, before, waits)| Group { requests, order, before, waits })
}

fn write(script: &mut Script, group: &Group) {
    let mut waits = group.waits.iter().cycle();
    let mut order = group.order.iter().cycle();
    // What the server has not yet written.
    let mut answers = std::collections::VecDeque::new();
    let mut answer = |script: &mut Script, bytes: Vec<u8>| {
        script.wait(*waits.next().expect("waits")).server(&bytes);
    };
    for (request, status) in &group.requests {
        let mut parts = request.parts(*status, &group.before);
        if !request.is_pipelined() {
            while let Some(bytes) = answers.pop_front() {
                answer(script, bytes);
            }
            for (server, bytes) in parts {
                if server {
                    answer(script, bytes);
                } else {
                    script.client(&bytes);
                }
            }
            continue;
        }
        script.client(&parts.remove(0).1);
        answers.push_back(parts.remove(0).1);
        // Seldom, so that many are in flight.
        while answers.len() > 60 || (*order.next().expect("an order") && *order.next().expect("an order")) {
            let Some(bytes) = answers.pop_front() else { break };
            answer(script, bytes);
        }
    }
    while let Some(bytes) = answers.pop_front() {
        answer(script, bytes);
    }
}

fn session() -> impl Strategy<Value = Vec<Call>> {
    (select(Start::ALL.to_vec()), vec(group(), 0..6)).prop_map(|(start, groups)| {
        let mut script = Script::new();
        start.write(&mut script);
        if start.error().is_none() {
            for group in &groups {
                write(&mut script, group);
            }
            script.client(&pg::client(frontend::terminate));
        }
        script.calls
    })
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let length = prop_oneof![3 => 1..8usize, 2 => 1..60usize, 1 => 1..3_000usize, 1 => Just(usize::MAX)];
    vec(length, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_session_counts_as_the_model_counts_it(
        calls in session(),
        lengths in lengths(),
        buffer in prop_oneof![1..40u32, 1..2_000u32],
        passing: bool,
        is_server: bool,
        poison: u8,
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut observed = observed(role).in_buffers_of(buffer);
        (observed.passing, observed.poison) = (passing, poison);
        let mut model = Model::new(SEEN_NS);
        let mut lengths = lengths.iter().cycle();
        for (place, call) in calls.iter().enumerate() {
            let mut rest = &call.bytes[..];
            // Each part at a time of its own.
            let mut now_ns = call.now_ns;
            while !rest.is_empty() {
                let (part, behind) = rest.split_at((*lengths.next().expect("lengths")).min(rest.len()));
                parts(&mut observed, &Call { server: call.server, bytes: part.to_vec(), now_ns }, &[]);
                model.feed(call.server, part, now_ns);
                now_ns += 1;
                rest = behind;
            }
            let outcome = outcome(&observed);
            prop_assert_eq!(outcome.counters, model.counters, "call {} of {:?}", place, calls);
            prop_assert_eq!(outcome.protocol, model.protocol);
            prop_assert_eq!(outcome.lost, [0; 2]);
        }
        prop_assert!(observed.desyncs.is_empty());
    }

    /// The start of the session was not seen, or something went by unseen: the next whole request and its answer set
    /// things right, and those behind them count.
    #[test]
    fn what_was_missed_is_over_with_the_next_request_and_its_answer(
        calls in session(),
        from in any::<Index>(),
        missed in any::<Index>(),
        adopted: bool,
        status in select(b"ITE".to_vec()),
        request in request(),
        is_server: bool,
        buffer in 64..2_000u32,
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let mut observed = observed(role).in_buffers_of(buffer);
        let from = from.index(calls.len());
        if adopted {
            observed = common::Observed::adopted(role);
        } else {
            observe(&mut observed, &calls[..from]);
            for direction in observer_ebpf::layout::Direction::ALL {
                observed.miss(direction, u64::MAX >> (missed.index(30)), Desync::Gap);
            }
        }
        if !adopted && observed.protocol() != observer_ebpf::layout::Protocol::Postgres {
            // Missed before it could be told.
            return Ok(());
        }
        observe(&mut observed, &calls[from.max(1)..]);
        let mut script = Script::new();
        script.now_ns = calls.last().map_or(0, |call| call.now_ns) + 1;
        let simple = Request::Simple { statement: 0, rows: vec![1], error: None };
        simple.write(&mut script, status);
        observed.buffer = 1024;
        observe(&mut observed, &script.calls);
        let found = outcome(&observed);
        prop_assert_eq!(found.protocol, observer_ebpf::layout::Protocol::Postgres);
        prop_assert_eq!(found.lost, [0; 2]);
        prop_assert!(!found.counters.is_active());
        let states = [(b'I', State::Idle), (b'T', State::InTransaction), (b'E', State::Failed)];
        let state = states.iter().find(|(known, _)| *known == status).expect("a state").1;
        prop_assert_eq!(State::from_u8(found.counters.state), state);

        // From here on everything counts.
        let mut script = Script { calls: Vec::new(), ..script };
        request.write(&mut script, status);
        observe(&mut observed, &script.calls);
        let after = outcome(&observed);
        prop_assert_eq!(after.counters.asked, found.counters.asked + 1);
        prop_assert!(!after.counters.is_active());
        let count = |found: &pg::Outcome| found.counters.queries.as_flattened().iter().sum::<u32>();
        let is_query = !matches!(request, Request::Prepare { .. } | Request::Replicate { .. } | Request::Sync);
        prop_assert_eq!(count(&after), count(&found) + u32::from(is_query));
    }

    #[test]
    fn a_statement_of_any_bytes_is_told_by_its_first_word(
        blanks in vec(select(vec![" ", "\n", "\t", "--x\n", "/*/**/*/", "-- select\r", "/* ' */", "(", ";"]), 0..12),
        word in select(vec!["select", "InSeRT", "UPDATE", "delete", "with", "begin", "sel", "deleted", ""]),
        behind in prop_oneof![
            Just(String::new()),
            "[ -~]{0,30}",
            select(vec![" 1", "\n", "(", "*", "--", "/*", ";", "\"", "é"]).prop_map(String::from),
        ],
        name in "[a-z_]{0,20}",
        extended: bool,
        lengths in lengths(),
        buffer in 1..40u32,
    ) {
        // Part of a name that `keyword` takes to end a word.
        prop_assume!(!behind.starts_with('$'));
        let text = format!("{}{word}{behind}", blanks.concat());
        let asked = pg::client(|to| if extended {
            frontend::parse(&name, &text, [], to).expect("no zero bytes");
            frontend::execute("", 0, to).expect("no zero bytes");
            frontend::sync(to);
        } else {
            frontend::query(&text, to).expect("no zero bytes");
        });
        let mut script = Script::new();
        Start::Trust.write(&mut script);
        let mut observed = observed(Role::Client);
        observe(&mut observed, &script.calls);
        observed.buffer = buffer;
        script.client(&asked).messages(&[server::error("42601"), server::ready(b'I')]);
        let [call, answer] = script.calls.last_chunk().expect("two calls");
        parts(&mut observed, call, &lengths);
        parts(&mut observed, answer, &[]);
        let mut expected = [0; 5];
        expected[keyword(text.as_bytes()) as usize] = 1;
        let counted = observed.connection.postgres().queries.map(|buckets| buckets.iter().sum::<u32>());
        prop_assert_eq!(counted, expected, "{:?}", text);
    }
}
