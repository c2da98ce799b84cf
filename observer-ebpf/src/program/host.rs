//! What the program offers to parsers, besides a call's bytes.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::layout::losses::Unread;
use observer_ebpf::stream::bytes::{Bytes, HEADER_MAX, Host, Scratch};

use crate::calls::buffers::{Buffers, buffers_fail, buffers_refill};
use crate::globals::thresholds;
use crate::{clock, events};

/// Runs `iteration` until it returns false, and at most `limit` times; tells whether it did return false.
#[inline(always)]
pub fn repeat<F: FnMut() -> bool>(limit: u32, mut iteration: F) -> bool {
    /// One iteration: 0 to go on, 1 to end.
    unsafe extern "C" fn callback<F: FnMut() -> bool>(_index: u32, iteration: *mut c_void) -> i64 {
        // SAFETY: `iteration` is what the loop was given, alive as long as it runs.
        let iteration = unsafe { &mut *iteration.cast::<F>() };
        i64::from(!iteration())
    }
    let context = (&raw mut iteration).cast::<c_void>();
    // SAFETY: `callback` has the type that the helper calls, and `context` is what it expects.
    let iterations = unsafe { bpf_loop(limit, callback::<F> as *mut c_void, context, 0) };
    // A loop that ran to its limit may have ended in its last iteration: that is taken for a loop too long.
    iterations >= 0 && (iterations as u64) < u64::from(limit)
}

impl Bytes for Buffers {
    #[inline(always)]
    fn end(&self) -> u32 {
        self.len()
    }

    #[inline(always)]
    fn position(&self) -> u32 {
        Self::position(self)
    }

    #[inline(always)]
    fn go_to(&mut self, position: u32) {
        Self::go_to(self, position);
    }

    #[inline(always)]
    fn window(&mut self, offset: u32) -> Result<u32, Unread> {
        if let Some(available) = self.held(offset, HEADER_MAX) {
            return Ok(available);
        }
        match buffers_refill(self, offset) {
            0 => {
                buffers_fail(self, offset);
                Err(Unread::Fault)
            }
            available => Ok(available),
        }
    }

    #[inline(always)]
    fn words(&self, offset: u32) -> (u64, u64) {
        Self::words(self, offset)
    }

    #[inline(always)]
    fn repeat<F: FnMut() -> bool>(limit: u32, iteration: F) -> bool {
        repeat(limit, iteration)
    }

    #[inline(always)]
    fn scratch(&mut self) -> &mut Scratch {
        Self::scratch(self)
    }
}

impl Host for Buffers {
    #[inline(always)]
    fn thresholds(&self) -> Thresholds {
        thresholds()
    }

    #[inline(always)]
    fn now_ns(&mut self) -> u64 {
        self.time(clock::monotonic_ns)
    }

    #[inline(always)]
    fn wall_ns(&mut self) -> u64 {
        clock::wall_ns(self.now_ns())
    }

    #[inline(always)]
    fn oversized(&mut self, size: u64, first: u32, last: u32) {
        events::oversized(self.index(), self.direction(), size, first, last);
    }
}
