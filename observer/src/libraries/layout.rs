//! Where a library's sessions hold what tells whose they are, by the library's own machine code.
//!
//! A session whose records go through memory is told by the random of the client's hello, which the kernel half reads
//! in the session itself. Where it is there differs from one version of a library to the next, and no file says it. But
//! a library has functions that return it, and whether the session is a server's. These are disassembled, and what they
//! return is followed back to where in the session it comes from. The place is what all ways through the function
//! agree on, or it is not known: nothing is taken for a place because it looks like one.
//!
//! Other machines than x86-64: no place is known.

mod x86_64;

use observer_ebpf::layout::library::SessionLayout;

use super::elf::Machine;

/// `size_t SSL_get_client_random(const SSL *ssl, unsigned char *out, size_t outlen)`, which copies the random.
pub const CLIENT_RANDOM: &str = "SSL_get_client_random";
/// `int SSL_is_server(const SSL *ssl)`.
pub const IS_SERVER: &str = "SSL_is_server";
/// The functions that are looked into. No probes are put on them.
pub const FUNCTIONS: [&str; 2] = [CLIENT_RANDOM, IS_SERVER];

/// The code of [`FUNCTIONS`], all of each.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// That of [`CLIENT_RANDOM`].
    pub client_random: &'a [u8],
    /// That of [`IS_SERVER`].
    pub is_server: &'a [u8],
}

/// Finds the layout of a library's sessions. `None` if one of the places cannot be proven, or is too far away to be
/// told.
pub fn find(machine: Machine, code: Code<'_>) -> Option<SessionLayout> {
    match machine {
        Machine::X86_64 => x86_64::find(code),
        Machine::Aarch64 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, SessionLayout, find};
    use crate::libraries::elf::Machine;

    #[test]
    fn other_machines_have_no_layout() {
        // mov eax, [rdi + 0x160]; mov [rsi], eax; ret. And mov eax, [rdi + 0x38]; ret.
        let client_random = &[0x8b, 0x87, 0x60, 0x01, 0, 0, 0x89, 0x06, 0xc3];
        let code = Code { client_random, is_server: &[0x8b, 0x47, 0x38, 0xc3] };
        assert_eq!(find(Machine::X86_64, code), SessionLayout::new(None, 0x160, 0x38));
        assert_eq!(find(Machine::Aarch64, code), None);
    }
}
