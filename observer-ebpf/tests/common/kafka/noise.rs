//! Numbers, names and bytes that look random, and are the same in every run.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::text;

/// Numbers that look random, always the same.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn is(&mut self) -> bool {
        self.below(2) == 0
    }

    pub(crate) fn number(&mut self) -> i32 {
        self.next() as i32
    }

    pub(crate) fn long(&mut self) -> i64 {
        (self.next() << 32 | self.next()).cast_signed()
    }

    /// A name of 1 to 249 bytes, mostly short.
    pub(crate) fn name(&mut self) -> String {
        let most = [12, 12, 64, 66, 249][self.below(5) as usize];
        let length = 1 + self.below(most);
        (0..length)
            .map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789._-"[self.below(39) as usize]))
            .collect()
    }

    pub(crate) fn text(&mut self) -> StrBytes {
        if self.below(4) == 0 { text("") } else { text(&self.name()) }
    }

    pub(crate) fn text_or_none(&mut self) -> Option<StrBytes> {
        if self.is() { None } else { Some(self.text()) }
    }

    pub(crate) fn bytes(&mut self, most: u64) -> Bytes {
        (0..self.below(most)).map(|_| self.next() as u8).collect::<Vec<_>>().into()
    }

    pub(crate) fn tags(&mut self) -> BTreeMap<i32, Bytes> {
        let most = self.below(3);
        let long = if self.below(8) == 0 { 300 } else { 12 };
        (0..most).map(|_| (1_000 + self.below(1 << 29) as i32, self.bytes(long))).collect()
    }

    /// An error code, mostly none.
    pub(crate) fn code(&mut self) -> i16 {
        if self.below(4) > 0 { 0 } else { [-1, 1, 3, 16, 41, 106, 107, 999][self.below(8) as usize] }
    }

    /// An offset, seldom none.
    pub(crate) fn offset(&mut self) -> i64 {
        match self.below(10) {
            0 => -1,
            1 => 1 << 40,
            _ => self.below(300).cast_signed(),
        }
    }

    pub(crate) fn some<T>(&mut self, most: u64, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| one(self)).collect()
    }
}
