//! The BPF program: tracepoints on sockets, and two iterators over them.
//!
//! For `bpfel-unknown-none` only; `cargo xtask build` builds it.
#![no_std]
#![no_main]
#![allow(unreachable_pub, reason = "a program has no outside: pub here is pub to its other modules")]
// Inline assembly, for the atomic operations that `core` lacks on this target.
#![feature(asm_experimental_arch)]

mod addresses;
mod assembly;
mod backlog;
mod calls;
mod clock;
mod events;
mod globals;
mod hooks;
mod host;
mod kernel;
mod libraries;
mod losses;
mod maps;
mod names;
mod owners;
mod queues;
mod requests;
mod slots;
mod sockets;
mod stream;
mod subprograms;
mod task_storage;

/// Helpers marked as GPL-only (`bpf_probe_read_kernel`, for one) may be used under this licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Nothing here can panic: the verifier would refuse a loop without an end.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
