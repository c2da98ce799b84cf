//! The agent's book of connections: each element of the arena followed from its first sight to its last,
//! and its counts added up where they outlive it.
//!
//! What a row counts must never decrease. So what may still change its label (bytes of a connection whose
//! protocol is not settled) is added once it is settled, connection by connection; what cannot (WebSocket
//! counters) is the sum of those that are gone and those that are there.

mod ticks;
mod view;

pub use ticks::Flow;
pub use view::View;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use observer_ebpf::layout::connection::{
    Connection, FLAG_ADOPTED, FLAG_CONTINUATION, FLAG_CONTINUED, Owner, Phase,
};
use observer_ebpf::layout::redis::{CountKey, KeyCounts};
use observer_ebpf::layout::{Direction, Protocol, Role};

use crate::address::{self, Hints};
use crate::postgres;
use crate::process::{Identity, OUTSIDE, Processes};
use crate::rates::minute::{Excess, Minute};
use crate::rates::node::Node;
use crate::rates::{Sample, Ticks, Window};
use crate::redis;
use crate::redis::keys::Keys;
use crate::totals::{Sizes, Totals, close_code};

/// How long a connection's protocol may stay open before it counts as what it is then: without bytes, and
/// with some.
const SILENT_NS: u64 = 1_000_000_000;
const UNDECIDED_NS: u64 = 10_000_000_000;

/// Members past which those outside the agent's pid namespace are forgotten once nothing of theirs is in use, for
/// it is not known when they end.
const OUTSIDE_KEPT: usize = 1_000;

/// Processes of one name in one container, in one role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// Their name.
    pub process: String,
    /// Their container's id, or empty.
    pub container: String,
    /// Their end of the connections.
    pub role: Role,
}

/// Processes of one name, and the server's end.
pub type Served = (Group, Rc<str>);

/// A process in one role.
pub type Member = (Rc<Identity>, Role);

/// A connection as the agent follows it.
#[derive(Debug)]
struct Track {
    id: u64,
    identity: Option<Rc<Identity>>,
    opened: bool,
    closed: bool,
    connected: bool,
    absorbed: [u64; 2],
    window: Option<Box<Window>>,
    last: Sample,
    /// Ticks that it was there at, as far as they matter to a window.
    ticks: u8,
    /// Of a WebSocket.
    minute: Option<Box<Minute>>,
    /// The server's end, where it is a label.
    server: Option<Rc<str>>,
}

/// What the agent knows of an element.
#[derive(Debug, Default)]
enum Slot {
    /// Nothing yet.
    #[default]
    New,
    /// In use.
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
    totals: HashMap<Group, Totals>,
    sizes: HashMap<Member, [Sizes; 2]>,
    postgres: HashMap<Served, postgres::Totals>,
    redis: HashMap<Served, redis::Totals>,
    keys: Keys,
    members: HashSet<Rc<Identity>>,
    ticks: Ticks,
    node: Node,
    message_rate_limit: u64,
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
    pub fn new(processes: Processes, hints: Hints, limits: Limits, now_ns: u64) -> Self {
        Self {
            ticks: Ticks::new(now_ns),
            node: Node::new(limits.messages_per_second, now_ns),
            message_rate_limit: limits.messages_per_minute,
            processes,
            hints,
            slots: Vec::new(),
            totals: HashMap::new(),
            sizes: HashMap::new(),
            postgres: HashMap::new(),
            redis: HashMap::new(),
            keys: Keys::default(),
            members: HashSet::new(),
        }
    }

    /// Looks at an element that is in use or was. False if it was handed back and not used since.
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

    /// Whether the server's end of an element that is in use is a label and not known yet. A connection that
    /// has only begun may still be told by its server's port.
    pub fn needs_server(&self, index: u32, connection: &Connection) -> bool {
        matches!(self.session_protocol(connection), Protocol::Postgres | Protocol::Redis)
            && matches!(
                self.slots.get(index as usize),
                Some(Slot::Tracked(track)) if track.server.is_none()
            )
    }

