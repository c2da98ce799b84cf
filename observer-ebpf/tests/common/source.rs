//! A source that shows no byte which the parser has not asked for.

use std::collections::BTreeMap;

use super::labels::Labels;
use super::queues::Queues;
use observer_ebpf::layout::Side;
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::layout::losses::Unread;
use observer_ebpf::layout::names::{CROWDED, FIRST, KeyCounts, NONE, Name, OTHER, Prefixes};
use observer_ebpf::protocols::http::{self, Http};
use observer_ebpf::protocols::kafka::{self, Kafka};
use observer_ebpf::protocols::memcached::{self, Memcached};
use observer_ebpf::protocols::postgres::{self, Postgres};
use observer_ebpf::protocols::redis::{self, Redis};
use observer_ebpf::protocols::tls::{self, Tls};
use observer_ebpf::protocols::websocket::frames::{self, Frames};
use observer_ebpf::protocols::websocket::{self, WebSocket};
use observer_ebpf::stream::bytes::{Bytes, Host, Scratch};
use observer_ebpf::stream::names::{self, Names};
use observer_ebpf::stream::parser::{Parser, StreamId};
use observer_ebpf::stream::pipeline::{Backlog, Pipeline};
use observer_ebpf::stream::prefix::{LastPrefix, Text, Work, number_of};
use observer_ebpf::stream::session::{self, Session};
use observer_ebpf::stream::subprograms::{Looks, Runs};

/// The most bytes that one window shows, as in the kernel half.
const WINDOW: u32 = 1024;

/// What the kernel half keeps in maps of names and of what is counted under them, for one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) prefixes: Vec<Name>,
    pub(crate) counts: BTreeMap<u32, KeyCounts>,
    /// Changes when places are taken.
    pub(crate) epoch: u32,
    /// How many there is room for.
    pub(crate) most_prefixes: usize,
    pub(crate) most_counts: usize,
    /// How many segments a prefix has, and which ones are stepped over besides those that always are.
    pub(crate) segments: u32,
    pub(crate) skips: Vec<&'static str>,
    /// Commands in flight that a connection has no room for, by its id and their number.
    pub(crate) backlog: BTreeMap<(u64, u32), [u64; 2]>,
    /// How many of them there is room for.
    pub(crate) most_kept: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            counts: BTreeMap::new(),
            epoch: 0,
            most_prefixes: 100,
            most_counts: 65_536,
            segments: 1,
            skips: Vec::new(),
            backlog: BTreeMap::new(),
            most_kept: 32_768,
        }
    }
}

impl Keys {
    fn number(&mut self, prefix: &Name) -> u32 {
        assert!(prefix.bytes[prefix.length as usize..].iter().all(|&byte| byte == 0));
        let known = self.prefixes.iter().position(|known| known == prefix);
        let place = known.unwrap_or(self.prefixes.len());
        if known.is_none() {
            if self.prefixes.len() >= self.most_prefixes {
                return CROWDED;
            }
            self.prefixes.push(*prefix);
        }
        FIRST + u32::try_from(place).expect("few prefixes")
    }

    fn count(&mut self, number: u32, more: &KeyCounts) -> bool {
        if self.counts.len() >= self.most_counts && !self.counts.contains_key(&number) {
            return false;
        }
        let counts = self.counts.entry(number).or_default();
        counts.hits += more.hits;
        counts.misses += more.misses;
        true
    }

    /// Keys found and not found, by prefix.
    pub(crate) fn by_prefix(&self) -> BTreeMap<String, (u64, u64)> {
        let name = |number: u32| match number {
            NONE => "none".to_owned(),
            OTHER | CROWDED => "other".to_owned(),
            number => {
                let prefix = self.prefixes[(number - FIRST) as usize];
                String::from_utf8(prefix.bytes[..prefix.length as usize].to_vec()).expect("ASCII")
            }
        };
        let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for (&number, counts) in &self.counts {
            let (hits, misses) = sums.entry(name(number)).or_default();
            *hits += counts.hits;
            *misses += counts.misses;
        }
        sums
    }
}

/// A call's bytes, in buffers of `buffer` bytes each. Whatever lies out of reach reads as `poison`.
pub(crate) struct Buffers<'a> {
    bytes: &'a [u8],
    buffer: u32,
    position: u32,
    reach: core::ops::Range<u32>,
    pub(crate) poison: u8,
    pub(crate) thresholds: Thresholds,
    /// Windows from this one on cannot be read.
    pub(crate) readable: u32,
    /// When the call was.
    pub(crate) now_ns: u64,
    /// Windows asked for.
    pub(crate) looks: u32,
    /// Sizes of oversized messages so far, and the categories that they have just reached.
    pub(crate) oversized: Vec<(u64, u32)>,
    /// The time of day.
    pub(crate) wall_ns: u64,
    pub(crate) keys: Keys,
    pub(crate) labels: Labels,
    pub(crate) queues: Queues,
    scratch: Scratch,
    work: Work,
}

