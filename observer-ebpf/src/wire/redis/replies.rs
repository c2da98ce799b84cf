//! What a server says.

mod line;
mod regain;
mod values;
mod whole;

pub(in crate::wire) use self::line::is_type;
use self::line::{Line, is_bulk};
use super::commands::{is_one, is_subscription};
use super::queue::{ELEMENTS, KEYS, REPLIES, Run, TIMELESS, Transaction, UNKNOWN};
use super::{Part, Redis, pass_unread, text};
use crate::layout::Zeroes;
use crate::layout::buckets::{add, bucket};
use crate::layout::connection::Connection;
use crate::layout::health::Desync;
use crate::layout::redis::{Command, CountKey, LATENCY_BOUNDS, State};
use crate::wire::head::Head;
use crate::wire::source::{Source, recall};

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Look {
    /// A line that starts a value, or a value that is not looked at.
    Over = 0,
    /// The rest of a line.
    Line = 1,
    /// A value: what is published, or an error.
    Word = 2,
    /// `INFO`'s, at the start of a line.
    Info = 3,
    /// In the name before a colon.
    InfoName = 4,
    /// In a number that is of interest.
    InfoMemory = 5,
    InfoEvicted = 6,
    /// In the rest of a line.
    InfoLine = 7,
    /// In a number, too.
    InfoLimit = 8,
}

/// What the elements of the aggregate in progress are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Elements {
    /// Of no interest.
    Any = 0,
    /// `MGET`'s: keys, found or not. What it answered is next for replies, or for elements of `EXEC`'s.
    Keys = 1,
    KeysOfElement = 2,
    /// What is published, or the answer to a subscription: its kind comes first.
    Published = 3,
    /// A push is that, too, where there is RESP3.
    Pushed = 4,
    /// The answer to the end of a subscription: how many are left comes last.
    Unsubscribed = 5,
}

/// The server's stream.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Replies {
    head: Head,
    /// The first bytes of a value that is looked at.
    text: [u64; 2],
    /// Elements still to come in the reply, however deep.
    left: u64,
    /// The number in an `INFO` that is being read.
    number: u64,
    /// Bytes of the value in progress that have not passed, with the two behind it.
    skip: u32,
    /// Elements of `EXEC`'s reply that have not begun.
    outer: u32,
    /// Keys found and not found, not counted yet, and the number of their prefix.
    hits: u32,
    misses: u32,
    prefix: u32,
    /// While a call is looked through: its replies.
    whole: u32,
    head_length: u8,
    text_length: u8,
    /// A [`Look`].
    look: u8,
    /// [`Elements`].
    elements: u8,
    /// 1 if the line is to be looked at again.
    again: u8,
    reserved: [u8; 3],
    line: Line,
}

// SAFETY: of integers only, without padding.
unsafe impl Zeroes for Replies {}

impl Replies {
    /// All zeroes.
    pub(super) const START: Self = Self {
        head: Head::EMPTY,
        text: [0; 2],
        left: 0,
        number: 0,
        skip: 0,
        outer: 0,
        hits: 0,
        misses: 0,
        prefix: 0,
        whole: 0,
        head_length: 0,
        text_length: 0,
        look: Look::Over as u8,
        elements: Elements::Any as u8,
        again: 0,
        reserved: [0; 3],
        line: Line::NONE,
    };

    #[inline(always)]
    const fn is(&self, look: Look) -> bool {
        self.look == look as u8
    }

    #[inline(always)]
    pub(super) const fn is_between(&self) -> bool {
        self.skip == 0
            && self.head_length == 0
            && self.left == 0
            && self.outer == 0
            && self.look == Look::Over as u8
    }

    /// The bytes of a value that is not looked at, if the stream is in one.
    #[inline(always)]
    pub(super) const fn unread(&mut self) -> Option<&mut u32> {
        if self.skip > 0 && self.is(Look::Over) { Some(&mut self.skip) } else { None }
    }

    #[inline(always)]
    fn keep(&mut self, lo: u64, hi: u64, have: u32) {
        self.head = Head::of(lo, hi, have);
        self.head_length = have as u8;
    }

    /// Adds a byte to the text, if there is room.
    #[inline(always)]
    fn add(&mut self, byte: u8) {
        let length = self.text_length;
        let bits = 8 * u32::from(length & 7);
        if length < 8 {
            self.text[0] |= u64::from(byte) << bits;
        } else if length < 16 {
            self.text[1] |= u64::from(byte) << bits;
        } else {
            return;
        }
        self.text_length = length + 1;
    }

