//! Bounds on series: a family has at most so many rows. Past that, rows of what is in use come first, those that have a
//! place already before others; then rows of what is not in use any more, that which was used last first.
//!
//! What a row without a place counts is added up in one with `process="other"`: only what it counts from then on, so
//! that this one neither jumps nor decreases. A row that gets a place again shows what it has counted besides.

use std::cmp::{Ordering, Reverse};
use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{HashMap, HashSet};

use super::family::{Family, Kind, Labels, Row, Value};
use crate::ledger::lives::{ByLabels, Life, Of};

/// The `process` of rows that are folded.
pub const OTHER: &str = "other";

/// Labels that tell processes, and what they talk to, apart: folded rows have [`OTHER`] for the first and
/// nothing for the rest.
const PROCESS_LABELS: [&str; 4] = ["process", "pid", "container", "server"];

/// Labels whose values are made up by clients: where folded rows have any, it is [`OTHER`]. With them apart there would be
/// about as many rows of others as there are rows that make way.
const NAME_LABELS: [&str; 5] = ["authority", "cache_key_prefix", "group", "queue", "route"];

/// What is known of a row.
#[derive(Debug, Default)]
struct Known {
    /// What it had counted when it was last looked at, if it had no place then.
    homeless: Option<Value>,
    /// How much of what it counts has been added to the row of others.
    elsewhere: Option<Value>,
    /// Since when it shows the rest of that.
    since: f64,
}

/// A family's rows.
#[derive(Debug, Default)]
struct Table {
    rows: HashMap<Labels, Known>,
    /// How many of them have no place.
    homeless: usize,
    /// What is added up, and since when; of levels, those of now.
    others: BTreeMap<Labels, (Value, f64)>,
    /// Series that were left without a place so far.
    left_out: u64,
}

/// Keeps families within a limit.
#[derive(Debug)]
pub struct Folder {
    limit: usize,
    /// When rows were last looked at, in seconds since 1970.
    last: f64,
    tables: BTreeMap<&'static str, Table>,
}

impl Folder {
    /// At most `limit` rows a family, folded ones apart. It begins at `now`, in seconds since 1970.
    pub const fn new(limit: usize, now: f64) -> Self {
        Self { limit, last: now, tables: BTreeMap::new() }
    }

    /// Folds what is past the limit, of rows whose lives are these. A family without `process` is left alone.
    pub fn fold(&mut self, family: &mut Family, lives: &ByLabels<'_>) {
        let names = family.description.labels;
        if !names.contains(&PROCESS_LABELS[0]) {
            return;
        }
        let columns = Columns::of(names);
        let lives: Vec<Option<Life>> =
            family.rows.iter().map(|row| lives.get(&columns.read(&row.labels))).collect();
        for (row, life) in family.rows.iter_mut().zip(&lives) {
            row.created = life.map(|life| life.created);
        }
        let table = self.tables.entry(family.description.name).or_default();
        table.forget_all_but(&family.rows);
        if family.description.kind == Kind::Gauge {
            table.others.clear();
        }
        if family.rows.len() <= self.limit && table.homeless == 0 {
            table.know(&family.rows);
        } else {
            let placed = table.places(&family.rows, &lives, self.limit);
            table.fold(family, &lives, &placed, self.last);
        }
        table.show_others(family);
    }

    /// Takes note that every family was looked at.
    pub const fn looked_at(&mut self, now: f64) {
        self.last = now;
    }

    /// Takes note that the rows of a family are kept no longer, as there were too many.
    pub fn leave_out(&mut self, family: &Family) {
        if family.description.labels.contains(&PROCESS_LABELS[0]) {
            let table = self.tables.entry(family.description.name).or_default();
            table.left_out += family.rows.len() as u64;
        }
    }

    /// How many series of each family were left without a place so far.
    pub fn folded(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.tables.iter().map(|(&name, table)| (name, table.left_out)).filter(|&(_, count)| count > 0)
    }
}

impl Table {
    /// Forgets rows that are not there any more.
    fn forget_all_but(&mut self, rows: &[Row]) {
        let known = rows.iter().filter(|row| self.rows.contains_key(&row.labels)).count();
        if known < self.rows.len() {
            let present: HashSet<&Labels> = rows.iter().map(|row| &row.labels).collect();
            self.rows.retain(|labels, _| present.contains(labels));
            self.homeless = self.rows.values().filter(|known| known.homeless.is_some()).count();
        }
    }

    /// Takes note of rows that all have a place.
    fn know(&mut self, rows: &[Row]) {
        if self.rows.len() < rows.len() {
            for row in rows {
                if !self.rows.contains_key(&row.labels) {
                    self.rows.insert(row.labels.clone(), Known::default());
                }
            }
        }
    }

    /// Which rows get a place, of at most `limit`.
    fn places(&self, rows: &[Row], lives: &[Option<Life>], limit: usize) -> Vec<bool> {
        let mut order: Vec<(Rank, usize)> = rows
            .iter()
            .zip(lives)
            .map(|(row, life)| {
                let has_place = self.rows.get(&row.labels).is_some_and(|known| known.homeless.is_none());
                Rank::of(has_place, life.as_ref())
            })
            .zip(0..)
            .collect();
        order.sort_by(|(one, at), (other, other_at)| {
            one.order(other).then_with(|| rows[*at].labels.cmp(&rows[*other_at].labels))
        });
        let mut has_place = vec![false; rows.len()];
        for (_, at) in order.into_iter().take(limit) {
            has_place[at] = true;
        }
        has_place
    }

