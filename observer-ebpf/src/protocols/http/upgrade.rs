//! The handshake that makes a WebSocket of a connection, and frames that come before its answer.

use super::head::{self, FOUND_COMPRESSION, FOUND_EXTENSION, FOUND_UPGRADE, Progress};
use super::{Http, Mode, Scanned, Stream, count_refusal};
use crate::layout::Side;
use crate::layout::connection::Connection;
use crate::protocols::Protocol;
use crate::protocols::websocket::frames::{self, Frames};
use crate::protocols::websocket::rules::{Extensions, Rules};
use crate::stream::bytes::{Bytes, Host, ITERATIONS_MAX, is_done};
use crate::stream::parser::{Outcome, StreamId};
use crate::stream::subprograms::Runs;

/// What a handshake's answer has agreed to.
#[inline(always)]
const fn agreed(found: u8) -> Extensions {
    if found & FOUND_EXTENSION != 0 {
        Extensions::Others
    } else if found & FOUND_COMPRESSION != 0 {
        Extensions::Compression
    } else {
        Extensions::None
    }
}

impl Http {
    /// Scans a head that may be a handshake's; leaves the source behind it, or at its end.
    #[inline(always)]
    pub(super) fn scan<S: Bytes>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        let outcome = self.scan_head(stream.side, source);
        let own = &mut self.streams[stream.side as usize];
        match outcome {
            Scanned::More => return Outcome::SAME,
            Scanned::Other { is_response, is_refusal } => {
                own.mode = Mode::Message as u8;
                if is_refusal {
                    count_refusal(connection);
                }
                if is_response {
                    self.respond(stream, connection);
                }
            }
            Scanned::End { found } if stream.is_request() => {
                own.mode = Mode::Message as u8;
                if found & FOUND_UPGRADE != 0 && !is_done(source) {
                    own.mode = Mode::Early as u8;
                    self.early = Frames::START;
                    self.expected = 1;
                }
            }
            Scanned::End { found } => {
                if found & FOUND_UPGRADE != 0 {
                    self.extensions = agreed(found) as u8;
                    return Outcome::became(Protocol::WebSocket);
                }
                self.streams = [Stream::new(Mode::Opaque); 2];
                connection.pending = 0;
            }
        }
        Outcome::SAME
    }

    /// Scans a side's head, a byte at a time; leaves the source behind it, or at its end.
    #[inline(always)]
    pub(in crate::protocols) fn scan_head<S: Bytes>(&mut self, side: Side, source: &mut S) -> Scanned {
        let is_request = matches!(side, Side::Client);
        let end = source.end();
        let head = &mut self.streams[side as usize].head;
        let mut ended = false;
        let mut other = u8::MAX;
        let mut is_refusal = false;
        let done = S::repeat(ITERATIONS_MAX, || {
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
                    other = head::RESPONSE.len() as u8;
                    is_refusal = true;
                    false
                }
            }
        });
        if !done || other != u8::MAX {
            // "HTTP/1." was there, and not 101: a response of another kind.
            let is_response = !is_request && (7..=head::RESPONSE.len() as u8).contains(&other);
            return Scanned::Other { is_response, is_refusal };
        }
        if ended { Scanned::End { found: head.found } } else { Scanned::More }
    }

    /// Looks for frames where a request may start: another thread may have read the answer to the handshake before this
    /// one was seen to send it.
    #[inline(always)]
    pub(super) fn search<S: Bytes + Host>(&mut self, source: &mut S) {
        let rules = Rules::new(true, Extensions::Unknown, true);
        if !frames::may_start_at(0, source, rules, true) {
            return;
        }
        self.early = Frames::RESUMED;
        if self.early.rehearse(source, rules).is_some() && self.early.between_frames() {
            self.early = Frames::START;
            self.expected = 0;
            self.streams[Side::Client as usize].mode = Mode::Early as u8;
        }
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
        }
        outcome
    }
}
