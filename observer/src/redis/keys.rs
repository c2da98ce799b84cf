//! Keys found and not found, from the kernel half's counts to the server they were asked of.
//!
//! Counts of a connection that is gone are added to its server's totals once their elements are removed from
//! the map: neither twice nor not at all. Until then they show as those of open connections do.

use std::collections::{HashMap, HashSet};

use observer_ebpf::layout::redis::{CountKey, KeyCounts};

use crate::ledger::Served;

/// How long a connection is gone before its counts are final: a program may still be at its last call.
const SETTLED_NS: u64 = 1_000_000_000;

/// A connection that is gone.
#[derive(Debug)]
struct Gone {
    served: Served,
    since_ns: u64,
    /// Its counts were asked to be removed.
    taken: bool,
}

/// All counts, and whose they are.
#[derive(Debug, Default)]
pub struct Keys {
    counts: HashMap<u64, Vec<(u64, KeyCounts)>>,
    gone: HashMap<u64, Gone>,
    /// Connections that nothing was known of when counts were last taken.
    strangers: HashSet<u64>,
}

impl Keys {
    /// Takes note that a connection is gone.
    pub fn retire(&mut self, connection: u64, served: Served, now_ns: u64) {
        self.gone.insert(connection, Gone { served, since_ns: now_ns, taken: false });
    }

    /// Whether there are counts to remove.
    pub fn are_due(&self, now_ns: u64) -> bool {
        self.gone.values().any(|gone| gone.is_settled(now_ns))
    }

    /// A connection's counts by prefix.
    pub fn of(&self, connection: u64) -> &[(u64, KeyCounts)] {
        self.counts.get(&connection).map(Vec::as_slice).unwrap_or_default()
    }

    /// Counts by prefix of connections that are gone, where they are not in the totals yet.
    pub fn of_gone(&self) -> impl Iterator<Item = (&Served, &[(u64, KeyCounts)])> {
        self.gone.iter().map(|(connection, gone)| (&gone.served, self.of(*connection)))
    }

    /// Takes all that the map holds, where `in_use` are the connections that are. Returns what is to be
    /// removed from it; [`Keys::settle`] must be told how that went.
    pub fn take(
        &mut self,
        counts: &[(CountKey, KeyCounts)],
        in_use: &HashSet<u64>,
        now_ns: u64,
    ) -> Vec<(CountKey, KeyCounts)> {
        // Not cleared: room for what a storm of connections took is given back.
        self.counts = HashMap::new();
        for gone in self.gone.values_mut() {
            gone.taken = gone.is_settled(now_ns);
        }
        let mut strangers = HashSet::new();
        let mut over = Vec::new();
        for &(key, counted) in counts {
            let is_over = match self.gone.get(&key.connection) {
                Some(gone) => gone.taken,
                None if in_use.contains(&key.connection) => false,
                // A connection may be so new that it is not known yet; one that is still not known the next
                // time is of a process that was forgotten, with all that it did.
                None => {
                    strangers.insert(key.connection);
                    self.strangers.contains(&key.connection)
                }
            };
            if is_over {
                over.push((key, counted));
            }
            self.counts.entry(key.connection).or_default().push((key.prefix, counted));
        }
        self.strangers = strangers;
        over
    }

    /// Takes note of what was removed, and whether that is all there was to remove. Hands out what belongs to
    /// a server's totals from now on.
    pub fn settle(
        &mut self,
        removed: &[(CountKey, KeyCounts)],
        is_all: bool,
        mut add: impl FnMut(&Served, u64, KeyCounts),
    ) {
        for (key, counts) in removed {
            if let Some(left) = self.counts.get_mut(&key.connection) {
                left.retain(|(prefix, _)| *prefix != key.prefix);
            }
            if let Some(gone) = self.gone.get(&key.connection) {
                add(&gone.served, key.prefix, *counts);
            }
        }
        if is_all {
            self.gone.retain(|_, gone| !gone.taken);
            self.gone.shrink_to(2 * self.gone.len());
        }
    }

    /// Forgets connections that are gone, but for those of servers that are to be kept.
    pub fn retain(&mut self, keep: impl Fn(&Served) -> bool) {
        self.gone.retain(|_, gone| keep(&gone.served));
    }
}

impl Gone {
    const fn is_settled(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.since_ns) >= SETTLED_NS
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use observer_ebpf::layout::Role;
    use observer_ebpf::layout::redis::{CountKey, KeyCounts};

    use super::{Keys, SETTLED_NS};
    use crate::ledger::{Group, Served};

