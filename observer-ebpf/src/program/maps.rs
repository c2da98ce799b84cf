//! The maps that several files use; those of one are beside what they hold. Sizes given here as 1 are set by the agent
//! before it loads the program.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf, SkStorage, Stack},
    macros::btf_map,
};
use observer_ebpf::layout::connection::{Connection, UnixPath};
use observer_ebpf::layout::control::Control;
use observer_ebpf::layout::losses::Losses;
use observer_ebpf::layout::socket::Socket;

/// State of each socket; goes with the socket.
#[btf_map]
pub static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// A slot for each connection: what the agent reads, straight from memory.
#[btf_map]
pub static CONNECTIONS: Array<Connection, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// A slot as it is before its first use.
#[btf_map]
pub static BLANK: Array<Connection, 1> = Array::new();

/// Slots that the agent handed back. Last in, first out: so few are touched.
#[btf_map]
pub static FREE: Stack<u32, 1> = Stack::new();

/// Slots whose socket is gone, for the agent to add up and hand back. It has room for all of them, so none is ever lost.
#[btf_map]
pub static RETIRED: RingBuf<u64, 4096> = RingBuf::new();

/// Records that are worth waking the agent for.
#[btf_map]
pub static EVENTS: RingBuf<u64, { 256 * 1024 }> = RingBuf::new();

/// Paths of UNIX sockets, by index of the connection.
#[btf_map]
pub static UNIX_PATHS: HashMap<u32, UnixPath, 1, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// What the agent and the program tell each other.
#[btf_map]
pub static CONTROL: Array<Control, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

/// What could not be done.
#[btf_map]
pub static LOSSES: PerCpuArray<Losses, 1> = PerCpuArray::new();
