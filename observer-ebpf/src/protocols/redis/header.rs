//! Lines that tell a length or a count.

use crate::layout::losses::Desync;
use crate::stream::text::{find_in_two, number};

/// A line that tells a length or a count: its type, the number, and how many bytes it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: u8,
    /// `None` for -1.
    pub(super) value: Option<u64>,
    pub(super) length: u32,
}

impl Header {
    /// One of one or two digits, which most are.
    #[inline(always)]
    const fn short(lo: u64) -> Option<Self> {
        const END: u16 = u16::from_le_bytes(*b"\r\n");
        let first = ((lo >> 8) as u8).wrapping_sub(b'0');
        let second = ((lo >> 16) as u8).wrapping_sub(b'0');
        if first > 9 {
            return None;
        }
        if (lo >> 16) as u16 == END {
            return Some(Self { kind: lo as u8, value: Some(first as u64), length: 4 });
        }
        if (lo >> 24) as u16 == END && second <= 9 {
            return Some(Self { kind: lo as u8, value: Some(first as u64 * 10 + second as u64), length: 5 });
        }
        None
    }

    /// The header at the start of two words of which `have` bytes are there. `Ok(None)` if it is not complete.
    #[inline(always)]
    pub(super) fn read(lo: u64, hi: u64, have: u32) -> Result<Option<Self>, Desync> {
        if let Some(short) = Self::short(lo)
            && short.length <= have
        {
            return Ok(Some(short));
        }
        let end = find_in_two(lo, hi, b'\n');
        if end >= have {
            return if have < 16 { Ok(None) } else { Err(Desync::Header) };
        }
        let before = if end >= 9 { hi >> (8 * (end - 9)) } else { lo >> (8 * (end.max(1) - 1)) };
        if end < 3 || before as u8 != b'\r' {
            return Err(Desync::Header);
        }
        let (first, rest) = (lo >> 8 | hi << 56, hi >> 8);
        if end == 4 && first as u16 == u16::from_le_bytes(*b"-1") {
            return Ok(Some(Self { kind: lo as u8, value: None, length: end + 1 }));
        }
        match number(first, rest, end - 2) {
            Some(value) => Ok(Some(Self { kind: lo as u8, value: Some(value), length: end + 1 })),
            None => Err(Desync::Length),
        }
    }
}
