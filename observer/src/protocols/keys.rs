//! Keys that caches were asked for, by their prefix: what the protocols that look keys up have alike.

use std::collections::BTreeMap;
use std::rc::Rc;

use observer_ebpf::layout::names::KeyCounts;

use crate::metrics::family::{Description, Families};
use crate::names;

/// The labels of families of keys.
pub const LABELS: &[&str] = &["process", "container", "role", "server", "cache_key_prefix"];

/// Keys found and not found, by prefix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keys(BTreeMap<Rc<str>, KeyCounts>);

impl Keys {
    /// Adds keys that are counted by name, and not in a connection's slot.
    pub fn add(&mut self, prefix: &Rc<str>, counts: KeyCounts) {
        *self.0.entry(Rc::clone(prefix)).or_default() += counts;
    }

    /// Adds what a slot has counted because there was no room to count it by name.
    pub fn add_other(&mut self, hits: u32, misses: u32) {
        if (hits, misses) != (0, 0) {
            let counts = KeyCounts { hits: u64::from(hits), misses: u64::from(misses) };
            *self.0.entry(names::OTHER.into()).or_default() += counts;
        }
    }

    /// Adds all of another's.
    pub fn add_all(&mut self, other: &Self) {
        for (prefix, &counts) in &other.0 {
            self.add(prefix, counts);
        }
    }

    /// Adds the rows of a process and a server to the family of keys found, and to that of keys not found.
    pub fn fill(&self, families: &mut Families, [hits, misses]: [&Description; 2], labels: [&str; 4]) {
        let [process, container, role, server] = labels;
        for (prefix, counts) in &self.0 {
            let labels = [process, container, role, server, prefix];
            families.of(hits).count(labels, counts.hits);
            families.of(misses).count(labels, counts.misses);
        }
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, KeyCounts); N]> for Keys {
    fn from(counts: [(&str, KeyCounts); N]) -> Self {
        Self(counts.map(|(prefix, counts)| (prefix.into(), counts)).into())
    }
}
