//! The fields of a head that tell how long a message is, what it is, and what becomes of the connection (RFC 9110,
//! sections 7 and 8; RFC 9112, section 6; RFC 6455, section 4).

use super::Http;
use super::names::{Labels, authority};
use super::reader::{Place, Reader, lower};
use super::target::without_port_80;
use crate::layout::losses::Desync;
use crate::layout::{Role, Side};
use crate::stream::bytes::{Bytes, hide_field, low_of_two};
use crate::stream::parser::StreamId;
use crate::stream::text::{find_in_two, number, words};

/// [`Reader::found`]: there is an `Upgrade: websocket`.
pub(super) const FOUND_WEBSOCKET: u32 = 1;
/// An extension that compresses messages is offered or accepted, as `permessage-deflate` (RFC 7692).
pub(super) const FOUND_COMPRESSION: u32 = 1 << 1;
/// Another extension is.
pub(super) const FOUND_EXTENSION: u32 = 1 << 2;
/// There is an `Upgrade: h2c` (RFC 7540, section 3.2).
pub(super) const FOUND_H2C: u32 = 1 << 3;
/// The body is an event stream (HTML, section 9.2).
pub(super) const FOUND_EVENT_STREAM: u32 = 1 << 4;
/// There is a `Transfer-Encoding`.
pub(super) const FOUND_CODING: u32 = 1 << 5;
/// Its last coding is `chunked`.
pub(super) const FOUND_CHUNKED: u32 = 1 << 6;
/// There is a `Content-Length`.
pub(super) const FOUND_LENGTH_FIELD: u32 = 1 << 7;
/// It has told a length.
pub(super) const FOUND_LENGTH: u32 = 1 << 8;
/// It is known whom a request is addressed to.
pub(super) const FOUND_AUTHORITY: u32 = 1 << 9;

/// [`Reader::field`].
const CONTENT_LENGTH: u8 = 1;
const TRANSFER_ENCODING: u8 = 2;
const UPGRADE: u8 = 3;
const CONTENT_TYPE: u8 = 4;
const HOST: u8 = 5;
const EXTENSIONS: u8 = 6;

/// Their names, in that order, each with its length.
const NAMES: [([u64; 3], u32); 6] = [
    name("content-length"),
    name("transfer-encoding"),
    name("upgrade"),
    name("content-type"),
    name("host"),
    name("sec-websocket-extensions"),
];

/// A name of at most 24 bytes.
const fn name(text: &str) -> ([u64; 3], u32) {
    let bytes = text.as_bytes();
    let mut all = [0; 3];
    let mut at = 0;
    while at < bytes.len() {
        all[at / 8] |= (bytes[at] as u64) << (8 * (at % 8));
        at += 1;
    }
    (all, bytes.len() as u32)
}

/// How the names of extensions begin that compress messages: in the first word, and in the second one.
const COMPRESSION: (u64, u64) = words("permessage-");
/// The bytes of the second word that are compared.
const COMPRESSION_MASK: u64 = 0x00FF_FFFF;

/// The longest length that is followed, in bytes.
const LENGTH_MAX: u64 = 1 << 60;

/// Digits of the lengths of which [`Reader::take_length_line`] takes the whole line, at most: they are below
/// [`LENGTH_MAX`].
const LENGTH_DIGITS: u32 = 14;

impl Reader {
    /// Takes a line that tells a length, if it is as it mostly is: `Content-Length: `, digits, the line's end, all of it
    /// in reach.
    #[inline(always)]
    pub(super) fn take_length_line<S: Bytes>(
        &mut self,
        lo: u64,
        hi: u64,
        available: u32,
        source: &mut S,
    ) -> bool {
        let is_it = (lower(lo), lower(hi)) == words("content-length: ");
        if !is_it || self.found & FOUND_LENGTH != 0 {
            return false;
        }
        let at = source.position() + 16;
        let (lo, hi) = source.words(at);
        self.end = find_in_two(lo, hi, b'\r');
        let digits = hide_field(&self.end);
        let (first, rest) = low_of_two(lo, hi, digits);
        let behind = source.words(at + digits + 1).0 as u8;
        let Some(length) = number(first, rest, digits) else { return false };
        if behind != b'\n' || digits > LENGTH_DIGITS || 16 + digits + 2 > available {
            return false;
        }
        source.go_to(at + digits + 2);
        self.content_length = length;
        self.found |= FOUND_LENGTH_FIELD | FOUND_LENGTH;
        self.field = CONTENT_LENGTH;
        self.element = 0;
        true
    }

