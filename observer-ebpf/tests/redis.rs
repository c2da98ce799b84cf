//! Redis sessions as they were recorded, and small ones, counted exactly, in calls and buffers cut anyhow.

mod common;

#[path = "common/redis/mod.rs"]
mod resp;

use std::collections::BTreeMap;

use common::{observe, parts};
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::redis::layout::{Command, Counters, ErrorKind, State};
use resp::{Outcome, RECORDED, observed, outcome, recorded};

fn whole(name: &str, role: Role) -> Outcome {
    let mut session = observed(role);
    session.wall_ns = 1_700_000_000_000_000_000;
    observe(&mut session, &recorded(name));
    outcome(&session)
}

fn commands(counters: &Counters) -> BTreeMap<&'static str, u32> {
    let all = Command::ALL.into_iter().map(|command| (command.name(), counters.commands[command as usize]));
    all.filter(|&(_, count)| count > 0).collect()
}

fn errors(counters: &Counters) -> BTreeMap<&'static str, u32> {
    let all = ErrorKind::ALL.into_iter().map(|kind| (kind.name(), counters.errors[kind as usize]));
    all.filter(|&(_, count)| count > 0).collect()
}

fn keys(expected: &[(&str, u64, u64)]) -> BTreeMap<String, (u64, u64)> {
    expected.iter().map(|&(prefix, hits, misses)| (prefix.to_owned(), (hits, misses))).collect()
}

/// In sync, with all commands answered.
fn assert_quiet(outcome: &Outcome) {
    assert_eq!(outcome.desyncs, []);
    assert_eq!((outcome.protocol, outcome.lost, outcome.pending), (Protocol::Redis, [0; 2], 0));
    assert_eq!(outcome.counters.asked, outcome.counters.answered);
    assert_eq!(outcome.counters.unmatched, 0);
}

#[test]
fn basic() {
    let outcome = whole("basic", Role::Client);
    assert_quiet(&outcome);
    let expected = [("user", 1, 1), ("none", 3, 2), ("a", 3, 1), ("b", 1, 0), ("z", 0, 1), ("h", 1, 1)];
    // `EXISTS a:1 a:2 a:1` finds two; `EXISTS a:1 b:2 q` two of three, of which it is not told which.
    let mut expected = keys(&expected);
    expected.insert("other".to_owned(), (2, 1));
    // GETEX and GETDEL of a:1, then GETDEL again.
    let a = expected.get_mut("a").expect("there");
    *a = (1 + 2 + 2, 1 + 1 + 1);
    expected.insert("none".to_owned(), (2, 1));
    assert_eq!(outcome.keys, expected);
    let counters = outcome.counters;
    assert_eq!(counters.gets.iter().sum::<u32>(), 4);
    assert_eq!(counters.get_ns, 4_000);
    assert_eq!(counters.sets.iter().sum::<u32>(), 4);
    assert_eq!(counters.gets[0], 4);
    let told = commands(&counters);
    assert_eq!((told["set"], told["get"], told["mget"], told["exists"], told["getdel"]), (4, 4, 1, 2, 2));
    assert_eq!(told["config"], 1);
    // Alice x 1 22 333 12345 1 x v v w
    assert_eq!(counters.sizes.iter().sum::<u32>(), 11);
    assert_eq!(counters.value_bytes, 5 + 1 + 6 + 5 + 1 + 1 + 1 + 1 + 1);
    // EX 60, GETEX EX 10, SETEX 300, PSETEX 1500, EXPIRE 86401, PEXPIRE 1000.
    assert_eq!(counters.ttls, [1, 2, 0, 1, 1, 0, 0, 0, 1]);
    assert_eq!(counters.ttl_ms, 60_000 + 10_000 + 300_000 + 1_500 + 86_401_000 + 1_000);
    // user:1, MSET's three, SETNX, SET … NX GET, GETSET.
    assert_eq!(counters.writes_without_ttl, 7);
    // `SET` with both `NX` and `GET` is new in 7.0; `INCR` of nothing and the rest went well.
    assert_eq!(errors(&counters), BTreeMap::new());
}

#[test]
fn resp3() {
    let outcome = whole("resp3", Role::Server);
    assert_quiet(&outcome);
    let expected = keys(&[("none", 0, 1), ("u", 7, 3)]);
    assert_eq!(outcome.keys, expected);
    assert_eq!(outcome.counters.state, State::Session as u8);
    assert!(outcome.counters.memory_used > 500_000);
    // One of a script, and DEBUG, which is not allowed.
    assert_eq!(errors(&outcome.counters), BTreeMap::from([("ERR", 1), ("other", 1)]));
}

#[test]
fn pipeline() {
    let outcome = whole("pipeline", Role::Client);
    assert_quiet(&outcome);
    assert_eq!(outcome.keys, keys(&[("p", 30 + 40 + 1, 60), ("q", 0, 30)]));
    assert_eq!(outcome.counters.gets, [161, 0, 0, 0, 0, 0]);
    assert_eq!(outcome.counters.sets, [40, 0, 0, 0, 0, 0]);
    assert_eq!(outcome.counters.value_bytes, 39 * 40 / 2);
    assert_eq!(outcome.counters.sizes[..4], [17, 23, 0, 0]);
}

