//! Members of kernel structures, read at offsets that are constants to the verifier.
//!
//! A pointer from a tracepoint's arguments, or loaded from a structure that the verifier knows, may be
//! read directly: such a load costs no call, and one that faults yields zero. Everything else is read
//! with `bpf_probe_read_kernel`.

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::helpers::generated;
use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel};
use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::Owner;

use crate::assembly;
use crate::globals::{
    OFFSET_PID_LEVEL, OFFSET_PID_NAMESPACE_INUM, OFFSET_PID_NUMBERS, OFFSET_SIGNAL_PIDS, OFFSET_SOCK_SOCKET,
    OFFSET_SOCKET_FILE, OFFSET_TASK_COMM, OFFSET_TASK_GROUP_LEADER, OFFSET_TASK_SELF_EXEC_ID,
    OFFSET_TASK_SIGNAL, OFFSET_TASK_START_BOOTTIME, OFFSET_TASK_TGID, OFFSET_TCP_BYTES_ACKED,
    OFFSET_TCP_BYTES_RECEIVED, OFFSET_TCP_COPIED_SEQ, OFFSET_TCP_RCV_NXT, OFFSET_TCP_SND_UNA,
    OFFSET_TCP_WRITE_SEQ, OFFSET_UPID_NR, OFFSET_UPID_NS, PID_NAMESPACE,
};

/// `PF_IO_WORKER` and `PF_KTHREAD` (`include/linux/sched.h`): a thread of `io_uring`, which never was in a system call of
/// its own, and a thread of the kernel.
pub const IO_WORKER: u32 = 0x10;
/// See [`IO_WORKER`].
pub const KERNEL_THREAD: u32 = 0x0020_0000;

/// A `struct sock` that the verifier knows.
#[derive(Clone, Copy)]
pub struct Sock(pub *const u8);

/// A `struct task_struct` that the verifier knows.
///
/// Never null, so that `None` of an `Option` of it is, and is passed in the same register.
#[derive(Clone, Copy)]
pub struct Task(NonNull<u8>);

/// Reads a member directly.
///
/// # Safety
///
/// `base` must be a pointer that the verifier knows as one to a structure with a `T` at `offset`.
#[inline(always)]
pub unsafe fn member<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the caller's promise; the verifier checks it, and the kernel turns a fault into zero.
    unsafe { base.add(offset as usize).cast::<T>().read_volatile() }
}

/// Reads a member with a helper; zero if it is not there.
#[inline(always)]
pub fn probe<T: Copy + Default>(base: *const u8, offset: u32) -> T {
    // SAFETY: the helper may be given any address.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast::<T>()) }.unwrap_or_default()
}

/// Reads a member that is for show only, in whichever way: zero where the kernel does not have it, which leaves its
/// offset zero.
#[inline(always)]
pub fn if_there<T: Default>(offset: u32, read: impl FnOnce(u32) -> T) -> T {
    if offset == 0 { T::default() } else { read(offset) }
}

/// Reads bytes with a helper to where they are wanted; zeroes if they are not there.
#[inline(always)]
pub fn probe_into<const N: usize>(base: *const u8, offset: u32, to: &mut [u8; N]) {
    let from = base.wrapping_add(offset as usize).cast::<c_void>();
    // SAFETY: `to` has room for `N`; the helper may be given any address, and clears `to` if it fails.
    unsafe { generated::bpf_probe_read_kernel(to.as_mut_ptr().cast(), N as u32, from) };
}

/// Reads the first `length` bytes of a member, or as many as there is room for.
#[inline(always)]
pub fn probe_some<const N: usize>(base: *const u8, offset: u32, length: u32, to: &mut [u8; N]) {
    let from = base.wrapping_add(offset as usize).cast::<c_void>();
    let length = assembly::hide(u64::from(length)) as u32;
    let length = if length < N as u32 { length } else { N as u32 };
    // SAFETY: as above.
    unsafe { generated::bpf_probe_read_kernel(to.as_mut_ptr().cast(), length, from) };
}

