//! Families of WebSocket (RFC 6455).

use observer_ebpf::layout::{Direction, Protocol};
use observer_ebpf::protocols::websocket::layout::{MessageType, Opcode, SIZE_BOUNDS, Violation};

use super::Totals;
use crate::labels;
use crate::ledger::View;
use crate::metrics::family::{Families, Value, bounds};

/// Upper bounds, in bytes, of the buckets of sizes.
pub const BOUNDS: [f64; 6] = bounds(&SIZE_BOUNDS, 1);

families! {
    /// Families of WebSocket.
    FAMILIES:
    MESSAGE_SIZE = histogram(
        "message_size_bytes",
        &BOUNDS,
        &["process", "pid", "container", "role", "direction"],
        "Payload of complete WebSocket data messages, as on the wire.",
    );
    FRAME_SIZE = histogram(
        "observer_websocket_frame_size_bytes",
        &BOUNDS,
        &["process", "container", "role", "direction", "opcode"],
        "Payload of complete WebSocket frames.",
    );
    MESSAGES = counter(
        "observer_websocket_messages_total",
        &["process", "container", "role", "direction", "type", "compressed"],
        "Complete WebSocket data messages.",
    );
    OVERSIZED = counter(
        "oversized_message_total",
        &["process", "pid", "container", "role", "direction", "size_category"],
        "WebSocket messages at or above a threshold, each in the category of its full size.",
    );
    CONNECTIONS = gauge(
        "observer_websocket_connections",
        &["process", "container", "role"],
        "WebSocket connections open now.",
    );
    CLOSES = counter(
        "observer_websocket_closes_total",
        &["process", "container", "role", "code"],
        "WebSocket connections that closed, by the code of the close frame.",
    );
    VIOLATIONS = counter(
        "observer_websocket_violations_total",
        &["process", "container", "role", "kind"],
        "WebSocket frames that break RFC 6455.",
    );
}

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

/// Adds the rows of a view.
pub fn fill(families: &mut Families, view: &View) {
    for ((identity, role), by_direction) in &view.message_sizes {
        let pid = identity.pid.to_string();
        let (process, container, role) = (&*identity.name, &*identity.container, labels::role(*role));
        for (direction, total) in Direction::ALL.into_iter().zip(by_direction) {
            let direction = labels::direction(direction);
            let row = [process, &pid, container, role, direction];
            families.of(&MESSAGE_SIZE).observe(row, &total.counts, total.bytes as f64);
            // From 0 on: an alert on their increase must see the first one, too.
            for (number, &count) in (0..).zip(&total.oversized) {
                let row = [process, &pid, container, role, direction, category(number)];
                families.of(&OVERSIZED).push(row, Value::Counter(count as f64));
            }
        }
    }
    for (group, totals) in &view.groups {
        fill_group(families, group.labels(), &totals.books.websocket);
    }
    for ((group, protocol, _), &open) in &view.open {
        if *protocol == Protocol::WebSocket {
            families.of(&CONNECTIONS).push(group.labels(), Value::Gauge(open as f64));
        }
    }
}

fn fill_group(families: &mut Families, [process, container, role]: [&str; 3], totals: &Totals) {
    for (direction, total) in Direction::ALL.into_iter().zip(&totals.streams) {
        let direction = labels::direction(direction);
        let by_opcode = total.frames.iter().zip(total.frame_bytes);
        for (code, (counts, bytes)) in Opcode::ALL.into_iter().zip(by_opcode) {
            let row = [process, container, role, direction, opcode(code)];
            families.of(&FRAME_SIZE).observe(row, counts, bytes as f64);
        }
        for (kind, by_compression) in MessageType::ALL.into_iter().zip(&total.messages) {
            for (compressed, &count) in ["false", "true"].into_iter().zip(by_compression) {
                let row = [process, container, role, direction, message_type(kind), compressed];
                families.of(&MESSAGES).count(row, count);
            }
        }
    }
    for kind in Violation::ALL {
        let count = totals.streams.iter().map(|total| total.violations[kind as usize]).sum();
        families.of(&VIOLATIONS).count([process, container, role, violation(kind)], count);
    }
    for (code, &count) in &totals.closes {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        families.of(&CLOSES).count([process, container, role, &code], count);
    }
}
