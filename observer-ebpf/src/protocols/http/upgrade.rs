//! Frames that come before the answer to a handshake, and requests that go on behind it.

use super::reader::{Lines, Place};
use super::{Http, Scanned};
use crate::layout::Side;
use crate::layout::connection::Connection;
use crate::protocols::websocket::frames::{self, Frames};
use crate::protocols::websocket::rules::{Extensions, Rules};
use crate::stream::bytes::{Bytes, Host, ITERATIONS_MAX, is_done};
use crate::stream::parser::{Outcome, Parser as _, StreamId};
use crate::stream::subprograms::Runs;

impl Http {
    /// Looks for frames where a request may start, at the start of a call: another thread may have read the answer to the
    /// handshake before this one was seen to send it. Tells whether there are any.
    #[inline(always)]
    pub(super) fn search_frames<S: Bytes + Host>(&mut self, source: &mut S) -> bool {
        let rules = Rules::new(true, Extensions::Unknown, true);
        if !frames::may_start_at(0, source, rules, true) {
            return false;
        }
        self.early = Frames::RESUMED;
        if self.early.rehearse(source, rules).is_none() || !self.early.between_frames() {
            return false;
        }
        self.early = Frames::START;
        self.expected = 0;
        self.readers[Side::Client as usize].go(Place::Early);
        true
    }

    /// Takes in frames that came before the answer.
    #[inline(always)]
    pub(super) fn run_early<S: Runs<Frames>>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        self.early.hold_against(Rules::new(true, Extensions::Unknown, self.expected == 0));
        let code = source.run(frames::Subprogram::Run, &mut self.early, stream, connection);
        let outcome = Outcome::from_code(code);
        if outcome != Outcome::SAME {
            self.drop_early(stream.direction, connection);
            self.lose(Side::Client, connection);
        }
        outcome
    }

    /// The rest of a request that has been answered already is to be gone through.
    #[inline(always)]
    pub(in crate::protocols) fn skip_request(&mut self) {
        let client = &mut self.readers[Side::Client as usize];
        if !client.is(Place::Name) {
            // In a line that is not empty.
            client.forget_word();
            client.length = 1;
        }
        client.place = Place::Trailer as u8;
    }

    /// Goes through the rest of the client's head; leaves the source behind it, or at its end.
    #[inline(always)]
    pub(in crate::protocols) fn scan_rest<S: Bytes>(&mut self, source: &mut S) -> Scanned {
        let client = &mut self.readers[Side::Client as usize];
        let mut ended = false;
        let mut failed = false;
        let finished = S::repeat(ITERATIONS_MAX, || {
            match client.take(Lines::NONE, source) {
                Err(_) => failed = true,
                Ok(0) => {}
                Ok(_) => {
                    ended = client.length == 0;
                    client.forget_word();
                }
            }
            !failed && !ended && !is_done(source)
        });
        if failed || !finished {
            Scanned::Unread
        } else if ended {
            Scanned::End
        } else {
            Scanned::More
        }
    }
}
