//! The book a second at a time: rates of connections, of the node and of its users.

use std::rc::Rc;

use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::{Protocol, Role};

use super::{Ledger, Slot};
use crate::connections;
use crate::labels::Group;
use crate::process::Identity;
use crate::protocols::websocket::messages_of;
use crate::protocols::websocket::minute::{Excess, Minute};
use crate::protocols::websocket::node::Node;
use crate::rates::{Sample, Window};

/// An open connection, for those who look at single ones.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    /// What it speaks.
    pub protocol: Protocol,
    /// The process whose connection it is.
    pub identity: Option<&'a Rc<Identity>>,
    /// Bytes, then messages, a second, each by direction.
    pub rates: [f64; 4],
}

impl Ledger {
    /// Takes a second's sample of a slot that is in use. Tells if its user has gone over the limit.
    pub fn tick(&mut self, index: u32, connection: &Connection, now_ns: u64) -> Option<Excess> {
        let sample = sample(connection);
        let excess = self.count_messages(index, connection, now_ns);
        let Slot::Tracked(track) = self.slot(index) else { return None };
        if let Some(window) = &mut track.window {
            window.push(&track.last, &sample);
            if window.is_idle() {
                track.window = None;
            }
        } else if sample != track.last {
            let mut window = Window::new(track.ticks);
            window.push(&track.last, &sample);
            track.window = Some(Box::new(window));
        }
        track.last = sample;
        track.ticks = track.ticks.saturating_add(1);
        excess
    }

    /// Takes note that every slot was sampled, for a second is over.
    pub fn end_tick(&mut self, now_ns: u64) {
        self.ticks.push(now_ns);
        self.node.tick(now_ns);
    }

    /// Counts the messages of a slot since it was last sampled, for the node and for its user.
    pub(super) fn count_messages(
        &mut self,
        index: u32,
        connection: &Connection,
        now_ns: u64,
    ) -> Option<Excess> {
        if Protocol::from_u8(connection.protocol) != Protocol::WebSocket {
            return None;
        }
        let Slot::Tracked(track) = self.slots.get_mut(index as usize)? else { return None };
        let [_, _, sent, received] = sample(connection);
        let [_, _, sent_before, received_before] = track.last;
        let more = [sent.saturating_sub(sent_before), received.saturating_sub(received_before)];
        self.node.count(connection, more, now_ns);

        let role = Role::from_u8(connection.role);
        let minute = track.minute.get_or_insert_with(|| Box::new(Minute::new(connection.seen_ns, now_ns)));
        let limit = self.message_rate_limit;
        let look = minute.look([sent, received], role.request_direction(), limit, now_ns);
        let is_open = Phase::from_u8(connection.phase) == Phase::Open;
        let full = look.full.filter(|_| is_open);
        if full.is_some() || look.excess.is_some() {
            let totals = self.totals.entry(Group::of(track.identity.as_ref()?, role)).or_default();
            let totals = &mut totals.books.websocket;
            for (minutes, messages) in totals.minutes.iter_mut().zip(full.into_iter().flatten()) {
                minutes.add(messages);
            }
            totals.high_rate += u64::from(look.excess.is_some());
        }
        look.excess
    }

    /// The node's own rate.
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// An open connection with its rates.
    pub fn flow(&self, index: u32, connection: &Connection) -> Option<Flow<'_>> {
        let Some(Slot::Tracked(track)) = self.slots.get(index as usize) else { return None };
        if Phase::from_u8(connection.phase) != Phase::Open {
            return None;
        }
        Some(Flow {
            protocol: self.protocol(connection),
            identity: track.identity.as_ref(),
            rates: track.window.as_ref().map_or([0.0; 4], |window| window.rates(&self.ticks)),
        })
    }
}

fn sample(connection: &Connection) -> Sample {
    let [sent, received] = connections::bytes(connection);
    let [messages_sent, messages_received] = messages_of(connection);
    [sent, received, messages_sent, messages_received]
}
