//! The system call that a task is in, by the registers with which it entered the kernel.
//!
//! Where those are is the architecture's own: a file each.

#[cfg(bpf_target_arch = "aarch64")]
mod aarch64;
#[cfg(bpf_target_arch = "x86_64")]
mod x86_64;

use aya_ebpf::helpers::generated::bpf_task_pt_regs;

#[cfg(bpf_target_arch = "aarch64")]
pub use self::aarch64::{is_32_bit, number};
#[cfg(bpf_target_arch = "x86_64")]
pub use self::x86_64::{is_32_bit, number};
use crate::kernel::{Task, member};

/// A task's `struct pt_regs`.
#[derive(Clone, Copy)]
pub struct Registers(*const u8);

impl Registers {
    /// Those of a task.
    #[inline(always)]
    pub fn of(task: Task) -> Self {
        // SAFETY: a task that the verifier knows.
        Self(unsafe { bpf_task_pt_regs(task.as_ptr().cast_mut().cast()) } as *const u8)
    }

    #[inline(always)]
    fn read<T: Copy>(self, offset: u32) -> T {
        // SAFETY: the verifier knows what the helper returns as `struct pt_regs`.
        unsafe { member(self.0, offset) }
    }
}