impl<'a> Buffers<'a> {
    pub(crate) fn new(bytes: &'a [u8], buffer: u32) -> Self {
        Self {
            bytes,
            buffer: buffer.max(1),
            position: 0,
            reach: 0..0,
            poison: 0xAA,
            thresholds: Thresholds::DEFAULT,
            readable: u32::MAX,
            now_ns: 0,
            looks: 0,
            oversized: Vec::new(),
            wall_ns: 0,
            keys: Keys::default(),
            labels: Labels::default(),
            queues: Queues::default(),
            scratch: Scratch::default(),
            work: Work::default(),
        }
    }
}

impl Buffers<'_> {
    /// The name that was kept of a key.
    fn kept_name(&self, length: u32) -> Name {
        let mut name = Name { bytes: [0; 32], length: 0 };
        self.work.put(length, &mut name);
        name
    }
}

impl Bytes for Buffers<'_> {
    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a call is shorter than 4 GiB")
    }

    fn position(&self) -> u32 {
        self.position
    }

    fn go_to(&mut self, position: u32) {
        assert!(position <= self.end(), "went to {position} of {}", self.end());
        self.position = position;
    }

    fn window(&mut self, offset: u32) -> Result<u32, Unread> {
        assert!(offset < self.end(), "looked at {offset} of {}", self.end());
        self.looks += 1;
        if self.looks > self.readable {
            self.reach = 0..0;
            return Err(Unread::Fault);
        }
        let available = (self.end() - offset).min(self.buffer - offset % self.buffer).min(WINDOW);
        self.reach = offset..offset + available;
        Ok(available)
    }

    fn words(&self, offset: u32) -> (u64, u64) {
        let mut words = [0u64; 2];
        for at in 0..16 {
            let place = offset + at;
            let byte = if self.reach.contains(&place) { self.bytes[place as usize] } else { self.poison };
            words[at as usize / 8] |= u64::from(byte) << (8 * (at % 8));
        }
        (words[0], words[1])
    }

    fn repeat<F: FnMut() -> bool>(limit: u32, mut iteration: F) -> bool {
        (0..limit).any(|_| !iteration())
    }

    fn scratch(&mut self) -> &mut Scratch {
        &mut self.scratch
    }
}

impl Host for Buffers<'_> {
    fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn wall_ns(&mut self) -> u64 {
        self.wall_ns
    }

    fn oversized(&mut self, size: u64, first: u32, last: u32) {
        assert!(first <= last && last < Thresholds::ALL, "categories from {first} to {last}");
        self.oversized.extend((first..=last).map(|category| (size, category)));
    }
}

impl Backlog for Buffers<'_> {
    fn push_beyond(&mut self, pipeline: &mut Pipeline, id: u64) -> bool {
        pipeline.push_beyond(id, self)
    }

    fn fetch(&mut self, pipeline: &mut Pipeline, id: u64, who: u32) -> bool {
        pipeline.fetch(id, who, self)
    }

    fn keep(&mut self, id: u64, number: u32, run: [u64; 2]) -> bool {
        let is_kept = self.keys.backlog.len() < self.keys.most_kept;
        if is_kept {
            self.keys.backlog.insert((id, number), run);
        }
        is_kept
    }

    fn kept(&mut self, id: u64, number: u32) -> Option<[u64; 2]> {
        self.keys.backlog.get(&(id, number)).copied()
    }

    fn forget(&mut self, id: u64, number: u32) {
        self.keys.backlog.remove(&(id, number));
    }
}

impl names::Keys for Buffers<'_> {
    fn separator(&self) -> u8 {
        b':'
    }

    fn segments(&self) -> u32 {
        self.keys.segments
    }

    fn has_skips(&self) -> bool {
        !self.keys.skips.is_empty()
    }

    fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    fn kept_number(&mut self, length: u32) -> u32 {
        let name = self.kept_name(length);
        self.number(&name)
    }

    fn is_skipped(&mut self, length: u32) -> bool {
        let name = self.kept_name(length);
        self.keys.skips.iter().any(|skip| skip.as_bytes() == &name.bytes[..name.length as usize])
    }

    fn prefix(&mut self, text: &Text, last: &mut LastPrefix, length: u32, is_whole: bool) -> u32 {
        number_of(text, last, length, is_whole, self)
    }
}

impl Names<Prefixes> for Buffers<'_> {
    fn number(&mut self, name: &Name) -> u32 {
        self.keys.number(name)
    }

    fn epoch(&self) -> u32 {
        self.keys.epoch
    }

    fn count(&mut self, _connection: &mut Connection, number: u32, counts: &KeyCounts) -> bool {
        self.keys.count(number, counts)
    }
}

/// What the kernel half makes global functions of is called as it is.
macro_rules! runs {
    ($($state:ident: $module:ident;)*) => {
        $(
            impl Runs<$state> for Buffers<'_> {
                fn run(
                    &mut self,
                    subprogram: $module::Subprogram,
                    state: &mut $state,
                    stream: StreamId,
                    connection: &mut Connection,
                ) -> u32 {
                    state.run_subprogram(subprogram, stream, self, connection)
                }
            }
        )*
    };
}

runs! {
    Session: session;
    Frames: frames;
    Http: http;
    WebSocket: websocket;
    Postgres: postgres;
    Kafka: kafka;
    Memcached: memcached;
    Redis: redis;
    Tls: tls;
}

impl<P: Parser> Looks<P> for Buffers<'_> {
    fn is_whole(&mut self, side: Side) -> bool {
        P::is_whole(side, self)
    }
}
