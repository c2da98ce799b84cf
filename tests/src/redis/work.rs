//! What clients ask for, at random but for its amount, and what came of it by their own account.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

/// The longest prefix that is told.
const LONGEST: &str = "a-prefix-of-just-thirty-two-byte";

/// What keys of a kind begin with, a number follows, and the prefix that the agent must tell.
pub fn spaces() -> Vec<(&'static str, String)> {
    vec![
        ("user", "user:".to_owned()),
        ("session", "session:".to_owned()),
        ("search", "search:results:".to_owned()),
        ("none", "plain".to_owned()),
        (LONGEST, format!("{LONGEST}:")),
        // One byte more than may be.
        ("other", format!("{LONGEST}!:")),
        // Not ASCII, and not printable.
        ("other", "caf\u{e9}:".to_owned()),
        ("other", "tab\tbed:".to_owned()),
        ("say \"hi\\ $1", "say \"hi\\ $1:*3:".to_owned()),
    ]
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// `GET`, `MGET` and `SET`.
    pub commands: u32,
    /// How many at a time; with one, an `MGET` is of keys of every kind, and with more of one.
    pub depth: u32,
    /// Others make others.
    pub seed: u32,
}

impl Work {
    /// The same for the scripts: what they call it with, behind the number of a session.
    pub(super) fn arguments(&self) -> String {
        let Self { commands, depth, seed } = self;
        format!("{commands}, {depth}, {seed}, {}", json!(spaces()))
    }
}

/// Keys found and not found, by prefix.
pub type Prefixes = BTreeMap<String, [f64; 2]>;

/// Numbers by name.
pub type Counts = BTreeMap<String, f64>;

/// What came of some work.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Tally {
    /// Keys found and not found, by prefix.
    pub prefixes: Prefixes,
    /// Commands by name.
    pub commands: Counts,
}

impl Tally {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        for (prefix, [hits, misses]) in &other.prefixes {
            let sum = self.prefixes.entry(prefix.clone()).or_default();
            sum[0] += hits;
            sum[1] += misses;
        }
        for (command, count) in &other.commands {
            *self.commands.entry(command.clone()).or_default() += count;
        }
    }

    /// Keys found and not found, with any prefix.
    pub fn keys(&self) -> [f64; 2] {
        self.prefixes.values().fold([0.0; 2], |sum, of| [sum[0] + of[0], sum[1] + of[1]])
    }

    /// All commands.
    pub fn all(&self) -> f64 {
        self.commands.values().sum()
    }
}
