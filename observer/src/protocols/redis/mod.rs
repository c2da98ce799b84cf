//! What Redis sessions have done and are doing, by process and server.

pub mod ask;
pub mod families;
pub mod info;

use std::rc::Rc;

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::names::KeyCounts;
use observer_ebpf::protocols::redis::layout::{
    COMMANDS, ERROR_KINDS, LATENCY_BUCKETS, SIZE_BUCKETS, State, TTL_BUCKETS,
};

use self::info::Info;
use super::Seen;
use super::keys::Keys;
use crate::counts::add_all;

/// Sums over sessions.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    /// Keys found and not found, by their prefix.
    pub keys: Keys,
    /// `GET`s by latency.
    pub gets: [u64; LATENCY_BUCKETS],
    /// Nanoseconds of all.
    pub get_ns: u64,
    /// `SET`s by latency.
    pub sets: [u64; LATENCY_BUCKETS],
    /// Nanoseconds of all.
    pub set_ns: u64,
    /// By command.
    pub commands: [u64; COMMANDS],
    /// By kind.
    pub errors: [u64; ERROR_KINDS],
    /// Values written by size.
    pub sizes: [u64; SIZE_BUCKETS],
    /// Bytes of all.
    pub value_bytes: u64,
    /// Times to live given.
    pub ttls: [u64; TTL_BUCKETS],
    /// Milliseconds of all.
    pub ttl_ms: u64,
    /// Values written without one.
    pub writes_without_ttl: u64,
    /// Replies that were not matched to their commands.
    pub unmatched: u64,
    /// What the server said of itself, when it last did.
    pub info: Info,
    /// Those that are open.
    pub open: Open,
}

/// Sessions that are open, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// A command is unanswered.
    pub active: u64,
    /// None is.
    pub idle: u64,
    /// One is that waits by its nature.
    pub blocked: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            gets: [0; LATENCY_BUCKETS],
            get_ns: 0,
            sets: [0; LATENCY_BUCKETS],
            set_ns: 0,
            commands: [0; COMMANDS],
            errors: [0; ERROR_KINDS],
            sizes: [0; SIZE_BUCKETS],
            value_bytes: 0,
            ttls: [0; TTL_BUCKETS],
            ttl_ms: 0,
            writes_without_ttl: 0,
            unmatched: 0,
            info: Info::default(),
            open: Open::default(),
        }
    }
}

impl super::Totals for Totals {
    fn add(&mut self, seen: &Seen<'_>) {
        let counters = seen.connection.redis();
        add_all(&mut self.gets, &counters.gets);
        self.get_ns += counters.get_ns;
        add_all(&mut self.sets, &counters.sets);
        self.set_ns += counters.set_ns;
        add_all(&mut self.commands, &counters.commands);
        add_all(&mut self.errors, &counters.errors);
        add_all(&mut self.sizes, &counters.sizes);
        self.value_bytes += counters.value_bytes;
        add_all(&mut self.ttls, &counters.ttls);
        self.ttl_ms += counters.ttl_ms;
        self.writes_without_ttl += u64::from(counters.writes_without_ttl);
        self.unmatched += u64::from(counters.unmatched);
        self.keys.add_other(counters.hits_other, counters.misses_other);
        self.info = self.info.newest(Info::of(seen.connection));
    }

    fn add_open(&mut self, seen: &Seen<'_>) {
        self.open.add(seen.connection);
    }

    fn add_totals(&mut self, other: &Self) {
        let Self {
            keys,
            gets,
            get_ns,
            sets,
            set_ns,
            commands,
            errors,
            sizes,
            value_bytes,
            ttls,
            ttl_ms,
            writes_without_ttl,
            unmatched,
            info,
            open: Open { active, idle, blocked },
        } = other;
        self.keys.add_all(keys);
        add_all(&mut self.gets, gets);
        self.get_ns += get_ns;
        add_all(&mut self.sets, sets);
        self.set_ns += set_ns;
        add_all(&mut self.commands, commands);
        add_all(&mut self.errors, errors);
        add_all(&mut self.sizes, sizes);
        self.value_bytes += value_bytes;
        add_all(&mut self.ttls, ttls);
        self.ttl_ms += ttl_ms;
        self.writes_without_ttl += writes_without_ttl;
        self.unmatched += unmatched;
        self.info = self.info.newest(*info);
        self.open.active += active;
        self.open.idle += idle;
        self.open.blocked += blocked;
    }

