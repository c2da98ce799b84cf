//! A source that shows no byte which the parser has not asked for.

use observer_ebpf::layout::health::Unread;
use observer_ebpf::layout::settings::Thresholds;
use observer_ebpf::wire::source::Source;

/// The most bytes that one window shows, as in the kernel half.
const WINDOW: u32 = 1024;

/// A call's bytes, in buffers of `buffer` bytes each. Whatever lies out of reach reads as `poison`.
pub(crate) struct Buffers<'a> {
    bytes: &'a [u8],
    buffer: u32,
    position: u32,
    reach: core::ops::Range<u32>,
    pub(crate) poison: u8,
    pub(crate) thresholds: Thresholds,
    /// Windows from this one on cannot be read.
    pub(crate) readable: u32,
    /// When the call was.
    pub(crate) now_ns: u64,
    /// Windows asked for.
    pub(crate) looks: u32,
    /// Sizes and categories of the messages noted as oversized.
    pub(crate) oversized: Vec<(u64, u32)>,
}

impl<'a> Buffers<'a> {
    pub(crate) fn new(bytes: &'a [u8], buffer: u32) -> Self {
        Self {
            bytes,
            buffer: buffer.max(1),
            position: 0,
            reach: 0..0,
            poison: 0xAA,
            thresholds: Thresholds::DEFAULT,
            readable: u32::MAX,
            now_ns: 0,
            looks: 0,
            oversized: Vec::new(),
        }
    }
}

impl Source for Buffers<'_> {
    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a call is shorter than 4 GiB")
    }

    fn position(&self) -> u32 {
        self.position
    }

    fn go_to(&mut self, position: u32) {
        assert!(position <= self.end(), "went to {position} of {}", self.end());
        self.position = position;
    }

    fn window(&mut self, offset: u32) -> Result<u32, Unread> {
        assert!(offset < self.end(), "looked at {offset} of {}", self.end());
        self.looks += 1;
        if self.looks > self.readable {
            self.reach = 0..0;
            return Err(Unread::Fault);
        }
        let available = (self.end() - offset).min(self.buffer - offset % self.buffer).min(WINDOW);
        self.reach = offset..offset + available;
        Ok(available)
    }

    fn words(&self, offset: u32) -> (u64, u64) {
        let mut words = [0u64; 2];
        for at in 0..16 {
            let place = offset + at;
            let byte = if self.reach.contains(&place) { self.bytes[place as usize] } else { self.poison };
            words[at as usize / 8] |= u64::from(byte) << (8 * (at % 8));
        }
        (words[0], words[1])
    }

    fn repeat<F: FnMut() -> bool>(limit: u32, mut step: F) -> bool {
        (0..limit).any(|_| !step())
    }

    fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    fn now_ns(&mut self) -> u64 {
        self.now_ns
    }

    fn oversized(&mut self, size: u64, category: u32) {
        self.oversized.push((size, category));
    }
}
