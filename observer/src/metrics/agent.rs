//! The agent on itself: what it is, what it holds, and everything that it could not see, parse or store.

use std::collections::BTreeMap;

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::losses::{Desync, Losses, Unread};

use super::family::{Families, Value};
use super::fold::Folder;
use super::queues;
use crate::ledger::View;
use crate::probes::{Probe, State};
use crate::protocols;
use crate::protocols::memcached::families as memcached;
use crate::protocols::redis::families as redis;

/// Upper bounds, in seconds, of the buckets of `observer_collect_seconds`.
pub const COLLECT_BOUNDS: [f64; 7] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1];

/// What the agent knows of itself.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The programs.
    pub probes: &'a [Probe],
    /// Connections tracked now.
    pub tracked: u64,
    /// What the kernel half could not do.
    pub losses: &'a Losses,
    /// Runs of programs that the kernel left out, as the same program was running on that processor already.
    pub missed_runs: u64,
    /// How long collecting took, by bucket of [`COLLECT_BOUNDS`], and seconds in all.
    pub collects: (&'a [u64], f64),
}

families! {
    /// Families of the agent.
    FAMILIES:
    BUILD = gauge("observer_build_info", &["version"], "The agent's version; always 1.");
    PROBES = gauge("observer_probe_up", &["probe"], "Whether a BPF program is attached.");
    TRACKED = gauge("observer_tracked_connections", &[], "Connections tracked now.");
    COLLECT = histogram(
        "observer_collect_seconds",
        &COLLECT_BOUNDS,
        &[],
        "Time that the agent took to collect.",
    );
    UNTRACKED = counter(
        "observer_untracked_connections_total",
        &[],
        "Connections past the limit, of which nothing is known.",
    );
    EVENTS_LOST = counter(
        "observer_events_lost_total",
        &[],
        "Records that found no room in a ring, and runs of programs that the kernel left out.",
    );
    UNSYNCHRONISED = gauge(
        "observer_unsynchronised_connections",
        &["protocol"],
        "Connections seen in the middle, or lost, and not yet in sync with their parser.",
    );
    DESYNCS = counter(
        "observer_desyncs_total",
        &["protocol", "reason"],
        "Streams that fell out of sync with their parser.",
    );
    UNPARSED = counter("observer_unparsed_bytes_total", &["reason"], "Bytes counted but not readable.");
    FOLDED = counter(
        "observer_series_folded_total",
        &["family"],
        "Series past the limit of their family, added up under process=\"other\" or left out if not in use; and keys \
         counted under cache_key_prefix=\"other\" as their prefix had no place.",
    );
}

/// Adds the rows of the agent.
pub fn fill(families: &mut Families, facts: &Facts<'_>, view: &View) {
    families.of(&BUILD).push([env!("CARGO_PKG_VERSION")], Value::Gauge(1.0));
    for probe in facts.probes {
        let is_up = probe.state == State::Up;
        families.of(&PROBES).push([probe.name], Value::Gauge(f64::from(u8::from(is_up))));
    }
    let (counts, seconds) = facts.collects;
    families.of(&TRACKED).push([], Value::Gauge(facts.tracked as f64));
    families.of(&COLLECT).push([], Value::Histogram(counts.to_vec(), seconds));
    fill_losses(families, facts, view);
}

/// Adds the rows of what could not be seen or parsed.
fn fill_losses(families: &mut Families, facts: &Facts<'_>, view: &View) {
    let losses = facts.losses;
    for protocol in Protocol::ALL {
        if protocols::may_be_lost(protocol) {
            let count = view.lost[protocol as usize];
            families.of(&UNSYNCHRONISED).push([protocol.label()], Value::Gauge(count as f64));
        }
        for reason in Desync::ALL {
            let count = losses.desyncs[protocol as usize][reason as usize];
            families.of(&DESYNCS).count([protocol.label(), desync(reason)], count);
        }
    }
    for reason in Unread::ALL {
        let count = losses.unread_bytes[reason as usize];
        families.of(&UNPARSED).push([unread(reason)], Value::Counter(count as f64));
    }
    families.of(&UNTRACKED).push([], Value::Counter(losses.untracked as f64));
    families.of(&EVENTS_LOST).push([], Value::Counter((losses.events_lost + facts.missed_runs) as f64));
}

/// Adds the rows of what could not be stored apart.
pub fn fill_folded(families: &mut Families, folder: &Folder, losses: &Losses) {
    let mut sums: BTreeMap<&str, u64> = folder.folded().collect();
    for (protocol, lookups) in [(Protocol::Redis, redis::LOOKUPS), (Protocol::Memcached, memcached::LOOKUPS)]
    {
        for (family, count) in lookups.into_iter().zip(losses.unnamed[protocol as usize]) {
            *sums.entry(family.name).or_default() += count;
        }
    }
    if losses.uncounted_messages > 0 {
        *sums.entry(queues::counted().name).or_default() += losses.uncounted_messages;
    }
    for (family, count) in sums {
        families.of(&FOLDED).count([family], count);
    }
}

/// A label's value for why bytes could not be read.
pub const fn unread(reason: Unread) -> &'static str {
    match reason {
        Unread::IoUring => "io_uring",
        Unread::Splice => "splice",
        Unread::Compat => "compat",
        Unread::Fault => "fault",
        Unread::Other => "other",
    }
}

/// A label's value for why a stream fell out of sync.
pub const fn desync(reason: Desync) -> &'static str {
    match reason {
        Desync::Unread => "unread",
        Desync::Gap => "gap",
        Desync::Concurrent => "concurrent",
        Desync::Length => "length",
        Desync::Header => "header",
        Desync::Bound => "bound",
    }
}
