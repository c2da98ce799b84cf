//! A source that shows no byte which the parser has not asked for.

use std::collections::BTreeMap;

use observer_ebpf::layout::health::Unread;
use observer_ebpf::layout::redis::{CountKey, KeyCounts, PREFIX_FIRST, PREFIX_NONE, PREFIX_OTHER, Prefix};
use observer_ebpf::layout::settings::Thresholds;
use observer_ebpf::wire::source::Source;

/// The most bytes that one window shows, as in the kernel half.
const WINDOW: u32 = 1024;

/// What the kernel half keeps in maps of Redis keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) prefixes: Vec<Prefix>,
    pub(crate) counts: BTreeMap<CountKey, KeyCounts>,
    /// How many there is room for.
    pub(crate) most_prefixes: usize,
    pub(crate) most_counts: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self { prefixes: Vec::new(), counts: BTreeMap::new(), most_prefixes: 100, most_counts: 65_536 }
    }
}

impl Keys {
    fn number(&mut self, prefix: &Prefix) -> u32 {
        assert!(prefix.bytes[prefix.length as usize..].iter().all(|&byte| byte == 0));
        let known = self.prefixes.iter().position(|known| known == prefix);
        let place = known.unwrap_or(self.prefixes.len());
        if known.is_none() {
            if self.prefixes.len() >= self.most_prefixes {
                return PREFIX_OTHER;
            }
            self.prefixes.push(*prefix);
        }
        PREFIX_FIRST + u32::try_from(place).expect("few prefixes")
    }

    fn count(&mut self, key: &CountKey, hits: u32, misses: u32) -> bool {
        if self.counts.len() >= self.most_counts && !self.counts.contains_key(key) {
            return false;
        }
        let counts = self.counts.entry(*key).or_default();
        counts.hits += u64::from(hits);
        counts.misses += u64::from(misses);
        true
    }

    /// Keys found and not found, by prefix.
    pub(crate) fn by_prefix(&self) -> BTreeMap<String, (u64, u64)> {
        let name = |number: u64| match u32::try_from(number).expect("a small number") {
            PREFIX_NONE => "none".to_owned(),
            PREFIX_OTHER => "other".to_owned(),
            number => {
                let prefix = self.prefixes[(number - PREFIX_FIRST) as usize];
                String::from_utf8(prefix.bytes[..prefix.length as usize].to_vec()).expect("ASCII")
            }
        };
        self.counts.iter().map(|(key, counts)| (name(key.prefix), (counts.hits, counts.misses))).collect()
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
    /// Sizes and categories of the messages noted as oversized.
    pub(crate) oversized: Vec<(u64, u32)>,
    /// The time of day.
    pub(crate) wall_ns: u64,
    pub(crate) keys: Keys,
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
        }
    }
}

impl Source for Buffers<'_> {
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

    fn repeat<F: FnMut() -> bool>(limit: u32, mut step: F) -> bool {
        (0..limit).any(|_| !step())
    }

    fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn wall_ns(&mut self) -> u64 {
        self.wall_ns
    }

    fn oversized(&mut self, size: u64, category: u32) {
        self.oversized.push((size, category));
    }

    fn separator(&self) -> u8 {
        b':'
    }

    fn prefix(&mut self, prefix: &Prefix) -> u32 {
        self.keys.number(prefix)
    }

    fn count_keys(&mut self, key: &CountKey, hits: u32, misses: u32) -> bool {
        self.keys.count(key, hits, misses)
    }
}
