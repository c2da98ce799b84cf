//! Sessions that are not a client's with its queries: replication, and those that are refused; and since when what is
//! open is open.

mod common;
#[path = "common/postgres/mod.rs"]
mod pg;

use common::{Call, Observed, observe, parts};
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::postgres::layout::{OTHER_CLASSES, STARTS, State};
use pg::{Script, Start, assert_right, client, cycle, idle, observed, outcome, query, server};
use postgres_protocol::message::frontend;

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const SECOND: u64 = 1_000_000_000;

/// What a walsender answers to `START_REPLICATION`, with the first it says then.
fn streaming() -> Vec<u8> {
    [server::copy(b'W'), server::replicated(b'k', &[])].concat()
}

#[test]
fn replication_is_no_query_however_long() {
    for end in [server::complete("START_STREAMING"), server::error("57P01")] {
        let mut observed = idle();
        observed.client(&query("IDENTIFY_SYSTEM"));
        observed
            .server(&[server::columns(), server::complete("IDENTIFY_SYSTEM"), server::ready(b'I')].concat());
        let before = outcome(&observed).counters;
        observed.client(&query("START_REPLICATION SLOT s LOGICAL 0/0"));
        assert!(observed.connection.postgres().query_began_ns().is_some(), "it may yet fail");
        observed.server(&streaming());
        for day in 0..20 {
            let counters = observed.connection.postgres();
            assert_eq!(State::from_u8(counters.state), State::Replication);
            assert_eq!((counters.query_began_ns(), counters.transaction_seen_ns()), (None, None), "{day}");
            observed.now_ns += 86_400 * SECOND;
            observed.server(&server::replicated(b'w', &server::lookalike(3_000)));
            observed.client(&server::replicated(b'r', &[]));
        }
        observed.client(&client(frontend::copy_done));
        observed.server(&[server::message(b'c', &[]), end, server::ready(b'I')].concat());
        assert_right(&observed, State::Idle);
        let after = outcome(&observed).counters;
        assert_eq!((after.queries, after.query_ns), (before.queries, before.query_ns));
        cycle(&mut observed, b'T');
        assert_right(&observed, State::InTransaction);
        assert_eq!(outcome(&observed).counters.queries[0][0], before.queries[0][0] + 1);
        assert!(observed.desyncs.is_empty());
    }
}

#[test]
fn replication_that_does_not_start_is_a_query() {
    let mut observed = idle();
    observed.client(&query("START_REPLICATION SLOT absent LOGICAL 0/0"));
    observed.server(&[server::error("42704"), server::ready(b'I')].concat());
    assert_right(&observed, State::Idle);
    assert_eq!(outcome(&observed).counters.queries[4][0], 1);
}

/// It has been there for weeks when the agent starts.
#[test]
fn replication_first_seen_in_the_middle_is_told_by_what_keeps_it_alive() {
    let (alive, status) = (server::replicated(b'k', &[]), server::replicated(b'r', &[]));
    for role in ROLES {
        let mut observed = Observed::adopted(role);
        observed.server(&server::replicated(b'w', &[7; 500]));
        assert_eq!(observed.protocol(), Protocol::Unknown);
        observed.client(&status);
        assert_eq!(observed.protocol(), Protocol::Postgres);
        assert_eq!(observed.connection.postgres().state, State::None as u8);
        observed.server(&alive);
        assert_eq!(observed.connection.lost, [0; 2]);
        assert_eq!(State::from_u8(observed.connection.postgres().state), State::Replication);
        observed.client(&client(frontend::copy_done));
        observed
            .server(&[server::message(b'c', &[]), server::complete("COPY 0"), server::ready(b'I')].concat());
        assert_right(&observed, State::Idle);
        assert_eq!(outcome(&observed).counters.queries, [[0; 9]; 5]);
        assert_eq!((observed.connection.postgres().acquire_ns, observed.desyncs.len()), (0, 0));
    }
    // Rows of a COPY that look like it, but for their ends.
    for row in [&b"kept for another time\n"[..18], b"kkkkkkkkkkkkkkkkk\n"] {
        let mut observed = Observed::adopted(Role::Client);
        observed.server(&server::copied(row));
        assert_eq!(observed.protocol(), Protocol::Unknown);
    }
    for bytes in [[alive.clone(), alive.clone()].concat(), alive[..22].to_vec(), [&alive[..], b"d"].concat()]
    {
        let mut observed = Observed::adopted(Role::Client);
        observed.server(&bytes);
        assert_eq!(observed.protocol(), Protocol::Unknown, "{bytes:?}");
    }
}

