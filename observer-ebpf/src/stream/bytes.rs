//! Where a parser's bytes come from: the buffers of one call, seen through a window; and what else a parser asks of
//! whoever runs it.

use super::pipeline::Backlog;
use crate::layout::control::Thresholds;
use crate::layout::losses::Unread;

/// Bytes that every window holds where the call has them: the longest header of any parser here.
pub const HEADER_MAX: u32 = 16;

/// The most iterations (headers, mostly) for one call. At some 40 ns each this bounds what one call can cost to a few
/// milliseconds, whatever its bytes.
pub const ITERATIONS_MAX: u32 = 1 << 17;

/// What a look through a whole call keeps from one iteration to the next. Each look begins with zeroes, and uses of it
/// what it needs.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Scratch {
    /// Elements still to come.
    pub left: u64,
    /// Messages so far.
    pub messages: u32,
    /// The last message's type, and its first payload byte.
    pub last: [u8; 2],
    /// 1 inside a line.
    pub in_line: u8,
    /// Where a word ends in what is in reach.
    pub end: u8,
    /// Where a line does.
    pub newline: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// The bytes that one call moved.
pub trait Bytes {
    /// How many bytes the call moved.
    fn end(&self) -> u32;

    /// How many of them have been dealt with: where a loop stands.
    ///
    /// Kept by the source, which for the kernel is in a map: a number in a register would be followed by the verifier
    /// iteration by iteration, and no loop would ever end for it.
    fn position(&self) -> u32;

    /// Goes to `position`.
    fn go_to(&mut self, position: u32);

    /// Brings the bytes from `offset` (below [`Bytes::end`]) within reach of [`Bytes::words`], and tells how many of
    /// them are: at least one, and at least [`HEADER_MAX`] where the buffer that holds `offset` has as many.
    fn window(&mut self, offset: u32) -> Result<u32, Unread>;

    /// Sixteen bytes from `offset`, little-endian, of which those are meaningful that the last [`Bytes::window`] had
    /// within reach.
    fn words(&self, offset: u32) -> (u64, u64);

    /// Runs `iteration` until it returns false, and at most `limit` times; tells whether it did return false.
    ///
    /// The kernel allows long loops only as callbacks of `bpf_loop`.
    fn repeat<F: FnMut() -> bool>(limit: u32, iteration: F) -> bool;

    /// What a look through the call keeps, in a map for the same reason as the position.
    fn scratch(&mut self) -> &mut Scratch;
}

/// What a parser asks of whoever runs it, besides the bytes.
pub trait Host: Bytes + Backlog {
    /// When a message is oversized.
    fn thresholds(&self) -> Thresholds;

    /// `CLOCK_MONOTONIC` in nanoseconds, the same throughout a call.
    fn now_ns(&mut self) -> u64;

    /// `CLOCK_REALTIME` in nanoseconds, as far as known; else 0.
    fn wall_ns(&mut self) -> u64;

    /// Notes a message of `size` payload bytes so far, which has just reached the thresholds of the categories from
    /// `first` to `last`.
    fn oversized(&mut self, size: u64, first: u32, last: u32);
}

/// Whether the call's bytes have all been dealt with.
#[inline(always)]
pub fn is_done<S: Bytes>(source: &S) -> bool {
    source.position() >= source.end()
}

/// Goes past those of `skip` bytes which are there.
#[inline(always)]
pub(crate) fn pass<S: Bytes>(skip: &mut u32, source: &mut S) {
    let at = source.position();
    let left = source.end().saturating_sub(at);
    let bytes = if *skip < left { *skip } else { left };
    *skip -= bytes;
    source.go_to(at + bytes);
}

/// The first `length` bytes (at most 8) of a little-endian word, the rest zero.
#[inline(always)]
pub(crate) const fn low_bytes(word: u64, length: u32) -> u64 {
    // Shifted twice by half as much: a shift by 64 bits at once would not move anything.
    word & !((u64::MAX << (4 * length)) << (4 * length))
}

/// The first `length` bytes (at most 16) of two words, the rest zero.
#[inline(always)]
pub(crate) const fn low_of_two(lo: u64, hi: u64, length: u32) -> (u64, u64) {
    if length < 8 { (low_bytes(lo, length), 0) } else { (lo, low_bytes(hi, length - 8)) }
}

/// 1 if any bit is set, by arithmetic of which the compiler makes no comparison.
#[inline(always)]
pub(crate) const fn is_not_zero(bits: u64) -> u64 {
    const LOW: u64 = u64::MAX >> 1;
    (((bits & LOW) + LOW) | bits) >> 63
}

/// Reads a field again, of which the compiler, and so the verifier, then knows nothing. Without it, each way through
/// the header would be followed on its own to the end. For a value in a register, `hide` in the program does the same.
#[inline(always)]
pub fn hide_field<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is always readable.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

/// Writes a field that the agent may read at any time, after all that was written so before.
#[inline(always)]
pub(crate) fn write_in_order<T: Copy>(field: &mut T, value: T) {
    // SAFETY: a reference that may be written to always is writable.
    unsafe { core::ptr::from_mut(field).write_volatile(value) }
}
