//! Sessions as calls, fed whole or in parts.

use std::collections::BTreeMap;

use observer_ebpf::layout::health::Desync;
use observer_ebpf::layout::redis::Counters;
use observer_ebpf::layout::{Protocol, Role};

use crate::common::Observed;

/// What one call moved, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Whether the server wrote it.
    pub(crate) server: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) now_ns: u64,
}

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
