//! Sessions with memcached count what was said, however its bytes are cut into calls and buffers.

mod common;

#[path = "common/memcached/mod.rs"]
mod memcached;

use std::collections::BTreeMap;

use common::Observed;
use memcached::{Outcome, SESSIONS, calls, observed, outcome};
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::redis::layout::Command as RedisCommand;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn script(name: &str) -> &'static [(&'static str, &'static str)] {
    SESSIONS.iter().find(|(known, _)| *known == name).expect("a session of this name").1
}

/// A session in whole calls.
fn whole(name: &str) -> Outcome {
    let outcome = outcome(Role::Client, 1024, &calls(script(name)), &[]);
    assert_eq!((outcome.protocol, outcome.lost, outcome.pending), (Protocol::Memcached, [0; 2], 0), "{name}");
    assert_eq!(outcome.desyncs, [], "{name}");
    assert_eq!(outcome.counters.unmatched, 0, "{name}");
    outcome
}

fn named<T: Copy>(counts: &[(&str, T)]) -> BTreeMap<String, T> {
    counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

#[test]
fn keys_are_found_or_not() {
    let outcome = whole("classic");
    assert_eq!(outcome.keys, named(&[("user", (3, 2)), ("cart", (0, 1)), ("none", (1, 0))]));
    let commands = [
        ("add", 1),
        ("cas", 1),
        ("delete", 1),
        ("gat", 1),
        ("get", 2),
        ("gets", 1),
        ("incr", 2),
        ("set", 2),
        ("touch", 1),
        ("version", 1),
    ];
    assert_eq!(outcome.commands(), named(&commands));
    assert_eq!((outcome.counters.gets, outcome.counters.get_ns), ([4, 0, 0, 0, 0, 0], 4_000));
    assert_eq!((outcome.counters.sets, outcome.counters.set_ns), ([2, 0, 0, 0, 0, 0], 2_000));
}

#[test]
fn replies_belong_to_commands_in_order() {
    let outcome = whole("pipelined");
    assert_eq!(outcome.keys, named(&[("a", (3, 2)), ("b", (1, 1)), ("c", (0, 1))]));
    assert_eq!(outcome.counters.gets.iter().sum::<u32>(), 5);
}

#[test]
fn commands_without_a_reply_are_not_waited_for() {
    let outcome = whole("without replies");
    assert_eq!(outcome.keys, named(&[("a", (1, 1))]));
    assert_eq!(outcome.commands(), named(&[("set", 1), ("get", 2), ("delete", 2), ("flush_all", 1)]));
    assert_eq!(outcome.counters.sets, [0; 6]);
}

#[test]
fn meta_commands_count_as_well() {
    let outcome = whole("meta");
    assert_eq!(outcome.keys, named(&[("a", (2, 0)), ("b", (0, 1)), ("none", (0, 1))]));
    assert_eq!(
        outcome.commands(),
        named(&[("ms", 1), ("mg", 4), ("md", 1), ("ma", 1), ("me", 1), ("mn", 1)])
    );
    assert_eq!((outcome.counters.gets[0], outcome.counters.sets[0]), (4, 1));
}

#[test]
fn quiet_lookups_are_told_by_what_is_answered() {
    let outcome = whole("quiet");
    assert_eq!(outcome.keys, named(&[("other", (2, 1)), ("a", (0, 1))]));
    assert_eq!(outcome.counters.gets.iter().sum::<u32>(), 3, "those that were answered");
}

#[test]
fn errors_are_replies() {
    let outcome = whole("errors");
    assert_eq!(outcome.keys, named(&[("b", (0, 4))]));
    assert_eq!(outcome.commands(), named(&[("version", 1), ("get", 6), ("set", 2), ("other", 1)]));
    assert_eq!(outcome.counters.sets, [0; 6], "none went well");
}

#[test]
fn lists_are_one_reply() {
    let outcome = whole("lists");
    assert_eq!(outcome.keys, named(&[("a", (0, 2))]));
    assert_eq!(outcome.commands(), named(&[("stats", 3), ("lru_crawler", 1), ("get", 2)]));
}

#[test]
fn prefixes_are_as_of_any_key() {
    let outcome = whole("long keys");
    let longest = "abcdefghijklmnopqrstuvwxyzabcdef";
    assert_eq!(outcome.keys, named(&[(longest, (0, 1)), ("other", (0, 3)), ("none", (0, 1))]));
}

#[test]
fn every_cut_counts_the_same() {
    for (name, script) in SESSIONS {
        let calls = calls(script);
        let longest = calls.iter().map(|call| call.bytes.len()).max().expect("some calls");
        let expected = whole(name);
        for role in ROLES {
            for buffer in [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 1024] {
                assert_eq!(outcome(role, buffer, &calls, &[]), expected, "{name}, buffers of {buffer}");
                assert_eq!(outcome(role, buffer, &calls, &[1; 400]), expected, "{name}, a byte a call");
            }
            for cut in 1..longest {
                assert_eq!(outcome(role, 1024, &calls, &[cut]), expected, "{name}, cut at {cut}");
                assert_eq!(outcome(role, 4, &calls, &[cut, 1]), expected, "{name}, cut at {cut} and behind");
            }
        }
    }
}

#[test]
fn data_is_stepped_over_unread() {
    let mut observed = observed(Role::Server);
    observed.client(b"set a:1 0 0 1000000\r\n");
    for _ in 0..1_000 {
        // Longer than any line, and not as a command begins.
        observed.session.pass(Direction::Received, 1_000, &mut observed.connection);
    }
    observed.client(b"\r\nget a:1\r\n");
    observed.server(b"STORED\r\nVALUE a:1 0 1000000\r\n");
    assert!(observed.session.pass(Direction::Sent, 1_000_000, &mut observed.connection));
    assert!(observed.miss(Direction::Sent, 1, Desync::Gap).is_none(), "one of the two bytes behind it");
    observed.server(b"\nEND\r\n");
    let outcome = Outcome::of(&observed);
    assert_eq!((outcome.protocol, outcome.lost), (Protocol::Memcached, [0; 2]));
    assert_eq!(outcome.keys, named(&[("a", (1, 0))]));
}

#[test]
fn more_in_flight_than_is_kept_is_told() {
    let mut observed = observed(Role::Client);
    let (mut asked, mut answered) = (Vec::new(), String::new());
    for number in 0..1_000 {
        asked.push(format!("get p{}:1\r\nset p{number}:1 0 0 1\r\nx\r\n", number % 50));
        answered += "END\r\nSTORED\r\n";
    }
    observed.client(asked.concat().as_bytes());
    observed.server(answered.as_bytes());
    observed.client(b"get a:1\r\n");
    observed.server(b"VALUE a:1 0 1\r\nx\r\nEND\r\n");
    let outcome = Outcome::of(&observed);
    assert_eq!((outcome.lost, &outcome.desyncs[..]), ([0; 2], &[][..]));
    assert_eq!(outcome.commands(), named(&[("get", 1_001), ("set", 1_000)]));
    let looked_up: u64 = outcome.keys.values().map(|(hits, misses)| hits + misses).sum();
    let timed: u32 = outcome.counters.gets.iter().chain(&outcome.counters.sets).sum();
    assert_eq!(outcome.keys["a"], (1, 0));
    assert!(looked_up < 1_001 && outcome.counters.unmatched > 1_000);
    assert_eq!(timed + outcome.counters.unmatched, 2_001, "each is counted, or said to be left out");
}

#[test]
fn what_is_answered_by_redis_is_redis() {
    for role in ROLES {
        let mut observed = observed(role);
        observed.now_ns = 1_000;
        observed.client(b"get user:1\r\nget user:2\r\nincr n\r\nset user:3 x\r\n");
        assert_eq!((observed.protocol(), observed.connection.pending), (Protocol::Unknown, 1));
        observed.now_ns = 2_000;
        observed.server(b"$1\r\nx\r\n$-1\r\n:1\r\n+OK\r\n");
        observed.client(b"get user:4\r\n");
        observed.server(b"$-1\r\n");
        assert_eq!(observed.protocol(), Protocol::Redis);
        assert_eq!((observed.connection.pending, observed.connection.lost), (0, [0; 2]));
        assert_eq!(observed.keys.by_prefix(), named(&[("user", (1, 2))]));
        let counters = observed.connection.redis();
        assert_eq!(counters.commands[RedisCommand::Get as usize], 3);
        assert_eq!(counters.commands[RedisCommand::Incr as usize], 1);
        assert_eq!(counters.commands[RedisCommand::Set as usize], 1);
        assert_eq!((counters.gets[0], counters.sets[0], counters.get_ns), (3, 1, 2_000));
        assert_eq!((counters.asked, counters.answered, counters.unmatched), (5, 5, 0));
    }
}

#[test]
fn what_neither_answers_is_unknown() {
    // beanstalkd's `stats`; a server of a made-up protocol; a command whose end has not been seen.
    for (asked, answered) in [
        (&b"stats\r\n"[..], &b"OK 12\r\n---\nx: 1\n\r\n"[..]),
        (b"get x\r\n", b"200 here it is\r\n"),
        (b"get x\r\n", b"value of x\r\n"),
        (b"get x\r\nget", b"$1\r\nx\r\n"),
    ] {
        let mut observed = observed(Role::Client);
        observed.client(asked);
        observed.server(answered);
        if observed.protocol() == Protocol::Unknown {
            assert_eq!(observed.connection.pending, 0);
            observed.client(b"get x\r\n");
            observed.server(b"END\r\n");
            assert_eq!(observed.protocol(), Protocol::Unknown);
        } else {
            // A number may be what `incr` is answered with; a reply to `get` it is not.
            assert_eq!(observed.desyncs, [Desync::Header], "{}", answered.escape_ascii());
        }
    }
}

#[test]
fn a_connection_from_before_is_told_by_what_is_written() {
    for (side, bytes) in [
        (true, &b"set a:1 0 60 5\r\nAlice\r\n"[..]),
        (true, b"ms a:1 2\r\nhi\r\nset b 0 0 0\r\n\r\n"),
        (false, b"VALUE a:1 0 5\r\nAlice\r\nEND\r\n"),
        (false, b"STORED\r\n"),
    ] {
        for role in ROLES {
            let mut observed = Observed::adopted(role);
            if side {
                observed.client(bytes);
            } else {
                observed.server(bytes);
            }
            assert_eq!(observed.protocol(), Protocol::Memcached, "{}", bytes.escape_ascii());
            for _ in 0..3 {
                observed.client(b"get end:1\r\n");
                observed.server(b"END\r\n");
            }
            assert_eq!(observed.connection.lost, [0; 2]);
            let (hits, misses) = observed.keys.by_prefix()["end"];
            assert!(hits == 0 && (2..=3).contains(&misses), "{misses}");
        }
    }
    for bytes in [
        &b"set a:1 0 60 6\r\nAlice\r\n"[..],
        b"set a:1 x\r\n",
        b"set a:1 0 60 5\r\nAlice\r\nwhat else\r\n",
        b"get a:1\r\n",
        b"get a:1\r\nget b:1\r\n",
    ] {
        let mut observed = Observed::adopted(Role::Server);
        observed.client(bytes);
        assert_eq!(observed.protocol(), Protocol::Unknown, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_stream_gets_in_sync_again() {
    for (lost, in_calls) in
        [(Direction::Sent, 1), (Direction::Received, 1), (Direction::Sent, 2), (Direction::Received, 2)]
    {
        let mut observed = observed(Role::Client);
        observed.client(b"get a:1\r\n");
        observed.server(b"END\r\n");
        assert_eq!(observed.miss(lost, 11, Desync::Gap), Some(Desync::Gap));
        assert!(observed.is_lost(lost));
        for _ in 0..=in_calls {
            observed.client(b"get b:1\r\n");
            observed.server(b"VALUE b:1 0 1\r\nx\r\nEND\r\n");
        }
        assert_eq!(observed.connection.lost, [0; 2]);
        let (hits, misses) = observed.keys.by_prefix()["b"];
        assert!(misses == 0 && (1..=in_calls + 1).contains(&hits), "{hits}");
    }
}

#[test]
fn a_reply_that_may_be_a_quiet_commands_puts_the_stream_out_of_sync() {
    for asked in [
        &b"mg a:1 v q\r\nmg b:1 v\r\n"[..],
        b"ms a:1 1 q\r\nx\r\nmd b:1\r\n",
        b"mg a:1 v q\r\nms b:1 1 q\r\nx\r\nmg b:1 v\r\n",
    ] {
        let mut observed = observed(Role::Client);
        observed.client(b"mn\r\n");
        observed.server(b"MN\r\n");
        observed.client(asked);
        observed.server(b"VA 1\r\nx\r\n");
        assert_eq!(observed.keys.by_prefix(), BTreeMap::new(), "{}", asked.escape_ascii());
        for _ in 0..2 {
            observed.client(b"mg c:1\r\n");
            observed.server(b"HD\r\n");
        }
        assert_eq!(observed.connection.lost, [0; 2]);
        assert!((1..=2).contains(&observed.keys.by_prefix()["c"].0));
    }
    let mut observed = observed(Role::Client);
    observed.client(b"mn\r\n");
    observed.server(b"MN\r\n");
    observed.client(b"mg a:1 q\r\nms b:1 1 q\r\nx\r\nmn\r\n");
    observed.server(b"SERVER_ERROR out of memory\r\n");
    assert_eq!(observed.desyncs, [Desync::Header], "whose error it is cannot be told");
}

#[test]
fn what_breaks_the_rules_is_a_desync() {
    let start = || {
        let mut observed = observed(Role::Client);
        observed.client(b"mn\r\n");
        observed.server(b"MN\r\n");
        observed
    };
    for (bytes, reason) in [
        (&b"\r\n"[..], Desync::Header),
        (b"GET a\r\n", Desync::Header),
        (b"averyveryverylongname x\r\n", Desync::Header),
        (b"set a 0 0 x\r\n", Desync::Header),
        (b"set a 0 0 -1\r\n", Desync::Header),
        (b"set a 0 0 2000000000\r\n", Desync::Length),
        (b"set a 0 0 99999999999999999999\r\n", Desync::Header),
        (b"\x80\x00\x00\x00", Desync::Header),
    ] {
        let mut observed = start();
        observed.client(bytes);
        observed.client(b"\r\n");
        assert_eq!(observed.desyncs.first(), Some(&reason), "{}", bytes.escape_ascii());
    }
    for (asked, bytes, reason) in [
        (&b""[..], &b"END\r\n"[..], Desync::Header),
        (b"get a\r\n", b"STORED\r\n", Desync::Header),
        (b"get a\r\n", b"VALUE a 0 x\r\n", Desync::Header),
        (b"get a\r\n", b"VALUE a 0 2000000000\r\n", Desync::Length),
        (b"get a b\r\n", b"STORED\r\n", Desync::Header),
        (b"get a b\r\n", b"VALUE a 0 0\r\n\r\nVALUE b 0 0\r\n\r\nVALUE b 0 0\r\n\r\n", Desync::Header),
        (b"set a 0 0 1\r\nx\r\n", b"END\r\n", Desync::Header),
        (b"mg a\r\n", b"STORED\r\n", Desync::Header),
        (b"mn\r\n", b"HD\r\n", Desync::Header),
        (b"delete a\r\n", b"VALUE a 0 0\r\n", Desync::Header),
        (b"get a\r\n", b"\r\n", Desync::Header),
    ] {
        let mut observed = start();
        observed.client(asked);
        observed.server(bytes);
        assert_eq!(observed.desyncs, [reason], "{}", bytes.escape_ascii());
        assert!(observed.is_lost(Direction::Received));
    }
}

#[test]
fn a_servers_log_is_not_looked_at() {
    let mut observed = observed(Role::Client);
    observed.client(b"version\r\n");
    observed.server(b"VERSION 1.6.18\r\n");
    observed.client(b"watch fetchers\r\n");
    observed.server(b"OK\r\nts=1.2 gid=1 type=item_get key=a status=not_found clsid=0 cfd=1 size=0\r\n");
    assert_eq!(observed.desyncs, []);
    assert_eq!((observed.protocol(), observed.connection.lost), (Protocol::Memcached, [0; 2]));
}
