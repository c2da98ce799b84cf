//! The book at one moment: what connections that are gone have done, and what those that are there have.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::redis::KeyCounts;
use observer_ebpf::layout::{Protocol, Role};

use super::{Group, Ledger, Member, Served, Slot, Track};
use crate::process::Identity;
use crate::rates::minute::Rate;
use crate::redis::info::Info;
use crate::redis::prefixes::Names;
use crate::totals::{Sizes, Totals, add_all, messages};
use crate::{postgres, redis};

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct View {
    /// Counts, those of connections that are open included.
    pub totals: BTreeMap<Group, Totals>,
    /// Message sizes by process.
    pub sizes: BTreeMap<Member, [Sizes; 2]>,
    /// Postgres sessions by process and server: all they did, and those that are open.
    pub postgres: BTreeMap<Served, (postgres::Totals, postgres::Open)>,
    /// Redis sessions, likewise.
    pub redis: BTreeMap<Served, (redis::Totals, redis::Open)>,
    /// What Redis servers said of themselves, where any connection to them was told.
    pub redis_info: BTreeMap<Served, Info>,
    /// Prefixes of Redis keys by number.
    pub prefixes: Rc<Names>,
    /// Open connections by protocol.
    pub open: BTreeMap<(Group, Protocol), u64>,
    /// Open WebSocket connections by [`Rate`].
    pub users: BTreeMap<Group, [u64; Rate::ALL.len()]>,
    /// Connections out of step by protocol.
    pub lost: BTreeMap<Protocol, u64>,
}

impl Ledger {
    /// Everything, with `connections` as those in use.
    pub fn view<C: Borrow<Connection>>(&self, connections: impl Iterator<Item = (u32, C)>) -> View {
        let mut view = View {
            totals: self.totals.iter().map(|(group, totals)| (group.clone(), totals.clone())).collect(),
            sizes: self.sizes.iter().map(|(member, sizes)| (member.clone(), sizes.clone())).collect(),
            postgres: self
                .postgres
                .iter()
                .map(|(served, totals)| (served.clone(), (totals.clone(), postgres::Open::default())))
                .collect(),
            redis: self
                .redis
                .iter()
                .map(|(served, totals)| (served.clone(), (totals.clone(), redis::Open::default())))
                .collect(),
            ..View::default()
        };
        // By member first, which takes no look at names: there are many connections, and few processes.
        let mut shares: HashMap<(Option<*const Identity>, Role), Share<'_>> = HashMap::new();
        for (index, connection) in connections {
            let connection = connection.borrow();
            let Some(Slot::Tracked(track)) = self.slots.get(index as usize) else { continue };
            let role = Role::from_u8(connection.role);
            let identity = track.identity.as_ref();
            let share = shares
                .entry((identity.map(Rc::as_ptr), role))
                .or_insert_with(|| Share { identity, ..Share::default() });
            self.share(share, track, connection);
            if let (Some(identity), Some(server)) = (identity, &track.server) {
                let served = || (Group::of(identity, role), Rc::clone(server));
                match self.session_protocol(connection) {
                    Protocol::Postgres => {
                        let (totals, open) = view.postgres.entry(served()).or_default();
                        totals.add(connection);
                        open.add(connection, Protocol::Postgres);
                    }
                    Protocol::Redis => {
                        let (totals, open) = view.redis.entry(served()).or_default();
                        totals.add(connection);
                        add_keys(totals, self.keys.of(connection.id));
                        open.add(connection);
                    }
                    Protocol::Unknown | Protocol::Http | Protocol::WebSocket | Protocol::Tls => {}
                }
            }
        }
        for ((_, role), share) in shares {
            view.add(role, &share);
        }
        for (served, keys) in self.keys.of_gone() {
            if !keys.is_empty() {
                add_keys(&mut view.redis.entry(served.clone()).or_default().0, keys);
            }
        }
        view.redis_info = view
            .redis
            .iter()
            .filter(|(_, (totals, _))| totals.info.has_any())
            .map(|(served, (totals, _))| (served.clone(), totals.info))
            .collect();
        view
    }
}

/// What the connections of one process in one role have done, and how many are open.
#[derive(Default)]
struct Share<'a> {
    identity: Option<&'a Rc<Identity>>,
    totals: Totals,
    /// Of its messages, if it has a WebSocket.
    sizes: Option<[Sizes; 2]>,
    open: [u64; PROTOCOLS],
    lost: [u64; PROTOCOLS],
    users: [u64; Rate::ALL.len()],
}

const PROTOCOLS: usize = Protocol::ALL.len();

impl Ledger {
    /// Adds a connection to its process's share.
    fn share(&self, share: &mut Share<'_>, track: &Track, connection: &Connection) {
        let protocol = self.protocol(connection);
        if share.identity.is_some() {
            share.totals.add_counters(connection);
            if protocol == Protocol::WebSocket {
                let sizes = share.sizes.get_or_insert_default();
                for (total, counters) in sizes.iter_mut().zip(connection.websocket()) {
                    total.add(counters);
                }
            }
        }
        if Phase::from_u8(connection.phase) != Phase::Open {
            return;
        }
        if protocol == Protocol::WebSocket {
            share.users[self.rate(track, connection) as usize] += 1;
        }
        share.open[protocol as usize] += 1;
        let followed = matches!(
            protocol,
            Protocol::WebSocket | Protocol::Postgres | Protocol::Redis | Protocol::Unknown
        );
        if followed && connection.lost != [0; 2] {
            share.lost[protocol as usize] += 1;
        }
    }

    /// How the user of a WebSocket connection is doing.
    fn rate(&self, track: &Track, connection: &Connection) -> Rate {
        let so_far = [0, 1].map(|at| messages(&connection.websocket()[at]));
        let user = Role::from_u8(connection.role).request_direction();
        match &track.minute {
            Some(minute) => minute.rate(so_far, user, self.message_rate_limit),
            // New since the last tick.
            None => Rate::of(so_far[user as usize], self.message_rate_limit),
        }
    }
}

impl View {
    fn add(&mut self, role: Role, share: &Share<'_>) {
        let group = share.identity.map_or_else(|| Group::nobody(role), |identity| Group::of(identity, role));
        if let Some(identity) = share.identity {
            self.totals.entry(group.clone()).or_default().merge(&share.totals);
            if let Some(more) = &share.sizes {
                let sizes = self.sizes.entry((Rc::clone(identity), role)).or_default();
                for (total, more) in sizes.iter_mut().zip(more) {
                    total.merge(more);
                }
            }
        }
        for protocol in Protocol::ALL {
            let (open, lost) = (share.open[protocol as usize], share.lost[protocol as usize]);
            if open > 0 {
                *self.open.entry((group.clone(), protocol)).or_default() += open;
            }
            if lost > 0 {
                *self.lost.entry(protocol).or_default() += lost;
            }
        }
        if share.users.iter().any(|&count| count > 0) {
            add_all(self.users.entry(group).or_default(), &share.users);
        }
    }
}

fn add_keys(totals: &mut redis::Totals, keys: &[(u64, KeyCounts)]) {
    for &(prefix, counts) in keys {
        totals.add_keys(prefix, counts);
    }
}
