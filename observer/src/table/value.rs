//! What a row shows in a column, and how rows compare by it.

use std::cmp::Ordering;

use crate::show::{clean, count, duration, percent, scaled};

/// A value: its text and its order are one thing's.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A text that strangers may have chosen.
    Text(&'a str),
    /// A number that tells things apart, shown as it is.
    Id(u32),
    /// How many.
    Count(u64),
    /// How many a second.
    Rate(f64),
    /// A time.
    Seconds(f64),
    /// The first of the second, which is not 0.
    Share(f64, f64),
    /// There is no such thing; less than any.
    Nothing,
}

impl Value<'_> {
    /// What is shown.
    pub fn text(self) -> String {
        match self {
            Self::Text(text) => clean(text).into_owned(),
            Self::Id(id) => id.to_string(),
            Self::Count(number) => count(number),
            Self::Rate(rate) => scaled(rate),
            Self::Seconds(seconds) => duration(seconds),
            Self::Share(part, all) => percent(part, all),
            Self::Nothing => "-".to_owned(),
        }
    }

    /// Whether there is no such thing.
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Nothing | Self::Text(""))
    }

    /// How two values of one column compare.
    pub fn order(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            _ => self.number().total_cmp(&other.number()),
        }
    }

    fn number(self) -> f64 {
        match self {
            Self::Id(id) => f64::from(id),
            Self::Count(number) => number as f64,
            Self::Rate(number) | Self::Seconds(number) => number,
            Self::Share(part, all) => part / all,
            Self::Text(_) | Self::Nothing => f64::NEG_INFINITY,
        }
    }
}
