//! How HTTP is told: by a method, or by a response's version.

use super::Http;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// How HTTP/1 requests start: with a method of RFC 9110, section 9, or RFC 5789; of `WebDAV` (RFC 4918), searches and
/// reports in it (RFC 5323, RFC 3253); or with caches' `PURGE`. `GET` is Redis' as well, and so are others: what HTTP gets
/// has a path, or a scheme before it (RFC 9112, section 3.2).
const REQUESTS: [Pattern; 20] = [
    Pattern::text(b"GET /"),
    Pattern::masked(b"GET HTTP", &[0xFF, 0xFF, 0xFF, 0xFF, 0xDF, 0xDF, 0xDF, 0xDF]),
    Pattern::text(b"POST "),
    Pattern::text(b"PUT "),
    Pattern::text(b"HEAD "),
    Pattern::text(b"DELETE "),
    Pattern::text(b"OPTIONS "),
    Pattern::text(b"PATCH "),
    Pattern::text(b"CONNECT "),
    Pattern::text(b"TRACE "),
    Pattern::text(b"COPY /"),
    Pattern::text(b"LOCK /"),
    Pattern::text(b"MKCOL /"),
    Pattern::text(b"MOVE /"),
    Pattern::text(b"PROPFIND"),
    Pattern::text(b"PROPPATC"),
    Pattern::text(b"PURGE /"),
    Pattern::text(b"REPORT /"),
    Pattern::text(b"SEARCH /"),
    Pattern::text(b"UNLOCK /"),
];

/// An HTTP/1 response (RFC 9112, section 4).
const RESPONSE: Pattern = Pattern::text(b"HTTP/1.");

/// Whether the bytes start an HTTP/1 request, with enough of them to tell.
#[inline(always)]
pub(super) fn is_request(start: Start) -> bool {
    start.one_of(&REQUESTS) == Match::Yes
}

/// Whether the bytes start an HTTP/1 response, with enough of them to tell.
#[inline(always)]
pub(super) const fn is_response(start: Start) -> bool {
    start.is(RESPONSE)
}

impl Recognise for Http {
    #[inline(always)]
    fn recognise(start: Start, side: Side) -> Match {
        match side {
            Side::Client => start.one_of(&REQUESTS),
            Side::Server if is_response(start) => Match::Yes,
            Side::Server => Match::No,
        }
    }

    #[inline(always)]
    fn adopts(start: Start, side: Side) -> Adopts {
        let is_http = match side {
            Side::Client => start.has(8) && is_request(start),
            Side::Server => start.has(8) && is_response(start),
        };
        if is_http { Adopts::Yes } else { Adopts::No }
    }
}
