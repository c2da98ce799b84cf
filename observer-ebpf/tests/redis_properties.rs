//! Any session, in any calls, counts as a plain model counts it, which reads the server with the `redis` crate.

mod common;

#[path = "common/redis/mod.rs"]
mod resp;

use std::collections::BTreeMap;

use common::caches::prefix;
use common::{Call, lengths, parts};
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::redis::layout::{Command, ErrorKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use redis::{Value, parse_redis_value};
use resp::{command, observed, outcome};

/// A command, and what comes for it.
#[derive(Clone, Debug)]
struct Ask {
    words: Vec<Vec<u8>>,
    reply: Vec<u8>,
    /// Of another kind than a reply, before it.
    before: Vec<u8>,
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let before = vec(select(vec!["", "1", "2024", "{42}", "{a:b}", "{}", "{", "x}"]), 0..4);
    let prefix = select(vec!["user", "conversation", "m", "a b", "0123456789abcdef0123456789abcdef", ""]);
    let rest = prop_oneof![8 => 0..12usize, 1 => 30..90usize];
    (prop_oneof![3 => Just(Vec::new()), 1 => before], prefix, select(vec![":", "-", "::"]), rest).prop_map(
        |(before, prefix, separator, rest)| {
            let before: String = before.into_iter().flat_map(|segment| [segment, ":"]).collect();
            format!("{before}{prefix}{separator}{}", "k".repeat(rest)).into_bytes()
        },
    )
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => vec(any::<u8>(), 0..40), 1 => (any::<u8>(), 0..3_000usize).prop_map(|(byte, length)| vec![byte; length])]
}

/// A value found, or none.
fn found() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => value().prop_map(|value| bulk(&value)), 2 => Just(b"$-1\r\n".to_vec()), 1 => Just(b"_\r\n".to_vec())]
}

fn error() -> impl Strategy<Value = Vec<u8>> {
    select(vec![
        &b"-ERR unknown command 'x', with args\r\n"[..],
        b"-OOM command not allowed\r\n",
        b"-MOVED 3999 127.0.0.1:6381\r\n",
        b"-STRANGE\r\n",
    ])
    .prop_map(<[u8]>::to_vec)
}

/// Anything a server may say.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        found(),
        select(vec![
            &b"+OK\r\n"[..],
            b":-12\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b"+a line of more than sixteen\r\n"
        ])
        .prop_map(<[u8]>::to_vec),
        Just(b"=8\r\ntxt:some\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let many = |kind: char, step: usize| {
            move |items: Vec<Vec<u8>>| {
                let whole = items.len() / step * step;
                [format!("{kind}{}\r\n", whole / step).into_bytes(), items[..whole].concat()].concat()
            }
        };
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(many('*', 1)),
            vec(inner.clone(), 0..5).prop_map(many('~', 1)),
            vec(inner, 0..6).prop_map(many('%', 2)),
        ]
    })
}

fn words(name: &'static str, args: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    [vec![name.as_bytes().to_vec()], args].concat()
}

/// Words of a command, and its reply.
fn ask() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>)> {
    let one = select(vec!["GET", "get", "HGET", "GETEX", "GetDel"]);
    let count = |length: usize| (0..=length).prop_map(|count| format!(":{count}\r\n").into_bytes());
    prop_oneof![
        6 => (one, key(), found()).prop_map(|(name, key, reply)| (words(name, vec![key]), reply)),
        3 => vec((key(), found()), 1..6).prop_map(|pairs| {
            let (keys, values): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let reply = [format!("*{}\r\n", values.len()).into_bytes(), values.concat()].concat();
            (words("MGET", keys), reply)
        }),
        1 => vec(key(), 1..4).prop_flat_map(move |keys| (Just(keys.clone()), count(keys.len())))
            .prop_map(|(keys, reply)| (words("EXISTS", keys), reply)),
        3 => (key(), value()).prop_map(|(key, value)| (words("SET", vec![key, value]), b"+OK\r\n".to_vec())),
        3 => (select(vec!["EVAL", "LRANGE", "ANYTHING", "averyveryverylongname"]), vec(value(), 0..4), anything())
            .prop_map(|(name, args, reply)| (words(name, args), reply)),
        1 => (select(vec!["GET", "MGET", "SET", "EXISTS", "HGET", "PING"]), vec(key(), 1..4), error())
            .prop_map(|(name, args, reply)| (words(name, args), reply)),
    ]
}

