//! Tables of processes and flows: which columns there are, what they show and how they sort. `observer top`
//! and `observer flows` show the same ones.

mod flows;
mod layout;
mod plain;
mod processes;
mod value;

pub use layout::choose;
pub use plain::plain;
use ratatui::text::Span;
pub use value::Value;

use crate::flows::Sort;

/// A column.
#[derive(Debug)]
pub struct Column<T: 'static> {
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
    /// What a row shows in it, and is sorted by.
    pub value: fn(&T) -> Value<'_>,
    /// The order to ask an agent for, so that a list of flows cut short has those that come first here.
    pub ask: Sort,
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
        Self { key, title, about, kind, width, rank, value, ask: Sort::Bytes }
    }

    /// The same, with flows asked for in its own order.
    const fn asked(self, ask: Sort) -> Self {
        Self { ask, ..self }
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
}

/// A row that tables show.
pub trait Listed: Sized + 'static {
    /// Every column that it has.
    const COLUMNS: &'static [Column<Self>];

    /// Tells it from others for as long as it exists.
    fn id(&self) -> String;

    /// Its texts by the names that a filter knows them by.
    fn texts(&self) -> Vec<(&'static str, String)>;

    /// Bytes a second, both ways.
    fn bytes_per_second(&self) -> f64;
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
    use crate::flows::Row;
    use crate::processes::Process;

    fn check<T: Listed>() {
        let mut keys: Vec<char> = T::COLUMNS.iter().map(|column| column.key).collect();
        keys.sort_unstable();
        let count = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), count, "a key is given twice");
        assert!(keys.iter().all(|key| key.is_ascii_alphabetic() && *key != 'q'), "{keys:?}");
        for column in T::COLUMNS {
            assert!(width(column.title) <= usize::from(column.width), "{}", column.title);
        }
    }

    #[test]
    fn columns_can_be_told_apart() {
        check::<Process>();
        check::<Row>();
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
