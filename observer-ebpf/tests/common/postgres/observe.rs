//! Feeding sessions.

use observer_ebpf::layout::postgres::Counters;
use observer_ebpf::layout::{Protocol, Role};

use super::Call;
use crate::common::Observed;

/// When every connection of the tests was first seen.
pub(crate) const SEEN_NS: u64 = 5_000_000_000;

/// What the agent would read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) protocol: Protocol,
    pub(crate) lost: [u8; 2],
    pub(crate) pending: u8,
    pub(crate) counters: Counters,
}

pub(crate) fn outcome(observed: &Observed) -> Outcome {
    Outcome {
        protocol: observed.protocol(),
        lost: observed.connection.lost,
        pending: observed.connection.pending,
        counters: *observed.connection.details.postgres(),
    }
}

/// A connection from its first byte on.
pub(crate) fn observed(role: Role) -> Observed {
    let mut observed = Observed::new(role);
    observed.connection.seen_ns = SEEN_NS;
    observed.connection.pending = 1;
    observed
}

/// Feeds a call, in parts of these lengths and then the rest.
pub(crate) fn parts(observed: &mut Observed, call: &Call, lengths: &[usize]) {
    observed.now_ns = call.now_ns;
    let mut rest = &call.bytes[..];
    for &length in lengths.iter().chain([&usize::MAX]) {
        let (part, behind) = rest.split_at(length.min(rest.len()));
        if call.server {
            observed.server(part);
        } else {
            observed.client(part);
        }
        rest = behind;
    }
}

/// Feeds all calls whole.
pub(crate) fn observe(observed: &mut Observed, calls: &[Call]) {
    for call in calls {
        parts(observed, call, &[]);
    }
}
