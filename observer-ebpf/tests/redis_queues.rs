//! Lists of Redis that are used as queues, by the commands and replies of a connection.

mod common;

#[path = "common/redis/mod.rs"]
mod resp;

use common::Observed;
use common::queues::Counted;
use common::turns::{ROLES, Turns, feed, length};
use observer_ebpf::layout::Role;
use observer_ebpf::queues::deque::TICK_BITS;
use proptest::collection::vec;
use proptest::prelude::*;
use resp::{ask, session};

/// What turns make of queues, cut anywhere and in buffers of any size: `expected` has the length of each, and how many
/// messages were put in, taken out, and taken out without a known age.
#[track_caller]
fn assert_queues(turns: &Turns, expected: &[(&str, u64, [u64; 3])]) {
    for role in ROLES {
        for buffer in [1, 3, 16, 1024] {
            for split in 0..=length(turns) {
                let mut session = session(role).in_buffers_of(buffer);
                feed(&mut session, turns, split);
                assert_eq!(session.desyncs, [], "split at {split} in buffers of {buffer}");
                for &(key, length, counts) in expected {
                    let (found, Counted { put, taken, unknown, ages, .. }) = session.queues.of(key, 0);
                    assert_eq!(
                        (found, [put, taken, unknown]),
                        (length, counts),
                        "{key:?}, split at {split} in buffers of {buffer}, as {role:?}"
                    );
                    assert_eq!(ages.len() as u64, taken - unknown);
                }
            }
        }
    }
}

#[test]
fn pushes_and_pops_at_either_end() {
    let turns = vec![
        (true, ask(&["LPUSH", "q", "one"])),
        (false, b":1\r\n".to_vec()),
        (true, ask(&["lpush", "q", "two", "three"])),
        (false, b":3\r\n".to_vec()),
        (true, ask(&["RPUSH", "q", "back"])),
        (false, b":4\r\n".to_vec()),
        (true, ask(&["LLEN", "q"])),
        (false, b":4\r\n".to_vec()),
        (true, ask(&["RPOP", "q"])),
        (false, b"$4\r\nback\r\n".to_vec()),
        (true, ask(&["RPOP", "q", "2"])),
        (false, b"*2\r\n$3\r\none\r\n$3\r\ntwo\r\n".to_vec()),
        (true, ask(&["LPOP", "empty"])),
        (false, b"$-1\r\n".to_vec()),
        (true, ask(&["LPOP", "empty", "4"])),
        (false, b"*-1\r\n".to_vec()),
    ];
    assert_queues(&turns, &[("q", 1, [4, 3, 0]), ("empty", 0, [0, 0, 0])]);
}

#[test]
fn pops_that_name_their_queue_in_the_reply() {
    let long = "a:queue:whose:name:is:somewhat:longer:than:one:word:is";
    let turns = vec![
        (true, [ask(&["RPUSH", "low", "m"]), ask(&["RPUSH", long, "1", "2", "3"])].concat()),
        (false, b":1\r\n:3\r\n".to_vec()),
        (true, ask(&["BLPOP", "high", "low", "0"])),
        (false, b"*2\r\n$3\r\nlow\r\n$1\r\nm\r\n".to_vec()),
        (true, ask(&["BRPOP", "high", "low", "1"])),
        (false, b"*-1\r\n".to_vec()),
        (true, ask(&["LMPOP", "2", "high", long, "LEFT", "COUNT", "2"])),
        (false, format!("*2\r\n${}\r\n{long}\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n", long.len()).into_bytes()),
        (true, ask(&["BLMPOP", "0", "1", long, "LEFT"])),
        (false, format!("*2\r\n${}\r\n{long}\r\n*1\r\n$1\r\n3\r\n", long.len()).into_bytes()),
        (true, ask(&["BLMPOP", "0", "1", long, "LEFT"])),
        (false, b"_\r\n".to_vec()),
    ];
    assert_queues(&turns, &[("low", 0, [1, 1, 0]), (long, 0, [3, 3, 0]), ("high", 0, [0, 0, 0])]);
}

