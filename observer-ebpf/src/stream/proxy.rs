//! The header of the PROXY protocol, by which a proxy tells a server who its client is, in front of anything else that is
//! said ("The PROXY protocol, versions 1 & 2", `doc/proxy-protocol.txt` in haproxy's sources). It is stepped over, and the
//! client's address is taken from it.
//!
//! ```text
//!   version 1   PROXY TCP4 192.0.2.1 198.51.100.2 51000 443\r\n
//!   version 2   signature (12), version and command (1), family (1), length (2), addresses, TLVs
//! ```
//!
//! Up to the end of its addresses a header is taken a byte at a time: it comes once in a connection's life, and is split
//! as the sender likes. What follows, the TLVs, is not looked at.

mod address;

use self::address::Address;
use super::bytes::{Bytes, pass};
use super::start::{ENOUGH, Match, Pattern, Start};

/// What both versions' headers start with, as far as [`Start`] goes: of version 1 the families, of version 2 most of the
/// signature.
const STARTS: [Pattern; 3] =
    [Pattern::text(b"PROXY TC"), Pattern::text(b"PROXY UN"), Pattern::text(b"\r\n\r\n\0\r\nQ")];

/// The rest of version 2's signature.
const SIGNATURE_END: [u8; 4] = *b"UIT\n";

/// The longest line of version 1, its end included.
const LINE_MAX: u32 = 107;
/// Bytes of version 2's header in front of the addresses.
const FIXED: u32 = 16;
/// Bytes of version 2's addresses and ports, by family: none, IPv4, IPv6, UNIX.
const ADDRESSES: [u32; 4] = [0, 12, 36, 216];

/// The most bytes that are looked at one by one: a line, or the addresses of version 2.
const LOOKS: u32 = 128;

/// Whether a client's first bytes are those of a header.
#[inline(always)]
pub(crate) fn recognise(start: Start) -> Match {
    start.one_of(&STARTS)
}

/// What a header's next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Place {
    /// Version 1: the family, of which the first letters have been seen.
    Family = 0,
    /// Version 1: the address that the connection came from.
    Source = 1,
    /// Version 1: the address that it went to.
    Destination = 2,
    /// Version 1: the port of the one.
    SourcePort = 3,
    /// Version 1: the port of the other.
    DestinationPort = 4,
    /// Version 1: what is not looked at, as a family that is not known has it.
    Line = 5,
    /// Version 1: the line feed.
    LineEnd = 6,
    /// Version 2, all of it.
    Binary = 7,
}

/// How far a header has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Progress {
    /// It goes on.
    More,
    /// It is over.
    End,
    /// It is none.
    Wrong,
    /// Its bytes cannot be read.
    Unread,
}

/// A header that has begun.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Header {
    /// The client's address, IPv6 or mapped into it, as a number of two words, the greater one first; zeroes where none is
    /// declared.
    client: [u64; 2],
    /// The address in hand.
    address: Address,
    /// How many bytes there have been.
    at: u32,
    /// Version 2: bytes behind the fixed part.
    length: u32,
    /// Version 2: bytes behind the addresses that are still to come.
    rest: u32,
    /// The number in hand, of a port.
    port: u32,
    /// Digits of it.
    digits: u8,
    /// A [`Place`].
    place: u8,
    /// 1 if addresses are IPv6.
    is_v6: u8,
    /// Version 2: 1 if the connection was made for someone else, as opposed to `LOCAL`.
    is_proxied: u8,
    /// Version 2: the family, by its number.
    family: u8,
    reserved: u8,
    client_port: u16,
}

impl Header {
    /// Begins with the first [`ENOUGH`] bytes, which [`recognise`] has recognised.
    #[inline(always)]
    pub(crate) fn begin(&mut self, first: u64) {
        let [byte, .., letter, _] = first.to_le_bytes();
        let place = if byte == b'\r' {
            Place::Binary
        } else if letter == b'T' {
            Place::Family
        } else {
            Place::Line
        };
        self.client = [0; 2];
        self.address.clear();
        self.at = ENOUGH;
        self.length = 0;
        self.rest = 0;
        self.port = 0;
        self.digits = 0;
        self.place = place as u8;
        self.is_v6 = 0;
        self.is_proxied = 0;
        self.family = 0;
        self.reserved = 0;
        self.client_port = 0;
    }

