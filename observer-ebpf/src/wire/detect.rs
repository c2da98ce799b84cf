//! What a connection speaks, told from the first bytes of its client, never from its port.

use super::source::low_bytes;
use crate::layout::Protocol;

/// What the first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detected {
    /// They may still become a protocol known here.
    More,
    /// They are this; [`Protocol::Unknown`] if nothing known here.
    Is(Protocol),
}

/// Bytes that are enough to tell any protocol here.
pub const ENOUGH: u32 = 8;

/// The first bytes of a stream or of a call: as many as there are, at most 8, little-endian.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    bytes: u64,
    /// All ones in the bytes that are there.
    known: u64,
}

impl Start {
    /// The first `length` bytes of `word`.
    #[inline(always)]
    pub const fn new(word: u64, length: u32) -> Self {
        let known = low_bytes(u64::MAX, if length < ENOUGH { length } else { ENOUGH });
        Self { bytes: word & known, known }
    }

    /// Whether the bytes may be the start of `pattern`, or hold it.
    #[inline(always)]
    pub(crate) const fn may_be(self, pattern: Pattern) -> bool {
        (self.bytes ^ pattern.bits) & pattern.mask & self.known == 0
    }

    /// Whether the bytes hold all of `pattern`.
    #[inline(always)]
    pub(crate) const fn is(self, pattern: Pattern) -> bool {
        (self.bytes ^ pattern.bits) & pattern.mask == 0 && pattern.mask & !self.known == 0
    }
}

/// Bits that a stream of some protocol starts with.
///
/// Comparisons under masks, of whole words: the same work whatever the bytes, and one way through it for the
/// verifier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    bits: u64,
    mask: u64,
}

impl Pattern {
    /// A text of at most 8 bytes.
    pub(crate) const fn text(text: &[u8]) -> Self {
        Self::masked(text, &[0xFF; 8])
    }

    /// The bits of `bytes` that are set in `masks`, which has at least as many bytes.
    const fn masked(bytes: &[u8], masks: &[u8]) -> Self {
        let (mut bits, mut mask) = (0, 0);
        let mut at = 0;
        while at < bytes.len() && at < 8 {
            bits |= ((bytes[at] & masks[at]) as u64) << (8 * at);
            mask |= (masks[at] as u64) << (8 * at);
            at += 1;
        }
        Self { bits, mask }
    }
}

/// How HTTP/1 requests start (RFC 9110, section 9), and HTTP/2's preface (RFC 9113, section 3.4). `GET` is Redis'
/// as well: what HTTP gets has a path, or a scheme before it (RFC 9112, section 3.2).
const HTTP_REQUESTS: [Pattern; 11] = [
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
    Pattern::text(b"PRI * HT"),
];

/// An HTTP/1 response (RFC 9112, section 4).
const HTTP_RESPONSE: Pattern = Pattern::text(b"HTTP/1.");

/// What else a client may start with.
const OTHERS: [(Pattern, Protocol); 16] = [
    // A handshake record of any version, with a ClientHello (RFC 8446, sections 4 and 5.1).
    (Pattern::masked(&[0x16, 0x03, 0, 0, 0, 0x01], &[0xFF, 0xFF, 0xF8, 0, 0, 0xFF]), Protocol::Tls),
    // StartupMessage: a length below 16384, then 3.0 or another 3.x ("Message Formats" in the PostgreSQL
    // documentation).
    (
        Pattern::masked(&[0, 0, 0, 0, 0, 3, 0, 0], &[0xFF, 0xFF, 0xC0, 0, 0xFF, 0xFF, 0xFF, 0xF0]),
        Protocol::Postgres,
    ),
    // CancelRequest, SSLRequest, GSSENCRequest: a length, then 1234.5678 to 1234.5680.
    (
        Pattern::masked(&[0, 0, 0, 0, 4, 0xD2, 0x16, 0x20], &[0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xE0]),
        Protocol::Postgres,
    ),
    // A RESP array of bulk strings, of one to four digits ("Redis serialization protocol specification").
    (Pattern::masked(b"*0\r\n$", &[0xFF, 0xF0, 0xFF, 0xFF, 0xFF]), Protocol::Redis),
    (Pattern::masked(b"*00\r\n$", &[0xFF, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF]), Protocol::Redis),
    (Pattern::masked(b"*000\r\n$", &[0xFF, 0xF0, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF]), Protocol::Redis),
    (Pattern::masked(b"*0000\r\n$", &[0xFF, 0xF0, 0xF0, 0xF0, 0xF0, 0xFF, 0xFF, 0xFF]), Protocol::Redis),
    // One in a line, of any case: what health checks and people send. The first reply tells whether it was
    // Redis.
    (inline(b"PING"), Protocol::Redis),
    (inline(b"INFO"), Protocol::Redis),
    (inline(b"QUIT"), Protocol::Redis),
    (inline(b"AUTH "), Protocol::Redis),
    (inline(b"ECHO "), Protocol::Redis),
    (inline(b"SET "), Protocol::Redis),
    (inline(b"SELECT "), Protocol::Redis),
    (inline(b"EXISTS "), Protocol::Redis),
    (inline(b"GET "), Protocol::Redis),
];

const fn inline(command: &[u8]) -> Pattern {
    Pattern::masked(command, &[0xDF, 0xDF, 0xDF, 0xDF, 0xDF, 0xDF, 0xDF, 0xDF])
}

/// Tells the protocol from the client's first bytes.
#[inline(always)]
pub fn request(start: Start) -> Detected {
    let mut more = false;
    for method in HTTP_REQUESTS {
        if start.is(method) {
            return Detected::Is(Protocol::Http);
        }
        more |= start.may_be(method);
    }
    if more {
        return Detected::More;
    }
    for (pattern, protocol) in OTHERS {
        if start.is(pattern) {
            return Detected::Is(protocol);
        }
        more |= start.may_be(pattern);
    }
    if more { Detected::More } else { Detected::Is(Protocol::Unknown) }
}

/// Whether the bytes start an HTTP request, with enough of them to tell.
#[inline(always)]
pub fn is_http_request(start: Start) -> bool {
    HTTP_REQUESTS.into_iter().any(|method| start.is(method))
}

/// Whether the bytes start an HTTP/1 response, with enough of them to tell.
#[inline(always)]
pub const fn is_http_response(start: Start) -> bool {
    start.is(HTTP_RESPONSE)
}

const fn byte(word: u64, at: u32) -> u8 {
    (word >> (8 * at)) as u8
}

/// Whether a call in the middle of a stream starts with a TLS record (RFC 8446, section 5.1).
#[inline(always)]
pub const fn is_tls_record(first: u64, length: u32) -> bool {
    length >= 5
        && matches!(byte(first, 0), 0x14..=0x17)
        && byte(first, 1) == 0x03
        && byte(first, 2) <= 0x04
        && ((byte(first, 3) as u32) << 8 | byte(first, 4) as u32) <= (1 << 14) + 256
}
