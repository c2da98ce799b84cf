//! How Postgres is told: by what a client says first ("Message Formats" in the `PostgreSQL` documentation).

use super::Postgres;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// `StartupMessage`: a length below 16384, then 3.0 or another 3.x.
const STARTUP: Pattern =
    Pattern::masked(&[0, 0, 0, 0, 0, 3, 0, 0], &[0xFF, 0xFF, 0xC0, 0, 0xFF, 0xFF, 0xFF, 0xF0]);
/// `CancelRequest`, `SSLRequest`, `GSSENCRequest`: a length, then 1234.5678 to 1234.5680.
const REQUESTS: Pattern =
    Pattern::masked(&[0, 0, 0, 0, 4, 0xD2, 0x16, 0x20], &[0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xE0]);

impl Recognise for Postgres {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match side {
            Side::Client => start.one_of(&[STARTUP, REQUESTS]),
            Side::Server => Match::No,
        }
    }

    #[inline(always)]
    fn adopts(_start: Start, _side: Side) -> Adopts {
        Adopts::IfWhole
    }
}
