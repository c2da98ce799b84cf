//! What memcached sessions have done, by process and server.

pub mod families;

use std::rc::Rc;

use observer_ebpf::layout::names::KeyCounts;
use observer_ebpf::protocols::memcached::layout::{COMMANDS, LATENCY_BUCKETS};

use super::Seen;
use super::keys::Keys;
use crate::counts::add_all;

/// Sums over sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Keys found and not found, by their prefix.
    pub keys: Keys,
    /// `get` and its kin by latency.
    pub gets: [u64; LATENCY_BUCKETS],
    /// Nanoseconds of all.
    pub get_ns: u64,
    /// `set` and `ms` by latency.
    pub sets: [u64; LATENCY_BUCKETS],
    /// Nanoseconds of all.
    pub set_ns: u64,
    /// By command.
    pub commands: [u64; COMMANDS],
    /// Replies that were not matched to their commands.
    pub unmatched: u64,
}

impl super::Totals for Totals {
    fn add(&mut self, seen: &Seen<'_>) {
        let counters = seen.connection.memcached();
        add_all(&mut self.gets, &counters.gets);
        self.get_ns += counters.get_ns;
        add_all(&mut self.sets, &counters.sets);
        self.set_ns += counters.set_ns;
        add_all(&mut self.commands, &counters.commands);
        self.unmatched += u64::from(counters.unmatched);
        self.keys.add_other(counters.hits_other, counters.misses_other);
    }

    fn add_open(&mut self, _seen: &Seen<'_>) {}

    fn add_totals(&mut self, other: &Self) {
        let Self { keys, gets, get_ns, sets, set_ns, commands, unmatched } = other;
        self.keys.add_all(keys);
        add_all(&mut self.gets, gets);
        self.get_ns += get_ns;
        add_all(&mut self.sets, sets);
        self.set_ns += set_ns;
        add_all(&mut self.commands, commands);
        self.unmatched += unmatched;
    }

    fn add_keys(&mut self, _server: &Rc<str>, prefix: &Rc<str>, counts: KeyCounts) {
        self.keys.add(prefix, counts);
    }
}
