//! Families of connections of any protocol.

use observer_ebpf::layout::{Direction, Protocol};

use super::family::{Description, Family, Kind, Value};
use super::{direction, protocol, role};
use crate::ledger::View;
use crate::totals::{CONNECT_BOUNDS, FAILURES};

const OPEN: Description = Description {
    name: "observer_connections",
    help: "Connections open now, those opened before the agent started included.",
    kind: Kind::Gauge,
    labels: &["process", "container", "role", "protocol"],
};
const OPENED: Description = Description {
    name: "observer_connections_opened_total",
    help: "Connections that opened, by the protocol first told.",
    kind: Kind::Counter,
    labels: &["process", "container", "role", "protocol"],
};
const CLOSED: Description = Description {
    name: "observer_connections_closed_total",
    help: "Connections that closed, by the protocol last told.",
    kind: Kind::Counter,
    labels: &["process", "container", "role", "protocol"],
};
const FAILED: Description = Description {
    name: "observer_connect_failures_total",
    help: "TCP connects that failed after the SYN was sent.",
    kind: Kind::Counter,
    labels: &["process", "container", "role", "reason"],
};
const CONNECT: Description = Description {
    name: "observer_connect_seconds",
    help: "Time from SYN sent to established.",
    kind: Kind::Histogram(&CONNECT_BOUNDS),
    labels: &["process", "container", "role"],
};
const BYTES: Description = Description {
    name: "observer_bytes_total",
    help: "Payload bytes through socket calls.",
    kind: Kind::Counter,
    labels: &["process", "container", "role", "protocol", "direction"],
};
const RETRANSMITS: Description = Description {
    name: "observer_retransmits_total",
    help: "TCP segments sent again.",
    kind: Kind::Counter,
    labels: &["process", "container", "role"],
};

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
