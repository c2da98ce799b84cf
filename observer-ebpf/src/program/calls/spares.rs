//! Spare programs, on kernels that may take the processor from a program in the middle of its run.
//!
//! Since Linux 7.0 a program on a tracepoint may be preempted (`__bpf_trace_run` in `kernel/trace/bpf_trace.c`). The
//! kernel does not run it again on that processor until it has ended: calls that other threads make there meanwhile are
//! left out, and only counted. So each program that must see every call is there twice. The first one marks the thread
//! whose call it looks at; the spare one, which runs after it, takes the calls of threads that are not marked.
//!
//! A call is lost only where two threads at once are kept in the middle of theirs on one processor, one in each program.
//!
//! ```text
//!   thread 1:  first (preempted …                                     … goes on)  spare: marked, nothing to do
//!   thread 2:                       first: left out   spare: takes the call
//! ```

use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Direction;

use crate::globals::{HAS_SPARES, OFFSET_TASK_NIVCSW, OFFSET_TASK_NVCSW};
use crate::kernel::{Sock, Task, Tcp};
use crate::sockets;
use crate::task_storage::TaskStorage;

/// Which of the two programs on one tracepoint it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// The one that runs first.
    First,
    /// The one that takes what the first one could not.
    Spare,
}

/// A call that the first program has looked at.
#[derive(Clone, Copy)]
#[repr(C)]
struct Mark {
    /// Its socket; 0 if there is none, or the spare program has come to it.
    sk: u64,
    /// How often the thread had gone to sleep, and had been put aside, when the first program ran
    /// (`task_struct.nvcsw` and `nivcsw`).
    slept: u64,
    put_aside: u64,
    /// Bytes that it moved.
    bytes: u64,
}

/// A mark for each [`Direction`].
#[repr(C)]
struct Marks([Mark; 2]);

/// Marks of each thread; go with the thread.
#[btf_map]
static MARKS: TaskStorage<Marks> = TaskStorage::new();

/// Whether a call of this thread is for this program to look at.
#[inline(always)]
pub fn takes(instance: Instance, task: Task, sk: Sock, bytes: u32, direction: Direction) -> bool {
    if HAS_SPARES.load() == 0 {
        return true;
    }
    let is_spare = instance == Instance::Spare;
    let marks = if is_spare { MARKS.get(task) } else { MARKS.get_or_create(task) };
    // Where there is no memory for marks, the spare program has all calls of the thread.
    let Some(Marks(marks)) = marks else { return is_spare };
    let mark = &mut marks[direction as usize];
    let call = Mark {
        sk: sk.0 as u64,
        slept: task.read(OFFSET_TASK_NVCSW.load()),
        put_aside: task.read(OFFSET_TASK_NIVCSW.load()),
        bytes: u64::from(bytes),
    };
    if !is_spare {
        *mark = call;
        return true;
    }
    let before = *mark;
    mark.sk = 0;
    !is_same(&before, &call, sk, direction)
}

/// Whether the call that a mark is of is the one in hand, and not an earlier one that the spare program was left out of.
///
/// A thread does not sleep between the two programs. If it has not been put aside since, it is the same: for both programs
/// to be left out, of one call each, another thread must have come to one of them in between. If it has, it was most
/// likely between the two programs; what TCP says decides, where there is TCP.
#[inline(always)]
fn is_same(mark: &Mark, call: &Mark, sk: Sock, direction: Direction) -> bool {
    if mark.sk != call.sk || mark.bytes != call.bytes || mark.slept != call.slept {
        return false;
    }
    mark.put_aside == call.put_aside || !is_behind(sk, direction)
}

/// Whether TCP is further than the calls that have been looked at.
#[inline(never)]
fn is_behind(sk: Sock, direction: Direction) -> bool {
    let Some(tcp) = Tcp::new(sk) else { return false };
    let Some(socket) = sockets::socket(sk) else { return true };
    tcp.position(direction) != socket.positions[direction as usize]
}
