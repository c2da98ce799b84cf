//! Which command a value answers, and what that tells.

use super::line::{Line, is_bulk};
use super::queues::QueueStep;
use super::{Elements, ReplyField, count_latency};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::protocols::redis::commands::{Kind, finds_one, is_subscription};
use crate::protocols::redis::layout::{Command, State};
use crate::protocols::redis::{BLOCKING, Redis, TURNS};
use crate::queues::layout::KEY_MAX;
use crate::stream::bytes::{Host, hide_field};
use crate::stream::lookups::Found;
use crate::stream::pipeline::{ELEMENTS, KEYS, REPLIES, Run, TIMELESS, Transaction, UNKNOWN};

/// Whether a transaction does not take the command: it is answered, with an error, at once.
#[inline(always)]
pub(super) const fn is_refused_inside(code: u8) -> bool {
    code == Command::Multi as u8 || code == Command::Watch as u8
}

impl Redis {
    /// Whether what comes next is the answer to a command that makes the connection another thing, if it is accepted.
    #[inline(always)]
    pub(in crate::protocols::redis) fn turns_next<S: Host>(
        &mut self,
        source: &mut S,
        connection: &Connection,
    ) -> bool {
        self.pipeline.next(REPLIES, connection.id, source).is_some_and(|run| run.has(TURNS))
    }

