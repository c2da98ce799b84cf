//! `FastCGI` (the Open Market specification 1.0, section 3.3), which is recognised and not parsed: what web servers speak to
//! PHP.

use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// `FastCGI`.
#[derive(Clone, Copy, Debug)]
pub enum Fastcgi {}

/// The record that begins a request: version 1, type 1, the request's number, and a content of 8 bytes without padding.
const BEGIN_REQUEST: Pattern =
    Pattern::masked(&[1, 1, 0, 0, 0, 8, 0, 0], &[0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);

impl Recognise for Fastcgi {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match side {
            Side::Client => start.one_of(&[BEGIN_REQUEST]),
            Side::Server => Match::No,
        }
    }

    #[inline(always)]
    fn adopts(start: Start, side: Side) -> Adopts {
        let is_request = matches!(side, Side::Client) && start.is(BEGIN_REQUEST);
        if is_request { Adopts::Yes } else { Adopts::No }
    }
}
