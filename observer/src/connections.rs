//! What connections have done whatever they speak: how they opened and closed, and the bytes that moved on them.

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::connection::{Connection, Phase};

use crate::counts::{add_all, add_tables, bucket};

/// Upper bounds, in seconds, of the buckets of `observer_connect_seconds`.
pub const CONNECT_BOUNDS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Why connects fail, in the order of [`Totals::failures`].
pub const FAILURES: [&str; 5] = ["refused", "timeout", "reset", "unreachable", "other"];

/// The latencies of connects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connects {
    /// How many fell in each bucket; the last one is above all bounds.
    pub counts: [u64; CONNECT_BOUNDS.len() + 1],
    /// Seconds in all.
    pub sum: f64,
}

/// Sums over connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Connections opened, by protocol.
    pub opened: [u64; Protocol::COUNT],
    /// Connections closed, by protocol.
    pub closed: [u64; Protocol::COUNT],
    /// Bytes in the clear, and those that are encrypted, by protocol and direction.
    pub bytes: [[[u64; 2]; Protocol::COUNT]; 2],
    /// Connects that failed, by the reasons of [`FAILURES`].
    pub failures: [u64; FAILURES.len()],
    /// Latencies.
    pub connects: Connects,
    /// Segments sent again.
    pub retransmits: u64,
}

impl Totals {
    /// Adds what a slot has counted since it was taken, but for what is told once for a connection
    /// (see [`crate::ledger`]).
    pub fn add(&mut self, connection: &Connection) {
        self.retransmits += u64::from(connection.retransmits);
    }

    /// Adds how a connect went.
    pub fn add_connect(&mut self, connection: &Connection) {
        if Phase::from_u8(connection.phase) == Phase::Failed {
            self.failures[failure(connection.error)] += 1;
        } else if connection.connect_ns > 0 {
            let seconds = connection.connect_ns as f64 / 1e9;
            self.connects.counts[bucket(seconds, &CONNECT_BOUNDS)] += 1;
            self.connects.sum += seconds;
        }
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        let Self { opened, closed, bytes, failures, connects, retransmits } = other;
        add_all(&mut self.opened, opened);
        add_all(&mut self.closed, closed);
        for (sums, more) in self.bytes.iter_mut().zip(bytes) {
            add_tables(sums, more);
        }
        add_all(&mut self.failures, failures);
        add_all(&mut self.connects.counts, &connects.counts);
        self.connects.sum += connects.sum;
        self.retransmits += retransmits;
    }

    /// Whether anything has moved on connections that spoke a protocol.
    pub fn spoke(&self, protocol: Protocol) -> bool {
        self.bytes.iter().any(|bytes| bytes[protocol as usize] != [0; 2])
    }
}

/// Payload bytes of a connection so far, by direction: those that calls moved, or those that TCP itself counts
/// where that is more, as with `splice` and zero-copy receive.
pub fn bytes(connection: &Connection) -> [u64; 2] {
    [0, 1].map(|at| connection.bytes[at].max(connection.tcp_bytes[at]))
}

/// Whether a connection is encrypted, as far as known.
pub fn is_encrypted(connection: &Connection) -> bool {
    connection.is_encrypted() || connection.protocol == Protocol::Tls as u8
}

/// The place in [`FAILURES`] of an errno.
fn failure(errno: u8) -> usize {
    match i32::from(errno) {
        libc::ECONNREFUSED => 0,
        libc::ETIMEDOUT => 1,
        libc::ECONNRESET => 2,
        libc::EHOSTUNREACH | libc::ENETUNREACH => 3,
        _ => 4,
    }
}
