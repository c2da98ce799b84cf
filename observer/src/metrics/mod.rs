//! Plain data into metric families: one file for each group of families in the contract.

pub mod agent;
pub mod connections;
pub mod encode;
pub mod family;
pub mod flows;
pub mod fold;
pub mod http;
mod openmetrics;
pub mod postgres;
pub mod rates;
pub mod redis;
pub mod websocket;

use observer_ebpf::layout::{Direction, Protocol, Role};

/// Labels of what a process has to do with a server.
const SERVER_LABELS: &[&str] = &["process", "container", "role", "server"];

/// Nanoseconds as families tell them.
const fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// A label's value for a role.
pub const fn role(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

/// A label's value for a direction.
pub const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
    }
}

/// A label's value for a protocol.
pub const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Unknown => "unknown",
        Protocol::Http => "http",
        Protocol::WebSocket => "websocket",
        Protocol::Postgres => "postgres",
        Protocol::Redis => "redis",
        Protocol::Tls => "tls",
    }
}
