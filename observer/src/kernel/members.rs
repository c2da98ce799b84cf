//! What the running kernel's own type information tells: offsets of members of its structures, and what it has.
//!
//! The program reads a member at a constant offset, which is set here before it is loaded: no header of any
//! kernel is compiled in. The names of the globals are those in the program's `globals.rs`.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use btfparse::{Offset, Readable, TypeInformation, TypeVariant};

/// Where the kernel shows its type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A member that the program reads.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The global that takes its offset.
    pub global: &'static str,
    /// The structure.
    pub structure: &'static str,
    /// The path to the member.
    pub path: &'static str,
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.structure, self.path)
    }
}

macro_rules! members {
    ($(#[$doc:meta])* $name:ident: $($global:ident = $structure:ident . $($path:ident).+;)*) => {
        $(#[$doc])*
        const $name: &[Member] = &[$(Member {
            global: stringify!($global),
            structure: stringify!($structure),
            path: concat_path!($($path).+),
        }),*];
    };
}

macro_rules! concat_path {
    ($first:ident $(. $rest:ident)*) => { concat!(stringify!($first) $(, ".", stringify!($rest))*) };
}

members! {
    /// What programs need, but for a few.
    MEMBERS:
    OFFSET_SOCK_FAMILY = sock.__sk_common.skc_family;
    OFFSET_SOCK_STATE = sock.__sk_common.skc_state;
    OFFSET_SOCK_WRITE_PENDING = sock.sk_write_pending;
    OFFSET_SOCK_LOCK_OWNED = sock.sk_lock.owned;
    OFFSET_SOCK_NUM = sock.__sk_common.skc_num;
    OFFSET_SOCK_DPORT = sock.__sk_common.skc_dport;
    OFFSET_SOCK_DADDR = sock.__sk_common.skc_daddr;
    OFFSET_SOCK_RCV_SADDR = sock.__sk_common.skc_rcv_saddr;
    OFFSET_SOCK_V6_DADDR = sock.__sk_common.skc_v6_daddr;
    OFFSET_SOCK_V6_RCV_SADDR = sock.__sk_common.skc_v6_rcv_saddr;
    OFFSET_SOCK_NET = sock.__sk_common.skc_net.net;
    OFFSET_NET_INUM = net.ns.inum;
    OFFSET_SOCK_TYPE = sock.sk_type;
    OFFSET_SOCK_PROTOCOL = sock.sk_protocol;
    OFFSET_SOCK_ERR = sock.sk_err;
    OFFSET_SOCK_SHUTDOWN = sock.sk_shutdown;
    OFFSET_SOCK_MAX_ACK_BACKLOG = sock.sk_max_ack_backlog;
    OFFSET_SOCK_SOCKET = sock.sk_socket;
    OFFSET_SOCKET_SK = socket.sk;
    OFFSET_SOCKET_FILE = socket.file;
    OFFSET_FILE_INODE = file.f_inode;
    OFFSET_INODE_INO = inode.i_ino;
    OFFSET_TCP_WRITE_SEQ = tcp_sock.write_seq;
    OFFSET_TCP_COPIED_SEQ = tcp_sock.copied_seq;
    OFFSET_TCP_SND_UNA = tcp_sock.snd_una;
    OFFSET_TCP_RCV_NXT = tcp_sock.rcv_nxt;
    OFFSET_TCP_BYTES_ACKED = tcp_sock.bytes_acked;
    OFFSET_TCP_BYTES_RECEIVED = tcp_sock.bytes_received;
    OFFSET_TCP_SRTT_US = tcp_sock.srtt_us;
    OFFSET_TCP_TOTAL_RETRANS = tcp_sock.total_retrans;
    OFFSET_UNIX_ADDR = unix_sock.addr;
    OFFSET_UNIX_PEER = unix_sock.peer;
    OFFSET_UNIX_ADDRESS_LEN = unix_address.len;
    OFFSET_UNIX_ADDRESS_NAME = unix_address.name;
    OFFSET_TASK_TGID = task_struct.tgid;
    OFFSET_TASK_GROUP_LEADER = task_struct.group_leader;
    OFFSET_TASK_START_BOOTTIME = task_struct.start_boottime;
    OFFSET_TASK_SELF_EXEC_ID = task_struct.self_exec_id;
    OFFSET_TASK_COMM = task_struct.comm;
    OFFSET_TASK_FLAGS = task_struct.flags;
    OFFSET_TASK_SIGNAL = task_struct.signal;
    OFFSET_SIGNAL_PIDS = signal_struct.pids;
    OFFSET_PID_LEVEL = pid.level;
    OFFSET_PID_NUMBERS = pid.numbers;
    OFFSET_UPID_NR = upid.nr;
    OFFSET_UPID_NS = upid.ns;
    OFFSET_PID_NAMESPACE_INUM = pid_namespace.ns.inum;
}

#[cfg(target_arch = "x86_64")]
members! {
    /// Where registers are.
    REGISTERS:
    OFFSET_TASK_STATUS = task_struct.thread_info.status;
    OFFSET_REGS_ORIG_AX = pt_regs.orig_ax;
    OFFSET_REGS_AX = pt_regs.ax;
    OFFSET_REGS_SI = pt_regs.si;
    OFFSET_REGS_DX = pt_regs.dx;
}

#[cfg(target_arch = "aarch64")]
members! {
    /// Where registers are.
    REGISTERS:
    OFFSET_REGS_REGS = pt_regs.regs;
    OFFSET_REGS_PSTATE = pt_regs.pstate;
    OFFSET_REGS_ORIG_X0 = pt_regs.orig_x0;
    OFFSET_REGS_SYSCALLNO = pt_regs.syscallno;
}

members! {
    /// What the requests of `io_uring` are looked at by. Where a global is given twice, either will do: since Linux 6.10,
    /// the first or the second tells that every request to send or receive has its message here.
    IO_URING:
    OFFSET_FILE_PRIVATE_DATA = file.private_data;
    OFFSET_TASK_WORKER = task_struct.worker_private;
    OFFSET_WORKER_WORK = io_worker.cur_work;
    OFFSET_REQUEST_FILE = io_kiocb.file;
    OFFSET_REQUEST_OPCODE = io_kiocb.opcode;
    OFFSET_REQUEST_DATA = io_kiocb.async_data;
    OFFSET_REQUEST_WORK = io_kiocb.work;
    OFFSET_MESSAGE_ITERATOR = io_async_msghdr.msg.msg_iter;
    OFFSET_MESSAGE_VECTORS = io_async_msghdr.vec.nr;
    OFFSET_MESSAGE_VECTORS = io_async_msghdr.free_iov_nr;
    OFFSET_ITERATOR_KIND = iov_iter.iter_type;
    OFFSET_ITERATOR_OFFSET = iov_iter.iov_offset;
    OFFSET_ITERATOR_ADDRESS = iov_iter.ubuf;
}

/// Whether a member is one by which requests of `io_uring` are looked at, which other programs do without.
fn is_for_requests(member: &Member) -> bool {
    IO_URING.iter().any(|one| one.global == member.global)
}

/// Every member that the programs read.
fn members() -> impl Iterator<Item = &'static Member> {
    MEMBERS.iter().chain(REGISTERS).chain(IO_URING)
}

/// Those that programs do without, by their global, and what is not known then.
const DISPENSABLE: [(&str, &str); 3] = [
    ("OFFSET_SOCK_ERR", "reasons for which connects fail"),
    ("OFFSET_TCP_SRTT_US", "round-trip times"),
    ("OFFSET_TCP_TOTAL_RETRANS", "retransmits"),
];

/// Why members could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel shows no type information.
    #[error("cannot read {VMLINUX}: {0}; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y")]
    Unreadable(std::io::Error),
    /// What it shows cannot be understood.
    #[error("cannot parse {VMLINUX}: {0}")]
    Unparsable(String),
    /// The kernel cannot run the program.
    #[error("this kernel has no bpf_loop, without which no stream can be parsed; Linux 5.17 or newer has it")]
    TooOld,
}

