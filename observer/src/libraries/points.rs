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

/// Bytes of the longest function that is disassembled. Debian's `SSL_read` has 131 and Node's, with what is inlined,
/// 443.
pub const LONGEST: usize = 4096;

/// A function of a TLS library that probes are put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Function {
    /// `int SSL_read(SSL *ssl, void *buf, int num)`.
    Read,
    /// `int SSL_write(SSL *ssl, const void *buf, int num)`.
    Write,
    /// `int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
    ReadEx,
    /// `int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)`.
    WriteEx,
    /// `int SSL_peek(SSL *ssl, void *buf, int num)`.
    Peek,
    /// `int SSL_peek_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
    PeekEx,
    /// `int SSL_do_handshake(SSL *ssl)`.
    DoHandshake,
    /// `int SSL_shutdown(SSL *ssl)`.
    Shutdown,
    /// `int SSL_read_early_data(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
    ReadEarlyData,
    /// `int SSL_write_early_data(SSL *ssl, const void *buf, size_t num, size_t *written)`.
    WriteEarlyData,
    /// `int SSL_clear(SSL *ssl)`.
    Clear,
    /// `void SSL_free(SSL *ssl)`.
    Free,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Read,
        Self::Write,
        Self::ReadEx,
        Self::WriteEx,
        Self::Peek,
        Self::PeekEx,
        Self::DoHandshake,
        Self::Shutdown,
        Self::ReadEarlyData,
        Self::WriteEarlyData,
        Self::Clear,
        Self::Free,
    ];

    /// The function's name, which is that of its symbol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "SSL_read",
            Self::Write => "SSL_write",
            Self::ReadEx => "SSL_read_ex",
            Self::WriteEx => "SSL_write_ex",
            Self::Peek => "SSL_peek",
            Self::PeekEx => "SSL_peek_ex",
            Self::DoHandshake => "SSL_do_handshake",
            Self::Shutdown => "SSL_shutdown",
            Self::ReadEarlyData => "SSL_read_early_data",
            Self::WriteEarlyData => "SSL_write_early_data",
            Self::Clear => "SSL_clear",
            Self::Free => "SSL_free",
        }
    }

    /// How many arguments it has, each in a register.
    fn arguments(self) -> usize {
        match self {
            Self::Read | Self::Write | Self::Peek => 3,
            Self::ReadEx | Self::WriteEx | Self::PeekEx | Self::ReadEarlyData | Self::WriteEarlyData => 4,
            Self::DoHandshake | Self::Shutdown | Self::Clear | Self::Free => 1,
        }
    }

    /// Whether what comes under the same address behind it is another session: its own end tells nothing more.
    fn ends_a_session(self) -> bool {
        matches!(self, Self::Clear | Self::Free)
    }

    /// Whether its third argument is an `int`, which callers may pass less than 0 in by mistake.
    fn takes_signed_length(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Peek)
    }
}

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
    fn names_are_each_function_s_own() {
        let names: std::collections::BTreeSet<_> = Function::ALL.into_iter().map(Function::name).collect();
        assert_eq!(names.len(), Function::ALL.len());
    }

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
