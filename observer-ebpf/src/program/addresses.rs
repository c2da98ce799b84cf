//! Where the two ends of a connection are: addresses and ports, or the path and the inodes of a UNIX socket.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::bpf_map_update_elem;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::{AF_INET6, Connection, FLAG_PAIR, UNIX_PATH_MAX, UnixPath};

use crate::globals::{
    OFFSET_FILE_INODE, OFFSET_INODE_INO, OFFSET_SOCK_DADDR, OFFSET_SOCK_DPORT, OFFSET_SOCK_NUM,
    OFFSET_SOCK_RCV_SADDR, OFFSET_SOCK_SOCKET, OFFSET_SOCK_V6_DADDR, OFFSET_SOCK_V6_RCV_SADDR,
    OFFSET_SOCKET_FILE, OFFSET_UNIX_ADDR, OFFSET_UNIX_ADDRESS_LEN, OFFSET_UNIX_ADDRESS_NAME,
    OFFSET_UNIX_PEER,
};
use crate::kernel::{Sock, probe, probe_into, probe_some};
use crate::maps::UNIX_PATHS;

/// A path before anything is known of it. It is never written.
#[btf_map]
static BLANK_PATH: Array<UnixPath, 1> = Array::new();

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
pub fn fill_unix(sk: Sock, index: u32, connection: &mut Connection) -> Role {
    let own: u64 = probe(sk.0, OFFSET_UNIX_ADDR.load());
    let peer: u64 = probe(sk.0, OFFSET_UNIX_PEER.load());
    let peers: u64 = if peer == 0 { 0 } else { probe(peer as *const u8, OFFSET_UNIX_ADDR.load()) };
    connection.set_inodes([inode(sk.file()), if peer == 0 { 0 } else { peer_inode(peer as *const u8) }]);
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
    let Some(blank) = BLANK_PATH.get_ptr(0) else { return };
    set_path(index, blank);
    // It is put together where it belongs: no other place is this program's alone, for a kernel may take the processor
    // from it for another one.
    let Some(path) = UNIX_PATHS.get_ptr_mut(index) else { return };
    // SAFETY: the map's value of a slot that nobody but this program has yet.
    let path = unsafe { &mut *path };
    // `len` counts the address family, two bytes, before the path.
    path.length =
        probe::<u32>(address, OFFSET_UNIX_ADDRESS_LEN.load()).saturating_sub(2).min(UNIX_PATH_MAX as u32);
    // No more than there is: what lies behind it in memory is anything.
    probe_some(address, OFFSET_UNIX_ADDRESS_NAME.load() + 2, path.length, &mut path.path);
}

/// Makes a path that of a slot. Without it, the path is not told.
#[inline(always)]
pub fn set_path(index: u32, path: *const UnixPath) {
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
