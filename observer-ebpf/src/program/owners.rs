//! Whose a connection is: the process that uses its socket, which may change.

use observer_ebpf::layout::socket::Socket;

use crate::kernel::Task;
use crate::{clock, losses, slots};

/// Changes of owner that may follow one another at once; then as many after [`HANDOFF_JIFFIES`].
pub const HANDOFFS: u32 = 16;
/// A quarter of a second to two and a half, by how fast the kernel's clock ticks.
const HANDOFF_JIFFIES: u64 = 250;

/// Makes `task`'s process the one that uses the socket. What was counted so far stays with the one before.
#[inline(never)]
pub fn hand_over(socket: &mut Socket, task: Task) {
    let owner = task.owner();
    let Some(before) = slots::slot(socket.index) else { return };
    if before.owner.start_ns == 0 {
        // Nobody had used it: a connection that waited to be accepted, most likely.
        task.comm(&mut before.comm);
        before.owner = task.owner_to_agent();
        socket.owner = owner;
        return;
    }
    let now = clock::jiffies();
    if now.wrapping_sub(socket.handoff_jiffies) >= HANDOFF_JIFFIES {
        socket.handoffs = HANDOFFS;
        socket.handoff_jiffies = now;
    } else if socket.handoffs == 0 {
        // Two processes that take turns: following each would cost a slot each time.
        losses::handoff_refused();
        return;
    }
    socket.handoffs -= 1;
    if let Some(next) = slots::continue_in_another(socket, before, task.owner_to_agent()) {
        task.comm(&mut next.comm);
        socket.owner = owner;
    }
}
