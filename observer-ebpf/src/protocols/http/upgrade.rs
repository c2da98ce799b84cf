//! Frames that come before the answer to a handshake, and requests that go on behind it.

use super::reader::Place;
use super::{Http, Scanned};
use crate::layout::Side;
use crate::layout::connection::Connection;
use crate::protocols::websocket::frames::{self, Frames};
use crate::protocols::websocket::rules::{Extensions, Rules};
use crate::stream::bytes::{Bytes, Host, ITERATIONS_MAX, hide_field, is_done};
use crate::stream::parser::{Outcome, Parser as _, StreamId};
use crate::stream::subprograms::Runs;
use crate::stream::text::find_in_two;

impl Http {
    /// Looks for frames where a request may start, at the start of a call: another thread may have read the answer to the
    /// handshake before this one was seen to send it. Tells whether there are any.
    #[inline(always)]
    pub(super) fn search_frames<S: Bytes + Host>(&mut self, source: &mut S) -> bool {
        let rules = Rules::new(Side::Client, Extensions::Unknown as u8, 1);
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
        self.early.hold_against(Rules::new(Side::Client, Extensions::Unknown as u8, self.expected ^ 1));
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
            client.text.words[0] = 0;
            client.length = 1;
        }
    }

    /// Goes through the rest of the client's head; leaves the source behind it, or at its end. Only how long each line is
    /// matters, and what its first byte is: the text of the reader's word.
    #[inline(always)]
    pub(in crate::protocols) fn scan_rest<S: Bytes>(&mut self, source: &mut S) -> Scanned {
        let client = &mut self.readers[Side::Client as usize];
        let mut ended = false;
        let mut failed = false;
        let finished = S::repeat(ITERATIONS_MAX, || {
            let at = source.position();
            let Ok(available) = source.window(at) else {
                failed = true;
                return false;
            };
            let (lo, hi) = source.words(at);
            client.end = find_in_two(lo, hi, b'\n');
            let end = hide_field(&client.end);
            let length = hide_field(&client.length);
            if length == 0 {
                client.text.words[0] = u64::from(lo as u8);
            }
            if end >= available || end > 15 {
                let taken = available.min(16);
                client.length = length.saturating_add(taken);
                source.go_to(at + taken);
                return !is_done(source);
            }
            source.go_to(at + end + 1);
            let length = length.saturating_add(end);
            ended = length == 0 || length == 1 && client.text.words[0] == u64::from(b'\r');
            client.length = 0;
            !ended && !is_done(source)
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
