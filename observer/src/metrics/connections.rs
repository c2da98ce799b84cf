//! Families of connections of any protocol.

use observer_ebpf::layout::{Direction, Protocol};

use super::family::{Families, Value};
use crate::connections::{CONNECT_BOUNDS, FAILURES, Totals};
use crate::labels;
use crate::ledger::View;

families! {
    /// Families of connections.
    FAMILIES:
    OPEN = gauge(
        "observer_connections",
        &["process", "container", "role", "protocol", "tls"],
        "Connections open now, those opened before the agent started included.",
    );
    OPENED = counter(
        "observer_connections_opened_total",
        &["process", "container", "role", "protocol"],
        "Connections that opened, by the protocol first told.",
    );
    CLOSED = counter(
        "observer_connections_closed_total",
        &["process", "container", "role", "protocol"],
        "Connections that closed, by the protocol last told.",
    );
    FAILED = counter(
        "observer_connect_failures_total",
        &["process", "container", "role", "reason"],
        "TCP connects that failed after the SYN was sent.",
    );
    CONNECT = histogram(
        "observer_connect_seconds",
        &CONNECT_BOUNDS,
        &["process", "container", "role"],
        "Time from SYN sent to established.",
    );
    BYTES = counter(
        "observer_bytes_total",
        &["process", "container", "role", "protocol", "tls", "direction"],
        "Payload bytes through socket calls.",
    );
    RETRANSMITS = counter(
        "observer_retransmits_total",
        &["process", "container", "role"],
        "TCP segments sent again.",
    );
}

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for ((group, protocol, encrypted), &count) in &view.open {
        let [process, container, role] = group.labels();
        let row = [process, container, role, protocol.label(), tls(*encrypted)];
        families.of(&OPEN).push(row, Value::Gauge(count as f64));
    }
    for (group, totals) in &view.groups {
        fill_group(families, group.labels(), &totals.connections);
    }
}

const fn tls(encrypted: bool) -> &'static str {
    if encrypted { "true" } else { "false" }
}

fn fill_group(families: &mut Families, group: [&str; 3], totals: &Totals) {
    let [process, container, role] = group;
    for protocol in Protocol::ALL {
        let row = [process, container, role, protocol.label()];
        families.of(&OPENED).count(row, totals.opened[protocol as usize]);
        families.of(&CLOSED).count(row, totals.closed[protocol as usize]);
        for (encrypted, bytes) in [false, true].into_iter().zip(&totals.bytes) {
            for direction in Direction::ALL {
                let direction_label = labels::direction(direction);
                let row = [process, container, role, protocol.label(), tls(encrypted), direction_label];
                families.of(&BYTES).count(row, bytes[protocol as usize][direction as usize]);
            }
        }
    }
    for (reason, &count) in FAILURES.into_iter().zip(&totals.failures) {
        families.of(&FAILED).count([process, container, role, reason], count);
    }
    families.of(&CONNECT).observe(group, &totals.connects.counts, totals.connects.sum);
    families.of(&RETRANSMITS).push(group, Value::Counter(totals.retransmits as f64));
}
