//! The agent's book of connections: each slot followed from its first sight to its last, and its counts added up where
//! they outlive it.
//!
//! What a row counts must never decrease. So what may still change its label (bytes of a connection whose
//! protocol is not settled) is added once it is settled, connection by connection; what cannot (WebSocket
//! counters) is the sum of those that are gone and those that are there.

mod keep;
pub mod lives;
mod once;
mod ticks;
mod view;

use self::lives::{Lives, Retention};
pub use ticks::Flow;
pub use view::View;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use observer_ebpf::layout::connection::{
    Connection, FLAG_ADOPTED, FLAG_CONTINUED, FLAG_UNREAD_START, Owner, Phase,
};
use observer_ebpf::layout::{Protocol, Role};

use crate::address::{self, Hints};
use crate::config::Reading;
use crate::connections;
use crate::labels::{Group, Member};
use crate::process::{Identity, Processes};
use crate::protocols::tls::{Encrypted, PlaintextUse};
use crate::protocols::websocket::MessageSizes;
use crate::protocols::websocket::minute::{Excess, Minute};
use crate::protocols::websocket::node::Node;
use crate::protocols::{self, Books, Seen};
use crate::rates::{Sample, Ticks, Window};

/// What the connections of a process, or of several of one name, have done, in one role.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupTotals {
    /// What is counted whatever they speak.
    pub connections: connections::Totals,
    /// What is counted for each protocol.
    pub books: Books,
}

impl GroupTotals {
    /// Adds what a slot has counted since it was taken, but for what is told once for a connection.
    fn add(&mut self, protocol: Protocol, seen: &Seen<'_>) {
        self.connections.add(seen.connection);
        self.books.add(protocol, seen);
    }

    fn merge(&mut self, other: &Self) {
        self.connections.merge(&other.connections);
        self.books.merge(&other.books);
    }
}

/// A connection as the agent follows it.
#[derive(Debug)]
struct Track {
    id: u64,
    identity: Option<Rc<Identity>>,
    /// The role that its process is known to have on it, and to have rows in.
    known: Option<Role>,
    opened: bool,
    closed: bool,
    connected: bool,
    absorbed: [u64; 2],
    window: Option<Box<Window>>,
    last: Sample,
    /// Ticks that it was there at, as far as they matter to a window.
    ticks: u8,
    /// The messages of the minute, on a WebSocket.
    minute: Option<Box<Minute>>,
    /// The server's end, where it is a label.
    server: Option<Rc<str>>,
}

/// What the agent knows of a slot.
#[derive(Debug, Default)]
enum Slot {
    /// Nothing yet.
    #[default]
    New,
    /// In use: a connection is counted in it.
    Tracked(Box<Track>),
    /// Handed back; it still shows what it was, with this id, until it is used again.
    HandedBack(u64),
}

/// The book.
#[derive(Debug)]
pub struct Ledger {
    processes: Processes,
    hints: Hints,
    slots: Vec<Slot>,
    /// What connections that are gone have counted, and what is counted once for each connection.
    totals: HashMap<Group, GroupTotals>,
    /// Sizes of WebSocket messages on connections that are gone.
    message_sizes: HashMap<Member, [MessageSizes; 2]>,
    lives: Lives,
    retention: Retention,
    /// The servers' ends, each once.
    servers: HashSet<Rc<str>>,
    ticks: Ticks,
    node: Node,
    message_rate_limit: u64,
    plaintext: PlaintextUse,
}

/// What rates are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages a minute of one user.
    pub messages_per_minute: u64,
    /// Messages a second on the node.
    pub messages_per_second: u64,
}

impl Ledger {
    /// An empty book, begun `now_ns`.
    pub fn new(
        processes: Processes,
        hints: Hints,
        limits: Limits,
        retention: Retention,
        now_ns: u64,
    ) -> Self {
        Self {
            ticks: Ticks::new(now_ns),
            node: Node::new(limits.messages_per_second, now_ns),
            message_rate_limit: limits.messages_per_minute,
            plaintext: PlaintextUse::default(),
            processes,
            hints,
            slots: Vec::new(),
            totals: HashMap::new(),
            message_sizes: HashMap::new(),
            lives: Lives::default(),
            retention,
            servers: HashSet::new(),
        }
    }

    /// Takes note of what is known of processes that use TLS libraries.
    pub fn note_plaintext(&mut self, plaintext: PlaintextUse) {
        self.plaintext = plaintext;
    }

    /// What is said of these connections where nothing inside TLS is read: that it could be. None where it is read, and where
    /// there are no such connections.
    pub fn tls_hint(&self, encrypted: Encrypted) -> Option<String> {
        if self.plaintext.reading == Reading::Off { encrypted.hint() } else { None }
    }

