//! SCGI (python.ca/scgi/protocol.txt), which is recognised and not parsed: what web servers speak to Python.

use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// SCGI.
#[derive(Clone, Copy, Debug)]
pub enum Scgi {}

/// The length of the headers, of 2 to 5 digits, then the first of them, which always is `CONTENT_LENGTH`.
const REQUESTS: [Pattern; 4] = [
    Pattern::masked(b"00:CONTE", &[0xF0, 0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
    Pattern::masked(b"000:CONT", &[0xF0, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
    Pattern::masked(b"0000:CON", &[0xF0, 0xF0, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF, 0xFF]),
    Pattern::masked(b"00000:CO", &[0xF0, 0xF0, 0xF0, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF]),
];

impl Recognise for Scgi {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match side {
            Side::Client => start.one_of(&REQUESTS),
            Side::Server => Match::No,
        }
    }

    #[inline(always)]
    fn adopts(start: Start, side: Side) -> Adopts {
        let is_request = matches!(side, Side::Client) && start.one_of(&REQUESTS) == Match::Yes;
        if is_request { Adopts::Yes } else { Adopts::No }
    }
}
