//! What the book adds once for a connection: that it connected, opened and closed, and bytes whose label can no longer
//! change.

use observer_ebpf::layout::connection::{Connection, FLAG_ADOPTED, FLAG_CONTINUATION, FLAG_CONTINUED, Phase};
use observer_ebpf::layout::{Direction, Protocol, Role};

use super::{GroupTotals, Ledger, Slot, Track};
use crate::connections;
use crate::labels::Group;

/// How long a connection's protocol may stay open before it counts as what it is then: without bytes, and
/// with some.
const SILENT_NS: u64 = 1_000_000_000;
const UNDECIDED_NS: u64 = 10_000_000_000;

/// What a look at a connection finds to be so for the first time.
struct Transition {
    /// The connect is over, one way or the other.
    connects: bool,
    /// It is open, and of a protocol that will not change any more.
    opens: bool,
    /// It is over.
    closes: bool,
    /// Bytes that moved since the last look, by direction; none while the protocol may change.
    moved: [u64; 2],
}

impl Transition {
    /// Of a connection that was followed as `track`. With `last`, it is looked at no more.
    fn of(connection: &Connection, track: &Track, now_ns: u64, last: bool) -> Self {
        let phase = Phase::from_u8(connection.phase);
        let is_over = matches!(phase, Phase::Closed | Phase::Failed) || last;
        let age = now_ns.saturating_sub(connection.seen_ns);
        let is_silent = connection.bytes == [0; 2];
        let is_settled =
            connection.pending == 0 || is_over || age > UNDECIDED_NS || (is_silent && age > SILENT_NS);
        let is_connected = phase != Phase::Connecting;
        let moved = [0, 1].map(|at| connection.bytes[at].saturating_sub(track.absorbed[at]));
        Self {
            connects: !track.connected && is_connected,
            opens: !track.opened && is_settled && is_connected,
            closes: !track.closed && is_over && is_settled && connection.flags & FLAG_CONTINUED == 0,
            moved: if is_settled { moved } else { [0; 2] },
        }
    }

    /// Whether there is anything to add.
    fn is_any(&self) -> bool {
        self.connects || self.opens || self.closes || self.moved != [0; 2]
    }

    /// Adds it to the totals of the connection's process, and to what is known of the connection.
    fn add(&self, connection: &Connection, protocol: Protocol, totals: &mut GroupTotals, track: &mut Track) {
        let is_continuation = connection.flags & FLAG_CONTINUATION != 0;
        let is_fresh = connection.flags & FLAG_ADOPTED == 0 && !is_continuation;
        let has_failed = Phase::from_u8(connection.phase) == Phase::Failed;
        let by_protocol = protocol as usize;
        track.connected |= self.connects;
        track.opened |= self.opens;
        track.closed |= self.closes;
        if self.connects && !is_continuation {
            totals.connections.add_connect(connection);
        }
        if self.opens && is_fresh && !has_failed {
            totals.connections.opened[by_protocol] += 1;
        }
        for direction in Direction::ALL {
            let moved = self.moved[direction as usize];
            let encrypted = usize::from(connections::is_encrypted(connection));
            totals.connections.bytes[encrypted][by_protocol][direction as usize] += moved;
            track.absorbed[direction as usize] += moved;
        }
        if self.closes && !has_failed {
            totals.connections.closed[by_protocol] += 1;
            if protocol == Protocol::WebSocket {
                totals.books.websocket.add_close(connection);
            }
        }
    }
}

impl Ledger {
    /// Adds what is told once for a connection, and what can no longer change its label.
    pub(super) fn absorb(&mut self, index: u32, connection: &Connection, now_ns: u64, last: bool) {
        let protocol = self.protocol(connection);
        let is_used = connection.owner.start_ns != 0;
        let is_identified = matches!(self.slot(index), Slot::Tracked(track) if track.identity.is_some());
        if !is_identified && !is_used && !last {
            return;
        }
        let identity =
            if is_identified { None } else { Some(self.identify(connection.owner, connection.comm)) };
        let Slot::Tracked(track) = &mut self.slots[index as usize] else { return };
        if let Some(identity) = identity {
            track.identity = Some(identity);
        }
        self.see(index, connection, now_ns);
        let Slot::Tracked(track) = &mut self.slots[index as usize] else { return };
        let Some(identity) = &track.identity else { return };
        let transition = Transition::of(connection, track, now_ns, last);
        if transition.is_any() {
            let group = Group::of(identity, Role::from_u8(connection.role));
            transition.add(connection, protocol, self.totals.entry(group).or_default(), track);
        }
    }
}