    /// Looks at a slot that is in use or was. False if it was handed back and not used since.
    pub fn observe(&mut self, index: u32, connection: &Connection, now_ns: u64) -> bool {
        let slot = self.slot(index);
        match slot {
            Slot::HandedBack(id) if *id == connection.id => return false,
            Slot::Tracked(track) if track.id == connection.id => {}
            _ => *slot = Slot::Tracked(Box::new(Track::new(connection))),
        }
        self.absorb(index, connection, now_ns, false);
        true
    }

    /// Whether the server's end of a slot that is in use is a label and not known yet. A connection that
    /// has only begun may still be told by its server's port.
    pub fn needs_server(&self, index: u32, connection: &Connection) -> bool {
        let is_told_by_server = protocols::is_told_by_server(self.session_protocol(connection))
            || connections::is_encrypted(connection);
        is_told_by_server
            && matches!(
                self.slots.get(index as usize),
                Some(Slot::Tracked(track)) if track.server.is_none()
            )
    }

    /// Whose a connection is, and the server's end, where both are known.
    pub fn place(&self, index: u32, connection: &Connection) -> Option<(Member, Rc<str>)> {
        let Some(Slot::Tracked(track)) = self.slots.get(index as usize) else { return None };
        let member = (Rc::clone(track.identity.as_ref()?), Role::from_u8(connection.role));
        Some((member, Rc::clone(track.server.as_ref()?)))
    }

    /// Takes note of the server's end.
    pub fn name_server(&mut self, index: u32, connection: &Connection, server: &str, now_ns: u64) {
        let server = self.servers.get(server).cloned().unwrap_or_else(|| {
            let server: Rc<str> = server.into();
            self.servers.insert(Rc::clone(&server));
            server
        });
        let Slot::Tracked(track) = self.slot(index) else { return };
        track.server = Some(server);
        track.known = None;
        self.see(index, connection, now_ns);
    }

    /// Takes the last look at a slot whose connection is gone: from now on it may be used again. Tells if
    /// its user has gone over the limit since the last look.
    pub fn close(&mut self, index: u32, connection: &Connection, now_ns: u64) -> Option<Excess> {
        if !self.observe(index, connection, now_ns) {
            return None;
        }
        self.absorb(index, connection, now_ns, true);
        let excess = self.count_messages(index, connection, now_ns);
        let (identity, server) = match self.slot(index) {
            Slot::Tracked(track) => (track.identity.take(), track.server.take()),
            Slot::New | Slot::HandedBack(_) => (None, None),
        };
        *self.slot(index) = Slot::HandedBack(connection.id);
        let identity = identity?;
        let role = Role::from_u8(connection.role);
        let protocol = Protocol::from_u8(connection.protocol);
        let unread = self.plaintext.unread(connection);
        let seen = Seen { connection, role, server: server.as_ref(), rate: None, unread };
        self.totals.entry(Group::of(&identity, role)).or_default().add(protocol, &seen);
        if protocol == Protocol::WebSocket {
            let sizes = self.message_sizes.entry((identity, role)).or_default();
            for (total, counters) in sizes.iter_mut().zip(&connection.websocket().streams) {
                total.add(counters);
                if connection.flags & FLAG_CONTINUED == 0 {
                    total.add_abandoned(counters);
                }
            }
        }
        excess
    }

    /// Sizes of WebSocket messages on connections that are gone, in both directions.
    pub fn message_sizes_of_gone(&self) -> MessageSizes {
        let mut sum = MessageSizes::default();
        self.message_sizes.values().flatten().for_each(|sizes| sum.merge(sizes));
        sum
    }

    /// Who a process is.
    pub fn identify(&mut self, owner: Owner, comm: [u8; 16]) -> Rc<Identity> {
        self.processes.identify(owner, comm)
    }

    /// What a connection speaks. For one first seen in the middle, or whose start could not be read, it may be the protocol
    /// of its port, until its bytes show it; those of TLS show nothing else.
    fn protocol(&self, connection: &Connection) -> Protocol {
        let protocol = Protocol::from_u8(connection.protocol);
        let is_untold = matches!(protocol, Protocol::Unknown | Protocol::Tls);
        if is_untold && connection.flags & (FLAG_ADOPTED | FLAG_UNREAD_START) != 0 {
            return self.hints.protocol(address::server_port(connection)).unwrap_or(protocol);
        }
        protocol
    }

    /// What session a connection is or will be: a Postgres client that is still connecting, and a Redis
    /// session that was open before the agent and has said nothing since, are told by the server's port.
    pub fn session_protocol(&self, connection: &Connection) -> Protocol {
        let protocol = Protocol::from_u8(connection.protocol);
        let hint = self.hints.protocol(address::server_port(connection)).unwrap_or_default();
        let is_adopted = connection.flags & FLAG_ADOPTED != 0;
        match (Phase::from_u8(connection.phase), hint) {
            (Phase::Connecting, Protocol::Postgres) => hint,
            (Phase::Open, Protocol::Redis)
                if protocol == Protocol::Unknown && is_adopted && connection.bytes == [0; 2] =>
            {
                hint
            }
            _ => protocol,
        }
    }

