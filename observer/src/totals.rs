//! What has been counted, in 64 bits: sums of the kernel half's counters, by process.

use std::collections::BTreeMap;

use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::websocket::{CLOSE_NONE, CLOSE_WITHOUT_CODE, Counters, SIZE_BUCKETS};
use observer_ebpf::layout::{Direction, Protocol, Role};

use crate::rates::minute;

/// Upper bounds, in seconds, of the buckets of `observer_connect_seconds`.
pub const CONNECT_BOUNDS: [f64; 10] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Why connects fail, in the order of [`Totals::failures`].
pub const FAILURES: [&str; 5] = ["refused", "timeout", "reset", "unreachable", "other"];

const PROTOCOLS: usize = Protocol::ALL.len();

/// The latencies of connects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connects {
    /// By bucket, the one above all bounds last.
    pub counts: [u64; CONNECT_BOUNDS.len() + 1],
    /// Seconds in all.
    pub sum: f64,
}

/// One direction of a process's WebSocket connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebSocket {
    /// Complete frames by opcode and size.
    pub frames: [[u64; SIZE_BUCKETS]; 6],
    /// Their payload bytes.
    pub frame_bytes: [u64; 6],
    /// Complete messages by type, then compressed or not.
    pub messages: [[u64; 2]; 2],
    /// By kind.
    pub violations: [u64; 4],
    /// What is told by process.
    pub sizes: Sizes,
}

/// The sizes of a process's messages in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// By bucket.
    pub counts: [u64; SIZE_BUCKETS],
    /// Payload bytes in all.
    pub bytes: u64,
    /// Medium, large, huge.
    pub oversized: [u64; 3],
}

/// Full minutes of WebSocket connections, in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minutes {
    /// By messages in it, those above all bounds of [`minute::BOUNDS`] last.
    pub counts: [u64; minute::BOUNDS.len() + 1],
    /// Messages in all.
    pub messages: u64,
}

/// How an application turns connections away, in the order of [`Totals::rate_limited`]: HTTP responses with
/// status 429 (RFC 6585, section 4), and WebSocket connections that the server closed as breaking its policy or
/// with the request to try again later (RFC 6455, section 7.4.1, and IANA's registry).
pub const TURNED_AWAY: [&str; 3] = ["http_429", "ws_1008", "ws_1013"];

/// What the connections of a process, or of several of one name, have done, in one role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// By protocol.
    pub opened: [u64; PROTOCOLS],
    /// By protocol.
    pub closed: [u64; PROTOCOLS],
    /// By protocol and direction.
    pub bytes: [[u64; 2]; PROTOCOLS],
    /// As in [`FAILURES`].
    pub failures: [u64; FAILURES.len()],
    /// Latencies.
    pub connects: Connects,
    /// Segments sent again.
    pub retransmits: u64,
    /// By direction.
    pub websocket: [WebSocket; 2],
    /// WebSocket connections by how they closed: their code, or none.
    pub closes: BTreeMap<Option<u16>, u64>,
    /// Full minutes of WebSocket connections by direction.
    pub minutes: [Minutes; 2],
    /// Minutes in which a user sent more than the limit.
    pub high_rate: u64,
    /// As in [`TURNED_AWAY`].
    pub rate_limited: [u64; TURNED_AWAY.len()],
}

impl Minutes {
    /// Adds one with so many messages.
    pub fn add(&mut self, messages: u64) {
        self.counts[minute::bucket(messages)] += 1;
        self.messages += messages;
    }
}

impl Sizes {
    /// Adds what the kernel half counted.
    pub fn add(&mut self, counters: &Counters) {
        add_all(&mut self.counts, &counters.message_sizes);
        self.bytes += counters.message_bytes;
        add_all(&mut self.oversized, &counters.oversized);
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        add_all(&mut self.counts, &other.counts);
        self.bytes += other.bytes;
        add_all(&mut self.oversized, &other.oversized);
    }
}

impl WebSocket {
    fn add(&mut self, counters: &Counters) {
        for (total, counts) in self.frames.iter_mut().zip(&counters.frames) {
            add_all(total, counts);
        }
        add_all(&mut self.frame_bytes, &counters.frame_bytes);
        for (total, counts) in self.messages.iter_mut().zip(&counters.messages) {
            add_all(total, counts);
        }
        add_all(&mut self.violations, &counters.violations);
        self.sizes.add(counters);
    }
}

