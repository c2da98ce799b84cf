//! `sock:inet_sock_set_state` and `tcp:tcp_destroy_sock` (`include/trace/events/sock.h`, `tcp.h`, since
//! 4.16): a TCP connection's life.
//!
//! ```text
//!   CLOSE ──► SYN_SENT ──► ESTABLISHED ──► FIN_WAIT1, CLOSE_WAIT … ──► CLOSE ──► destroyed
//!             client         ▲
//!   (new) ──► SYN_RECV ──────┘ server
//! ```
//!
//! A socket may reach CLOSE with bytes still to be read, so its slot is retired only when the socket is
//! destroyed, or connects again.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::debug;
use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::losses::Unread;
use observer_ebpf::layout::socket::{Position, Socket, UNTRACKED};
use observer_ebpf::layout::{Direction, Role};

use crate::calls::lock;
use crate::globals::{OFFSET_SOCK_ERR, OFFSET_SOCK_PROTOCOL, OFFSET_SOCK_SHUTDOWN, OFFSET_TCP_IS_MPTCP};
use crate::kernel::{Sock, Task, Tcp, if_there, probe};
use crate::sockets::{self, MPTCP, Origin, TCP};
use crate::{addresses, clock, losses, slots};

/// TCP's states (`include/net/tcp_states.h`).
mod state {
    pub const ESTABLISHED: i32 = 1;
    pub const SYN_SENT: i32 = 2;
    pub const SYN_RECV: i32 = 3;
    pub const FIN_WAIT1: i32 = 4;
    pub const CLOSE: i32 = 7;
    pub const LAST_ACK: i32 = 9;
    pub const LISTEN: i32 = 10;
}

/// `SHUTDOWN_MASK` and `RCV_SHUTDOWN` (`include/net/sock.h`).
const SHUTDOWN_BOTH: u8 = 3;
const SHUTDOWN_RECEIVE: u8 = 1;

/// A change of state.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(context: BtfTracePointContext) -> i32 {
    let sk = Sock(context.arg(0));
    let before: i32 = context.arg(1);
    let after: i32 = context.arg(2);
    let is_there = match sk.read::<u16>(OFFSET_SOCK_PROTOCOL.load()) {
        TCP => !is_subflow(sk),
        // One that is accepted has no addresses yet when it is made: whoever uses it first has it tracked.
        MPTCP => before != state::LISTEN,
        _ => false,
    };
    if !is_there {
        return 0;
    }
    match after {
        state::SYN_SENT => connecting(sk, &context),
        state::ESTABLISHED => established(sk, before, &context),
        state::CLOSE => closed(sk, before),
        state::FIN_WAIT1 | state::LAST_ACK
            if sk.read::<u8>(OFFSET_SOCK_SHUTDOWN.load()) & SHUTDOWN_BOTH == SHUTDOWN_BOTH =>
        {
            // The process is done with it, whatever the socket still has to do.
            end(sk, Phase::Closed);
        }
        _ => {}
    }
    0
}

/// Whether a socket is a subflow, of which an MPTCP connection has one or several: no process uses it, and what moves
/// on it has moved on the MPTCP socket. Where the other end speaks TCP only, the one that accepted is none any more
/// (`subflow_ulp_fallback` in `net/mptcp/subflow.c`).
#[inline(always)]
fn is_subflow(sk: Sock) -> bool {
    if_there(OFFSET_TCP_IS_MPTCP.load(), |offset| probe::<u8>(sk.0, offset)) != 0
}

/// The end of a socket.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(context: BtfTracePointContext) -> i32 {
    let sk = Sock(context.arg(0));
    if let Some(socket) = sockets::socket(sk)
        && let Some(connection) = slots::slot(socket.index)
    {
        settle(sk, socket, connection);
        end(sk, Phase::Closed);
        slots::retire(socket);
    }
    0
}

/// A process connects.
#[inline(always)]
fn connecting(sk: Sock, context: &BtfTracePointContext) {
    if let Some(socket) = sockets::socket(sk) {
        // A socket that is used again.
        slots::retire(socket);
    }
    let task = Task::current();
    if let Some(socket) = sockets::track(sk, Origin::Fresh(Role::Client), Some(task), Phase::Connecting) {
        socket.connect_started_ns = clock::monotonic_ns();
        tell_untracked(socket, context);
    }
}