impl Sock {
    /// Reads a member of `struct sock`.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: a `Sock` is only made of pointers that the verifier knows.
        unsafe { member(self.0, offset) }
    }

    /// The pointer that helpers of the kernel take.
    #[inline(always)]
    pub fn as_ptr(self) -> *mut c_void {
        self.0.cast_mut().cast()
    }

    /// The `struct file` through which processes use the socket; null if none does.
    #[inline(always)]
    pub fn file(self) -> *const u8 {
        let socket: *const u8 = self.read(OFFSET_SOCK_SOCKET.load());
        if socket.is_null() {
            return socket;
        }
        // SAFETY: `sk_socket` is a pointer to `struct socket` to the verifier.
        unsafe { member(socket, OFFSET_SOCKET_FILE.load()) }
    }
}

impl Task {
    /// The task that makes the call.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: no arguments; always a task.
        Self(unsafe { NonNull::new_unchecked(bpf_get_current_task_btf()) }.cast())
    }

    /// The task that a program was called with, if any.
    #[inline(always)]
    pub fn new(task: *const u8) -> Option<Self> {
        NonNull::new(task.cast_mut()).map(Self)
    }

    /// The pointer that helpers of the kernel take.
    #[inline(always)]
    pub fn as_ptr(self) -> *const u8 {
        self.0.as_ptr()
    }

    /// Reads a member of `struct task_struct`.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: a `Task` is only made of pointers that the verifier knows.
        unsafe { member(self.as_ptr(), offset) }
    }

    #[inline(always)]
    fn leader(self) -> Self {
        let leader: *mut u8 = self.read(OFFSET_TASK_GROUP_LEADER.load());
        // SAFETY: every task has one; if it were null, reads from it would yield zero.
        Self(unsafe { NonNull::new_unchecked(leader) })
    }

    /// Who the task is, in a way that outlives its number.
    #[inline(always)]
    pub fn owner(self) -> Owner {
        let leader = self.leader();
        Owner {
            start_ns: leader.read(OFFSET_TASK_START_BOOTTIME.load()),
            tgid: self.read(OFFSET_TASK_TGID.load()),
            exec_id: leader.read(OFFSET_TASK_SELF_EXEC_ID.load()),
        }
    }

    /// The same, with the number that the process has in the agent's pid namespace; 0 if it is not in there.
    #[inline(always)]
    pub fn owner_to_agent(self) -> Owner {
        let owner = self.owner();
        if PID_NAMESPACE.load() == 0 {
            return owner;
        }
        let signal: u64 = probe(self.as_ptr(), OFFSET_TASK_SIGNAL.load());
        Owner { tgid: pid_to_agent(signal), ..owner }
    }

    /// Whether the agent may look the process up, and its iterators come by it.
    #[inline(always)]
    pub fn is_known_to_agent(self) -> bool {
        self.owner_to_agent().tgid != 0
    }

    /// Copies the leader's name.
    #[inline(always)]
    pub fn comm(self, name: &mut [u8; 16]) {
        probe_into(self.leader().as_ptr(), OFFSET_TASK_COMM.load(), name);
    }
}

/// Namespaces of pids lie within one another, at most so deep (`MAX_PID_NS_LEVEL` in `kernel/pid_namespace.c`).
const PID_LEVELS: u32 = 32;
/// A process's entry of `signal_struct.pids` (`PIDTYPE_TGID` in `include/linux/pid_types.h`).
const THREAD_GROUP: usize = 1;
/// Bytes of a `struct upid`: an integer and a pointer (`include/linux/pid.h`).
const UPID: u32 = 16;

/// The number of a process by its `struct signal_struct`, in the agent's pid namespace: it has one in its own and
/// in each that this one lies in. A subprogram, so that the verifier looks at it once, and only where it is called.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn pid_to_agent(signal: u64) -> u32 {
    let pids = (signal as *const u8).wrapping_add(THREAD_GROUP * size_of::<u64>());
    let pid = probe::<u64>(pids, OFFSET_SIGNAL_PIDS.load()) as *const u8;
    let deepest: u32 = probe(pid, OFFSET_PID_LEVEL.load());
    let mut number = OFFSET_PID_NUMBERS.load();
    for level in 0..=PID_LEVELS {
        if level > deepest {
            break;
        }
        let namespace = probe::<u64>(pid, number + OFFSET_UPID_NS.load()) as *const u8;
        if probe::<u32>(namespace, OFFSET_PID_NAMESPACE_INUM.load()) == PID_NAMESPACE.load() {
            return probe(pid, number + OFFSET_UPID_NR.load());
        }
        number += UPID;
    }
    0
}

