//! The maps. Sizes given here as 1 are set by the agent before it loads the program.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage, Stack},
    macros::btf_map,
};
use observer_ebpf::layout::connection::{Connection, UnixPath};
use observer_ebpf::layout::health::Health;
use observer_ebpf::layout::redis::{CountKey, KeyCounts, Prefix};
use observer_ebpf::layout::settings::Control;
use observer_ebpf::layout::socket::Socket;

use crate::requests::Requests;
use crate::user_memory::Buffers;

/// State of each socket; goes with the socket.
#[btf_map]
pub static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// What the agent reads, straight from memory.
#[btf_map]
pub static CONNECTIONS: Array<Connection, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// An element as it is before its first use.
#[btf_map]
pub static BLANK: Array<Connection, 1> = Array::new();

/// Elements of `CONNECTIONS` that the agent handed back. Last in, first out: so few are touched.
#[btf_map]
pub static FREE: Stack<u32, 1> = Stack::new();

/// Elements of `CONNECTIONS` whose socket is gone, for the agent to add up and hand back. It has room for
/// every element, so none is ever lost.
#[btf_map]
pub static RETIRED: RingBuf<u64, 4096> = RingBuf::new();

/// Records that are worth waking the agent for.
#[btf_map]
pub static EVENTS: RingBuf<u64, { 256 * 1024 }> = RingBuf::new();

/// Paths of UNIX sockets, by index of the connection.
#[btf_map]
pub static UNIX_PATHS: HashMap<u32, UnixPath, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Where a path is put together before it goes into `UNIX_PATHS`.
#[btf_map]
pub static PATH: PerCpuArray<UnixPath, 1> = PerCpuArray::new();

/// What the agent and the program tell each other.
#[btf_map]
pub static CONTROL: Array<Control, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Numbers of Redis key prefixes, which count from `PREFIX_FIRST` on. Its size is how many are told apart.
#[btf_map]
pub static PREFIXES: HashMap<Prefix, u64, 1> = HashMap::new();

/// Redis keys found and not found, by connection and prefix. When it is full, they are counted in the
/// connection's element instead.
#[btf_map]
pub static PREFIX_COUNTS: HashMap<CountKey, KeyCounts, 65_536> = HashMap::new();

/// Requests of `io_uring` by the thread that submitted them, and by the socket that they wait for. What was used least
/// makes room.
#[btf_map]
pub static REQUESTS: LruHashMap<u64, Requests, 1> = LruHashMap::new();

/// What could not be done.
#[btf_map]
pub static HEALTH: PerCpuArray<Health, 1> = PerCpuArray::new();

/// What one call is read through: one for each program that sees calls, none of which runs within itself.
#[btf_map]
pub static BUFFERS: PerCpuArray<Buffers, 1> = PerCpuArray::new();
