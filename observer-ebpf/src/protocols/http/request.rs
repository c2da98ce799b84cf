//! What a client says: request lines, and what a head that is over leads to (RFC 9112, sections 3 and 6.3).

use super::head::{FOUND_CHUNKED, FOUND_CODING, FOUND_LENGTH, FOUND_LENGTH_FIELD, FOUND_WEBSOCKET};
use super::layout::{Method, ROOT, UNMATCHED};
use super::names::{self, Labels};
use super::queue::{IS_CANDIDATE, Request};
use super::reader::{First, Place, Reader};
use super::{Http, ahead, calls, detect};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::names::NONE;
use crate::layout::{Side, Zeroes as _};
use crate::protocols::websocket::frames::Frames;
use crate::stream::bytes::{Bytes, hide_field, is_done, low_bytes};
use crate::stream::parser::StreamId;
use crate::stream::start::Start;
use crate::stream::text::{find, shifted_down};
use crate::stream::vocabulary::Vocabulary;

static METHODS: Vocabulary<64, 16> = Vocabulary::new(&Method::NAMES, 0x4164_D839_9F76_7C45);

/// The longest method: the registry's longest has 17 letters.
pub(super) const METHOD_MAX: u32 = 24;

/// How a request's version starts, of eight bytes, the last of which is a digit.
const VERSION: u64 = u64::from_le_bytes(*b"HTTP/1.\0");

/// Bytes of a version and of the line's end behind it.
const LINE_END: u32 = 10;

/// Whether a word of eight bytes is the version of an HTTP/1 message.
#[inline(always)]
pub(super) const fn is_version(word: u64) -> bool {
    word & (u64::MAX >> 8) == VERSION && ((word >> 56) as u8).is_ascii_digit()
}

impl Http {
    /// A request may start with the next byte.
    #[inline(always)]
    pub(super) fn start_request<S: Labels>(&mut self, source: &mut S) -> Result<(), Desync> {
        let Some(First { words: (lo, _), available }) = Reader::first(source)? else { return Ok(()) };
        if !(lo as u8).is_ascii_alphabetic() {
            if self.expected != 0 {
                self.early = Frames::START;
                self.readers[Side::Client as usize].go(Place::Early);
                return Ok(());
            }
            // Another thread may have read the answer to a handshake before this one was seen to send it.
            self.next[Side::Client as usize] = calls::FRAMES;
            return if source.position() == 0 { Ok(()) } else { Err(Desync::Header) };
        }
        self.begin_request(source.now_ns());
        // A method that is known and the start of a path are in reach, mostly.
        let blank = find(lo, b' ');
        let method = METHODS.number(low_bytes(lo, blank), 0);
        let has_path = (lo >> (8 * (blank & 7))) >> 8 & 0xFF == u64::from(b'/');
        if method != Method::Other as u8 && has_path && blank < 7 && blank + 2 <= available {
            self.method = u32::from(method);
            self.readers[Side::Client as usize].place = Place::Segment as u8;
            source.go_to(source.position() + blank + 2);
        }
        Ok(())
    }

    /// A request starts.
    #[inline(always)]
    pub(super) fn begin_request(&mut self, now_ns: u64) {
        self.readers[Side::Client as usize].begin(Place::Method);
        self.target.clear();
        self.authority = NONE;
        self.start_ns = now_ns;
        self.node = ROOT;
    }

    /// A request has started with the first `kept` bytes of a connection, of which there are fewer than it takes to tell
    /// what it speaks: some of a method, or one with what is behind it.
    #[inline(always)]
    pub(super) fn keep_start(&mut self, first: u64, kept: u32) {
        let client = &mut self.readers[Side::Client as usize];
        let blank = find(first, b' ');
        if blank < kept {
            self.method = u32::from(METHODS.number(low_bytes(first, blank), 0));
            client.place = Place::Target as u8;
            client.keep(shifted_down(first, blank + 1), kept - blank - 1);
        } else {
            client.keep(first, kept);
        }
    }

