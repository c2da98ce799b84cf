//! From the first bytes of a connection over HTTP to the answer that makes it a WebSocket.

use super::{Mode, Session, Stream};
use crate::layout::Zeroes as _;
use crate::layout::connection::Connection;
use crate::layout::{Direction, Protocol, Role};
use crate::wire::detect::{self, Detected, Start};
use crate::wire::http::{self, FOUND_DEFLATE, FOUND_UPGRADE, Head, Progress};
use crate::wire::source::{STEPS_MAX, Source};
use crate::wire::websocket::{Deflate, Frames};

impl Session {
    /// The first bytes of the connection, or more of them.
    #[inline(always)]
    pub(super) fn open<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) {
        if direction as u8 != Role::from_u8(self.role).request_direction() as u8 {
            let available = source.window(0).unwrap_or(0);
            if detect::is_http_response(Start::new(source.words(0).0, available)) {
                return self.become_http(false, connection);
            }
            // The server speaks first, in nothing known here.
            return self.become_other(Protocol::Unknown, connection);
        }
        let frames = &mut self.streams[direction as usize].frames;
        let (_, before) = frames.gathered();
        // The call's first buffers may each be shorter than what tells.
        S::repeat(detect::ENOUGH, || {
            let at = source.position();
            let Ok(available) = source.window(at) else { return false };
            frames.gather(source.words(at).0, available);
            source.go_to(at + available);
            at + available < source.end() && frames.gathered().1 < detect::ENOUGH
        });
        source.go_to(0);
        let (first, length) = frames.gathered();
        if length == before {
            return self.become_other(Protocol::Unknown, connection);
        }
        let start = Start::new(first, length);
        match detect::request(start) {
            // The rest comes with another call.
            Detected::More => source.go_to(source.end()),
            Detected::Is(Protocol::Http) => {
                self.become_http(false, connection);
                if before > 0 {
                    // The method came over several calls; only a GET is of interest from there on.
                    let stream = &mut self.streams[direction as usize];
                    stream.head = Head::IN_START_LINE;
                    stream.mode =
                        if start.is(http::REQUEST_PATTERN) { Mode::Head } else { Mode::Message } as u8;
                    // The rest of another request is of none.
                    if stream.is(Mode::Message) {
                        source.go_to(source.end());
                    }
                }
            }
            Detected::Is(Protocol::Postgres) => self.become_postgres(first, before, connection),
            Detected::Is(Protocol::Redis) => {
                let tentative = first as u8 != b'*';
                self.become_redis(first, before, tentative, connection);
            }
            Detected::Is(protocol) => self.become_other(protocol, connection),
        }
    }

    /// A call starts where an HTTP message may.
    #[inline(always)]
    pub(super) fn start_message<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let request = Role::from_u8(self.role).request_direction();
        let Ok(available) = source.window(0) else { return };
        let (first, second) = source.words(0);
        let start = Start::new(first, available);
        let stream = &mut self.streams[direction as usize];
        if direction as u8 != request as u8 {
            let [version, status] = http::RESPONSE_PATTERNS;
            let rest = Start::new(second, available.saturating_sub(8));
            let incomplete = available < http::STATUS_END && rest.may_be(http::REFUSAL_PATTERN);
            if start.may_be(version) && (rest.may_be(status) || incomplete) {
                stream.mode = Mode::Head as u8;
                stream.head = Head::START;
            } else if detect::is_http_response(start) {
                if rest.is(http::REFUSAL_PATTERN) {
                    count_refusal(connection);
                }
                self.respond(connection);
            }
            return;
        }
        if start.may_be(http::REQUEST_PATTERN) {
            let end = source.end();
            if end >= 16 && source.window(end - 4).is_ok() {
                let (last, _) = source.words(end - 4);
                if last as u32 == http::END {
                    // The whole head, or heads: the response tells whether one was a handshake.
                    return;
                }
            }
            stream.mode = Mode::Head as u8;
            stream.head = Head::START;
        }
    }

    /// A response that is not an upgrade.
    #[inline(always)]
    fn respond(&mut self, connection: &mut Connection) {
        connection.pending = 0;
        let request = &mut self.streams[Role::from_u8(self.role).request_direction() as usize];
        if request.is(Mode::Frames) {
            *request = Stream::new(Mode::Message);
            connection.details.clear();
        }
    }

    /// Scans a head that may be a handshake's; leaves the source behind it, or at its end.
    #[inline(always)]
    pub(super) fn scan<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let is_request = direction as u8 == Role::from_u8(self.role).request_direction() as u8;
        let end = source.end();
        let head = &mut self.streams[direction as usize].head;
        let mut ended = false;
        let mut other = u8::MAX;
        let mut refused = false;
        let done = S::repeat(STEPS_MAX, || {
            let at = source.position();
            if at >= end {
                return false;
            }
            let Ok(_) = source.window(at) else {
                other = 0;
                return false;
            };
            let (word, _) = source.words(at);
            source.go_to(at + 1);
            match head.push(word as u8, is_request) {
                Progress::More => true,
                Progress::End => {
                    ended = true;
                    false
                }
                Progress::Other(matched) => {
                    other = matched;
                    false
                }
                Progress::Refused => {
                    other = http::RESPONSE.len() as u8;
                    refused = true;
                    false
                }
            }
        });
        if refused {
            count_refusal(connection);
        }
        let found = head.found;
        let stream = &mut self.streams[direction as usize];
        if !done || other != u8::MAX {
            stream.mode = Mode::Message as u8;
            // "HTTP/1." was there, and not 101: a response of another kind.
            if !is_request && (7..=http::RESPONSE.len() as u8).contains(&other) {
                self.respond(connection);
            }
            return;
        }
        if !ended {
            return;
        }
        stream.mode = Mode::Message as u8;
        if is_request {
            if self.protocol == Protocol::WebSocket as u8 {
                self.start_frames(direction);
            } else if found & FOUND_UPGRADE != 0 && source.position() < end {
                // Frames sent before the answer: they count if the answer is yes.
                self.start_frames(direction);
            }
        } else if found & FOUND_UPGRADE != 0 {
            self.upgrade(direction, found, connection);
        } else {
            self.become_other(Protocol::Http, connection);
        }
    }

    #[inline(always)]
    fn start_frames(&mut self, direction: Direction) {
        let stream = &mut self.streams[direction as usize];
        stream.mode = Mode::Frames as u8;
        stream.frames = Frames::START;
        stream.proven = 1;
    }

    /// The handshake is complete with the response that went in `direction`.
    #[inline(always)]
    fn upgrade(&mut self, direction: Direction, found: u8, connection: &mut Connection) {
        let deflate = if found & FOUND_DEFLATE != 0 { Deflate::On } else { Deflate::Off };
        self.protocol = Protocol::WebSocket as u8;
        self.deflate = deflate as u8;
        connection.protocol = self.protocol;
        connection.pending = 0;
        connection.lost = [0; 2];
        self.start_frames(direction);
        let request = &mut self.streams[direction.opposite() as usize];
        if request.is(Mode::Frames) {
            request.proven = 1;
        } else if !request.is(Mode::Head) {
            self.start_frames(direction.opposite());
        }
    }
}

/// Counts a response that turns a request away.
#[inline(always)]
fn count_refusal(connection: &mut Connection) {
    connection.too_many_requests = connection.too_many_requests.wrapping_add(1);
}
