//! For the benchmark: programs that do nothing, on the tracepoints that the agent's are on. What they cost
//! is the kernel's price of a program.
#![no_std]
#![no_main]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "the attribute makes undocumented items of what must be pub"
)]

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

/// See `program/hooks/data.rs`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(_context: BtfTracePointContext) -> i32 {
    0
}

/// See `program/hooks/data.rs`.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(_context: BtfTracePointContext) -> i32 {
    0
}

/// See `hooks/connection.rs`.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(_context: BtfTracePointContext) -> i32 {
    0
}

/// See `hooks/connection.rs`.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(_context: BtfTracePointContext) -> i32 {
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
