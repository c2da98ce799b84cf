//! How memcached is told: by a command's name, in lower case, as clients send it. Other protocols have some of these
//! words as well, so the first reply decides.

use super::Memcached;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// What connections start with. One pattern stands for several commands where it can: the first reply decides.
const COMMANDS: [Pattern; 17] = [
    // `get ` and `gat `, whose second letters differ by one bit; `gets ` and `gats `.
    Pattern::masked(b"get ", &[0xFF, 0xFB, 0xFF, 0xFF]),
    Pattern::masked(b"gets ", &[0xFF, 0xFB, 0xFF, 0xFF, 0xFF]),
    Pattern::text(b"set "),
    Pattern::text(b"add "),
    Pattern::text(b"replace "),
    Pattern::text(b"append "),
    Pattern::text(b"prepend "),
    Pattern::text(b"cas "),
    Pattern::text(b"delete "),
    Pattern::text(b"incr "),
    Pattern::text(b"decr "),
    Pattern::text(b"touch "),
    // Meta commands: `mg `, `ms ` and so on, and `mn`.
    Pattern::masked(b"m` ", &[0xFF, 0xE0, 0xFF]),
    Pattern::text(b"mn\r\n"),
    Pattern::text(b"stats"),
    Pattern::text(b"version\r"),
    Pattern::text(b"flush_al"),
];

/// What a call in the middle may start with: a command with data, whose length has to be right.
const WRITES: [Pattern; 7] = [
    Pattern::text(b"set "),
    Pattern::text(b"add "),
    Pattern::text(b"replace "),
    Pattern::text(b"append "),
    Pattern::text(b"prepend "),
    Pattern::text(b"cas "),
    Pattern::text(b"ms "),
];

/// The same of a server's: the other replies are too short, or too common, to tell.
const REPLIES: [Pattern; 2] = [Pattern::text(b"VALUE "), Pattern::text(b"STORED\r\n")];

impl Recognise for Memcached {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match (side, start.one_of(&COMMANDS)) {
            (Side::Server, _) => Match::No,
            (Side::Client, Match::Yes) => Match::Maybe,
            (Side::Client, found) => found,
        }
    }

    #[inline(always)]
    fn adopts(start: Start, side: Side) -> Adopts {
        let found = match side {
            Side::Client => start.one_of(&WRITES),
            Side::Server => start.one_of(&REPLIES),
        };
        if found == Match::Yes { Adopts::IfWhole } else { Adopts::No }
    }
}