/// Says so where a connection is past the limit; the agent logs it at the level `debug`.
#[inline(always)]
fn tell_untracked(socket: &Socket, context: &BtfTracePointContext) {
    if socket.index == UNTRACKED {
        debug!(context, "a connection is not tracked: --max-connections are");
    }
}

/// The handshake is complete.
#[inline(always)]
fn established(sk: Sock, before: i32, context: &BtfTracePointContext) {
    let Some(socket) = sockets::socket(sk) else {
        if before == state::SYN_RECV {
            // Nobody has accepted it yet: whoever uses it first will own it.
            if let Some(socket) = sockets::track(sk, Origin::Fresh(Role::Server), None, Phase::Open) {
                take_positions(sk, socket);
                tell_untracked(socket, context);
            }
        }
        return;
    };
    let Some(connection) = slots::slot(socket.index) else { return };
    addresses::fill_inet(sk, connection);
    connection.connect_ns = clock::monotonic_ns().saturating_sub(socket.connect_started_ns).max(1);
    take_positions(sk, socket);
    slots::publish(connection, Phase::Open);
}

/// TCP is done with it: of what could not connect, and of what a request may wait on, it is told why.
#[inline(always)]
fn closed(sk: Sock, before: i32) {
    if let Some(socket) = sockets::socket(sk)
        && let Some(connection) = slots::slot(socket.index)
    {
        if before == state::SYN_SENT {
            addresses::fill_inet(sk, connection);
        }
        connection.error = if_there(OFFSET_SOCK_ERR.load(), |offset| sk.read::<u32>(offset)) as u8;
    }
    end(sk, if before == state::SYN_SENT { Phase::Failed } else { Phase::Closed });
}

/// Marks the connection as over, once.
#[inline(always)]
fn end(sk: Sock, phase: Phase) {
    if let Some(socket) = sockets::socket(sk)
        && let Some(connection) = slots::slot(socket.index)
    {
        if let Some(retransmits) = sockets::retransmits(sk) {
            slots::take_retransmits(retransmits, connection);
        }
        if connection.phase == Phase::Open as u8 || connection.phase == Phase::Connecting as u8 {
            slots::publish(connection, phase);
        }
    }
}

/// Notes where both streams start.
#[inline(always)]
fn take_positions(sk: Sock, socket: &mut Socket) {
    if socket.index == UNTRACKED {
        return;
    }
    if let Some(tcp) = Tcp::new(sk) {
        socket.positions = [tcp.position(Direction::Sent), tcp.position(Direction::Received)];
        socket.positioned = [Position::Exact as u8; 2];
        socket.tcp_base = tcp.payload(state::ESTABLISHED as u8);
        socket.based = 1;
    }
}

/// Counts what is left of calls that met on a closing socket, and bytes that it received past the hooks, as
/// by `splice`.
#[inline(always)]
fn settle(sk: Sock, socket: &mut Socket, connection: &mut Connection) {
    connection.bytes[Direction::Sent as usize] += lock::take_contended(&mut socket.locks, Direction::Sent);
    let met = lock::take_contended(&mut socket.locks, Direction::Received);
    connection.bytes[Direction::Received as usize] += met;
    if socket.positioned[Direction::Received as usize] == Position::Unknown as u8 {
        return;
    }
    let Some(tcp) = Tcp::new(sk) else { return };
    let position = tcp.position(Direction::Received);
    let gap = position.wrapping_sub(socket.positions[Direction::Received as usize]);
    // The end of the stream, once read, takes a place of its own.
    let end = u32::from(sk.read::<u8>(OFFSET_SOCK_SHUTDOWN.load()) & SHUTDOWN_RECEIVE);
    let gap = gap.wrapping_sub(end);
    if met == 0 && gap as i32 > 0 {
        connection.bytes[Direction::Received as usize] += u64::from(gap);
        losses::unread(Unread::Splice, u64::from(gap));
    }
}
