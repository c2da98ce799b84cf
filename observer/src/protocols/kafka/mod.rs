//! What Kafka sessions have done, by process and server. What they do with each topic is counted by name, as queues are: see
//! [`crate::names::queues`].

pub mod families;

use observer_ebpf::protocols::kafka::layout::{APIS, ERROR_CODES, LATENCY_BUCKETS};

use super::Seen;
use crate::counts::add_all;

/// Sums over sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    /// Produce requests by latency.
    pub produces: [u64; LATENCY_BUCKETS],
    /// Nanoseconds of all.
    pub produce_ns: u64,
    /// Fetch requests for messages that were known to be there, by latency.
    pub fetches: [u64; LATENCY_BUCKETS],
    /// Nanoseconds of all.
    pub fetch_ns: u64,
    /// Fetch requests that waited for messages, or found none.
    pub waits: u64,
    /// By request.
    pub requests: [u64; APIS],
    /// By error.
    pub errors: [u64; ERROR_CODES],
    /// Responses whose request is not known.
    pub unmatched: u64,
    /// Requests, responses and record batches that were not looked into.
    pub unparsed: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            produces: [0; LATENCY_BUCKETS],
            produce_ns: 0,
            fetches: [0; LATENCY_BUCKETS],
            fetch_ns: 0,
            waits: 0,
            requests: [0; APIS],
            errors: [0; ERROR_CODES],
            unmatched: 0,
            unparsed: 0,
        }
    }
}

impl super::Totals for Totals {
    fn add(&mut self, seen: &Seen<'_>) {
        let counters = seen.connection.kafka();
        add_all(&mut self.produces, &counters.produces);
        self.produce_ns += counters.produce_ns;
        add_all(&mut self.fetches, &counters.fetches);
        self.fetch_ns += counters.fetch_ns;
        self.waits += u64::from(counters.waits);
        add_all(&mut self.requests, &counters.requests);
        add_all(&mut self.errors, &counters.errors);
        self.unmatched += u64::from(counters.unmatched);
        self.unparsed += u64::from(counters.unparsed);
    }

    fn add_open(&mut self, _seen: &Seen<'_>) {}

    fn add_totals(&mut self, other: &Self) {
        let Self { produces, produce_ns, fetches, fetch_ns, waits, requests, errors, unmatched, unparsed } =
            other;
        add_all(&mut self.produces, produces);
        self.produce_ns += produce_ns;
        add_all(&mut self.fetches, fetches);
        self.fetch_ns += fetch_ns;
        self.waits += waits;
        add_all(&mut self.requests, requests);
        add_all(&mut self.errors, errors);
        self.unmatched += unmatched;
        self.unparsed += unparsed;
    }
}
