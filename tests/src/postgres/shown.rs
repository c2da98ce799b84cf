//! What is said of sessions, by the server and by the agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;

use super::server::Server;
use crate::agent::Agent;
use crate::losses::{self, Losses};
use crate::metrics::{self, Metrics};
use crate::shown::reach;

/// Sessions by state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sessions {
    /// A query runs.
    pub active: f64,
    /// No query runs, and no transaction is open.
    pub idle: f64,
    /// No query runs; a transaction is open, or has failed.
    pub in_transaction: f64,
    /// Not authenticated yet.
    pub waiting: f64,
}

impl Sessions {
    /// All of them.
    pub fn all(self) -> f64 {
        self.active + self.idle + self.in_transaction + self.waiting
    }
}

impl Server {
    /// Its sessions by state, but for the one that asks; it does not tell of those that wait.
    pub fn sessions(&self) -> anyhow::Result<Sessions> {
        let row = self.ask(
            "SELECT count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE state = 'idle'), \
             count(*) FILTER (WHERE state LIKE 'idle in transaction%') FROM pg_stat_activity \
             WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
        )?;
        let counts: Vec<f64> = row.split('|').map(str::parse).collect::<Result<_, _>>()?;
        let [active, idle, in_transaction] = counts[..] else { bail!("no counts: {row}") };
        Ok(Sessions { active, idle, in_transaction, waiting: 0.0 })
    }

    /// Waits until its sessions are these.
    pub fn reach(&self, expected: Sessions) -> anyhow::Result<()> {
        reach(&expected, || self.sessions())
    }

    /// Forgets what it has counted.
    pub fn reset_statements(&self) -> anyhow::Result<()> {
        self.ask("SELECT pg_stat_statements_reset()").map(drop)
    }

    /// How often it has executed statements since, by kind, but for those that ask for just this.
    pub fn statements(&self) -> anyhow::Result<Queries> {
        let rows = self.ask(
            "SELECT calls, query FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%' \
             AND toplevel",
        )?;
        let mut queries = Queries::new();
        for row in rows.lines() {
            // The other lines of a statement that has several.
            let Some((calls, query)) = row.split_once('|') else { continue };
            let Ok(calls) = calls.parse::<f64>() else { continue };
            let words = query.split(|character: char| !character.is_ascii_alphabetic());
            let verb = words.filter(|word| !word.is_empty()).map(str::to_lowercase).find(|word| {
                ["select", "insert", "update", "delete", "copy", "begin", "end", "vacuum", "truncate"]
                    .contains(&word.as_str())
            });
            let kind = match verb.as_deref() {
                Some("select") => "select",
                Some("insert") => "insert",
                Some("update") => "update",
                Some("delete") => "delete",
                _ => "other",
            };
            *queries.entry(kind.to_owned()).or_default() += calls;
        }
        Ok(queries)
    }
}

/// Numbers of queries by kind, without those that are zero.
pub type Queries = BTreeMap<String, f64>;

/// Queries by kind, for comparison.
pub fn queries(counts: &[(&str, u32)]) -> Queries {
    counts.iter().map(|&(kind, count)| (kind.to_owned(), f64::from(count))).collect()
}

/// One process's sessions with one server, on one of their sides.
pub type View = crate::shown::View<Postgres>;

/// Of what a view tells.
#[derive(Debug)]
pub enum Postgres {}

impl View {
    /// Sessions by state.
    pub fn sessions(&self, metrics: &Metrics) -> Sessions {
        Sessions {
            active: self.sum(metrics, "db_connections_active", &[]),
            idle: self.sum(metrics, "db_connections_idle", &[]),
            in_transaction: self.sum(metrics, "observer_db_connections_idle_in_transaction", &[]),
            waiting: self.sum(metrics, "db_connections_waiting", &[]),
        }
    }

    /// Queries so far, by kind.
    pub fn queries(&self, metrics: &Metrics) -> Queries {
        let count = |kind| self.sum(metrics, "db_query_duration_seconds_count", &[("query_type", kind)]);
        let kinds = ["select", "insert", "update", "delete", "other"];
        let counts = kinds.map(|kind| (kind.to_owned(), count(kind)));
        counts.into_iter().filter(|(_, count)| *count != 0.0).collect()
    }

    /// Errors so far of a class.
    pub fn errors(&self, metrics: &Metrics, class: &str) -> f64 {
        self.sum(metrics, "observer_db_errors_total", &[("sqlstate_class", class)])
    }

    /// Errors so far.
    pub fn all_errors(&self, metrics: &Metrics) -> f64 {
        self.sum(metrics, "observer_db_errors_total", &[])
    }

    /// Sessions that stream replication.
    pub fn replication(&self, metrics: &Metrics) -> f64 {
        self.sum(metrics, "observer_db_connections_replication", &[])
    }

    /// Sessions so far that were refused with an error of a class.
    pub fn refused(&self, metrics: &Metrics, class: &str) -> f64 {
        self.sum(metrics, "observer_db_sessions_refused_total", &[("sqlstate_class", class)])
    }

    /// Sessions so far that were refused.
    pub fn all_refused(&self, metrics: &Metrics) -> f64 {
        self.sum(metrics, "observer_db_sessions_refused_total", &[])
    }

    /// The ages of the oldest open transaction and of the oldest query, in seconds.
    pub fn oldest(&self, metrics: &Metrics) -> [f64; 2] {
        ["observer_db_oldest_transaction_seconds", "observer_db_oldest_query_seconds"]
            .map(|name| self.sum(metrics, name, &[]))
    }

    /// Sessions so far that got as far as their first query.
    pub fn acquired(&self, metrics: &Metrics) -> f64 {
        self.sum(metrics, "db_connection_acquire_seconds_count", &[])
    }

    /// Those of them that took no longer than a bound.
    pub fn acquired_within(&self, metrics: &Metrics, bound: &str) -> f64 {
        self.sum(metrics, "db_connection_acquire_seconds_bucket", &[("le", bound)])
    }
}

/// Times that the agent came out of sync with Postgres streams.
pub fn desyncs(metrics: &Metrics) -> f64 {
    metrics::desyncs(metrics, "postgres")
}

/// The agent that tests of a file share, and what it has lost so far of Postgres streams.
pub fn shared() -> anyhow::Result<(Arc<Agent>, Losses)> {
    losses::shared("postgres")
}

/// Fails if the agent lost anything in Postgres streams.
pub fn nothing_lost(agent: &Agent) -> anyhow::Result<()> {
    Losses::none("postgres").no_more(agent)
}
