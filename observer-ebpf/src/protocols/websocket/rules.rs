//! What a direction's frames are held against: bits of the header (RFC 6455, section 5.2), and what was agreed.

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

impl Extensions {
    /// The one stored as `value`; anything unknown is [`Extensions::Unknown`].
    #[inline(always)]
    pub(super) const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::None,
            2 => Self::Compression,
            3 => Self::Others,
            _ => Self::Unknown,
        }
    }
}

impl Rules {
    pub(super) const MASKED: u8 = 1;
    pub(super) const NO_RSV1: u8 = 2;
    pub(super) const PROBATION: u8 = 4;
    pub(super) const ANY_RSV: u8 = 8;

    /// Frames must be `masked` (from a client) or must not be; reserved bits may be set as `extensions` say; on
    /// `probation`, a violation tells that the stream is out of sync, not that the sender is wrong.
    #[inline(always)]
    pub(in crate::protocols) fn new(masked: bool, extensions: Extensions, probation: bool) -> Self {
        let bit = |is: bool, bit: u8| u8::from(is) * bit;
        Self(
            bit(masked, Self::MASKED)
                | bit(matches!(extensions, Extensions::None), Self::NO_RSV1)
                | bit(probation, Self::PROBATION)
                | bit(matches!(extensions, Extensions::Others), Self::ANY_RSV),
        )
    }

    /// The reserved bits that may not be set on a frame, which is a message's first one (`starts`) or not.
    #[inline(always)]
    pub(super) const fn forbidden(self, starts: bool) -> u8 {
        let rsv1 = if starts && !self.has(Self::NO_RSV1) { 0 } else { RSV1 };
        if self.has(Self::ANY_RSV) { 0 } else { RSV2_RSV3 | rsv1 }
    }

    #[inline(always)]
    pub(super) const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

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