    /// Where the value of the field goes on whose name is over.
    #[inline(always)]
    pub(super) fn end_name(&mut self) {
        let text = &self.text.words;
        let mut field = 0;
        let mut at = 0;
        while at < NAMES.len() {
            let ([one, two, three], length) = NAMES[at];
            let difference = (text[0] ^ one) | (text[1] ^ two) | (text[2] ^ three);
            let is_it = difference | u64::from(self.length ^ length) == 0;
            field += (at as u8 + 1) * u8::from(is_it);
            at += 1;
        }
        self.field = field;
        self.element = 0;
        if field == CONTENT_LENGTH {
            self.found |= FOUND_LENGTH_FIELD;
        }
        if field == TRANSFER_ENCODING {
            self.found |= FOUND_CODING;
        }
        self.go(if field == 0 { Place::Skip } else { Place::Value });
    }

    /// Goes on behind a word of a value, or behind what separates words.
    #[inline(always)]
    pub(super) fn end_value_word(&mut self, delimiter: u8) {
        if self.length > 0 && self.element == 0 {
            self.element = 1;
        }
        match delimiter {
            b',' => self.element = 0,
            b';' => self.element = 2,
            b'\n' => {
                // A line that follows may go on with the list.
                self.place = Place::Name as u8;
                self.element = 0;
            }
            _ => {}
        }
        self.forget_word();
    }

    /// Takes in a word of a length.
    #[inline(always)]
    fn take_length(&mut self) -> Result<(), Desync> {
        let length = number(self.text.words[0], self.text.words[1], self.length);
        let Some(length) = length.filter(|_| self.element == 0) else { return Err(Desync::Length) };
        // Several have to be the same (RFC 9112, section 6.3).
        let is_another = self.found & FOUND_LENGTH != 0 && hide_field(&self.content_length) != length;
        if is_another || length > LENGTH_MAX {
            return Err(Desync::Length);
        }
        self.content_length = length;
        self.found |= FOUND_LENGTH;
        Ok(())
    }

    /// Takes in a word of a list of transfer codings, of which the last one tells.
    #[inline(always)]
    fn take_coding(&mut self) -> Result<(), Desync> {
        match self.element {
            0 => {}
            2 => return Ok(()),
            _ => return Err(Desync::Header),
        }
        self.found &= !FOUND_CHUNKED;
        if self.word_is(words("chunked"), 7) {
            self.found |= FOUND_CHUNKED;
        }
        Ok(())
    }

    /// Takes in the first word of an element of a list, but for those above.
    #[inline(always)]
    fn take_element(&mut self, field: u8) {
        let [lo, hi, ..] = self.text.words;
        let third = self.text.words[2];
        let found = match field {
            UPGRADE if self.word_is(words("websocket"), 9) => FOUND_WEBSOCKET,
            UPGRADE if self.word_is(words("h2c"), 3) => FOUND_H2C,
            CONTENT_TYPE if (lo, hi) == words("text/event-strea") && third == u64::from(b'm') => {
                FOUND_EVENT_STREAM
            }
            EXTENSIONS if (lo, hi & COMPRESSION_MASK) == COMPRESSION => FOUND_COMPRESSION,
            EXTENSIONS => FOUND_EXTENSION,
            _ => 0,
        };
        self.found |= found;
    }
}

impl Http {
    /// A word of a field's value is over.
    #[inline(always)]
    pub(super) fn end_value_word<S: Labels>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        role: u8,
    ) -> Result<(), Desync> {
        self.take_value(stream, source, role)?;
        let delimiter = hide_field(&self.delimiter[stream.side as usize]) as u8;
        self.readers[stream.side as usize].end_value_word(delimiter);
        Ok(())
    }

    /// Takes in a word of a field's value.
    #[inline(always)]
    fn take_value<S: Labels>(&mut self, stream: StreamId, source: &mut S, role: u8) -> Result<(), Desync> {
        let own = &mut self.readers[stream.side as usize];
        match hide_field(&own.field) {
            CONTENT_LENGTH => own.take_length(),
            TRANSFER_ENCODING => own.take_coding(),
            HOST => {
                self.take_authority(stream, source, role);
                Ok(())
            }
            field => {
                if own.element == 0 {
                    own.take_element(field);
                }
                Ok(())
            }
        }
    }

    /// Takes note of whom a request is addressed to, which its target tells before its `Host` does (RFC 9112, section
    /// 3.2.2), and which only its client's rows show.
    #[inline(always)]
    pub(super) fn take_authority<S: Labels>(&mut self, stream: StreamId, source: &mut S, role: u8) {
        let client = &mut self.readers[Side::Client as usize];
        let is_told = client.found & FOUND_AUTHORITY != 0 || role != Role::Client as u8;
        if is_told || !stream.is_request() {
            return;
        }
        client.found |= FOUND_AUTHORITY;
        let length = hide_field(&client.length);
        let length = without_port_80(&mut client.text, length);
        self.authority = u32::from(authority(&client.text, length, source));
    }
}
