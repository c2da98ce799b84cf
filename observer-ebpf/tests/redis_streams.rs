//! Streams of Redis: how old entries are when they are delivered and acknowledged, by their ids.

mod common;

#[path = "common/redis/mod.rs"]
mod resp;

use common::Observed;
use common::queues::Counted;
use common::turns::{ROLES, Turns, feed, length};
use observer_ebpf::layout::Role;
use resp::ask;

/// When the tests are: milliseconds since 1970.
const NOW_MS: u64 = 1_764_500_000_000;
const MS: u64 = 1_000_000;

fn session(role: Role, buffer: u32) -> Observed {
    let mut session = resp::session(role).in_buffers_of(buffer);
    session.wall_ns = NOW_MS * MS;
    session
}

/// An id of an entry that was added so many milliseconds ago.
fn id(ago_ms: u64, number: u64) -> String {
    format!("{}-{number}", NOW_MS - ago_ms)
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Entries as a reply has them.
fn entries(ids: &[String]) -> String {
    let entry = |id: &String| format!("*2\r\n{}*4\r\n{}", bulk(id), bulk("field").repeat(4));
    format!("*{}\r\n{}", ids.len(), ids.iter().map(entry).collect::<String>())
}

/// Feeds turns cut anywhere, in buffers of any size, at both ends, and has each looked at.
fn each_way(turns: &Turns, look: impl Fn(&Observed, &str)) {
    for role in ROLES {
        for buffer in [1, 16, 1024] {
            for split in 0..=length(turns) {
                let mut session = session(role, buffer);
                feed(&mut session, turns, split);
                let how = format!("split at {split} in buffers of {buffer}, as {role:?}");
                assert_eq!(session.desyncs, [], "{how}");
                look(&session, &how);
            }
        }
    }
}

#[test]
fn entries_are_as_old_as_their_ids_say() {
    let ids = [id(7_000, 0), id(1, 12_345), id(0, 3)];
    let turns = vec![
        (true, ask(&["XADD", "s", "*", "field", "value"])),
        (false, bulk(&ids[2]).into_bytes()),
        (true, ask(&["XADD", "s", "NOMKSTREAM", "*", "field", "value"])),
        (false, b"$-1\r\n".to_vec()),
        (true, ask(&["XREAD", "COUNT", "10", "BLOCK", "100", "STREAMS", "s", "0"])),
        (false, format!("*1\r\n*2\r\n{}{}", bulk("s"), entries(&ids)).into_bytes()),
        (true, ask(&["XREAD", "BLOCK", "1", "STREAMS", "s", &ids[2]])),
        (false, b"*-1\r\n".to_vec()),
    ];
    each_way(&turns, |session, how| {
        let (_, counted) = session.queues.of("stream s", 0);
        let ages_ns = vec![7_000 * MS, MS, 0];
        assert_eq!(counted, Counted { put: 1, taken: 3, ages_ns, ..Counted::default() }, "{how}");
        let counters = session.connection.redis();
        assert_eq!(counters.waits_asked, counters.waits_answered, "{how}");
    });
}

#[test]
fn groups_are_delivered_to_and_acknowledge() {
    let ids = [id(500, 0), id(500, 1), id(20, 7)];
    let group = ["XREADGROUP", "GROUP", "billing", "worker-1", "COUNT", "10"];
    let read = |rest: &[&str]| ask(&[&group[..], rest].concat());
    let turns = vec![
        (true, read(&["BLOCK", "0", "STREAMS", "orders", ">"])),
        // RESP3 has a map of streams.
        (false, format!("%1\r\n{}{}", bulk("orders"), entries(&ids)).into_bytes()),
        (true, ask(&["XACK", "orders", "billing", &ids[2]])),
        (false, b":1\r\n".to_vec()),
        // One of them is not pending any more.
        (true, ask(&["XACK", "orders", "billing", &ids[0], &ids[1], &ids[2]])),
        (false, b":2\r\n".to_vec()),
        (true, [ask(&["XACK", "orders", "billing", "5-1"]), ask(&["XACK", "orders", "billing"])].concat()),
        (false, b":1\r\n-ERR wrong number of arguments\r\n".to_vec()),
        // What was delivered before is not delivered anew.
        (true, read(&["STREAMS", "orders", "0"])),
        (false, format!("*1\r\n*2\r\n{}{}", bulk("orders"), entries(&ids)).into_bytes()),
        (true, ask(&["GET", "k"])),
        (false, b"$-1\r\n".to_vec()),
    ];
    each_way(&turns, |session, how| {
        let (_, counted) = session.queues.of("stream orders group billing", 0);
        let expected = Counted {
            taken: 3,
            ages_ns: vec![500 * MS, 500 * MS, 20 * MS],
            acknowledged: 4,
            latencies_ns: vec![20 * MS, 500 * MS, 500 * MS],
            ..Counted::default()
        };
        assert_eq!(counted, expected, "{how}");
        assert_eq!(session.keys.by_prefix(), [("none".to_owned(), (0, 1))].into(), "{how}");
    });
}

#[test]
fn entries_without_fields_and_streams_without_entries_are_stepped_over() {
    let entry = bulk(&id(9, 0));
    let reply = format!("*1\r\n*2\r\n{}*3\r\n*2\r\n{entry}*-1\r\n*2\r\n{entry}*0\r\n*-1\r\n", bulk("s"));
    let turns = vec![
        (true, ask(&["XREAD", "STREAMS", "s", "0"])),
        (false, reply.into_bytes()),
        (true, ask(&["XREAD", "STREAMS", "s", "0"])),
        (false, format!("*1\r\n*2\r\n{}*0\r\n", bulk("s")).into_bytes()),
        (true, ask(&["LPUSH", "q", "a"])),
        (false, b":1\r\n".to_vec()),
    ];
    each_way(&turns, |session, how| {
        assert_eq!(session.queues.of("stream s", 0).1.ages_ns, [9 * MS; 2], "{how}");
        assert_eq!(session.queues.of("q", 0).0, 1, "{how}");
    });
}

#[test]
fn what_an_id_does_not_tell_is_not_known() {
    let mut session = session(Role::Server, 1024);
    let made_up = ["1-1", "5", "99999999999999999999-1", "x-1", "18446744073709551615-18446744073709551615"];
    let ids: Vec<String> = made_up.iter().map(ToString::to_string).chain([id(3, 0)]).collect();
    session.client(&ask(&["XREAD", "STREAMS", "s", "0"]));
    session.server(format!("*1\r\n*2\r\n{}{}", bulk("s"), entries(&ids)).as_bytes());
    let (_, counted) = session.queues.of("stream s", 0);
    assert_eq!((counted.taken, counted.unknown, counted.ages_ns), (6, 5, vec![3 * MS]));
    // A server's clock may be ahead; and where the time of day is not known, no age is.
    session.client(&ask(&["XREAD", "STREAMS", "s", "0"]));
    session
        .server(format!("*1\r\n*2\r\n{}{}", bulk("s"), entries(&[format!("{}-0", NOW_MS + 50)])).as_bytes());
    assert_eq!(session.queues.of("stream s", 0).1.ages_ns, [3 * MS, 0]);
    session.wall_ns = 0;
    session.client(&ask(&["XREAD", "STREAMS", "s", "0"]));
    session.server(format!("*1\r\n*2\r\n{}{}", bulk("s"), entries(&ids)).as_bytes());
    assert_eq!(session.queues.of("stream s", 0).1.unknown, 5 + 6);
}

#[test]
fn several_streams_at_once_are_others() {
    let mut session = session(Role::Server, 1024);
    session.client(&ask(&["XREAD", "STREAMS", "s", "t", "0", "0"]));
    let one = entries(&[id(3, 0)]);
    session.server(format!("*2\r\n*2\r\n{}{one}*2\r\n{}{one}", bulk("s"), bulk("t")).as_bytes());
    assert_eq!(session.queues.other_streams().taken, 2);
    assert_eq!(session.queues.of("stream s", 0).1, Counted::default());
    assert_eq!(session.desyncs, []);
}