#[test]
fn moves_from_one_to_another() {
    let turns = vec![
        (true, ask(&["RPUSH", "from", "1", "2", "3", "4"])),
        (false, b":4\r\n".to_vec()),
        (
            true,
            [
                ask(&["LMOVE", "from", "to", "LEFT", "RIGHT"]),
                ask(&["LMOVE", "empty", "to", "LEFT", "RIGHT"]),
                ask(&["GET", "k"]),
                ask(&["BLMOVE", "from", "to", "LEFT", "RIGHT", "1"]),
            ]
            .concat(),
        ),
        (false, b"$1\r\n1\r\n$-1\r\n$-1\r\n$1\r\n2\r\n".to_vec()),
        (true, ask(&["LLEN", "to"])),
        (false, b":2\r\n".to_vec()),
        (true, ask(&["RPOPLPUSH", "empty", "to"])),
        (false, b"$-1\r\n".to_vec()),
        (true, ask(&["LPOP", "to"])),
        (false, b"$1\r\n1\r\n".to_vec()),
    ];
    assert_queues(&turns, &[("from", 2, [4, 2, 0]), ("to", 1, [2, 1, 0])]);
}

#[test]
fn transactions_and_what_is_refused() {
    let turns = vec![
        (true, [ask(&["MULTI"]), ask(&["LPUSH", "q", "a"]), ask(&["LPUSH", "q", "b"])].concat()),
        (false, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n".to_vec()),
        (true, [ask(&["RPOP", "q"]), ask(&["BRPOP", "q", "0"]), ask(&["EXEC"])].concat()),
        (false, b"+QUEUED\r\n+QUEUED\r\n*4\r\n:1\r\n:2\r\n$1\r\na\r\n*2\r\n$1\r\nq\r\n$1\r\nb\r\n".to_vec()),
        (true, ask(&["LPUSH", "q", "c"])),
        (false, b"-OOM command not allowed when used memory > 'maxmemory'.\r\n".to_vec()),
        (true, [ask(&["MULTI"]), ask(&["LPUSH", "q", "d", "e"]), ask(&["EXEC"])].concat()),
        (false, b"+OK\r\n+QUEUED\r\n*1\r\n-WRONGTYPE no\r\n".to_vec()),
        (true, ask(&["LPUSH", "q", "f"])),
        (false, b":1\r\n".to_vec()),
    ];
    assert_queues(&turns, &[("q", 1, [3, 2, 0])]);
}

#[test]
fn transactions_that_are_not_executed() {
    let pushes =
        [ask(&["MULTI"]), ask(&["LPUSH", "q", "a", "b"]), ask(&["RPUSH", "q", "c"]), ask(&["RPOP", "q"])];
    let queued = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n".to_vec();
    let turns = vec![
        (true, ask(&["LPUSH", "q", "first"])),
        (false, b":1\r\n".to_vec()),
        (true, pushes.concat()),
        (false, queued.clone()),
        (true, ask(&["DISCARD"])),
        (false, b"+OK\r\n".to_vec()),
        // A key that was watched has changed.
        (true, [&pushes.concat()[..], &ask(&["EXEC"])].concat()),
        (false, [&queued[..], b"*-1\r\n"].concat()),
        // A command was not queued.
        (true, [&pushes.concat()[..], &ask(&["GET"]), &ask(&["EXEC"])].concat()),
        (false, [&queued[..], b"-ERR wrong number\r\n-EXECABORT Transaction discarded\r\n"].concat()),
        // One that puts messages in is that command.
        (true, [&pushes.concat()[..], &ask(&["LPUSH", "q", "e", "f"]), &ask(&["EXEC"])].concat()),
        (false, [&queued[..], b"-OOM used memory\r\n-EXECABORT Transaction discarded\r\n"].concat()),
        (true, ask(&["LPUSH", "q", "d"])),
        (false, b":2\r\n".to_vec()),
    ];
    assert_queues(&turns, &[("q", 2, [2, 0, 0])]);
}

#[test]
fn what_goes_from_the_middle_is_gone() {
    let turns = vec![
        (true, ask(&["RPUSH", "work", "a", "b", "c"])),
        (false, b":3\r\n".to_vec()),
        (true, [ask(&["LREM", "work", "1", "b"]), ask(&["LREM", "work", "0", "x"])].concat()),
        (false, b":1\r\n:0\r\n".to_vec()),
        (true, ask(&["LPOP", "work"])),
        (false, b"$1\r\na\r\n".to_vec()),
        (true, ask(&["RPUSH", "work", "d"])),
        (false, b":2\r\n".to_vec()),
    ];
    assert_queues(&turns, &[("work", 2, [4, 1, 1])]);
}

#[test]
fn names_that_no_queue_here_has_are_others() {
    let long = "x".repeat(65);
    let turns = vec![
        (true, ask(&["LPUSH", &long, "a"])),
        (false, b":1\r\n".to_vec()),
        (true, ask(&["BRPOP", &long, "1"])),
        (false, format!("*2\r\n$65\r\n{long}\r\n$1\r\na\r\n").into_bytes()),
        (true, ask(&["LMPOP", "1", &long, "LEFT"])),
        (false, format!("*2\r\n$65\r\n{long}\r\n*3\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n").into_bytes()),
    ];
    for split in 0..=length(&turns) {
        let mut session = session(Role::Client);
        feed(&mut session, &turns, split);
        let other = Counted { put: 1, taken: 4, unknown: 4, ..Counted::default() };
        assert_eq!((session.queues.other(), &session.desyncs[..]), (other, &[][..]), "split at {split}");
    }
}

#[test]
fn databases_have_queues_of_their_own() {
    let turns = vec![
        (true, [ask(&["LPUSH", "q", "a"]), ask(&["SELECT", "12"]), ask(&["LPUSH", "q", "b", "c"])].concat()),
        (false, b":1\r\n+OK\r\n:2\r\n".to_vec()),
        (true, [ask(&["RESET"]), ask(&["RPOP", "q"])].concat()),
        (false, b"+RESET\r\n$1\r\na\r\n".to_vec()),
    ];
    for split in 0..=length(&turns) {
        let mut session = session(Role::Server);
        feed(&mut session, &turns, split);
        let lengths = [0, 12].map(|db| session.queues.of("q", db).0);
        assert_eq!(lengths, [0, 2], "split at {split}");
    }
}

#[test]
fn a_connection_first_seen_in_the_middle_finds_the_queue_that_others_use() {
    let mut session = session(Role::Server);
    session.client(&[ask(&["SELECT", "3"]), ask(&["LPUSH", "q", "a", "b"])].concat());
    session.server(b"+OK\r\n:2\r\n");
    let queues = core::mem::take(&mut session.queues);
    let mut middle = Observed::adopted(Role::Server);
    middle.queues = queues;
    middle.client(&ask(&["RPOP", "q"]));
    middle.server(b"$1\r\na\r\n");
    middle.client(&ask(&["RPOP", "q"]));
    middle.server(b"$1\r\nb\r\n");
    let (length, counted) = middle.queues.of("q", 3);
    assert_eq!((length, counted.unknown), (0, 0), "{counted:?}");
    assert!(counted.taken >= 1);
}

#[test]
fn inline_commands_are_the_same() {
    let mut session = session(Role::Client);
    session.client(b"LPUSH q one two\r\nLPUSH q three\r\nRPOP q\r\nLLEN q\r\nSELECT 4\r\nLPUSH q other\r\n");
    session.server(b":2\r\n:3\r\n$3\r\none\r\n:2\r\n+OK\r\n:1\r\n");
    let (length, counted) = session.queues.of("q", 0);
    assert_eq!((length, [counted.put, counted.taken, counted.unknown]), (2, [3, 1, 0]));
    assert_eq!(session.queues.of("q", 4).0, 1);
    assert_eq!(session.desyncs, []);
}

#[test]
fn commands_without_replies_count_as_well() {
    let mut session = session(Role::Client);
    session.client(&[ask(&["CLIENT", "REPLY", "OFF"]), ask(&["LPUSH", "q", "a", "b"])].concat());
    session.client(&[ask(&["CLIENT", "REPLY", "ON"]), ask(&["RPOP", "q"])].concat());
    session.server(b"+OK\r\n$1\r\na\r\n");
    let (length, counted) = session.queues.of("q", 0);
    assert_eq!((length, [counted.put, counted.taken, counted.unknown]), (1, [2, 1, 0]));
}

/// What a client does, and how long it waits before.
#[derive(Clone, Debug)]
enum Step {
    Push(usize, u32),
    Pop(u32),
    PopMany(usize, u32),
    Length,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..5_usize, 0..2_000_u32).prop_map(|(count, ticks)| Step::Push(count, ticks)),
        (0..2_000_u32).prop_map(Step::Pop),
        (1..4_usize, 0..2_000_u32).prop_map(|(count, ticks)| Step::PopMany(count, ticks)),
        Just(Step::Length),
    ]
}