/// A `struct tcp_sock` that the verifier knows.
#[derive(Clone, Copy)]
pub struct Tcp(NonNull<u8>);

/// TCP's states in which the process's own FIN has a place in what it sends, and those in which the other
/// end's has one in what came (`include/net/tcp_states.h`), by bit.
const FIN_SENT: u32 = 1 << 4 | 1 << 5 | 1 << 6 | 1 << 9 | 1 << 11;
const FIN_CAME: u32 = 1 << 6 | 1 << 8 | 1 << 9 | 1 << 11;

impl Tcp {
    /// The TCP half of a socket; none if it is not TCP's.
    #[inline(always)]
    pub fn new(sk: Sock) -> Option<Self> {
        // SAFETY: a socket that the verifier knows.
        NonNull::new(unsafe { generated::bpf_skc_to_tcp_sock(sk.as_ptr()) }.cast()).map(Self)
    }

    /// Reads a member of `struct tcp_sock`.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier knows what the helper returns as `struct tcp_sock`.
        unsafe { member(self.0.as_ptr(), offset) }
    }

    /// Where it is in a stream: past what was written, or what was read.
    #[inline(always)]
    pub fn position(self, direction: Direction) -> u32 {
        self.read(match direction {
            Direction::Sent => OFFSET_TCP_WRITE_SEQ.load(),
            Direction::Received => OFFSET_TCP_COPIED_SEQ.load(),
        })
    }

    /// Whether the end of a stream has a place in its position: the FIN that was sent, or the one that came once it was
    /// read, which may be with the last bytes (`found_fin_ok` in `net/ipv4/tcp.c`).
    #[inline(always)]
    pub fn has_end(self, state: u8, direction: Direction) -> bool {
        let state = 1u32 << (state & 31);
        match direction {
            Direction::Sent => state & FIN_SENT != 0,
            Direction::Received => {
                let unread = self.read::<u32>(OFFSET_TCP_RCV_NXT.load());
                state & FIN_CAME != 0 && unread == self.position(Direction::Received)
            }
        }
    }

    /// Payload that the process wrote and read so far, and a number of TCP's own where it counts the SYN:
    /// what was acknowledged and what waits to be, and what came but for what waits to be read.
    ///
    /// Nothing is held meanwhile. Members are read in an order in which what an acknowledgement or a segment
    /// changes between two of them makes too little of it, never too much (`tcp_snd_una_update` and
    /// `tcp_rcv_nxt_update`, `net/ipv4/tcp_input.c`, change the count before the position).
    #[inline(always)]
    pub fn payload(self, state: u8) -> [u64; 2] {
        let state = 1u32 << (state & 31);
        let written = self.position(Direction::Sent);
        let acknowledged: u64 = self.read(OFFSET_TCP_BYTES_ACKED.load());
        let waiting = written.wrapping_sub(self.read(OFFSET_TCP_SND_UNA.load()));
        let read = self.position(Direction::Received);
        let came: u64 = self.read(OFFSET_TCP_BYTES_RECEIVED.load());
        let unread = self.read::<u32>(OFFSET_TCP_RCV_NXT.load()).wrapping_sub(read);
        // Where an acknowledgement came in between, `waiting` is below zero.
        let waiting = i64::from(waiting.cast_signed());
        let sent = acknowledged.wrapping_add_signed(waiting);
        let own_end = u64::from(state & FIN_SENT != 0);
        let other_end = u64::from(state & FIN_CAME != 0 && unread == 0);
        [sent.wrapping_sub(own_end), came.wrapping_sub(u64::from(unread)).wrapping_sub(other_end)]
    }
}
