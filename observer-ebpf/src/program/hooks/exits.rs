//! The exits of `inet_sendmsg`, `inet_recvmsg` (`net/ipv4/af_inet.c`), `inet6_sendmsg`, `inet6_recvmsg`
//! (`net/ipv6/af_inet6.c`), `unix_stream_sendmsg` and `unix_stream_recvmsg` (`net/unix/af_unix.c`): every send
//! and receive on a socket, where the kernel has no tracepoint for them, which is before 6.3.
//!
//! `sock_sendmsg` and `sock_recvmsg` would be fewer, but `sendmmsg` and `recvmmsg` go past them, and a compiler
//! may make them part of their callers in the same file. These are the members of `struct proto_ops` that all
//! of that ends in, and are called by their address or from another file: they cannot be inlined.
//!
//! Needs a kernel that can attach to a function's exit: on x86-64 since 5.5, on arm64 since 6.4.

use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use observer_ebpf::layout::Direction;

use crate::calls::spares::Instance;
use crate::calls::{Seen, moved};
use crate::globals::OFFSET_SOCKET_SK;
use crate::kernel::{Sock, member};

macro_rules! exits {
    ($($name:ident: $direction:ident, $room:literal;)*) => {
        $(
            /// A send or a receive.
            #[fexit]
            pub fn $name(context: FExitContext) -> i32 {
                exit(&context, Direction::$direction, $room);
                0
            }
        )*
    };
}

// Unlike a tracepoint's, such a program may be interrupted by another that then runs on the same processor, where
// the kernel may take that from a task in the middle of a call. But none runs within itself, so that each has room
// of its own.
exits! {
    inet_sendmsg: Sent, 0;
    inet_recvmsg: Received, 1;
    inet6_sendmsg: Sent, 2;
    inet6_recvmsg: Received, 3;
    unix_stream_sendmsg: Sent, 4;
    unix_stream_recvmsg: Received, 5;
}

/// The functions take a socket, a message, its size, and a receive's flags; then there is what they return.
#[inline(always)]
fn exit(context: &FExitContext, direction: Direction, room: u32) {
    let socket: *const u8 = context.arg(0);
    // SAFETY: the verifier knows the first argument as `struct socket`.
    let sk: *const u8 = unsafe { member(socket, OFFSET_SOCKET_SK.load()) };
    if sk.is_null() {
        return;
    }
    let (flags, result) = match direction {
        Direction::Sent => (0, context.arg(3)),
        Direction::Received => (context.arg(3), context.arg(4)),
    };
    moved(Sock(sk), result, flags, Seen { direction, instance: Instance::First, room, ample_stack: false });
}
