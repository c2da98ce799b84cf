//! How Redis is told: by a command, as an array or in a line.

use super::Redis;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// A RESP array of bulk strings, of one to four digits ("Redis serialization protocol specification").
const ARRAYS: [Pattern; 4] = [
    Pattern::masked(b"*0\r\n$", &[0xFF, 0xF0, 0xFF, 0xFF, 0xFF]),
    Pattern::masked(b"*00\r\n$", &[0xFF, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF]),
    Pattern::masked(b"*000\r\n$", &[0xFF, 0xF0, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF]),
    Pattern::masked(b"*0000\r\n$", &[0xFF, 0xF0, 0xF0, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF]),
];

/// Commands in a line, of any case: what health checks and people send. The first reply tells whether it was Redis.
const INLINE: [Pattern; 9] = [
    Pattern::word(b"PING"),
    Pattern::word(b"INFO"),
    Pattern::word(b"QUIT"),
    Pattern::word(b"AUTH "),
    Pattern::word(b"ECHO "),
    Pattern::word(b"SET "),
    Pattern::word(b"SELECT "),
    Pattern::word(b"EXISTS "),
    Pattern::word(b"GET "),
];

/// What a server says to a connection that it does not take, or not yet, before it has read anything: that there are too
/// many (`maxclients`), that it runs in protected mode, that it loads its data.
const REFUSALS: [Pattern; 3] =
    [Pattern::text(b"-ERR max"), Pattern::text(b"-DENIED "), Pattern::text(b"-LOADING")];

/// Whether 16 bytes that a server starts with, or as many as there are, are not the start of something else than they
/// seem: servers of POP3 begin with `-ERR`, too.
#[inline(always)]
pub(super) const fn may_be_refusal(lo: u64, hi: u64, available: u32) -> bool {
    const MAX: u64 = u64::from_le_bytes(*b"-ERR max");
    const NUMBER: u64 = u64::from_le_bytes(*b" number ");
    lo != MAX || hi == NUMBER || available < 16
}

impl Recognise for Redis {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        if matches!(side, Side::Server) {
            return if start.one_of(&REFUSALS) == Match::Yes { Match::Maybe } else { Match::No };
        }
        match (start.one_of(&ARRAYS), start.one_of(&INLINE)) {
            (Match::Yes, _) => Match::Yes,
            (_, Match::Yes) => Match::Maybe,
            (Match::No, Match::No) => Match::No,
            _ => Match::More,
        }
    }

    /// Replies are told from too few bytes: much else starts with a sign and has lines.
    #[inline(always)]
    fn adopts(start: Start, side: Side) -> Adopts {
        if matches!(side, Side::Client) && start.first() == b'*' { Adopts::IfWhole } else { Adopts::No }
    }
}
