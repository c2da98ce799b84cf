//! RFC 6455 frames and messages, measured from their headers (section 5.2).
//!
//! ```text
//!            header complete, length > 0            last payload byte
//!   header ─────────────────────────────► payload ──────────────────► header
//!     │ ▲                                                               ▲
//!     └─┘ length 0, or the header goes on in another call ──────────────┘
//! ```
//!
//! A frame counts when its last byte has passed, and so does a message; an oversized message is noted
//! when the header that tells its size is seen. A frame that breaks the RFC counts as a violation and as
//! nothing else: its payload is stepped over where its length can be followed.

mod header;
mod rules;
mod tally;

use self::rules::{CONTROL, FIN, MASK, RSV1};
pub use self::rules::{Deflate, Rules, may_start};
use self::tally::{Counting, Rehearsing, Tally, count_message, count_short};
use super::source::{STEPS_MAX, Source, low_bytes, recall};
use crate::layout::buckets::{add, bucket};
use crate::layout::health::Desync;
use crate::layout::websocket::{CLOSE_NONE, CLOSE_WITHOUT_CODE, Counters, Opcode, SIZE_BOUNDS, Violation};

/// What the frame in progress is: an [`Opcode`], or from here on a [`Violation`].
const IGNORED: u8 = 6;

/// Whether a fragmented message is in progress, and of which type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Message {
    /// None is: the next data frame starts one.
    None = 0,
    /// One of text is.
    Text = 1,
    /// One of binary is.
    Binary = 2,
    /// One may be, its start was not seen: its end counts for nothing.
    Unseen = 3,
}

/// One direction of a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Frames {
    /// Payload bytes of the frame in progress that have not passed.
    skip: u64,
    /// Payload bytes of the frame in progress.
    length: u64,
    /// Payload bytes of the complete frames of the message in progress.
    message_bytes: u64,
    /// The first bytes of a header that is not complete, little-endian; of a close frame in progress, its
    /// code.
    head: [u64; 2],
    /// How many bytes `head` holds.
    head_length: u8,
    /// An [`Opcode`], or [`IGNORED`] and a [`Violation`].
    opcode: u8,
    /// The first byte of the frame in progress: FIN and reserved bits.
    bits: u8,
    /// A [`Message`].
    message: u8,
    /// 1 if the message in progress is compressed.
    compressed: u8,
    /// Headers seen while rehearsing, at most 255.
    rehearsed: u8,
    /// What frames are held against.
    rules: Rules,
    /// The second byte of the frame in progress: mask bit and short length.
    second: u8,
}

const _: () = assert!(size_of::<Frames>() == 48);

impl Frames {
    /// At the start of a frame, no message in progress.
    pub const START: Self = Self {
        skip: 0,
        length: 0,
        message_bytes: 0,
        head: [0; 2],
        head_length: 0,
        opcode: 0,
        bits: 0,
        message: Message::None as u8,
        compressed: 0,
        rehearsed: 0,
        rules: Rules(0),
        second: 0,
    };

    /// At the start of a frame, perhaps inside a message whose start was not seen.
    pub const RESUMED: Self = Self { message: Message::Unseen as u8, ..Self::START };

    /// Whether the stream stands between two frames.
    #[inline(always)]
    pub const fn between_frames(&self) -> bool {
        self.skip == 0 && self.head_length == 0
    }

    /// Payload bytes of the frame in progress that are still to come.
    #[inline(always)]
    pub const fn payload_left(&self) -> u64 {
        self.skip
    }

    /// Whether the frame in progress, of which a call held the start, is one that may well have done so: long
    /// enough to need several calls, or its header was read by itself; and short enough that it would not
    /// hide a mistake for long.
    #[inline(always)]
    pub const fn is_plausible(&self) -> bool {
        (self.length > 125 || self.skip == self.length) && self.length <= 1 << 26
    }

    /// Collects a connection's first bytes, eight at most, where a header's would be kept.
    #[inline(always)]
    pub fn gather(&mut self, word: u64, available: u32) {
        let (first, kept) = self.gathered();
        if kept < 8 {
            let length = (kept + available).min(8);
            self.head[0] = low_bytes(first | word << (8 * (kept & 7)), length);
            self.head_length = length as u8;
        }
    }

    /// What [`Frames::gather`] has collected, and how many bytes that is.
    #[inline(always)]
    pub const fn gathered(&self) -> (u64, u32) {
        (self.head[0], self.head_length as u32)
    }

