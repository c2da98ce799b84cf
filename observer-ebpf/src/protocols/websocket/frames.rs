//! RFC 6455 frames and messages, measured from their headers (section 5.2).
//!
//! ```text
//!            header complete, length > 0            last payload byte
//!   header ─────────────────────────────► payload ──────────────────► header
//!     │ ▲                                                               ▲
//!     └─┘ length 0, or the header goes on in another call ──────────────┘
//! ```
//!
//! A frame counts when its last byte has passed, and so does a message; that a message is oversized is noted
//! when the header is seen that makes it so. A frame that breaks the RFC counts as a violation and as
//! nothing else: its payload is stepped over where its length can be followed. One that is only masked the
//! wrong way, which many do not mind, counts as everything else as well.

use super::layout::{CLOSE_NONE, CLOSE_WITHOUT_CODE, Opcode, SIZE_BOUNDS, StreamCounters, Violation};
use super::rules::{CONTROL, FIN, MASK, RSV, Rules, may_start};
use super::tally::{Counting, Rehearsing, Tally, count_message, count_short};
use crate::layout::buckets::{add, bucket};
use crate::layout::connection::Connection;
use crate::layout::control::Thresholds;
use crate::layout::losses::Desync;
use crate::stream::bytes::{Bytes, Host, ITERATIONS_MAX, hide_field, is_done};
use crate::stream::carry::Carry;
use crate::stream::parser::StreamId;
use crate::stream::subprograms::Subprograms;

/// What the frame in progress is: an [`Opcode`], or from here on a [`Violation`].
pub(super) const IGNORED: u8 = 6;

/// Whether a fragmented message is in progress, and of which type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Message {
    /// None is: the next data frame starts one.
    None = 0,
    /// One of text is.
    Text = 1,
    /// One of binary is.
    Binary = 2,
    /// One may be, its start was not seen: its end counts for nothing.
    Unseen = 3,
}

/// The frames of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Frames {
    /// Payload bytes of the frame in progress that have not passed.
    pub(super) skip: u64,
    /// Payload bytes of the frame in progress.
    pub(super) length: u64,
    /// Payload bytes of the message in progress, as far as its headers have declared them.
    message_bytes: u64,
    /// The first bytes of a header that is not complete.
    pub(super) carry: Carry,
    /// How many bytes `carry` holds.
    pub(super) carried: u8,
    /// An [`Opcode`], or [`IGNORED`] and a [`Violation`].
    opcode: u8,
    /// The first byte of the frame in progress: FIN and reserved bits.
    pub(super) bits: u8,
    /// A [`Message`].
    pub(super) message: u8,
    /// 1 if the message in progress is compressed.
    compressed: u8,
    /// Headers seen while rehearsing, at most 255.
    rehearsed: u8,
    /// What frames are held against.
    pub(super) rules: Rules,
    /// The second byte of the frame in progress: mask bit and short length.
    pub(super) second: u8,
}

const _: () = assert!(size_of::<Frames>() == 48);

impl Frames {
    /// At the start of a frame, no message in progress.
    pub(in crate::protocols) const START: Self = Self {
        skip: 0,
        length: 0,
        message_bytes: 0,
        carry: Carry::EMPTY,
        carried: 0,
        opcode: 0,
        bits: 0,
        message: Message::None as u8,
        compressed: 0,
        rehearsed: 0,
        rules: Rules(0),
        second: 0,
    };

    /// At the start of a frame, perhaps inside a message whose start was not seen.
    pub(in crate::protocols) const RESUMED: Self = Self { message: Message::Unseen as u8, ..Self::START };

    /// Whether the stream stands between two frames.
    #[inline(always)]
    pub(in crate::protocols) const fn between_frames(&self) -> bool {
        self.skip == 0 && self.carried == 0
    }

    /// Payload bytes of the frame in progress that are still to come.
    #[inline(always)]
    pub(in crate::protocols) const fn payload_left(&self) -> u64 {
        self.skip
    }

    /// Whether the frame in progress, of which a call held the start, is one that may well have done so: long
    /// enough to need several calls, or its header was read by itself; and short enough that it would not
    /// hide a mistake for long.
    #[inline(always)]
    pub(super) const fn is_plausible(&self) -> bool {
        (self.length > 125 || self.skip == self.length) && self.length <= 1 << 26
    }

