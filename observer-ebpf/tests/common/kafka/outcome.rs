//! What is known of a session in the end.

use std::collections::BTreeMap;

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::protocols::kafka::layout::{Api, Counters, ErrorCode};

use crate::common::Observed;
use crate::common::queues::Queues;

/// All that is known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) protocol: Protocol,
    pub(crate) lost: [u8; 2],
    pub(crate) pending: u8,
    pub(crate) counters: Counters,
    pub(crate) queues: Queues,
    pub(crate) desyncs: Vec<Desync>,
}

impl Outcome {
    pub(crate) fn of(observed: &Observed) -> Self {
        Self {
            protocol: observed.protocol(),
            lost: observed.connection.lost,
            pending: observed.connection.pending,
            counters: *observed.connection.kafka(),
            queues: observed.queues.clone(),
            desyncs: observed.desyncs.clone(),
        }
    }

    /// Requests sent, by name.
    pub(crate) fn requests(&self) -> BTreeMap<String, u32> {
        above_zero(&Api::NAMES, &self.counters.requests)
    }

    /// Errors in responses, by name.
    pub(crate) fn errors(&self) -> BTreeMap<String, u32> {
        above_zero(&ErrorCode::NAMES, &self.counters.errors)
    }
}

fn above_zero(names: &[&str], counts: &[u32]) -> BTreeMap<String, u32> {
    let counts = names.iter().zip(counts).filter(|&(_, &count)| count > 0);
    counts.map(|(name, &count)| ((*name).to_owned(), count)).collect()
}

pub(crate) fn named(counts: &[(&str, u32)]) -> BTreeMap<String, u32> {
    counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

/// That nothing is amiss with a session.
#[track_caller]
pub(crate) fn assert_sound(outcome: &Outcome, how: &str) {
    assert_eq!((outcome.protocol, outcome.lost, outcome.pending), (Protocol::Kafka, [0; 2], 0), "{how}");
    assert_eq!(outcome.desyncs, [], "{how}");
    assert_eq!((outcome.counters.unmatched, outcome.counters.unparsed), (0, 0), "{how}");
}
