//! x86-64 (`arch/x86/include/asm/ptrace.h`, `arch/x86/entry/entry_64.S`).

use super::Registers;
use crate::globals::{
    OFFSET_REGS_AX, OFFSET_REGS_DX, OFFSET_REGS_ORIG_AX, OFFSET_REGS_SI, OFFSET_TASK_STATUS,
};
use crate::kernel::Task;

const ENOSYS: i64 = 38;
/// `TS_COMPAT` (`arch/x86/include/asm/thread_info.h`).
const COMPAT: u32 = 0x0002;

/// System calls by number (`arch/x86/entry/syscalls/syscall_64.tbl`).
pub mod number {
    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const READV: u64 = 19;
    pub const WRITEV: u64 = 20;
    pub const SENDFILE: u64 = 40;
    pub const SENDTO: u64 = 44;
    pub const RECVFROM: u64 = 45;
    pub const SENDMSG: u64 = 46;
    pub const RECVMSG: u64 = 47;
    pub const SPLICE: u64 = 275;
    pub const PREADV2: u64 = 327;
    pub const PWRITEV2: u64 = 328;
    pub const IO_URING_ENTER: u64 = 426;
}

impl Registers {
    /// The system call's number.
    #[inline(always)]
    pub fn number(self) -> u64 {
        self.read(OFFSET_REGS_ORIG_AX.load())
    }

    /// Whether the call has not returned. Until it does, its result is preset; afterwards, work that was put off
    /// may run with the registers of a call that has nothing to do with it.
    #[inline(always)]
    pub fn in_call(self) -> bool {
        self.read::<i64>(OFFSET_REGS_AX.load()) == -ENOSYS
    }

    /// The call's second argument.
    #[inline(always)]
    pub fn second(self) -> u64 {
        self.read(OFFSET_REGS_SI.load())
    }

    /// The call's third argument.
    #[inline(always)]
    pub fn third(self) -> u64 {
        self.read(OFFSET_REGS_DX.load())
    }
}

/// Whether a task is in a 32-bit system call, whose numbers and arguments are others.
#[inline(always)]
pub fn is_32_bit(task: Task) -> bool {
    task.read::<u32>(OFFSET_TASK_STATUS.load()) & COMPAT != 0
}
