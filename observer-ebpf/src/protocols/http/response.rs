//! What a server says: status lines, what a head that is over leads to (RFC 9112, sections 4 and 6.3), and requests that
//! are over.

use super::head::{
    FOUND_CHUNKED, FOUND_CODING, FOUND_COMPRESSION, FOUND_EVENT_STREAM, FOUND_EXTENSION, FOUND_H2C,
    FOUND_LENGTH, FOUND_LENGTH_FIELD, FOUND_WEBSOCKET,
};
use super::layout::{
    CHUNKED, Current, Done, ENDED, EVENT_STREAM, Method, RequestKey, SIZED, UNSIZED, UNTIL_CLOSE, UNTIMED,
};
use super::names::{self, Labels};
use super::queue::{IS_CANDIDATE, IS_MIXED, IS_UNSIZED, IS_UNTIMED, Request};
use super::reader::Place;
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

/// How long a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// It has no body.
    None,
    /// As long as its head says.
    Sized,
    /// In chunks.
    Chunked,
    /// Up to the connection's end.
    Rest,
}

impl Http {
    /// A response may start with the next byte.
    #[inline(always)]
    pub(super) fn start_response<S: Calls>(&mut self, source: &mut S) -> Result<(), Desync> {
        let at = source.position();
        source.window(at).map_err(|_| Desync::Unread)?;
        let first = source.words(at).0 as u8;
        if first == b'\r' || first == b'\n' {
            source.go_to(at + 1);
            return Ok(());
        }
        if first != b'H' {
            return Err(Desync::Header);
        }
        self.readers[Side::Server as usize].begin(Place::StatusVersion);
        self.first_ns = source.now_ns();
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
        let status = number(lo, hi, length).filter(|status| length == 3 && *status >= 100);
        let Some(status) = status else { return Err(Desync::Header) };
        self.status = status as u32;
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
        self.show_response(body, request, source, connection);
        if front.is_none() {
            self.begin_orphan(connection);
        }
        let counters = connection.details.http_mut();
        if status == 429 {
            counters.too_many_requests = counters.too_many_requests.wrapping_add(1);
        }
        let server = &mut self.readers[Side::Server as usize];
        let length = hide_field(&server.content_length);
        server.left = if body == Body::Sized { length } else { 0 };
        server.is_chunked = u8::from(body == Body::Chunked);
        server.has_events = u8::from(found & FOUND_EVENT_STREAM != 0 && body != Body::None);
        let is_over = body == Body::None || (body == Body::Sized && length == 0);
        server.go(match body {
            _ if is_over => Place::Start,
            Body::Chunked => Place::ChunkSize,
            Body::Rest => Place::Rest,
            Body::None | Body::Sized => Place::Body,
        });
        if is_over {
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
    fn show_response<S: Labels>(
        &mut self,
        body: Body,
        request: Request,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let server = &self.readers[Side::Server as usize];
        let found = hide_field(&server.found);
        let status = hide_field(&self.status);
        let mut route = request.route;
        if request.flags & IS_CANDIDATE != 0 {
            // So that those who try what is there find no room.
            if status != 400 && status != 404 && status != 405 {
                route = names::new_route(&self.candidate, source, connection);
            }
            self.requests.settle_route(route);
            self.candidates_over = hide_field(&self.candidates_over).wrapping_add(1);
        }
        let framing = match body {
            Body::None | Body::Sized => SIZED,
            Body::Chunked => CHUNKED,
            Body::Rest => UNTIL_CLOSE,
        };
        let is_stream = found & FOUND_EVENT_STREAM != 0 && body != Body::None;
        let kind = framing | if is_stream { EVENT_STREAM } else { 0 } | unknown(request.flags);
        let response_bytes = if body == Body::Sized { hide_field(&server.content_length) } else { 0 };
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
        let current = &connection.details.http().current;
        let is_event_stream = current.kind & EVENT_STREAM != 0;
        let is_sized = current.kind & 3 == SIZED;
        let response_ns = now_ns.saturating_sub(hide_field(&current.first_ns));
        let is_stream = is_event_stream || (!is_sized && response_ns >= source.stream_after_ns());
        self.done = Done {
            duration_ns: now_ns.saturating_sub(request.start_ns),
            first_byte_ns: hide_field(&current.first_ns).saturating_sub(request.start_ns),
            response_ns,
            request_bytes: request.bytes,
            response_bytes: hide_field(&current.response_bytes),
            is_stream: u64::from(is_stream),
            is_timed: u64::from(current.kind & UNTIMED == 0),
            is_sized: u64::from(request.flags & IS_UNSIZED == 0),
        };
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
        let [blank, one, two, three, ..] = hi.to_le_bytes();
        let is_status = blank == b' ' && [one, two, three].iter().all(u8::is_ascii_digit);
        if available < 13 || !is_version(lo) || !is_status {
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

/// What is not known of a request, by its flags: bits of [`Current::kind`].
#[inline(always)]
const fn unknown(flags: u8) -> u8 {
    const { assert!(UNTIMED == IS_UNTIMED << 3 && UNSIZED == IS_UNSIZED << 3) };
    (flags & (IS_UNTIMED | IS_UNSIZED)) << 3
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
