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

use core::ffi::c_void;
use core::marker::PhantomData;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE;
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE};
use aya_ebpf::helpers::generated::bpf_task_storage_get;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Direction;

use crate::globals::{HAS_SPARES, OFFSET_TASK_NIVCSW, OFFSET_TASK_NVCSW};
use crate::kernel::{Sock, Task, Tcp};
use crate::sockets;

/// Which of the two programs on one tracepoint it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Instance {
    /// The one that runs first.
    First,
    /// The one that takes what the first one could not.
    Spare,
}

/// A map of type `BPF_MAP_TYPE_TASK_STORAGE`, as the loader reads it from the type of its fields.
#[repr(C)]
struct TaskStorage<T> {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
    of: PhantomData<T>,
}

// SAFETY: its fields are never read; the kernel has the map.
unsafe impl<T> Sync for TaskStorage<T> {}

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
static MARKS: TaskStorage<Marks> = TaskStorage {
    r#type: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
    max_entries: core::ptr::null(),
    map_flags: core::ptr::null(),
    of: PhantomData,
};

/// Whether a call of this thread is for this program to look at.
#[inline(always)]
pub fn takes(instance: Instance, task: Task, sk: Sock, bytes: u32, direction: Direction) -> bool {
    if HAS_SPARES.load() == 0 {
        return true;
    }
    let is_spare = instance == Instance::Spare;
    let map = (&raw const MARKS).cast_mut().cast::<c_void>();
    let flags = if is_spare { 0 } else { u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE) };
    // SAFETY: a map and a task that the verifier knows; new marks are all zeroes.
    let marks = unsafe {
        bpf_task_storage_get(map, task.as_ptr().cast_mut().cast(), core::ptr::null_mut(), flags)
            .cast::<Marks>()
            .as_mut()
    };
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
