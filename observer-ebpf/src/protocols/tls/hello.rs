//! The hellos, with which both sides begin, in the clear: the client's has a random, by which its session is known, and
//! says by its ALPN extension (RFC 7301) what may be spoken inside; the server's says which version it is.
//!
//! ```text
//!   ClientHello (RFC 8446, section 4.1.2)
//!   type length │ version random │ session │ ciphers │ compression │ extensions
//!     1    3    │    2      32   │  1 + n  │  2 + n  │    1 + n    │ 2 + (2 + 2 + n) …
//!
//!   ServerHello (section 4.1.3)
//!   type length │ version random │ session │ cipher compression │ extensions
//!     1    3    │    2      32   │  1 + n  │    2         1     │ 2 + (2 + 2 + n) …
//! ```
//!
//! They are followed a field at a time.

use crate::protocols::Protocol;
use crate::stream::bytes::low_bytes;

/// The messages' types.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
/// What stands between the version and the length of the session's name, and how much of the client's is kept.
const RANDOM: u32 = 32;
const RANDOM_KEPT: u32 = 16;
/// The number of the ALPN extension (RFC 7301, section 3.1), and of that which tells the version (RFC 8446, section 4.2.1).
const ALPN: u32 = 16;
const SUPPORTED_VERSIONS: u32 = 43;
/// What Postgres is called in ALPN ("SSL Session Encryption" in the `PostgreSQL` documentation).
const POSTGRES: [u64; 2] = [u64::from_le_bytes(*b"postgres"), u64::from_le_bytes(*b"ql\0\0\0\0\0\0")];
/// What HTTP/2 is called there (RFC 9113, section 3.2).
const HTTP2: u64 = u64::from_le_bytes(*b"h2\0\0\0\0\0\0");

/// What a client offers.
const OFFERS_POSTGRES: u8 = 1;
const OFFERS_HTTP2: u8 = 2;
const OFFERS_OTHER: u8 = 4;

/// Which field comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum At {
    /// None that is looked at.
    Over = 0,
    /// The message's type and length.
    Message = 1,
    /// The version that was first used for it.
    Version = 2,
    /// The length of the session's name.
    Session = 3,
    /// The length of the client's list of ciphers.
    Ciphers = 4,
    /// The server's cipher and compression.
    Cipher = 5,
    /// The length of the client's list of compressions.
    Compression = 6,
    /// The length of all extensions.
    Extensions = 7,
    /// An extension's number and length.
    Extension = 8,
    /// The version that the server has chosen.
    Chosen = 9,
    /// The length of a protocol's name.
    NameLength = 10,
    /// A name of two bytes, and one of ten.
    Short = 11,
    /// See `Short`.
    Long = 12,
    /// What is kept of the client's random.
    Random = 13,
}

/// How many bytes each of them has.
static NEEDED: [u32; 16] = [1, 4, 2, 1, 2, 3, 1, 2, 4, 2, 1, 2, 10, RANDOM_KEPT, 1, 1];

/// How far one of them has been read.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Hello {
    /// Bytes before the next field that have not passed.
    pub(super) skip: u32,
    /// Bytes of the message, or of extensions, behind the field and what it is the length of.
    left: u32,
    /// Bytes of names, likewise.
    names: u32,
    /// The version that the server has chosen, so far.
    pub(super) version: u16,
    /// An [`At`].
    at: u8,
    /// `OFFERS_*`.
    offers: u8,
}

impl Hello {
    /// Before its first byte.
    pub(super) const START: Self =
        Self { skip: 0, left: 0, names: 0, version: 0, at: At::Message as u8, offers: 0 };

    #[inline(always)]
    pub(super) const fn is_over(&self) -> bool {
        self.at == At::Over as u8
    }

    /// Nothing more is looked at.
    #[inline(always)]
    pub(super) const fn end(&mut self) {
        self.at = At::Over as u8;
        self.skip = 0;
    }

    /// Whether the next field is what is kept of the client's random.
    #[inline(always)]
    pub(super) const fn is_at_random(&self) -> bool {
        self.at == At::Random as u8
    }