    /// A word of a request line is over.
    #[inline(always)]
    pub(super) fn end_request_word<S: Labels>(
        &mut self,
        delimiter: u8,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let client = &mut self.readers[Side::Client as usize];
        let place = hide_field(&client.place);
        let length = hide_field(&client.length);
        // There is no line that ends before a version does, since HTTP/0.9.
        if (delimiter == b'\n') != (place == Place::Version as u8) {
            return Err(Desync::Header);
        }
        self.delimiter[Side::Client as usize] = u32::from(delimiter);
        if place == Place::Segment as u8 {
            self.next[Side::Client as usize] = calls::SEGMENT;
            return Ok(());
        }
        if place == Place::Method as u8 {
            if length == 0 || length > METHOD_MAX {
                return Err(Desync::Header);
            }
            self.method = u32::from(METHODS.number(client.text.words[0], client.text.words[1]));
            let is_tunnel = self.method == Method::Connect as u32;
            client.go(if is_tunnel { Place::Authority } else { Place::Target });
            return Ok(());
        } else if place == Place::Authority as u8 {
            self.take_authority(stream, source, connection.role);
            if self.method == Method::Connect as u32 {
                // Whatever is behind its authority, it is no path.
                self.target.set_asterisk();
                self.go_behind(if delimiter == b' ' { b' ' } else { b'?' }, source);
                return Ok(());
            } else if delimiter != b'/' {
                self.next[Side::Client as usize] = calls::EMPTY_PATH;
                return Ok(());
            }
        } else if place == Place::Version as u8 {
            if length != 8 || !is_version(client.text.words[0]) {
                return Err(Desync::Header);
            }
            client.go(Place::Name);
            return Ok(());
        } else if place != Place::Query as u8 {
            return self.end_target_word(delimiter);
        }
        self.go_behind(delimiter, source);
        Ok(())
    }

    /// What is over is the start of a target, or of its scheme (RFC 9112, section 3.2).
    #[inline(always)]
    fn end_target_word(&mut self, delimiter: u8) -> Result<(), Desync> {
        let client = &mut self.readers[Side::Client as usize];
        let is_empty = hide_field(&client.length) == 0;
        if client.is(Place::Target) {
            match delimiter {
                b'/' if is_empty => {
                    client.go(Place::Segment);
                    return Ok(());
                }
                b':' if !is_empty => {
                    client.go(Place::Slash);
                    return Ok(());
                }
                b' ' if client.word_is((u64::from(b'*'), 0), 1) => {
                    client.go(Place::Version);
                    self.target.set_asterisk();
                    return Ok(());
                }
                b' ' if is_empty => return Err(Desync::Header),
                _ => {}
            }
        } else if delimiter == b'/' && is_empty {
            let is_first = client.is(Place::Slash);
            client.go(if is_first { Place::SecondSlash } else { Place::Authority });
            return Ok(());
        }
        // No server takes such a target: its route is of no interest.
        self.target.is_odd = 1;
        client.go(if delimiter == b' ' { Place::Version } else { Place::Query });
        Ok(())
    }

    /// Goes on behind a part of a target.
    #[inline(always)]
    fn go_behind<S: Bytes>(&mut self, delimiter: u8, source: &mut S) {
        let client = &mut self.readers[Side::Client as usize];
        client.go(match delimiter {
            b'/' => Place::Segment,
            b'?' => Place::Query,
            _ => Place::Version,
        });
        // The rest of the line is in reach, mostly.
        if client.is(Place::Version) && !is_done(source) {
            let at = source.position();
            let available = source.window(at).unwrap_or(0);
            let (lo, hi) = source.words(at);
            if available >= LINE_END && is_version(lo) && hi as u16 == u16::from_le_bytes(*b"\r\n") {
                client.place = Place::Name as u8;
                source.go_to(at + LINE_END);
            }
        }
    }

    /// A segment of a path is over.
    #[inline(always)]
    pub(super) fn end_segment<S: Labels>(&mut self, source: &mut S) {
        let client = &self.readers[Side::Client as usize];
        let length = hide_field(&client.length);
        self.target.add(&client.text, length);
        let node = hide_field(&self.node);
        if node != 0 {
            self.node = source.descend(node, &client.text, length);
        }
        self.go_behind(hide_field(&self.delimiter[Side::Client as usize]) as u8, source);
    }

    /// The target has no path.
    #[inline(always)]
    pub(super) fn add_empty_path<S: Labels>(&mut self, source: &mut S) {
        let client = &mut self.readers[Side::Client as usize];
        client.forget_word();
        client.length = 0;
        self.end_segment(source);
    }

