//! Message queues as labels tell them, what is known of each, and which lists are queues because somebody says so.

pub mod shown;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::FromStr;

use observer_ebpf::layout::Role;
use observer_ebpf::layout::names::NAME_MAX;
use observer_ebpf::queues::layout::{KEY_MAX, QueueCounts, QueueKey, System};

use crate::labels::ServerKey;
use crate::names::OTHER;

/// What kombu, which is Celery's library of queues, puts between a queue's name and a priority (`\x06\x16N`): a queue has
/// a list for each priority that is not the first.
const PRIORITY: u8 = 0x06;

/// A queue, as labels tell it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// What kind of queue it is.
    pub system: System,
    /// Its name.
    pub queue: Rc<str>,
    /// The consumer group; empty where there is none.
    pub group: Rc<str>,
}

impl Row {
    /// That of the key of a list, a stream or a topic. None if it is of anything else.
    pub fn of(key: &QueueKey) -> Option<Self> {
        let system = System::from_u32(key.system)?;
        let is_named = matches!(system, System::RedisList | System::RedisStream | System::KafkaTopic);
        is_named.then(|| Self { system, queue: label(name(key)), group: "".into() })
    }

    /// That of a consumer group of a stream or a topic.
    pub fn of_group(queue: &Self, group: &Rc<str>) -> Self {
        Self { group: Rc::clone(group), ..queue.clone() }
    }

    /// That of all queues of a system that have no name of their own.
    pub fn other(system: System) -> Self {
        Self { system, queue: OTHER.into(), group: "".into() }
    }

    /// Whether it is of queues that have no name of their own.
    pub fn is_other(&self) -> bool {
        &*self.queue == OTHER
    }
}

/// A queue's name: of a list, without the priority that kombu puts behind it.
pub fn name(key: &QueueKey) -> &[u8] {
    let all = &key.bytes[..(key.length as usize).min(key.bytes.len())];
    let end = all.iter().position(|&byte| byte == PRIORITY && key.system == System::RedisList as u32);
    &all[..end.unwrap_or(all.len())]
}

/// A name as a label: what may not be one is [`OTHER`].
pub fn label(name: &[u8]) -> Rc<str> {
    let may_be = (1..=NAME_MAX).contains(&name.len()) && name.iter().all(|byte| (b' '..0x7F).contains(byte));
    if may_be { String::from_utf8_lossy(name).into() } else { OTHER.into() }
}

/// What is known of a queue, for the processes of a name and a server.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// What they have done with it.
    pub counts: QueueCounts,
    /// Messages that they have put in, taken out and acknowledged, a second, over the last ten.
    pub rates: [f64; 3],
    /// What there is in it now, where that is told of them.
    pub level: Option<Level>,
}

/// All queues, of processes of a name and a server.
pub type Rows = BTreeMap<ServerKey, BTreeMap<Row, Totals>>;

impl Totals {
    /// [`Totals::rates`], as far as there are any. At a server's end from 0 on, as all that is done passes there. A client
    /// that only puts messages in is no consumer that does nothing. Only consumer groups acknowledge. A broker of Kafka is
    /// not told for which group messages are taken.
    pub fn rates_of(&self, role: Role, row: &Row) -> [Option<f64>; 3] {
        let is_server = role == Role::Server;
        let is_all = is_server && (row.system != System::KafkaTopic || row.group.is_empty());
        let QueueCounts { put, taken, acknowledged, .. } = self.counts;
        let [put_rate, take_rate, ack_rate] = self.rates;
        [
            (is_all || put > 0).then_some(put_rate),
            (is_all || taken > 0).then_some(take_rate),
            (is_server && !row.group.is_empty() || acknowledged > 0).then_some(ack_rate),
        ]
    }
}

/// What there is in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Messages that wait.
    pub messages: u64,
    /// Nanoseconds that the one which goes next has waited, or at least has, where that is known.
    pub oldest_ns: Option<u64>,
}

impl Level {
    /// Adds another list or another partition of the same queue.
    pub fn add(&mut self, other: Self) {
        self.messages += other.messages;
        self.oldest_ns = self.oldest_ns.max(other.oldest_ns);
    }
}

