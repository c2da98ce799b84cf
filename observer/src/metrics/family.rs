//! A metric family as plain data.

use std::collections::HashMap;

use super::fold::Folder;
use crate::ledger::lives::ByLabels;

/// What a row's number is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Only grows.
    Counter(f64),
    /// Goes both ways.
    Gauge(f64),
    /// Counts by bucket, the one above all bounds last, and the sum of what was counted.
    Histogram(Vec<u64>, f64),
}

impl Value {
    /// Whether it has counted nothing.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Counter(value) | Self::Gauge(value) => *value == 0.0,
            Self::Histogram(counts, _) => counts.iter().all(|&count| count == 0),
        }
    }

    /// What it has counted since it was `before`; `None` if it is less.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Self> {
        match (self, before) {
            (Self::Counter(count), Self::Counter(before)) => {
                (count >= before).then(|| Self::Counter(count - before))
            }
            (Self::Histogram(counts, sum), Self::Histogram(counts_before, before)) => {
                let more = counts.iter().zip(counts_before).map(|(count, before)| count.checked_sub(*before));
                let more: Option<Vec<u64>> = more.collect();
                more.filter(|_| sum >= before).map(|more| Self::Histogram(more, sum - before))
            }
            (Self::Counter(_) | Self::Gauge(_) | Self::Histogram(..), _) => None,
        }
    }

    /// Adds another of the same kind.
    pub fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(sum), Self::Counter(more)) | (Self::Gauge(sum), Self::Gauge(more)) => *sum += more,
            (Self::Histogram(counts, sum), Self::Histogram(more_counts, more)) => {
                for (count, more) in counts.iter_mut().zip(more_counts) {
                    *count += more;
                }
                *sum += more;
            }
            (Self::Counter(_) | Self::Gauge(_) | Self::Histogram(..), _) => {}
        }
    }
}

/// The kinds of families.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Of [`Value::Counter`].
    Counter,
    /// Of [`Value::Gauge`].
    Gauge,
    /// Of [`Value::Histogram`], with these upper bounds.
    Histogram(&'static [f64]),
}

/// What a family is, apart from its rows.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels' names, in the order of each row's values.
    pub labels: &'static [&'static str],
}

impl Description {
    /// Describes a family of counters.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, labels }
    }

    /// Describes a family of gauges.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, labels }
    }

    /// Describes a family of histograms, with these upper bounds.
    pub const fn histogram(
        name: &'static str,
        bounds: &'static [f64],
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, help, kind: Kind::Histogram(bounds), labels }
    }
}

/// Declares a module's families: a constant for each, and the list of all.
macro_rules! families {
    ($(#[$doc:meta])* $list:ident: $($name:ident = $kind:ident($($argument:expr),* $(,)?);)*) => {
        $(const $name: $crate::metrics::family::Description =
            $crate::metrics::family::Description::$kind($($argument),*);)*
        $(#[$doc])*
        pub const $list: &[$crate::metrics::family::Description] = &[$($name),*];
    };
}

/// Bounds in units of which `per` make one of the family's.
pub const fn bounds<const N: usize>(bounds: &[u64; N], per: u64) -> [f64; N] {
    let mut scaled = [0.0; N];
    let mut at = 0;
    while at < N {
        scaled[at] = bounds[at] as f64 / per as f64;
        at += 1;
    }
    scaled
}

/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds as families tell them.
pub const fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / SECOND_NS as f64
}

/// Values of a family's labels.
pub type Labels = Vec<String>;

/// A row of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its labels' values.
    pub labels: Labels,
    /// Its number.
    pub value: Value,
    /// Since when it counts, in seconds since 1970, where it is another time than the agent's start.
    pub created: Option<f64>,
}

/// A family with its rows.
#[derive(Clone, Debug)]
pub struct Family {
    /// What it is.
    pub description: Description,
    /// Its rows; no two have the same labels.
    pub rows: Vec<Row>,
}

impl Family {
    /// A family without rows.
    pub const fn new(description: Description) -> Self {
        Self { description, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, labels: [&str; N], value: Value) {
        debug_assert_eq!(labels.len(), self.description.labels.len(), "{}", self.description.name);
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        self.rows.push(Row { labels, value, created: None });
    }

    /// Adds a counter's row unless it is zero: a row appears with its first count.
    pub fn count<const N: usize>(&mut self, labels: [&str; N], count: u64) {
        if count > 0 {
            self.push(labels, Value::Counter(count as f64));
        }
    }

    /// Adds a histogram's row unless nothing was counted: counts by bucket, and the sum of what was counted.
    pub fn observe<const N: usize>(&mut self, labels: [&str; N], counts: &[u64], sum: f64) {
        if counts.iter().any(|&count| count > 0) {
            self.push(labels, Value::Histogram(counts.to_vec(), sum));
        }
    }
}

/// All families, while rows are added to them.
#[derive(Debug)]
pub struct Families {
    families: Vec<Family>,
    /// Where each is, by its name.
    places: HashMap<&'static str, usize>,
}

impl Families {
    /// These, without rows.
    pub fn new(lists: &[&[Description]]) -> Self {
        let families: Vec<Family> = lists.iter().copied().flatten().copied().map(Family::new).collect();
        let places = families.iter().enumerate().map(|(place, family)| (family.description.name, place));
        Self { places: places.collect(), families }
    }

    /// One of them, to add rows to.
    pub fn of(&mut self, description: &Description) -> &mut Family {
        let place = *self.places.entry(description.name).or_insert_with(|| {
            debug_assert!(false, "{} is in no list of families", description.name);
            self.families.push(Family::new(*description));
            self.families.len() - 1
        });
        &mut self.families[place]
    }

    /// Has `folder` keep the rows that are there now within its limit, whose lives are these.
    pub fn fold(&mut self, folder: &mut Folder, lives: &ByLabels<'_>, now: f64) {
        for family in &mut self.families {
            folder.fold(family, lives);
        }
        folder.looked_at(now);
    }

    /// All of them, in the order of their lists.
    pub fn into_vec(self) -> Vec<Family> {
        self.families
    }
}

#[cfg(test)]
mod tests {
    use super::{SECOND_NS, bounds};

    #[test]
    fn bounds_are_the_numbers_that_are_written() {
        assert_eq!(
            bounds(&[100_000, 500_000, 1_000_000, 300 * SECOND_NS], SECOND_NS),
            [0.0001, 0.0005, 0.001, 300.0]
        );
        assert_eq!(bounds(&[16, 1_048_576], 1), [16.0, 1_048_576.0]);
    }
}
