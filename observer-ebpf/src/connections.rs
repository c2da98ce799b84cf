//! Elements of `CONNECTIONS`: taken when a connection appears, filled, continued, retired.

use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::helpers::generated::{bpf_map_update_elem, bpf_ringbuf_query, bpf_sk_storage_get};
use observer_ebpf::layout::connection::{
    AF_INET, AF_INET6, AF_UNIX, Connection, FLAG_ADOPTED, FLAG_CONTINUATION, FLAG_CONTINUED, FLAG_PAIR,
    Owner, Phase, UNIX_PATH_MAX, UnixPath,
};
use observer_ebpf::layout::socket::{Socket, UNPOSITIONED, UNTRACKED};
use observer_ebpf::layout::{Direction, Protocol, Role};

use crate::globals::{
    CAPACITY, MAX_CONNECTIONS, OFFSET_FILE_INODE, OFFSET_INODE_INO, OFFSET_NET_INUM, OFFSET_SOCK_DADDR,
    OFFSET_SOCK_DPORT, OFFSET_SOCK_FAMILY, OFFSET_SOCK_MAX_ACK_BACKLOG, OFFSET_SOCK_NET, OFFSET_SOCK_NUM,
    OFFSET_SOCK_RCV_SADDR, OFFSET_SOCK_SOCKET, OFFSET_SOCK_V6_DADDR, OFFSET_SOCK_V6_RCV_SADDR,
    OFFSET_SOCKET_FILE, OFFSET_UNIX_ADDR, OFFSET_UNIX_ADDRESS_LEN, OFFSET_UNIX_ADDRESS_NAME,
    OFFSET_UNIX_PEER,
};
use crate::health;
use crate::kernel::{Sock, Task, member, probe, probe_into};
use crate::maps::{BLANK, CONNECTIONS, CONTROL, FREE, PATH, RETIRED, SOCKETS, UNIX_PATHS};
use crate::{assembly, clock};

/// Changes of owner that may follow one another at once; then as many after [`HANDOFF_JIFFIES`].
const HANDOFFS: u32 = 16;
/// A quarter of a second to two and a half, by how fast the kernel's clock ticks.
const HANDOFF_JIFFIES: u64 = 250;

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

/// The state of `sk`, if it has one.
#[inline(always)]
pub fn socket(sk: Sock) -> Option<&'static mut Socket> {
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: a map and a socket that the verifier knows; what it returns lives as long as the socket.
    unsafe { bpf_sk_storage_get(map, sk.as_ptr(), core::ptr::null_mut(), 0).cast::<Socket>().as_mut() }
}

/// The element of a tracked connection.
#[inline(always)]
pub fn connection(index: u32) -> Option<&'static mut Connection> {
    // SAFETY: the memory is the map's. The agent reads it at any time, word by word, and the other
    // direction's program may write it: each counter has but one writer at a time, and none is a reference
    // that another relies on.
    CONNECTIONS.get_ptr_mut(index).map(|element| unsafe { &mut *element })
}

/// Whether the socket is of a kind that is observed.
#[inline(always)]
pub fn is_observed(family: u16) -> bool {
    family == AF_INET || family == AF_INET6 || family == AF_UNIX
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
        health::untracked();
        return None;
    };
    let owner = task.map_or(Owner { start_ns: 0, tgid: 0, exec_id: 0 }, Task::owner);
    socket.index = UNTRACKED;
    let Some((index, connection)) = admit() else {
        health::untracked();
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
        fill_unix(sk, index, connection)
    } else {
        fill_inet(sk, connection);
        role
    };
    connection.role = role as u8;
    socket.session.start(role, matches!(origin, Origin::Adopted));
    socket.owner = owner;
    socket.handoffs = HANDOFFS;
    socket.positioned = [UNPOSITIONED; 2];
    socket.contended = [0; 2];
    socket.busy = [0; 2];
    socket.based = 0;
    socket.index = index;
    publish(connection, phase);
    Some(socket)
}