    /// Steps over `bytes` of the payload in progress, at most [`Frames::payload_left`].
    #[inline(always)]
    pub fn pass(&mut self, bytes: u64, counters: &mut Counters) {
        self.advance(bytes, &mut Counting(counters));
    }

    #[inline(always)]
    fn advance<T: Tally>(&mut self, bytes: u64, tally: &mut T) {
        let bytes = bytes.min(self.skip);
        if bytes == 0 {
            return;
        }
        self.skip -= bytes;
        if self.skip == 0 {
            self.complete(tally);
        }
    }

    /// Takes the first frame of a call, or what the call has of it, and counts. Most calls hold one frame,
    /// which is not worth the set-up of a loop.
    #[inline(always)]
    pub fn first<S: Source>(
        &mut self,
        source: &mut S,
        counters: &mut Counters,
        rules: Rules,
    ) -> Result<(), Desync> {
        self.rules = rules;
        self.step(source, &mut Counting(counters))
    }

    /// Runs through a call's bytes from the source's position on, and counts.
    #[inline(always)]
    pub fn run<S: Source>(
        &mut self,
        source: &mut S,
        counters: &mut Counters,
        rules: Rules,
    ) -> Result<(), Desync> {
        self.rules = rules;
        self.walk(source, &mut Counting(counters))
    }

    /// Runs through a call's bytes without counting. Returns how many headers there were, at most 255;
    /// `None` if they are no frames.
    #[inline(always)]
    pub fn rehearse<S: Source>(&mut self, source: &mut S, rules: Rules) -> Option<u8> {
        self.rules = Rules(rules.0 | Rules::PROBATION);
        source.go_to(0);
        let outcome = self.walk(source, &mut Rehearsing);
        source.go_to(0);
        outcome.ok()?;
        Some(self.rehearsed)
    }

    #[inline(always)]
    fn walk<S: Source, T: Tally>(&mut self, source: &mut S, tally: &mut T) -> Result<(), Desync> {
        let mut broken = None;
        let finished = S::repeat(STEPS_MAX, || match self.step(source, tally) {
            Ok(()) => source.position() < source.end(),
            Err(desync) => {
                broken = Some(desync);
                false
            }
        });
        match broken {
            Some(desync) => Err(desync),
            None if finished => Ok(()),
            None => Err(Desync::Bound),
        }
    }

    /// Takes what is in reach: a payload's bytes, or a header and its payload's. Goes at least one byte
    /// further.
    #[inline(always)]
    fn step<S: Source, T: Tally>(&mut self, source: &mut S, tally: &mut T) -> Result<(), Desync> {
        let at = source.position();
        let left = source.end().saturating_sub(at);
        if left == 0 {
            return Ok(());
        }
        if self.skip > 0 {
            let bytes = self.skip.min(u64::from(left));
            self.advance(bytes, tally);
            source.go_to(at + bytes as u32);
            return Ok(());
        }

        let available = source.window(at).map_err(|_| Desync::Unread)?.min(16);
        let (lo, hi) = source.words(at);
        if self.take_short(source, tally, lo, available, left) {
            return Ok(());
        }
        let before = u32::from(self.head_length);
        let (lo, hi, have) = if before == 0 { (lo, hi, available) } else { self.join(lo, hi, available) };
        let size = self.decode(lo, hi, have);
        if size == 0 {
            self.head = [low_bytes(lo, have), if have > 8 { low_bytes(hi, have - 8) } else { 0 }];
            self.head_length = have as u8;
            source.go_to(at + (have - before).max(1));
            return Ok(());
        }
        // The header was not complete with `before` bytes, so it is longer.
        let consumed = size.saturating_sub(before).max(1);
        source.go_to(at + consumed);
        self.begin(source, tally)?;
        let left = u64::from(source.end().saturating_sub(source.position()));
        let skip = recall(&self.skip);
        let bytes = skip.min(left);
        source.go_to(source.position() + bytes as u32);
        self.skip = skip - bytes;
        if skip == bytes {
            self.complete(tally);
        }
        Ok(())
    }

