//! arm64 (`arch/arm64/include/asm/ptrace.h`, `arch/arm64/kernel/syscall.c`).

use super::Registers;
use crate::globals::{OFFSET_REGS_ORIG_X0, OFFSET_REGS_PSTATE, OFFSET_REGS_REGS, OFFSET_REGS_SYSCALLNO};
use crate::kernel::Task;

/// Bytes of a register.
const REGISTER: u32 = 8;
/// `NO_SYSCALL` (`arch/arm64/include/asm/ptrace.h`): the task came into the kernel by an interrupt or a fault.
const NO_SYSCALL: u32 = u32::MAX;
/// `PSR_MODE32_BIT` (`arch/arm64/include/uapi/asm/ptrace.h`), which the processor sets.
const MODE_32: u64 = 0x10;

/// System calls by number (`include/uapi/asm-generic/unistd.h`).
pub mod number {
    pub const READ: u64 = 63;
    pub const WRITE: u64 = 64;
    pub const READV: u64 = 65;
    pub const WRITEV: u64 = 66;
    pub const SENDFILE: u64 = 71;
    pub const SPLICE: u64 = 76;
    pub const SENDTO: u64 = 206;
    pub const RECVFROM: u64 = 207;
    pub const SENDMSG: u64 = 211;
    pub const RECVMSG: u64 = 212;
    pub const PREADV2: u64 = 286;
    pub const PWRITEV2: u64 = 287;
    pub const IO_URING_ENTER: u64 = 426;
}

impl Registers {
    /// The system call's number.
    #[inline(always)]
    pub fn number(self) -> u64 {
        u64::from(self.read::<u32>(OFFSET_REGS_SYSCALLNO.load()))
    }

    /// Whether the task is in a call that has not returned. Until it does, the first register still holds the first
    /// argument; afterwards it holds the result, and work that was put off may run with the registers of a call that
    /// has nothing to do with it. One that returns the very number of its first argument is taken for one that has
    /// not returned: nothing else in the registers tells.
    #[inline(always)]
    pub fn in_call(self) -> bool {
        self.number() != u64::from(NO_SYSCALL)
            && self.read::<u64>(OFFSET_REGS_REGS.load()) == self.read::<u64>(OFFSET_REGS_ORIG_X0.load())
    }

    /// The call's second argument.
    #[inline(always)]
    pub fn second(self) -> u64 {
        self.read(OFFSET_REGS_REGS.load() + REGISTER)
    }

    /// The call's third argument.
    #[inline(always)]
    pub fn third(self) -> u64 {
        self.read(OFFSET_REGS_REGS.load() + 2 * REGISTER)
    }
}

/// Whether a task runs a 32-bit program, whose system calls have other numbers and arguments.
#[inline(always)]
pub fn is_32_bit(task: Task) -> bool {
    Registers::of(task).read::<u64>(OFFSET_REGS_PSTATE.load()) & MODE_32 != 0
}
