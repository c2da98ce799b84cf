//! The reply to a plain command at once, where its first line is in reach: as a command is taken.

use super::count_latency;
use crate::layout::connection::Connection;
use crate::protocols::redis::commands::Kind;
use crate::protocols::redis::layout::{Command, State};
use crate::protocols::redis::{BLOCKING, Header, LENGTH_MAX, Redis, Subprogram};
use crate::stream::lookups::Found;
use crate::stream::names::Keys;
use crate::stream::pipeline::{ALONE, KEYS, REPLIES, TIMELESS, Transaction, UNKNOWN};
use crate::stream::text::find_in_two;

/// The line that most writes are answered with.
const OK: u64 = u64::from_le_bytes(*b"+OK\r\n\0\0\0");
const OK_LENGTH: u32 = 5;
const OK_MASK: u64 = (1 << (8 * OK_LENGTH)) - 1;

impl Redis {
    /// Takes the reply that starts at `at`, with `available` bytes of the window, if it is a plain one. If not,
    /// nothing has been done.
    #[inline(always)]
    pub(super) fn take_plain<S: Keys>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
        at: u32,
        available: u32,
    ) -> u32 {
        const NO: u32 = Subprogram::Reply.asked();
        if !self.pipeline.is_in(Transaction::None) || connection.details.redis().state != State::Session as u8
        {
            return NO;
        }
        let Some(run) = self.pipeline.next(REPLIES, connection.id, source) else { return NO };
        let code = run.code;
        let command = Kind::of(code);
        if run.flags & (KEYS | UNKNOWN | TIMELESS | ALONE | BLOCKING) != 0 {
            return NO;
        }
        if !command.is_plainly_answered() {
            if command.is_plain_with_queue() {
                self.replies.run = run;
                return Subprogram::PlainQueueReply.asked();
            }
            return NO;
        }
        let finds = command.finds_one();
        let (lo, hi) = source.words(at);
        let reach = if available < 16 { available } else { 16 };
        let kind = lo as u8;
        let mut found = true;
        let mut value = 0;
        let line;
        if kind == b'$' {
            let Ok(Some(header)) = Header::read(lo, hi, reach) else { return NO };
            line = header.length;
            match header.value {
                Some(length) if length <= LENGTH_MAX => value = length as u32 + 2,
                Some(_) => return NO,
                None => found = false,
            }
        } else if finds {
            return NO;
        } else if lo & OK_MASK == OK && reach >= OK_LENGTH {
            line = OK_LENGTH;
        } else if kind == b':' && code != Command::Set as u8 {
            let end = find_in_two(lo, hi, b'\n');
            if end >= reach {
                return NO;
            }
            line = end + 1;
        } else {
            return NO;
        }
        self.pipeline.advance(REPLIES, 1);
        let counters = connection.details.redis_mut();
        counters.answered = counters.answered.wrapping_add(1);
        if code == Command::Get as u8 || code == Command::Set as u8 {
            let took = source.now_ns().saturating_sub(run.start_ns);
            count_latency(code, took, connection);
        }
        if finds {
            let finding = Found::one(run.prefix, found);
            self.count(finding, source, connection);
        }
        let behind = at + line + value;
        let end = source.end();
        self.replies.skip = behind.saturating_sub(end);
        source.go_to(if behind < end { behind } else { end });
        0
    }
}
