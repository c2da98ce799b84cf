//! Flows: open connections with their rates, the busiest first.

use observer_ebpf::layout::{Direction, Role};
use serde::{Deserialize, Serialize};

use crate::ledger::Flow;
use crate::metrics;
use crate::totals::messages;

/// A number for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Both<T> {
    /// Sent by the process.
    pub sent: T,
    /// Received by it.
    pub received: T,
}

impl<T: Copy> Both<T> {
    /// Of the sent and the received.
    pub const fn new([sent, received]: [T; 2]) -> Self {
        Self { sent, received }
    }

    /// The number of a direction.
    pub const fn by(&self, direction: Direction) -> T {
        match direction {
            Direction::Sent => self.sent,
            Direction::Received => self.received,
        }
    }
}

/// What `/flows` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// As many as were asked for, in the order asked for.
    pub flows: Vec<Row>,
}

/// One flow as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The process's name.
    pub process: String,
    /// Its thread-group id.
    pub pid: u32,
    /// Its container, or empty.
    pub container: String,
    /// `client` or `server`.
    pub role: String,
    /// What is spoken.
    pub protocol: String,
    /// This end.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Network namespace, by inode number.
    pub netns: u32,
    /// Over the last ten seconds.
    pub bytes_per_second: Both<f64>,
    /// WebSocket data messages, over the last ten seconds.
    pub messages_per_second: Both<f64>,
    /// Since the connection was first seen.
    pub bytes: Both<u64>,
    /// WebSocket data messages since the connection was first seen.
    pub messages: Both<u64>,
    /// Since the connection was first seen.
    pub age_seconds: f64,
    /// TCP's smoothed round-trip time; `None` of a UNIX connection, and before TCP has measured any.
    pub rtt_seconds: Option<f64>,
    /// TCP segments sent again.
    pub retransmits: u32,
}

/// What a flow is ordered by: bytes a second both ways.
pub fn rate(flow: &Flow) -> f64 {
    flow.rates[0] + flow.rates[1]
}

/// Shows a flow between these ends.
pub fn row(flow: &Flow, (local, remote): (String, String), now_ns: u64) -> Row {
    let connection = &flow.connection;
    let (process, pid, container) = flow.identity.as_ref().map_or_else(
        || (crate::process::NOBODY.to_owned(), 0, String::new()),
        |identity| (identity.name.clone(), identity.pid, identity.container.clone()),
    );
    let [sent, received, sent_messages, received_messages] = flow.rates;
    Row {
        process,
        pid,
        container,
        role: metrics::role(Role::from_u8(connection.role)).to_owned(),
        protocol: metrics::protocol(flow.protocol).to_owned(),
        local,
        remote,
        netns: connection.netns,
        bytes_per_second: Both::new([sent, received]),
        messages_per_second: Both::new([sent_messages, received_messages]),
        bytes: Both::new(connection.bytes),
        messages: Both::new([messages(&connection.websocket()[0]), messages(&connection.websocket()[1])]),
        age_seconds: now_ns.saturating_sub(connection.seen_ns) as f64 / 1e9,
        rtt_seconds: None,
        retransmits: connection.retransmits,
    }
}
