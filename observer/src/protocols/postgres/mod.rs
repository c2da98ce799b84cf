//! What Postgres sessions have done and are doing, by process and server.

pub mod families;

use std::collections::BTreeMap;

use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::protocols::postgres::layout::{OTHER_CLASSES, QUERY_BUCKETS, State, TRANSACTION_BUCKETS};

use super::Seen;
use crate::counts::{add_all, add_tables, bucket};

/// Upper bounds, in seconds, of the buckets of `db_connection_acquire_seconds`.
pub const ACQUIRE_BOUNDS: [f64; 7] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];

/// Sums over sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Sessions by the time to their first `ReadyForQuery`, the bucket above all bounds last.
    pub acquired: [u64; ACQUIRE_BOUNDS.len() + 1],
    /// Seconds in all.
    pub acquire_seconds: f64,
    /// Queries by kind and time.
    pub queries: [[u64; QUERY_BUCKETS]; 5],
    /// Nanoseconds in all, by kind.
    pub query_ns: [u64; 5],
    /// Transactions by time.
    pub transactions: [u64; TRANSACTION_BUCKETS],
    /// Nanoseconds in all.
    pub transaction_ns: u64,
    /// Errors by SQLSTATE class.
    pub errors: BTreeMap<[u8; 2], u64>,
    /// Those that are open.
    pub open: Open,
}

/// Sessions that are open, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// A query is in progress.
    pub active: u64,
    /// Waiting for a query, outside a transaction.
    pub idle: u64,
    /// Waiting for one inside a transaction.
    pub in_transaction: u64,
    /// Not authenticated yet.
    pub waiting: u64,
}

impl super::Totals for Totals {
    fn add(&mut self, seen: &Seen<'_>) {
        let counters = seen.connection.postgres();
        if counters.acquire_ns > 0 {
            let seconds = counters.acquire_ns as f64 / 1e9;
            self.acquired[bucket(seconds, &ACQUIRE_BOUNDS)] += 1;
            self.acquire_seconds += seconds;
        }
        add_tables(&mut self.queries, &counters.queries);
        add_all(&mut self.query_ns, &counters.query_ns);
        add_all(&mut self.transactions, &counters.transactions);
        self.transaction_ns += counters.transaction_ns;
        for error in counters.errors.iter().filter(|error| error.count > 0) {
            // Classes are letters and digits; what else a server may say is no label.
            let is_class = error.class.iter().all(u8::is_ascii_alphanumeric);
            let class = if is_class { error.class } else { OTHER_CLASSES };
            *self.errors.entry(class).or_default() += u64::from(error.count);
        }
    }

    fn add_open(&mut self, seen: &Seen<'_>) {
        self.open.add(seen.connection);
    }

    fn add_totals(&mut self, other: &Self) {
        let Self {
            acquired,
            acquire_seconds,
            queries,
            query_ns,
            transactions,
            transaction_ns,
            errors,
            open: Open { active, idle, in_transaction, waiting },
        } = other;
        add_all(&mut self.acquired, acquired);
        self.acquire_seconds += acquire_seconds;
        add_tables(&mut self.queries, queries);
        add_all(&mut self.query_ns, query_ns);
        add_all(&mut self.transactions, transactions);
        self.transaction_ns += transaction_ns;
        for (&class, &count) in errors {
            *self.errors.entry(class).or_default() += count;
        }
        self.open.active += active;
        self.open.idle += idle;
        self.open.in_transaction += in_transaction;
        self.open.waiting += waiting;
    }
}

impl Open {
    /// Adds a connection.
    pub fn add(&mut self, connection: &Connection) {
        match Phase::from_u8(connection.phase) {
            // Told by its port alone: there is nothing else yet.
            Phase::Connecting => self.waiting += 1,
            Phase::Open => match State::from_u8(connection.postgres().state) {
                State::None => {}
                State::Waiting => self.waiting += 1,
                State::Idle | State::InTransaction | State::Failed if connection.postgres().is_active() => {
                    self.active += 1;
                }
                State::Idle => self.idle += 1,
                State::InTransaction | State::Failed => self.in_transaction += 1,
            },
            Phase::Free | Phase::Closed | Phase::Failed => {}
        }
    }
}