    /// The head of a request is over: it is in flight from here on.
    #[inline(always)]
    pub(super) fn end_request_head<S: Labels>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let client = &mut self.readers[Side::Client as usize];
        let found = hide_field(&client.found);
        let has_length = found & FOUND_LENGTH != 0;
        if found & FOUND_LENGTH_FIELD != 0 && !has_length {
            return Err(Desync::Length);
        }
        let is_coded = found & FOUND_CODING != 0;
        if is_coded && found & FOUND_CHUNKED == 0 {
            // Nobody can tell where it ends (RFC 9112, section 6.3).
            return Err(Desync::Header);
        }
        let length = if has_length && !is_coded { hide_field(&client.content_length) } else { 0 };
        client.left = length;
        self.expected = u8::from(found & FOUND_WEBSOCKET != 0 && !is_coded && length == 0);
        client.go(match (is_coded, length) {
            (true, _) => Place::ChunkSize,
            (false, 0) => Place::Start,
            (false, _) => Place::Body,
        });
        client.is_chunked = u8::from(is_coded);
        if self.start_ns == 0 {
            // Its first bytes were too few to tell that it was one.
            self.start_ns = source.now_ns();
        }
        self.push_request(length, source, connection);
        Ok(())
    }

    /// Puts the request at the end of those in flight.
    #[inline(always)]
    fn push_request<S: Labels>(&mut self, bytes: u64, source: &mut S, connection: &mut Connection) {
        let has_answer = hide_field(&self.ahead_state) != ahead::NONE;
        if self.has_lost_requests != 0 || has_answer {
            self.has_lost_requests = 0;
            if connection.details.http().in_flight() != 0 {
                // Which of them are answered is not known.
                self.lose_answers(connection);
            }
        }
        let node = hide_field(&self.node);
        if node != 0 {
            source.given(node, &mut self.target);
        }
        let route = names::route(&self.target, source, connection);
        let is_new = route == UNMATCHED as u16;
        let is_free = hide_field(&self.candidates) == hide_field(&self.candidates_over);
        if is_new && is_free {
            self.candidate = self.target;
        }
        let waits = is_new && (is_free || self.candidate.is_same(&self.target));
        let flags = if waits { IS_CANDIDATE } else { 0 };
        let mut request = Request {
            start_ns: self.start_ns,
            bytes,
            route,
            authority: self.authority as u16,
            method: self.method as u8,
            flags,
            reserved: 0,
        };
        let is_answered = hide_field(&self.ahead_state) != ahead::NONE;
        if is_answered && self.claim_answer(&mut request, source, connection) {
            let counters = connection.details.http_mut();
            counters.asked = counters.asked.wrapping_add(1);
            counters.answered = counters.answered.wrapping_add(1);
            return;
        }
        let is_only = connection.details.http().in_flight() == 0;
        let is_alike = self.requests.is_alike(&request);
        let is_kept = self.requests.push(request);
        if is_kept && request.flags & IS_CANDIDATE != 0 {
            self.candidates = hide_field(&self.candidates).wrapping_add(1);
        }
        let counters = connection.details.http_mut();
        counters.differ = u8::from(!is_only && (counters.differ != 0 || !is_alike));
        if !is_kept {
            counters.untimed = counters.untimed.wrapping_add(1);
        }
        counters.asked = counters.asked.wrapping_add(1);
        if !is_answered {
            self.show_front(connection);
        }
    }

    /// Shows the oldest request in the slot, if it is the only one.
    #[inline(always)]
    fn show_front(&self, connection: &mut Connection) {
        if connection.details.http().in_flight() == 1 {
            self.show_next(connection);
        }
    }

    /// Shows the oldest request in the slot.
    #[inline(always)]
    pub(super) fn show_next(&self, connection: &mut Connection) {
        let front = self.requests.front().unwrap_or(Request::NONE);
        let kind = front.unknown();
        let current = &mut connection.details.http_mut().current;
        // Field by field: as one value it would go by way of the stack.
        current.start_ns = front.start_ns;
        current.first_ns = 0;
        current.last_ns = 0;
        current.request_bytes = front.bytes;
        current.response_bytes = 0;
        current.route = front.route;
        current.authority = front.authority;
        current.status = 0;
        current.method = front.method;
        current.kind = kind;
    }

    /// Looks for the start of a request where the client's stream is out of sync, at the start of a call.
    #[inline(always)]
    pub(super) fn resync_requests<S: Bytes>(&mut self, source: &mut S) -> bool {
        let at = source.position();
        let Ok(available) = source.window(at) else { return false };
        let start = Start::new(source.words(at).0, available);
        let is_found = start.has(8) && detect::is_request(start);
        if is_found {
            self.readers[Side::Client as usize].rest();
        }
        is_found
    }
}
