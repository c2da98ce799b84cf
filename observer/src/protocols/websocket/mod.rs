//! What WebSocket connections have done, by process.

pub mod families;
pub mod minute;
pub mod node;

use std::collections::BTreeMap;

use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::{Direction, Role};
use observer_ebpf::protocols::websocket::layout::{
    CLOSE_NONE, CLOSE_WITHOUT_CODE, SIZE_BUCKETS, StreamCounters,
};

use self::minute::{Minutes, Rate};
use super::{ByServer, Seen, http};
use crate::counts::{add_all, add_tables};

/// How an application closes connections to turn them away, in the order of [`Totals::turned_away`]: as breaking its
/// policy, and with the request to try again later (RFC 6455, section 7.4.1, and IANA's registry of close codes).
pub const TURNED_AWAY: [u32; 2] = [1008, 1013];

/// Sums over connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What they did as HTTP, before they became what they are.
    pub http: http::Slots,
    /// What was sent, and what was received.
    pub streams: [StreamTotals; 2],
    /// What is told by the server's end.
    pub servers: ByServer<ServerTotals>,
    /// Connections by how they closed: their code, or none.
    pub closes: BTreeMap<Option<u16>, u64>,
    /// Connections that were turned away, by the codes of [`TURNED_AWAY`].
    pub turned_away: [u64; TURNED_AWAY.len()],
    /// Full minutes, by direction.
    pub minutes: [Minutes; 2],
    /// Minutes in which a user sent more than the limit.
    pub high_rate: u64,
    /// Connections that are open, by [`Rate`].
    pub users: [u64; Rate::ALL.len()],
}

/// What is told by the server's end, as services of one name are told apart by nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTotals {
    /// Complete messages by direction and type, then compressed or not.
    pub messages: [[[u64; 2]; 2]; 2],
    /// Connections that are open.
    pub open: u64,
}

impl super::Totals for ServerTotals {
    fn add(&mut self, seen: &Seen<'_>) {
        for (total, counters) in self.messages.iter_mut().zip(&seen.connection.websocket().streams) {
            add_tables(total, &counters.messages);
        }
    }

    fn add_open(&mut self, seen: &Seen<'_>) {
        self.open += u64::from(seen.rate.is_some());
    }

    fn add_totals(&mut self, other: &Self) {
        let Self { messages, open } = other;
        for (total, more) in self.messages.iter_mut().zip(messages) {
            add_tables(total, more);
        }
        self.open += open;
    }
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// Complete frames by opcode and size.
    pub frames: [[u64; SIZE_BUCKETS]; 6],
    /// Their payload bytes.
    pub frame_bytes: [u64; 6],
    /// Frames that break the RFC, by kind.
    pub violations: [u64; 4],
}

/// The sizes of messages in one direction, which are told by process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageSizes {
    /// How many fell in each bucket.
    pub counts: [u64; SIZE_BUCKETS],
    /// Payload bytes in all.
    pub bytes: u64,
    /// Medium, large, huge.
    pub oversized: [u64; 3],
    /// Bytes that have been declared of messages that are not over, on connections that are open.
    pub unfinished: u64,
}

impl MessageSizes {
    /// Adds what the kernel half counted.
    pub fn add(&mut self, counters: &StreamCounters) {
        add_all(&mut self.counts, &counters.message_sizes);
        self.bytes += counters.message_bytes;
        add_all(&mut self.oversized, &counters.oversized);
    }

    /// Adds the message that a connection ended in the middle of, if that was oversized and is not counted yet.
    pub fn add_abandoned(&mut self, counters: &StreamCounters) {
        if let Some(category) = counters.unfinished_category() {
            self.oversized[category as usize] += 1;
        }
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        let Self { counts, bytes, oversized, unfinished } = other;
        add_all(&mut self.counts, counts);
        self.bytes += bytes;
        add_all(&mut self.oversized, oversized);
        self.unfinished += unfinished;
    }
}

impl StreamTotals {
    fn add(&mut self, counters: &StreamCounters) {
        add_tables(&mut self.frames, &counters.frames);
        add_all(&mut self.frame_bytes, &counters.frame_bytes);
        add_all(&mut self.violations, &counters.violations);
    }

    fn merge(&mut self, other: &Self) {
        let Self { frames, frame_bytes, violations } = other;
        add_tables(&mut self.frames, frames);
        add_all(&mut self.frame_bytes, frame_bytes);
        add_all(&mut self.violations, violations);
    }
}

impl Totals {
    /// Counts a connection that has closed.
    pub fn add_close(&mut self, connection: &Connection) {
        *self.closes.entry(close_code(connection)).or_default() += 1;
    }

    /// Whether connections are open whose users are told by how they are doing.
    pub fn has_users(&self) -> bool {
        self.users.iter().any(|&count| count > 0)
    }
}

impl super::Totals for Totals {
    const IS_TOLD_BY_SERVER: bool = true;

    fn add(&mut self, seen: &Seen<'_>) {
        self.http.add(seen);
        let streams = &seen.connection.websocket().streams;
        for (total, counters) in self.streams.iter_mut().zip(streams) {
            total.add(counters);
        }
        self.servers.add(seen);
        // It is the server's own code that tells, not what a client says as it leaves.
        let server = match seen.role {
            Role::Client => Direction::Received,
            Role::Server => Direction::Sent,
        };
        let code = streams[server as usize].close;
        add_all(&mut self.turned_away, &TURNED_AWAY.map(|turned_away| u32::from(code == turned_away)));
    }

    fn add_open(&mut self, seen: &Seen<'_>) {
        if let Some(rate) = seen.rate {
            self.users[rate as usize] += 1;
        }
        self.servers.add_open(seen);
    }

    fn take_server(&mut self, server: &str) -> Self {
        Self { servers: self.servers.take_server(server), ..Self::default() }
    }

    fn add_totals(&mut self, other: &Self) {
        let Self { http, streams, servers, closes, turned_away, minutes, high_rate, users } = other;
        self.http.add_all(http);
        for (total, more) in self.streams.iter_mut().zip(streams) {
            total.merge(more);
        }
        self.servers.add_totals(servers);
        for (&code, &count) in closes {
            *self.closes.entry(code).or_default() += count;
        }
        add_all(&mut self.turned_away, turned_away);
        for (total, more) in self.minutes.iter_mut().zip(minutes) {
            total.merge(more);
        }
        self.high_rate += high_rate;
        add_all(&mut self.users, users);
    }
}

/// The close code of a connection; `None` where no close frame was seen, or one without a code.
fn close_code(connection: &Connection) -> Option<u16> {
    let seen = connection.websocket().streams.iter().map(|counters| counters.close);
    let code = seen.filter(|&close| close != CLOSE_NONE).max()?;
    if code == CLOSE_WITHOUT_CODE { None } else { u16::try_from(code).ok() }
}

/// Data messages in a direction so far.
pub fn messages(counters: &StreamCounters) -> u64 {
    counters.messages.iter().flatten().map(|&count| u64::from(count)).sum()
}

/// The same in both directions; zeroes where the connection is no WebSocket.
pub fn messages_of(connection: &Connection) -> [u64; 2] {
    connection.websocket().streams.each_ref().map(messages)
}
