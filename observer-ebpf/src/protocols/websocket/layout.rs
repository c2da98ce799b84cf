//! Counters of a WebSocket connection.
//!
//! Counts are 32 bits wide to keep a connection small. Before one can overflow, the kernel half
//! continues the connection in a fresh slot ([`StreamCounters::is_full`]), and the agent, whose totals are
//! 64 bits wide, adds up both.

use crate::layout::control::Thresholds;
use crate::protocols::http;
use crate::stream::bytes::hide_field;

/// Upper bounds, inclusive, of the size buckets; the last bucket is what lies above.
pub static SIZE_BOUNDS: [u64; 6] = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Buckets of a size histogram, the one above all bounds included.
pub const SIZE_BUCKETS: usize = 7;

/// Frame opcodes that RFC 6455, section 5.2, defines, in the order of the arrays here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Opcode {
    /// 0x0
    Continuation = 0,
    /// 0x1
    Text = 1,
    /// 0x2
    Binary = 2,
    /// 0x8
    Close = 3,
    /// 0x9
    Ping = 4,
    /// 0xA
    Pong = 5,
}

impl Opcode {
    /// All, in the order of their numbers, which arrays are indexed by.
    pub const ALL: [Self; 6] =
        [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong];
}

/// Ways that a frame can break RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Violation {
    /// A client's frame unmasked or a server's masked (section 5.1).
    Mask = 0,
    /// A reserved bit that no negotiated extension gives a meaning (section 5.2).
    Reserved = 1,
    /// An undefined opcode, or one that may not stand here: a continuation of nothing, a new message
    /// inside another, a fragmented control frame (sections 5.2, 5.4, 5.5).
    Opcode = 2,
    /// A length of 2^63 or more, in a longer form than it needs, or above 125 in a control frame
    /// (sections 5.2, 5.5).
    Length = 3,
}

impl Violation {
    /// All, in the order of their numbers, which arrays are indexed by.
    pub const ALL: [Self; 4] = [Self::Mask, Self::Reserved, Self::Opcode, Self::Length];
}

/// The types of data messages, in the order of [`StreamCounters::messages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MessageType {
    /// UTF-8.
    Text = 0,
    /// Anything.
    Binary = 1,
}

impl MessageType {
    /// Both, in the order of their numbers, which arrays are indexed by.
    pub const ALL: [Self; 2] = [Self::Text, Self::Binary];
}

/// [`StreamCounters::close`] before a close frame was seen.
pub const CLOSE_NONE: u32 = 0;
/// [`StreamCounters::close`] after a close frame without a code.
pub const CLOSE_WITHOUT_CODE: u32 = 1;

/// Counters of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct StreamCounters {
    /// Payload bytes of complete frames, by [`Opcode`].
    pub frame_bytes: [u64; 6],
    /// Payload bytes of complete data messages.
    pub message_bytes: u64,
    /// Payload bytes of the data message in progress, as far as its headers have declared them; 0 without one, and of
    /// one whose start was not seen.
    pub unfinished: u64,
    /// Complete frames by [`Opcode`] and size bucket.
    pub frames: [[u32; SIZE_BUCKETS]; 6],
    /// Complete data messages by size bucket.
    pub message_sizes: [u32; SIZE_BUCKETS],
    /// Complete data messages by [`MessageType`], then compressed or not.
    pub messages: [[u32; 2]; 2],
    /// Messages at or above the medium, large and huge thresholds, each once, in its highest category: those that are
    /// over but for their last payload, those that have reached the highest, and those that were given up.
    pub oversized: [u32; 3],
    /// Frames that break the RFC, by [`Violation`].
    pub violations: [u32; 4],
    /// The first close frame: [`CLOSE_NONE`], [`CLOSE_WITHOUT_CODE`], or its code.
    pub close: u32,
    /// Frames whose header was seen, of any kind; what [`StreamCounters::is_full`] looks at.
    pub headers: u32,
    /// How many thresholds the data message in progress has reached, until the header of its last frame.
    pub reached: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<StreamCounters>() == 320);

// SAFETY: of integers only, without padding.
unsafe impl crate::layout::Zeroes for StreamCounters {}

impl StreamCounters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        frame_bytes: [0; 6],
        message_bytes: 0,
        unfinished: 0,
        frames: [[0; SIZE_BUCKETS]; 6],
        message_sizes: [0; SIZE_BUCKETS],
        messages: [[0; 2]; 2],
        oversized: [0; 3],
        violations: [0; 4],
        close: CLOSE_NONE,
        headers: 0,
        reached: 0,
        reserved: 0,
    };

    /// Whether a count may overflow soon. No single call can carry the two thousand million frames
    /// that are left then.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.headers > u32::MAX / 2
    }

    /// The category that the data message in progress is to be counted in, if it never ends: none if it is not
    /// oversized so far, or was counted already.
    #[inline(always)]
    pub const fn unfinished_category(&self) -> Option<u32> {
        match self.reached {
            0 | Thresholds::ALL.. => None,
            reached => Some(reached - 1),
        }
    }

    /// Gives up the data message in progress, of which no more can be told: it counts in the category of its size so
    /// far.
    #[inline(always)]
    pub(super) fn give_up(&mut self) {
        let reached = hide_field(&self.reached);
        self.count_oversized(reached, (reached & 1) ^ (reached >> 1 & 1));
        self.unfinished = 0;
        self.reached = 0;
    }

    /// Counts a message that has reached so many thresholds, `times` over.
    ///
    /// By arithmetic: an index that is one less than a number may be checked and used in two registers, of which older
    /// verifiers see no connection.
    #[inline(always)]
    pub(super) const fn count_oversized(&mut self, reached: u32, times: u32) {
        const { assert!(Thresholds::ALL == 3) };
        let (odd, above) = (reached & 1, reached >> 1 & 1);
        let [medium, large, huge] = &mut self.oversized;
        *medium = medium.wrapping_add(times & odd & (above ^ 1));
        *large = large.wrapping_add(times & above & (odd ^ 1));
        *huge = huge.wrapping_add(times & above & odd);
    }

    /// Takes over the data message in progress of a slot that this one continues.
    #[inline(always)]
    pub(super) const fn carry_over(&mut self, before: &Self) {
        self.unfinished = before.unfinished;
        self.reached = before.reached;
    }
}

/// What is known of a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// What was counted while it was HTTP.
    pub http: http::layout::Counters,
    /// By [`Direction`](crate::layout::Direction).
    pub streams: [StreamCounters; 2],
}

const _: () = assert!(core::mem::offset_of!(Counters, http) == 0);

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self { http: http::layout::Counters::ZERO, streams: [StreamCounters::ZERO; 2] };
}

views!(websocket, websocket_mut, WebSocket);
