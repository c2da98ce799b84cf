//! Bytes that no client or server of Redis sends, or not now: whatever they are, nothing is counted that was not
//! there, and a session is found again.

mod common;

#[path = "common/redis/mod.rs"]
mod resp;

use common::Observed;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::redis::layout::{Command, State};
use resp::{command, observed, outcome};

fn session() -> Observed {
    let mut session = observed(Role::Client);
    session.client(&command(&[b"PING"]));
    session.server(b"+PONG\r\n");
    assert_eq!(session.connection.redis().answered, 1);
    session
}

fn get(key: &str) -> Vec<u8> {
    command(&[b"GET", key.as_bytes()])
}

/// Finds and counts one key, and one that is not there.
fn assert_counts(session: &mut Observed) {
    let before = session.keys.by_prefix().get("back").copied().unwrap_or_default();
    session.client(&get("back:1"));
    session.server(b"$3\r\nyes\r\n");
    session.client(&get("back:2"));
    session.server(b"$-1\r\n");
    let after = session.keys.by_prefix().get("back").copied().unwrap_or_default();
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
    assert_eq!(session.connection.lost, [0; 2]);
    assert!(!session.connection.redis().is_active());
}

#[test]
fn lengths_that_cannot_be_are_not_followed() {
    for (bytes, why) in [
        (&b"*9223372036854775808\r\n"[..], Desync::Header),
        (b"*4294967296\r\n", Desync::Length),
        (b"*1\r\n$9223372036854775808\r\n", Desync::Header),
        (b"*1\r\n$536870913\r\n", Desync::Length),
        (b"*1\r\n$-1\r\n", Desync::Length),
        (b"*1\r\n$\r\n", Desync::Header),
        (b"*1\r\n$1x\r\n", Desync::Length),
        (b"*1\r\n:1\r\n", Desync::Header),
        (b"*1\r\n$-2\r\n", Desync::Length),
        (b"*1\n$4\nPING\n", Desync::Header),
        (b"*x\r\n", Desync::Length),
    ] {
        for cut in 0..bytes.len() {
            let mut session = session();
            session.client(&bytes[..cut]);
            session.client(&bytes[cut..]);
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(session.desyncs.first(), Some(&why), "{text}");
            session.server(b"-ERR Protocol error\r\n");
            assert_counts(&mut session);
        }
    }
    for bytes in [
        &b"$9223372036854775808\r\n"[..],
        b"$536870913\r\n",
        b"*2147483649\r\n",
        b"$-2\r\n",
        b"%x\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"\0",
        b"\n",
        b"$?\r\n",
    ] {
        let mut session = session();
        session.client(&command(&[b"LRANGE", b"l", b"0", b"-1"]));
        session.server(bytes);
        assert_eq!(session.desyncs.len(), 1, "{bytes:?}");
        // That may have been the reply, or its start.
        session.client(&get("back:3"));
        session.server(b"$-1\r\n");
        assert_eq!(session.keys.by_prefix().get("back"), None);
        assert_counts(&mut session);
    }
}

#[test]
fn the_longest_bulk_is_stepped_over() {
    let mut session = session();
    session.client(b"*3\r\n$3\r\nSET\r\n$5\r\nbig:1\r\n$536870912\r\n");
    let chunk = vec![b'*'; 1 << 20];
    for _ in 0..512 {
        session.client(&chunk);
    }
    session.client(b"\r\n");
    session.server(b"+OK\r\n");
    assert_eq!(session.connection.redis().value_bytes, 512 << 20);
    session.client(&get("big:1"));
    session.server(b"$536870912\r\n");
    for _ in 0..512 {
        session.server(&chunk);
    }
    session.server(b"\r\n");
    assert_eq!(session.keys.by_prefix()["big"], (1, 0));
    assert_counts(&mut session);
    assert_eq!(session.desyncs, []);
}

#[test]
fn nothing_is_asked_by_empty_arrays_and_lines() {
    let mut session = session();
    session.client(b"*0\r\n*-1\r\n\r\n\r\n*0\r\n");
    assert!(!session.connection.redis().is_active());
    assert_counts(&mut session);
    assert_eq!(session.desyncs, []);
}

