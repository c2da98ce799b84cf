//! What a server says: status lines, what a head that is over leads to (RFC 9112, sections 4 and 6.3), and requests that
//! are over.

use super::head::{
    FOUND_CHUNKED, FOUND_CODING, FOUND_COMPRESSION, FOUND_EVENT_STREAM, FOUND_EXTENSION, FOUND_H2C,
    FOUND_LENGTH, FOUND_LENGTH_FIELD, FOUND_WEBSOCKET,
};
use super::layout::{CHUNKED, Current, Done, ENDED, EVENT_STREAM, Method, RequestKey, SIZED, UNTIL_CLOSE};
use super::names::{self, Labels};
use super::queue::{IS_CANDIDATE, IS_MIXED, Request};
use super::reader::{First, Place, Reader};
use super::request::is_version;
use super::{Calls, Http, ahead};
use crate::layout::Side;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::protocols::Protocol;
use crate::protocols::websocket::rules::Extensions;
use crate::stream::bytes::{Bytes, hide_field};
use crate::stream::parser::{Outcome, StreamId};
use crate::stream::text::number;

/// What a handshake's answer has agreed to.
#[inline(always)]
const fn agreed(found: u32) -> Extensions {
    if found & FOUND_EXTENSION != 0 {
        Extensions::Others
    } else if found & FOUND_COMPRESSION != 0 {
        Extensions::Compression
    } else {
        Extensions::None
    }
}

/// Bytes of a status line up to the status, and with it.
const STATUS_BYTES: u32 = 12;

/// The status of the response that starts with so many bytes, if it does.
#[inline(always)]
fn status_of(lo: u64, hi: u64) -> Option<u32> {
    if is_version(lo) && hi as u8 == b' ' { status(hi >> 8 & 0xFF_FFFF, 0, 3) } else { None }
}

/// The status that a word of `length` bytes is, if it is one.
#[inline(always)]
fn status(lo: u64, hi: u64, length: u32) -> Option<u32> {
    let status = number(lo, hi, length).filter(|status| length == 3 && *status >= 100);
    status.map(|status| status as u32)
}

/// How long a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Body {
    /// It has no body.
    None = 0,
    /// As long as its head says.
    Sized = 1,
    /// In chunks.
    Chunked = 2,
    /// Up to the connection's end.
    Rest = 3,
}

/// How each [`Body`] is told of, and where it is gone on with.
static FRAMINGS: [u8; 4] = [SIZED, SIZED, CHUNKED, UNTIL_CLOSE];
static PLACES: [u8; 4] = [Place::Start as u8, Place::Body as u8, Place::ChunkSize as u8, Place::Rest as u8];

impl Http {
    /// A response may start with the next byte.
    #[inline(always)]
    pub(super) fn start_response<S: Calls>(&mut self, source: &mut S) -> Result<(), Desync> {
        let Some(First { words: (lo, hi), available }) = Reader::first(source)? else { return Ok(()) };
        if lo as u8 != b'H' {
            return Err(Desync::Header);
        }
        let server = &mut self.readers[Side::Server as usize];
        server.begin(Place::StatusVersion);
        self.first_ns = source.now_ns();
        // All that matters of a status line is in reach, mostly.
        if available > STATUS_BYTES
            && (hi >> 32) as u8 == b' '
            && let Some(status) = status_of(lo, hi)
        {
            self.status = status;
            server.place = Place::Skip as u8;
            source.go_to(source.position() + STATUS_BYTES + 1);
        }
        Ok(())
    }

    /// A word of a status line is over.
    #[inline(always)]
    pub(super) fn end_status_word(&mut self, delimiter: u8) -> Result<(), Desync> {
        let server = &mut self.readers[Side::Server as usize];
        let length = hide_field(&server.length);
        let [lo, hi, ..] = server.text.words;
        if server.is(Place::StatusVersion) {
            if length != 8 || !is_version(lo) || delimiter == b'\n' {
                return Err(Desync::Header);
            }
            server.go(Place::Status);
            return Ok(());
        }
        let Some(status) = status(lo, hi, length) else { return Err(Desync::Header) };
        self.status = status;
        server.go(if delimiter == b'\n' { Place::Name } else { Place::Skip });
        Ok(())
    }