#[test]
fn a_stream_of_replication_that_was_lost_is_found_again() {
    let mut observed = idle();
    observed.client(&query("START_REPLICATION SLOT s LOGICAL 0/0"));
    observed.server(&streaming());
    observed.server(b"\xFF\xFF\xFF\xFF\xFF");
    observed.client(b"\xFF\xFF\xFF\xFF\xFF");
    assert_eq!(observed.connection.lost, [1; 2]);
    assert_eq!(State::from_u8(observed.connection.postgres().state), State::Replication);
    observed.client(&server::replicated(b'r', &[]));
    observed.server(&server::replicated(b'k', &[]));
    assert_eq!(observed.connection.lost, [0; 2]);
    assert_eq!(State::from_u8(observed.connection.postgres().state), State::Replication);
}

#[test]
fn a_session_is_refused_once_and_only_before_it_is_ready() {
    for role in ROLES {
        let mut script = Script::new();
        Start::Full.write(&mut script);
        let mut refused = observed(role);
        observe(&mut refused, &script.calls);
        refused.server(&server::error("57P01"));
        let counters = outcome(&refused).counters;
        assert_eq!(counters.refused, *b"53");
        assert_eq!(counters.errors.map(|error| error.count)[..3], [1, 1, 0]);
        assert!(refused.desyncs.is_empty());
    }
    let mut observed = idle();
    observed.client(&query("select absent"));
    observed.server(&[server::error("42703"), server::ready(b'I')].concat());
    observed.server(&server::error("57P01"));
    assert_eq!(outcome(&observed).counters.refused, [0; 2]);
    // Nor where the start was not seen.
    let mut observed = Observed::adopted(Role::Server);
    observed.client(&query("select absent"));
    observed.server(&[server::error("42703"), server::ready(b'I')].concat());
    assert_eq!(outcome(&observed).counters.refused, [0; 2]);
}

/// Who has no room says so before anybody has asked: its own end then sees that first, or nothing else.
#[test]
fn a_server_that_refuses_before_it_is_asked() {
    let startup = client(|to| frontend::startup_message([("user", "u")], to).expect("no zero bytes"));
    let plain = b"Ecould not fork new process for connection: Resource temporarily unavailable\n\0";
    let pooler = server::message(b'E', b"SFATAL\0C08P01\0Mno more connections allowed (max_client_conn)\0\0");
    for (bytes, class) in [(&plain[..], OTHER_CLASSES), (&pooler, *b"08")] {
        for role in ROLES {
            for asked in [true, false] {
                let mut observed = observed(role);
                observed.server(bytes);
                if asked {
                    observed.client(&startup);
                }
                let found = outcome(&observed);
                assert_eq!(found.protocol, Protocol::Postgres);
                assert_eq!((found.counters.refused, found.counters.state), (class, State::Waiting as u8));
                assert_eq!((found.counters.errors[0].class, found.counters.errors[0].count), (class, 1));
                assert!(observed.desyncs.is_empty());
                assert_eq!(found.lost, [0; 2]);
            }
        }
    }
}

#[test]
fn plain_text_is_an_error_only_before_the_server_is_ready() {
    let mut observed = idle();
    observed.client(&query("select 1"));
    observed.server(b"Ecould not fork new process\n\0");
    assert_eq!(observed.desyncs.len(), 1);
    cycle(&mut observed, b'I');
    assert_right(&observed, State::Idle);
}

#[test]
fn an_error_that_tells_no_class_is_counted_all_the_same() {
    let long = [b"SERROR\0M", &[b'x'; 600][..], b"\0C42601\0\0"].concat();
    for payload in
        [&b"SERROR\0Mno\0\0"[..], b"\0", b"SERROR\0Mcut off", b"SERROR\0C", b"SERROR\0C\0\0", &long]
    {
        let bytes = server::message(b'E', payload);
        for cut in 0..bytes.len() {
            let mut observed = idle();
            let call = Call { server: true, bytes: bytes.clone(), now_ns: observed.now_ns };
            parts(&mut observed, &call, &[cut]);
            let errors = outcome(&observed).counters.errors;
            assert_eq!((errors[0].class, errors[0].count), (OTHER_CLASSES, 1), "{}", payload.escape_ascii());
            assert_eq!(errors[1].count, 0);
            observed.server(&server::ready(b'I'));
            assert_right(&observed, State::Idle);
        }
    }
}

