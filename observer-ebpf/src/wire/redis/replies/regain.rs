//! Getting in step again.

use super::Look;
use super::line::{Line, is_bulk};
use crate::layout::Zeroes as _;
use crate::layout::connection::Connection;
use crate::wire::redis::{Redis, text};
use crate::wire::source::{STEPS_MAX, Source};

impl Redis {
    /// Gets in step at the start of a call, if it is whole replies, as many as there are commands without.
    #[inline(always)]
    pub(in crate::wire::redis) fn regain_replies<S: Source>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> bool {
        self.replies.clear();
        source.go_to(0);
        let mut sound = true;
        let finished = S::repeat(STEPS_MAX, || {
            let at = source.position();
            let rest = source.end().saturating_sub(at);
            let available = source.window(at).unwrap_or(0);
            let reach = if available < 16 { available } else { 16 };
            let (lo, hi) = source.words(at);
            if self.replies.is(Look::Line) {
                let end = text::find_in_two(lo, hi, b'\n');
                if end < reach {
                    self.replies.look = Look::Over as u8;
                }
                source.go_to(at + if end < reach { end + 1 } else { reach });
                sound = available > 0;
                return sound && source.position() < source.end();
            }
            sound = false;
            let Ok(Some(line)) = Line::read(lo, hi, reach) else { return false };
            let value = if is_bulk(line.kind) && !line.is_nil() { line.count + 2 } else { 0 };
            let behind = u64::from(line.length) + value;
            if behind > u64::from(rest) {
                return false;
            }
            if line.complete == 0 {
                self.replies.look = Look::Line as u8;
            }
            if line.kind != b'|' {
                if self.replies.left > 0 {
                    self.replies.left -= 1;
                } else if line.kind != b'>' {
                    self.replies.whole = self.replies.whole.wrapping_add(1);
                }
            }
            self.replies.left = self.replies.left.saturating_add(line.elements());
            sound = true;
            source.go_to(at + behind as u32);
            source.position() < source.end()
        });
        source.go_to(0);
        let whole = finished && sound && self.replies.left == 0 && self.replies.is(Look::Over);
        let replies = self.replies.whole;
        self.replies.clear();
        let counters = connection.details.redis_mut();
        let awaited = counters.asked.wrapping_sub(counters.answered);
        if whole && replies == awaited {
            return true;
        }
        // Some of them are answered, and it is not known which: those that come are waited for.
        self.queue.clear();
        counters.answered = counters.asked;
        false
    }
}
