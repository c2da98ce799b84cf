//! How TLS is told: by a `ClientHello`, or by a record in the middle of a connection.

use super::Tls;
use super::stream::{HEADER, header};
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// A handshake record of any version, with a `ClientHello` (RFC 8446, sections 4 and 5.1).
const CLIENT_HELLO: Pattern = Pattern::masked(&[0x16, 0x03, 0, 0, 0, 0x01], &[0xFF, 0xFF, 0xF8, 0, 0, 0xFF]);

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
        let is_record = start.has(HEADER) && header(start.word()).0;
        if is_record { Adopts::Yes } else { Adopts::No }
    }
}
