//! How Postgres is told: by what a client says first, or a server that refuses it before that ("Message Formats" in the
//! `PostgreSQL` documentation).

use super::Postgres;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// `StartupMessage`: a length below 16384, then 3.x. Clients try what servers do not know as 3.9999.
const STARTUP: Pattern =
    Pattern::masked(&[0, 0, 0, 0, 0, 3, 0, 0], &[0xFF, 0xFF, 0xC0, 0, 0xFF, 0xFF, 0xC0, 0]);
/// `CancelRequest`, `SSLRequest`, `GSSENCRequest`: a length, which is up to 268 as of 3.2, then 1234.5678 to 1234.5680.
const REQUESTS: Pattern =
    Pattern::masked(&[0, 0, 0, 0, 4, 0xD2, 0x16, 0x20], &[0xFF, 0xFF, 0xFE, 0, 0xFF, 0xFF, 0xFF, 0xE0]);

/// An `ErrorResponse` with its severity first, as of a pool that has no room for one more client.
const ERROR: Pattern = Pattern::masked(&[b'E', 0, 0, 0, 0, b'S'], &[0xFF, 0xFF, 0xFF, 0, 0, 0xFF]);
/// The same in plain text: `could not fork new process for connection`, where the server speaks English.
const PLAIN_ERROR: Pattern = Pattern::text(b"Ecould n");

impl Recognise for Postgres {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match side {
            Side::Client => start.one_of(&[STARTUP, REQUESTS]),
            Side::Server => start.one_of(&[ERROR, PLAIN_ERROR]),
        }
    }

    #[inline(always)]
    fn adopts(_start: Start, _side: Side) -> Adopts {
        Adopts::IfWhole
    }
}