    fn add_keys(&mut self, _server: &Rc<str>, prefix: &Rc<str>, counts: KeyCounts) {
        self.keys.add(prefix, counts);
    }
}

impl Open {
    /// Adds a connection.
    pub fn add(&mut self, connection: &Connection) {
        if Phase::from_u8(connection.phase) != Phase::Open {
            return;
        }
        let counters = connection.redis();
        if counters.is_blocked() {
            self.blocked += 1;
            return;
        }
        if counters.is_active() {
            self.active += 1;
            return;
        }
        match State::from_u8(counters.state) {
            // Told by its port alone, and nobody has said anything since: a pool's, most likely.
            State::None if connection.protocol == Protocol::Unknown as u8 => self.idle += 1,
            State::None => {}
            State::Session | State::Subscribed | State::Ignored => self.idle += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use observer_ebpf::layout::connection::{Connection, Phase};
    use observer_ebpf::layout::names::KeyCounts;
    use observer_ebpf::layout::{Protocol, Role};
    use observer_ebpf::protocols::redis::layout::{Command, State};

    use super::info::{Info, Told};
    use super::{Open, Seen, Totals};
    use crate::names;
    use crate::protocols::Totals as _;
    use crate::protocols::tls::Unread;

    fn session() -> Connection {
        // SAFETY: the layout is of integers only, of which all may be zero.
        let mut connection: Connection = unsafe { std::mem::zeroed() };
        connection.phase = Phase::Open as u8;
        connection.protocol = Protocol::Redis as u8;
        connection.details.redis_mut().state = State::Session as u8;
        connection
    }

    #[test]
    fn sums_are_over_sessions() {
        let mut connection = session();
        let counters = connection.details.redis_mut();
        counters.commands[Command::Get as usize] = u32::MAX;
        counters.gets[1] = 2;
        counters.get_ns = 500_000;
        (counters.hits_other, counters.misses_other) = (3, 4);
        (counters.memory_ns, counters.memory_used) = (9, 1024);
        (counters.limit_ns, counters.memory_limit) = (9, 4096);
        (counters.evicted_ns, counters.evicted_keys) = (7, 5);
        let mut totals = Totals::default();
        for connection in [&connection, &connection, &session()] {
            totals.add(&Seen {
                connection,
                role: Role::Client,
                server: None,
                rate: None,
                unread: Unread::Off,
            });
        }
        assert_eq!(totals.commands[Command::Get as usize], 2 * u64::from(u32::MAX));
        assert_eq!((totals.gets[1], totals.get_ns), (4, 1_000_000));
        assert_eq!(totals.keys, [(names::OTHER, KeyCounts { hits: 6, misses: 8 })].into());
        let told = |at_ns, value| Some(Told { at_ns, value });
        let Info { memory_used, memory_limit, evicted_keys, .. } = totals.info;
        assert_eq!([memory_used, memory_limit, evicted_keys], [told(9, 1024), told(9, 4096), told(7, 5)]);
    }

    #[test]
    fn sessions_are_active_blocked_or_idle() {
        let mut open = Open::default();
        let mut add = |state: State, [asked, answered]: [u32; 2], [waits, over]: [u16; 2]| {
            let mut connection = session();
            let counters = connection.details.redis_mut();
            (counters.state, counters.asked, counters.answered) = (state as u8, asked, answered);
            (counters.waits_asked, counters.waits_answered) = (waits, over);
            open.add(&connection);
            [open.active, open.idle, open.blocked]
        };
        assert_eq!(add(State::Session, [2, 1], [7, 7]), [1, 0, 0]);
        assert_eq!(add(State::Session, [u32::MAX, u32::MAX], [0, 0]), [1, 1, 0]);
        assert_eq!(add(State::Subscribed, [0, 0], [0, 0]), [1, 2, 0]);
        assert_eq!(add(State::Ignored, [2, 1], [1, 0]), [1, 3, 0]);
        assert_eq!(add(State::Session, [0, u32::MAX], [0, u16::MAX]), [1, 3, 1]);
        let mut gone = session();
        gone.phase = Phase::Closed as u8;
        open.add(&gone);
        assert_eq!(open, Open { active: 1, idle: 3, blocked: 1 });
    }
}
