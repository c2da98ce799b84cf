//! Requests to `PostgreSQL`: how long they take, of which kind they are, and what goes wrong with them.

mod common;
#[path = "common/postgres/mod.rs"]
mod pg;

use common::{Call, Observed, parts};
use observer_ebpf::layout::Direction;
use observer_ebpf::protocols::postgres::layout::{QueryKind, State};
use pg::{Request, STATEMENTS, client, keyword, outcome, queries, server};
use postgres_protocol::message::frontend;

/// A session that is idle, and when it is.
fn idle() -> (Observed, u64) {
    let observed = pg::idle();
    let now_ns = observed.now_ns;
    (observed, now_ns)
}

fn at(observed: &mut Observed, now_ns: u64, server: bool, bytes: &[u8]) {
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
                    let found = queries(&outcome(&observed));
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
            assert_eq!(queries(&outcome(&observed)), expected, "{first:?}, then {second:?}");
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

#[test]
fn a_request_behind_a_copy_s_data_in_one_call_begins() {
    let data = server::copied(b"");
    let close = client(|to| frontend::close(b'S', "", to).expect("no zero bytes"));
    let execute = client(|to| frontend::execute("", 0, to).expect("no zero bytes"));
    for messages in [[&data, &close], [&data, &execute]] {
        let (mut whole, _) = idle();
        whole.client(&messages.map(Vec::as_slice).concat());
        let (mut split, _) = idle();
        for message in messages {
            split.client(message);
        }
        assert_eq!(outcome(&whole), outcome(&split), "{messages:?}");
        assert!(whole.connection.postgres().is_active());
    }
}
