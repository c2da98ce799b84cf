//! What a direction's frames are held against: bits of the header (RFC 6455, section 5.2), and what was agreed.

use crate::layout::Side;

pub(super) const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
/// The reserved bits.
pub(super) const RSV: u8 = RSV1 | RSV2_RSV3;
pub(super) const CONTROL: u8 = 0x08;
pub(super) const MASK: u8 = 0x80;

/// The opcodes that are defined, by bit.
pub(super) const DEFINED: u32 = 0x0707;

/// What the handshake has agreed to, as far as it gives reserved bits a meaning (RFC 6455, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::protocols) enum Extensions {
    /// The handshake was not seen.
    Unknown = 0,
    /// Nothing: no reserved bit may be set.
    None = 1,
    /// Messages may be compressed, which RSV1 says on their first frame (RFC 7692, section 6).
    Compression = 2,
    /// Something else, which may use any reserved bit on any frame.
    Others = 3,
}

/// What a direction's frames are held against, as bits: one byte, kept with the state. (In registers or on
/// the stack, the verifier would walk through the loop once for each combination.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::protocols) struct Rules(pub(super) u8);

impl Rules {
    pub(super) const MASKED: u8 = 1;
    pub(super) const NO_RSV1: u8 = 2;
    pub(super) const PROBATION: u8 = 4;
    pub(super) const ANY_RSV: u8 = 8;

    /// Frames of a client must be masked, those of a server must not be; reserved bits may be set as `extensions` say, an
    /// [`Extensions`]; on `probation` (1), a violation tells that the stream is out of sync, not that the sender is wrong.
    /// By arithmetic and a table: each branch here would be another way into all that follows for the verifier.
    #[inline(always)]
    pub(in crate::protocols) fn new(side: Side, extensions: u8, probation: u8) -> Self {
        let agreed = AGREED[(extensions & 3) as usize];
        let masked = (side as u8 ^ Side::Server as u8) * Self::MASKED;
        let probation = (probation & 1) * Self::PROBATION;
        Self(masked | probation | agreed)
    }

    /// The reserved bits that may not be set on a frame, which is a message's first one (`starts` is 1) or not (0).
    #[inline(always)]
    pub(super) fn forbidden(self, starts: u8) -> u8 {
        let place = (self.0 & (RULES - 1)) + (starts & 1) * RULES;
        // Out of the compiler's sight, which would leave the mask out: Linux 6.1's verifier needs it.
        FORBIDDEN[usize::from(core::hint::black_box(place) & (2 * RULES - 1))]
    }

    #[inline(always)]
    pub(super) const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// How many sets of rules there are.
const RULES: u8 = 16;

/// The rules that each of the [`Extensions`] leads to.
static AGREED: [u8; 4] = {
    let mut all = [0; 4];
    all[Extensions::None as usize] = Rules::NO_RSV1;
    all[Extensions::Others as usize] = Rules::ANY_RSV;
    all
};

/// See [`Rules::forbidden`]: first by rules, then once more for frames that start a message.
static FORBIDDEN: [u8; 2 * RULES as usize] = {
    let mut all = [0; 2 * RULES as usize];
    let mut at = 0;
    while at < RULES {
        let rules = Rules(at);
        if !rules.has(Rules::ANY_RSV) {
            all[at as usize] = RSV;
            let rsv1 = if rules.has(Rules::NO_RSV1) { RSV1 } else { 0 };
            all[(RULES + at) as usize] = RSV2_RSV3 | rsv1;
        }
        at += 1;
    }
    all
};

/// Whether a call's first two bytes can start a frame under `rules`: what is looked at before a longer test.
#[inline(always)]
pub(in crate::protocols) fn may_start(lo: u64, rules: Rules, fresh: bool) -> bool {
    let bits = lo as u8;
    let second = (lo >> 8) as u8;
    let opcode = bits & 0x0F;
    let known = DEFINED >> opcode & 1 != 0;
    let fin = bits & FIN != 0;
    known
        && (bits & RSV2_RSV3 == 0 || rules.has(Rules::ANY_RSV))
        && (second & MASK != 0) == rules.has(Rules::MASKED)
        && (fin || opcode & CONTROL == 0)
        && !(fresh && opcode == 0)
}
