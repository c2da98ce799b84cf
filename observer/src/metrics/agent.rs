//! The agent on itself: what it is, what it holds, and everything that it could not see, parse or store.

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::health::{Desync, Health, Unread};

use super::family::{Description, Family, Value};
use super::fold::Folder;
use super::protocol;
use crate::ledger::View;
use crate::probes::{Probe, State};

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
    pub health: &'a Health,
    /// Runs of programs that the kernel left out, as one was running on that processor already.
    pub missed_runs: u64,
    /// How long collecting took, by bucket of [`COLLECT_BOUNDS`], and seconds in all.
    pub collects: (&'a [u64], f64),
}

const BUILD: Description =
    Description::gauge("observer_build_info", &["version"], "The agent's version; always 1.");
const PROBES: Description =
    Description::gauge("observer_probe_up", &["probe"], "Whether a BPF program is attached.");
const TRACKED: Description =
    Description::gauge("observer_tracked_connections", &[], "Connections tracked now.");
const COLLECT: Description = Description::histogram(
    "observer_collect_seconds",
    &COLLECT_BOUNDS,
    &[],
    "Time that the agent took to collect.",
);
const UNTRACKED: Description = Description::counter(
    "observer_untracked_connections_total",
    &[],
    "Connections past the limit, of which nothing is known.",
);
const EVENTS_LOST: Description = Description::counter(
    "observer_events_lost_total",
    &[],
    "Records that found no room, and calls that the kernel did not show to a busy program.",
);
const UNSYNCHRONISED: Description = Description::gauge(
    "observer_unsynchronised_connections",
    &["protocol"],
    "Connections seen in the middle, or lost, and not yet in step with their parser.",
);
const DESYNCS: Description = Description::counter(
    "observer_desyncs_total",
    &["protocol", "reason"],
    "Streams that fell out of step with their parser.",
);
const UNPARSED: Description =
    Description::counter("observer_unparsed_bytes_total", &["reason"], "Bytes counted but not readable.");
const FOLDED: Description = Description::counter(
    "observer_series_folded_total",
    &["family"],
    "Series added up under process=\"other\", past the limit of their family.",
);

/// The families of the agent.
pub fn families(facts: &Facts<'_>, view: &View, folder: &Folder) -> Vec<Family> {
    let mut families = state(facts);
    families.extend(losses(facts.health, facts.missed_runs, view));
    families.push(folded(folder));
    families
}

/// A family of one row without labels.
fn single(description: Description, value: Value) -> Family {
    let mut family = Family::new(description);
    family.push([], value);
    family
}

/// What the agent is and holds.
fn state(facts: &Facts<'_>) -> Vec<Family> {
    let mut build = Family::new(BUILD);
    build.push([env!("CARGO_PKG_VERSION")], Value::Gauge(1.0));
    let mut probes = Family::new(PROBES);
    for probe in facts.probes {
        probes.push([probe.name], Value::Gauge(if probe.state == State::Up { 1.0 } else { 0.0 }));
    }
    let (counts, seconds) = facts.collects;
    vec![
        build,
        probes,
        single(TRACKED, Value::Gauge(facts.tracked as f64)),
        single(COLLECT, Value::Histogram(counts.to_vec(), seconds)),
    ]
}

/// What could not be seen or parsed.
fn losses(health: &Health, missed_runs: u64, view: &View) -> Vec<Family> {
    let mut lost = Family::new(UNSYNCHRONISED);
    for spoken in [Protocol::Unknown, Protocol::WebSocket, Protocol::Postgres, Protocol::Redis] {
        let count = view.lost.get(&spoken).copied().unwrap_or_default();
        lost.push([protocol(spoken)], Value::Gauge(count as f64));
    }

    let mut desyncs = Family::new(DESYNCS);
    for spoken in Protocol::ALL {
        for reason in Desync::ALL {
            let count = health.desyncs[spoken as usize][reason as usize];
            desyncs.count([protocol(spoken), desync(reason)], count);
        }
    }

    let mut bytes = Family::new(UNPARSED);
    for reason in Unread::ALL {
        let count = health.unread_bytes[reason as usize];
        bytes.push([unread(reason)], Value::Counter(count as f64));
    }
    vec![
        single(UNTRACKED, Value::Counter(health.untracked as f64)),
        lost,
        desyncs,
        bytes,
        single(EVENTS_LOST, Value::Counter((health.events_lost + missed_runs) as f64)),
    ]
}

/// What could not be stored apart.
fn folded(folder: &Folder) -> Family {
    let mut series = Family::new(FOLDED);
    for (family, count) in folder.folded() {
        series.count([family], count);
    }
    series
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

/// A label's value for why a stream fell out of step.
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