    /// The head of a response is over.
    #[inline(always)]
    pub(super) fn end_response_head<S: Labels>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<Outcome, Desync> {
        let status = hide_field(&self.status);
        let found = hide_field(&self.readers[Side::Server as usize].found);
        if status < 200 && status != 101 {
            // Another one answers (RFC 9110, section 15.2).
            self.readers[Side::Server as usize].rest();
            return Ok(Outcome::SAME);
        }
        let is_unknown = found & FOUND_LENGTH_FIELD != 0 && found & FOUND_LENGTH == 0;
        if is_unknown && found & FOUND_CODING == 0 {
            return Err(Desync::Length);
        }
        let front = self.requests.front();
        let request = front.unwrap_or(Request::NONE);
        let is_tunnel = request.method == Method::Connect as u8 && status / 100 == 2;
        let has_none = request.method == Method::Head as u8 || status == 204 || status == 304;
        if request.flags & IS_MIXED != 0 && status != 204 && status != 304 {
            // It may be the answer to a HEAD, and may be not.
            return Err(Desync::Bound);
        }
        let body = if status == 101 || is_tunnel || has_none {
            Body::None
        } else if found & FOUND_CODING != 0 {
            if found & FOUND_CHUNKED != 0 { Body::Chunked } else { Body::Rest }
        } else if found & FOUND_LENGTH != 0 {
            Body::Sized
        } else {
            Body::Rest
        };
        self.body = body as u8;
        self.show_response(request, source, connection);
        if front.is_none() {
            self.begin_orphan(connection);
        }
        let counters = connection.details.http_mut();
        if status == 429 {
            counters.too_many_requests = counters.too_many_requests.wrapping_add(1);
        }
        let server = &mut self.readers[Side::Server as usize];
        let length = hide_field(&server.content_length);
        let body = hide_field(&self.body);
        server.left = if body == Body::Sized as u8 { length } else { 0 };
        server.is_chunked = u8::from(body == Body::Chunked as u8);
        server.has_events = u8::from(found & FOUND_EVENT_STREAM != 0 && body != Body::None as u8);
        server.forget_word();
        server.place = PLACES[usize::from(hide_field(&self.body) & 3)];
        let body = hide_field(&self.body);
        if body == Body::None as u8 || (body == Body::Sized as u8 && length == 0) {
            self.end_response(source, connection);
        }
        if status != 101 && !is_tunnel {
            self.respond(stream, connection);
            return Ok(Outcome::SAME);
        }
        Ok(self.hand_over(found, is_tunnel, connection))
    }

    /// The connection is something else from here on.
    #[inline(always)]
    fn hand_over(&mut self, found: u32, is_tunnel: bool, connection: &mut Connection) -> Outcome {
        if found & FOUND_WEBSOCKET != 0 && !is_tunnel {
            self.extensions = agreed(found) as u8;
            return Outcome::became(Protocol::WebSocket);
        }
        connection.pending = 0;
        self.readers[Side::Client as usize].go(Place::Opaque);
        self.readers[Side::Server as usize].go(Place::Opaque);
        // What has been counted of HTTP goes with it, if there is any.
        if found & FOUND_H2C != 0 && !is_tunnel && connection.details.http().too_many_requests == 0 {
            return Outcome::became(Protocol::Http2);
        }
        Outcome::SAME
    }

    /// Shows the response in the slot.
    #[inline(always)]
    fn show_response<S: Labels>(&mut self, request: Request, source: &mut S, connection: &mut Connection) {
        let server = &self.readers[Side::Server as usize];
        let found = hide_field(&server.found);
        let status = hide_field(&self.status);
        let mut route = request.route;
        if request.flags & IS_CANDIDATE != 0 {
            if names::is_found(status) {
                route = names::new_route(&self.candidate, source, connection);
            }
            self.requests.settle_route(route);
            self.candidates_over = hide_field(&self.candidates_over).wrapping_add(1);
        }
        let body = hide_field(&self.body);
        let framing = FRAMINGS[usize::from(hide_field(&self.body) & 3)];
        let is_stream = found & FOUND_EVENT_STREAM != 0 && body != Body::None as u8;
        let kind = framing | if is_stream { EVENT_STREAM } else { 0 } | request.unknown();
        let response_bytes = if body == Body::Sized as u8 { hide_field(&server.content_length) } else { 0 };
        let current = &mut connection.details.http_mut().current;
        // Field by field: as one value it would go by way of the stack.
        current.start_ns = request.start_ns;
        current.first_ns = self.first_ns;
        current.last_ns = self.first_ns;
        current.request_bytes = request.bytes;
        current.response_bytes = response_bytes;
        current.route = route;
        current.authority = request.authority;
        current.status = status as u16;
        current.method = request.method;
        current.kind = kind;
    }

