//! `io_uring:io_uring_submit_req` and `io_uring:io_uring_poll_arm` (`include/trace/events/io_uring.h`): requests to
//! send and to receive, before they are carried out.
//!
//! Other requests, as those of files, are told by their number and cost no more than a look at that. When one has
//! moved bytes, `sock_send_length` or `sock_recv_length` finds it by what is noted here.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::calls::io_uring::{self, Request};
use crate::globals::OFFSET_REQUEST_OPCODE;
use crate::kernel::member;

/// A thread submits a request, which it carries out next, as far as it can at once.
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit_req(context: BtfTracePointContext) -> i32 {
    submitted(&context)
}

/// A request waits until its socket is ready, after which any thread may carry it out that works for the ring.
#[btf_tracepoint(function = "io_uring_poll_arm")]
pub fn io_uring_poll_arm(context: BtfTracePointContext) -> i32 {
    armed(&context)
}

/// A submission: see [`crate::calls::spares`].
#[btf_tracepoint(function = "io_uring_submit_req")]
pub fn io_uring_submit_spare(context: BtfTracePointContext) -> i32 {
    submitted(&context)
}

/// A request that waits: see [`crate::calls::spares`].
#[btf_tracepoint(function = "io_uring_poll_arm")]
pub fn io_uring_poll_spare(context: BtfTracePointContext) -> i32 {
    armed(&context)
}

#[inline(always)]
fn submitted(context: &BtfTracePointContext) -> i32 {
    if let Some(request) = request(context) {
        io_uring::note(io_uring::thread(), request);
    }
    0
}

#[inline(always)]
fn armed(context: &BtfTracePointContext) -> i32 {
    if let Some(request) = request(context)
        && let Some(sk) = request.socket()
    {
        io_uring::note(sk, request);
    }
    0
}

/// The request that a program was called with, if it sends or receives.
#[inline(always)]
fn request(context: &BtfTracePointContext) -> Option<Request> {
    let request: *const u8 = context.arg(0);
    // SAFETY: the tracepoint's first argument is a `struct io_kiocb` to the verifier.
    io_uring::direction(unsafe { member(request, OFFSET_REQUEST_OPCODE.load()) })?;
    Some(Request(request as u64))
}
