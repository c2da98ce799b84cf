//! How Postgres is told: by what a client says first, or a server that refuses it before that ("Message Formats" in the
//! `PostgreSQL` documentation).

use super::Postgres;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// `StartupMessage`: a length below 16384, then 3.0 or 3.2. There is no 3.1 and no other below 3.16 yet, as which requests
/// for metadata of Kafka's begin that some of its clients say first.
const STARTUP: Pattern =
    Pattern::masked(&[0, 0, 0, 0, 0, 3, 0, 0], &[0xFF, 0xFF, 0xC0, 0, 0xFF, 0xFF, 0xFF, 0xFD]);
/// The same of 3.16 to 3.31, for what is to come.
const STARTUP_LATER: Pattern =
    Pattern::masked(&[0, 0, 0, 0, 0, 3, 0, 0x10], &[0xFF, 0xFF, 0xC0, 0, 0xFF, 0xFF, 0xFF, 0xF0]);
/// The same of 3.9999, as which clients try what servers do not know.
const STARTUP_UNKNOWN: Pattern =
    Pattern::masked(&[0, 0, 0, 0, 0, 3, 0x27, 0x0F], &[0xFF, 0xFF, 0xC0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
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
            Side::Client => start.one_of(&[STARTUP, STARTUP_LATER, STARTUP_UNKNOWN, REQUESTS]),
            Side::Server => start.one_of(&[ERROR, PLAIN_ERROR]),
        }
    }

    #[inline(always)]
    fn adopts(_start: Start, _side: Side) -> Adopts {
        Adopts::IfWhole
    }
}