    /// A value, which may be a reply, an element, or neither. Whether there is a command that it may answer
    /// is said; its run is in memory.
    #[inline(always)]
    pub(super) fn take_value<S: Host>(
        &mut self,
        line: &Line,
        is_awaited: bool,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<Found, Desync> {
        let replies = &mut self.replies;
        let elements = line.elements();
        if line.kind == b'|' {
            // Attributes of what comes behind them.
            replies.elements = Elements::Any as u8;
            replies.left = replies.left.saturating_add(elements);
            return Ok(Found::NONE);
        }
        if replies.left > 0 {
            replies.left = replies.left - 1 + elements;
            return Ok(self.take_element(line, source, connection));
        }
        replies.elements = Elements::Any as u8;
        replies.left = elements;
        let is_error = line.kind == b'-' || line.kind == b'!';
        let code = hide_field(&replies.run.code);
        let code = if is_awaited { code } else { Command::Other as u8 };
        let answers_subscription = is_subscription(code);
        if line.kind == b'>' && !(replies.outer > 0 && answers_subscription) {
            replies.elements = Elements::Pushed as u8;
            return Ok(Found::NONE);
        }
        if replies.outer > 0 {
            replies.outer -= 1;
            if is_error {
                self.take_error(line, connection);
            }
            if !is_awaited {
                return Ok(Found::NONE);
            }
            let run = hide_field(&self.replies.run);
            if run.code == Command::Exec as u8 {
                return Ok(Found::NONE);
            }
            let units = if answers_subscription { self.pipeline.left(ELEMENTS, &run) } else { 1 };
            self.pipeline.advance(ELEMENTS, units);
            if is_error {
                self.replies.ask(QueueStep::Refused, ELEMENTS);
            }
            if is_error || run.has(UNKNOWN) {
                return Ok(Found::NONE);
            }
            if run.has(TURNS) {
                self.turn(connection);
                return Ok(Found::NONE);
            }
            if answers_subscription {
                let elements = if line.kind == b'>' { Elements::Pushed } else { Elements::Published };
                self.replies.elements = elements as u8;
                return Ok(Found::NONE);
            }
            return self.take_keys(line, &run, ELEMENTS, source, connection);
        }
        if self.pipeline.is_in(Transaction::Executed) {
            self.pipeline.go_to(Transaction::None);
        }
        let subscribed = connection.details.redis().state == State::Subscribed as u8;
        if !is_awaited {
            if subscribed {
                self.replies.elements = Elements::Published as u8;
                return Ok(Found::NONE);
            }
            if is_error && connection.details.redis().asked == 0 {
                // The server's first words: it does not take the connection.
                self.take_error(line, connection);
                return Ok(Found::NONE);
            }
            return Err(Desync::Header);
        }
        let run = hide_field(&self.replies.run);
        if line.kind == b'*' && (subscribed || answers_subscription) {
            // What it is, and which command it answers if any, is told by its first element.
            self.replies.elements = Elements::Published as u8;
            return Ok(Found::NONE);
        }
        if !self.take_reply(line, &run, is_error, source, connection) {
            return Ok(Found::NONE);
        }
        self.take_keys(line, &run, REPLIES, source, connection)
    }

    /// A value inside a reply.
    #[inline(always)]
    fn take_element<S: Host>(&mut self, line: &Line, source: &mut S, connection: &mut Connection) -> Found {
        let replies = &mut self.replies;
        let kind = hide_field(&replies.elements);
        if kind == Elements::Entries as u8 {
            replies.take_entry_element(line);
            return Found::NONE;
        }
        if kind >= Elements::Queue as u8 {
            let is_name = kind != Elements::Messages as u8 && line.kind == b'$';
            if is_name && line.count > 0 && line.count <= u64::from(KEY_MAX) {
                replies.look_at(ReplyField::Queue);
            } else {
                replies.ask(QueueStep::Element, REPLIES);
            }
            return Found::NONE;
        }
        if kind == Elements::Keys as u8 || kind == Elements::KeysOfElement as u8 {
            let who = if kind == Elements::Keys as u8 { REPLIES } else { ELEMENTS };
            let found = line.kind == b'$' && !line.is_nil();
            if let Some(run) = self.pipeline.next(who, connection.id, source)
                && run.has(KEYS)
            {
                self.pipeline.advance(who, 1);
                return Found::one(run.prefix, found);
            }
        } else if kind == Elements::Published as u8 || kind == Elements::Pushed as u8 {
            // Its kind is the first; what follows is not looked at.
            if is_bulk(line.kind) && line.count > 0 {
                replies.look_at(ReplyField::Word);
            } else {
                replies.elements = Elements::Any as u8;
            }
        } else if kind >= Elements::Unsubscribed as u8 && replies.left == 0 && line.is_zero() {
            // None is left of these. The session takes other commands again once there is none of either.
            self.subscriptions &= !(1 << ((kind - Elements::Unsubscribed as u8) & 1));
            if self.subscriptions == 0 {
                connection.details.redis_mut().state = State::Session as u8;
            }
        }
        Found::NONE
    }

    /// The reply to the next command. False if it is none to what the command does.
    #[inline(always)]
    fn take_reply<S: Host>(
        &mut self,
        line: &Line,
        run: &Run,
        is_error: bool,
        source: &mut S,
        connection: &mut Connection,
    ) -> bool {
        let code = run.code;
        let queued = line.is_queued();
        if queued {
            self.pipeline.begin_transaction();
        }
        // One error answers all channels, and so does one word that they wait for `EXEC`.
        let is_one = !(is_error || queued) || !is_subscription(code);
        let units = if is_one { 1 } else { self.pipeline.left(REPLIES, run) };
        self.pipeline.advance(REPLIES, units);
        let counters = connection.details.redis_mut();
        counters.answered = counters.answered.wrapping_add(units);
        counters.waits_answered = counters.waits_answered.wrapping_add(u16::from(run.has(BLOCKING)));
        if is_error {
            self.take_error(line, connection);
            // With one that is not queued, all of the transaction is thrown away.
            if !self.pipeline.is_in(Transaction::Queued) {
                self.replies.ask(QueueStep::Refused, REPLIES);
            }
        }
        if queued {
            return false;
        }
        let in_transaction = self.pipeline.is_in(Transaction::Queued);
        if in_transaction {
            if code == Command::Exec as u8 && line.kind == b'*' && line.count > 0 {
                self.pipeline.go_to(Transaction::Executed);
                self.replies.outer = line.count as u32;
                self.replies.left = 0;
                return false;
            }
            // Commands that are refused are not queued; any other reply ends it.
            if !is_error || code == Command::Exec as u8 {
                self.replies.ask(QueueStep::Thrown, ELEMENTS);
            }
        }
        let counters = connection.details.redis_mut();
        if code == Command::Reset as u8 && !is_error {
            counters.state = State::Session as u8;
            self.subscriptions = 0;
        }
        if run.has(TURNS) && !is_error {
            self.turn(connection);
            return false;
        }
        let counters = connection.details.redis_mut();
        if run.has(UNKNOWN) {
            counters.unmatched = counters.unmatched.wrapping_add(1);
            return false;
        }
        if (code == Command::Get as u8 || code == Command::Set as u8) && !in_transaction {
            if run.has(TIMELESS) {
                counters.unmatched = counters.unmatched.wrapping_add(1);
            } else {
                let took = source.now_ns().saturating_sub(run.start_ns);
                count_latency(code, took, connection);
            }
        }
        !is_error
    }

    /// Tells which keys a reply, of what command it may be, has found.
    #[inline(always)]
    fn take_keys<S: Host>(
        &mut self,
        line: &Line,
        run: &Run,
        who: u32,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<Found, Desync> {
        let code = run.code;
        if Kind::of(hide_field(&self.replies.run.code)).has_queue() {
            self.replies.ask(QueueStep::Reply, who);
            return Ok(Found::NONE);
        }
        if finds_one(code) {
            if !(line.is_nil() || line.kind == b'$') {
                return Err(Desync::Header);
            }
            let found = !line.is_nil();
            return Ok(Found::one(run.prefix, found));
        }
        if code == Command::Mget as u8 || code == Command::Exists as u8 {
            let many = code == Command::Mget as u8;
            if line.kind != if many { b'*' } else { b':' } {
                return Err(Desync::Header);
            }
            let Some(keys) = self.pipeline.next(who, connection.id, source).filter(|run| run.has(KEYS))
            else {
                let counters = connection.details.redis_mut();
                counters.unmatched = counters.unmatched.wrapping_add(1);
                return Ok(Found::NONE);
            };
            if many {
                let elements = if who == REPLIES { Elements::Keys } else { Elements::KeysOfElement };
                self.replies.elements = elements as u8;
                return Ok(Found::NONE);
            }
            let all = self.pipeline.left(who, &keys);
            self.pipeline.advance(who, all);
            let hits = match line.integer() {
                Some(found) if found < u64::from(all) => found as u32,
                _ => all,
            };
            return Ok(Found { prefix: keys.prefix, hits, misses: all.wrapping_sub(hits) });
        }
        if code == Command::Set as u8 && !(line.kind == b'+' || line.kind == b'$' || line.is_nil()) {
            return Err(Desync::Header);
        }
        if code == Command::Info as u8 && is_bulk(line.kind) && !line.is_nil() {
            self.replies.look_at(ReplyField::Info);
        }
        Ok(Found::NONE)
    }
}
