//! Which instructions the kernel emulates below a uprobe: those that `branch_setup_xol_ops` and `push_setup_xol_ops`
//! in `arch/x86/kernel/uprobes.c` take, in every kernel since Linux 6.1.
//!
//! Not among them are no-operations of several bytes, which are single-stepped until 6.17 (and `66 90`, which cannot be
//! probed at all in some of 6.1), and whatever has a prefix that compilers do not put there.

/// Whether the kernel emulates the instruction of these bytes.
pub(super) fn is_emulated(instruction: &[u8]) -> bool {
    is_worth_a_move(instruction) || matches!(instruction, [0xe8, _, _, _, _])
}

/// Whether it emulates it, and a probe may be moved there.
///
/// A call is not: where a process has a shadow stack for its returns, kernels from 6.6, which brought those, to 6.17
/// emulate calls without it, and the process is killed when the function that was called returns.
pub(super) fn is_worth_a_move(instruction: &[u8]) -> bool {
    let is_push_or_nop = matches!(instruction, [0x50..=0x57 | 0x90] | [0x41, 0x50..=0x57]);
    // Without a condition and with one, each by a distance of a byte and by one of four.
    let is_jump =
        matches!(instruction, [0xeb | 0x70..=0x7f, _] | [0xe9, _, _, _, _] | [0x0f, 0x80..=0x8f, _, _, _, _]);
    is_push_or_nop || is_jump
}

#[cfg(test)]
mod tests {
    use super::{is_emulated, is_worth_a_move};

    #[test]
    fn what_every_kernel_emulates_is_emulated() {
        for instruction in [
            &[0x53][..],
            &[0x41, 0x57],
            &[0x90],
            &[0xeb, 0x02],
            &[0xe9, 0, 0, 0, 0],
            &[0x78, 0x2f],
            &[0x0f, 0x8f, 0, 0, 0, 0],
        ] {
            assert!(is_emulated(instruction) && is_worth_a_move(instruction), "{instruction:x?}");
        }
        assert!(is_emulated(&[0xe8, 0, 0, 0, 0]));
    }

    #[test]
    fn what_some_kernels_step_is_not() {
        for instruction in [
            &[][..],
            // sub, pop, ret, endbr64, and calls and jumps to where a register says.
            &[0x48, 0x83, 0xec, 0x18],
            &[0x5b],
            &[0xc3],
            &[0xf3, 0x0f, 0x1e, 0xfa],
            &[0xff, 0xd0],
            &[0xff, 0xe0],
            // nop of several bytes, pause, and a jump that counts.
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0xf3, 0x90],
            &[0xe3, 0x00],
            // With prefixes: a size, and what once told which way is likely.
            &[0x48, 0x53],
            &[0x66, 0xe9, 0, 0, 0, 0],
            &[0x2e, 0x78, 0x2f],
            // push of a constant, and of a segment register.
            &[0x6a, 0x00],
            &[0x0f, 0xa0],
        ] {
            assert!(!is_emulated(instruction), "{instruction:x?}");
        }
        assert!(!is_worth_a_move(&[0xe8, 0, 0, 0, 0]));
    }
}
