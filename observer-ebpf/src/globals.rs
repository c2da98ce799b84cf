//! What the agent sets before the program is loaded: constants to the verifier and to the JIT.
//!
//! `OFFSET_*` are byte offsets of members of kernel structures, resolved from the running kernel's BTF; 0 where it has
//! none, and no program that reads it is loaded then, unless it looks at that first.
//! Names are the kernel's; the agent's table of members has the same.

use aya_ebpf::Global;
use observer_ebpf::layout::settings::Thresholds;

macro_rules! globals {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] pub static $name: Global<$type> = Global::new($value);)*
    };
}

globals! {
    /// Connections that may be tracked at once.
    MAX_CONNECTIONS: u32 = 0;
    /// Elements of `CONNECTIONS`: as many, and room for those that closed since the agent last looked.
    CAPACITY: u32 = 0;
    THRESHOLD_MEDIUM: u64 = Thresholds::DEFAULT.medium;
    THRESHOLD_LARGE: u64 = Thresholds::DEFAULT.large;
    THRESHOLD_HUGE: u64 = Thresholds::DEFAULT.huge;

    /// The byte that ends a Redis key's prefix.
    REDIS_SEPARATOR: u32 = b':' as u32;

    /// The agent's pid namespace (`ns_common.inum`); 0 for the host's.
    PID_NAMESPACE: u32 = 0;

    OFFSET_SOCK_FAMILY: u32 = 0;
    OFFSET_SOCK_STATE: u32 = 0;
    OFFSET_SOCK_WRITE_PENDING: u32 = 0;
    OFFSET_SOCK_LOCK_OWNED: u32 = 0;
    OFFSET_SOCK_NUM: u32 = 0;
    OFFSET_SOCK_DPORT: u32 = 0;
    OFFSET_SOCK_DADDR: u32 = 0;
    OFFSET_SOCK_RCV_SADDR: u32 = 0;
    OFFSET_SOCK_V6_DADDR: u32 = 0;
    OFFSET_SOCK_V6_RCV_SADDR: u32 = 0;
    OFFSET_SOCK_NET: u32 = 0;
    OFFSET_NET_INUM: u32 = 0;
    OFFSET_SOCK_TYPE: u32 = 0;
    OFFSET_SOCK_PROTOCOL: u32 = 0;
    OFFSET_SOCK_ERR: u32 = 0;
    OFFSET_SOCK_SHUTDOWN: u32 = 0;
    OFFSET_SOCK_MAX_ACK_BACKLOG: u32 = 0;
    OFFSET_SOCK_SOCKET: u32 = 0;
    OFFSET_SOCKET_SK: u32 = 0;
    OFFSET_SOCKET_FILE: u32 = 0;
    OFFSET_FILE_INODE: u32 = 0;
    OFFSET_FILE_PRIVATE_DATA: u32 = 0;
    OFFSET_INODE_INO: u32 = 0;
    OFFSET_TCP_WRITE_SEQ: u32 = 0;
    OFFSET_TCP_COPIED_SEQ: u32 = 0;
    OFFSET_TCP_SND_UNA: u32 = 0;
    OFFSET_TCP_RCV_NXT: u32 = 0;
    OFFSET_TCP_BYTES_ACKED: u32 = 0;
    OFFSET_TCP_BYTES_RECEIVED: u32 = 0;
    OFFSET_TCP_SRTT_US: u32 = 0;
    OFFSET_TCP_TOTAL_RETRANS: u32 = 0;
    OFFSET_UNIX_ADDR: u32 = 0;
    OFFSET_UNIX_PEER: u32 = 0;
    OFFSET_UNIX_ADDRESS_LEN: u32 = 0;
    OFFSET_UNIX_ADDRESS_NAME: u32 = 0;
    OFFSET_TASK_TGID: u32 = 0;
    OFFSET_TASK_GROUP_LEADER: u32 = 0;
    OFFSET_TASK_START_BOOTTIME: u32 = 0;
    OFFSET_TASK_SELF_EXEC_ID: u32 = 0;
    OFFSET_TASK_COMM: u32 = 0;
    OFFSET_TASK_FLAGS: u32 = 0;
    OFFSET_TASK_SIGNAL: u32 = 0;
    OFFSET_TASK_WORKER: u32 = 0;
    OFFSET_SIGNAL_PIDS: u32 = 0;
    OFFSET_PID_LEVEL: u32 = 0;
    OFFSET_PID_NUMBERS: u32 = 0;
    OFFSET_UPID_NR: u32 = 0;
    OFFSET_UPID_NS: u32 = 0;
    OFFSET_PID_NAMESPACE_INUM: u32 = 0;
    OFFSET_WORKER_WORK: u32 = 0;
    OFFSET_REQUEST_FILE: u32 = 0;
    OFFSET_REQUEST_OPCODE: u32 = 0;
    OFFSET_REQUEST_DATA: u32 = 0;
    OFFSET_REQUEST_WORK: u32 = 0;
    OFFSET_MESSAGE_ITERATOR: u32 = 0;
    OFFSET_MESSAGE_VECTORS: u32 = 0;
    OFFSET_ITERATOR_KIND: u32 = 0;
    OFFSET_ITERATOR_OFFSET: u32 = 0;
    OFFSET_ITERATOR_ADDRESS: u32 = 0;
}

#[cfg(bpf_target_arch = "x86_64")]
globals! {
    OFFSET_TASK_STATUS: u32 = 0;
    OFFSET_REGS_ORIG_AX: u32 = 0;
    OFFSET_REGS_AX: u32 = 0;
    OFFSET_REGS_SI: u32 = 0;
    OFFSET_REGS_DX: u32 = 0;
}

#[cfg(bpf_target_arch = "aarch64")]
globals! {
    OFFSET_REGS_REGS: u32 = 0;
    OFFSET_REGS_PSTATE: u32 = 0;
    OFFSET_REGS_ORIG_X0: u32 = 0;
    OFFSET_REGS_SYSCALLNO: u32 = 0;
}

/// The thresholds of oversized messages.
#[inline(always)]
pub fn thresholds() -> Thresholds {
    Thresholds { medium: THRESHOLD_MEDIUM.load(), large: THRESHOLD_LARGE.load(), huge: THRESHOLD_HUGE.load() }
}
