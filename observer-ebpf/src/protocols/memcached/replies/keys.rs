//! Which of the several keys of a command were found. A reply tells of those, in the order in which they were asked for.

use super::{ERRORS, GETS, Kind, Taken, VALUE, counters};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::names::CROWDED;
use crate::protocols::memcached::Memcached;
use crate::stream::bytes::{Host, hide_field};
use crate::stream::lookups::Found;
use crate::stream::pipeline::{KEYS, MIXED, REPLIES, Run};

/// [`Replies::in_keys`](super::Replies), of keys that were kept, and of some that were not.
const KEPT: u8 = 1;
const NOT_KEPT: u8 = 2;

/// Whether a key with a prefix of this number may be one of a run's. A prefix that found no place when it was asked for
/// may have one by now.
#[inline(always)]
fn may_be_of(run: &Run, number: u32) -> bool {
    let prefix = u32::from(run.prefix);
    prefix == number || prefix == CROWDED || run.has(MIXED)
}

impl Memcached {
    /// The reply to a command of several keys begins.
    #[inline(always)]
    pub(super) fn begin_keys<S: Host>(&mut self, source: &mut S, connection: &mut Connection) {
        let is_kept = self.pipeline.next(REPLIES, connection.id, source).is_some_and(|next| next.has(KEYS));
        self.replies.in_keys = if is_kept { KEPT } else { NOT_KEPT };
        if !is_kept {
            let counters = counters(connection);
            counters.unmatched = counters.unmatched.wrapping_add(1);
        }
    }

    /// A line of such a reply. `keys` is the next run in the pipeline, if that is one of keys.
    #[inline(always)]
    pub(super) fn take_keys(&mut self, has_keys: bool, keys: &Run) -> Result<Taken, Desync> {
        let kind = hide_field(&self.replies.kind);
        let (is_value, is_error) = (VALUE.has(kind), ERRORS.has(kind));
        if !is_value && !is_error && kind != Kind::End as u8 {
            return Err(Desync::Header);
        }
        let is_kept = self.replies.in_keys == KEPT;
        if !(is_kept && has_keys) {
            if is_value {
                // More keys than were asked for, unless those were not kept.
                return if is_kept { Err(Desync::Header) } else { Ok(Taken::LINE) };
            }
            self.replies.in_keys = 0;
            return Ok(Taken { timed: if is_error { 0 } else { GETS }, ..Taken::LINE });
        }
        let is_found = is_value && may_be_of(keys, self.replies.number);
        // What was not told of before another key, or the end, was not found; or an error ended it.
        let count = if is_found { 1 } else { self.pipeline.left(REPLIES, keys) };
        self.pipeline.advance(REPLIES, count);
        let (hits, misses) = if is_found { (1, 0) } else { (0, count) };
        let found = if is_error { Found::NONE } else { Found { prefix: keys.prefix, hits, misses } };
        Ok(Taken { again: !is_found, timed: 0, found })
    }
}