/// A pattern of queues' names, where `*` stands for any characters, and `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > KEY_MAX as usize {
            return Err(format!("{text:?} is not 1 to {KEY_MAX} characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Pattern {
    /// Whether a name is as it says.
    pub fn matches(&self, name: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut at, mut place) = (0, 0);
        // The last star, and the first byte of the name that may be behind what it stands for.
        let mut star = None;
        while place < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, place));
                    at += 1;
                }
                Some(&byte) if byte == b'?' || byte == name[place] => {
                    at += 1;
                    place += 1;
                }
                _ => {
                    // The star stands for one byte more.
                    let Some((of_star, from)) = star else { return false };
                    star = Some((of_star, from + 1));
                    (at, place) = (of_star + 1, from + 1);
                }
            }
        }
        pattern[at..].iter().all(|&byte| byte == b'*')
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use observer_ebpf::queues::layout::{KEY_MAX, QueueKey, System};

    use super::{Level, Pattern, Row};

    /// A key of a server in a database.
    pub(crate) fn key(system: System, queue: &[u8], db: u32) -> QueueKey {
        let mut bytes = [0; KEY_MAX as usize];
        bytes[..queue.len()].copy_from_slice(queue);
        QueueKey {
            server: [1, 2],
            port: 0,
            netns: 0,
            db,
            system: system as u32,
            length: queue.len() as u32,
            reserved: 0,
            bytes,
        }
    }

    fn row(key: &QueueKey) -> [String; 3] {
        let row = Row::of(key).expect("it is of a system");
        [row.system.label().to_owned(), row.queue.to_string(), row.group.to_string()]
    }

    #[test]
    fn priorities_and_databases_are_of_one_queue() {
        for (bytes, db) in [(&b"celery"[..], 0), (b"celery\x06\x163", 0), (b"celery\x06\x169", 5)] {
            let key = key(System::RedisList, bytes, db);
            assert_eq!(row(&key), ["redis_list", "celery", ""]);
        }
        let stream = key(System::RedisStream, b"orders", 0);
        assert_eq!(row(&stream), ["redis_stream", "orders", ""]);
        let group = Row::of_group(&Row::of(&stream).expect("a stream"), &super::label(b"billing"));
        assert_eq!((&*group.queue, &*group.group), ("orders", "billing"));
        let topic = key(System::KafkaTopic, b"orders\x06", 0);
        assert_eq!(row(&topic), ["kafka", "other", ""]);
        let topic = key(System::KafkaTopic, b"orders.v1", 0);
        assert_eq!(row(&topic), ["kafka", "orders.v1", ""]);
        for system in [System::Group, System::StreamGroup, System::TopicGroup] {
            assert_eq!(Row::of(&key(system, b"billing", 0)), None);
        }
    }

    #[test]
    fn what_may_not_be_a_label_is_other() {
        let list = |bytes: &[u8]| row(&key(System::RedisList, bytes, 0))[1].clone();
        assert_eq!(list(&[b'x'; 32]), "x".repeat(32));
        assert_eq!(list(b"rq:queue:a b"), "rq:queue:a b");
        for bytes in [&[b'x'; 33][..], b"", b"\x06\x163", b"caf\xc3\xa9", b"a\nb", b"a\x7f"] {
            assert_eq!(list(bytes), "other", "{bytes:?}");
        }
        // Lengths are what another processor may be writing.
        let mut torn = key(System::RedisStream, b"orders", 0);
        torn.length = u32::MAX;
        assert_eq!(row(&torn), ["redis_stream", "other", ""]);
        torn.system = 99;
        assert_eq!(Row::of(&torn), None);
    }

    #[test]
    fn patterns_are_of_whole_names() {
        let matches = |pattern: &str, name: &str| {
            pattern.parse::<Pattern>().expect("it is a pattern").matches(name.as_bytes())
        };
        for (pattern, name) in [
            ("celery", "celery"),
            ("*", ""),
            ("*", "anything"),
            ("queue:*", "queue:default"),
            ("*:queue", "rq:queue"),
            ("rq:*:q?", "rq:a:b:q1"),
            ("a*b*c", "aXbbYc"),
            ("a**", "a"),
            ("?", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("celery", "celery2"),
            ("celery", "Celery"),
            ("queue:*", "queue"),
            ("?", ""),
            ("?", "xy"),
            ("a*b", "ab:c"),
            ("*a*b", "b:a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!("".parse::<Pattern>().is_err() && "x".repeat(65).parse::<Pattern>().is_err());
        // As long as it takes to look, however many stars there are.
        assert!(!matches(&"*a".repeat(32), &"a".repeat(31)));
    }

    #[test]
    fn lists_of_one_queue_add_up() {
        let mut level = Level { messages: 3, oldest_ns: Some(7) };
        level.add(Level { messages: 2, oldest_ns: Some(5) });
        level.add(Level { messages: 1, oldest_ns: None });
        assert_eq!(level, Level { messages: 6, oldest_ns: Some(7) });
    }
}