    /// Takes out the rows without a place, and adds up what they count. Rows were last looked at `last`.
    fn fold(&mut self, family: &mut Family, lives: &[Option<Life>], placed: &[bool], last: f64) {
        let Family { description, rows } = family;
        let is_gauge = description.kind == Kind::Gauge;
        for ((mut row, life), has_place) in std::mem::take(rows).into_iter().zip(lives).zip(placed) {
            let is_new = !self.rows.contains_key(&row.labels);
            if is_new {
                self.rows.insert(row.labels.clone(), Known::default());
            }
            let Some(known) = self.rows.get_mut(&row.labels) else { continue };
            if *has_place {
                known.show(&mut row, last);
                rows.push(row);
                continue;
            }
            self.left_out += u64::from(known.homeless.is_none());
            let is_used = life.is_none_or(|life| life.is_used);
            if is_gauge {
                known.homeless = Some(Value::Gauge(0.0));
                if is_used {
                    add(&mut self.others, other(description.labels, &row.labels), &row.value, last);
                }
                continue;
            }
            let more = known.fold(row.value, is_new);
            if let Some(more) = more.filter(|more| is_used || !more.is_zero()) {
                add(&mut self.others, other(description.labels, &row.labels), &more, last);
            }
        }
        self.homeless = self.rows.values().filter(|known| known.homeless.is_some()).count();
    }

    /// Adds the rows that others are added up in.
    fn show_others(&self, family: &mut Family) {
        // A process may be called "other".
        let namesakes =
            family.rows.iter().zip(0..).filter(|(row, _)| row.labels.iter().any(|label| label == OTHER));
        let namesakes: HashMap<Labels, usize> = namesakes.map(|(row, at)| (row.labels.clone(), at)).collect();
        for (labels, (value, since)) in &self.others {
            match namesakes.get(labels) {
                Some(&at) => family.rows[at].value.add(value),
                None => family.rows.push(Row {
                    labels: labels.clone(),
                    value: value.clone(),
                    created: Some(*since),
                }),
            }
        }
    }
}

impl Known {
    /// Makes of a row what it shows in its own place.
    fn show(&mut self, row: &mut Row, last: f64) {
        if self.homeless.take().is_some() && self.elsewhere.is_some() {
            self.since = last;
        }
        let Some(elsewhere) = &self.elsewhere else { return };
        if let Some(rest) = row.value.since(elsewhere) {
            row.value = rest;
            row.created = Some(self.since);
        } else {
            // It has begun anew.
            self.elsewhere = None;
        }
    }

    /// Takes note of what the row has counted, which has no place. Returns how much of it is to be added to others.
    fn fold(&mut self, value: Value, is_new: bool) -> Option<Value> {
        let more = match self.homeless.take() {
            Some(before) => value.since(&before).unwrap_or_else(|| value.clone()),
            // Nobody has seen it.
            None if is_new => value.clone(),
            // What it had counted goes with its place.
            None => value.since(&value)?,
        };
        self.homeless = Some(value);
        match &mut self.elsewhere {
            Some(elsewhere) => elsewhere.add(&more),
            None if more.is_zero() => {}
            None => self.elsewhere = Some(more.clone()),
        }
        Some(more)
    }
}

/// Which rows come first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rank {
    /// Those in use that have a place.
    Placed,
    /// Those in use that have none, the oldest first.
    Used(f64),
    /// Those not in use, the one that was last first.
    Unused(Reverse<u64>),
}

impl Rank {
    fn of(has_place: bool, life: Option<&Life>) -> Self {
        match life {
            Some(life) if !life.is_used => Self::Unused(Reverse(life.used_ns)),
            _ if has_place => Self::Placed,
            _ => Self::Used(life.map_or(0.0, |life| life.created)),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let class = |rank: &Self| match rank {
            Self::Placed => 0,
            Self::Used(_) => 1,
            Self::Unused(_) => 2,
        };
        match (self, other) {
            (Self::Used(one), Self::Used(other)) => one.total_cmp(other),
            (Self::Unused(one), Self::Unused(other)) => one.cmp(other),
            _ => class(self).cmp(&class(other)),
        }
    }
}

/// Where a family's labels are that say what its rows are of.
struct Columns([Option<usize>; 5]);

impl Columns {
    fn of(names: &[&str]) -> Self {
        Self(
            ["process", "container", "role", "server", "pid"]
                .map(|label| names.iter().position(|&name| name == label)),
        )
    }

    fn read<'a>(&self, labels: &'a Labels) -> Of<'a> {
        let [process, container, role, server, pid] =
            self.0.map(|column| column.and_then(|at| labels.get(at)).map_or("", String::as_str));
        Of { process, container, role, server, pid }
    }
}

fn add(sums: &mut BTreeMap<Labels, (Value, f64)>, labels: Labels, value: &Value, now: f64) {
    match sums.entry(labels) {
        Entry::Occupied(mut sum) => sum.get_mut().0.add(value),
        Entry::Vacant(place) => {
            place.insert((value.clone(), now));
        }
    }
}

fn other(names: &[&str], labels: &Labels) -> Labels {
    names
        .iter()
        .zip(labels)
        .map(|(name, value)| {
            if *name == PROCESS_LABELS[0] || NAME_LABELS.contains(name) && !value.is_empty() {
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
mod tests;
