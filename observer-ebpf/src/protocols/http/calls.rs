//! From a call's bytes to what they are a part of: lines of heads and of chunks' framing, and bodies.

use super::reader::{Lines, Place};
use super::{Calls, Http, Subprogram};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Role, Side};
use crate::stream::bytes::{ITERATIONS_MAX, hide_field, is_done};
use crate::stream::parser::{Outcome, Parser as _, StreamId, Told};

/// [`Http::next`]: nothing more.
pub(super) const NONE: u32 = 0;
/// A segment of a path is over.
pub(super) const SEGMENT: u32 = 1;
/// A target has no path.
pub(super) const EMPTY_PATH: u32 = 2;
/// A word of a field's value is over.
const VALUE: u32 = 3;
/// A head is over.
const HEAD: u32 = 4;
/// There is some of a body.
const BODY: u32 = 5;
/// Frames may start.
pub(super) const FRAMES: u32 = 6;

impl Http {
    /// Takes in a call's bytes.
    #[inline(always)]
    pub(super) fn take_call<const SERVER: bool, S: Calls>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        let at = usize::from(SERVER);
        let mut before = Outcome::SAME;
        if SERVER && self.has_ended != 0 {
            source.run(Subprogram::Settle, self, stream, connection);
        }
        if self.readers[at].is(Place::Lost) {
            if source.run(Subprogram::Resync, self, stream, connection) == 0 {
                return Outcome::SAME;
            }
            before = Outcome::RESYNCED;
        }
        // What has broken the rules may have left something.
        self.next[usize::from(SERVER)] = NONE;
        let mut code = 0;
        let mut finished = true;
        if hide_field(&self.readers[at].place) < Place::Opaque as u8 {
            finished = S::repeat(ITERATIONS_MAX, || {
                let subprogram = const { if SERVER { Subprogram::Response } else { Subprogram::Request } };
                code = source.run(subprogram, self, stream, connection);
                if code == 0 {
                    code = self.go_on::<SERVER, S>(stream, source, connection);
                }
                // Written out: the compiler does not know inside of here what `at` is.
                let goes_on = hide_field(&self.readers[usize::from(SERVER)].place) < Place::Opaque as u8;
                code == 0 && goes_on && !is_done(source)
            });
        }
        if SERVER && hide_field(&self.events) != 0 {
            source.run(Subprogram::Settle, self, stream, connection);
        }
        if !SERVER && code == 0 && finished && self.readers[at].is(Place::Early) && !is_done(source) {
            code = source.run(Subprogram::Early, self, stream, connection);
        }
        let outcome = if finished { Outcome::from_code(code) } else { Outcome::lost(Desync::Bound) };
        if matches!(outcome.told(), Told::Lost(_)) {
            self.lose(stream.side, connection);
        }
        if outcome == Outcome::SAME { before } else { outcome }
    }

    /// Does what the last word has led to. It is done from here, and not where that was told: before Linux 6.13 there is
    /// little room on the stack for calls within calls.
    #[inline(always)]
    fn go_on<const SERVER: bool, S: Calls>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        let next = hide_field(&self.next[usize::from(SERVER)]);
        self.next[usize::from(SERVER)] = NONE;
        let mut code = 0;
        if !SERVER && next == SEGMENT {
            source.run(Subprogram::Segment, self, stream, connection);
        } else if !SERVER && next == EMPTY_PATH {
            source.run(Subprogram::EmptyPath, self, stream, connection);
        } else if next == VALUE {
            code = source.run(Subprogram::Value, self, stream, connection);
        } else if next == HEAD && !SERVER {
            code = source.run(Subprogram::RequestHead, self, stream, connection);
        } else if next == HEAD {
            code = source.run(Subprogram::ResponseHead, self, stream, connection);
        } else if next == BODY {
            code = source.run(Subprogram::Body, self, stream, connection);
        } else if !SERVER && next == FRAMES && source.run(Subprogram::Search, self, stream, connection) == 0 {
            code = Outcome::lost(Desync::Header).code();
        }
        if SERVER && code == 0 && hide_field(&self.has_ended) != 0 {
            source.run(Subprogram::Settle, self, stream, connection);
        }
        code
    }

    /// Takes what is in reach of a call of the client's: goes at least one byte further, or on to another place.
    #[inline(always)]
    pub(super) fn take_request<S: Calls>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        if self.readers[Side::Client as usize].is(Place::Start) {
            self.start_request(source)?;
            if !self.readers[Side::Client as usize].is(Place::Segment) || is_done(source) {
                return Ok(());
            }
        }
        let place = hide_field(&self.readers[Side::Client as usize].place);
        if place >= Place::Body as u8 {
            self.next[Side::Client as usize] = BODY;
            return Ok(());
        }
        let client = &mut self.readers[Side::Client as usize];
        let lines = Lines { is_response: false, with_host: connection.role == Role::Client as u8 };
        let delimiter = client.take(lines, source)?;
        if delimiter == 0 {
            return client.check_length();
        }
        if place < Place::StatusVersion as u8 {
            return self.end_request_word(delimiter, stream, source, connection);
        }
        self.end_line_word(delimiter, stream, connection)
    }

    /// The same of the server's.
    #[inline(always)]
    pub(super) fn take_response<S: Calls>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        if self.readers[Side::Server as usize].is(Place::Start) {
            self.start_response(source)?;
            if !self.readers[Side::Server as usize].is(Place::Skip) || is_done(source) {
                return Ok(());
            }
        }
        let place = hide_field(&self.readers[Side::Server as usize].place);
        if place >= Place::Body as u8 {
            self.next[Side::Server as usize] = BODY;
            return Ok(());
        }
        let server = &mut self.readers[Side::Server as usize];
        let lines = Lines { is_response: true, with_host: false };
        let delimiter = server.take(lines, source)?;
        if delimiter == 0 {
            return server.check_length();
        }
        if place <= Place::Status as u8 {
            return self.end_status_word(delimiter);
        }
        self.end_line_word(delimiter, stream, connection)
    }

    /// A word of a line of a head, or of the framing of chunks, is over.
    #[inline(always)]
    fn end_line_word(
        &mut self,
        delimiter: u8,
        stream: StreamId,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let at = stream.side as usize;
        let own = &mut self.readers[at];
        let place = hide_field(&own.place);
        let is_empty = hide_field(&own.length) == 0;
        if place == Place::Name as u8 {
            if delimiter == b':' {
                own.end_name();
                return Ok(());
            }
            own.forget_word();
            // A line without a colon says nothing.
            self.next[at & 1] = if is_empty { HEAD } else { NONE };
            return Ok(());
        }
        if place == Place::Value as u8 {
            if is_empty {
                own.end_value_word(delimiter);
            } else {
                self.delimiter[at & 1] = u32::from(delimiter);
                self.next[at & 1] = VALUE;
            }
            return Ok(());
        }
        if place == Place::Skip as u8 {
            own.go(Place::Name);
            return Ok(());
        }
        if place == Place::Trailer as u8 {
            own.forget_word();
            if is_empty {
                own.rest();
                if !stream.is_request() {
                    self.mark_ended(connection);
                }
            }
            return Ok(());
        }
        if place == Place::ChunkEnd as u8 {
            own.go(Place::ChunkSize);
            return if is_empty { Ok(()) } else { Err(Desync::Length) };
        }
        own.end_chunk_size(delimiter)?;
        if own.is(Place::Body) {
            let bytes = hide_field(&own.left);
            if stream.is_request() {
                self.requests.add_bytes(bytes);
            } else {
                let current = &mut connection.details.http_mut().current;
                current.response_bytes = current.response_bytes.wrapping_add(bytes);
            }
        }
        Ok(())
    }
}

/// What went wrong, as an outcome.
#[inline(always)]
pub(super) fn told(result: Result<(), Desync>) -> Outcome {
    Outcome::of(result.err())
}

/// See [`told`].
#[inline(always)]
pub(super) fn told_outcome(result: Result<Outcome, Desync>) -> Outcome {
    match result {
        Ok(outcome) => outcome,
        Err(why) => Outcome::lost(why),
    }
}