    /// The last byte of a response is there: counts the request.
    #[inline(always)]
    pub(super) fn end_response<S: Labels>(&mut self, source: &mut S, connection: &mut Connection) {
        self.readers[Side::Server as usize].rest();
        self.has_ended = 0;
        if hide_field(&self.is_orphan) != 0 {
            self.end_orphan(source.now_ns(), connection);
            return;
        }
        let Some(request) = self.requests.front() else { return };
        let now_ns = source.now_ns();
        let current = &mut connection.details.http_mut().current;
        // The request may have gone on since the answer's head.
        current.request_bytes = request.bytes;
        current.kind |= request.unknown();
        self.done = Done::of(current, now_ns, source.stream_after_ns());
        let key = key_of(current);
        count(&self.done, key, source, connection);
        self.pop_request(connection);
    }

    /// The oldest request is over.
    #[inline(always)]
    fn pop_request(&mut self, connection: &mut Connection) {
        self.requests.pop();
        let counters = connection.details.http_mut();
        counters.answered = counters.answered.wrapping_add(1);
        counters.current = Current::NONE;
        if counters.in_flight() != 0 {
            self.show_next(connection);
        }
    }

    /// The last byte of a response has passed unread: it is counted once there is time to.
    #[inline(always)]
    pub(super) fn mark_ended(&mut self, connection: &mut Connection) {
        self.readers[Side::Server as usize].rest();
        self.has_ended = 1;
        connection.details.http_mut().current.kind |= ENDED;
    }

    /// Gives up the answers to all requests in flight.
    #[inline(always)]
    pub(super) fn lose_answers(&mut self, connection: &mut Connection) {
        self.readers[Side::Server as usize].go(Place::Lost);
        self.requests.clear();
        self.candidates_over = hide_field(&self.candidates);
        self.has_ended = 0;
        self.is_orphan = 0;
        self.ahead_state = ahead::NONE;
        let counters = connection.details.http_mut();
        counters.unmatched = counters.unmatched.wrapping_add(counters.in_flight());
        counters.answered = counters.asked;
        counters.current = Current::NONE;
    }

    /// Looks for the start of a response where the server's stream is out of sync, at the start of a call. It answers the
    /// newest request: whoever has sent that has waited for the answers to those before, most likely.
    #[inline(always)]
    pub(super) fn resync_responses<S: Bytes>(&mut self, source: &mut S, connection: &mut Connection) -> bool {
        let at = source.position();
        let Ok(available) = source.window(at) else { return false };
        let (lo, hi) = source.words(at);
        if available <= STATUS_BYTES || status_of(lo, hi).is_none() {
            return false;
        }
        self.readers[Side::Server as usize].rest();
        let left_out = self.requests.keep_newest();
        if left_out > 0 {
            let newest = self.requests.front().unwrap_or(Request::NONE);
            let waiting = u32::from(newest.flags & IS_CANDIDATE != 0);
            self.candidates_over = hide_field(&self.candidates).wrapping_sub(waiting);
        }
        let counters = connection.details.http_mut();
        counters.unmatched = counters.unmatched.wrapping_add(left_out);
        counters.answered = counters.answered.wrapping_add(left_out);
        true
    }
}

/// Counts a request that was answered whole.
#[inline(always)]
pub(super) fn count<S: Labels>(done: &Done, key: RequestKey, source: &mut S, connection: &mut Connection) {
    if !source.count_request(connection, key, done) {
        let counters = connection.details.http_mut();
        counters.left_out = counters.left_out.saturating_add(1);
    }
}

/// What a request is counted by.
#[inline(always)]
pub(super) fn key_of(current: &Current) -> RequestKey {
    RequestKey {
        service: 0,
        route: hide_field(&current.route),
        authority: hide_field(&current.authority),
        status: hide_field(&current.status),
        method: hide_field(&current.method),
        reserved: 0,
    }
}
