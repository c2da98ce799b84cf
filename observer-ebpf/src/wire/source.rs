//! Where a parser's bytes come from: the buffers of one call, seen through a window.

use crate::layout::connection::Connection;
use crate::layout::health::Unread;
use crate::layout::redis::{CountKey, PREFIX_OTHER, Prefix};
use crate::layout::settings::Thresholds;
use crate::wire::postgres::{self, Postgres};
use crate::wire::redis::{self, Redis};

/// Bytes that every window holds where the call has them: the longest header of any parser here.
pub const HEADER_MAX: u32 = 16;

/// The most steps (headers, mostly) that are taken for one call. At some 40 ns each this bounds what one
/// call can cost to a few milliseconds, whatever its bytes.
pub const STEPS_MAX: u32 = 1 << 17;

/// The bytes that one call moved.
pub trait Source {
    /// How many bytes the call moved.
    fn end(&self) -> u32;

    /// How many of them have been dealt with: where a loop stands.
    ///
    /// Kept by the source, which for the kernel is in a map: a number in a register would be followed by
    /// the verifier turn by turn, and no loop would ever end for it.
    fn position(&self) -> u32;

    /// Goes to `position`.
    fn go_to(&mut self, position: u32);

    /// Brings the bytes from `offset` (below [`Source::end`]) within reach of [`Source::words`], and
    /// tells how many of them are: at least one, and at least [`HEADER_MAX`] where the buffer that
    /// holds `offset` has as many.
    fn window(&mut self, offset: u32) -> Result<u32, Unread>;

    /// Sixteen bytes from `offset`, little-endian, of which those are meaningful that the last
    /// [`Source::window`] had within reach.
    fn words(&self, offset: u32) -> (u64, u64);

    /// Runs `step` until it returns false, and at most `limit` times; tells whether it did return false.
    ///
    /// The kernel allows long loops only as callbacks of `bpf_loop`.
    fn repeat<F: FnMut() -> bool>(limit: u32, step: F) -> bool;

    /// When a message is oversized.
    fn thresholds(&self) -> Thresholds;

    /// `CLOCK_MONOTONIC` in nanoseconds, the same throughout a call.
    fn now_ns(&mut self) -> u64;

    /// `CLOCK_REALTIME` in nanoseconds, as far as known; else 0.
    fn wall_ns(&mut self) -> u64;

    /// Notes a message of `size` payload bytes, at or above a threshold.
    fn oversized(&mut self, size: u64, category: u32);

    /// The byte that ends the prefix of a Redis key.
    fn separator(&self) -> u8;

    /// The number of a prefix, for as long as the program is loaded; [`PREFIX_OTHER`] if there are too many.
    fn prefix(&mut self, prefix: &Prefix) -> u32;

    /// Counts keys that were found, and that were not. False if there is no room to.
    fn count_keys(&mut self, key: &CountKey, hits: u32, misses: u32) -> bool;

    /// Runs a part of the Postgres parser, and returns what that does. In the kernel the verifier looks at each part
    /// once and on its own, from however many places it is run.
    #[inline(always)]
    fn run_postgres(
        &mut self,
        part: postgres::Part,
        postgres: &mut Postgres,
        connection: &mut Connection,
    ) -> u32
    where
        Self: Sized,
    {
        postgres.run_part(part, self, connection)
    }

    /// The same of the Redis parser.
    #[inline(always)]
    fn run_redis(&mut self, part: redis::Part, redis: &mut Redis, connection: &mut Connection) -> u32
    where
        Self: Sized,
    {
        redis.run_part(part, self, connection)
    }
}

/// The first `length` bytes (at most 8) of a little-endian word, the rest zero.
#[inline(always)]
pub(crate) const fn low_bytes(word: u64, length: u32) -> u64 {
    // Shifted in two steps: by 64 in one would be none.
    word & !((u64::MAX << (4 * length)) << (4 * length))
}

/// The first `length` bytes (at most 16) of two words, the rest zero.
#[inline(always)]
pub(crate) const fn low_of_two(lo: u64, hi: u64, length: u32) -> (u64, u64) {
    if length < 8 { (low_bytes(lo, length), 0) } else { (lo, low_bytes(hi, length - 8)) }
}

/// Reads a field again, of which the compiler, and so the verifier, then knows nothing. Without it, each
/// way through the header would be followed on its own to the end.
#[inline(always)]
pub fn recall<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is always readable.
    unsafe { core::ptr::from_ref(field).read_volatile() }
}

/// The bytes of a slice, for the host: tests, fuzzing, recorded streams.
#[derive(Debug)]
pub struct Slice<'a> {
    bytes: &'a [u8],
    window: u32,
    position: u32,
    /// Sizes and categories that [`Source::oversized`] was told, the last ones.
    pub oversized: [Option<(u64, u32)>; 4],
    /// What [`Source::now_ns`] tells.
    pub now_ns: u64,
}

impl<'a> Slice<'a> {
    /// A call that moved `bytes`, looked at through windows of at most `window` bytes, as though each
    /// `window` bytes lay in a buffer of their own.
    pub const fn new(bytes: &'a [u8], window: u32) -> Self {
        Self { bytes, window, position: 0, oversized: [None; 4], now_ns: 0 }
    }
}

impl Source for Slice<'_> {
    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn position(&self) -> u32 {
        self.position
    }

    fn go_to(&mut self, position: u32) {
        self.position = position;
    }

    fn window(&mut self, offset: u32) -> Result<u32, Unread> {
        let left = self.end().checked_sub(offset).filter(|&left| left > 0).ok_or(Unread::Fault)?;
        let window = self.window.max(1);
        Ok(left.min(window - offset % window))
    }

    fn words(&self, offset: u32) -> (u64, u64) {
        let mut both = [0; 16];
        if let Some(rest) = self.bytes.get(offset as usize..) {
            for (to, from) in both.iter_mut().zip(rest) {
                *to = *from;
            }
        }
        let both = u128::from_le_bytes(both);
        (both as u64, (both >> 64) as u64)
    }

    fn repeat<F: FnMut() -> bool>(limit: u32, mut step: F) -> bool {
        (0..limit).any(|_| !step())
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds::DEFAULT
    }

    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn wall_ns(&mut self) -> u64 {
        0
    }

    fn separator(&self) -> u8 {
        b':'
    }

    fn prefix(&mut self, _prefix: &Prefix) -> u32 {
        PREFIX_OTHER
    }

    fn count_keys(&mut self, _key: &CountKey, _hits: u32, _misses: u32) -> bool {
        false
    }

    fn oversized(&mut self, size: u64, category: u32) {
        self.oversized.rotate_right(1);
        self.oversized[0] = Some((size, category));
    }
}
