//! What memcached sessions have done, by process and server.

pub mod families;

use std::collections::BTreeMap;
use std::rc::Rc;

use observer_ebpf::layout::names::KeyCounts;
use observer_ebpf::protocols::memcached::layout::{COMMANDS, Counters, LATENCY_BUCKETS};

use super::Seen;
use crate::counts::add_all;
use crate::names;

/// Sums over sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    /// Keys found and not found, by their prefix.
    pub keys: BTreeMap<Rc<str>, KeyCounts>,
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

impl Default for Totals {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            gets: [0; LATENCY_BUCKETS],
            get_ns: 0,
            sets: [0; LATENCY_BUCKETS],
            set_ns: 0,
            commands: [0; COMMANDS],
            unmatched: 0,
        }
    }
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
        let Counters { hits_other, misses_other, .. } = *counters;
        if (hits_other, misses_other) != (0, 0) {
            *self.keys.entry(names::OTHER.into()).or_default() +=
                KeyCounts { hits: u64::from(hits_other), misses: u64::from(misses_other) };
        }
    }

    fn add_open(&mut self, _seen: &Seen<'_>) {}

    fn add_totals(&mut self, other: &Self) {
        let Self { keys, gets, get_ns, sets, set_ns, commands, unmatched } = other;
        for (prefix, &counts) in keys {
            *self.keys.entry(Rc::clone(prefix)).or_default() += counts;
        }
        add_all(&mut self.gets, gets);
        self.get_ns += get_ns;
        add_all(&mut self.sets, sets);
        self.set_ns += set_ns;
        add_all(&mut self.commands, commands);
        self.unmatched += unmatched;
    }

    fn add_keys(&mut self, _server: &Rc<str>, prefix: &Rc<str>, counts: KeyCounts) {
        *self.keys.entry(Rc::clone(prefix)).or_default() += counts;
    }
}