    fn served(process: &str) -> Served {
        let group = Group { process: process.to_owned(), container: String::new(), role: Role::Client };
        (group, "127.0.0.1:6379".into())
    }

    fn count(connection: u64, prefix: u64, hits: u64) -> (CountKey, KeyCounts) {
        (CountKey { connection, prefix }, KeyCounts { hits, misses: 0 })
    }

    /// Removes what is to be removed, up to `removed` elements, and returns the totals with it.
    fn collect(
        keys: &mut Keys,
        map: &mut Vec<(CountKey, KeyCounts)>,
        totals: &mut BTreeMap<u64, u64>,
        (in_use, now_ns, removed): (&[u64], u64, usize),
    ) {
        let over = keys.take(map, &in_use.iter().copied().collect::<HashSet<_>>(), now_ns);
        let done = &over[..removed.min(over.len())];
        map.retain(|element| !done.contains(element));
        keys.settle(done, done.len() == over.len(), |_, prefix, counts| {
            *totals.entry(prefix).or_default() += counts.hits;
        });
    }

    fn shown(keys: &Keys, totals: &BTreeMap<u64, u64>, in_use: &[u64]) -> u64 {
        let open = in_use.iter().flat_map(|&connection| keys.of(connection));
        let gone = keys.of_gone().flat_map(|(_, counts)| counts);
        totals.values().sum::<u64>() + open.chain(gone).map(|(_, counts)| counts.hits).sum::<u64>()
    }

    #[test]
    fn counts_are_shown_once_before_and_after_they_are_removed() {
        let (mut keys, mut totals) = (Keys::default(), BTreeMap::new());
        let mut map = vec![count(1, 2, 10), count(1, 3, 20), count(2, 2, 5)];
        collect(&mut keys, &mut map, &mut totals, (&[1, 2], 0, 9));
        assert_eq!((shown(&keys, &totals, &[1, 2]), map.len()), (35, 3));
        keys.retire(1, served("a"), 100);
        // Its last call may still be counted.
        map[0].1.hits = 11;
        assert!(!keys.are_due(101));
        collect(&mut keys, &mut map, &mut totals, (&[2], 101, 9));
        assert_eq!((shown(&keys, &totals, &[2]), map.len()), (36, 3));
        assert!(keys.are_due(100 + SETTLED_NS));
        collect(&mut keys, &mut map, &mut totals, (&[2], 100 + SETTLED_NS, 9));
        assert_eq!((shown(&keys, &totals, &[2]), map.len()), (36, 1));
        assert_eq!(totals, BTreeMap::from([(2, 11), (3, 20)]));
        assert!(!keys.are_due(u64::MAX) && keys.of_gone().next().is_none());
    }

    #[test]
    fn what_could_not_be_removed_is_not_added_twice() {
        let (mut keys, mut totals) = (Keys::default(), BTreeMap::new());
        let mut map = vec![count(1, 2, 10), count(1, 3, 20)];
        keys.retire(1, served("a"), 0);
        collect(&mut keys, &mut map, &mut totals, (&[], SETTLED_NS, 1));
        assert_eq!((shown(&keys, &totals, &[]), map.len()), (30, 1));
        assert_eq!(totals, BTreeMap::from([(2, 10)]));
        collect(&mut keys, &mut map, &mut totals, (&[], SETTLED_NS, 9));
        assert_eq!((shown(&keys, &totals, &[]), map.len()), (30, 0));
        assert_eq!(totals, BTreeMap::from([(2, 10), (3, 20)]));
    }

    #[test]
    fn what_is_nobodys_is_removed_once_it_cannot_be_new() {
        let (mut keys, mut totals) = (Keys::default(), BTreeMap::new());
        let mut map = vec![count(7, 2, 10), count(8, 2, 1)];
        collect(&mut keys, &mut map, &mut totals, (&[], 0, 9));
        assert_eq!(map.len(), 2);
        collect(&mut keys, &mut map, &mut totals, (&[8], 0, 9));
        assert_eq!((map, shown(&keys, &totals, &[8])), (vec![count(8, 2, 1)], 1));
    }

    #[test]
    fn those_of_forgotten_processes_are_forgotten() {
        let (mut keys, mut totals) = (Keys::default(), BTreeMap::new());
        let mut map = vec![count(1, 2, 10), count(2, 2, 5)];
        keys.retire(1, served("a"), 0);
        keys.retire(2, served("b"), 0);
        keys.retain(|(group, _)| group.process == "b");
        collect(&mut keys, &mut map, &mut totals, (&[], 0, 9));
        assert_eq!(shown(&keys, &totals, &[]), 5);
    }
}
