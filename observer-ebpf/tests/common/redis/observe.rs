//! Sessions as calls, fed whole or in parts.

use std::collections::BTreeMap;

use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::redis::layout::Counters;

use crate::common::Observed;

/// A command as clients write it.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// All that is known of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) protocol: Protocol,
    pub(crate) lost: [u8; 2],
    pub(crate) pending: u8,
    pub(crate) counters: Counters,
    /// Found and not found, by prefix.
    pub(crate) keys: BTreeMap<String, (u64, u64)>,
    pub(crate) desyncs: Vec<Desync>,
}

pub(crate) fn outcome(observed: &Observed) -> Outcome {
    Outcome {
        protocol: observed.protocol(),
        lost: observed.connection.lost,
        pending: observed.connection.pending,
        counters: *observed.connection.redis(),
        keys: observed.keys.by_prefix(),
        desyncs: observed.desyncs.clone(),
    }
}

/// A connection from its first byte on.
pub(crate) fn observed(role: Role) -> Observed {
    let mut observed = Observed::new(role);
    observed.connection.id = 7;
    observed.connection.pending = 1;
    observed
}
