//! How Kafka is told: by a request's size, API key and version, which are small. Other protocols may begin alike, so the
//! first response decides: it repeats the request's correlation id.

use super::Kafka;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// A size below 16 MiB, an API key below 128, and a version below 32.
const REQUEST: Pattern = Pattern::masked(&[0; 8], &[0xFF, 0, 0, 0, 0xFF, 0x80, 0xFF, 0xE0]);

/// The same without the size, as who has read that on its own reads it.
const BEHIND_SIZE: Pattern = Pattern::masked(&[0; 4], &[0xFF, 0x80, 0xFF, 0xE0]);

impl Recognise for Kafka {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match (side, start.one_of(&[REQUEST])) {
            (Side::Server, _) => Match::No,
            (Side::Client, Match::Yes) => Match::Maybe,
            (Side::Client, found) => found,
        }
    }

    #[inline(always)]
    fn adopts(start: Start, side: Side) -> Adopts {
        let is_like_one = start.one_of(&[REQUEST, BEHIND_SIZE]) == Match::Yes;
        let is_request = matches!(side, Side::Client) && is_like_one;
        if is_request { Adopts::IfWhole } else { Adopts::No }
    }
}
