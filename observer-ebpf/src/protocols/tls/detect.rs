//! How TLS is told: by a `ClientHello`, or by a record in the middle of a connection.

use super::Tls;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// A handshake record of any version, with a `ClientHello` (RFC 8446, sections 4 and 5.1).
const CLIENT_HELLO: Pattern = Pattern::masked(&[0x16, 0x03, 0, 0, 0, 0x01], &[0xFF, 0xFF, 0xF8, 0, 0, 0xFF]);

/// The longest record: `2^14 + 256` bytes of ciphertext (RFC 8446, section 5.2), and as many in TLS 1.2 with what
/// compression may add.
const RECORD_MAX: u32 = (1 << 14) + 256;

impl Recognise for Tls {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match side {
            Side::Client => start.one_of(&[CLIENT_HELLO]),
            Side::Server => Match::No,
        }
    }

    #[inline(always)]
    fn adopts(start: Start, _side: Side) -> Adopts {
        let [kind, major, minor, high, low, ..] = start.word().to_le_bytes();
        let length = u32::from(high) << 8 | u32::from(low);
        let is_record = start.has(5)
            && matches!(kind, 0x14..=0x17)
            && major == 0x03
            && minor <= 0x04
            && length <= RECORD_MAX;
        if is_record { Adopts::Yes } else { Adopts::No }
    }
}
