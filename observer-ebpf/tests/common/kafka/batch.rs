//! Record batches, and messages of the formats before them.

use bytes::BufMut as _;

use super::{NOW_MS, sized};

/// A record batch, as far as its header tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) first: i64,
    pub(crate) last_delta: i32,
    pub(crate) records: i32,
    pub(crate) newest_ms: i64,
    pub(crate) attributes: i16,
    /// Bytes of the records.
    pub(crate) length: u32,
}

impl Batch {
    /// Of so many messages from an offset on, the newest of which was written so many milliseconds ago.
    pub(crate) fn new(first: i64, records: i32, ago_ms: u64) -> Self {
        let newest_ms = (NOW_MS - ago_ms).cast_signed();
        Self {
            first,
            last_delta: records - 1,
            records,
            newest_ms,
            attributes: 0,
            length: 10 * records.unsigned_abs(),
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_i64(self.first);
        bytes.put_u32(49 + self.length);
        bytes.put_i32(7);
        bytes.put_i8(2);
        bytes.put_u32(0xABCD_EF01);
        bytes.put_i16(self.attributes);
        bytes.put_i32(self.last_delta);
        bytes.put_i64(self.newest_ms - 1_000);
        bytes.put_i64(self.newest_ms);
        bytes.put_i64(-1);
        bytes.put_i16(-1);
        bytes.put_i32(-1);
        bytes.put_i32(self.records);
        assert_eq!(bytes.len(), 61);
        bytes.resize(61 + self.length as usize, 0xEE);
        bytes
    }
}

pub(crate) fn with(batch: Batch, change: impl FnOnce(&mut Batch)) -> Vec<u8> {
    let mut batch = batch;
    change(&mut batch);
    batch.bytes()
}

/// A message of the formats 0 and 1, with a value of so many bytes.
pub(crate) fn old_message(format: u8, offset: i64, value: u32) -> Vec<u8> {
    let mut inner = vec![1, 2, 3, 4, format, 0];
    if format == 1 {
        inner.put_u64(NOW_MS);
    }
    inner.put_i32(-1);
    inner.put_u32(value);
    inner.resize(inner.len() + value as usize, 0xEE);
    let mut bytes = Vec::new();
    bytes.put_i64(offset);
    bytes.extend(sized(&inner));
    bytes
}
