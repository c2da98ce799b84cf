//! Families of connections of any protocol.

use observer_ebpf::layout::{Direction, Protocol};

use super::family::{Description, Family, Value};
use super::{direction, protocol, role};
use crate::ledger::View;
use crate::totals::{CONNECT_BOUNDS, FAILURES};

const OPEN: Description = Description::gauge(
    "observer_connections",
    &["process", "container", "role", "protocol"],
    "Connections open now, those opened before the agent started included.",
);
const OPENED: Description = Description::counter(
    "observer_connections_opened_total",
    &["process", "container", "role", "protocol"],
    "Connections that opened, by the protocol first told.",
);
const CLOSED: Description = Description::counter(
    "observer_connections_closed_total",
    &["process", "container", "role", "protocol"],
    "Connections that closed, by the protocol last told.",
);
const FAILED: Description = Description::counter(
    "observer_connect_failures_total",
    &["process", "container", "role", "reason"],
    "TCP connects that failed after the SYN was sent.",
);
const CONNECT: Description = Description::histogram(
    "observer_connect_seconds",
    &CONNECT_BOUNDS,
    &["process", "container", "role"],
    "Time from SYN sent to established.",
);
const BYTES: Description = Description::counter(
    "observer_bytes_total",
    &["process", "container", "role", "protocol", "direction"],
    "Payload bytes through socket calls.",
);
const RETRANSMITS: Description = Description::counter(
    "observer_retransmits_total",
    &["process", "container", "role"],
    "TCP segments sent again.",
);

/// The families of a view.
pub fn families(view: &View) -> Vec<Family> {
    let [mut open, mut opened, mut closed, mut failed, mut connect, mut bytes, mut retransmits] =
        [OPEN, OPENED, CLOSED, FAILED, CONNECT, BYTES, RETRANSMITS].map(Family::new);

    for ((group, spoken), &count) in &view.open {
        let labels = [&*group.process, &*group.container, role(group.role), protocol(*spoken)];
        open.push(labels, Value::Gauge(count as f64));
    }
    for (group, totals) in &view.totals {
        let (name, container, role) = (&*group.process, &*group.container, role(group.role));
        for spoken in Protocol::ALL {
            let label = protocol(spoken);
            opened.count([name, container, role, label], totals.opened[spoken as usize]);
            closed.count([name, container, role, label], totals.closed[spoken as usize]);
            for way in Direction::ALL {
                let count = totals.bytes[spoken as usize][way as usize];
                bytes.count([name, container, role, label, direction(way)], count);
            }
        }
        for (reason, &count) in FAILURES.into_iter().zip(&totals.failures) {
            failed.count([name, container, role, reason], count);
        }
        connect.observe([name, container, role], &totals.connects.counts, totals.connects.sum);
        retransmits.push([name, container, role], Value::Counter(totals.retransmits as f64));
    }
    vec![open, opened, closed, failed, connect, bytes, retransmits]
}