#[test]
fn nesting_of_any_depth_and_every_type_is_stepped_over() {
    let mut session = session();
    let deep = [b"*1\r\n".repeat(3_000), b":1\r\n".to_vec()].concat();
    let every = b"*9\r\n%2\r\n+a\r\n*2\r\n_\r\n#t\r\n$1\r\nb\r\n,1.5e300\r\n~2\r\n$0\r\n\r\n*0\r\n*-1\r\n$-1\r\n\
        =8\r\ntxt:some\r\n(3492890328409238509324850943850943825024385\r\n!5\r\nERR x\r\n%1\r\n:-9223372036854775808\r\n*2\r\n-NO x\r\n+long, longer than sixteen bytes\r\n+z\r\n";
    for reply in [&deep[..], &every[..]] {
        for part in [1, 3, 7, 1024] {
            session.client(&command(&[b"EVAL", b"x", b"0"]));
            session.client(&get("n:1"));
            for bytes in [reply, b"$1\r\nx\r\n"].concat().chunks(part) {
                session.server(bytes);
            }
        }
    }
    assert_eq!(session.keys.by_prefix()["n"], (8, 0));
    assert_counts(&mut session);
    assert_eq!(session.desyncs, []);
}

#[test]
fn attributes_and_pushes_are_no_replies() {
    let mut session = session();
    session.client(&[get("a:1"), command(&[b"MGET", b"a:1", b"b:1"])].concat());
    session.server(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n|1\r\n+ttl\r\n:3600\r\n$1\r\nx\r\n");
    session.server(
        b">3\r\n+message\r\n$1\r\nc\r\n$5\r\nhello\r\n|1\r\n$1\r\nk\r\n*1\r\n_\r\n*2\r\n_\r\n$0\r\n\r\n",
    );
    let keys = session.keys.by_prefix();
    assert_eq!((keys["a"], keys["b"]), ((1, 1), (1, 0)));
    assert_counts(&mut session);
    assert_eq!(session.desyncs, []);
}

#[test]
fn what_cannot_be_the_reply_is_not_counted() {
    for (asked, reply) in [
        (get("a:1"), &b":1\r\n"[..]),
        (get("a:1"), b"*0\r\n"),
        (get("a:1"), b"+OK\r\n"),
        (command(&[b"MGET", b"a:1"]), b"$1\r\nx\r\n"),
        (command(&[b"EXISTS", b"a:1"]), b"+OK\r\n"),
        (command(&[b"SET", b"a:1", b"x"]), b":1\r\n"),
    ] {
        let mut session = session();
        session.client(&asked);
        session.server(reply);
        assert_eq!(session.desyncs, [Desync::Header]);
        assert!(!session.keys.by_prefix().contains_key("a"));
        assert_counts(&mut session);
    }
}

#[test]
fn a_reply_to_nothing_is_not_counted() {
    let mut session = session();
    session.server(b"$3\r\nyes\r\n");
    assert_eq!(session.desyncs, [Desync::Header]);
    assert_counts(&mut session);
}

#[test]
fn bytes_that_were_missed_lead_to_no_wrong_count() {
    for direction in Direction::ALL {
        let mut session = session();
        session.client(&[get("a:1"), get("a:2")].concat());
        assert_eq!(session.miss(direction, 5, Desync::Gap), Some(Desync::Gap));
        // One of them may be answered by now.
        session.server(b"$1\r\nx\r\n");
        assert!(!session.keys.by_prefix().contains_key("a"));
        assert_counts(&mut session);
    }
}

#[test]
fn http_at_a_port_of_redis_is_http() {
    let mut session = observed(Role::Server);
    session.client(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n");
    session.server(b"-ERR wrong number of arguments for 'post' command\r\n");
    assert_eq!(session.protocol(), Protocol::Http);
    assert_eq!(session.connection.redis().state, State::None as u8);
}

#[test]
fn a_line_is_redis_only_once_it_is_answered_so() {
    for split in 1..6 {
        let mut session = observed(Role::Client);
        session.client(&b"ping\r\n"[..split]);
        session.client(&b"ping\r\n"[split..]);
        assert_eq!((session.protocol(), session.connection.pending), (Protocol::Unknown, 1));
        session.server(b"+PONG\r\n");
        assert_eq!((session.protocol(), session.connection.pending), (Protocol::Redis, 0));
        assert_eq!(session.connection.redis().commands[Command::Ping as usize], 1);
        assert_counts(&mut session);
    }
    for (answer, protocol) in [
        (&b"STORED\r\n"[..], Protocol::Memcached),
        (b"\x01", Protocol::Unknown),
        (b"220 mail\r\n", Protocol::Unknown),
    ] {
        let mut session = observed(Role::Client);
        session.client(b"set key 0 0 1\r\nx\r\n");
        session.server(answer);
        assert_eq!((session.protocol(), session.connection.pending), (protocol, 0));
        assert_eq!(session.desyncs, []);
    }
    for garbage in [&b"PING\xFF\xFE\r\n"[..], b"INFO\0\0\0\0"] {
        let mut session = observed(Role::Client);
        session.client(garbage);
        session.server(b"+OK\r\n");
        assert_eq!(session.protocol(), Protocol::Unknown);
    }
}

#[test]
fn a_session_is_found_in_its_middle() {
    for role in [Role::Client, Role::Server] {
        let mut session = Observed::adopted(role);
        session.server(b"$3\r\nyes\r\n");
        assert_eq!(session.protocol(), Protocol::Unknown);
        session.client(&[get("a:1"), get("a:2")].concat());
        assert_eq!(session.protocol(), Protocol::Redis);
        session.server(b"$3\r\nyes\r\n$-1\r\n");
        assert_eq!(session.keys.by_prefix()["a"], (1, 1));
        assert_counts(&mut session);

        // The reply to a command that was sent before.
        let mut session = Observed::adopted(role);
        session.client(&get("a:1"));
        session.server(b"$3\r\nyes\r\n$-1\r\n");
        assert!(!session.keys.by_prefix().contains_key("a"));
        assert_counts(&mut session);
    }
    for bytes in [
        &b"*2\r\n$3\r\nGET\r\n"[..],
        b"*1\r\n$4\r\nPING",
        b"*0\r\n",
        b"PING\r\n",
        b"*2\r\n$3\r\nGET\r\n:1\r\n",
    ] {
        let mut session = Observed::adopted(Role::Client);
        session.client(bytes);
        assert_eq!(session.protocol(), Protocol::Unknown);
    }
}

#[test]
fn a_prefix_is_short_printable_and_one_of_the_first() {
    let mut session = session();
    session.keys.most_prefixes = 4;
    let long = format!("{}:1", "x".repeat(33));
    let longest = format!("{}:1", "y".repeat(32));
    let plain = "z".repeat(500);
    let late = format!("{}:1", "w".repeat(400));
    let keys = [
        ("user:1", "user"),
        (&longest, &longest[..32]),
        ("a b~:1", "a b~"),
        (":x", "x"),
        ("fifth:1", "other"),
        (&long, "other"),
        (&late, "other"),
        (&plain, "none"),
        ("plain", "none"),
        ("", "none"),
        ("12:34", "other"),
        (":", "other"),
        ("t\tb:x", "other"),
        ("\u{e9}:x", "other"),
        ("del\x7F:x", "other"),
    ];
    for (key, _) in keys {
        session.client(&get(key));
        session.server(b"$1\r\nx\r\n");
    }
    let mut expected = std::collections::BTreeMap::new();
    for (_, prefix) in keys {
        expected.entry(prefix.to_owned()).or_insert((0, 0)).0 += 1;
    }
    assert_eq!(session.keys.by_prefix(), expected);
}

#[test]
fn keys_for_which_the_map_has_no_room_are_counted_still() {
    let mut session = session();
    session.keys.most_counts = 1;
    session.client(&[get("a:1"), get("b:1"), get("b:2")].concat());
    session.server(b"$1\r\nx\r\n$1\r\nx\r\n$-1\r\n");
    assert_eq!(session.keys.by_prefix()["a"], (1, 0));
    let counters = session.connection.redis();
    assert_eq!((counters.hits_other, counters.misses_other), (1, 1));
}

#[test]
fn a_replica_is_left_alone() {
    let mut session = session();
    session.client(&command(&[b"REPLCONF", b"listening-port", b"1"]));
    session.server(b"+OK\r\n");
    session.client(&command(&[b"PSYNC", b"?", b"-1"]));
    session.server(b"+FULLRESYNC x 0\r\n$100\r\nREDIS0010 whatever, not a bulk string with an end");
    session.server(&command(&[b"SET", b"a:1", b"b"]));
    let outcome = outcome(&session);
    assert_eq!(outcome.desyncs, []);
    assert_eq!(outcome.counters.state, State::Ignored as u8);
    assert_eq!(outcome.lost, [0; 2]);
}

#[test]
fn a_time_of_day_that_is_not_known_is_not_counted() {
    let mut session = session();
    session.client(&command(&[b"SET", b"a", b"b", b"EXAT", b"1700000100"]));
    session.server(b"+OK\r\n");
    assert_eq!(session.connection.redis().ttls, [0; 9]);
    session.wall_ns = 1_700_000_000_500_000_000;
    session.client(&command(&[b"SET", b"a", b"b", b"EXAT", b"1700000100"]));
    session.client(&command(&[b"PEXPIREAT", b"a", b"1700000001500"]));
    session.server(b"+OK\r\n:1\r\n");
    assert_eq!(session.connection.redis().ttls, [1, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(session.connection.redis().ttl_ms, 99_500 + 1_000);
    assert_eq!(session.connection.redis().writes_without_ttl, 0);
}