    fn slot(&mut self, index: u32) -> &mut Slot {
        let index = index as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        &mut self.slots[index]
    }
}

impl Track {
    fn new(connection: &Connection) -> Self {
        Self {
            id: connection.id,
            identity: None,
            known: None,
            opened: false,
            closed: false,
            connected: false,
            absorbed: [0; 2],
            window: None,
            server: None,
            // Every slot counts from nothing.
            last: [0; 4],
            ticks: 0,
            minute: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use observer_ebpf::layout::connection::{AF_INET, Connection, FLAG_ADOPTED, Phase};
    use observer_ebpf::layout::{Protocol, Role};
    use observer_ebpf::protocols::redis::layout::{Command, State};

    use super::lives::Retention;
    use super::{Ledger, Limits, View};
    use crate::address::Hints;
    use crate::process::Processes;

    pub(super) const SECOND: u64 = 1_000_000_000;

    pub(super) fn ledger() -> Ledger {
        let limits = Limits { messages_per_minute: 100, messages_per_second: 10_000 };
        let hints = Hints(vec![(Protocol::Redis, 6379)]);
        let retention = Retention { names_ns: 3600 * SECOND, unused: 10 };
        Ledger::new(Processes::new(Path::new("/nonexistent")), hints, limits, retention, 0)
    }

    /// A Redis server's end of a connection that has had `commands`.
    pub(super) fn session(id: u64, commands: u32) -> Connection {
        // SAFETY: the layout is of integers only, of which all may be zero.
        let mut connection: Connection = unsafe { std::mem::zeroed() };
        connection.id = id;
        connection.phase = Phase::Open as u8;
        connection.protocol = Protocol::Redis as u8;
        connection.role = Role::Server as u8;
        connection.family = AF_INET;
        connection.local_port = 6379;
        connection.owner.start_ns = 1;
        connection.comm[..5].copy_from_slice(b"redis");
        connection.bytes = [10, 10];
        let counters = connection.details.redis_mut();
        counters.state = State::Session as u8;
        counters.commands[Command::Get as usize] = commands;
        connection
    }

    fn see(ledger: &mut Ledger, index: u32, connection: &Connection, now_ns: u64) {
        assert!(ledger.observe(index, connection, now_ns));
        if ledger.needs_server(index, connection) {
            ledger.name_server(index, connection, "10.0.0.7:6379", now_ns);
        }
    }

    /// The only server's commands and idle connections.
    fn shown(view: &View) -> (u64, u64) {
        assert_eq!(view.groups.len(), 1);
        let (group, totals) = view.groups.first_key_value().expect("there is one");
        assert_eq!((&*group.process, group.role), ("redis", Role::Server));
        assert_eq!(totals.books.redis.len(), 1);
        let totals = &totals.books.redis["10.0.0.7:6379"];
        (totals.commands[Command::Get as usize], totals.open.idle)
    }

    #[test]
    fn what_a_redis_session_did_outlives_it() {
        let mut ledger = ledger();
        let (one, other) = (session(1, 5), session(2, 7));
        see(&mut ledger, 0, &one, 0);
        see(&mut ledger, 1, &other, 0);
        assert_eq!(shown(&ledger.view([(0, &one), (1, &other)].into_iter(), SECOND)), (12, 2));
        ledger.close(0, &one, SECOND);
        assert_eq!(shown(&ledger.view([(1, &other)].into_iter(), SECOND)), (12, 1));

        // The slot is used again, by a connection that counts from nothing.
        let next = session(3, 1);
        see(&mut ledger, 0, &next, 3 * SECOND);
        assert_eq!(shown(&ledger.view([(0, &next), (1, &other)].into_iter(), SECOND)), (13, 2));
    }

    #[test]
    fn what_continues_in_another_slot_is_open_once() {
        let mut ledger = ledger();
        let (before, after) = (session(1, 5), session(2, 7));
        see(&mut ledger, 0, &before, 0);
        see(&mut ledger, 1, &after, 0);
        // It is handed back as it was: open.
        ledger.close(0, &before, SECOND);
        assert_eq!(shown(&ledger.view([(1, &after)].into_iter(), SECOND)), (12, 1));
    }

    #[test]
    fn a_silent_connection_from_before_the_agent_is_told_by_its_port() {
        let mut ledger = ledger();
        let mut silent = session(1, 0);
        silent.protocol = Protocol::Unknown as u8;
        silent.bytes = [0; 2];
        see(&mut ledger, 0, &silent, 0);
        let view = ledger.view([(0, &silent)].into_iter(), SECOND);
        assert!(view.groups.values().all(|totals| totals.books.redis.is_empty()), "it may be anything");
        silent.id = 2;
        silent.flags = FLAG_ADOPTED;
        see(&mut ledger, 0, &silent, 0);
        assert_eq!(shown(&ledger.view([(0, &silent)].into_iter(), SECOND)), (0, 1));
    }
}
