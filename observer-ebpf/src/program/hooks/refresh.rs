//! `iter/bpf_sk_storage_map` (5.9): every socket that has a state, in all network namespaces. Run once a
//! second: it marks what is still there, so that the agent finds what is gone without a hook that told it
//! (UNIX sockets have none), takes over the kernel's own counts, round-trip time and retransmits, and finds
//! bytes that moved past the hooks on connections that are quiet otherwise.

use core::ffi::c_void;

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::{AF_UNIX, Connection};
use observer_ebpf::layout::losses::{Desync, Unread};
use observer_ebpf::layout::socket::{Position, Socket};

use crate::calls::lock;
use crate::globals::{
    OFFSET_SOCK_LOCK_OWNED, OFFSET_SOCK_STATE, OFFSET_SOCK_WRITE_PENDING, OFFSET_TCP_SRTT_US,
    OFFSET_TCP_TOTAL_RETRANS,
};
use crate::kernel::{Sock, Tcp, if_there};
use crate::maps::CONTROL;
use crate::stream::Stream;
use crate::{addresses, losses, slots, sockets};

/// `TCP_ESTABLISHED`: the end of neither stream has taken a place in it.
const ESTABLISHED: u8 = 1;
/// `TCP_SYN_SENT` and `TCP_CLOSE`: there is no stream yet, or none any more.
const SYN_SENT: u8 = 2;
const CLOSE: u8 = 7;
/// From how many bytes on a gap is not waited for the end of a call, for positions have 32 bits.
const LARGE: u32 = 1 << 30;

/// What the iterator calls with (`struct bpf_iter__bpf_sk_storage_map` in `net/core/bpf_sk_storage.c`).
#[repr(C)]
struct SocketStorage {
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
    let sk = unsafe { (&raw const (*context.cast::<SocketStorage>()).sk).read_volatile() };
    if sk.is_null() {
        return 0;
    }
    let sk = Sock(sk);
    let Some(socket) = sockets::socket(sk) else { return 0 };
    let Some(connection) = slots::slot(socket.index) else { return 0 };
    let Some(control) = CONTROL.get(0) else { return 0 };
    connection.pass = control.pass;
    if connection.family == AF_UNIX {
        return 0;
    }
    let Some(tcp) = Tcp::new(sk) else {
        if connection.remote_port == 0 {
            // One of MPTCP may be established before it has its addresses.
            addresses::fill_inet(sk, connection);
        }
        return 0;
    };
    slots::take_retransmits(if_there(OFFSET_TCP_TOTAL_RETRANS.load(), |offset| tcp.read(offset)), connection);
    let state: u8 = sk.read(OFFSET_SOCK_STATE.load());
    if state == SYN_SENT || state == CLOSE {
        return 0;
    }
    // Kept in eighths (`tcp_rtt_estimator` in `net/ipv4/tcp_input.c`).
    connection.rtt_us = if_there(OFFSET_TCP_SRTT_US.load(), |offset| tcp.read::<u32>(offset)) >> 3;
    take_payload(tcp.payload(state), socket, connection);
    if state == ESTABLISHED {
        let is_busy = is_in_call(sk);
        look_for_gap(tcp, socket, connection, Direction::Sent, is_busy);
        look_for_gap(tcp, socket, connection, Direction::Received, is_busy);
    }
    0
}

/// Takes over TCP's own counts of payload. They never go back, though one may be looked at in the middle of a
/// change.
#[inline(always)]
fn take_payload(payload: [u64; 2], socket: &mut Socket, connection: &mut Connection) {
    if socket.based == 0 {
        // Not seen from its start: what calls have moved since it is is all that is known to be past it.
        socket.tcp_base =
            [payload[0].wrapping_sub(connection.bytes[0]), payload[1].wrapping_sub(connection.bytes[1])];
        socket.based = 1;
    }
    for direction in Direction::ALL {
        let at = direction as usize;
        let moved = payload[at].wrapping_sub(socket.tcp_base[at]);
        if moved.wrapping_sub(connection.tcp_bytes[at]).cast_signed() > 0 {
            connection.tcp_bytes[at] = moved;
        }
    }
}

/// Whether a call is moving bytes, of which the hooks will see all at its end: it has the socket's lock, or waits
/// for the peer to make room, which may take long (`sk_stream_wait_memory` in `net/core/stream.c`).
#[inline(always)]
fn is_in_call(sk: Sock) -> bool {
    let owned: i32 = sk.read(OFFSET_SOCK_LOCK_OWNED.load());
    let waiting: i32 = sk.read(OFFSET_SOCK_WRITE_PENDING.load());
    owned != 0 || waiting != 0
}

/// Compares TCP's position with where the hooks last saw it. A call in progress makes a difference that is
/// gone once it is over; bytes that moved unseen make one that stays.
#[inline(always)]
fn look_for_gap(
    tcp: Tcp,
    socket: &mut Socket,
    connection: &mut Connection,
    direction: Direction,
    is_busy: bool,
) {
    let at = direction as usize;
    if socket.positioned[at] == Position::Unknown as u8 {
        return;
    }
    let position = tcp.position(direction);
    let expected = socket.positions[at];
    let gap = position.wrapping_sub(expected);
    let doubt = gap as i32 > 0 && (!is_busy || gap > LARGE);
    let stays = doubt && socket.doubts[at] != 0 && socket.doubted_at[at] == expected;
    socket.doubts[at] = u8::from(doubt);
    socket.doubted_at[at] = expected;
    if !stays || !lock::lock(&mut socket.locks, direction) {
        return;
    }
    if socket.positions[at] == expected {
        socket.positions[at] = position;
        socket.positioned[at] = Position::Provisional as u8;
        // Bytes of a call that another one did not let in were counted then, and are in the gap.
        let contended = lock::take_contended(&mut socket.locks, direction);
        if contended == 0 {
            losses::unread(Unread::Splice, u64::from(gap));
        }
        connection.bytes[at] += if contended == 0 { u64::from(gap) } else { contended };
        Stream { session: &mut socket.session, connection, direction }.miss(u64::from(gap), Desync::Gap);
    }
    lock::unlock(&mut socket.locks, direction);
}
