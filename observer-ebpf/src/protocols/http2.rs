//! HTTP/2 in the clear (RFC 9113), which is recognised and not parsed: by the preface that a client with prior knowledge
//! sends. HTTP/1 may become it by an upgrade (RFC 7540, section 3.2).

use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// HTTP/2.
#[derive(Clone, Copy, Debug)]
pub enum Http2 {}

/// The start of the client's preface (RFC 9113, section 3.4).
const PREFACE: Pattern = Pattern::text(b"PRI * HT");

impl Recognise for Http2 {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match side {
            Side::Client => start.one_of(&[PREFACE]),
            Side::Server => Match::No,
        }
    }

    /// Frames in the middle of a connection are not told from other bytes.
    #[inline(always)]
    fn adopts(_start: Start, _side: Side) -> Adopts {
        Adopts::No
    }
}
