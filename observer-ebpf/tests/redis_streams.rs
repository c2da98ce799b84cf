//! Streams of Redis: how old entries are when they are delivered and acknowledged, by their ids.

mod common;

#[path = "common/redis/mod.rs"]
mod resp;

use common::Observed;
use common::queues::Counted;
use common::turns::{ROLES, Turns, feed, length};
use observer_ebpf::layout::Role;
use observer_ebpf::queues::deque::{LASTING, TICK_BITS, ticks};
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

#[test]
fn claimed_entries_are_delivered_anew() {
    let ids = [id(800, 0), id(30, 1)];
    let claim = ["XAUTOCLAIM", "orders", "billing", "worker-2", "0", "0-0"];
    let gone: String = (0..5).map(|number| bulk(&id(900, number))).collect();
    let only_ids: String = ids.iter().map(|id| bulk(id)).collect();
    let turns = vec![
        (true, ask(&[&claim[..], &["COUNT", "5"]].concat())),
        (false, format!("*3\r\n{}{}*5\r\n{gone}", bulk("0-0"), entries(&ids)).into_bytes()),
        (true, ask(&claim)),
        (false, format!("*3\r\n{}*0\r\n*5\r\n{gone}", bulk(&ids[0])).into_bytes()),
        (true, ask(&[&claim[..], &["JUSTID"]].concat())),
        (false, format!("*3\r\n{}*2\r\n{only_ids}*0\r\n", bulk("0-0")).into_bytes()),
        // Redis 6.2 does not tell what is gone, and has no entry in its place.
        (true, ask(&claim)),
        (false, format!("*2\r\n{}*2\r\n*-1\r\n*2\r\n{}*0\r\n", bulk("0-0"), bulk(&ids[1])).into_bytes()),
        (true, ask(&claim)),
        (false, b"-NOGROUP No such key\r\n".to_vec()),
        (true, ask(&["GET", "k"])),
        (false, b"$-1\r\n".to_vec()),
    ];
    each_way(&turns, |session, how| {
        let (_, counted) = session.queues.of("stream orders group billing", 0);
        let ages_ns = vec![800 * MS, 30 * MS, 30 * MS];
        assert_eq!(counted, Counted { taken: 3, ages_ns, ..Counted::default() }, "{how}");
        assert_eq!(session.keys.by_prefix(), [("none".to_owned(), (0, 1))].into(), "{how}");
    });
}

/// How many entries groups of the stream have not been delivered.
fn lags(session: &Observed, groups: &[&str]) -> Vec<Option<u64>> {
    // A while later.
    let now = ticks(session.now_ns) + LASTING;
    groups.iter().map(|group| session.queues.lag("s", group, now).map(|(entries, _)| entries)).collect()
}

/// Adds entries, one after the other.
fn add(session: &mut Observed, count: usize) {
    for _ in 0..count {
        session.client(&ask(&["XADD", "s", "*", "field", "value"]));
        session.server(bulk(&id(0, 1)).as_bytes());
    }
}

fn read(group: &str, options: &[&str]) -> Vec<u8> {
    ask(&[&["XREADGROUP", "GROUP", group, "worker"], options, &["STREAMS", "s", ">"]].concat())
}

/// A reply with so many entries.
fn delivered(count: u64) -> Vec<u8> {
    if count == 0 {
        return b"*-1\r\n".to_vec();
    }
    let ids: Vec<String> = (0..count).map(|number| id(0, number)).collect();
    format!("*1\r\n*2\r\n{}{}", bulk("s"), entries(&ids)).into_bytes()
}

/// A group reads, and is delivered so many.
fn deliver(session: &mut Observed, group: &str, options: &[&str], count: u64) {
    session.client(&read(group, options));
    session.server(&delivered(count));
}

/// Does something with groups, which the server accepts.
fn set(session: &mut Observed, words: &[&str]) {
    session.client(&ask(&[&["XGROUP"], words].concat()));
    session.server(b"+OK\r\n");
}