    #[inline(always)]
    fn look_at(&mut self, look: Look) {
        self.text = [0; 2];
        self.text_length = 0;
        self.look = look as u8;
    }
}

/// Keys of one prefix.
#[derive(Clone, Copy, Debug)]
struct Tally {
    prefix: u16,
    hits: u32,
    misses: u32,
}

impl Tally {
    const NONE: Self = Self { prefix: 0, hits: 0, misses: 0 };
}

/// Whether a transaction does not take the command: it is answered, with an error, at once.
#[inline(always)]
const fn is_refused_inside(code: u8) -> bool {
    code == Command::Multi as u8 || code == Command::Watch as u8
}

impl Redis {
    /// Takes a plain reply of which all is in reach, or what is not looked at; else asks for the other steps.
    /// Goes at least one byte further, then.
    #[inline(always)]
    pub(super) fn step_plain<S: Source>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let at = source.position();
        if source.end().saturating_sub(at) == 0 {
            return 0;
        }
        if let Some(skip) = self.replies.unread() {
            pass_unread(Some(skip), source);
            return 0;
        }
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        if self.replies.is_between() && self.take_plain(source, connection, at, available) {
            return 0;
        }
        Part::Replies.asked()
    }

    /// Takes what is in reach: a line, or bytes of a value. Goes at least one byte further, or one run.
    #[inline(always)]
    pub(super) fn step_replies<S: Source>(&mut self, source: &mut S) -> u32 {
        let at = source.position();
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        let replies = &mut self.replies;
        let reach = if available < 16 { available } else { 16 };
        let (lo, hi) = source.words(at);
        if replies.is(Look::Line) {
            let end = text::find_in_two(lo, hi, b'\n');
            if end < reach {
                replies.look = Look::Over as u8;
            }
            source.go_to(at + if end < reach { end + 1 } else { reach });
            return 0;
        }
        if !replies.is(Look::Over) {
            replies.line = Line { lo, hi, length: reach, ..Line::NONE };
            return Part::Value.asked();
        }
        let before = u32::from(replies.head_length);
        let (lo, hi, have) = replies.head.join(replies.head_length, lo, hi, reach);
        match Line::read(lo, hi, have) {
            Ok(Some(line)) => replies.line = line,
            Ok(None) => {
                replies.keep(lo, hi, have);
                source.go_to(at + (have - before));
                return 0;
            }
            Err(desync) => return Desync::code(Some(desync)),
        }
        Part::Take.asked()
    }

    /// Goes past the line that was taken, unless it is to be taken again.
    #[inline(always)]
    pub(super) fn end_line<S: Source>(&mut self, source: &mut S) {
        let replies = &mut self.replies;
        if replies.again != 0 {
            replies.again = 0;
            return;
        }
        let before = u32::from(replies.head_length);
        replies.head = Head::EMPTY;
        replies.head_length = 0;
        source.go_to(source.position() + replies.line.length.saturating_sub(before));
        pass_unread(replies.unread(), source);
    }

    /// A line is there: a value's, which may be a reply, an element, or neither.
    #[inline(always)]
    pub(super) fn take<S: Source>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let line = recall(&self.replies.line);
        let who = if self.replies.outer > 0 { ELEMENTS } else { REPLIES };
        let mut run = None;
        if self.replies.left == 0 {
            run = self.queue.next(who).copied();
            if let Some(run) = run
                && (run.has(KEYS) || (who == ELEMENTS && is_refused_inside(run.code)))
            {
                // Keys of a command whose reply was none, or a command that a transaction does not take: nothing
                // comes to them.
                self.queue.leave(who, &run);
                self.replies.again = 1;
                return Ok(());
            }
        }
        if line.complete == 0 {
            self.replies.look = Look::Line as u8;
        }
        if is_bulk(line.kind) && !line.is_nil() {
            self.replies.skip = line.count as u32 + 2;
        }
        let tally = self.take_value(&line, run, source, connection)?;
        self.count(tally, source, connection);
        Ok(())
    }

    /// A value, which may be a reply, an element, or neither. `run` is of the command that it may answer.
    #[inline(always)]
    fn take_value<S: Source>(
        &mut self,
        line: &Line,
        run: Option<Run>,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<Tally, Desync> {
        let replies = &mut self.replies;
        let elements = line.elements();
        if line.kind == b'|' {
            // Attributes of what comes behind them.
            replies.elements = Elements::Any as u8;
            replies.left = replies.left.saturating_add(elements);
            return Ok(Tally::NONE);
        }
        if replies.left > 0 {
            replies.left = replies.left - 1 + elements;
            return Ok(self.take_element(line, connection));
        }
        replies.elements = Elements::Any as u8;
        replies.left = elements;
        let is_error = line.kind == b'-' || line.kind == b'!';
        if replies.outer > 0 {
            replies.outer -= 1;
            if is_error {
                self.take_error(line, connection);
            }
            let Some(run) = run else { return Ok(Tally::NONE) };
            if run.code == Command::Exec as u8 {
                return Ok(Tally::NONE);
            }
            self.queue.advance(ELEMENTS, 1);
            if is_error || run.has(UNKNOWN) {
                return Ok(Tally::NONE);
            }
            return self.take_keys(line, &run, ELEMENTS, connection);
        }
        if self.queue.is_in(Transaction::Executed) {
            self.queue.go_to(Transaction::None);
        }
        if line.kind == b'>' {
            self.replies.elements = Elements::Pushed as u8;
            return Ok(Tally::NONE);
        }
        let subscribed = connection.details.redis().state == State::Subscribed as u8;
        let Some(run) = run else {
            if subscribed {
                self.replies.elements = Elements::Published as u8;
                return Ok(Tally::NONE);
            }
            return Err(Desync::Header);
        };
        if line.kind == b'*' && (subscribed || is_subscription(run.code)) {
            // What it is, and which command it answers if any, is told by its first element.
            self.replies.elements = Elements::Published as u8;
            return Ok(Tally::NONE);
        }
        if !self.take_reply(line, &run, is_error, source, connection) {
            return Ok(Tally::NONE);
        }
        self.take_keys(line, &run, REPLIES, connection)
    }

    /// A value inside a reply.
    #[inline(always)]
    fn take_element(&mut self, line: &Line, connection: &mut Connection) -> Tally {
        let replies = &mut self.replies;
        let kind = recall(&replies.elements);
        if kind == Elements::Keys as u8 || kind == Elements::KeysOfElement as u8 {
            let who = if kind == Elements::Keys as u8 { REPLIES } else { ELEMENTS };
            let found = line.kind == b'$' && !line.is_nil();
            if let Some(run) = self.queue.next(who).copied()
                && run.has(KEYS)
            {
                self.queue.advance(who, 1);
                return Tally { prefix: run.prefix, hits: u32::from(found), misses: u32::from(!found) };
            }
        } else if kind == Elements::Published as u8 || kind == Elements::Pushed as u8 {
            // Its kind is the first; what follows is not looked at.
            if is_bulk(line.kind) && line.count > 0 {
                replies.look_at(Look::Word);
            } else {
                replies.elements = Elements::Any as u8;
            }
        } else if kind == Elements::Unsubscribed as u8 && replies.left == 0 && line.is_zero() {
            connection.details.redis_mut().state = State::Session as u8;
        }
        Tally::NONE
    }

    /// The reply to the next command. False if it is none to what the command does.
    #[inline(always)]
    fn take_reply<S: Source>(
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
            self.queue.begin_transaction();
        }
        // One error answers all channels.
        let units = if is_error && is_subscription(code) { self.queue.left(REPLIES, run) } else { 1 };
        self.queue.advance(REPLIES, units);
        let counters = connection.details.redis_mut();
        counters.answered = counters.answered.wrapping_add(units);
        if is_error {
            self.take_error(line, connection);
        }
        if queued {
            return false;
        }
        let in_transaction = self.queue.is_in(Transaction::Queued);
        if in_transaction {
            if code == Command::Exec as u8 && line.kind == b'*' && line.count > 0 {
                self.queue.go_to(Transaction::Executed);
                self.replies.outer = line.count as u32;
                self.replies.left = 0;
                return false;
            }
            // Commands that are refused are not queued; any other reply ends it.
            if !is_error || code == Command::Exec as u8 {
                self.queue.go_to(Transaction::None);
            }
        }
        let counters = connection.details.redis_mut();
        if code == Command::Reset as u8 && !is_error {
            counters.state = State::Session as u8;
        }
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
    fn take_keys(
        &mut self,
        line: &Line,
        run: &Run,
        who: u32,
        connection: &mut Connection,
    ) -> Result<Tally, Desync> {
        let code = run.code;
        if is_one(code) {
            if !(line.is_nil() || line.kind == b'$') {
                return Err(Desync::Header);
            }
            let found = !line.is_nil();
            return Ok(Tally { prefix: run.prefix, hits: u32::from(found), misses: u32::from(!found) });
        }
        if code == Command::Mget as u8 || code == Command::Exists as u8 {
            let many = code == Command::Mget as u8;
            if line.kind != if many { b'*' } else { b':' } {
                return Err(Desync::Header);
            }
            let Some(keys) = self.queue.next(who).copied().filter(|run| run.has(KEYS)) else {
                let counters = connection.details.redis_mut();
                counters.unmatched = counters.unmatched.wrapping_add(1);
                return Ok(Tally::NONE);
            };
            if many {
                let elements = if who == REPLIES { Elements::Keys } else { Elements::KeysOfElement };
                self.replies.elements = elements as u8;
                return Ok(Tally::NONE);
            }
            let all = self.queue.left(who, &keys);
            self.queue.advance(who, all);
            let digits = line.length.saturating_sub(3);
            let found = text::number(line.lo >> 8 | line.hi << 56, line.hi >> 8, digits);
            let hits = match found {
                Some(found) if found < u64::from(all) => found as u32,
                _ => all,
            };
            return Ok(Tally { prefix: keys.prefix, hits, misses: all.wrapping_sub(hits) });
        }
        if code == Command::Set as u8 && !(line.kind == b'+' || line.kind == b'$' || line.is_nil()) {
            return Err(Desync::Header);
        }
        if code == Command::Info as u8 && is_bulk(line.kind) && !line.is_nil() {
            self.replies.look_at(Look::Info);
        }
        Ok(Tally::NONE)
    }

    /// An error: its kind is its first word.
    #[inline(always)]
    fn take_error(&mut self, line: &Line, connection: &mut Connection) {
        if line.kind == b'!' {
            if line.count > 0 {
                self.replies.look_at(Look::Word);
                return;
            }
            count_error(0, 0, connection);
            return;
        }
        count_error(line.lo >> 8 | line.hi << 56, line.hi >> 8, connection);
    }

    /// Counts keys, with those of the same prefix before them.
    #[inline(always)]
    fn count<S: Source>(&mut self, tally: Tally, source: &mut S, connection: &mut Connection) {
        if tally.hits | tally.misses == 0 {
            return;
        }
        let prefix = u32::from(tally.prefix);
        if self.replies.prefix != prefix {
            self.settle(source, connection);
            self.replies.prefix = prefix;
        }
        self.replies.hits = self.replies.hits.wrapping_add(tally.hits);
        self.replies.misses = self.replies.misses.wrapping_add(tally.misses);
    }

    /// Hands on what was counted.
    #[inline(always)]
    pub(super) fn settle<S: Source>(&mut self, source: &mut S, connection: &mut Connection) {
        let replies = &mut self.replies;
        let (hits, misses) = (replies.hits, replies.misses);
        if hits | misses == 0 {
            return;
        }
        replies.hits = 0;
        replies.misses = 0;
        let key = CountKey { connection: connection.id, prefix: u64::from(replies.prefix) };
        let counted = source.count_keys(&key, hits, misses);
        let counters = connection.details.redis_mut();
        if !counted {
            counters.hits_other = counters.hits_other.wrapping_add(hits);
            counters.misses_other = counters.misses_other.wrapping_add(misses);
        }
        counters.counted = counters.counted.wrapping_add(hits).wrapping_add(misses);
    }
}

#[inline(always)]
fn count_error(lo: u64, hi: u64, connection: &mut Connection) {
    let kind = text::error_kind(lo, hi);
    let errors = &mut connection.details.redis_mut().errors;
    add(errors, usize::from(recall(&kind)));
}

#[inline(always)]
fn count_latency(code: u8, nanoseconds: u64, connection: &mut Connection) {
    let counters = connection.details.redis_mut();
    let place = bucket(&LATENCY_BOUNDS, nanoseconds);
    if code == Command::Get as u8 {
        counters.get_ns = counters.get_ns.saturating_add(nanoseconds);
        add(&mut counters.gets, place);
    } else {
        counters.set_ns = counters.set_ns.saturating_add(nanoseconds);
        add(&mut counters.sets, place);
    }
}
