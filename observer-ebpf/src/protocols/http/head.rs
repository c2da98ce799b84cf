//! The head of an HTTP/1 request or response (RFC 9112), searched for the WebSocket handshake
//! (RFC 6455, section 4): a byte at a time, so that it may be split anywhere. Heads of interim responses, which come
//! before the one that answers (RFC 9110, section 15.2), are a part of that one's.
//!
//! Heads of other messages are not searched: a head that neither starts `GET ` nor `HTTP/1.1 101` is not
//! part of a handshake. Of those that start `HTTP/1.1 429` (RFC 6585, section 4), that much is told.

use crate::stream::start::Pattern;

/// The start line that a handshake's request has.
pub(super) const REQUEST: &[u8] = b"GET ";
/// The start line that a handshake's response has.
pub(super) const RESPONSE: &[u8] = b"HTTP/1.1 101";

/// [`REQUEST`] as a pattern.
pub(crate) const REQUEST_PATTERN: Pattern = Pattern::text(REQUEST);
/// What starts as [`RESPONSE`] or as an interim one, in two patterns.
pub(crate) const RESPONSE_PATTERNS: [Pattern; 2] = [Pattern::text(b"HTTP/1.1"), Pattern::text(b" 1")];
/// Where [`RESPONSE`] has what no other interim response's status has.
const STATUS_DIFFERS: u8 = 10;
/// What a response that turns a request away has behind its version, and where in the start line it differs
/// from [`RESPONSE`].
const REFUSAL: &[u8] = b" 429";
const REFUSAL_DIFFERS: u8 = 9;
pub(crate) const REFUSAL_PATTERN: Pattern = Pattern::text(REFUSAL);
/// Bytes of a response's version and status.
pub(crate) const STATUS_END: u32 = RESPONSE.len() as u32;
/// The end of a head.
pub(crate) const END: u32 = u32::from_le_bytes(*b"\r\n\r\n");

const UPGRADE: &[u8] = b"upgrade:";
const EXTENSIONS: &[u8] = b"sec-websocket-extensions:";
const WEBSOCKET: &[u8] = b"websocket";
/// How the names of extensions begin that compress messages.
const COMPRESSION: &[u8] = b"permessage-";

/// [`Head::found`]: there is an `Upgrade: websocket`.
pub(super) const FOUND_UPGRADE: u8 = 1;
/// [`Head::found`]: an extension that compresses messages is offered or accepted, as `permessage-deflate` (RFC 7692).
pub(super) const FOUND_COMPRESSION: u8 = 2;
/// [`Head::found`]: another extension is.
pub(super) const FOUND_EXTENSION: u8 = 4;
/// [`Head::found`]: the response is an interim one.
const FOUND_INTERIM: u8 = 8;

/// Where in the head the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Place {
    /// In the start line, which must be as expected.
    Start = 0,
    /// In a line of no interest.
    Line = 1,
    /// At the start of a line.
    LineStart = 2,
    /// In what may be the name `Upgrade`.
    UpgradeName = 3,
    /// In what may be the name `Sec-WebSocket-Extensions`.
    ExtensionsName = 4,
    /// In the value of `Upgrade`.
    UpgradeValue = 5,
    /// In the value of `Sec-WebSocket-Extensions`, before or in an extension's name.
    ExtensionsValue = 6,
    /// In the status of a response that may turn a request away.
    Refusal = 7,
    /// In the value of `Sec-WebSocket-Extensions`, behind an extension's name or in one of no interest.
    ExtensionsRest = 8,
}

/// What a byte brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The head goes on.
    More,
    /// The head ended with this byte.
    End,
    /// The start line is not a handshake's, after this many bytes as expected.
    Other(u8),
    /// The start line is that of a response that turns a request away.
    Refused,
}

/// A head in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Head {
    place: u8,
    /// How many bytes of what is expected at `place` have been seen.
    at: u8,
    /// `FOUND_*`.
    pub(super) found: u8,
}

impl Head {
    /// Before the first byte.
    pub(super) const START: Self = Self { place: Place::Start as u8, at: 0, found: 0 };

    /// Behind the method, which was a handshake's.
    pub(super) const IN_START_LINE: Self = Self { place: Place::Line as u8, at: 0, found: 0 };

