//! Bounds on series: rows past a family's limit are added up in one with `process="other"`.
//!
//! Rows are admitted in the order in which they appear and stay while they are there. What a folded row
//! counted is kept when it goes, so that the row they are folded into never decreases.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::family::{Family, Kind, Labels, Value};

/// The `process` of rows that are folded.
pub const OTHER: &str = "other";

/// Labels that tell processes, and what they talk to, apart: folded rows have [`OTHER`] for the first and
/// nothing for the rest.
const PROCESS_LABELS: [&str; 4] = ["process", "pid", "container", "server"];

#[derive(Debug, Default)]
struct Admission {
    admitted: HashSet<Labels>,
    folded: HashMap<Labels, Value>,
    gone: BTreeMap<Labels, Value>,
    folded_ever: u64,
}

/// Keeps families within a limit.
#[derive(Debug)]
pub struct Folder {
    limit: usize,
    families: BTreeMap<&'static str, Admission>,
}

impl Folder {
    /// At most `limit` rows a family, folded ones apart.
    pub const fn new(limit: usize) -> Self {
        Self { limit, families: BTreeMap::new() }
    }

    /// Folds what is past the limit. A family without `process` is left alone.
    pub fn fold(&mut self, family: &mut Family) {
        let names = family.description.labels;
        if !names.contains(&PROCESS_LABELS[0]) {
            return;
        }
        let state = self.families.entry(family.description.name).or_default();
        let present: HashSet<&Labels> = family.rows.iter().map(|(labels, _)| labels).collect();
        state.admitted.retain(|labels| present.contains(labels));
        let left: Vec<Labels> =
            state.folded.keys().filter(|labels| !present.contains(labels)).cloned().collect();
        for labels in left {
            if let Some(value) = state.folded.remove(&labels)
                && family.description.kind != Kind::Gauge
            {
                add(&mut state.gone, other(names, &labels), &value);
            }
        }

        let mut others = state.gone.clone();
        family.rows.retain(|(labels, value)| {
            if state.admitted.contains(labels) {
                return true;
            }
            let is_folded = state.folded.contains_key(labels);
            if !is_folded && state.admitted.len() < self.limit {
                state.admitted.insert(labels.clone());
                return true;
            }
            if !is_folded {
                state.folded_ever += 1;
            }
            state.folded.insert(labels.clone(), value.clone());
            add(&mut others, other(names, labels), value);
            false
        });
        for (labels, value) in others {
            match family.rows.iter_mut().find(|(present, _)| *present == labels) {
                // A process may be called "other".
                Some((_, present)) => present.add(&value),
                None => family.rows.push((labels, value)),
            }
        }
    }

    /// How many series of each family were folded so far.
    pub fn folded(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.families.iter().map(|(&name, state)| (name, state.folded_ever)).filter(|&(_, count)| count > 0)
    }
}

fn add(sums: &mut BTreeMap<Labels, Value>, labels: Labels, value: &Value) {
    match sums.entry(labels) {
        std::collections::btree_map::Entry::Occupied(mut sum) => sum.get_mut().add(value),
        std::collections::btree_map::Entry::Vacant(place) => {
            place.insert(value.clone());
        }
    }
}

fn other(names: &[&str], labels: &Labels) -> Labels {
    names
        .iter()
        .zip(labels)
        .map(|(name, value)| {
            if *name == PROCESS_LABELS[0] {
                OTHER.to_owned()
            } else if PROCESS_LABELS.contains(name) {
                String::new()
            } else {
                value.clone()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Folder;
    use crate::metrics::family::{Description, Family, Kind, Value};

    const DESCRIPTION: Description =
        Description { name: "x_total", help: "X.", kind: Kind::Counter, labels: &["process", "pid", "kind"] };

    fn family(rows: &[(&str, &str, f64)]) -> Family {
        let mut family = Family::new(DESCRIPTION);
        for (process, pid, count) in rows {
            family.push([process, pid, "k"], Value::Counter(*count));
        }
        family
    }

    fn folded(folder: &mut Folder, mut family: Family) -> Family {
        folder.fold(&mut family);
        family
    }

    fn value(family: &Family, process: &str) -> Option<f64> {
        family.rows.iter().find(|(labels, _)| labels[0] == process).map(|(_, value)| match value {
            Value::Counter(count) => *count,
            Value::Gauge(_) | Value::Histogram(..) => f64::NAN,
        })
    }

    #[test]
    fn rows_past_the_limit_are_added_up_and_counted() {
        let mut folder = Folder::new(1);
        let rows = folded(&mut folder, family(&[("a", "1", 1.0), ("b", "2", 2.0), ("c", "3", 3.0)]));
        assert_eq!((value(&rows, "a"), value(&rows, "other"), rows.rows.len()), (Some(1.0), Some(5.0), 2));
        assert_eq!(folder.folded().collect::<Vec<_>>(), [("x_total", 2)]);
    }

    #[test]
    fn what_a_folded_row_counted_stays_when_it_goes() {
        let mut folder = Folder::new(1);
        folded(&mut folder, family(&[("a", "1", 1.0), ("b", "2", 2.0)]));
        let rows = folded(&mut folder, family(&[("a", "1", 1.0), ("c", "3", 4.0)]));
        assert_eq!(value(&rows, "other"), Some(6.0));
        let rows = folded(&mut folder, family(&[("c", "3", 5.0)]));
        assert_eq!(value(&rows, "other"), Some(7.0), "once folded, a row stays folded");
    }
}
