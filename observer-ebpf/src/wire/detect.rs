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

/// A text of at most 8 bytes, as the word that a stream holding it starts with.
#[derive(Clone, Copy)]
pub(crate) struct Word {
    bits: u64,
    length: u32,
}

impl Word {
    pub(crate) const fn new(text: &[u8]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < text.len() && at < 8 {
            bits |= (text[at] as u64) << (8 * at);
            at += 1;
        }
        Self { bits, length: at as u32 }
    }

    /// Whether the first `length` bytes of `first` start the text, or the text starts them.
    #[inline(always)]
    pub(crate) const fn agrees(self, first: u64, length: u32) -> bool {
        let shared = if length < self.length { length } else { self.length };
        low_bytes(first, shared) == low_bytes(self.bits, shared)
    }

    /// Whether `first` starts with the text.
    #[inline(always)]
    pub(crate) const fn starts(self, first: u64, length: u32) -> bool {
        length >= self.length && self.agrees(first, length)
    }
}

/// How HTTP/1 requests start (RFC 9110, section 9), and HTTP/2's preface (RFC 9113, section 3.4).
const HTTP_REQUESTS: [Word; 10] = [
    Word::new(b"GET "),
    Word::new(b"POST "),
    Word::new(b"PUT "),
    Word::new(b"HEAD "),
    Word::new(b"DELETE "),
    Word::new(b"OPTIONS "),
    Word::new(b"PATCH "),
    Word::new(b"CONNECT "),
    Word::new(b"TRACE "),
    Word::new(b"PRI * HT"),
];
const HTTP_RESPONSE: Word = Word::new(b"HTTP/1.");
const BULK: Word = Word::new(b"\r\n$");

/// Tells the protocol from the client's first `length` bytes, little-endian in `first`.
#[inline(always)]
pub fn request(first: u64, length: u32) -> Detected {
    let length = if length < ENOUGH { length } else { ENOUGH };
    let mut more = false;
    for method in HTTP_REQUESTS {
        if method.starts(first, length) {
            return Detected::Is(Protocol::Http);
        }
        more |= method.agrees(first, length);
    }
    if let Some(protocol) = tls(first, length).or(postgres(first, length)).or(redis(first, length)) {
        return protocol;
    }
    if more { Detected::More } else { Detected::Is(Protocol::Unknown) }
}

const fn byte(word: u64, at: u32) -> u8 {
    (word >> (8 * at)) as u8
}

/// A handshake record with a ClientHello (RFC 8446, sections 4 and 5.1).
#[inline(always)]
const fn tls(first: u64, length: u32) -> Option<Detected> {
    let matches = byte(first, 0) == 0x16
        && (length < 2 || byte(first, 1) == 0x03)
        && (length < 3 || byte(first, 2) <= 0x04)
        && (length < 6 || byte(first, 5) == 0x01);
    match matches {
        false => None,
        true if length >= 6 => Some(Detected::Is(Protocol::Tls)),
        true => Some(Detected::More),
    }
}

/// StartupMessage, SSLRequest, GSSENCRequest or CancelRequest ("Message Formats" in the PostgreSQL
/// documentation): a length, then 3.x or 1234.567x.
#[inline(always)]
const fn postgres(first: u64, length: u32) -> Option<Detected> {
    if byte(first, 0) != 0 || (length >= 2 && byte(first, 1) != 0) {
        return None;
    }
    if length < ENOUGH {
        return Some(Detected::More);
    }
    let size = (first as u32).swap_bytes();
    let code = ((first >> 32) as u32).swap_bytes();
    let known = code >> 16 == 3 || matches!(code, 80_877_102..=80_877_104);
    if known && size >= 8 && size <= 10_000 { Some(Detected::Is(Protocol::Postgres)) } else { None }
}

/// A RESP array of bulk strings: `*N\r\n$` with N from 1 to 999.
#[inline(always)]
fn redis(first: u64, length: u32) -> Option<Detected> {
    if byte(first, 0) != b'*' {
        return None;
    }
    for digits in 1..=3 {
        let tail = first >> (8 * (1 + digits));
        let left = length.saturating_sub(1 + digits);
        let numbered = (1..=digits).all(|at| at >= length || byte(first, at).is_ascii_digit());
        if numbered && BULK.agrees(tail, left) {
            return Some(if left >= 3 { Detected::Is(Protocol::Redis) } else { Detected::More });
        }
    }
    None
}

/// Whether the bytes start an HTTP request, with enough of them to tell.
#[inline(always)]
pub fn is_http_request(first: u64, length: u32) -> bool {
    HTTP_REQUESTS.iter().any(|method| method.starts(first, length))
}

/// Whether the bytes start an HTTP/1 response (RFC 9112, section 4), with enough of them to tell.
#[inline(always)]
pub const fn is_http_response(first: u64, length: u32) -> bool {
    HTTP_RESPONSE.starts(first, length)
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
