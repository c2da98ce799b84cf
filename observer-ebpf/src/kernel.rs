//! Members of kernel structures, read at offsets that are constants to the verifier.
//!
//! A pointer from a tracepoint's arguments, or loaded from a structure that the verifier knows, may be
//! read directly: such a load costs no call, and one that faults yields zero. Everything else is read
//! with `bpf_probe_read_kernel`.

use core::ffi::c_void;
use core::ptr::NonNull;

use aya_ebpf::helpers::generated;
use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel};
use observer_ebpf::layout::connection::Owner;

use crate::globals::{
    OFFSET_SOCK_SOCKET, OFFSET_SOCKET_FILE, OFFSET_TASK_COMM, OFFSET_TASK_GROUP_LEADER,
    OFFSET_TASK_SELF_EXEC_ID, OFFSET_TASK_START_BOOTTIME, OFFSET_TASK_TGID,
};

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

/// Reads bytes with a helper to where they are wanted; zeroes if they are not there.
#[inline(always)]
pub fn probe_into<const N: usize>(base: *const u8, offset: u32, to: &mut [u8; N]) {
    let from = base.wrapping_add(offset as usize).cast::<c_void>();
    // SAFETY: `to` has room for `N`; the helper may be given any address, and clears `to` if it fails.
    unsafe { generated::bpf_probe_read_kernel(to.as_mut_ptr().cast(), N as u32, from) };
}

impl Sock {
    /// Reads a member of `struct sock`.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: a `Sock` is only made of pointers that the verifier knows.
        unsafe { member(self.0, offset) }
    }

    /// For helpers.
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

    /// For helpers.
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

    /// Copies the leader's name.
    #[inline(always)]
    pub fn comm(self, name: &mut [u8; 16]) {
        probe_into(self.leader().as_ptr(), OFFSET_TASK_COMM.load(), name);
    }
}
