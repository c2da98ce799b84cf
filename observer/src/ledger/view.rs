//! The book at one moment: what connections that are gone have done, and what those that are there have.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use observer_ebpf::layout::connection::{Connection, FLAG_CONTINUED, Phase};
use observer_ebpf::layout::{Protocol, Role};

use super::{GroupTotals, Ledger, Slot, Track};
use crate::connections;
use crate::labels::{Group, Member, ServerKey};
use crate::process::Identity;
use crate::protocols::Seen;
use crate::protocols::redis::info::Info;
use crate::protocols::websocket::minute::Rate;
use crate::protocols::websocket::{MessageSizes, messages_of};
use crate::queues::Rows;

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct View {
    /// When: `CLOCK_MONOTONIC` in nanoseconds.
    pub now_ns: u64,
    /// All that was done, and what is open.
    pub groups: BTreeMap<Group, GroupTotals>,
    /// Sizes of WebSocket messages by process.
    pub message_sizes: BTreeMap<Member, [MessageSizes; 2]>,
    /// What Redis servers said of themselves, where any connection to them was told.
    pub redis_info: BTreeMap<ServerKey, Info>,
    /// Message queues.
    pub queues: Rows,
    /// Open connections by protocol, and by whether they are encrypted.
    pub open: BTreeMap<(Group, Protocol, bool), u64>,
    /// Open connections out of sync with their parser, by protocol.
    pub lost: [u64; Protocol::COUNT],
}

impl Ledger {
    /// Everything as it is `now_ns`, with `connections` as those in use.
    pub fn view<C: Borrow<Connection>>(
        &self,
        connections: impl Iterator<Item = (u32, C)>,
        now_ns: u64,
    ) -> View {
        let mut view = View {
            now_ns,
            groups: self.totals.iter().map(|(group, totals)| (group.clone(), totals.clone())).collect(),
            message_sizes: self
                .message_sizes
                .iter()
                .map(|(member, sizes)| (member.clone(), sizes.clone()))
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
        }
        for ((_, role), share) in shares {
            view.add(role, &share);
        }
        for (group, totals) in &view.groups {
            for (server, totals) in &totals.books.redis {
                if totals.info.has_any() {
                    view.redis_info.insert((group.clone(), Rc::clone(server)), totals.info);
                }
            }
        }
        view
    }
}

/// What the connections of one process in one role have done, and how many are open.
#[derive(Default)]
struct Share<'a> {
    identity: Option<&'a Rc<Identity>>,
    totals: GroupTotals,
    /// Sizes of its messages, if it has a WebSocket.
    message_sizes: Option<[MessageSizes; 2]>,
    /// In the clear, and encrypted.
    open: [[u64; Protocol::COUNT]; 2],
    lost: [u64; Protocol::COUNT],
}

impl Ledger {
    /// Adds a connection to its process's share.
    fn share(&self, share: &mut Share<'_>, track: &Track, connection: &Connection) {
        let protocol = self.protocol(connection);
        let is_open = Phase::from_u8(connection.phase) == Phase::Open;
        if share.identity.is_some() {
            let is_user = is_open && protocol == Protocol::WebSocket;
            let seen = Seen {
                connection,
                role: Role::from_u8(connection.role),
                server: track.server.as_ref(),
                rate: is_user.then(|| self.rate(track, connection)),
                unread: self.plaintext.unread(connection),
            };
            let session = self.session_protocol(connection);
            share.totals.add(session, &seen);
            share.totals.books.add_open(session, &seen);
            if protocol == Protocol::WebSocket {
                let sizes = share.message_sizes.get_or_insert_default();
                // What goes on in another slot is unfinished there.
                let goes_on_here = is_open && connection.flags & FLAG_CONTINUED == 0;
                for (total, counters) in sizes.iter_mut().zip(&connection.websocket().streams) {
                    total.add(counters);
                    if goes_on_here {
                        total.unfinished += counters.unfinished;
                    }
                }
            }
        }
        if is_open {
            share.open[usize::from(connections::is_encrypted(connection))][protocol as usize] += 1;
            share.lost[protocol as usize] += u64::from(connection.is_lost());
        }
    }

    /// How the user of a WebSocket connection is doing.
    fn rate(&self, track: &Track, connection: &Connection) -> Rate {
        let so_far = messages_of(connection);
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
        for protocol in Protocol::ALL {
            for (encrypted, open) in [false, true].into_iter().zip(&share.open) {
                let open = open[protocol as usize];
                if open > 0 {
                    *self.open.entry((group.clone(), protocol, encrypted)).or_default() += open;
                }
            }
            self.lost[protocol as usize] += share.lost[protocol as usize];
        }
        let Some(identity) = share.identity else { return };
        self.groups.entry(group).or_default().merge(&share.totals);
        if let Some(more) = &share.message_sizes {
            let sizes = self.message_sizes.entry((Rc::clone(identity), role)).or_default();
            for (total, more) in sizes.iter_mut().zip(more) {
                total.merge(more);
            }
        }
    }
}
