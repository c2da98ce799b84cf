//! Telling the agent at once.

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::event::Oversized;

use crate::maps::EVENTS;
use crate::{clock, losses, slots};

/// Tells the agent of an oversized message, and which thresholds it has reached.
#[inline(never)]
pub fn oversized(index: u32, direction: u32, size: u64, first: u32, last: u32) {
    let Some(connection) = slots::slot(index) else { return };
    if connection.protocol != Protocol::WebSocket as u8 {
        return;
    }
    let Some(mut record) = EVENTS.reserve_untyped::<Oversized>(0) else {
        losses::event_lost();
        return;
    };
    // Member by member: put together on the stack it would take a fifth of it.
    // SAFETY: room for a record, all of whose members are set; each may hold anything until then.
    let event = unsafe { &mut *record.as_mut_ptr() };
    event.time_ns = clock::monotonic_ns();
    event.connection = connection.id;
    event.size = size;
    event.owner = connection.owner;
    event.comm = connection.comm;
    event.local = connection.local;
    event.remote = connection.remote;
    event.client = connection.client;
    event.local_port = connection.local_port;
    event.remote_port = connection.remote_port;
    event.family = connection.family;
    event.direction = direction as u8;
    event.role = connection.role;
    event.index = index;
    event.client_port = connection.client_port;
    event.first = first as u8;
    event.last = last as u8;
    record.submit(0);
}