proptest! {
    /// A list that keeps all messages is the server; ages, lengths and counts are as it tells.
    #[test]
    fn any_use_counts_as_the_list_counts_it(steps in vec(step(), 1..80), at_once in 1..8_usize) {
        let mut session = session(Role::Server);
        let mut list = std::collections::VecDeque::new();
        let (mut ages, mut put) = (Vec::new(), 0);
        let mut now = 0_u32;
        let mut steps = steps.into_iter().peekable();
        while steps.peek().is_some() {
            let (mut commands, mut replies) = (Vec::new(), Vec::new());
            for (place, step) in steps.by_ref().take(at_once).enumerate() {
                // What is in one call is at one time.
                let wait = |ticks: u32| if place == 0 { ticks } else { 0 };
                match step {
                    Step::Push(count, ticks) => {
                        now += wait(ticks);
                        let mut words = vec!["RPUSH", "work"];
                        words.extend(std::iter::repeat_n("message", count));
                        commands.extend(ask(&words));
                        list.extend(std::iter::repeat_n(now, count));
                        put += count as u64;
                        replies.extend(format!(":{}\r\n", list.len()).into_bytes());
                    }
                    Step::Pop(ticks) => {
                        now += wait(ticks);
                        commands.extend(ask(&["LPOP", "work"]));
                        match list.pop_front() {
                            Some(time) => {
                                ages.push(now - time);
                                replies.extend(b"$7\r\nmessage\r\n");
                            }
                            None => replies.extend(b"$-1\r\n"),
                        }
                    }
                    Step::PopMany(count, ticks) => {
                        now += wait(ticks);
                        commands.extend(ask(&["LPOP", "work", &count.to_string()]));
                        let taken = count.min(list.len());
                        replies.extend(if taken == 0 {
                            b"*-1\r\n".to_vec()
                        } else {
                            format!("*{taken}\r\n{}", "$7\r\nmessage\r\n".repeat(taken)).into_bytes()
                        });
                        ages.extend(list.drain(..taken).map(|time| now - time));
                    }
                    Step::Length => {
                        commands.extend(ask(&["LLEN", "work"]));
                        replies.extend(format!(":{}\r\n", list.len()).into_bytes());
                    }
                }
            }
            session.now_ns = u64::from(now) << TICK_BITS;
            session.client(&commands);
            session.server(&replies);
            let (length, _) = session.queues.of("work", 0);
            // What was asked for before a pop of the same call is answered with more than there is then.
            prop_assert_eq!(length, list.len() as u64);
        }
        let (_, counted) = session.queues.of("work", 0);
        prop_assert_eq!(counted.put, put);
        prop_assert_eq!(counted.ages, ages);
        prop_assert_eq!(counted.unknown, 0);
        prop_assert_eq!(&session.desyncs[..], &[]);
    }
}