    /// Takes a short message in a single frame, whole: most messages are that, and none of what longer ones
    /// need is kept for it. False if the bytes are anything else.
    #[inline(always)]
    #[allow(
        clippy::needless_bitwise_bool,
        reason = "without short cuts: one branch for the verifier to follow"
    )]
    fn take_short<S: Source, T: Tally>(
        &self,
        source: &mut S,
        tally: &mut T,
        lo: u64,
        available: u32,
        left: u32,
    ) -> bool {
        let second = (lo >> 8) as u8;
        let length = u32::from(second & !MASK);
        let masked = self.rules.has(Rules::MASKED);
        let size = 2 + 4 * u32::from(masked);
        let kind = (lo as u8).wrapping_sub(FIN | Opcode::Text as u8);
        let is_short = (kind <= 1)
            & (length < 126)
            & ((second & MASK != 0) == masked)
            & (available >= size)
            & (left >= size + length)
            & (self.head_length == 0)
            & (self.message == Message::None as u8)
            & !self.rules.has(Rules::PROBATION)
            & (u64::from(length) < source.thresholds().medium);
        if !is_short {
            return false;
        }
        let Some(counters) = tally.counters() else { return false };
        source.go_to(source.position() + size + length);
        count_short(counters, usize::from(kind & 1), length);
        true
    }

    /// Takes in the header just decoded.
    #[inline(always)]
    fn begin<S: Source, T: Tally>(&mut self, source: &mut S, tally: &mut T) -> Result<(), Desync> {
        self.opcode = self.judge();
        let opcode = recall(&self.opcode);
        let bits = recall(&self.bits);
        if opcode >= IGNORED {
            if self.rules.has(Rules::PROBATION) {
                return Err(Desync::Header);
            }
            if let Some(counters) = tally.counters() {
                // Masked, as that is what the verifier can follow.
                add(&mut counters.violations, usize::from((opcode - IGNORED) & 3));
            }
            if recall(&self.length) >> 63 != 0 {
                return Err(Desync::Length);
            }
            if bits & CONTROL == 0 && opcode != IGNORED + Violation::Opcode as u8 {
                // What follows may continue this message; it is not one to count, nor a second violation.
                self.message = if bits & FIN != 0 { Message::None as u8 } else { Message::Unseen as u8 };
            }
            return Ok(());
        }
        let Some(counters) = tally.counters() else {
            self.rehearsed = self.rehearsed.saturating_add(1);
            return Ok(());
        };
        counters.headers = counters.headers.wrapping_add(1);
        if opcode == Opcode::Close as u8 {
            if counters.close == CLOSE_NONE {
                counters.close = (self.head[0] as u32).max(CLOSE_WITHOUT_CODE);
            }
        } else if bits & (FIN | CONTROL) == FIN {
            self.note_size(source, counters);
        }
        Ok(())
    }

    /// Notes the message that the frame in progress completes, if it is oversized.
    #[inline(always)]
    fn note_size<S: Source>(&self, source: &mut S, counters: &mut Counters) {
        let continues = self.opcode == Opcode::Continuation as u8;
        if continues && self.message == Message::Unseen as u8 {
            return;
        }
        let before = if continues { self.message_bytes } else { 0 };
        let size = before.saturating_add(self.length);
        if let Some(category) = source.thresholds().category(size) {
            add(&mut counters.oversized, category as usize);
            source.oversized(size, category);
        }
    }

    /// Ends the payload in progress, of a frame whose header was only now found to be one.
    #[inline(always)]
    pub fn confirm<S: Source>(&mut self, source: &mut S, counters: &mut Counters) {
        if self.bits & FIN != 0 && self.opcode <= Opcode::Binary as u8 {
            self.note_size(source, counters);
        }
        self.pass(self.skip, counters);
    }

    /// Counts the frame whose last byte has passed, and the message if it was its last frame.
    #[inline(always)]
    fn complete<T: Tally>(&mut self, tally: &mut T) {
        let (opcode, bits, length) = (recall(&self.opcode), recall(&self.bits), recall(&self.length));
        if let Some(counters) = tally.counters() {
            let opcode = usize::from(opcode);
            if let Some(buckets) = counters.frames.get_mut(opcode) {
                add(buckets, bucket(&SIZE_BOUNDS, length));
            }
            if let Some(bytes) = counters.frame_bytes.get_mut(opcode) {
                *bytes = bytes.saturating_add(length);
            }
        }
        // Continuation, text or binary; nothing else is part of a message.
        if opcode > Opcode::Binary as u8 {
            return;
        }
        if opcode != Opcode::Continuation as u8 {
            self.message = opcode;
            self.message_bytes = 0;
            self.compressed = bits & RSV1;
        }
        let size = recall(&self.message_bytes).saturating_add(length);
        self.message_bytes = size;
        if bits & FIN == 0 {
            return;
        }
        let message = recall(&self.message);
        self.message = Message::None as u8;
        if message == Message::Text as u8 || message == Message::Binary as u8 {
            let compressed = recall(&self.compressed) != 0;
            if let Some(counters) = tally.counters() {
                let kind = usize::from(message == Message::Binary as u8);
                count_message(counters, kind, compressed, size);
            }
        }
    }
}
