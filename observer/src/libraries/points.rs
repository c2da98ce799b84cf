//! Where to put probes on a function of a TLS library, so that they cost least.
//!
//! A uprobe is a breakpoint. Behind it, the kernel does what the instruction below it does: a few it emulates, all
//! others it lets the processor execute as a single step, at another exception, which on a virtual machine is an exit
//! to the host: 16 µs instead of 2.3. So on x86-64 the probe on a function's entry is moved to the first instruction
//! that is emulated, as long as each call passes it once with its arguments still in their registers. In place of a
//! return probe there is a probe on an emulated instruction near the function's end, where each call that passes the
//! entry passes once, and where what it will return is known. Both are proven from the function's instructions, or
//! not done.
//!
//! Other machines: entries are at the first instruction, and exits are return probes.
//!
//! Nothing is proven of what lies outside the function's own bytes: that no other function jumps into the middle of
//! it, and that functions that it calls follow the ABI. Compilers' functions do so, but for parts that are rarely
//! executed, which they put elsewhere; who jumps there is taken not to come back to where the proof still matters.

mod x86_64;

use observer_ebpf::layout::library::ResultPlace;

use super::elf::Machine;
use super::functions::Function;

/// Bytes of the longest function that is disassembled. Debian's `SSL_read` has 131 and Node's, with what is inlined,
/// 443. Debian's `gnutls_record_send2` has 1,116.
pub const LONGEST: usize = 4096;

/// A place for a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Where the instruction is in the file, in bytes: what a uprobe takes.
    pub offset: u64,
    /// Whether each kernel since Linux 6.1 emulates the instruction. On machines other than x86-64 this is not looked
    /// into, and false.
    pub emulated: bool,
}

/// Where a function's exit is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// At an emulated instruction, by a probe that is no return probe. A call that passes the entry passes it once,
    /// when all that the call writes for its caller is written. Only a call whose length is less than 0 may not pass
    /// it: the program does nothing at such a call's entry. It may pass it without its entry having told of it.
    At {
        /// Where the instruction is in the file, in bytes.
        offset: u64,
        /// Where the result is.
        result: ResultPlace,
    },
    /// By a return probe on the function's first instruction, where the entry is then probed, too: the kernel has one
    /// breakpoint there for both.
    Return,
    /// Not at all: nothing is wanted to be known of it.
    Unneeded,
}

/// Where to put the probes of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points {
    /// For its entry. The function's arguments are in the registers in which the ABI passes them.
    pub entry: Point,
    /// For its exit.
    pub exit: Exit,
}

/// Finds the points of a function from its `code`, which starts at `offset` in the file. What cannot be proven, as of
/// functions longer than [`LONGEST`], is [`first`].
pub fn find(machine: Machine, function: Function, code: &[u8], offset: u64) -> Points {
    match machine {
        Machine::X86_64 => x86_64::find(function, code, offset),
        Machine::Aarch64 => first(machine, function, code, offset),
    }
}

/// The points of a function of which no more is known than where it starts: its first instruction, and a return probe.
pub fn first(machine: Machine, function: Function, code: &[u8], offset: u64) -> Points {
    let emulated = match machine {
        Machine::X86_64 => x86_64::is_first_emulated(code),
        Machine::Aarch64 => false,
    };
    let exit = if function.ends_a_session() { Exit::Unneeded } else { Exit::Return };
    Points { entry: Point { offset, emulated }, exit }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Function, Point, Points, find, first};
    use crate::libraries::elf::Machine;

    #[test]
    fn other_machines_have_the_first_instruction_and_a_return_probe() {
        // The bytes would be `push %rbp` and `ret` of x86-64.
        let points = find(Machine::Aarch64, Function::Read, &[0x55, 0xc3], 0x40);
        assert_eq!(points, Points { entry: Point { offset: 0x40, emulated: false }, exit: Exit::Return });
        let points = find(Machine::Aarch64, Function::Free, &[], 0);
        assert_eq!(points.exit, Exit::Unneeded);
    }

    #[test]
    fn of_the_first_instruction_it_is_told_whether_it_is_emulated() {
        for (code, emulated) in [(&[0x55][..], true), (&[0x48, 0x83, 0xec, 0x18], false), (&[], false)] {
            let points = first(Machine::X86_64, Function::Write, code, 7);
            assert_eq!(points, Points { entry: Point { offset: 7, emulated }, exit: Exit::Return });
        }
    }
}