/// The helper of all that are needed that came last (5.17), in `enum bpf_func_id`.
const NEWEST_HELPER: &str = "BPF_FUNC_loop";
/// The type of the tracepoint that every send passes (6.3); that of a receive came with it.
const TRACEPOINT: &str = "btf_trace_sock_send_length";

/// An offset by the name of the global that takes it.
pub type Offsets = Vec<(&'static str, u32)>;

/// What there is.
#[derive(Debug)]
pub struct Facts {
    /// Where members are.
    pub offsets: Offsets,
    /// Those that this kernel does not have, and programs need.
    pub missing: Vec<Member>,
    /// Those that it does not have and programs do without, each with what is not known then.
    pub dispensable: Vec<String>,
    /// Whether there are tracepoints of every send and receive.
    pub has_tracepoints: bool,
    /// Whether requests of `io_uring` can be read.
    pub has_requests: bool,
}

/// A file's bytes, as the parser wants them.
struct Image(Vec<u8>);

impl Readable for Image {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = from.checked_add(buffer.len()).and_then(|to| self.0.get(from..to));
        match bytes {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(btfparse::Error::new(btfparse::ErrorKind::EOF, "the image ends early")),
        }
    }
}

/// Finds it out from type information at `path`.
pub fn resolve(path: &Path) -> Result<Facts, Error> {
    let image = Image(std::fs::read(path).map_err(Error::Unreadable)?);
    let types = TypeInformation::new(&image).map_err(|error| Error::Unparsable(format!("{error:?}")))?;
    // By a name of their own: a name may be that of a function or of a forward declaration as well.
    let mut structures: HashMap<String, Vec<u32>> = HashMap::new();
    let mut has_loops = false;
    for (&id, kind) in types.get() {
        match kind {
            TypeVariant::Struct(_) => {
                let name = types.name_of(id).unwrap_or_default();
                if members().any(|member| member.structure == name) {
                    structures.entry(name).or_default().push(id);
                }
            }
            TypeVariant::Enum(values) => {
                has_loops |= values.named_value_list().iter().any(|value| value.name == NEWEST_HELPER);
            }
            _ => {}
        }
    }
    if !has_loops {
        return Err(Error::TooOld);
    }
    let mut offsets = Offsets::new();
    let mut missing: Vec<Member> = Vec::new();
    let mut dispensable = Vec::new();
    for member in members() {
        let mut found = structures.get(member.structure).into_iter().flatten();
        match found.find_map(|&structure| offset_of(&types, structure, member)) {
            Some(offset) => offsets.push((member.global, offset)),
            None => match DISPENSABLE.iter().find(|(global, _)| *global == member.global) {
                Some((_, effect)) => dispensable.push(format!("no {member}: {effect} are not known")),
                None => missing.push(*member),
            },
        }
    }
    missing.retain(|member| offsets.iter().all(|(global, _)| *global != member.global));
    let (requests, missing): (Vec<_>, Vec<_>) = missing.into_iter().partition(is_for_requests);
    if !requests.is_empty() {
        // All or none: the program looks at one of them only, to tell whether it may go by the others.
        offsets.retain(|(global, _)| IO_URING.iter().all(|member| member.global != *global));
        let names = requests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        dispensable.push(format!("no {names}: what io_uring sends and receives is counted, not parsed"));
    }
    let has_tracepoints = types.id_of(TRACEPOINT).is_some();
    Ok(Facts { offsets, missing, dispensable, has_tracepoints, has_requests: requests.is_empty() })
}

fn offset_of(types: &TypeInformation, structure: u32, member: &Member) -> Option<u32> {
    match types.offset_of(structure, member.path).ok()?.1 {
        Offset::ByteOffset(offset) => Some(offset),
        Offset::BitOffsetAndSize(..) => None,
    }
}