/// The side of a TCP connection that a socket is on: one that was accepted has its listener's backlog, one
/// that connected has none.
#[inline(always)]
fn role_of(sk: Sock) -> Role {
    if sk.read::<u32>(OFFSET_SOCK_MAX_ACK_BACKLOG.load()) > 0 { Role::Server } else { Role::Client }
}

/// Addresses and ports, which a client has once it is established.
#[inline(always)]
pub fn fill_inet(sk: Sock, connection: &mut Connection) {
    connection.local_port = sk.read(OFFSET_SOCK_NUM.load());
    connection.remote_port = sk.read::<u16>(OFFSET_SOCK_DPORT.load()).swap_bytes();
    if connection.family == AF_INET6 {
        probe_into(sk.0, OFFSET_SOCK_V6_RCV_SADDR.load(), &mut connection.local);
        probe_into(sk.0, OFFSET_SOCK_V6_DADDR.load(), &mut connection.remote);
    } else {
        connection.local = ipv4(sk.read(OFFSET_SOCK_RCV_SADDR.load()));
        connection.remote = ipv4(sk.read(OFFSET_SOCK_DADDR.load()));
    }
}

#[inline(always)]
fn ipv4(address: u32) -> [u8; 16] {
    let [a, b, c, d] = address.to_ne_bytes();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// Path, inodes and role of a UNIX socket: the end that has an address accepted, the one whose peer has
/// one connected.
#[inline(always)]
fn fill_unix(sk: Sock, index: u32, connection: &mut Connection) -> Role {
    let own: u64 = probe(sk.0, OFFSET_UNIX_ADDR.load());
    let peer: u64 = probe(sk.0, OFFSET_UNIX_PEER.load());
    let peers: u64 = if peer == 0 { 0 } else { probe(peer as *const u8, OFFSET_UNIX_ADDR.load()) };
    connection.inodes = [inode(sk.file()), if peer == 0 { 0 } else { peer_inode(peer as *const u8) }];
    let (role, address) = if peers != 0 { (Role::Client, peers) } else { (Role::Server, own) };
    if address == 0 {
        connection.flags |= FLAG_PAIR;
        return Role::Client;
    }
    tell_path(index, address as *const u8);
    role
}

/// Stores the path in a `struct unix_address`.
#[inline(never)]
fn tell_path(index: u32, address: *const u8) {
    let Some(path) = PATH.get_ptr_mut(0) else { return };
    // SAFETY: this processor's element, which nothing else uses meanwhile.
    let path = unsafe { &mut *path };
    // `len` counts the address family, two bytes, before the path.
    path.length =
        probe::<u32>(address, OFFSET_UNIX_ADDRESS_LEN.load()).saturating_sub(2).min(UNIX_PATH_MAX as u32);
    probe_into(address, OFFSET_UNIX_ADDRESS_NAME.load() + 2, &mut path.path);
    set_path(index, path);
}

/// Makes a path that of an element. Without it, the path is not told.
#[inline(always)]
fn set_path(index: u32, path: *const UnixPath) {
    let map = (&raw const UNIX_PATHS).cast_mut().cast();
    // SAFETY: key and value are as the map has them.
    unsafe { bpf_map_update_elem(map, (&raw const index).cast_mut().cast(), path.cast_mut().cast(), 0) };
}

/// The inode of a UNIX socket's peer; 0 while nobody has accepted it.
#[inline(always)]
fn peer_inode(peer: *const u8) -> u64 {
    let socket: u64 = probe(peer, OFFSET_SOCK_SOCKET.load());
    if socket == 0 {
        return 0;
    }
    inode(probe::<u64>(socket as *const u8, OFFSET_SOCKET_FILE.load()) as *const u8)
}

#[inline(always)]
fn inode(file: *const u8) -> u64 {
    if file.is_null() {
        return 0;
    }
    probe(probe::<u64>(file, OFFSET_FILE_INODE.load()) as *const u8, OFFSET_INODE_INO.load())
}

/// Takes an element for one more connection, if there may be one more.
#[inline(always)]
fn admit() -> Option<(u32, &'static mut Connection)> {
    let control = CONTROL.get_ptr_mut(0)?;
    // SAFETY: the field is there.
    let tracked = unsafe { &raw mut (*control).tracked };
    let limit = u64::from(MAX_CONNECTIONS.load());
    // SAFETY: aligned, and only written atomically.
    if unsafe { tracked.read_volatile() } >= limit {
        return None;
    }
    // Another processor may have come first.
    // SAFETY: a field of a map's element.
    let taken = if unsafe { assembly::fetch_add(tracked, 1) } < limit { take() } else { None };
    if taken.is_none() {
        // SAFETY: a field of a map's element; adding the largest value takes one away.
        unsafe { assembly::add(tracked, u64::MAX) };
    }
    taken
}

/// Takes an unused element, blank but for its number.
#[inline(always)]
fn take() -> Option<(u32, &'static mut Connection)> {
    let control = CONTROL.get_ptr_mut(0)?;
    // SAFETY: the fields are there.
    let (used, last_id) = unsafe { (&raw mut (*control).used, &raw mut (*control).last_id) };
    let index = match FREE.pop() {
        Ok(Some(index)) => index,
        _ => {
            let capacity = u64::from(CAPACITY.load());
            // SAFETY: aligned, and only written atomically.
            if unsafe { used.read_volatile() } >= capacity {
                return None;
            }
            // SAFETY: a field of a map's element.
            let next = unsafe { assembly::fetch_add(used, 1) };
            if next >= capacity {
                return None;
            }
            next as u32
        }
    };
    let blank = BLANK.get_ptr(0)?;
    // SAFETY: key and value are as the map has them.
    unsafe {
        bpf_map_update_elem(
            (&raw const CONNECTIONS).cast_mut().cast(),
            (&raw const index).cast_mut().cast(),
            blank.cast_mut().cast(),
            0,
        );
    }
    let connection = connection(index)?;
    // SAFETY: a field of a map's element.
    connection.id = unsafe { assembly::fetch_add(last_id, 1) } + 1;
    Some((index, connection))
}

/// Takes over the kernel's count of segments sent again (`tcp_sock.total_retrans`). It goes back to 0 when a
/// connect has failed, and then tells nothing.
#[inline(always)]
pub fn take_retransmits(total: u32, connection: &mut Connection) {
    connection.retransmits = connection.retransmits.max(total.saturating_sub(connection.retransmits_before));
}

/// Shows a filled element to the agent.
#[inline(always)]
pub fn publish(connection: &mut Connection, phase: Phase) {
    assembly::order_writes();
    // SAFETY: the field is there; a volatile write stays behind those before it.
    unsafe { (&raw mut connection.phase).write_volatile(phase as u8) };
}

/// How much of `RETIRED` may fill before the agent is woken ahead of its time.
const RETIRED_WAKE: u64 = 4096 * 16;

/// Ends the tracking of a connection.
#[inline(always)]
pub fn retire(socket: &mut Socket) {
    let index = socket.index;
    if index == UNTRACKED {
        return;
    }
    socket.index = UNTRACKED;
    if let Some(control) = CONTROL.get_ptr_mut(0) {
        // SAFETY: a field of a map's element; adding the largest value takes one away.
        unsafe { assembly::add(&raw mut (*control).tracked, u64::MAX) };
    }
    hand_back(index);
}

/// Gives an element to the agent, for good.
#[inline(always)]
fn hand_back(index: u32) {
    let ring = (&raw const RETIRED).cast_mut().cast();
    // `BPF_RB_AVAIL_DATA`, then `BPF_RB_FORCE_WAKEUP` or `BPF_RB_NO_WAKEUP` (`include/uapi/linux/bpf.h`).
    // SAFETY: a ring buffer that the verifier knows.
    let flags = if unsafe { bpf_ringbuf_query(ring, 0) } > RETIRED_WAKE { 2 } else { 1 };
    if RETIRED.output(u64::from(index), flags).is_err() {
        // There is room for every element; if not for this one, the agent finds it by its pass.
        health::event_lost();
    }
}

/// Makes `task`'s process the one that uses the socket. What was counted so far stays with the one before.
#[inline(never)]
pub fn hand_over(socket: &mut Socket, task: Task) {
    let owner = task.owner();
    let Some(before) = connection(socket.index) else { return };
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
        // Two processes that take turns: following each would cost an element a turn.
        health::handoff_refused();
        return;
    }
    socket.handoffs -= 1;
    if let Some(next) = continue_in_another(socket, before, task.owner_to_agent()) {
        task.comm(&mut next.comm);
        socket.owner = owner;
    }
}

