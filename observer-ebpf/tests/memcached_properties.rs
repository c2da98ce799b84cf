//! Any session, in any calls, counts as a plain model counts it, which reads both sides with the `memcache-proto` crate.

mod common;

#[path = "common/memcached/mod.rs"]
mod memcached;

use std::collections::BTreeMap;

use common::caches::prefix;
use common::{Call, lengths, parts};
use memcache_proto::{Command, Response};
use memcached::{Outcome, observed};
use observer_ebpf::layout::{Protocol, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

fn key() -> impl Strategy<Value = String> {
    let prefix =
        select(vec!["user", "conversation", "m", "VALUE", "END", "0123456789abcdef0123456789abcdef", ""]);
    let rest = prop_oneof![8 => 0..12usize, 1 => 30..90usize];
    (prefix, select(vec![":", "-", "::"]), rest)
        .prop_map(|(prefix, separator, rest)| format!("{prefix}{separator}{}", "k".repeat(rest)))
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let tricky = select(vec![
        &b"\r\n"[..],
        b"END\r\n",
        b"\r\nEND\r\nget a:1\r\n",
        b"VALUE a:1 0 5\r\n",
        b"STORED\r\n",
    ]);
    prop_oneof![
        6 => vec(any::<u8>(), 0..40),
        2 => tricky.prop_map(<[u8]>::to_vec),
        1 => (any::<u8>(), 0..3_000usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn value(key: &str, data: &[u8], with_cas: bool) -> Vec<u8> {
    let cas = if with_cas { " 123456789" } else { "" };
    [format!("VALUE {key} 7 {}{cas}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

fn failure() -> impl Strategy<Value = Vec<u8>> {
    select(vec![
        &b"ERROR\r\n"[..],
        b"CLIENT_ERROR bad command line format\r\n",
        b"SERVER_ERROR out of memory\r\n",
    ])
    .prop_map(<[u8]>::to_vec)
}

/// A command, and the reply to it.
fn asked() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let lookup =
        (any::<bool>(), vec((key(), proptest::option::of(data())), 1..7)).prop_map(|(with_cas, keys)| {
            let name = if with_cas { "gets" } else { "get" };
            let names: Vec<&str> = keys.iter().map(|(key, _)| key.as_str()).collect();
            let found = keys.iter().filter_map(|(key, data)| Some(value(key, data.as_deref()?, with_cas)));
            (
                format!("{name} {}\r\n", names.join(" ")).into_bytes(),
                [found.collect::<Vec<_>>().concat(), b"END\r\n".to_vec()].concat(),
            )
        });
    let write = (
        select(vec!["set", "add", "replace"]),
        key(),
        data(),
        prop_oneof![4 => Just(b"STORED\r\n".to_vec()), 1 => Just(b"NOT_STORED\r\n".to_vec()), 1 => failure()],
    )
        .prop_map(|(name, key, data, reply)| {
            ([format!("{name} {key} 3 60 {}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat(), reply)
        });
    let other = select(vec![
        ("delete a:1", "DELETED"),
        ("delete a:2", "NOT_FOUND"),
        ("incr a:1 5", "18446744073709551615"),
        ("incr a:2 5", "NOT_FOUND"),
        ("decr a:1 5", "0"),
        ("version", "VERSION 1.6.18"),
        ("flush_all", "OK"),
    ])
    .prop_map(|(asked, answered)| {
        (format!("{asked}\r\n").into_bytes(), format!("{answered}\r\n").into_bytes())
    });
    let refused = (key(), key(), failure())
        .prop_map(|(one, two, reply)| (format!("get {one} {two}\r\n").into_bytes(), reply));
    prop_oneof![6 => lookup, 4 => write, 2 => other, 1 => refused]
}

/// What a session comes to.
#[derive(Debug, Default, PartialEq)]
struct Model {
    keys: BTreeMap<String, (u64, u64)>,
    commands: BTreeMap<String, u32>,
    gets: u32,
    sets: u32,
}

impl Model {
    fn look_up(&mut self, keys: &[&[u8]], response: &Response) {
        let Response::Values(values) = response else { return };
        self.gets += 1;
        let mut values = values.iter().peekable();
        for key in keys {
            let is_found = values.next_if(|value| value.key == *key).is_some();
            let counts = self.keys.entry(prefix(key)).or_default();
            counts.0 += u64::from(is_found);
            counts.1 += u64::from(!is_found);
        }
        assert!(values.next().is_none(), "a value that was not asked for");
    }

    /// Takes in all that both sides have said.
    fn read(&mut self, mut asked: &[u8], mut answered: &[u8]) {
        while !asked.is_empty() {
            let name = asked.split(u8::is_ascii_whitespace).next().expect("a word");
            *self.commands.entry(String::from_utf8_lossy(name).into_owned()).or_default() += 1;
            let (command, length) = Command::parse(asked).expect("a command");
            let (response, answered_length) = Response::parse(answered).expect("a response");
            match &command {
                Command::Get { key } => self.look_up(&[key], &response),
                Command::Gets { keys } => self.look_up(keys, &response),
                Command::Set { .. } => self.sets += u32::from(!response.is_error()),
                _ => {}
            }
            (asked, answered) = (&asked[length..], &answered[answered_length..]);
        }
        assert_eq!(answered, b"", "a response to nothing");
    }
}

#[test]
fn a_recorded_session_counts_as_the_model_counts_it() {
    const RECORDED: &[(&str, &str)] = &[("basic", include_str!("recorded/memcached-basic.txt"))];
    for (name, _) in RECORDED {
        let (mut model, mut observed) = (Model::default(), observed(Role::Server));
        let calls = common::recorded(RECORDED, name, 0, 1_000);
        for pair in calls.chunks(2) {
            model.read(&pair[0].bytes, &pair[1].bytes);
            for call in pair {
                parts(&mut observed, call, &[]);
            }
        }
        let outcome = Outcome::of(&observed);
        assert_eq!((outcome.protocol, &outcome.desyncs[..]), (Protocol::Memcached, &[][..]), "{name}");
        assert_eq!((outcome.commands(), outcome.keys), (model.commands, model.keys), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_session_counts_as_the_model_counts_it(
        groups in vec(vec(asked(), 1..7), 1..6),
        server: bool,
        buffer in prop_oneof![1..40u32, Just(1024)],
        cuts in vec(any::<Index>(), 0..12),
        passing: bool,
        poison: u8,
    ) {
        let mut model = Model::default();
        let mut observed = observed(if server { Role::Server } else { Role::Client });
        observed.buffer = buffer;
        observed.passing = passing;
        observed.poison = poison;
        let first = [(b"version\r\n".to_vec(), b"VERSION 1\r\n".to_vec())];
        let mut now_ns = 0;
        for group in [&first[..]].into_iter().chain(groups.iter().map(Vec::as_slice)) {
            let (asked, answered): (Vec<_>, Vec<_>) = group.iter().cloned().unzip();
            let (asked, answered) = (asked.concat(), answered.concat());
            model.read(&asked, &answered);
            for (server, bytes) in [(false, asked), (true, answered)] {
                now_ns += 50_000;
                let lengths = lengths(cuts.iter().map(|cut| cut.index(bytes.len())));
                parts(&mut observed, &Call { server, bytes, now_ns }, &lengths);
            }
        }
        let outcome = Outcome::of(&observed);
        prop_assert_eq!(&outcome.desyncs, &[]);
        prop_assert_eq!((outcome.protocol, outcome.lost, outcome.pending), (Protocol::Memcached, [0; 2], 0));
        let counters = outcome.counters;
        let found = Model {
            commands: outcome.commands(),
            keys: outcome.keys,
            gets: counters.gets.iter().sum(),
            sets: counters.sets.iter().sum(),
        };
        prop_assert_eq!(found, model);
        prop_assert_eq!(counters.get_ns, u64::from(counters.gets[0]) * 50_000);
        prop_assert_eq!(counters.unmatched, 0);
    }

    #[test]
    fn noise_in_a_session_is_bounded_and_leaves_no_trace(
        steps in vec((any::<bool>(), vec(prop_oneof![
            3 => vec(any::<u8>(), 1..20),
            3 => select(vec![&b"get a:1\r\n"[..], b"get a:1 b:2 a:3\r\n", b"VALUE a:1 0 3\r\nabc\r\n", b"END\r\n",
                b"set a:1 0 0 3\r\n", b"abc\r\n", b"STORED\r\n", b"mg a:1 v q\r\n", b"VA 3\r\nabc\r\n", b"mn\r\n", b"MN\r\n",
                b"ms a:1 3 q\r\n", b"NS\r\n", b"ERROR\r\n", b"stats\r\n", b"STAT a 1\r\n", b"12\r\n", b"get ", b"VALUE ",
                b"noreply\r\n", b"$1\r\n", b"+OK\r\n", b" ", b"\r\n"])
                .prop_map(<[u8]>::to_vec),
        ], 1..5).prop_map(|pieces| pieces.concat())), 0..40),
        buffer in 1..40u32,
        poison: u8,
        confirmed: bool,
    ) {
        let [plain, other] = [0, poison].map(|poison| {
            let mut observed = observed(Role::Client).in_buffers_of(buffer);
            observed.poison = poison;
            observed.client(b"version\r\n");
            if confirmed {
                observed.server(b"VERSION 1\r\n");
            }
            for (server, bytes) in &steps {
                observed.by(*server, bytes);
            }
            observed
        });
        prop_assert_eq!(Outcome::of(&plain), Outcome::of(&other));
        let mut observed = plain;
        if observed.protocol() == Protocol::Memcached && !steps.iter().any(|(_, bytes)| bytes.starts_with(b"watch")) {
            observed.buffer = 1024;
            for direction in observer_ebpf::layout::Direction::ALL {
                observed.miss(direction, u64::MAX, observer_ebpf::layout::losses::Desync::Gap);
            }
            for _ in 0..2 {
                observed.client(b"get end:1\r\n");
                observed.server(b"VALUE end:1 0 1\r\nx\r\nEND\r\n");
            }
            prop_assert_eq!(observed.connection.lost, [0; 2]);
            let (hits, misses) = observed.keys.by_prefix().get("end").copied().unwrap_or_default();
            prop_assert!((1..=2).contains(&hits) && misses == 0, "{} {}", hits, misses);
        }
    }
}
