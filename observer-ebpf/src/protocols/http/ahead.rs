//! Answers that are seen before their requests: where two threads are at work on a connection, the one that has read the
//! answer may have done so before the one that has asked was seen to. The next request is what such an answer belongs to.

use super::Http;
use super::layout::{Current, Done, UNMATCHED};
use super::names::{self, Labels};
use super::queue::{IS_CANDIDATE, Request};
use super::response::{count, key_of};
use crate::layout::connection::Connection;
use crate::stream::bytes::hide_field;

/// [`Http::ahead_state`]: there is no such answer.
pub(super) const NONE: u32 = 0;
/// It is on its way.
pub(super) const BEGUN: u32 = 1;
/// It is over.
pub(super) const OVER: u32 = 2;

impl Http {
    /// The head of an answer is over, and no request has been seen that it may be to.
    #[inline(always)]
    pub(super) fn begin_orphan(&mut self, connection: &mut Connection) {
        self.is_orphan = 1;
        let is_expected = hide_field(&self.has_lost_requests) != 0;
        if is_expected || hide_field(&self.ahead_state) == OVER {
            let counters = connection.details.http_mut();
            counters.unmatched = counters.unmatched.wrapping_add(1);
        }
        self.ahead_state = if is_expected { NONE } else { BEGUN };
    }

    /// Such an answer is over.
    #[inline(always)]
    pub(super) fn end_orphan(&mut self, now_ns: u64, connection: &mut Connection) {
        self.is_orphan = 0;
        if hide_field(&self.ahead_state) == BEGUN {
            self.ahead = connection.details.http().current;
            self.ahead.last_ns = now_ns;
            self.ahead_state = OVER;
        }
        connection.details.http_mut().current = Current::NONE;
        if connection.details.http().in_flight() != 0 {
            self.show_next(connection);
        }
    }

    /// A request has been seen to which there is an answer. Tells whether the answer is over, and the request counted.
    #[inline(always)]
    pub(super) fn claim_answer<S: Labels>(
        &mut self,
        request: &mut Request,
        source: &mut S,
        connection: &mut Connection,
    ) -> bool {
        let state = hide_field(&self.ahead_state);
        self.ahead_state = NONE;
        self.is_orphan = 0;
        let answer = if state == OVER { self.ahead } else { connection.details.http().current };
        if request.flags & IS_CANDIDATE != 0 {
            request.flags = 0;
            request.route = UNMATCHED as u16;
            if names::is_found(answer.status.into()) {
                request.route = names::new_route(&self.candidate, source, connection);
            }
        }
        let answered = Current {
            start_ns: request.start_ns,
            request_bytes: request.bytes,
            route: request.route,
            authority: request.authority,
            method: request.method,
            ..answer
        };
        if state != OVER {
            connection.details.http_mut().current = answered;
            return false;
        }
        self.done = Done::of(&answered, answered.last_ns, source.stream_after_ns());
        count(&self.done, key_of(&answered), source, connection);
        true
    }
}
