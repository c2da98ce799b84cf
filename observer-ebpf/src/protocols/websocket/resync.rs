//! Getting in sync: on a connection first seen in the middle, and on a stream that was lost.

use super::frames::{Frames, may_start_at};
use super::{Mode, WebSocket, counters};
use crate::layout::connection::Connection;
use crate::stream::bytes::Host;
use crate::stream::parser::{Outcome, StreamId};

impl WebSocket {
    /// Looks for frames in a call of a stream that is lost.
    #[inline(always)]
    pub(super) fn resync<S: Host>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        if self.streams[stream.side as usize].is(Mode::Trial) {
            return self.end_trial(stream, source, connection);
        }
        let rules = self.rules(stream.side);
        if may_start_at(0, source, rules, self.known == 0) {
            self.find_frames(stream, source)
        } else {
            Outcome::SAME
        }
    }

    /// Tries to get in sync at the start of a call.
    #[inline(always)]
    fn find_frames<S: Host>(&mut self, stream: StreamId, source: &mut S) -> Outcome {
        let rules = self.rules(stream.side);
        let own = &mut self.streams[stream.side as usize];
        // Not in use in this mode. (A local would be on the stack, whose every value the verifier follows.)
        own.frames = Frames::RESUMED;
        let Some(headers) = own.frames.rehearse(source, rules) else { return Outcome::SAME };
        if own.frames.between_frames() || headers >= 3 {
            own.mode = Mode::Frames as u8;
            own.frames = Frames::RESUMED;
            own.proven = 0;
            return Outcome::RESYNCED;
        }
        if headers == 1 && own.frames.payload_left() > 0 && own.frames.is_plausible() {
            // Some of its payload has passed with this call.
            own.mode = Mode::Trial as u8;
        }
        Outcome::SAME
    }

    /// Goes on with what may be a long frame. Leaves the source where frames are known to go on.
    #[inline(always)]
    fn end_trial<S: Host>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        let end = source.end();
        let rules = self.rules(stream.side);
        let own = &mut self.streams[stream.side as usize];
        let left = own.frames.payload_left();
        let counters = counters(stream, connection);
        if left > u64::from(end) {
            own.frames.pass(u64::from(end), counters);
            return Outcome::SAME;
        }
        let boundary = left as u32;
        let ends = boundary == end || source.window(boundary).is_ok_and(|available| available < 2);
        if !ends && !may_start_at(boundary, source, rules, false) {
            own.mode = Mode::Lost as u8;
            return Outcome::SAME;
        }
        own.mode = Mode::Frames as u8;
        own.proven = 0;
        own.frames.confirm(source, counters);
        let known = self.known;
        self.prove(stream.side);
        source.go_to(boundary);
        if self.known == known { Outcome::RESYNCED } else { Outcome::CONFIRMED }
    }
}
