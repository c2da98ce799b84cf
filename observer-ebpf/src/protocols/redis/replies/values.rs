//! The values that are looked at: what a push or an error starts with, and `INFO`'s text.

use super::line::Line;
use super::queues::QueueStep;
use super::{Elements, ReplyField, count_error};
use crate::layout::connection::Connection;
use crate::protocols::redis::commands::is_subscription;
use crate::protocols::redis::layout::{Command, State};
use crate::protocols::redis::{Redis, text};
use crate::stream::bytes::{Host, hide_field, low_of_two};
use crate::stream::pipeline::REPLIES;
use crate::stream::text::{find_in_two, words};

impl Redis {
    /// Bytes of a value that is looked at.
    #[inline(always)]
    pub(in crate::protocols::redis) fn read_value<S: Host>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let Line { lo, hi, length: reach, .. } = hide_field(&self.replies.line);
        let replies = &mut self.replies;
        let rest = replies.skip.saturating_sub(2);
        let mut taken = 1;
        let wanted = if rest < 16 { rest } else { 16 };
        let mut over = false;
        if replies.is(ReplyField::InfoLine) {
            let end = find_in_two(lo, hi, b'\n') + 1;
            taken = if end < reach { end } else { reach };
            if end <= reach {
                replies.look_at(ReplyField::Info);
            }
            if taken >= rest {
                taken = rest;
                replies.look = ReplyField::Over as u8;
            }
        } else if replies.is(ReplyField::Word) {
            if replies.text_length == 0 && reach >= wanted {
                (replies.text.words[0], replies.text.words[1]) = low_of_two(lo, hi, wanted);
                replies.text_length = wanted as u8;
                taken = wanted;
                over = true;
            } else {
                replies.add(lo as u8);
                over = rest <= 1 || replies.text_length >= 16;
            }
        } else if replies.is(ReplyField::Queue) {
            let length = u32::from(replies.text_length);
            let most = if reach < rest { reach } else { rest };
            if length.is_multiple_of(16) {
                let (lo, hi) = low_of_two(lo, hi, most);
                let place = (core::hint::black_box(length) >> 3) as usize & 6;
                replies.text.words[place] = lo;
                replies.text.words[place + 1] = hi;
                replies.text_length = (length + most) as u8;
                taken = most;
            } else {
                replies.add(lo as u8);
            }
            over = rest <= taken;
        } else {
            self.read_info(lo as u8, rest <= 1, source, connection);
        }
        self.replies.skip = self.replies.skip.saturating_sub(taken);
        source.go_to(source.position() + taken);
        if over {
            self.replies.look = ReplyField::Over as u8;
            self.end_value(source, connection);
        }
    }

    /// A value's first 16 bytes are in the text.
    #[inline(always)]
    fn end_value<S: Host>(&mut self, source: &mut S, connection: &mut Connection) {
        const PONG: (u64, u64) = words("pong");
        let kind = hide_field(&self.replies.elements);
        let [lo, hi, ..] = self.replies.text.words;
        if kind >= Elements::Queue as u8 {
            self.replies.ask(QueueStep::Name, REPLIES);
            return;
        }
        if kind != Elements::Published as u8 && kind != Elements::Pushed as u8 {
            count_error(lo, hi, connection);
            return;
        }
        self.replies.elements = Elements::Any as u8;
        let pushed = kind == Elements::Pushed as u8;
        // It says which command it answers, if it answers any: a server also ends subscriptions of itself.
        let said = text::command(lo, hi, u32::from(self.replies.text_length));
        let code = hide_field(&if (lo, hi) == PONG && !pushed { Command::Ping as u8 } else { said });
        let counters = connection.details.redis_mut();
        if is_subscription(code) {
            let of_shard = code == Command::Ssubscribe as u8 || code == Command::Sunsubscribe as u8;
            let begins = code == Command::Subscribe as u8
                || code == Command::Psubscribe as u8
                || code == Command::Ssubscribe as u8;
            if begins && !pushed {
                self.subscriptions |= 1 << u8::from(of_shard);
                counters.state = State::Subscribed as u8;
            } else if !pushed {
                let ended = if of_shard { Elements::ShardUnsubscribed } else { Elements::Unsubscribed };
                self.replies.elements = ended as u8;
            }
        } else if (lo, hi) != PONG || pushed {
            return;
        }
        if let Some(run) = self.pipeline.next(REPLIES, connection.id, source)
            && run.code == code
        {
            self.pipeline.advance(REPLIES, 1);
            let counters = connection.details.redis_mut();
            counters.answered = counters.answered.wrapping_add(1);
        }
    }

    /// A byte of `INFO`'s text.
    #[inline(always)]
    fn read_info<S: Host>(&mut self, byte: u8, last: bool, source: &mut S, connection: &mut Connection) {
        const MEMORY: (u64, u64) = words("used_memory");
        const LIMIT: (u64, u64) = words("maxmemory");
        const EVICTED: (u64, u64) = words("evicted_keys");
        let replies = &mut self.replies;
        let look = replies.look;
        let mut next = look;
        if look == ReplyField::Info as u8 {
            next =
                if matches!(byte, b'u' | b'm' | b'e') { ReplyField::InfoName } else { ReplyField::InfoLine }
                    as u8;
            if byte == b'\n' || byte == b'\r' {
                next = look;
            }
            replies.add(byte);
        } else if look == ReplyField::InfoName as u8 {
            if byte == b':' {
                let name = (replies.text.words[0], replies.text.words[1]);
                replies.number = 0;
                next = if name == MEMORY {
                    ReplyField::InfoMemory
                } else if name == LIMIT {
                    ReplyField::InfoLimit
                } else if name == EVICTED {
                    ReplyField::InfoEvicted
                } else {
                    ReplyField::InfoLine
                } as u8;
            } else if replies.text_length >= 16 || byte == b'\n' {
                next = ReplyField::InfoLine as u8;
            } else {
                replies.add(byte);
            }
        } else {
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                replies.number = replies.number.wrapping_mul(10).wrapping_add(u64::from(digit));
            }
            if digit > 9 || last {
                next = ReplyField::InfoLine as u8;
                let now = source.now_ns();
                let counters = connection.details.redis_mut();
                if look == ReplyField::InfoMemory as u8 {
                    (counters.memory_used, counters.memory_ns) = (replies.number, now);
                } else if look == ReplyField::InfoLimit as u8 {
                    (counters.memory_limit, counters.limit_ns) = (replies.number, now);
                } else {
                    (counters.evicted_keys, counters.evicted_ns) = (replies.number, now);
                }
            }
        }
        if byte == b'\n' {
            next = ReplyField::Info as u8;
        }
        if next == ReplyField::Info as u8 {
            replies.text.words[0] = 0;
            replies.text.words[1] = 0;
            replies.text_length = 0;
        }
        replies.look = if last { ReplyField::Over as u8 } else { next };
    }
}
