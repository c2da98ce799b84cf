//! The busiest flows as series: only those, so that their number is bounded.

use observer_ebpf::layout::Direction;

use super::family::{Families, Family, Value};
use crate::flows::Row;
use crate::labels;

const LABELS: &[&str] = &["process", "pid", "container", "role", "local", "remote", "protocol", "direction"];

families! {
    /// Families of flows.
    FAMILIES:
    BYTES = gauge(
        "observer_flow_bytes_per_second",
        LABELS,
        "Payload bytes a second of the busiest connections over the last 10 seconds.",
    );
    MESSAGES = gauge(
        "observer_flow_messages_per_second",
        LABELS,
        "WebSocket data messages a second of the busiest connections over the last 10 seconds.",
    );
}

/// Adds the rows of these flows. Two flows of one process between the same two ends (UNIX sockets) are one row.
pub fn fill(families: &mut Families, rows: &[Row]) {
    for row in rows {
        let pid = row.pid.to_string();
        for direction in Direction::ALL {
            let labels = [
                &*row.process,
                &pid,
                &row.container,
                &row.role,
                &row.local,
                &row.remote,
                &row.protocol,
                labels::direction(direction),
            ];
            add(families.of(&BYTES), labels, row.bytes_per_second.by(direction));
            add(families.of(&MESSAGES), labels, row.messages_per_second.by(direction));
        }
    }
}

fn add<const N: usize>(family: &mut Family, labels: [&str; N], value: f64) {
    let value = Value::Gauge(value);
    match family.rows.iter_mut().find(|row| row.labels.iter().eq(labels.iter())) {
        Some(row) => row.value.add(&value),
        None => family.push(labels, value),
    }
}