    /// The client's address, IPv6 or IPv4 mapped into it, or zeroes; and its port.
    #[inline(always)]
    pub(crate) fn client(&self) -> ([u8; 16], u16) {
        let words = self.client.map(u64::to_be);
        // SAFETY: integers of one size.
        (unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) }, self.client_port)
    }

    /// Takes in the bytes of a call, from the source's position on. Leaves it behind the header, or at the call's end.
    #[inline(always)]
    pub(crate) fn run<S: Bytes>(&mut self, source: &mut S) -> Progress {
        let end = source.end();
        let mut progress = Progress::More;
        if self.rest == 0 {
            S::repeat(LOOKS, || {
                let at = source.position();
                if at >= end {
                    return false;
                }
                if source.window(at).is_err() {
                    progress = Progress::Unread;
                    return false;
                }
                let byte = source.words(at).0 as u8;
                source.go_to(at + 1);
                progress = self.take(byte);
                matches!(progress, Progress::More) && self.rest == 0
            });
        }
        if self.rest > 0 {
            pass(&mut self.rest, source);
            return if self.rest == 0 { Progress::End } else { Progress::More };
        }
        progress
    }

    /// Takes in one byte.
    #[inline(always)]
    fn take(&mut self, byte: u8) -> Progress {
        let at = self.at;
        self.at = at.wrapping_add(1);
        if self.place == Place::Binary as u8 {
            return self.take_binary(at, byte);
        }
        if at >= LINE_MAX {
            return Progress::Wrong;
        }
        self.take_text(at, byte)
    }

    /// Takes in a byte of version 1.
    #[inline(always)]
    fn take_text(&mut self, at: u32, byte: u8) -> Progress {
        let is_right = match self.place {
            // `TC` is there.
            0 => match at - ENOUGH {
                0 => byte == b'P',
                1 => {
                    self.is_v6 = u8::from(byte == b'6');
                    byte == b'4' || byte == b'6'
                }
                _ => self.go_if(byte == b' ', Place::Source),
            },
            1 | 2 if byte == b' ' => return self.end_address(),
            1 | 2 => self.address.take(byte, self.is_v6 != 0),
            3 if byte == b' ' => {
                self.client_port = self.port as u16;
                let is_port = self.is_port();
                self.port = 0;
                self.digits = 0;
                self.go_if(is_port, Place::DestinationPort)
            }
            4 if byte == b'\r' => {
                let is_port = self.is_port();
                self.go_if(is_port, Place::LineEnd)
            }
            3 | 4 => self.take_digit(byte),
            5 => {
                if byte == b'\r' {
                    self.place = Place::LineEnd as u8;
                }
                true
            }
            _ => return if byte == b'\n' { Progress::End } else { Progress::Wrong },
        };
        if is_right { Progress::More } else { Progress::Wrong }
    }

    /// Goes on elsewhere, if all was right so far.
    #[inline(always)]
    fn go_if(&mut self, is_right: bool, place: Place) -> bool {
        self.place = place as u8;
        is_right
    }

    /// One of version 1's addresses is over.
    #[inline(always)]
    fn end_address(&mut self) -> Progress {
        let Some(address) = self.address.end(self.is_v6 != 0) else { return Progress::Wrong };
        self.address.clear();
        if self.place == Place::Source as u8 {
            self.client = address;
            self.place = Place::Destination as u8;
        } else {
            self.place = Place::SourcePort as u8;
        }
        Progress::More
    }

    /// A digit of one of version 1's ports, which have no zeroes in front.
    #[inline(always)]
    fn take_digit(&mut self, byte: u8) -> bool {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        let leads = self.digits != 0 && self.port == 0;
        self.port = self.port.wrapping_mul(10).wrapping_add(digit);
        self.digits = self.digits.wrapping_add(1);
        digit < 10 && !leads && self.digits <= 5
    }

    /// Whether the digits so far are a port.
    #[inline(always)]
    const fn is_port(&self) -> bool {
        self.digits != 0 && self.port <= u16::MAX as u32
    }

    /// Takes in a byte of version 2, its place in the header given.
    #[inline(always)]
    fn take_binary(&mut self, at: u32, byte: u8) -> Progress {
        if at >= FIXED {
            self.take_address(at - FIXED, byte);
            return self.go_on(at);
        }
        let is_right = match at {
            // 2.0, `LOCAL` and `PROXY`.
            12 => {
                self.is_proxied = byte & 1;
                byte & 0xFE == 0x20
            }
            // Families in the upper half, and how they are carried in the lower one: not said, streams, datagrams.
            13 => {
                self.family = byte >> 4;
                self.is_v6 = u8::from(self.family == 2);
                self.is_proxied == 0 || (byte >> 4 <= 3 && byte & 0xF <= 2)
            }
            14 => {
                self.length = u32::from(byte) << 8;
                true
            }
            15 => {
                self.length |= u32::from(byte);
                // What a `LOCAL` one says of addresses is to be ignored.
                if self.is_proxied == 0 {
                    self.family = 0;
                }
                let fits = self.length >= ADDRESSES[usize::from(self.family & 3)];
                return if fits { self.go_on(at) } else { Progress::Wrong };
            }
            _ => SIGNATURE_END[at as usize & 3] == byte,
        };
        if is_right { Progress::More } else { Progress::Wrong }
    }

    /// A byte of version 2's addresses: the source's, the destination's, the source's port, the destination's. Of UNIX
    /// sockets' paths nothing is told.
    #[inline(always)]
    fn take_address(&mut self, place: u32, byte: u8) {
        let size = if self.is_v6 != 0 { 16 } else { 4 };
        if self.family == 0 || self.family > 2 {
            return;
        }
        if place < size {
            self.address.push(byte);
            if place + 1 == size {
                self.client = self.address.whole(self.is_v6 != 0);
            }
        }
        if place >= 2 * size && place < 2 * size + 2 {
            self.client_port = self.client_port << 8 | u16::from(byte);
        }
    }

    /// Goes on behind a byte of version 2, its place given.
    #[inline(always)]
    fn go_on(&mut self, at: u32) -> Progress {
        let left = (FIXED + self.length).wrapping_sub(at + 1);
        if left == 0 {
            return Progress::End;
        }
        let looked_at =
            if self.family == 1 || self.family == 2 { ADDRESSES[self.family as usize & 3] } else { 0 };
        if at + 1 >= FIXED + looked_at {
            self.rest = left;
        }
        Progress::More
    }
}