    /// Takes note of the server's end.
    pub fn name_server(&mut self, index: u32, server: String) {
        if let Slot::Tracked(track) = self.slot(index) {
            track.server = Some(server.into());
        }
    }

    /// Takes the last look at an element whose connection is gone: from now on it may be used again. Tells if
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
        let group = Group::of(&identity, role);
        self.totals.entry(group.clone()).or_default().add_counters(connection);
        if let Some(server) = server {
            match Protocol::from_u8(connection.protocol) {
                Protocol::Postgres => {
                    self.postgres.entry((group, server)).or_default().add(connection);
                }
                Protocol::Redis => {
                    let place = (group, server);
                    self.redis.entry(place.clone()).or_default().add(connection);
                    self.keys.retire(connection.id, place, now_ns);
                }
                Protocol::Unknown | Protocol::Http | Protocol::WebSocket | Protocol::Tls => {}
            }
        }
        if self.protocol(connection) == Protocol::WebSocket {
            let sizes = self.sizes.entry((identity, role)).or_default();
            for (total, counters) in sizes.iter_mut().zip(connection.websocket()) {
                total.add(counters);
            }
        }
        excess
    }

    /// Sizes of WebSocket messages on connections that are gone, in both directions.
    pub fn sizes_of_gone(&self) -> Sizes {
        let mut sum = Sizes::default();
        self.sizes.values().flatten().for_each(|sizes| sum.merge(sizes));
        sum
    }

    /// A Redis connection's counts of keys by prefix, when they were last read.
    pub fn keys_of(&self, connection: u64) -> &[(u64, KeyCounts)] {
        self.keys.of(connection)
    }

    /// Takes all counts of Redis keys. Returns those that are to be removed from the map that holds them;
    /// [`Ledger::settle_keys`] must be told how that went.
    pub fn take_keys(&mut self, counts: &[(CountKey, KeyCounts)], now_ns: u64) -> Vec<(CountKey, KeyCounts)> {
        if counts.is_empty() {
            return self.keys.take(counts, &HashSet::new(), now_ns);
        }
        let in_use = self.slots.iter().filter_map(|slot| match slot {
            Slot::Tracked(track) => Some(track.id),
            Slot::New | Slot::HandedBack(_) => None,
        });
        self.keys.take(counts, &in_use.collect(), now_ns)
    }

    /// Takes note of which counts of Redis keys were removed, and whether those are all that were to be.
    pub fn settle_keys(&mut self, removed: &[(CountKey, KeyCounts)], is_all: bool) {
        let redis = &mut self.redis;
        self.keys.settle(removed, is_all, |served, prefix, counts| {
            redis.entry(served.clone()).or_default().add_keys(prefix, counts);
        });
    }

    /// Whether counts of Redis keys wait to be removed.
    pub fn keys_are_due(&self, now_ns: u64) -> bool {
        self.keys.are_due(now_ns)
    }

    /// Forgets processes that are gone, with all they did. To be called after a view of it was shown.
    pub fn forget_dead(&mut self, dead: &HashSet<Rc<Identity>>) {
        self.members.retain(|member| !dead.contains(member));
        self.sizes.retain(|(identity, _), _| !dead.contains(identity));
        let alive: HashSet<(&str, &str)> =
            self.members.iter().map(|member| (member.name.as_str(), member.container.as_str())).collect();
        let is_alive = |group: &Group| alive.contains(&(group.process.as_str(), group.container.as_str()));
        self.totals.retain(|group, _| is_alive(group));
        self.postgres.retain(|(group, _), _| is_alive(group));
        self.redis.retain(|(group, _), _| is_alive(group));
        self.keys.retain(|(group, _)| is_alive(group));
        self.processes.retain(|identity| !dead.contains(identity));
    }

    /// Processes that are gone, and none of whose connections is in use.
    pub fn dead(&self) -> HashSet<Rc<Identity>> {
        let mut seen = HashSet::new();
        let used: HashSet<&Rc<Identity>> = self
            .slots
            .iter()
            .filter_map(|slot| match slot {
                Slot::Tracked(track) => track.identity.as_ref(),
                Slot::New | Slot::HandedBack(_) => None,
            })
            // Most are one of few, and where one is takes less to compare than what it is.
            .filter(|identity| seen.insert(Rc::as_ptr(identity)))
            .collect();
        self.members
            .iter()
            .filter(|member| !used.contains(member))
            .filter(|member| {
                let is_crowd = member.start_ns == OUTSIDE && self.members.len() > OUTSIDE_KEPT;
                is_crowd || !self.processes.is_alive(member.pid, member.start_ns)
            })
            .cloned()
            .collect()
    }

    /// Processes that anything is held of.
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Who a process is.
    pub fn identify(&mut self, owner: Owner, comm: [u8; 16]) -> Rc<Identity> {
        self.processes.identify(owner, comm)
    }

    /// What a connection speaks: one first seen in the middle may be told by its port, for want of more.
    fn protocol(&self, connection: &Connection) -> Protocol {
        let protocol = Protocol::from_u8(connection.protocol);
        if protocol == Protocol::Unknown && connection.flags & FLAG_ADOPTED != 0 {
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

    /// Adds what is told once for a connection, and what can no longer change its label.
    fn absorb(&mut self, index: u32, connection: &Connection, now_ns: u64, last: bool) {
        let protocol = self.protocol(connection);
        let phase = Phase::from_u8(connection.phase);
        let used = connection.owner.start_ns != 0;
        let identified = matches!(self.slot(index), Slot::Tracked(track) if track.identity.is_some());
        if !identified && !used && !last {
            return;
        }
        let identity = if identified { None } else { Some(self.identify(connection.owner, connection.comm)) };
        let Slot::Tracked(track) = &mut self.slots[index as usize] else { return };
        if let Some(identity) = identity {
            self.members.insert(Rc::clone(&identity));
            track.identity = Some(identity);
        }
        let Some(identity) = &track.identity else { return };
        let over = phase == Phase::Closed || phase == Phase::Failed || last;
        let age = now_ns.saturating_sub(connection.seen_ns);
        let silent = connection.bytes == [0; 2];
        let settled = connection.pending == 0 || over || age > UNDECIDED_NS || (silent && age > SILENT_NS);

        let changed = [0, 1].map(|at| connection.bytes[at] - track.absorbed[at].min(connection.bytes[at]));
        let connects = !track.connected && phase != Phase::Connecting;
        let opens = !track.opened && settled && phase != Phase::Connecting;
        let closes = !track.closed && over && settled && connection.flags & FLAG_CONTINUED == 0;
        let moved = settled && changed != [0; 2];
        if !(connects || opens || closes || moved) {
            return;
        }
        let totals = self.totals.entry(Group::of(identity, Role::from_u8(connection.role))).or_default();
        let by_protocol = protocol as usize;
        let fresh = connection.flags & (FLAG_ADOPTED | FLAG_CONTINUATION) == 0;
        if connects {
            track.connected = true;
            if connection.flags & FLAG_CONTINUATION == 0 {
                totals.add_connect(connection);
            }
        }
        if opens {
            track.opened = true;
            if fresh && phase != Phase::Failed {
                totals.opened[by_protocol] += 1;
            }
        }
        if settled {
            for direction in Direction::ALL {
                totals.bytes[by_protocol][direction as usize] += changed[direction as usize];
            }
            track.absorbed = connection.bytes;
        }
        if closes {
            track.closed = true;
            if phase != Phase::Failed {
                totals.closed[by_protocol] += 1;
                if protocol == Protocol::WebSocket {
                    *totals.closes.entry(close_code(connection).flatten()).or_default() += 1;
                }
            }
        }
    }
}

impl Track {
    fn new(connection: &Connection) -> Self {
        Self {
            id: connection.id,
            identity: None,
            opened: false,
            closed: false,
            connected: false,
            absorbed: [0; 2],
            window: None,
            server: None,
            // Every element counts from nothing.
            last: [0; 4],
            ticks: 0,
            minute: None,
        }
    }
}

impl Group {
    fn of(identity: &Identity, role: Role) -> Self {
        Self { process: identity.name.clone(), container: identity.container.clone(), role }
    }

    fn nobody(role: Role) -> Self {
        Self { process: crate::process::NOBODY.to_owned(), container: String::new(), role }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use observer_ebpf::layout::connection::{AF_INET, Connection, FLAG_ADOPTED, Phase};
    use observer_ebpf::layout::redis::{Command, CountKey, KeyCounts, State};
    use observer_ebpf::layout::{Protocol, Role};

    use super::{Ledger, Limits, View};
    use crate::address::Hints;
    use crate::process::Processes;

    const SECOND: u64 = 1_000_000_000;

    fn ledger() -> Ledger {
        let limits = Limits { messages_per_minute: 100, messages_per_second: 10_000 };
        let hints = Hints(vec![(Protocol::Redis, 6379)]);
        Ledger::new(Processes::new(Path::new("/nonexistent")), hints, limits, 0)
    }

    /// A Redis server's end of a connection that has had `commands`.
    fn session(id: u64, commands: u32) -> Connection {
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
            ledger.name_server(index, "10.0.0.7:6379".to_owned());
        }
    }

    /// The only server's commands, keys found under prefix 2, and idle connections.
    fn shown(view: &View) -> (u64, u64, u64) {
        assert_eq!(view.redis.len(), 1);
        let ((group, server), (totals, open)) = view.redis.first_key_value().expect("there is one");
        assert_eq!((&*group.process, group.role, &**server), ("redis", Role::Server, "10.0.0.7:6379"));
        let hits = totals.keys.get(&2).map_or(0, |counts| counts.hits);
        (totals.commands[Command::Get as usize], hits, open.idle)
    }

    #[test]
    fn what_a_redis_session_did_outlives_it_and_its_counts_in_the_map() {
        let mut ledger = ledger();
        let (one, other) = (session(1, 5), session(2, 7));
        see(&mut ledger, 0, &one, 0);
        see(&mut ledger, 1, &other, 0);
        let count = |connection, hits| (CountKey { connection, prefix: 2 }, KeyCounts { hits, misses: 0 });
        assert_eq!(ledger.take_keys(&[count(1, 4), count(2, 6)], 0), []);
        ledger.settle_keys(&[], true);
        assert_eq!(shown(&ledger.view([(0, &one), (1, &other)].into_iter())), (12, 10, 2));

        ledger.close(0, &one, SECOND);
        assert_eq!(shown(&ledger.view([(1, &other)].into_iter())), (12, 10, 1));
        assert!(!ledger.keys_are_due(SECOND) && ledger.keys_are_due(2 * SECOND));
        let over = ledger.take_keys(&[count(1, 4), count(2, 6)], 2 * SECOND);
        assert_eq!(over, [count(1, 4)]);
        ledger.settle_keys(&over, true);
        assert_eq!(shown(&ledger.view([(1, &other)].into_iter())), (12, 10, 1));

        // The element is used again, by a connection that counts from nothing.
        let next = session(3, 1);
        see(&mut ledger, 0, &next, 3 * SECOND);
        assert_eq!(ledger.take_keys(&[count(2, 6), count(3, 1)], 3 * SECOND), []);
        assert_eq!(shown(&ledger.view([(0, &next), (1, &other)].into_iter())), (13, 11, 2));
    }

    #[test]
    fn a_silent_connection_from_before_the_agent_is_told_by_its_port() {
        let mut ledger = ledger();
        let mut silent = session(1, 0);
        silent.protocol = Protocol::Unknown as u8;
        silent.bytes = [0; 2];
        see(&mut ledger, 0, &silent, 0);
        assert_eq!(ledger.view([(0, &silent)].into_iter()).redis.len(), 0, "it may be anything");
        silent.id = 2;
        silent.flags = FLAG_ADOPTED;
        see(&mut ledger, 0, &silent, 0);
        assert_eq!(shown(&ledger.view([(0, &silent)].into_iter())), (0, 0, 1));
    }
}
