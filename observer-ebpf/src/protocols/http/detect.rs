//! How HTTP is told: by a method, or by a response's version.

use super::Http;
use crate::layout::Side;
use crate::stream::parser::{Adopts, Recognise};
use crate::stream::start::{Match, Pattern, Start};

/// How HTTP/1 requests start: with a method of the registry (RFC 9110, section 16.1), or with caches' `PURGE`. `GET` is
/// Redis' as well, and so are others: what HTTP gets has a path, or a scheme before it (RFC 9112, section 3.2).
const REQUESTS: [Pattern; 41] = [
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
    Pattern::text(b"ACL /"),
    Pattern::text(b"BASELINE"),
    Pattern::text(b"BIND /"),
    Pattern::text(b"CHECKIN "),
    Pattern::text(b"CHECKOUT"),
    Pattern::text(b"COPY /"),
    Pattern::text(b"LABEL /"),
    Pattern::text(b"LINK /"),
    Pattern::text(b"LOCK /"),
    Pattern::text(b"MERGE /"),
    Pattern::text(b"MKACTIVI"),
    Pattern::text(b"MKCALEND"),
    Pattern::text(b"MKCOL /"),
    Pattern::text(b"MKREDIRE"),
    Pattern::text(b"MKWORKSP"),
    Pattern::text(b"MOVE /"),
    Pattern::text(b"ORDERPAT"),
    Pattern::text(b"PROPFIND"),
    Pattern::text(b"PROPPATC"),
    Pattern::text(b"PURGE /"),
    Pattern::text(b"QUERY /"),
    Pattern::text(b"REBIND /"),
    Pattern::text(b"REPORT /"),
    Pattern::text(b"SEARCH /"),
    Pattern::text(b"UNBIND /"),
    Pattern::text(b"UNCHECKO"),
    Pattern::text(b"UNLINK /"),
    Pattern::text(b"UNLOCK /"),
    Pattern::text(b"UPDATE /"),
    Pattern::text(b"UPDATERE"),
    Pattern::text(b"VERSION-"),
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