    /// How many bytes the next field has.
    #[inline(always)]
    pub(super) fn needed(&self) -> u32 {
        NEEDED[usize::from(self.at) & 15]
    }

    /// What is spoken inside, as far as the client says.
    #[inline(always)]
    pub(super) const fn protocol(&self) -> Protocol {
        if self.offers & OFFERS_POSTGRES != 0 {
            Protocol::Postgres
        } else if self.offers == OFFERS_HTTP2 {
            Protocol::Http2
        } else {
            Protocol::Tls
        }
    }

    /// The next field, behind some bytes.
    #[inline(always)]
    const fn go(&mut self, skip: u32, next: At) {
        self.skip = skip;
        self.at = next as u8;
    }

    /// Takes a field.
    #[inline(always)]
    pub(super) fn take(&mut self, lo: u64, hi: u64, is_client: bool) {
        let [a, b, c, d, ..] = lo.to_le_bytes();
        let (first, second) = (u32::from(a) << 8 | u32::from(b), u32::from(c) << 8 | u32::from(d));
        let one = u32::from(a);
        match self.at {
            at if at == At::Message as u8 => {
                self.left = u32::from(b) << 16 | second;
                if a == (if is_client { CLIENT_HELLO } else { SERVER_HELLO }) {
                    self.go(0, At::Version);
                } else {
                    self.end();
                }
            }
            at if at == At::Version as u8 => {
                self.version = first as u16;
                if is_client {
                    self.pass(2 + RANDOM, 0, At::Random);
                } else {
                    self.pass(2 + RANDOM, RANDOM, At::Session);
                }
            }
            at if at == At::Random as u8 => self.go(RANDOM - RANDOM_KEPT, At::Session),
            at if at == At::Session as u8 => {
                self.pass(1 + one, one, if is_client { At::Ciphers } else { At::Cipher });
            }
            at if at == At::Ciphers as u8 => self.pass(2 + first, first, At::Compression),
            at if at == At::Cipher as u8 => self.pass(3, 0, At::Extensions),
            at if at == At::Compression as u8 => self.pass(1 + one, one, At::Extensions),
            at if at == At::Extensions as u8 => {
                self.left = first;
                self.go(0, At::Extension);
            }
            at if at == At::Extension as u8 => {
                self.left = self.left.saturating_sub(4 + second);
                if first == ALPN && is_client {
                    // A list, behind its length.
                    self.names = second.saturating_sub(2);
                    self.go(2, At::NameLength);
                } else if first == SUPPORTED_VERSIONS && !is_client {
                    self.go(0, At::Chosen);
                    return;
                } else {
                    self.go(second, At::Extension);
                }
            }
            at if at == At::Chosen as u8 => {
                self.version = first as u16;
                self.end();
            }
            at if at == At::NameLength as u8 => {
                self.names = self.names.saturating_sub(1 + one);
                if one == 10 {
                    self.go(0, At::Long);
                    return;
                }
                if one == 2 {
                    self.go(0, At::Short);
                    return;
                }
                self.offers |= OFFERS_OTHER;
                self.go(one, At::NameLength);
            }
            at if at == At::Short as u8 => {
                self.offers |= if low_bytes(lo, 2) == HTTP2 { OFFERS_HTTP2 } else { OFFERS_OTHER };
                self.go(0, At::NameLength);
            }
            _ => {
                let is_postgres = [lo, low_bytes(hi, 2)] == POSTGRES;
                self.offers |= if is_postgres { OFFERS_POSTGRES } else { OFFERS_OTHER };
                self.go(0, At::NameLength);
            }
        }
        if self.at == At::NameLength as u8 && self.names == 0 {
            self.at = At::Extension as u8;
        }
        if self.at == At::Extension as u8 && self.left == 0 {
            self.end();
        }
    }

    /// Goes past a field and what it is the length of, of the message's `bytes`, to the next one, if there is any.
    #[inline(always)]
    const fn pass(&mut self, bytes: u32, skip: u32, next: At) {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            self.end();
        } else {
            self.go(skip, next);
        }
    }
}
