//! Functions of TLS libraries: where they begin, where their result is known, and where they return. The agent finds these
//! places, and has the probe told which function of which library it stands on.

use aya_ebpf::EbpfContext;
#[cfg(bpf_target_arch = "x86_64")]
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
use aya_ebpf::macros::uprobe;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use observer_ebpf::layout::library::Cookie;

use crate::libraries::{Arguments, enter, leave, leave_without_plaintext};

/// A function begins: its arguments are in the registers that calls pass them in.
#[uprobe]
pub fn library_enter(context: ProbeContext) -> u32 {
    let argument = |number| context.arg::<u64>(number).unwrap_or_default();
    let arguments =
        Arguments { session: argument(0), buffer: argument(1), length: argument(2), count_at: argument(3) };
    enter(cookie(&context), &arguments);
    0
}

/// A function that moves plaintext has its result, at an instruction or as it returns.
#[uprobe]
pub fn library_result(context: ProbeContext) -> u32 {
    let cookie = cookie(&context);
    leave(cookie, result(&context, cookie));
    0
}

/// A function that moves no plaintext has its result, likewise.
#[uprobe]
pub fn library_end(context: ProbeContext) -> u32 {
    leave_without_plaintext(cookie(&context));
    0
}

#[inline(always)]
fn cookie(context: &impl EbpfContext) -> Cookie {
    // SAFETY: the program's own context.
    Cookie::from_number(unsafe { bpf_get_attach_cookie(context.as_ptr()) })
}

/// What the function returns, or will return from where it is.
#[inline(always)]
fn result(context: &ProbeContext, cookie: Cookie) -> i32 {
    let so_far = RetProbeContext::new(context.as_ptr()).ret::<i32>();
    match cookie.stack_word() {
        Some(offset) if so_far > 0 => stack_word(context, offset),
        _ => so_far,
    }
}

/// A word of the function's stack.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn stack_word(context: &ProbeContext, offset: u64) -> i32 {
    // SAFETY: the program's own context, whose members the verifier lets it read.
    let stack = unsafe { (*context.regs).rsp };
    // SAFETY: the helper may be given any address.
    unsafe { bpf_probe_read_user((stack + offset) as *const i32) }.unwrap_or_default()
}

/// Elsewhere results are looked at where functions return.
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
fn stack_word(_context: &ProbeContext, _offset: u64) -> i32 {
    0
}
