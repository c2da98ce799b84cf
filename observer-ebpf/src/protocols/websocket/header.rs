//! A frame's header (RFC 6455, section 5.2): its bytes put together, taken apart, and judged.

use super::frames::{Frames, IGNORED, Message};
use super::layout::Violation;
use super::rules::{DEFINED, MASK, Rules};
use crate::stream::bytes::{hide_field, is_not_zero};
use crate::stream::carry::Carry;

impl Frames {
    /// Decodes the header in the first `available` bytes of `lo` and `hi`. Returns how many bytes it has, a
    /// close frame's code included, and that code; 0 bytes if it is not complete.
    #[inline(always)]
    pub(super) fn decode(&mut self, lo: u64, hi: u64, available: u32) -> (u32, u16) {
        if available < 2 {
            return (0, 0);
        }
        let second = (lo >> 8) as u8;
        let short = second & !MASK;
        let (extended, length) = match short {
            126 => (2, u64::from(((lo >> 16) as u16).swap_bytes())),
            127 => (8, (lo >> 16 | hi << 48).swap_bytes()),
            _ => (0, u64::from(short)),
        };
        let has_code = lo & 0x0F == 8 && short >= 2 && extended == 0;
        let size = 2 + extended + 4 * u32::from(second >> 7) + if has_code { 2 } else { 0 };
        if available < size {
            return (0, 0);
        }
        self.carry = Carry::EMPTY;
        self.carried = 0;
        self.bits = lo as u8;
        self.second = second;
        self.length = length;
        self.skip = length;
        let mut code = 0;
        if has_code {
            // The payload's first two bytes, masked with the first two of the key, which are bytes 2 to 5.
            let plain = (lo >> 16) as u16;
            let masked = plain ^ (lo >> 48) as u16;
            code = (if second & MASK != 0 { masked } else { plain }).swap_bytes();
            self.skip = length - 2;
        }
        (size, code)
    }

    /// Whether the frame in progress is masked although it must not be, or the other way.
    #[inline(always)]
    pub(super) fn is_wrongly_masked(&self) -> bool {
        let (second, rules) = (hide_field(&self.second), hide_field(&self.rules));
        (second & MASK != 0) != rules.has(Rules::MASKED)
    }

    /// What the frame in progress is: an [`Opcode`](super::layout::Opcode), or [`IGNORED`] and how it breaks the RFC.
    /// Masked the wrong way it is ignored on probation only: whoever accepts it buffers it as any other.
    #[inline(always)]
    pub(super) fn judge(&self) -> u8 {
        let bits = hide_field(&self.bits);
        // By arithmetic, and by what a table tells of it: each branch here would be another way into all that follows for
        // the verifier.
        let opcode = bits & 0x0F;
        let control = opcode >> 3;
        let starts = (STARTING >> opcode & 1) as u8;
        let is_zero = |bits: u64| is_not_zero(bits) as u8 ^ 1;
        // From the last way to the first: what each needs is read where it is needed, as there is little room on the stack.
        let mut wrong = control & (bits >> 7 ^ 1);
        let message = hide_field(&self.message);
        wrong |= is_zero(u64::from(opcode)) & is_zero(u64::from(message));
        wrong |= starts & (IN_MESSAGE >> (message & 3) & 1) as u8;
        let length = hide_field(&self.length);
        let short = hide_field(&self.second) & !MASK;
        let mut is_impossible = (length >> 63) as u8 | control & (125_u64.wrapping_sub(length) >> 63) as u8;
        is_impossible |= is_zero(u64::from(short ^ TWO_BYTES)) & (length.wrapping_sub(126) >> 63) as u8;
        is_impossible |= is_zero(u64::from(short ^ EIGHT_BYTES)) & is_zero(length >> 16);
        wrong = wrong << 1 | is_impossible;
        let rules = hide_field(&self.rules);
        wrong = wrong << 1 | (hide_field(&self.second) >> 7 ^ rules.0) & (rules.0 / Rules::PROBATION) & 1;
        wrong = wrong << 1 | is_not_zero(u64::from(bits & rules.forbidden(starts))) as u8;
        wrong = wrong << 1 | (DEFINED >> opcode & 1) as u8 ^ 1;
        // Out of the compiler's sight, which knows the bound and would leave the mask out: Linux 6.1's verifier has lost it
        // by here.
        let judged = JUDGED[usize::from(core::hint::black_box(wrong) & 31)];
        let is_right = (is_not_zero(u64::from(judged)) as u8).wrapping_sub(1);
        // 0x8 to 0xA are 3 to 5.
        judged | opcode.wrapping_sub(5 * control) & is_right
    }
}

/// The short lengths that say that the length follows, in two bytes or in eight.
const TWO_BYTES: u8 = 0x7E;
const EIGHT_BYTES: u8 = 0x7F;

/// The opcodes that start a message, and the [`Message`]s that may be gone on with, by bit.
const STARTING: u32 = 0x0006;
const IN_MESSAGE: u32 = 1 << Message::Text as u32 | 1 << Message::Binary as u32;

/// What a frame is that breaks the RFC in one way or several, a bit for each as [`Frames::judge`] has them: [`IGNORED`] and
/// the first of them; 0 for none.
static JUDGED: [u8; 32] = {
    let ways =
        [Violation::Opcode, Violation::Reserved, Violation::Mask, Violation::Length, Violation::Opcode];
    let mut all = [0; 32];
    let mut wrong = 1_usize;
    while wrong < 32 {
        all[wrong] = IGNORED + ways[wrong.trailing_zeros() as usize] as u8;
        wrong += 1;
    }
    all
};