#[test]
fn transaction() {
    let outcome = whole("transaction", Role::Client);
    assert_quiet(&outcome);
    // GET t:1, t:2; MGET t:1, x:2; EXISTS t:1 t:2 in the first; then GETs on their own and in the last one.
    let expected = keys(&[("t", 1 + 1 + 1 + 1 + 1 + 1 + 1, 1 + 1 + 1 + 1 + 1), ("x", 0, 1)]);
    assert_eq!(outcome.keys, expected);
    // Those inside have no latency.
    assert_eq!(outcome.counters.gets.iter().sum::<u32>(), 5);
    assert_eq!(outcome.counters.sets.iter().sum::<u32>(), 0);
    assert_eq!(errors(&outcome.counters), BTreeMap::from([("ERR", 5), ("EXECABORT", 1)]));
}

#[test]
fn pubsub() {
    let outcome = whole("pubsub", Role::Client);
    assert_quiet(&outcome);
    assert_eq!(outcome.counters.state, State::Session as u8);
    assert_eq!(outcome.keys, keys(&[("a", 2, 2)]));
    assert_eq!(errors(&outcome.counters), BTreeMap::from([("ERR", 1)]));
}

#[test]
fn blocking() {
    let outcome = whole("blocking", Role::Client);
    assert_quiet(&outcome);
    assert_eq!(outcome.keys, keys(&[("a", 1, 0)]));
    let told = commands(&outcome.counters);
    assert_eq!((told["blpop"], told["xread"], told["wait"]), (2, 2, 1));
}

#[test]
fn failures() {
    let outcome = whole("errors", Role::Client);
    let expected = BTreeMap::from([
        ("ERR", 5),
        ("NOPROTO", 1),
        ("NOSCRIPT", 1),
        ("OOM", 1),
        ("WRONGPASS", 1),
        ("WRONGTYPE", 1),
    ]);
    assert_eq!(errors(&outcome.counters), expected);
    assert_eq!(outcome.keys, BTreeMap::new());
}

#[test]
fn inline() {
    let outcome = whole("inline", Role::Server);
    assert_quiet(&outcome);
    assert_eq!(outcome.keys, keys(&[("il", 4, 2), ("zz", 0, 1), ("other", 1, 0)]));
    assert_eq!((outcome.counters.value_bytes, outcome.counters.writes_without_ttl), (5, 1));
    let told = commands(&outcome.counters);
    assert_eq!((told["ping"], told["get"], told["echo"], told["quit"]), (1, 4, 1, 1));
}

#[test]
fn info() {
    let calls = recorded("info");
    let text = String::from_utf8(calls[1].bytes.clone()).expect("text");
    let told = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of this name");
        line.trim().parse().expect("a number")
    };
    let outcome = whole("info", Role::Client);
    assert_quiet(&outcome);
    assert_eq!(outcome.counters.memory_used, told("used_memory:"));
    assert_eq!(outcome.counters.evicted_keys, told("evicted_keys:"));
    let Counters { memory_ns, limit_ns, evicted_ns, .. } = outcome.counters;
    assert_eq!([memory_ns, limit_ns, evicted_ns], [calls[1].now_ns, calls[1].now_ns, calls[3].now_ns]);
    assert_eq!(outcome.counters.memory_limit, told("maxmemory:"));
}

#[test]
fn client_reply() {
    let outcome = whole("client-reply", Role::Client);
    assert_quiet(&outcome);
    assert_eq!(outcome.keys, keys(&[("il", 2, 0)]));
    assert_eq!(commands(&outcome.counters)["get"], 5);
}

#[test]
fn a_monitor_is_left_alone() {
    let outcome = whole("monitor", Role::Client);
    assert_eq!(outcome.desyncs, []);
    assert_eq!(outcome.counters.state, State::Ignored as u8);
    assert!(!outcome.counters.is_active());
    assert_eq!(outcome.keys, keys(&[("a", 1, 0)]));
}

#[test]
fn recorded_sessions_count_the_same_cut_anywhere() {
    for (name, _) in RECORDED {
        let calls = recorded(name);
        for role in [Role::Client, Role::Server] {
            let expected = whole(name, role);
            // Byte by byte, and in buffers of every small length.
            for buffer in [1, 2, 3, 5, 7, 11, 16, 17, 33, 1024] {
                let mut session = observed(role).in_buffers_of(buffer);
                session.wall_ns = 1_700_000_000_000_000_000;
                session.passing = buffer % 2 == 0;
                for call in &calls {
                    let lengths = if buffer == 1024 { vec![1; call.bytes.len()] } else { Vec::new() };
                    parts(&mut session, call, &lengths);
                }
                assert_eq!(outcome(&session), expected, "{name} in buffers of {buffer}");
            }
            for (number, call) in calls.iter().enumerate() {
                let mut before = observed(role);
                before.wall_ns = 1_700_000_000_000_000_000;
                observe(&mut before, &calls[..number]);
                // Long calls only around their ends and now and then.
                let length = call.bytes.len();
                for cut in (1..length).filter(|cut| length < 600 || *cut < 100 || cut % 97 == 0) {
                    let mut session = before.clone();
                    parts(&mut session, call, &[cut]);
                    observe(&mut session, &calls[number + 1..]);
                    assert_eq!(outcome(&session), expected, "{name}, call {number} cut at {cut}");
                }
            }
        }
    }
}
