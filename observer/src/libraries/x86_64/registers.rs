//! Registers, by their numbers in instructions, and what instructions do to them.

use iced_x86::{Instruction, OpAccess, UsedRegister};

/// `rax`, in which functions return their result.
pub(crate) const RAX: usize = 0;
/// `rsp`.
pub(crate) const RSP: usize = 4;
/// `rbp`.
pub(crate) const RBP: usize = 5;
/// The registers of the first four arguments: `rdi`, `rsi`, `rdx` and `rcx` (System V ABI, AMD64, 3.2.3).
pub(crate) const ARGUMENTS: [usize; 4] = [7, 6, 2, 1];
/// Which registers a function leaves as they were: `rbx`, `rsp`, `rbp` and `r12` to `r15`.
pub(crate) const KEPT: [usize; 7] = [3, RSP, RBP, 12, 13, 14, 15];

/// The number of the register that is an operand, if it is one of 32 or 64 bits.
pub(crate) fn gpr(instruction: &Instruction, operand: u32) -> Option<usize> {
    let register = instruction.try_op_register(operand).ok()?;
    (register.is_gpr32() || register.is_gpr64()).then(|| register.number())
}

/// The number of the register that a used one is part of, if it is a general one.
pub(crate) fn number(used: UsedRegister) -> Option<usize> {
    let register = used.register().full_register();
    register.is_gpr64().then(|| register.number())
}

/// Whether something may be written.
pub(crate) fn is_write(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}
