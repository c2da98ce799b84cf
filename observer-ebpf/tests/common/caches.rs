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
    prefix_of(key, 1, &[])
}

/// The same with other settings.
pub(crate) fn prefix_of(key: &[u8], segments: usize, skips: &[&str]) -> String {
    label(key, segments, skips).unwrap_or("other").to_owned()
}

fn label<'a>(key: &'a [u8], segments: usize, skips: &[&str]) -> Option<&'a str> {
    let colon = |text: &[u8]| text.iter().position(|&byte| byte == b':');
    if colon(key).is_none() {
        return Some("none");
    }
    let seen = &key[..key.len().min(64)];
    colon(seen)?;
    let mut rest = seen;
    for round in 0.. {
        while let Some(end) = colon(rest).filter(|&end| rest[..end].iter().all(u8::is_ascii_digit)) {
            rest = &rest[end + 1..];
        }
        if round == 3 {
            break;
        }
        if rest.first() == Some(&b'{')
            && let Some(close) = rest.iter().position(|&byte| byte == b'}')
            && rest.get(close + 1) == Some(&b':')
        {
            rest = &rest[close + 2..];
        }
        if let Some(end) = colon(rest)
            && skips.iter().any(|skip| skip.as_bytes() == &rest[..end])
        {
            rest = &rest[end + 1..];
        }
    }
    if rest.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let ends: Vec<usize> = (0..rest.len()).filter(|&at| rest[at] == b':').take(segments).collect();
    let end = ends.last().copied().or((seen.len() == key.len()).then_some(rest.len()))?;
    let name = std::str::from_utf8(&rest[..end]).ok()?;
    let is_clean = name.bytes().all(|byte| (b' '..0x7F).contains(&byte));
    (is_clean && (1..=32).contains(&name.len())).then_some(name)
}
