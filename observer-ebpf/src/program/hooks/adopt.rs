//! `iter/task_file` (5.8; `bpf_sock_from_file` since 5.11): every socket that a process has open, with the
//! process. Run when the agent starts, and when connections have no known owner.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_sock_from_file;
use observer_ebpf::layout::connection::Phase;
use observer_ebpf::layout::socket::UNTRACKED;

use crate::globals::{OFFSET_SOCK_STATE, OFFSET_SOCKET_SK};
use crate::kernel::{Sock, Task, member};
use crate::sockets::Origin;
use crate::{owners, slots, sockets};

/// `TCP_ESTABLISHED` and `TCP_CLOSE_WAIT`: states of a connection that its process still has. A connected
/// UNIX socket is in the first, too.
const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;

/// What the iterator calls with (`struct bpf_iter__task_file` in `kernel/bpf/task_iter.c`).
#[repr(C)]
struct TaskFile {
    meta: *const c_void,
    task: *const u8,
    fd: u32,
    file: *const u8,
}

/// One descriptor of one process.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
extern "C" fn adopt(context: *const c_void) -> i32 {
    // SAFETY: the kernel calls with this structure.
    let (task, file) = unsafe {
        let context = context.cast::<TaskFile>();
        ((&raw const (*context).task).read_volatile(), (&raw const (*context).file).read_volatile())
    };
    let Some(task) = Task::new(task) else { return 0 };
    if file.is_null() {
        return 0;
    }
    // SAFETY: a file that the verifier knows.
    let socket = unsafe { bpf_sock_from_file(file.cast_mut().cast()) }.cast_const().cast::<u8>();
    if socket.is_null() {
        return 0;
    }
    // SAFETY: the verifier knows what the helper returns as `struct socket`.
    let sk: *const u8 = unsafe { member(socket, OFFSET_SOCKET_SK.load()) };
    if !sk.is_null() {
        found(Sock(sk), task);
    }
    0
}

#[inline(always)]
fn found(sk: Sock, task: Task) {
    if !sockets::is_stream(sk) || !sockets::is_observed(sk) {
        return;
    }
    let state: u8 = sk.read(OFFSET_SOCK_STATE.load());
    if state != ESTABLISHED && state != CLOSE_WAIT {
        return;
    }
    let origin = match sockets::socket(sk) {
        Some(socket) if socket.index != UNTRACKED => {
            if socket.owner.start_ns == 0 {
                owners::hand_over(socket, task);
            }
            return;
        }
        Some(_) => Origin::Adopted,
        None => Origin::without_state(sk, task),
    };
    if let Some(socket) = sockets::track(sk, origin, Some(task), Phase::Open)
        && let Some(connection) = slots::slot(socket.index)
        && let Some(retransmits) = sockets::retransmits(sk)
    {
        connection.retransmits_before = retransmits;
    }
}
