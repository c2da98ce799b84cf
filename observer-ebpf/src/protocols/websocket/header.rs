//! A frame's header (RFC 6455, section 5.2): its bytes put together, taken apart, and judged.

use super::frames::{Frames, IGNORED, Message};
use super::layout::Violation;
use super::rules::{CONTROL, DEFINED, FIN, MASK, Rules};
use crate::stream::bytes::hide_field;
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
        let (bits, second, length) =
            (hide_field(&self.bits), hide_field(&self.second), hide_field(&self.length));
        let (rules, message) = (hide_field(&self.rules), hide_field(&self.message));
        let opcode = bits & 0x0F;
        let data = opcode & CONTROL == 0;
        let starts = opcode == 1 || opcode == 2;
        let short = second & !MASK;
        let padded = (short == 126 && length < 126) || (short == 127 && length >> 16 == 0);
        let wrongly_masked = self.is_wrongly_masked() && rules.has(Rules::PROBATION);
        let in_message = message == Message::Text as u8 || message == Message::Binary as u8;
        let violation = if DEFINED >> opcode & 1 == 0 {
            Violation::Opcode
        } else if bits & rules.forbidden(starts) != 0 {
            Violation::Reserved
        } else if wrongly_masked {
            Violation::Mask
        } else if length >> 63 != 0 || padded || (!data && length > 125) {
            Violation::Length
        } else if (!data && bits & FIN == 0)
            || (opcode == 0 && message == Message::None as u8)
            || (starts && in_message)
        {
            Violation::Opcode
        } else {
            // 0x8 to 0xA are 3 to 5.
            return if data { opcode } else { opcode - 5 };
        };
        IGNORED + violation as u8
    }
}
