//! Which rows are wanted: terms that all must hold, typed with spaces between.
//!
//! `redis` holds for a row with that in any of its texts, upper and lower case alike; `pid=42` for one whose
//! pid is exactly that.

use crate::table::Row;

/// Terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Anywhere(String),
    Exactly(String, String),
}

impl Filter {
    /// Reads what was typed.
    pub(super) fn new(text: &str) -> Self {
        let term = |term: &str| match term.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Term::Exactly(name.to_lowercase(), value.to_lowercase())
            }
            _ => Term::Anywhere(term.to_lowercase()),
        };
        Self(text.split_whitespace().map(term).collect())
    }

    /// Whether every row is wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row is wanted.
    pub(super) fn matches(&self, row: &dyn Row) -> bool {
        if self.is_empty() {
            return true;
        }
        let texts: Vec<(&str, String)> =
            row.texts().into_iter().map(|(name, text)| (name, text.to_lowercase())).collect();
        self.0.iter().all(|term| match term {
            Term::Anywhere(part) => texts.iter().any(|(_, text)| text.contains(part)),
            Term::Exactly(wanted, value) => {
                texts.iter().any(|(name, text)| name.starts_with(wanted.as_str()) && text == value)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use crate::processes::Process;

    #[test]
    fn all_terms_must_hold() {
        let row = Process {
            process: "Redis-Server".to_owned(),
            pid: 421,
            connections: [("redis".to_owned(), 3), ("tls".to_owned(), 1)].into(),
            ..Process::default()
        };
        for wanted in
            ["", "  ", "redis", "SERVER", "42", "pid=421", "protocol=tls", "proto=REDIS dis-s", "cont="]
        {
            assert!(Filter::new(wanted).matches(&row), "{wanted}");
        }
        for unwanted in ["postgres", "redis nginx", "pid=42", "protocol=red", "port=1", "="] {
            assert!(!Filter::new(unwanted).matches(&row), "{unwanted}");
        }
    }
}
