//! Tables of processes, flows, routes and queues: which columns there are, what they show and how they sort. `observer top` and
//! `observer flows` show the same ones.
//!
//! A table is a list of columns: whatever shows, sorts or filters rows does so by that list, and is written once. To add
//! one: its columns in a file here, and its line in `top/view.rs`.

mod flows;
mod layout;
mod plain;
mod processes;
mod queues;
mod recent;
mod routes;
mod value;

pub use layout::choose;
pub use plain::plain;
use ratatui::text::Span;
pub use value::Value;

use crate::flows::Sort;

/// What a column is, whatever it is of.
#[derive(Debug)]
pub struct Head {
    /// What `observer top` sorts by it at.
    pub key: char,
    /// Its heading.
    pub title: &'static str,
    /// What it shows, in words.
    pub about: &'static str,
    /// How it is laid out.
    pub kind: Kind,
    /// Characters that it needs.
    pub width: u16,
    /// Which go first where there is no room for all: the ones of the greatest rank.
    pub rank: u8,
    /// The order to ask an agent for, so that a list of flows cut short has those that come first here.
    pub ask: Sort,
}

/// A column of a table.
#[derive(Debug)]
pub struct Column<T: 'static> {
    /// What it is.
    pub head: Head,
    /// What a row shows in it, and is sorted by.
    pub value: fn(&T) -> Value<'_>,
}

impl<T> Column<T> {
    /// A column; flows are asked for by their bytes.
    const fn new(
        key: char,
        title: &'static str,
        about: &'static str,
        kind: Kind,
        width: u16,
        rank: u8,
        value: fn(&T) -> Value<'_>,
    ) -> Self {
        Self { head: Head { key, title, about, kind, width, rank, ask: Sort::Bytes }, value }
    }

    /// The same, with flows asked for in its own order.
    const fn asked(self, ask: Sort) -> Self {
        Self { head: Head { ask, ..self.head }, value: self.value }
    }
}

/// How a column is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To the right; sorted from the greatest on.
    Number,
    /// To the left, cut at its end.
    Text,
    /// To the left, cut at its start: an address's end is its port. Takes room that is left.
    Address,
    /// To the left, cut at its end. Takes room that is left.
    Path,
}

/// A row that a table shows.
pub trait Listed: Sized + 'static {
    /// Every column that it has.
    const COLUMNS: &'static [Column<Self>];

    /// What [`Listed::rate`] is called.
    const RATE: &'static str;

    /// What is said where there is no row.
    const NONE: &'static str;

    /// Tells it from others for as long as it exists.
    fn id(&self) -> String;

    /// Its texts by the names that a filter knows them by.
    fn texts(&self) -> Vec<(&'static str, String)>;

    /// How busy it is, or how much waits: the agent gives the greatest first. `None` where that is not known.
    fn rate(&self) -> Option<f64>;
}

/// A row of any table.
pub trait Row {
    /// What it shows in the column at this place.
    fn value(&self, column: usize) -> Value<'_>;

    /// See [`Listed::id`].
    fn id(&self) -> String;

    /// See [`Listed::texts`].
    fn texts(&self) -> Vec<(&'static str, String)>;

    /// See [`Listed::rate`].
    fn rate(&self) -> Option<f64>;
}

impl<T: Listed> Row for T {
    fn value(&self, column: usize) -> Value<'_> {
        T::COLUMNS.get(column).map_or(Value::Nothing, |column| (column.value)(self))
    }

    fn id(&self) -> String {
        Listed::id(self)
    }

    fn texts(&self) -> Vec<(&'static str, String)> {
        Listed::texts(self)
    }

    fn rate(&self) -> Option<f64> {
        Listed::rate(self)
    }
}

/// A table without its rows.
#[derive(Debug)]
pub struct Table {
    /// Its columns.
    pub heads: Vec<&'static Head>,
    /// See [`Listed::RATE`].
    pub rate: &'static str,
    /// See [`Listed::NONE`].
    pub none: &'static str,
}

impl Table {
    /// That of rows of a kind.
    pub fn of<T: Listed>() -> Self {
        let heads = T::COLUMNS.iter().map(|column| &column.head).collect();
        Self { heads, rate: T::RATE, none: T::NONE }
    }

    /// The columns in which none of these rows shows anything.
    pub fn empty<R: Row + ?Sized>(&self, rows: &[&R]) -> Vec<bool> {
        let is_empty = |at| rows.iter().all(|row| row.value(at).is_nothing());
        (0..self.heads.len()).map(is_empty).collect()
    }
}

/// Columns of a terminal that a text takes.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// At most so many columns of a text's start, or of its end.
pub fn fit(text: &str, room: usize, kind: Kind) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let Some(room) = room.checked_sub(1) else { return String::new() };
    let mut kept: Vec<char> = Vec::new();
    let mut used = 0;
    let mut take = |character: char| {
        used += width(character.encode_utf8(&mut [0; 4]));
        let fits = used <= room;
        if fits {
            kept.push(character);
        }
        fits
    };
    if kind == Kind::Address {
        let _ = text.chars().rev().all(&mut take);
        kept.push('…');
        kept.reverse();
    } else {
        let _ = text.chars().all(&mut take);
        kept.push('…');
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processes::Process;
    use crate::queues::shown::Queue;
    use crate::routes::Route;

    fn check<T: Listed>() {
        let heads = Table::of::<T>().heads;
        let mut keys: Vec<char> = heads.iter().map(|head| head.key).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count, "a key is given twice");
        assert!(keys.iter().all(|key| key.is_ascii_alphabetic() && *key != 'q'), "{keys:?}");
        for head in heads {
            assert!(width(head.title) <= usize::from(head.width), "{}", head.title);
        }
    }

    #[test]
    fn columns_can_be_told_apart() {
        check::<Process>();
        check::<crate::flows::Row>();
        check::<Route>();
        check::<Queue>();
    }

    #[test]
    fn a_text_that_does_not_fit_says_so() {
        assert_eq!(fit("nginx", 5, Kind::Text), "nginx");
        assert_eq!(fit("nginx-worker", 5, Kind::Text), "ngin…");
        assert_eq!(fit("127.0.0.1:54321", 8, Kind::Address), "…1:54321");
        assert_eq!(fit("日本語", 4, Kind::Text), "日…");
        assert_eq!(fit("abc", 1, Kind::Text), "…");
        assert_eq!(fit("abc", 0, Kind::Text), "");
    }
}
