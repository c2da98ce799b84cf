//! Processes with their open connections added up, the busiest first, and the node's own rates: what
//! `/processes` answers, and what `observer top` and the page at `/` show besides flows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flows::Both;

/// Everything but the flows, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// Seconds since 1970 when it was collected.
    pub time: f64,
    /// The agent's.
    pub version: String,
    /// WebSocket data messages a second on the node over the last ten seconds, those between two local
    /// processes counted once.
    pub messages_per_second: f64,
    /// Times that this rate rose above `--spike-threshold`.
    pub spikes: u64,
    /// Open connections by protocol.
    pub connections: BTreeMap<String, u64>,
    /// Sizes of complete WebSocket data messages, each end's and both directions' added up.
    pub message_sizes: Vec<SizeBucket>,
    /// Every process with an open connection, the one with the most bytes a second first.
    pub processes: Vec<Process>,
}

/// Messages of some range of sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeBucket {
    /// At most so many bytes; `None` for those above all bounds.
    pub le: Option<f64>,
    /// Messages of at most that, and more than the bound before.
    pub count: u64,
}

/// A process, and what its open connections do and have done. What a connection did before another process
/// passed it on is that one's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its name.
    pub process: String,
    /// Its thread-group id.
    pub pid: u32,
    /// Its container, or empty.
    pub container: String,
    /// Open connections by protocol.
    pub connections: BTreeMap<String, u64>,
    /// Postgres and Redis sessions, either end's, by state: `active`, `idle`, `idle_in_transaction`,
    /// `waiting`.
    pub states: BTreeMap<String, u64>,
    /// Over the last ten seconds.
    pub bytes_per_second: Both<f64>,
    /// WebSocket data messages, over the last ten seconds.
    pub messages_per_second: Both<f64>,
    /// Since each open connection was first seen.
    pub bytes: Both<u64>,
    /// WebSocket data messages, since each open connection was first seen.
    pub messages: Both<u64>,
    /// Oversized messages of its open connections, both directions added up.
    pub oversized: u64,
    /// Redis lookups of its open sessions that found a key.
    pub cache_hits: u64,
    /// Those that found none.
    pub cache_misses: u64,
    /// TCP segments sent again on its open connections.
    pub retransmits: u64,
}
