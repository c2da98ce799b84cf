//! Telling the agent at once.

use observer_ebpf::layout::Protocol;
use observer_ebpf::layout::event::Oversized;

use crate::maps::EVENTS;
use crate::{clock, connections, health};

/// Tells the agent of an oversized message.
#[inline(never)]
pub fn oversized(index: u32, direction: u32, size: u64, category: u32) {
    let Some(connection) = connections::connection(index) else { return };
    if connection.protocol != Protocol::WebSocket as u8 {
        return;
    }
    let Some(mut record) = EVENTS.reserve_untyped::<Oversized>(0) else {
        health::event_lost();
        return;
    };
    record.write(Oversized {
        time_ns: clock::monotonic_ns(),
        connection: connection.id,
        size,
        owner: connection.owner,
        comm: connection.comm,
        local: connection.local,
        remote: connection.remote,
        local_port: connection.local_port,
        remote_port: connection.remote_port,
        family: connection.family,
        direction: direction as u8,
        role: connection.role,
        index,
        category,
    });
    record.submit(0);
}
