//! Sessions with caches: what is known of them, and what their keys count as.

use std::collections::BTreeMap;

use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Protocol, Role};

use super::Observed;

/// All that is known of a session, with the protocol's own counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome<C> {
    pub(crate) protocol: Protocol,
    pub(crate) lost: [u8; 2],
    pub(crate) pending: u8,
    pub(crate) counters: C,
    /// Found and not found, by prefix.
    pub(crate) keys: BTreeMap<String, (u64, u64)>,
    pub(crate) desyncs: Vec<Desync>,
}

impl<C> Outcome<C> {
    pub(crate) fn new(observed: &Observed, counters: C) -> Self {
        Self {
            protocol: observed.protocol(),
            lost: observed.connection.lost,
            pending: observed.connection.pending,
            counters,
            keys: observed.keys.by_prefix(),
            desyncs: observed.desyncs.clone(),
        }
    }
}

/// A connection from its first byte on.
pub(crate) fn fresh(role: Role) -> Observed {
    let mut observed = Observed::new(role);
    observed.connection.id = 7;
    observed.connection.pending = 1;
    observed
}

/// The label that a key counts under.
pub(crate) fn prefix(key: &[u8]) -> String {
    match key.iter().position(|&byte| byte == b':') {
        None => "none".to_owned(),
        Some(0) => "other".to_owned(),
        Some(length) if length > 32 => "other".to_owned(),
        Some(length) => String::from_utf8(key[..length].to_vec()).expect("ASCII"),
    }
}
