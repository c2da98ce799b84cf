//! What Postgres sessions have done and are doing, by process and server.

pub mod families;

use std::collections::BTreeMap;

use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::protocols::postgres::layout::{
    Counters, OTHER_CLASSES, QUERY_BUCKETS, State, TRANSACTION_BUCKETS,
};

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
    /// Sessions that got an error before they were ready, by its class.
    pub refused: BTreeMap<[u8; 2], u64>,
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
    /// Streaming replication.
    pub replication: u64,
    /// When the oldest query that is in progress began: `CLOCK_MONOTONIC` in nanoseconds.
    pub query_began_ns: Option<u64>,
    /// When the oldest transaction that is open was first seen.
    pub transaction_seen_ns: Option<u64>,
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
            *self.errors.entry(class(error.class)).or_default() += u64::from(error.count);
        }
        if counters.refused != [0; 2] {
            *self.refused.entry(class(counters.refused)).or_default() += 1;
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
            refused,
            open,
        } = other;
        add_all(&mut self.acquired, acquired);
        self.acquire_seconds += acquire_seconds;
        add_tables(&mut self.queries, queries);
        add_all(&mut self.query_ns, query_ns);
        add_all(&mut self.transactions, transactions);
        self.transaction_ns += transaction_ns;
        for (totals, more) in [(&mut self.errors, errors), (&mut self.refused, refused)] {
            for (&class, &count) in more {
                *totals.entry(class).or_default() += count;
            }
        }
        self.open.merge(open);
    }
}

/// Classes are letters and digits; what else a server may say is no label.
fn class(told: [u8; 2]) -> [u8; 2] {
    if told.iter().all(u8::is_ascii_alphanumeric) { told } else { OTHER_CLASSES }
}

/// The earlier of two times, of which either may be none.
fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

impl Open {
    /// Adds a connection.
    pub fn add(&mut self, connection: &Connection) {
        match Phase::from_u8(connection.phase) {
            // Told by its port alone: there is nothing else yet.
            Phase::Connecting => self.waiting += 1,
            Phase::Open => self.add_session(connection.postgres()),
            Phase::Free | Phase::Closed | Phase::Failed => {}
        }
    }

    fn add_session(&mut self, counters: &Counters) {
        match State::from_u8(counters.state) {
            State::None => return,
            State::Waiting => self.waiting += 1,
            State::Replication => self.replication += 1,
            State::Idle | State::InTransaction | State::Failed if counters.is_active() => self.active += 1,
            State::Idle => self.idle += 1,
            State::InTransaction | State::Failed => self.in_transaction += 1,
        }
        self.query_began_ns = earlier(self.query_began_ns, counters.query_began_ns());
        self.transaction_seen_ns = earlier(self.transaction_seen_ns, counters.transaction_seen_ns());
    }

    /// Adds all of another's.
    fn merge(&mut self, other: &Self) {
        let Self { active, idle, in_transaction, waiting, replication, query_began_ns, transaction_seen_ns } =
            other;
        self.active += active;
        self.idle += idle;
        self.in_transaction += in_transaction;
        self.waiting += waiting;
        self.replication += replication;
        self.query_began_ns = earlier(self.query_began_ns, *query_began_ns);
        self.transaction_seen_ns = earlier(self.transaction_seen_ns, *transaction_seen_ns);
    }
}