#[test]
fn servers_know_what_groups_have_not_been_delivered() {
    let added = bulk(&id(0, 1)).into_bytes();
    let xadd = ask(&["XADD", "s", "*", "field", "value"]);
    let turns = vec![
        (true, ask(&["XGROUP", "CREATE", "s", "a", "$", "MKSTREAM"])),
        (false, b"+OK\r\n".to_vec()),
        (true, ask(&["XGROUP", "CREATE", "s", "b", "0"])),
        (false, b"+OK\r\n".to_vec()),
        (true, xadd.repeat(3)),
        (false, added.repeat(3)),
        (true, read("a", &["COUNT", "2"])),
        (false, delivered(2)),
        // It is delivered more than was seen to be added, of which it did not know.
        (true, read("b", &["BLOCK", "5", "COUNT", "10", "NOACK"])),
        (false, delivered(7)),
        // What the server does not add.
        (
            true,
            [ask(&["XADD", "s", "1-1", "field", "value"]), ask(&["XADD", "s", "NOMKSTREAM", "*"])].concat(),
        ),
        (false, b"-ERR The ID is smaller\r\n$-1\r\n".to_vec()),
        (true, [ask(&["MULTI"]), xadd.repeat(2), ask(&["DISCARD"])].concat()),
        (false, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+OK\r\n".to_vec()),
        (true, [ask(&["MULTI"]), xadd.repeat(2), read("a", &["COUNT", "1"]), ask(&["EXEC"])].concat()),
        (
            false,
            [b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n", &added[..], &added, &delivered(1)].concat(),
        ),
        // What was delivered before, or is not of the group, does not count.
        (true, ask(&["XREADGROUP", "GROUP", "a", "worker", "STREAMS", "s", "0"])),
        (false, delivered(3)),
        (true, ask(&["XREAD", "COUNT", "10", "STREAMS", "s", "0"])),
        (false, delivered(5)),
    ];
    each_way(&turns, |session, how| {
        let is_server = session.connection.role == Role::Server as u8;
        let expected = if is_server { [Some(2), Some(2)] } else { [None; 2] };
        assert_eq!(lags(session, &["a", "b"]), expected, "{how}");
    });
}

#[test]
fn a_group_is_known_once_it_has_been_delivered_all() {
    let mut session = session(Role::Server, 1024);
    add(&mut session, 3);
    deliver(&mut session, "a", &["COUNT", "2"], 2);
    deliver(&mut session, "a", &["COUNT", "1"], 1);
    assert_eq!(lags(&session, &["a"]), [None], "there may be more");
    deliver(&mut session, "a", &["COUNT", "1"], 0);
    deliver(&mut session, "b", &["COUNT", "0"], 30);
    deliver(&mut session, "c", &["COUNT", "31"], 30);
    assert_eq!(lags(&session, &["a", "b", "c"]), [Some(0); 3]);
    add(&mut session, 5);
    deliver(&mut session, "b", &[], 5);
    assert_eq!(lags(&session, &["a", "b", "c"]), [Some(5), Some(0), Some(5)]);
    // What comes after the command is not meant by its reply.
    session.client(&read("a", &["COUNT", "10"]));
    session.client(&ask(&["XADD", "s", "*", "field", "value"]));
    session.server(&delivered(5));
    assert_eq!(lags(&session, &["a"]), [Some(1)]);
}

#[test]
fn groups_that_wait_are_delivered_what_comes() {
    let mut session = session(Role::Server, 1024);
    add(&mut session, 3);
    let mut waiting = session.clone();
    // Its replies are on another connection: of the first it is not known where the group is.
    waiting.client(&read("a", &["BLOCK", "0"]));
    for known in [false, true] {
        assert_eq!(lags(&waiting, &["a"]), [known.then_some(0)]);
        let queues = core::mem::take(&mut waiting.queues);
        session.queues = queues;
        add(&mut session, 1);
        waiting.queues = core::mem::take(&mut session.queues);
        waiting.server(&delivered(1));
        assert_eq!(lags(&waiting, &["a"]), [Some(0)], "known before: {known}");
        waiting.client(&read("a", &["BLOCK", "0"]));
    }
}

#[test]
fn what_was_deleted_or_trimmed_is_found_out_when_a_group_has_been_delivered_all() {
    let mut session = session(Role::Server, 1024);
    set(&mut session, &["CREATE", "s", "a", "$"]);
    add(&mut session, 10);
    // Six of them are gone.
    deliver(&mut session, "a", &["COUNT", "2"], 2);
    assert_eq!(lags(&session, &["a"]), [Some(8)]);
    deliver(&mut session, "a", &["COUNT", "3"], 2);
    assert_eq!(lags(&session, &["a"]), [Some(0)]);
    add(&mut session, 1);
    assert_eq!(lags(&session, &["a"]), [Some(1)]);
}

#[test]
fn a_group_that_is_set_elsewhere_is_not_known() {
    let mut session = session(Role::Server, 1024);
    let mut known = Vec::new();
    for words in [
        &["CREATE", "s", "a", "$"][..],
        &["SETID", "s", "a", "0"],
        &["setid", "s", "a", "$"],
        &["CREATECONSUMER", "s", "a", "$"],
        &["DESTROY", "s", "a"],
        &["Create", "s", "a", "$", "ENTRIESREAD", "5"],
        &["SETID", "s", "a", "1764500000000-12345"],
    ] {
        add(&mut session, 1);
        set(&mut session, words);
        known.push(lags(&session, &["a"])[0]);
    }
    assert_eq!(known, [Some(0), None, Some(0), Some(1), None, Some(0), None]);
    // Most often it is there already.
    set(&mut session, &["SETID", "s", "a", "$"]);
    session.client(&ask(&["XGROUP", "CREATE", "s", "a", "0"]));
    session.server(b"-BUSYGROUP Consumer Group name already exists\r\n");
    assert_eq!(lags(&session, &["a"]), [Some(0)]);
    // It is gone, as with its stream.
    session.client(&read("a", &[]));
    session.server(b"-NOGROUP No such key 's' or consumer group 'a' in XREADGROUP with GROUP option\r\n");
    assert_eq!(lags(&session, &["a"]), [None]);
    assert_eq!(session.desyncs, []);
}

#[test]
fn where_entries_are_added_unseen_nothing_is_told() {
    let mut session = session(Role::Server, 1024);
    set(&mut session, &["CREATE", "s", "a", "$"]);
    deliver(&mut session, "a", &["COUNT", "10"], 4);
    deliver(&mut session, "a", &["COUNT", "10"], 0);
    assert_eq!(lags(&session, &["a"]), [None]);
    // From then on all are seen.
    for _ in 0..4 {
        assert_eq!(lags(&session, &["a"]), [None]);
        add(&mut session, 8);
        deliver(&mut session, "a", &["COUNT", "10"], 8);
    }
    assert_eq!(lags(&session, &["a"]), [Some(0)]);
}

#[test]
fn the_oldest_entry_is_as_old_as_its_command() {
    let mut session = session(Role::Server, 1024);
    set(&mut session, &["CREATE", "s", "a", "$"]);
    session.now_ns += 1000 * MS;
    for _ in 0..300 {
        session.now_ns += 10 * MS;
        add(&mut session, 1);
    }
    let oldest = |session: &Observed| {
        let (_, age) = session.queues.lag("s", "a", ticks(session.now_ns)).expect("it is known");
        (u64::from(age) << TICK_BITS) / MS
    };
    assert!(oldest(&session).abs_diff(2990) <= 15, "{}", oldest(&session));
    deliver(&mut session, "a", &["COUNT", "299"], 299);
    session.now_ns += 500 * MS;
    assert!(oldest(&session).abs_diff(500) <= 3, "{}", oldest(&session));
    deliver(&mut session, "a", &["COUNT", "299"], 1);
    assert_eq!(oldest(&session), 0);
}

#[test]
fn replies_may_come_in_any_order() {
    for is_known in [false, true] {
        let mut one = session(Role::Server, 1024);
        let mut other = session(Role::Server, 1024);
        let mut by_other = |one: &mut Observed, bytes: Result<&[u8], &[u8]>| {
            other.queues = core::mem::take(&mut one.queues);
            match bytes {
                Ok(command) => other.client(command),
                Err(reply) => other.server(reply),
            }
            one.queues = core::mem::take(&mut other.queues);
        };
        if is_known {
            set(&mut one, &["CREATE", "s", "a", "$"]);
        }
        add(&mut one, 5);
        // The second command finds nothing, as the first has taken all.
        one.client(&read("a", &["COUNT", "10"]));
        by_other(&mut one, Ok(&read("a", &["COUNT", "10"])));
        by_other(&mut one, Err(&delivered(0)));
        one.server(&delivered(5));
        add(&mut one, 1);
        assert_eq!(lags(&one, &["a"]), [Some(1)], "known before: {is_known}");
        // A third one, of what was added later, is answered first.
        one.client(&read("a", &["COUNT", "1"]));
        by_other(&mut one, Ok(&ask(&["XADD", "s", "*", "field", "value"])));
        by_other(&mut one, Err(bulk(&id(0, 1)).as_bytes()));
        by_other(&mut one, Ok(&read("a", &[])));
        by_other(&mut one, Err(&delivered(1)));
        one.server(&delivered(1));
        assert_eq!(lags(&one, &["a"]), [Some(0)], "known before: {is_known}");
    }
}