#[test]
fn what_is_open_tells_since_when() {
    let mut observed = idle();
    let began = |observed: &Observed| {
        let counters = observed.connection.postgres();
        (counters.query_began_ns(), counters.transaction_seen_ns())
    };
    let start = observed.now_ns;
    let at = |second: u64| Some(start + second * SECOND);
    let go = |observed: &mut Observed, second: u64, server: bool, bytes: &[u8]| {
        observed.now_ns = start + second * SECOND;
        observed.by(server, bytes);
        began(observed)
    };
    assert_eq!(began(&observed), (None, None));
    assert_eq!(go(&mut observed, 1, false, &query("begin")), (at(1), None));
    let ready = [server::complete("BEGIN"), server::ready(b'T')].concat();
    assert_eq!(go(&mut observed, 2, true, &ready), (None, at(2)));
    assert_eq!(go(&mut observed, 5, false, &query("select 1")), (at(5), at(2)));
    // One that follows on it waits for it.
    assert_eq!(go(&mut observed, 6, false, &query("select 2")), (at(5), at(2)));
    assert_eq!(go(&mut observed, 7, true, &server::row(b"1")), (at(5), at(2)));
    assert_eq!(
        go(&mut observed, 8, true, &[server::error("22012"), server::ready(b'E')].concat()),
        (at(6), at(2))
    );
    assert_eq!(
        go(&mut observed, 9, true, &[server::error("25P02"), server::ready(b'E')].concat()),
        (None, at(2))
    );
    assert_eq!(go(&mut observed, 10, false, &query("rollback")), (at(10), at(2)));
    assert_eq!(go(&mut observed, 11, true, &server::ready(b'I')), (None, None));
    assert_eq!(go(&mut observed, 12, false, &query("begin")), (at(12), None));
    assert_eq!(go(&mut observed, 13, true, &server::ready(b'T')), (None, at(13)));

    // First seen inside one: since then, at least.
    let mut adopted = Observed::adopted(Role::Server);
    assert_eq!(go(&mut adopted, 20, true, &server::ready(b'T')), (None, at(20)));
    assert_eq!(go(&mut adopted, 30, false, &query("commit")), (at(30), at(20)));
    assert_eq!(go(&mut adopted, 31, true, &server::ready(b'I')), (None, None));
    assert_eq!(adopted.connection.postgres().transactions, [0; 11], "it has no time");
}

#[test]
fn more_in_flight_than_are_kept_are_as_old_as_the_oldest_that_is() {
    let mut observed = idle();
    let start = observed.now_ns;
    let more = 10;
    for number in 0..STARTS as u64 + more {
        observed.now_ns = start + number;
        observed.client(&query("select 1"));
        let oldest = (number + 1).saturating_sub(STARTS as u64);
        assert_eq!(observed.connection.postgres().query_began_ns(), Some(start + oldest));
    }
    for answered in 1..STARTS as u64 + more {
        observed.server(&server::ready(b'I'));
        assert_eq!(observed.connection.postgres().query_began_ns(), Some(start + answered.max(more)));
    }
    observed.server(&server::ready(b'I'));
    assert_eq!(observed.connection.postgres().query_began_ns(), None);
}

/// As when a descriptor is passed on, or counters are near their ends.
#[test]
fn what_is_in_flight_goes_on_in_another_slot() {
    for before in [0, 1, STARTS - 1, STARTS, STARTS + 7] {
        let mut observed = idle();
        for _ in 0..before {
            cycle(&mut observed, b'I');
        }
        observed.client(&query("begin"));
        observed.server(&server::ready(b'T'));
        let start = observed.now_ns;
        for number in 0..3 {
            observed.now_ns = start + number;
            observed.client(&query("update t set n = 1"));
        }
        // SAFETY: the layout is of integers only, of which all may be zero.
        let mut next: observer_ebpf::layout::connection::Connection = unsafe { core::mem::zeroed() };
        next.protocol = observed.connection.protocol;
        observed.session.carry_over(&observed.connection, &mut next);
        assert_eq!(next.postgres().transaction_seen_ns(), Some(start));
        observed.connection = next;
        for number in 0..3 {
            assert_eq!(observed.connection.postgres().query_began_ns(), Some(start + number), "{before}");
            observed.now_ns = start + number + 5;
            observed.server(&[server::error("25P02"), server::ready(b'E')].concat());
        }
        assert!(!observed.connection.postgres().is_active());
        let counters = outcome(&observed).counters;
        assert_eq!((counters.queries[2][0], counters.query_ns[2]), (3, 15), "{before}");
    }
}
