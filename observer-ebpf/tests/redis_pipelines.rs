//! Commands in flight, however many and of whatever mix: each reply is its own command's, or told to be nobody's.

mod common;

#[path = "common/redis/mod.rs"]
mod resp;

use std::collections::BTreeMap;

use common::Observed;
use observer_ebpf::layout::Role;
use proptest::collection::vec;
use proptest::prelude::*;
use resp::{command, observed};

fn session() -> Observed {
    resp::session(Role::Client)
}

/// Keys found and not found of a prefix; an empty one for none.
type Found = (String, u64, u64);

/// Commands of every kind that is kept differently, told apart by a number, with what they are answered and what keys of
/// which prefix that finds.
fn kind(number: usize) -> (Vec<u8>, &'static [u8], [Found; 2]) {
    let name = |place: usize| format!("p{}", (number / 8 + place) % 5);
    let none = (String::new(), 0, 0);
    let (first, second) = (name(0), name(1));
    let [one, other] = [format!("{first}:1"), format!("{second}:2")];
    let (one_key, other_key) = (one.as_bytes(), other.as_bytes());
    match number % 8 {
        0 => (command(&[b"GET", one_key]), b"$1\r\nx\r\n", [(first, 1, 0), none]),
        1 => (command(&[b"HGETALL", one_key]), b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n", [none.clone(), none]),
        2 => (command(&[b"GET", one_key]), b"$-1\r\n", [(first, 0, 1), none]),
        3 => (
            command(&[b"MGET", one_key, other_key]),
            b"*2\r\n$-1\r\n$1\r\nx\r\n",
            [(first, 0, 1), (second, 1, 0)],
        ),
        4 => (command(&[b"SET", one_key, b"v"]), b"+OK\r\n", [none.clone(), none]),
        5 => (command(&[b"EXISTS", one_key, one_key]), b":1\r\n", [(first, 1, 1), none]),
        6 => (command(&[b"HGET", one_key, b"f"]), b"$1\r\ny\r\n", [(first, 1, 0), none]),
        _ => (command(&[b"MGET", one_key]), b"-ERR no\r\n", [none.clone(), none]),
    }
}

fn add(sums: &mut BTreeMap<String, (u64, u64)>, keys: [Found; 2]) {
    for (prefix, hits, misses) in keys.into_iter().filter(|key| key.1 + key.2 > 0) {
        let sum = sums.entry(prefix).or_default();
        sum.0 += hits;
        sum.1 += misses;
    }
}

#[test]
fn five_hundred_pairs_are_exact_again_and_again() {
    let mut session = session();
    for round in 1..=5 {
        let mut replies = Vec::new();
        for number in 0..500 {
            session.now_ns += 1_000;
            session.client(&command(&[b"GET", format!("get:{number}").as_bytes()]));
            session.client(&command(&[b"HGETALL", b"hash:1"]));
            replies.extend(b"$1\r\nx\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n");
        }
        for bytes in replies.chunks(1000) {
            session.server(bytes);
        }
        assert_eq!(session.keys.by_prefix(), BTreeMap::from([("get".to_owned(), (500 * round, 0))]));
        let counters = session.connection.redis();
        assert_eq!((counters.unmatched, counters.asked), (0, counters.answered));
        assert_eq!(u64::from(counters.gets.iter().sum::<u32>()), 500 * round);
    }
    assert_eq!(session.desyncs, []);
    assert!(session.keys.backlog.len() <= 2, "{} are kept", session.keys.backlog.len());
}

#[test]
fn past_all_limits_replies_are_told_as_unmatched_and_matching_goes_on() {
    let mut session = session();
    let mut replies = Vec::new();
    for number in 0..6_000u64 {
        session.now_ns += 1_000;
        if number % 2 == 0 {
            session.client(&command(&[b"GET", format!("even:{number}").as_bytes()]));
            replies.extend(b"$1\r\nx\r\n");
        } else {
            session.client(&command(&[b"HGET", b"odd:1", b"f"]));
            replies.extend(b"$-1\r\n");
        }
    }
    session.server(&replies);
    let keys = session.keys.by_prefix();
    let unmatched = u64::from(session.connection.redis().unmatched);
    assert!((1_000..2_000).contains(&unmatched), "{unmatched}");
    assert_eq!(keys["even"].0 + keys["odd"].1 + unmatched, 6_000);
    assert_eq!((keys["even"].1, keys["odd"].0), (0, 0));

    // And then, nothing is missed again.
    let before = session.keys.by_prefix();
    for number in 0..2_000 {
        session.client(&kind(number % 8).0);
    }
    for number in 0..2_000 {
        session.server(kind(number % 8).1);
    }
    let mut expected = before;
    (0..2_000).for_each(|number| add(&mut expected, kind(number % 8).2));
    assert_eq!(session.keys.by_prefix(), expected);
    assert_eq!(u64::from(session.connection.redis().unmatched), unmatched);
    assert_eq!(session.desyncs, []);
}

#[test]
fn where_others_have_taken_all_room_nothing_wrong_is_counted() {
    for most_kept in [0, 1, 20] {
        let mut session = session();
        session.keys.most_kept = most_kept;
        let mut replies = Vec::new();
        for number in 0..300 {
            session.client(&command(&[
                b"GET",
                format!("{}:1", if number % 2 == 0 { "a" } else { "b" }).as_bytes(),
            ]));
            session.client(&command(&[b"PING"]));
            replies.extend(if number % 2 == 0 { &b"$1\r\nx\r\n+PONG\r\n"[..] } else { b"$-1\r\n+PONG\r\n" });
        }
        session.server(&replies);
        let keys = session.keys.by_prefix();
        assert!(keys["a"].0 <= 150 && keys["a"].1 == 0 && keys["b"].0 == 0 && keys["b"].1 <= 150, "{keys:?}");
        assert!(keys["a"].0 >= 15, "{keys:?}");
        // It is found again at the next calls.
        for _ in 0..3 {
            session.client(&command(&[b"GET", b"back:1"]));
            session.server(b"$1\r\nx\r\n");
        }
        let back = session.keys.by_prefix().get("back").copied().unwrap_or_default();
        assert!(back.0 >= 2 && back.1 == 0, "{back:?}");
        assert_eq!(session.connection.lost, [0; 2]);
    }
}

#[test]
fn runs_that_were_forgotten_lead_to_no_wrong_count() {
    let mut session = session();
    for number in 0..1_000 {
        session.client(&kind(number).0);
    }
    // As where other connections have had more in flight since.
    session.keys.backlog.retain(|&(_, number), _| number % 100 != 0);
    let mut most = BTreeMap::new();
    for number in 0..1_000 {
        session.server(kind(number).1);
        add(&mut most, kind(number).2);
    }
    for (prefix, counts) in session.keys.by_prefix() {
        assert!(counts.0 <= most[&prefix].0 && counts.1 <= most[&prefix].1, "{prefix}: {counts:?}");
    }
    assert!(!session.desyncs.is_empty());
    for _ in 0..3 {
        session.client(&command(&[b"GET", b"back:1"]));
        session.server(b"$1\r\nx\r\n");
    }
    assert!(session.keys.by_prefix()["back"].0 >= 2);
    assert_eq!(session.connection.lost, [0; 2]);
}

#[test]
fn a_transaction_of_a_thousand_is_exact() {
    let mut session = session();
    let mut expected = BTreeMap::new();
    let mut replies = b"+OK\r\n".to_vec();
    session.client(&command(&[b"MULTI"]));
    for number in 0..1_000 {
        session.client(&kind(number).0);
        replies.extend(b"+QUEUED\r\n");
    }
    session.client(&command(&[b"EXEC"]));
    replies.extend(b"*1000\r\n");
    for number in 0..1_000 {
        replies.extend(kind(number).1);
        add(&mut expected, kind(number).2);
    }
    for bytes in replies.chunks(999) {
        session.server(bytes);
    }
    assert_eq!(session.keys.by_prefix(), expected);
    assert_eq!(session.desyncs, []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_mix_is_exact_up_to_a_thousand_in_flight(
        steps in vec((0..700usize, 0..700usize, 0..64usize, any::<bool>()), 1..12),
        server: bool,
    ) {
        let mut session = observed(if server { Role::Server } else { Role::Client });
        session.client(&command(&[b"PING"]));
        session.server(b"+PONG\r\n");
        let (mut sent, mut answered) = (0, 0);
        let mut expected = BTreeMap::new();
        let mut gets = 0;
        for (more, fewer, burst, whole) in steps {
            let more = more.min(1_024 - (sent - answered));
            let mut bytes = Vec::new();
            for number in sent..sent + more {
                bytes.extend(kind(number).0);
                if number % (burst + 1) == 0 {
                    session.now_ns += 1_000;
                    session.client(&core::mem::take(&mut bytes));
                }
            }
            session.client(&bytes);
            sent += more;
            let fewer = if whole { sent - answered } else { fewer.min(sent - answered) };
            let mut bytes = Vec::new();
            for number in answered..answered + fewer {
                bytes.extend(kind(number).1);
                add(&mut expected, kind(number).2);
                gets += u32::from(number % 8 == 0 || number % 8 == 2);
            }
            session.server(&bytes);
            answered += fewer;
            prop_assert_eq!(&session.keys.by_prefix(), &expected);
        }
        let counters = *session.connection.redis();
        prop_assert_eq!(counters.unmatched, 0);
        prop_assert_eq!(counters.gets.iter().sum::<u32>(), gets);
        prop_assert_eq!(counters.asked - counters.answered, u32::try_from(sent - answered).expect("few"));
        prop_assert_eq!(&session.desyncs, &[]);
    }
}
