//! Sockets: which are observed, the state that each has in socket storage, and how one comes to be tracked.

use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::helpers::generated::bpf_sk_storage_get;
use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::{AF_INET, AF_INET6, AF_UNIX, FLAG_ADOPTED, Owner, Phase};
use observer_ebpf::layout::socket::{Locks, Position, Socket, UNTRACKED};

use crate::globals::{
    OFFSET_MPTCP_SERVER_SIDE, OFFSET_NET_INUM, OFFSET_SOCK_FAMILY, OFFSET_SOCK_MAX_ACK_BACKLOG,
    OFFSET_SOCK_NET, OFFSET_SOCK_PROTOCOL, OFFSET_SOCK_TYPE, OFFSET_TCP_TOTAL_RETRANS,
};
use crate::kernel::{Sock, Task, if_there, member, probe};
use crate::maps::{CONTROL, SOCKETS};
use crate::owners::HANDOFFS;
use crate::{addresses, clock, losses, slots};

/// `SOCK_STREAM` (`include/linux/net.h`).
const STREAM: u16 = 1;
/// `IPPROTO_TCP` and `IPPROTO_MPTCP` (`include/uapi/linux/in.h`).
pub const TCP: u16 = 6;
pub const MPTCP: u16 = 262;

/// How a connection came to be known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Seen from its start.
    Fresh(Role),
    /// First seen in the middle, or found by looking.
    Adopted,
}

impl Origin {
    /// How a socket without a state came to be: once those that existed before have been adopted, one not
    /// seen yet is a new one, and nothing has moved on it. UNIX sockets have no hook at their beginning, and
    /// that of TCP is left out by the kernel where it interrupts itself.
    #[inline(always)]
    pub fn without_state(sk: Sock, task: Task) -> Self {
        let adopted_all = CONTROL.get(0).is_some_and(|control| control.pass > 0);
        // Those of processes outside the agent's pid namespace were not.
        if adopted_all && task.is_known_to_agent() { Self::Fresh(role_of(sk)) } else { Self::Adopted }
    }
}

/// Whether a socket is one of streams, as all that are observed are.
#[inline(always)]
pub fn is_stream(sk: Sock) -> bool {
    sk.read::<u16>(OFFSET_SOCK_TYPE.load()) == STREAM
}

/// Whether a socket of streams is of a kind that is observed.
#[inline(always)]
pub fn is_observed(sk: Sock) -> bool {
    let family: u16 = sk.read(OFFSET_SOCK_FAMILY.load());
    let protocol: u16 = sk.read(OFFSET_SOCK_PROTOCOL.load());
    let is_inet = (family == AF_INET || family == AF_INET6) && (protocol == TCP || protocol == MPTCP);
    family == AF_UNIX || is_inet
}

/// Segments that TCP has sent again on a socket; none where it is not TCP's.
#[inline(always)]
pub fn retransmits(sk: Sock) -> Option<u32> {
    let is_tcp = sk.read::<u16>(OFFSET_SOCK_PROTOCOL.load()) == TCP;
    is_tcp.then(|| if_there(OFFSET_TCP_TOTAL_RETRANS.load(), |offset| probe(sk.0, offset)))
}

/// The state of `sk`, if it has one.
#[inline(always)]
pub fn socket(sk: Sock) -> Option<&'static mut Socket> {
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: a map and a socket that the verifier knows; what it returns lives as long as the socket.
    unsafe { bpf_sk_storage_get(map, sk.as_ptr(), core::ptr::null_mut(), 0).cast::<Socket>().as_mut() }
}

/// Starts to track `sk`, used by `owner` if anyone.
#[inline(never)]
pub fn track(sk: Sock, origin: Origin, task: Option<Task>, phase: Phase) -> Option<&'static mut Socket> {
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: as in `socket`; a new state is all zeroes.
    let socket = unsafe {
        bpf_sk_storage_get(map, sk.as_ptr(), core::ptr::null_mut(), u64::from(BPF_SK_STORAGE_GET_F_CREATE))
            .cast::<Socket>()
            .as_mut()
    };
    let Some(socket) = socket else {
        losses::untracked();
        return None;
    };
    let owner = task.map_or(Owner { start_ns: 0, tgid: 0, exec_id: 0 }, Task::owner);
    socket.index = UNTRACKED;
    let Some((index, connection)) = slots::admit() else {
        losses::untracked();
        return Some(socket);
    };
    let family: u16 = sk.read(OFFSET_SOCK_FAMILY.load());
    connection.family = family;
    connection.seen_ns = clock::monotonic_ns();
    connection.pending = 1;
    connection.owner = owner;
    if let Some(task) = task {
        connection.owner = task.owner_to_agent();
        task.comm(&mut connection.comm);
    }
    if let Some(control) = CONTROL.get(0) {
        connection.pass = control.pass;
    }
    let role = match origin {
        Origin::Fresh(role) => role,
        Origin::Adopted => {
            connection.flags = FLAG_ADOPTED;
            connection.lost = [1; 2];
            connection.pending = 0;
            role_of(sk)
        }
    };
    let net: *const u8 = sk.read(OFFSET_SOCK_NET.load());
    // SAFETY: `sk_net.net` is a pointer to `struct net` to the verifier.
    connection.netns = unsafe { member(net, OFFSET_NET_INUM.load()) };
    let role = if family == AF_UNIX {
        addresses::fill_unix(sk, index, connection)
    } else {
        addresses::fill_inet(sk, connection);
        role
    };
    connection.role = role as u8;
    socket.session.start(role, matches!(origin, Origin::Adopted));
    socket.owner = owner;
    socket.handoffs = HANDOFFS;
    socket.positioned = [Position::Unknown as u8; 2];
    socket.plaintext_of = 0;
    socket.locks = Locks::FREE;
    socket.based = 0;
    socket.index = index;
    slots::publish(connection, phase);
    Some(socket)
}

/// The side of a connection that a socket is on. One of TCP that was accepted has its listener's backlog, one that
/// connected has none. One of MPTCP, whose subflow is what listens, is told which it is (`mptcp_pm_new_connection` in
/// `net/mptcp/pm.c`).
#[inline(always)]
fn role_of(sk: Sock) -> Role {
    let is_server = if sk.read::<u16>(OFFSET_SOCK_PROTOCOL.load()) == MPTCP {
        if_there(OFFSET_MPTCP_SERVER_SIDE.load(), |offset| probe::<u8>(sk.0, offset)) != 0
    } else {
        sk.read::<u32>(OFFSET_SOCK_MAX_ACK_BACKLOG.load()) > 0
    };
    if is_server { Role::Server } else { Role::Client }
}
