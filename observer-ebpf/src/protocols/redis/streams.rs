//! Ids of entries of streams: `MILLISECONDS-NUMBER`, where the first is when the server added the entry, unless a client has
//! made up the id ("Entry IDs" in "Redis Streams", Redis documentation).

use crate::stream::text::{find_in_two, number};

/// Milliseconds since 1970 of the first of September 2001: an id that begins with less is made up.
const LEAST_MS: u64 = 1_000_000_000_000;

/// How much a server's clock may be ahead: a day. An id that begins with more is made up.
const AHEAD_MS: u64 = 24 * 3600 * 1000;

/// When the entry was added whose id starts with these 16 bytes, in milliseconds since 1970; 0 if it does not tell.
#[inline(always)]
pub(super) fn added_ms(lo: u64, hi: u64) -> u64 {
    let dash = find_in_two(lo, hi, b'-');
    // There need be no number: it is 0 then.
    let end = find_in_two(lo, hi, 0);
    let digits = if dash < end { dash } else { end };
    match number(lo, hi, digits) {
        // Where no end is in reach there are more digits than a time has.
        Some(added_ms) if added_ms >= LEAST_MS && digits < 16 => added_ms,
        _ => 0,
    }
}

/// How old an entry is that was added then, where the time of day is known.
#[inline(always)]
pub(super) fn age_ns(added_ms: u64, wall_ns: u64) -> Option<u64> {
    if added_ms == 0 || wall_ns == 0 {
        return None;
    }
    let now_ms = wall_ns / 1_000_000;
    if added_ms > now_ms + AHEAD_MS {
        return None;
    }
    Some(wall_ns.saturating_sub(added_ms.wrapping_mul(1_000_000)))
}
