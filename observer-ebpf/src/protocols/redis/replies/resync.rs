//! Getting in sync again.

use super::line::{Line, is_bulk};
use crate::layout::Side;
use crate::layout::Zeroes as _;
use crate::layout::connection::Connection;
use crate::protocols::redis::Redis;
use crate::stream::bytes::{Bytes, ITERATIONS_MAX, Scratch, is_done};
use crate::stream::subprograms::Looks;
use crate::stream::text::find_in_two;

impl Redis {
    /// Gets in sync at the start of a call, if it is whole replies, as many as there are commands without.
    #[inline(always)]
    pub(in crate::protocols::redis) fn resync_replies<S: Looks<Self>>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> bool {
        self.replies.clear();
        let whole = source.is_whole(Side::Server);
        let replies = source.scratch().messages;
        let counters = connection.details.redis_mut();
        let awaited = counters.asked.wrapping_sub(counters.answered);
        if whole && replies == awaited {
            return true;
        }
        // Some of them are answered, and it is not known which: those that come are waited for.
        self.pipeline.clear();
        counters.answered = counters.asked;
        counters.waits_answered = counters.waits_asked;
        false
    }
}

/// Whether a call consists of whole replies; how many, [`Scratch::messages`] tells.
#[inline(always)]
pub(in crate::protocols::redis) fn is_whole<S: Bytes>(source: &mut S) -> bool {
    *source.scratch() = Scratch::default();
    source.go_to(0);
    let mut sound = true;
    let finished = S::repeat(ITERATIONS_MAX, || {
        let at = source.position();
        let rest = source.end().saturating_sub(at);
        let available = source.window(at).unwrap_or(0);
        let reach = if available < 16 { available } else { 16 };
        let (lo, hi) = source.words(at);
        if source.scratch().in_line != 0 {
            let end = find_in_two(lo, hi, b'\n');
            if end < reach {
                source.scratch().in_line = 0;
            }
            source.go_to(at + if end < reach { end + 1 } else { reach });
            sound = available > 0;
            return sound && !is_done(source);
        }
        sound = false;
        let Ok(Some(line)) = Line::read(lo, hi, reach) else { return false };
        let value = if is_bulk(line.kind) && !line.is_nil() { line.count + 2 } else { 0 };
        let behind = u64::from(line.length) + value;
        if behind > u64::from(rest) {
            return false;
        }
        let scratch = source.scratch();
        scratch.in_line = u8::from(line.complete == 0);
        if line.kind != b'|' {
            if scratch.left > 0 {
                scratch.left -= 1;
            } else if line.kind != b'>' {
                scratch.messages = scratch.messages.wrapping_add(1);
            }
        }
        scratch.left = scratch.left.saturating_add(line.elements());
        sound = true;
        source.go_to(at + behind as u32);
        !is_done(source)
    });
    source.go_to(0);
    let scratch = source.scratch();
    finished && sound && scratch.left == 0 && scratch.in_line == 0
}
