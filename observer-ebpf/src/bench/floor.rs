//! For the benchmark: the least that a program must do which looks at a call's bytes. It finds the socket's
//! state, the call's registers, and reads 16 bytes of the buffer; it understands nothing.
#![no_std]
#![no_main]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "the attribute makes undocumented items of what must be pub"
)]

use core::ffi::c_void;

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::btf_maps::SkStorage;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task_btf, bpf_probe_read_user, bpf_sk_storage_get, bpf_task_pt_regs,
};
use aya_ebpf::macros::{btf_map, btf_tracepoint};
use aya_ebpf::programs::BtfTracePointContext;

/// `pt_regs.si`: where `write`, `read`, `sendto` and `recvfrom` have their buffer.
#[cfg(bpf_target_arch = "x86_64")]
#[unsafe(no_mangle)]
static OFFSET_REGS_SI: Global<u32> = Global::new(0);
/// `pt_regs.regs`, of which they have it in the second.
#[cfg(bpf_target_arch = "aarch64")]
#[unsafe(no_mangle)]
static OFFSET_REGS_REGS: Global<u32> = Global::new(0);
/// `sock.sk_type`.
#[unsafe(no_mangle)]
static OFFSET_SOCK_TYPE: Global<u32> = Global::new(0);

/// What was last read on a socket.
#[btf_map]
static SOCKETS: SkStorage<[u64; 2]> = SkStorage::new();

/// See `program/hooks/data.rs`.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(context: BtfTracePointContext) -> i32 {
    floor(context.arg(0), context.arg(1))
}

/// See `program/hooks/data.rs`.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(context: BtfTracePointContext) -> i32 {
    floor(context.arg(0), context.arg(1))
}

/// Where the registers hold the buffer's address.
#[inline(always)]
fn buffer_at() -> u32 {
    #[cfg(bpf_target_arch = "x86_64")]
    return OFFSET_REGS_SI.load();
    #[cfg(bpf_target_arch = "aarch64")]
    return OFFSET_REGS_REGS.load() + 8;
}

#[inline(always)]
fn floor(sk: *const u8, result: i32) -> i32 {
    // SAFETY: a socket that the verifier knows, at an offset that the loader has from the kernel.
    let kind: u16 = unsafe { sk.add(OFFSET_SOCK_TYPE.load() as usize).cast::<u16>().read_volatile() };
    if result <= 0 || kind != 1 {
        return 0;
    }
    let map = (&raw const SOCKETS).cast_mut().cast();
    // SAFETY: a map and a socket that the verifier knows.
    let state = unsafe {
        bpf_sk_storage_get(
            map,
            sk.cast_mut().cast(),
            core::ptr::null_mut(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
    };
    if state.is_null() {
        return 0;
    }
    // SAFETY: no arguments; then a task, and registers, that the verifier knows; the read may fail.
    unsafe {
        let regs = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        let buffer = regs.add(buffer_at() as usize).cast::<u64>().read_volatile();
        bpf_probe_read_user(state, 16, buffer as *const c_void);
    }
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
