//! `sock:sock_send_length` and `sock:sock_recv_length` (`include/trace/events/sock.h`, since 6.3): every send and receive
//! on a socket, after it happened, in the caller's context.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::layout::Direction;

use crate::calls::spares::Instance;
use crate::calls::{Seen, moved};
use crate::kernel::Sock;

/// A send.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(context: BtfTracePointContext) -> i32 {
    sent(&context, Instance::First, 0)
}

/// A receive.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(context: BtfTracePointContext) -> i32 {
    received(&context, Instance::First, 1)
}

/// A send: see [`crate::calls::spares`].
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_spare(context: BtfTracePointContext) -> i32 {
    sent(&context, Instance::Spare, 2)
}

/// A receive: see [`crate::calls::spares`].
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_spare(context: BtfTracePointContext) -> i32 {
    received(&context, Instance::Spare, 3)
}

#[inline(always)]
fn sent(context: &BtfTracePointContext, instance: Instance, room: u32) -> i32 {
    let seen = Seen { direction: Direction::Sent, instance, room, ample_stack: true };
    moved(Sock(context.arg(0)), context.arg(1), 0, seen);
    0
}

#[inline(always)]
fn received(context: &BtfTracePointContext, instance: Instance, room: u32) -> i32 {
    let seen = Seen { direction: Direction::Received, instance, room, ample_stack: true };
    moved(Sock(context.arg(0)), context.arg(1), context.arg(2), seen);
    0
}