    /// Steps over `bytes` of the payload in progress, at most [`Frames::payload_left`].
    #[inline(always)]
    pub(in crate::protocols) fn pass(&mut self, bytes: u64, counters: &mut StreamCounters) {
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

    /// Has frames held against these rules from here on.
    #[inline(always)]
    pub(in crate::protocols) fn hold_against(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes the first frame of a call, or what the call has of it, and counts.
    #[inline(always)]
    pub(super) fn first<S: Host>(&mut self, source: &mut S, counters: &mut StreamCounters) -> Option<Desync> {
        self.take(source, &mut Counting(counters)).err()
    }

    /// Runs a subprogram: [`Desync::code`] of what went wrong.
    #[inline(always)]
    pub fn run_subprogram<S: Host>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        match subprogram {
            Subprogram::Run => {
                let counters = &mut connection.details.websocket_mut().streams[stream.direction as usize];
                Desync::code(self.walk(source, &mut Counting(counters)).err())
            }
        }
    }

    /// Runs through a call's bytes without counting. Returns how many headers there were, at most 255;
    /// `None` if they are no frames.
    #[inline(always)]
    pub(in crate::protocols) fn rehearse<S: Host>(&mut self, source: &mut S, rules: Rules) -> Option<u8> {
        self.rules = Rules(rules.0 | Rules::PROBATION);
        source.go_to(0);
        let outcome = self.walk(source, &mut Rehearsing);
        source.go_to(0);
        outcome.ok()?;
        Some(self.rehearsed)
    }

    #[inline(always)]
    fn walk<S: Host, T: Tally>(&mut self, source: &mut S, tally: &mut T) -> Result<(), Desync> {
        let mut broken = None;
        let finished = S::repeat(ITERATIONS_MAX, || match self.take(source, tally) {
            Ok(()) => !is_done(source),
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
    fn take<S: Host, T: Tally>(&mut self, source: &mut S, tally: &mut T) -> Result<(), Desync> {
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
        let before = u32::from(self.carried);
        let (lo, hi, have) =
            if before == 0 { (lo, hi, available) } else { self.carry.join(self.carried, lo, hi, available) };
        let (size, code) = self.decode(lo, hi, have);
        if size == 0 {
            self.carry = Carry::of(lo, hi, have);
            self.carried = have as u8;
            source.go_to(at + (have - before).max(1));
            return Ok(());
        }
        // The header was not complete with `before` bytes, so it is longer.
        let consumed = size.saturating_sub(before).max(1);
        source.go_to(at + consumed);
        self.begin(code, source, tally)?;
        let left = u64::from(source.end().saturating_sub(source.position()));
        let skip = hide_field(&self.skip);
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
    fn take_short<S: Host, T: Tally>(
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
            & (self.carried == 0)
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

    /// Takes in the header just decoded; `code` is a close frame's.
    #[inline(always)]
    fn begin<S: Host, T: Tally>(&mut self, code: u16, source: &mut S, tally: &mut T) -> Result<(), Desync> {
        self.opcode = self.judge();
        let opcode = hide_field(&self.opcode);
        let bits = hide_field(&self.bits);
        if opcode >= IGNORED {
            if self.rules.has(Rules::PROBATION) {
                return Err(Desync::Header);
            }
            if let Some(counters) = tally.counters() {
                // Masked, as that is what the verifier can follow.
                add(&mut counters.violations, usize::from((opcode - IGNORED) & 3));
            }
            if hide_field(&self.length) >> 63 != 0 {
                return Err(Desync::Length);
            }
            if bits & CONTROL == 0 && opcode != IGNORED + Violation::Opcode as u8 {
                // What follows may continue this message; it is not one to count, nor a second violation.
                self.message = if bits & FIN != 0 { Message::None as u8 } else { Message::Unseen as u8 };
                if let Some(counters) = tally.counters() {
                    counters.give_up();
                }
            }
            return Ok(());
        }
        if opcode <= Opcode::Binary as u8 {
            self.add_to_message();
        }
        let Some(counters) = tally.counters() else {
            self.rehearsed = self.rehearsed.saturating_add(1);
            return Ok(());
        };
        counters.headers = counters.headers.wrapping_add(1);
        let masks = &mut counters.violations[Violation::Mask as usize];
        *masks = masks.wrapping_add(u32::from(self.is_wrongly_masked()));
        if opcode == Opcode::Close as u8 {
            if counters.close == CLOSE_NONE {
                counters.close = u32::from(code).max(CLOSE_WITHOUT_CODE);
            }
        } else if opcode <= Opcode::Binary as u8 {
            self.weigh(source, counters);
        }
        Ok(())
    }

    /// Makes the data frame in progress a part of its message.
    #[inline(always)]
    fn add_to_message(&mut self) {
        let opcode = hide_field(&self.opcode);
        let mut before = hide_field(&self.message_bytes);
        if opcode != Opcode::Continuation as u8 {
            self.message = opcode;
            self.compressed = self.bits & RSV;
            before = 0;
        }
        self.message_bytes = before.saturating_add(hide_field(&self.length));
    }

    /// Notes how large the message in progress is by now: the thresholds that it has reached since its last frame, and
    /// the category of its full size, once that is known.
    #[inline(always)]
    fn weigh<S: Host>(&self, source: &mut S, counters: &mut StreamCounters) {
        if hide_field(&self.message) == Message::Unseen as u8 {
            return;
        }
        let size = hide_field(&self.message_bytes);
        counters.unfinished = size;
        let thresholds = source.thresholds();
        if size < thresholds.medium {
            return;
        }
        // By arithmetic without branches, which the verifier would follow one by one: these are 0 or 1.
        let is_last = u32::from(hide_field(&self.bits) / FIN);
        let opcode = u32::from(hide_field(&self.opcode));
        let starts = (opcode | opcode >> 1) & 1;
        let reached = thresholds.reached(size);
        let before = hide_field(&counters.reached) & starts.wrapping_sub(1);
        if reached > before {
            let skipped = (reached - 1 - before) * (starts & is_last);
            source.oversized(size, before + skipped, reached - 1);
        }
        counters.count_oversized(reached, (is_last | is_all(reached)) & (is_all(before) ^ 1));
        counters.reached = reached & is_last.wrapping_sub(1);
    }

    /// Ends the payload in progress, of a frame whose header was only now found to be one.
    #[inline(always)]
    pub(super) fn confirm<S: Host>(&mut self, source: &mut S, counters: &mut StreamCounters) {
        if self.opcode <= Opcode::Binary as u8 {
            self.weigh(source, counters);
        }
        self.pass(self.skip, counters);
    }

    /// Counts the frame whose last byte has passed, and the message if it was its last frame.
    #[inline(always)]
    fn complete<T: Tally>(&mut self, tally: &mut T) {
        let (opcode, length) = (hide_field(&self.opcode), hide_field(&self.length));
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
        if opcode > Opcode::Binary as u8 || hide_field(&self.bits) & FIN == 0 {
            return;
        }
        let message = hide_field(&self.message);
        // Read and masked on its own: of the number that branches look at, the compiler would make an index that older
        // verifiers cannot follow. Text is 1, binary 2.
        let kind = usize::from(hide_field(&self.message) >> 1 & 1);
        self.message = Message::None as u8;
        if message == Message::Text as u8 || message == Message::Binary as u8 {
            let (size, compressed) = (hide_field(&self.message_bytes), hide_field(&self.compressed) != 0);
            if let Some(counters) = tally.counters() {
                counters.unfinished = 0;
                count_message(counters, kind, compressed, size);
            }
        }
    }
}

/// 1 if so many thresholds are all that there are, else 0.
#[inline(always)]
const fn is_all(reached: u32) -> u32 {
    const { assert!(Thresholds::ALL == 3) };
    reached & reached >> 1 & 1
}

/// Functions that the verifier checks each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes all frames from the source's position on, and counts: [`Desync::code`] of what went wrong.
    Run,
}

impl Subprograms for Frames {
    type Subprogram = Subprogram;
}

/// Whether a call may start with a frame under `rules`: what is looked at before a longer test.
#[inline(always)]
pub(in crate::protocols) fn may_start_at<S: Bytes>(
    offset: u32,
    source: &mut S,
    rules: Rules,
    fresh: bool,
) -> bool {
    let Ok(available) = source.window(offset) else { return false };
    available >= 2 && may_start(source.words(offset).0, rules, fresh)
}
