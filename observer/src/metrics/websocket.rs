//! WebSocket families (RFC 6455).

use observer_ebpf::layout::websocket::{MessageType, Opcode, Violation};
use observer_ebpf::layout::{Direction, Protocol};

use super::family::{Description, Family, Value};
use super::{direction, role};
use crate::ledger::View;

/// As [`observer_ebpf::layout::websocket::SIZE_BOUNDS`].
pub const BOUNDS: &[f64] = &[1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

const MESSAGE_SIZE: Description = Description::histogram(
    "message_size_bytes",
    BOUNDS,
    &["process", "pid", "container", "role", "direction"],
    "Payload of complete WebSocket data messages, as on the wire.",
);
const FRAME_SIZE: Description = Description::histogram(
    "observer_websocket_frame_size_bytes",
    BOUNDS,
    &["process", "container", "role", "direction", "opcode"],
    "Payload of complete WebSocket frames.",
);
const MESSAGES: Description = Description::counter(
    "observer_websocket_messages_total",
    &["process", "container", "role", "direction", "type", "compressed"],
    "Complete WebSocket data messages.",
);
const OVERSIZED: Description = Description::counter(
    "oversized_message_total",
    &["process", "pid", "container", "role", "direction", "size_category"],
    "WebSocket messages at or above a threshold, each in the category of its full size.",
);
const CONNECTIONS: Description = Description::gauge(
    "observer_websocket_connections",
    &["process", "container", "role"],
    "WebSocket connections open now.",
);
const CLOSES: Description = Description::counter(
    "observer_websocket_closes_total",
    &["process", "container", "role", "code"],
    "WebSocket connections that closed, by the code of the close frame.",
);
const VIOLATIONS: Description = Description::counter(
    "observer_websocket_violations_total",
    &["process", "container", "role", "kind"],
    "WebSocket frames that break RFC 6455.",
);

/// A size category by its number.
pub const fn category(category: u32) -> &'static str {
    match category {
        0 => "medium",
        1 => "large",
        _ => "huge",
    }
}

const fn opcode(opcode: Opcode) -> &'static str {
    match opcode {
        Opcode::Continuation => "continuation",
        Opcode::Text => "text",
        Opcode::Binary => "binary",
        Opcode::Close => "close",
        Opcode::Ping => "ping",
        Opcode::Pong => "pong",
    }
}

const fn message_type(kind: MessageType) -> &'static str {
    match kind {
        MessageType::Text => "text",
        MessageType::Binary => "binary",
    }
}

const fn violation(kind: Violation) -> &'static str {
    match kind {
        Violation::Mask => "mask",
        Violation::Reserved => "reserved",
        Violation::Opcode => "opcode",
        Violation::Length => "length",
    }
}

/// The families of a view.
pub fn families(view: &View) -> Vec<Family> {
    let [mut sizes, mut frames, mut messages, mut oversized, mut connections, mut closes, mut violations] =
        [MESSAGE_SIZE, FRAME_SIZE, MESSAGES, OVERSIZED, CONNECTIONS, CLOSES, VIOLATIONS].map(Family::new);

    for ((identity, member_role), by_direction) in &view.sizes {
        let pid = identity.pid.to_string();
        let (name, container, role) = (&*identity.name, &*identity.container, role(*member_role));
        for (way, total) in Direction::ALL.into_iter().zip(by_direction) {
            let way = direction(way);
            sizes.observe([name, &pid, container, role, way], &total.counts, total.bytes as f64);
            // From 0 on: an alert on their increase must see the first one, too.
            for (number, &count) in (0..).zip(&total.oversized) {
                let labels = [name, &pid, container, role, way, category(number)];
                oversized.push(labels, Value::Counter(count as f64));
            }
        }
    }
    for (group, totals) in &view.totals {
        let (name, container, role) = (&*group.process, &*group.container, role(group.role));
        for (way, total) in Direction::ALL.into_iter().zip(&totals.websocket) {
            let way = direction(way);
            for (code, (counts, bytes)) in
                Opcode::ALL.into_iter().zip(total.frames.iter().zip(total.frame_bytes))
            {
                frames.observe([name, container, role, way, opcode(code)], counts, bytes as f64);
            }
            for (kind, by_compression) in MessageType::ALL.into_iter().zip(&total.messages) {
                for (compressed, &count) in ["false", "true"].into_iter().zip(by_compression) {
                    messages.count([name, container, role, way, message_type(kind), compressed], count);
                }
            }
        }
        for kind in Violation::ALL {
            let count = totals.websocket.iter().map(|total| total.violations[kind as usize]).sum();
            violations.count([name, container, role, violation(kind)], count);
        }
        for (code, &count) in &totals.closes {
            let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
            closes.count([name, container, role, &code], count);
        }
    }
    for ((group, protocol), &open) in &view.open {
        if *protocol == Protocol::WebSocket {
            let labels = [&*group.process, &*group.container, role(group.role)];
            connections.push(labels, Value::Gauge(open as f64));
        }
    }
    vec![sizes, frames, messages, oversized, connections, closes, violations]
}
