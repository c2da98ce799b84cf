//! What HTTP connections have done, by process and server.

pub mod families;

use std::collections::BTreeMap;
use std::rc::Rc;

use observer_ebpf::protocols::http::layout::{Method, RequestCounts};

use super::Seen;

/// What requests are told apart by, at a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Whom a client's requests are addressed to; empty at a server.
    pub authority: Rc<str>,
    /// What they are of.
    pub route: Rc<str>,
    /// Their method.
    pub method: Method,
    /// The answer's status; 0 without one.
    pub status: u16,
}

/// What an open connection is answering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// As in [`Row`].
    pub authority: Rc<str>,
    /// See `authority`.
    pub route: Rc<str>,
    /// Requests that are not over, but for a stream's.
    pub in_flight: u64,
    /// Whether the answer is a stream.
    pub is_stream: bool,
}

/// Sums over what slots have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Responses with status 429 (RFC 6585, section 4).
    pub too_many_requests: u64,
    /// Requests whose answers could not be told, and answers whose requests could not.
    pub unmatched: u64,
    /// Requests past the bound of those in flight, whose times are not known.
    pub untimed: u64,
    /// Requests that there was no room to count.
    pub left_out: u64,
}

impl Slots {
    /// Adds what a slot has counted.
    pub fn add(&mut self, seen: &Seen<'_>) {
        let counters = seen.connection.http();
        self.too_many_requests += u64::from(counters.too_many_requests);
        self.unmatched += u64::from(counters.unmatched);
        self.untimed += u64::from(counters.untimed);
        self.left_out += u64::from(counters.left_out);
    }

    /// Adds all of another's.
    pub const fn add_all(&mut self, other: &Self) {
        let Self { too_many_requests, unmatched, untimed, left_out } = other;
        self.too_many_requests += *too_many_requests;
        self.unmatched += *unmatched;
        self.untimed += *untimed;
        self.left_out += *left_out;
    }
}

/// Sums over connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// What is counted in slots.
    pub slots: Slots,
    /// Requests that are over.
    pub requests: BTreeMap<Row, RequestCounts>,
    /// Requests that are not, but for streams, by authority.
    pub in_flight: BTreeMap<Rc<str>, u64>,
    /// Streams that are open, by authority and route.
    pub streams: BTreeMap<(Rc<str>, Rc<str>), u64>,
}

impl super::Totals for Totals {
    fn add(&mut self, seen: &Seen<'_>) {
        self.slots.add(seen);
    }

    fn add_open(&mut self, _seen: &Seen<'_>) {}

    fn add_totals(&mut self, other: &Self) {
        let Self { slots, requests, in_flight, streams } = other;
        self.slots.add_all(slots);
        for (row, counts) in requests {
            self.add_requests(row.clone(), counts);
        }
        for (authority, count) in in_flight {
            *self.in_flight.entry(Rc::clone(authority)).or_default() += count;
        }
        for (stream, count) in streams {
            *self.streams.entry(stream.clone()).or_default() += count;
        }
    }
}

impl Totals {
    /// Adds requests, which are counted by name and not in a connection's slot.
    pub fn add_requests(&mut self, row: Row, counts: &RequestCounts) {
        *self.requests.entry(row).or_default() += *counts;
    }

    /// Adds what an open connection is answering.
    pub fn add_stream(&mut self, stream: Stream) {
        *self.in_flight.entry(Rc::clone(&stream.authority)).or_default() += stream.in_flight;
        if stream.is_stream {
            *self.streams.entry((stream.authority, stream.route)).or_default() += 1;
        }
    }
}
