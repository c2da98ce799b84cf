//! The busiest flows as series: only those, so that their number is bounded.

use observer_ebpf::layout::Direction;

use super::direction;
use super::family::{Description, Family, Value};
use crate::flows::Row;

const LABELS: &[&str] = &["process", "pid", "container", "role", "local", "remote", "protocol", "direction"];

const BYTES: Description = Description::gauge(
    "observer_flow_bytes_per_second",
    LABELS,
    "Payload bytes a second of the busiest connections over the last 10 seconds.",
);
const MESSAGES: Description = Description::gauge(
    "observer_flow_messages_per_second",
    LABELS,
    "WebSocket data messages a second of the busiest connections over the last 10 seconds.",
);

/// The families of these flows. Two flows of one process between the same two ends (UNIX sockets) are one
/// row.
pub fn families(rows: &[Row]) -> Vec<Family> {
    let [mut bytes, mut messages] = [BYTES, MESSAGES].map(Family::new);
    for row in rows {
        let pid = row.pid.to_string();
        for way in Direction::ALL {
            let labels = [
                &*row.process,
                &pid,
                &row.container,
                &row.role,
                &row.local,
                &row.remote,
                &row.protocol,
                direction(way),
            ];
            add(&mut bytes, labels, row.bytes_per_second.by(way));
            add(&mut messages, labels, row.messages_per_second.by(way));
        }
    }
    vec![bytes, messages]
}

fn add<const N: usize>(family: &mut Family, labels: [&str; N], value: f64) {
    let value = Value::Gauge(value);
    match family.rows.iter_mut().find(|(present, _)| present.iter().eq(labels.iter())) {
        Some((_, sum)) => sum.add(&value),
        None => family.push(labels, value),
    }
}