/// Continues the connection in a fresh element.
#[inline(never)]
pub fn roll_over(socket: &mut Socket) {
    if let Some(before) = connection(socket.index) {
        continue_in_another(socket, before, before.owner);
    }
}

#[inline(always)]
fn continue_in_another(
    socket: &mut Socket,
    before: &mut Connection,
    owner: Owner,
) -> Option<&'static mut Connection> {
    let (index, next) = take()?;
    next.role = before.role;
    next.protocol = before.protocol;
    next.flags = (before.flags & (FLAG_ADOPTED | FLAG_PAIR)) | FLAG_CONTINUATION;
    next.family = before.family;
    next.local_port = before.local_port;
    next.remote_port = before.remote_port;
    next.lost = before.lost;
    next.pending = before.pending;
    next.netns = before.netns;
    next.pass = before.pass;
    next.seen_ns = before.seen_ns;
    next.retransmits_before = before.retransmits_before + before.retransmits;
    next.owner = owner;
    next.comm = before.comm;
    next.local = before.local;
    next.remote = before.remote;
    next.inodes = before.inodes;
    if next.protocol == Protocol::Postgres as u8 {
        let (next, before) = (next.details.postgres_mut(), before.details.postgres());
        next.state = before.state;
        next.asked = before.asked.wrapping_sub(before.answered);
    } else if next.protocol == Protocol::Redis as u8 {
        let (next, before) = (next.details.redis_mut(), before.details.redis());
        next.state = before.state;
        next.asked = before.asked.wrapping_sub(before.answered);
    }
    if let Some(path) = UNIX_PATHS.get_ptr(socket.index) {
        set_path(index, path);
    }
    before.flags |= FLAG_CONTINUED;
    publish(next, Phase::from_u8(before.phase));
    hand_back(socket.index);
    socket.index = index;
    // TCP's counts start anew with those of the element.
    socket.based = 0;
    Some(next)
}

/// Counts the bytes of a call that found another one at work on its stream.
#[inline(always)]
pub fn count_contended(socket: &mut Socket, direction: Direction, bytes: u64) {
    // SAFETY: a field of a map's element.
    unsafe { assembly::add(&raw mut socket.contended[direction as usize], bytes) };
}

/// Takes what [`count_contended`] counted, for whoever has the stream to add.
#[inline(always)]
pub fn take_contended(socket: &mut Socket, direction: Direction) -> u64 {
    // SAFETY: a field of a map's element.
    unsafe { assembly::exchange(&raw mut socket.contended[direction as usize], 0) }
}

/// Takes a direction's stream for this processor; false if another one is at work on it.
#[inline(always)]
pub fn lock(socket: &mut Socket, direction: Direction) -> bool {
    // SAFETY: a field of a map's element.
    unsafe { assembly::exchange(&raw mut socket.busy[direction as usize], 1) == 0 }
}

/// Lets go of what [`lock`] took.
#[inline(always)]
pub fn unlock(socket: &mut Socket, direction: Direction) {
    assembly::order_writes();
    // SAFETY: the field is there; a volatile write stays behind those before it.
    unsafe { (&raw mut socket.busy[direction as usize]).write_volatile(0) };
}
