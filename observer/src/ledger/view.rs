//! The book at one moment: what connections that are gone have done, and what those that are there have.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::rc::Rc;

use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::redis::KeyCounts;
use observer_ebpf::layout::{Protocol, Role};

use super::{Group, Ledger, Member, Served, Slot};
use crate::rates::minute::Rate;
use crate::redis::info::Info;
use crate::redis::prefixes::Names;
use crate::totals::{Sizes, Totals, messages};
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
        for (index, connection) in connections {
            let connection = connection.borrow();
            let Some(Slot::Tracked(track)) = self.slots.get(index as usize) else { continue };
            let protocol = self.protocol(connection);
            let role = Role::from_u8(connection.role);
            let group = track.identity.as_ref().map_or_else(|| Group::nobody(role), |id| Group::of(id, role));
            if let Some(identity) = &track.identity {
                view.totals.entry(group.clone()).or_default().add_counters(connection);
                if protocol == Protocol::WebSocket {
                    let sizes = view.sizes.entry((Rc::clone(identity), role)).or_default();
                    for (total, counters) in sizes.iter_mut().zip(connection.websocket()) {
                        total.add(counters);
                    }
                }
            }
            if let (Some(_), Some(server)) = (&track.identity, &track.server) {
                let served = (group.clone(), Rc::clone(server));
                match self.session_protocol(connection) {
                    Protocol::Postgres => {
                        let (totals, open) = view.postgres.entry(served).or_default();
                        totals.add(connection);
                        open.add(connection, Protocol::Postgres);
                    }
                    Protocol::Redis => {
                        let (totals, open) = view.redis.entry(served).or_default();
                        totals.add(connection);
                        add_keys(totals, self.keys.of(connection.id));
                        open.add(connection);
                    }
                    Protocol::Unknown | Protocol::Http | Protocol::WebSocket | Protocol::Tls => {}
                }
            }
            if Phase::from_u8(connection.phase) == Phase::Open {
                if protocol == Protocol::WebSocket {
                    let sofar = [0, 1].map(|at| messages(&connection.websocket()[at]));
                    let limit = self.message_rate_limit;
                    let rate = match &track.minute {
                        Some(minute) => minute.rate(sofar, role.request_direction(), limit),
                        // New since the last tick.
                        None => Rate::of(sofar[role.request_direction() as usize], limit),
                    };
                    view.users.entry(group.clone()).or_default()[rate as usize] += 1;
                }
                *view.open.entry((group, protocol)).or_default() += 1;
                let followed = matches!(
                    protocol,
                    Protocol::WebSocket | Protocol::Postgres | Protocol::Redis | Protocol::Unknown
                );
                if followed && connection.lost != [0; 2] {
                    *view.lost.entry(protocol).or_default() += 1;
                }
            }
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

fn add_keys(totals: &mut redis::Totals, keys: &[(u64, KeyCounts)]) {
    for &(prefix, counts) in keys {
        totals.add_keys(prefix, counts);
    }
}