impl Totals {
    /// Adds what an element has counted since it was taken, but for what is told once for a connection
    /// (see [`crate::ledger`]).
    pub fn add_counters(&mut self, connection: &Connection) {
        self.retransmits += u64::from(connection.retransmits);
        add_all(&mut self.rate_limited, &turned_away(connection));
        if Protocol::from_u8(connection.protocol) == Protocol::WebSocket {
            for (total, counters) in self.websocket.iter_mut().zip(connection.websocket()) {
                total.add(counters);
            }
        }
    }

    /// Adds how a connect went.
    pub fn add_connect(&mut self, connection: &Connection) {
        if Phase::from_u8(connection.phase) == Phase::Failed {
            self.failures[failure(connection.error)] += 1;
        } else if connection.connect_ns > 0 {
            let seconds = connection.connect_ns as f64 / 1e9;
            let bucket = CONNECT_BOUNDS.iter().filter(|&&bound| seconds > bound).count();
            self.connects.counts[bucket] += 1;
            self.connects.sum += seconds;
        }
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        add_all(&mut self.opened, &other.opened);
        add_all(&mut self.closed, &other.closed);
        for (total, bytes) in self.bytes.iter_mut().zip(&other.bytes) {
            add_all(total, bytes);
        }
        add_all(&mut self.failures, &other.failures);
        add_all(&mut self.connects.counts, &other.connects.counts);
        self.connects.sum += other.connects.sum;
        self.retransmits += other.retransmits;
        for (total, counts) in self.websocket.iter_mut().zip(&other.websocket) {
            for (total, counts) in total.frames.iter_mut().zip(&counts.frames) {
                add_all(total, counts);
            }
            add_all(&mut total.frame_bytes, &counts.frame_bytes);
            for (total, counts) in total.messages.iter_mut().zip(&counts.messages) {
                add_all(total, counts);
            }
            add_all(&mut total.violations, &counts.violations);
            total.sizes.merge(&counts.sizes);
        }
        for (&code, &count) in &other.closes {
            *self.closes.entry(code).or_default() += count;
        }
        for (total, minutes) in self.minutes.iter_mut().zip(&other.minutes) {
            add_all(&mut total.counts, &minutes.counts);
            total.messages += minutes.messages;
        }
        self.high_rate += other.high_rate;
        add_all(&mut self.rate_limited, &other.rate_limited);
    }
}

/// The close code of a WebSocket connection: `None` while no close frame was seen, `Some(None)` after one
/// without a code.
pub fn close_code(connection: &Connection) -> Option<Option<u16>> {
    let seen = connection.websocket().iter().map(|counters| counters.close);
    let code = seen.filter(|&close| close != CLOSE_NONE).max()?;
    Some(if code == CLOSE_WITHOUT_CODE { None } else { u16::try_from(code).ok() })
}

/// How often the application turned the connection away, as in [`TURNED_AWAY`]: it is the server's own code
/// that tells, not what a client says as it leaves.
fn turned_away(connection: &Connection) -> [u32; TURNED_AWAY.len()] {
    let server = match Role::from_u8(connection.role) {
        Role::Client => Direction::Received,
        Role::Server => Direction::Sent,
    };
    let code = connection.websocket()[server as usize].close;
    [connection.too_many_requests, u32::from(code == 1008), u32::from(code == 1013)]
}

/// Payload bytes of a connection so far, by direction: those that calls moved, or those that TCP itself counts
/// where that is more, as with `splice` and zero-copy receive.
pub fn bytes(connection: &Connection) -> [u64; 2] {
    [0, 1].map(|at| connection.bytes[at].max(connection.tcp_bytes[at]))
}

/// Data messages in a direction so far.
pub fn messages(counters: &Counters) -> u64 {
    counters.messages.iter().flatten().map(|&count| u64::from(count)).sum()
}

/// Adds counts to totals, element by element.
pub fn add_all<T: Copy + Into<u64>>(totals: &mut [u64], counts: &[T]) {
    for (total, &count) in totals.iter_mut().zip(counts) {
        *total += count.into();
    }
}

/// The element of [`FAILURES`] for an errno.
fn failure(errno: u16) -> usize {
    match i32::from(errno) {
        libc::ECONNREFUSED => 0,
        libc::ETIMEDOUT => 1,
        libc::ECONNRESET => 2,
        libc::EHOSTUNREACH | libc::ENETUNREACH => 3,
        _ => 4,
    }
}
