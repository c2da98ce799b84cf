//! The first line of a value.

use crate::layout::losses::Desync;
use crate::protocols::redis::{COUNT_MAX, Header, LENGTH_MAX};
use crate::stream::text::{find_in_two, number};

/// Whether a line of this type tells the length of a value behind it.
#[inline(always)]
pub(super) const fn is_bulk(kind: u8) -> bool {
    matches!(kind, b'$' | b'=' | b'!')
}

/// Whether it tells how many elements come.
#[inline(always)]
pub(super) const fn is_aggregate(kind: u8) -> bool {
    matches!(kind, b'*' | b'%' | b'~' | b'>' | b'|')
}

/// Whether a reply can start so.
#[inline(always)]
pub(in crate::protocols) const fn is_type(kind: u8) -> bool {
    is_bulk(kind) || is_aggregate(kind) || matches!(kind, b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(')
}

/// The first line of a value.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Line {
    /// Its first 16 bytes, or as many as it has.
    pub(super) lo: u64,
    pub(super) hi: u64,
    /// Of a bulk string or an aggregate: what the line tells; else 0.
    pub(super) count: u64,
    /// How many bytes of it there are, at most 16.
    pub(super) length: u32,
    pub(super) kind: u8,
    /// 1 if the value is none.
    pub(super) nil: u8,
    /// 1 if the bytes are all of it.
    pub(super) complete: u8,
    pub(super) reserved: u8,
}

impl Line {
    pub(super) const NONE: Self =
        Self { lo: 0, hi: 0, count: 0, length: 0, kind: 0, nil: 0, complete: 0, reserved: 0 };

    #[inline(always)]
    pub(super) const fn is_nil(&self) -> bool {
        self.nil != 0
    }

    /// The line at the start of two words of which `have` bytes are there. `Ok(None)` if more are needed.
    #[inline(always)]
    pub(super) fn read(lo: u64, hi: u64, have: u32) -> Result<Option<Self>, Desync> {
        let kind = lo as u8;
        if !is_type(kind) {
            return Err(Desync::Header);
        }
        if is_bulk(kind) || is_aggregate(kind) {
            let Some(header) = Header::read(lo, hi, have)? else { return Ok(None) };
            let most = if is_bulk(kind) { LENGTH_MAX } else { COUNT_MAX };
            let count = header.value.unwrap_or(0);
            if count > most {
                return Err(Desync::Length);
            }
            let nil = u8::from(header.value.is_none());
            let line = Self { lo, hi, count, length: header.length, kind, nil, complete: 1, reserved: 0 };
            return Ok(Some(line));
        }
        let end = find_in_two(lo, hi, b'\n');
        if end >= have && have < 16 {
            return Ok(None);
        }
        let complete = end < 16;
        let length = if complete { end + 1 } else { 16 };
        let (nil, complete) = (u8::from(kind == b'_'), u8::from(complete));
        Ok(Some(Self { lo, hi, count: 0, length, kind, nil, complete, reserved: 0 }))
    }

    /// How many elements come.
    #[inline(always)]
    pub(super) const fn elements(&self) -> u64 {
        match self.kind {
            b'%' | b'|' => 2 * self.count,
            b'*' | b'~' | b'>' => self.count,
            _ => 0,
        }
    }

    /// The integer that it is, if it is one that is not negative and has no more digits than are in reach.
    #[inline(always)]
    pub(super) fn integer(&self) -> Option<u64> {
        let digits = self.length.saturating_sub(3);
        let number = number(self.lo >> 8 | self.hi << 56, self.hi >> 8, digits);
        if self.kind == b':' { number } else { None }
    }

    /// Whether it is the integer zero.
    #[inline(always)]
    pub(super) const fn is_zero(&self) -> bool {
        self.lo as u32 == u32::from_le_bytes(*b":0\r\n")
    }

    /// Whether it is the reply to a command that waits for `EXEC`.
    #[inline(always)]
    pub(super) const fn is_queued(&self) -> bool {
        self.lo == u64::from_le_bytes(*b"+QUEUED\r") && self.hi as u8 == b'\n'
    }
}