    /// Takes in the next byte of a head that the client sends (`request`) or the server.
    #[inline(always)]
    pub(super) fn push(&mut self, byte: u8, request: bool) -> Progress {
        let lower = byte.to_ascii_lowercase();
        match self.place {
            0 => {
                let expected = if request { REQUEST } else { RESPONSE };
                if expected.get(usize::from(self.at)) != Some(&byte) {
                    if request {
                        return Progress::Other(self.at);
                    }
                    if self.at >= STATUS_DIFFERS && byte.is_ascii_digit() {
                        self.found = FOUND_INTERIM;
                        self.go(Place::Line, 0);
                        return Progress::More;
                    }
                    if self.at != REFUSAL_DIFFERS || byte != REFUSAL[1] {
                        return Progress::Other(self.at);
                    }
                    self.go(Place::Refusal, 2);
                    return Progress::More;
                }
                self.at += 1;
                if usize::from(self.at) == expected.len() {
                    self.go(Place::Line, 0);
                }
            }
            1 => {
                if byte == b'\n' {
                    self.go(Place::LineStart, 0);
                }
            }
            2 => match lower {
                b'\r' if self.at == 0 => self.at = 1,
                b'\n' if self.found & FOUND_INTERIM != 0 => *self = Self::START,
                b'\n' => return Progress::End,
                b'u' => self.go(Place::UpgradeName, 1),
                b's' => self.go(Place::ExtensionsName, 1),
                _ => self.go(Place::Line, 0),
            },
            3 => self.name(UPGRADE, Place::UpgradeValue, lower),
            4 => self.name(EXTENSIONS, Place::ExtensionsValue, lower),
            5 => self.value(WEBSOCKET, FOUND_UPGRADE, lower),
            7 => {
                if REFUSAL.get(usize::from(self.at)) != Some(&byte) {
                    return Progress::Other(REFUSAL_DIFFERS);
                }
                self.at += 1;
                if usize::from(self.at) == REFUSAL.len() {
                    return Progress::Refused;
                }
            }
            8 => match lower {
                b'\n' => self.go(Place::LineStart, 0),
                b',' => self.go(Place::ExtensionsValue, 0),
                _ => {}
            },
            _ => self.extension(lower),
        }
        Progress::More
    }

    #[inline(always)]
    fn go(&mut self, place: Place, at: u8) {
        self.place = place as u8;
        self.at = at;
    }

    /// Matches a header's name, colon included.
    #[inline(always)]
    fn name(&mut self, name: &[u8], value: Place, lower: u8) {
        if name.get(usize::from(self.at)) == Some(&lower) {
            self.at += 1;
            if usize::from(self.at) == name.len() {
                self.go(value, 0);
            }
        } else if lower == b'\n' {
            self.go(Place::LineStart, 0);
        } else {
            self.go(Place::Line, 0);
        }
    }

    /// Takes in a byte of an extension's name, or before it (RFC 6455, section 9.1).
    #[inline(always)]
    fn extension(&mut self, lower: u8) {
        if self.at == 0 && matches!(lower, b' ' | b'\t' | b'\r' | b',') {
            return;
        }
        if COMPRESSION.get(usize::from(self.at)) == Some(&lower) {
            self.at += 1;
            if usize::from(self.at) == COMPRESSION.len() {
                self.found |= FOUND_COMPRESSION;
                self.go(Place::ExtensionsRest, 0);
            }
            return;
        }
        if self.at > 0 || lower != b'\n' {
            self.found |= FOUND_EXTENSION;
        }
        match lower {
            b'\n' => self.go(Place::LineStart, 0),
            b',' => self.go(Place::ExtensionsValue, 0),
            _ => self.go(Place::ExtensionsRest, 0),
        }
    }

    /// Looks for a token in a header's value. No token here starts again within itself, so that a
    /// mismatch can only be the start of another try.
    #[inline(always)]
    fn value(&mut self, token: &[u8], found: u8, lower: u8) {
        if lower == b'\n' {
            self.go(Place::LineStart, 0);
        } else if token.get(usize::from(self.at)) == Some(&lower) {
            self.at += 1;
            if usize::from(self.at) == token.len() {
                self.found |= found;
                self.go(Place::Line, 0);
            }
        } else {
            self.at = u8::from(token.first() == Some(&lower));
        }
    }
}