fn asked() -> impl Strategy<Value = Ask> {
    let before = prop_oneof![
        12 => Just(Vec::new()),
        1 => Just(b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n".to_vec()),
        1 => Just(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n".to_vec()),
        1 => anything().prop_map(|value| [b"|1\r\n+meta\r\n".to_vec(), value].concat()),
    ];
    (ask(), before).prop_map(|((words, reply), before)| Ask { words, reply, before })
}

/// Commands sent together, and whether in a transaction.
fn group() -> impl Strategy<Value = (Vec<Ask>, bool)> {
    (vec(asked(), 1..7), prop::bool::weighted(0.2))
}

/// What a session comes to.
#[derive(Debug, Default, PartialEq)]
struct Model {
    keys: BTreeMap<String, (u64, u64)>,
    gets: u32,
    sets: u32,
    commands: BTreeMap<String, u32>,
    errors: BTreeMap<String, u32>,
    values: u64,
}

impl Model {
    fn count(&mut self, prefix: String, hits: u64, misses: u64) {
        if hits + misses > 0 {
            let counts = self.keys.entry(prefix).or_default();
            counts.0 += hits;
            counts.1 += misses;
        }
    }

    fn found(&mut self, key: &[u8], value: &Value) {
        let hit = !matches!(value, Value::Nil);
        self.count(prefix(key), u64::from(hit), u64::from(!hit));
    }

    fn error(&mut self, value: &Value) {
        if let Value::ServerError(error) = value {
            let known = |name: &str| ErrorKind::ALL.iter().any(|kind| kind.name() == name);
            let name = if known(error.code()) { error.code() } else { "other" };
            *self.errors.entry(name.to_owned()).or_default() += 1;
        }
    }

    fn sent(&mut self, words: &[Vec<u8>]) {
        let name = String::from_utf8(words[0].to_ascii_lowercase()).expect("ASCII");
        let known = Command::ALL.iter().any(|command| command.name() == name);
        *self.commands.entry(if known { name } else { "other".to_owned() }).or_default() += 1;
        if words[0] == b"SET" && words.len() > 2 {
            self.values += words[2].len() as u64;
        }
    }

    fn answered(&mut self, words: &[Vec<u8>], value: &Value, timed: bool) {
        let value = match value {
            Value::Attribute { data, .. } => data,
            value => value,
        };
        self.error(value);
        let name = words[0].to_ascii_lowercase();
        self.gets += u32::from(timed && name == b"get");
        self.sets += u32::from(timed && name == b"set");
        if matches!(value, Value::ServerError(_)) {
            return;
        }
        match &name[..] {
            b"get" | b"hget" | b"getex" | b"getdel" => self.found(&words[1], value),
            b"mget" => {
                let Value::Array(values) = value else { panic!("an array") };
                assert_eq!(values.len(), words.len() - 1);
                words[1..].iter().zip(values).for_each(|(key, value)| self.found(key, value));
            }
            b"exists" => {
                let Value::Int(hits) = value else { panic!("a number") };
                let first = prefix(&words[1]);
                let same = words[1..].iter().all(|key| prefix(key) == first);
                let hits = u64::try_from(*hits).expect("a count");
                let misses = words.len() as u64 - 1 - hits;
                self.count(if same { first } else { "other".to_owned() }, hits, misses);
            }
            _ => {}
        }
    }
}

/// The calls of groups, and what they come to.
fn session(groups: &[(Vec<Ask>, bool)]) -> (Vec<Call>, Model) {
    let mut model = Model::default();
    let mut calls = Vec::new();
    let mut now_ns = 1_000;
    for (asks, transaction) in groups {
        let (mut sent, mut said) = (Vec::new(), Vec::new());
        if *transaction {
            sent.extend(command(&[b"MULTI"]));
            said.extend(b"+OK\r\n");
            model.sent(&[b"MULTI".to_vec()]);
        }
        for ask in asks {
            let words: Vec<&[u8]> = ask.words.iter().map(Vec::as_slice).collect();
            sent.extend(command(&words));
            model.sent(&ask.words);
            if *transaction {
                said.extend(b"+QUEUED\r\n");
            } else {
                said.extend(&ask.before);
                said.extend(&ask.reply);
            }
        }
        if *transaction {
            sent.extend(command(&[b"EXEC"]));
            model.sent(&[b"EXEC".to_vec()]);
            said.extend(format!("*{}\r\n", asks.len()).into_bytes());
            said.extend(asks.iter().flat_map(|ask| &ask.reply));
        }
        let pushes = asks.iter().filter(|ask| !transaction && ask.before.starts_with(b">")).count();
        let count = pushes + asks.len() * usize::from(!transaction) + 2 * usize::from(*transaction);
        let count = if *transaction { count + asks.len() } else { count };
        let whole = [format!("*{count}\r\n").as_bytes(), &said].concat();
        let Value::Array(mut values) = parse_redis_value(&whole).expect("values") else { panic!("an array") };
        values.retain(|value| !matches!(value, Value::Push { .. }));
        if *transaction {
            assert_eq!(values.len(), asks.len() + 2);
            let Some(Value::Array(elements)) = values.last() else { panic!("an array") };
            asks.iter().zip(elements).for_each(|(ask, value)| model.answered(&ask.words, value, false));
        } else {
            assert_eq!(values.len(), asks.len());
            asks.iter().zip(&values).for_each(|(ask, value)| model.answered(&ask.words, value, true));
        }
        now_ns += 5_000;
        calls.push(Call { server: false, bytes: sent, now_ns });
        now_ns += 50_000;
        calls.push(Call { server: true, bytes: said, now_ns });
    }
    (calls, model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_session_counts_as_the_model_counts_it(
        groups in vec(group(), 1..6),
        server: bool,
        buffer in prop_oneof![1..40u32, Just(1024)],
        cuts in vec(any::<Index>(), 0..12),
        passing: bool,
        poison: u8,
    ) {
        let (calls, model) = session(&groups);
        let mut observed = observed(if server { Role::Server } else { Role::Client });
        observed.buffer = buffer;
        observed.passing = passing;
        observed.poison = poison;
        for (call, at) in calls.iter().zip(0..) {
            let cuts = cuts.iter().skip(at % 3).step_by(3).map(|cut| cut.index(call.bytes.len()));
            parts(&mut observed, call, &lengths(cuts));
        }
        let outcome = outcome(&observed);
        prop_assert_eq!(&outcome.desyncs, &[]);
        prop_assert_eq!((outcome.protocol, outcome.lost), (Protocol::Redis, [0; 2]));
        let counters = outcome.counters;
        let named = |counts: Vec<(&str, u32)>| -> BTreeMap<String, u32> {
            counts.into_iter().filter(|&(_, count)| count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
        };
        let found = Model {
            keys: outcome.keys,
            gets: counters.gets.iter().sum(),
            sets: counters.sets.iter().sum(),
            commands: named(Command::ALL.iter().map(|command| (command.name(), counters.commands[*command as usize])).collect()),
            errors: named(ErrorKind::ALL.iter().map(|kind| (kind.name(), counters.errors[*kind as usize])).collect()),
            values: counters.value_bytes,
        };
        prop_assert_eq!(found, model);
        prop_assert_eq!(counters.get_ns, u64::from(counters.gets[0]) * 50_000);
        prop_assert_eq!(counters.unmatched, 0);
        prop_assert!(!counters.is_active());
    }

    #[test]
    fn noise_in_a_session_is_bounded_and_leaves_no_trace(
        steps in vec((any::<bool>(), vec(prop_oneof![
            3 => vec(any::<u8>(), 1..20),
            3 => select(vec![&b"*2\r\n$3\r\nGET\r\n"[..], b"$1\r\na\r\n", b"*3\r\n", b"$-1\r\n", b"+QUEUED\r\n",
                b"*1\r\n$4\r\nEXEC\r\n", b"*1\r\n$5\r\nMULTI\r\n", b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n",
                b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", b"PING\r\n", b":0\r\n", b"|1\r\n", b">2\r\n", b"!9\r\nOOM x",
                b"*1\r\n$4\r\nINFO\r\n", b"$30\r\nused_memory:", b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$3\r\nb:1\r\n"])
                .prop_map(<[u8]>::to_vec),
        ], 1..5).prop_map(|pieces| pieces.concat())), 0..40),
        buffer in 1..40u32,
        poison: u8,
    ) {
        let [plain, other] = [0, poison].map(|poison| {
            let mut observed = observed(Role::Client).in_buffers_of(buffer);
            observed.poison = poison;
            observed.client(&command(&[b"PING"]));
            for (server, bytes) in &steps {
                observed.by(*server, bytes);
            }
            observed
        });
        prop_assert_eq!(outcome(&plain), outcome(&other));
    }
}
