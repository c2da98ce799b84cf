//! What a Redis session may become, and what it may only seem to: a monitor, a replica, a subscriber, one that waits.

mod common;

#[path = "common/redis/mod.rs"]
mod resp;

use common::{Call, Observed, parts};
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::redis::layout::{ErrorKind, State};
use resp::{command, observed};

fn session() -> Observed {
    resp::session(Role::Client)
}

fn words(text: &str) -> Vec<u8> {
    command(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

fn call(server: bool, bytes: Vec<u8>) -> Call {
    Call { server, bytes, now_ns: 0 }
}

fn state(session: &Observed) -> u8 {
    session.connection.redis().state
}

/// Finds and counts one key, and one that is not there.
fn assert_counts(session: &mut Observed) {
    let counts = |session: &Observed| session.keys.by_prefix().get("back").copied().unwrap_or_default();
    let before = counts(session);
    session.client(&words("GET back:1"));
    session.server(b"$3\r\nyes\r\n");
    session.client(&words("GET back:2"));
    session.server(b"$-1\r\n");
    let after = counts(session);
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
    assert_eq!(session.connection.lost, [0; 2]);
    let counters = session.connection.redis();
    assert_eq!((counters.asked, counters.waits_asked), (counters.answered, counters.waits_answered));
    assert!(!counters.is_active() && !counters.is_blocked());
    assert_eq!(session.desyncs, []);
}

#[test]
fn what_was_refused_changes_nothing() {
    for asked in ["MONITOR", "SYNC", "PSYNC ? -1", "SUBSCRIBE a b", "SSUBSCRIBE a", "PSUBSCRIBE a* b*"] {
        for refusal in ["-NOPERM this user has no permissions", "-NOAUTH Authentication required."] {
            let mut session = session();
            session.client(&[words(asked), words("GET a:1")].concat());
            assert!(session.connection.redis().is_active());
            session.server(format!("{refusal}\r\n$1\r\nx\r\n").as_bytes());
            assert_eq!(state(&session), State::Session as u8, "{asked}");
            assert_eq!(session.keys.by_prefix()["a"], (1, 0), "{asked}");
            assert_counts(&mut session);
        }
        // In a transaction: refused at once, or queued and refused then, or thrown away with it.
        for (replies, ended) in [
            (&b"+OK\r\n-ERR Command not allowed inside a transaction\r\n"[..], &b"-EXECABORT no\r\n"[..]),
            (b"+OK\r\n+QUEUED\r\n", b"*1\r\n-ERR not inside a transaction\r\n"),
            (b"+OK\r\n+QUEUED\r\n", b"-EXECABORT no\r\n"),
        ] {
            let mut session = session();
            session.client(&[words("MULTI"), words(asked)].concat());
            session.server(replies);
            assert_eq!(state(&session), State::Session as u8, "{asked}");
            session.client(&words("EXEC"));
            session.server(ended);
            assert_eq!(state(&session), State::Session as u8, "{asked}");
            assert_counts(&mut session);
        }
    }
}

#[test]
fn what_was_accepted_changes_the_session_at_every_cut() {
    for (asked, answer) in [
        ("MONITOR", &b"+OK\r\n+1700000000.1 [0 127.0.0.1:1] \"GET\" \"a:1\"\r\n"[..]),
        (
            "PSYNC ? -1",
            b"+FULLRESYNC 0123456789012345678901234567890123456789 0\r\n\n$10\r\nREDIS0010x*1\r\n",
        ),
        ("PSYNC ? -1", b"\n\n+CONTINUE\r\n*1\r\n$4\r\nPING\r\n"),
        ("SYNC", b"$18\r\nREDIS0010 whatever*1\r\n$4\r\nPING\r\n"),
        ("SYNC", b"\n$EOF:0123456789012345678901234567890123456789\r\nREDIS0010\xFF\0*1\r\n"),
    ] {
        for cut in 0..answer.len() {
            let mut session = session();
            session.client(&words("REPLCONF listening-port 1"));
            session.server(b"+OK\r\n");
            session.client(&words(asked));
            assert_eq!(state(&session), State::Session as u8);
            session.server(&answer[..cut]);
            session.server(&answer[cut..]);
            session.client(&words("REPLCONF ACK 1"));
            session.server(b"anything\r\n");
            assert_eq!(state(&session), State::Ignored as u8, "{asked} cut at {cut}");
            assert_eq!(
                (session.connection.lost, &session.desyncs[..]),
                ([0; 2], &[][..]),
                "{asked} at {cut}"
            );
            assert!(!session.connection.redis().is_active());
        }
    }
}

#[test]
fn a_replica_in_its_middle_is_known_by_what_it_says() {
    for role in [Role::Client, Role::Server] {
        let mut session = Observed::adopted(role);
        session.server(&words("SET a:1 b"));
        session.client(&words("REPLCONF ACK 1234"));
        session.server(&words("SET a:1 b"));
        assert_eq!(session.protocol(), Protocol::Redis);
        assert_eq!((state(&session), session.connection.lost), (State::Ignored as u8, [0; 2]));
    }
    // In a session it is one word that is not answered, and no more.
    let mut session = session();
    session.client(&words("REPLCONF ACK 1234"));
    assert_counts(&mut session);
}

#[test]
fn a_server_that_speaks_first_has_refused() {
    for (said, kind) in [
        ("-ERR max number of clients reached\r\n", ErrorKind::Err),
        ("-ERR max number of clients + cluster connections reached\r\n", ErrorKind::Err),
        ("-DENIED Redis is running in protected mode because\r\n", ErrorKind::Denied),
        ("-LOADING Redis is loading the dataset in memory\r\n", ErrorKind::Loading),
    ] {
        for role in [Role::Client, Role::Server] {
            for buffer in [16, 17, 1024] {
                let mut session = observed(role).in_buffers_of(buffer);
                session.server(said.as_bytes());
                assert_eq!((session.protocol(), session.connection.pending), (Protocol::Redis, 0), "{said}");
                assert_eq!(session.connection.redis().errors[kind as usize], 1, "{said}");
                assert!(!session.connection.redis().is_active());
                assert_eq!(session.desyncs, []);
                // Where it is let in after all, it counts.
                assert_counts(&mut session);
            }
            // The client may have asked for something by then.
            let mut session = observed(role);
            session.client(&words("HELLO 3"));
            session.server(said.as_bytes());
            assert_eq!(session.connection.redis().errors[kind as usize], 1, "{said}");
        }
    }
    for said in
        ["-ERR max connections from your host\r\n", "-ERR [SYS/TEMP] too many\r\n", "+OK POP3\r\n", "-\r\n"]
    {
        let mut session = observed(Role::Client);
        session.server(said.as_bytes());
        assert_eq!((session.protocol(), session.connection.pending), (Protocol::Unknown, 0), "{said}");
    }
    // Later, an error for which nobody has asked is none.
    let mut session = session();
    session.server(b"-LOADING Redis is loading\r\n");
    assert_eq!(session.desyncs.len(), 1);
}

#[test]
fn one_that_waits_by_its_nature_is_blocked() {
    for (asked, reply) in [
        ("BLPOP a 0", "*2\r\n$1\r\na\r\n$1\r\nx\r\n"),
        ("BRPOP a b 0", "*-1\r\n"),
        ("BLMOVE a b LEFT RIGHT 0", "$1\r\nx\r\n"),
        ("BLMPOP 0 1 a LEFT", "_\r\n"),
        ("BRPOPLPUSH a b 0", "$-1\r\n"),
        ("BZPOPMIN a 0", "*3\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\n1\r\n"),
        ("BZPOPMAX a 0", "*-1\r\n"),
        ("BZMPOP 0 1 a MIN", "*-1\r\n"),
        ("WAIT 1 0", ":1\r\n"),
        ("BLPOP a 0", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ("XREAD BLOCK 0 STREAMS s $", "*-1\r\n"),
        ("XREAD COUNT 2 BLOCK 10 STREAMS s t 0 0", "*-1\r\n"),
        ("xreadgroup GROUP g c block 0 STREAMS s >", "*-1\r\n"),
        ("XREADGROUP GROUP g c COUNT 1 NOACK BLOCK 0 STREAMS s >", "*-1\r\n"),
    ] {
        for lengths in [vec![], vec![1; 200]] {
            let mut session = session();
            parts(&mut session, &call(false, words(asked)), &lengths);
            let counters = session.connection.redis();
            assert_eq!((counters.is_blocked(), counters.is_active()), (true, false), "{asked}");
            parts(&mut session, &call(true, reply.as_bytes().to_vec()), &lengths);
            let counters = session.connection.redis();
            assert_eq!((counters.is_blocked(), counters.is_active()), (false, false), "{asked}");
            assert_counts(&mut session);
        }
    }
    for asked in [
        "XREAD STREAMS block 0",
        "XREAD COUNT 1 STREAMS s block 0 0",
        "XREADGROUP GROUP block block STREAMS s >",
        "XREADGROUP GROUP g block COUNT 1 STREAMS block >",
        "LPOP block",
        "GET a:1",
    ] {
        let mut session = session();
        session.client(&words(asked));
        let counters = session.connection.redis();
        assert_eq!((counters.is_blocked(), counters.is_active()), (false, true), "{asked}");
        session.server(b"$-1\r\n");
        assert_counts(&mut session);
    }
    // Inside a transaction nothing waits.
    let mut session = session();
    session.client(&[words("MULTI"), words("BLPOP a 0"), words("WAIT 1 0")].concat());
    session.server(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    assert!(!session.connection.redis().is_blocked());
    session.client(&words("EXEC"));
    assert!(session.connection.redis().is_active());
    session.server(b"*2\r\n*-1\r\n:0\r\n");
    assert_counts(&mut session);
    // And in a line.
    session.client(b"BLPOP a 0\r\n");
    assert!(session.connection.redis().is_blocked());
    session.server(b"*-1\r\n");
    session.client(b"XREAD BLOCK 0 STREAMS s $\r\n");
    assert!(session.connection.redis().is_blocked());
    session.server(b"*-1\r\n");
    assert_counts(&mut session);
}

/// An answer about a subscription.
fn told(kind: &str, channel: &str, left: u32, push: bool) -> Vec<u8> {
    let sign = if push { '>' } else { '*' };
    format!("{sign}3\r\n${}\r\n{kind}\r\n${}\r\n{channel}\r\n:{left}\r\n", kind.len(), channel.len())
        .into_bytes()
}

#[test]
fn what_a_server_says_of_itself_answers_nothing() {
    // RESP3: in the middle of commands, and where one that is like it is awaited.
    let mut session = session();
    session.client(&[words("GET a:1"), words("SSUBSCRIBE c"), words("GET a:2")].concat());
    session.server(&told("sunsubscribe", "old", 0, true));
    session.server(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n$1\r\nx\r\n");
    session.server(&told("sunsubscribe", "older", 0, true));
    session.server(b">4\r\n$8\r\npmessage\r\n$2\r\n__\r\n$1\r\nc\r\n$1\r\nx\r\n");
    session.server(&[told("ssubscribe", "c", 1, true), b"$-1\r\n".to_vec()].concat());
    assert_eq!(session.keys.by_prefix()["a"], (1, 1));
    assert_counts(&mut session);

    // RESP2: a slot has moved while another subscription is asked for.
    let mut session = observed(Role::Client);
    session.client(&words("SSUBSCRIBE c d"));
    session.server(&[told("ssubscribe", "c", 1, false), told("ssubscribe", "d", 2, false)].concat());
    assert_eq!(state(&session), State::Subscribed as u8);
    session.client(&words("SSUBSCRIBE e"));
    session.server(&told("sunsubscribe", "c", 1, false));
    assert_ne!(session.connection.redis().asked, session.connection.redis().answered);
    session.server(&told("ssubscribe", "e", 2, false));
    assert_eq!(session.connection.redis().asked, session.connection.redis().answered);
    session.server(&[told("sunsubscribe", "d", 1, false), told("sunsubscribe", "e", 0, false)].concat());
    assert_counts(&mut session);
}

#[test]
fn channels_of_shards_and_others_end_each_on_their_own() {
    let mut session = session();
    session.client(&[words("SUBSCRIBE a"), words("SSUBSCRIBE s")].concat());
    session.server(&[told("subscribe", "a", 1, false), told("ssubscribe", "s", 1, false)].concat());
    session.server(&told("sunsubscribe", "s", 0, false));
    assert_eq!(state(&session), State::Subscribed as u8);
    session.server(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
    session.client(&words("UNSUBSCRIBE a"));
    session.server(&told("unsubscribe", "a", 0, false));
    assert_eq!(state(&session), State::Session as u8);
    assert_counts(&mut session);
}

#[test]
fn a_subscription_in_a_transaction_is_one_of_its_commands() {
    for push in [false, true] {
        let mut session = session();
        session.client(
            &[words("MULTI"), words("GET a:1"), words("SUBSCRIBE c"), words("GET a:2"), words("EXEC")]
                .concat(),
        );
        session.server(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$1\r\nx\r\n");
        session.server(&[told("subscribe", "c", 1, push), b"$-1\r\n".to_vec()].concat());
        assert_eq!(session.keys.by_prefix()["a"], (1, 1));
        if !push {
            assert_eq!(state(&session), State::Subscribed as u8);
            session.client(&words("UNSUBSCRIBE c"));
            session.server(&told("unsubscribe", "c", 0, false));
        }
        assert_counts(&mut session);
    }
}
