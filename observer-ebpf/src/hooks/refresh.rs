//! `iter/bpf_sk_storage_map` (5.9): every socket that has a state, in all network namespaces. Run once a
//! second: it marks what is still there, so that the agent finds what is gone without a hook that told it
//! (UNIX sockets have none), takes over the kernel's own counts, and finds bytes that moved past the hooks
//! on connections that are quiet otherwise.

use core::ffi::c_void;

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::{AF_UNIX, Connection};
use observer_ebpf::layout::health::{Desync, Unread};
use observer_ebpf::layout::socket::Socket;

use super::data::tcp_position;
use crate::connections;
use crate::globals::OFFSET_SOCK_STATE;
use crate::health;
use crate::kernel::Sock;
use crate::maps::CONTROL;

/// `TCP_ESTABLISHED`: the end of neither stream has taken a place in it.
const ESTABLISHED: u8 = 1;

/// What the iterator calls with (`struct bpf_iter__bpf_sk_storage_map` in `net/core/bpf_sk_storage.c`).
#[repr(C)]
struct StorageElement {
    meta: *const c_void,
    map: *const c_void,
    sk: *const u8,
    value: *const u8,
}

/// One socket.
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
#[unsafe(no_mangle)]
extern "C" fn refresh(context: *const c_void) -> i32 {
    // SAFETY: the kernel calls with this structure.
    let sk = unsafe { (&raw const (*context.cast::<StorageElement>()).sk).read_volatile() };
    if sk.is_null() {
        return 0;
    }
    let sk = Sock(sk);
    let Some(socket) = connections::socket(sk) else { return 0 };
    let Some(connection) = connections::connection(socket.index) else { return 0 };
    let Some(control) = CONTROL.get(0) else { return 0 };
    connection.pass = control.pass;
    if connection.family == AF_UNIX {
        return 0;
    }
    connections::take_retransmits(sk, connection);
    if sk.read::<u8>(OFFSET_SOCK_STATE.load()) == ESTABLISHED {
        look_for_gap(sk, socket, connection, Direction::Sent);
        look_for_gap(sk, socket, connection, Direction::Received);
    }
    0
}

/// Compares TCP's position with where the hooks last saw it. A call in progress makes a difference that is
/// gone by the next pass; bytes that moved unseen make one that stays.
#[inline(always)]
fn look_for_gap(sk: Sock, socket: &mut Socket, connection: &mut Connection, direction: Direction) {
    let at = direction as usize;
    if socket.positioned[at] == 0 {
        return;
    }
    let Some(position) = tcp_position(sk, direction) else { return };
    let expected = socket.positions[at];
    let gap = position.wrapping_sub(expected);
    let doubt = gap as i32 > 0;
    let stays = doubt && socket.doubts[at] != 0 && socket.doubted_at[at] == expected;
    socket.doubts[at] = u8::from(doubt);
    socket.doubted_at[at] = expected;
    if !stays || !connections::lock(socket, direction) {
        return;
    }
    if socket.positions[at] == expected {
        socket.positions[at] = position;
        // Bytes of a call that another one did not let in were counted then, and are in the gap.
        let contended = connections::take_contended(socket, direction);
        if contended == 0 {
            health::unread(Unread::Splice, u64::from(gap));
        }
        connection.bytes[at] += if contended == 0 { u64::from(gap) } else { contended };
        if let Some(reason) = socket.session.miss(direction, u64::from(gap), Desync::Gap, connection) {
            health::desync(socket.session.protocol(), reason);
        }
    }
    connections::unlock(socket, direction);
}
