//! Getting in step: on a connection first seen in the middle, and on a stream that was lost.

use super::{Mode, Session};
use crate::layout::connection::Connection;
use crate::layout::{Direction, Protocol, Role};
use crate::wire::detect::{self, Start};
use crate::wire::postgres::Part;
use crate::wire::source::Source;
use crate::wire::websocket::{Frames, may_start};

impl Session {
    /// Tells other protocols by a call in the middle of a stream.
    #[inline(always)]
    pub(super) fn tell_adopted<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let Ok(available) = source.window(0) else { return };
        let (first, _) = source.words(0);
        if detect::is_tls_record(first, available) {
            self.become_other(Protocol::Tls, connection);
            return;
        }
        let whole = if self.is_answer(direction) { Part::ServerWhole } else { Part::ClientWhole };
        if source.run_postgres(whole, self.parser.postgres_mut(), connection) != 0 {
            self.resume_postgres(connection);
            return;
        }
        if !self.is_answer(direction) && first as u8 == b'*' && self.parser.redis_mut().is_whole(source) {
            self.resume_redis(connection);
            return;
        }
        if available < detect::ENOUGH {
            return;
        }
        let start = Start::new(first, available);
        let is_request = direction as u8 == Role::from_u8(self.role).request_direction() as u8;
        let http = if is_request { detect::is_http_request(start) } else { detect::is_http_response(start) };
        if http {
            self.become_http(false, connection);
        }
    }

    /// Looks for frames where they may start.
    #[inline(always)]
    pub(super) fn search<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) {
        if self.streams[direction as usize].is(Mode::Trial) {
            self.try_frame(direction, source, connection);
        } else if self.may_be_frames(direction, source) {
            self.find_step(direction, source, connection);
        }
    }

    /// Whether a call may start with a frame on a stream that is lost, or on one where a request may start:
    /// another thread may have read the answer to the handshake before this one was seen to send it.
    #[inline(always)]
    fn may_be_frames<S: Source>(&mut self, direction: Direction, source: &mut S) -> bool {
        let is_request = direction as u8 == Role::from_u8(self.role).request_direction() as u8;
        let unknown = self.protocol != Protocol::WebSocket as u8;
        let rules = self.rules(direction);
        let stream = &mut self.streams[direction as usize];
        if stream.is(Mode::Lost) {
            stream.tries = stream.tries.saturating_add(1);
        } else if !(stream.is(Mode::Message) && is_request) {
            return false;
        }
        let Ok(available) = source.window(0) else { return false };
        let (first, _) = source.words(0);
        available >= 2 && may_start(first, rules, unknown)
    }

    /// Tries to get in step at the start of a call.
    #[inline(always)]
    fn find_step<S: Source>(&mut self, direction: Direction, source: &mut S, connection: &mut Connection) {
        let rules = self.rules(direction);
        let stream = &mut self.streams[direction as usize];
        let lost = stream.is(Mode::Lost);
        // Not in use in these modes. (A local would be on the stack, whose every value the verifier follows.)
        stream.frames = Frames::RESUMED;
        let Some(headers) = stream.frames.rehearse(source, rules) else { return };
        if stream.frames.between_frames() || (lost && headers >= 3) {
            stream.mode = Mode::Frames as u8;
            stream.frames = if lost { Frames::RESUMED } else { Frames::START };
            stream.proven = 0;
            connection.lost[direction as usize] = 0;
        } else if lost && headers == 1 && stream.frames.payload_left() > 0 && stream.frames.is_plausible() {
            // Some of its payload has passed with this call.
            stream.mode = Mode::Trial as u8;
        }
    }

    /// Goes on with what may be a long frame. Leaves the source where frames are known to go on.
    #[inline(always)]
    fn try_frame<S: Source>(&mut self, direction: Direction, source: &mut S, connection: &mut Connection) {
        let end = source.end();
        let rules = self.rules(direction);
        let stream = &mut self.streams[direction as usize];
        let left = stream.frames.payload_left();
        let counters = &mut connection.details.websocket_mut()[direction as usize];
        if left > u64::from(end) {
            stream.frames.pass(u64::from(end), counters);
            return;
        }
        let boundary = left as u32;
        let starts_next = boundary == end
            || (source
                .window(boundary)
                .is_ok_and(|available| available < 2 || may_start(source.words(boundary).0, rules, false)));
        if !starts_next {
            stream.mode = Mode::Lost as u8;
            return;
        }
        stream.mode = Mode::Frames as u8;
        stream.proven = 0;
        stream.frames.confirm(source, counters);
        connection.lost[direction as usize] = 0;
        self.prove(direction, connection);
        source.go_to(boundary);
    }
}
