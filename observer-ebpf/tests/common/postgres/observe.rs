//! Feeding sessions.

use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::postgres::layout::Counters;

use crate::common::Observed;

/// When every connection of the tests was first seen.
pub(crate) const SEEN_NS: u64 = 5_000_000_000;

/// What the agent would read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) protocol: Protocol,
    pub(crate) lost: [u8; 2],
    pub(crate) pending: u8,
    pub(crate) encrypted: bool,
    pub(crate) counters: Counters,
}

pub(crate) fn outcome(observed: &Observed) -> Outcome {
    Outcome {
        protocol: observed.protocol(),
        lost: observed.connection.lost,
        pending: observed.connection.pending,
        encrypted: observed.connection.is_encrypted(),
        counters: *observed.connection.details.postgres(),
    }
}

/// Queries by kind.
pub(crate) fn queries(outcome: &Outcome) -> [u32; 5] {
    outcome.counters.queries.map(|buckets| buckets.iter().sum())
}

/// A connection from its first byte on.
pub(crate) fn observed(role: Role) -> Observed {
    let mut observed = Observed::new(role);
    observed.connection.seen_ns = SEEN_NS;
    observed.connection.pending = 1;
    observed
}
