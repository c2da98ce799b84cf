//! What a server says.

mod line;
mod matching;
mod plain;
mod queues;
mod resync;
mod streams;
mod values;

pub(in crate::protocols) use self::line::is_type;
use self::line::{Line, is_bulk};
use self::matching::is_refused_inside;
use self::queues::QueueStep;
pub(super) use self::resync::is_whole;
use self::streams::EntryStep;
use super::layout::{Command, Counters, LATENCY_BOUNDS};
use super::{Redis, Subprogram, text};
use crate::layout::Zeroes;
use crate::layout::buckets::{add, observe};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::stream::bytes::{Bytes, hide_field, pass};
use crate::stream::carry::Carry;
use crate::stream::lookups::{Found, LookupCounters, Lookups};
use crate::stream::names::Keys;
use crate::stream::pipeline::{ELEMENTS, KEYS, REPLIES, Run};
use crate::stream::prefix::Text;
use crate::stream::text::find_in_two;

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum ReplyField {
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
    /// The name of a queue that a message was taken out of.
    Queue = 9,
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
    /// The answer to the end of a subscription: how many are left comes last, of channels and patterns or of shards'.
    Unsubscribed = 5,
    ShardUnsubscribed = 6,
    /// The name of a queue, and one message that was taken out of it; or several, whose number comes behind the name.
    Queue = 7,
    QueueOfSeveral = 8,
    /// How many messages were taken.
    Messages = 9,
    /// Entries of a stream.
    Entries = 10,
}

/// The server's stream.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Replies {
    carry: Carry,
    /// The first bytes of a value that is looked at.
    text: Text,
    /// Elements still to come in the reply, however deep.
    left: u64,
    /// The number in an `INFO` that is being read.
    number: u64,
    /// Bytes of the value in progress that have not passed, with the two behind it.
    skip: u32,
    /// Elements of `EXEC`'s reply that have not begun.
    outer: u32,
    /// The run that a reply may answer. What is read of it here is always there, whereas of a run that there is none of the
    /// compiler may leave registers unset, and the verifier refuses to have them looked at.
    run: Run,
    /// Keys found and not found, not counted yet.
    lookups: Lookups,
    carried: u8,
    text_length: u8,
    /// A [`ReplyField`].
    look: u8,
    /// [`Elements`].
    elements: u8,
    /// 1 if the line is to be looked at again.
    again: u8,
    /// At which [`End`](crate::queues::End) messages were taken.
    end: u8,
    /// The number of the queue that several were taken out of.
    queue: u16,
    /// What is to be done for a queue: a [`QueueStep`](queues::QueueStep); and for which reader.
    queue_step: u8,
    who: u8,
    /// What the next element of a reply with entries of a stream is: an [`EntryStep`]. How many elements are left of the
    /// entry, and how many entries of the stream.
    entry_step: u8,
    padding: [u8; 5],
    fields: u32,
    entries: u32,
    line: Line,
}

// SAFETY: of integers only, without padding.
unsafe impl Zeroes for Replies {}

impl Replies {
    /// All zeroes.
    pub(super) const START: Self = Self {
        carry: Carry::EMPTY,
        text: Text::NONE,
        left: 0,
        number: 0,
        skip: 0,
        outer: 0,
        run: Run::BLANK,
        lookups: Lookups::NONE,
        carried: 0,
        text_length: 0,
        look: ReplyField::Over as u8,
        elements: Elements::Any as u8,
        again: 0,
        end: 0,
        queue: 0,
        queue_step: QueueStep::None as u8,
        who: 0,
        entry_step: EntryStep::Pair as u8,
        padding: [0; 5],
        fields: 0,
        entries: 0,
        line: Line::NONE,
    };

    #[inline(always)]
    const fn is(&self, field: ReplyField) -> bool {
        self.look == field as u8
    }

    #[inline(always)]
    pub(super) const fn is_between(&self) -> bool {
        self.skip == 0
            && self.carried == 0
            && self.left == 0
            && self.outer == 0
            && self.look == ReplyField::Over as u8
    }

    /// The bytes of a value that is not looked at, if the stream is in one.
    #[inline(always)]
    pub(super) const fn unread(&mut self) -> Option<&mut u32> {
        if self.skip > 0 && self.is(ReplyField::Over) { Some(&mut self.skip) } else { None }
    }

    #[inline(always)]
    fn keep(&mut self, lo: u64, hi: u64, have: u32) {
        self.carry = Carry::of(lo, hi, have);
        self.carried = have as u8;
    }

    /// Adds a byte to the text, if there is room.
    #[inline(always)]
    fn add(&mut self, byte: u8) {
        let length = u32::from(self.text_length);
        if let Some(word) = self.text.words.get_mut((length >> 3) as usize) {
            *word |= u64::from(byte) << (8 * (length & 7));
            self.text_length += 1;
        }
    }

    #[inline(always)]
    fn look_at(&mut self, field: ReplyField) {
        self.text = Text::NONE;
        self.text_length = 0;
        self.look = field as u8;
    }
}

impl Redis {
    /// Takes a plain reply of which all is in reach, or what is not looked at, and goes at least one byte further; or asks
    /// for another subprogram.
    #[inline(always)]
    pub(super) fn plain_reply<S: Keys>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let at = source.position();
        if source.end().saturating_sub(at) == 0 {
            return 0;
        }
        if self.ignored != 0 {
            source.go_to(source.end());
            return 0;
        }
        if let Some(skip) = self.replies.unread() {
            pass(skip, source);
            return 0;
        }
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        if self.replies.is_between() && self.take_plain(source, connection, at, available) {
            return 0;
        }
        Subprogram::Reply.asked()
    }

    /// Takes what is in reach: a line, or bytes of a value. Goes at least one byte further, or one run.
    #[inline(always)]
    pub(super) fn reply<S: Bytes>(&mut self, source: &mut S) -> u32 {
        let at = source.position();
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        let replies = &mut self.replies;
        let reach = if available < 16 { available } else { 16 };
        let (lo, hi) = source.words(at);
        if replies.is(ReplyField::Line) {
            let end = find_in_two(lo, hi, b'\n');
            if end < reach {
                replies.look = ReplyField::Over as u8;
            }
            source.go_to(at + if end < reach { end + 1 } else { reach });
            return 0;
        }
        if !replies.is(ReplyField::Over) {
            replies.line = Line { lo, hi, length: reach, ..Line::NONE };
            return Subprogram::Value.asked();
        }
        let before = u32::from(replies.carried);
        let (lo, hi, have) = replies.carry.join(replies.carried, lo, hi, reach);
        match Line::read(lo, hi, have) {
            Ok(Some(line)) => replies.line = line,
            Ok(None) => {
                replies.keep(lo, hi, have);
                source.go_to(at + (have - before));
                return 0;
            }
            Err(desync) => return Desync::code(Some(desync)),
        }
        Subprogram::Line.asked()
    }

    /// Goes past the line that was taken, unless it is to be taken again.
    #[inline(always)]
    pub(super) fn end_line<S: Bytes>(&mut self, source: &mut S) {
        let replies = &mut self.replies;
        if replies.again != 0 {
            replies.again = 0;
            return;
        }
        let before = u32::from(replies.carried);
        replies.carry = Carry::EMPTY;
        replies.carried = 0;
        source.go_to(source.position() + replies.line.length.saturating_sub(before));
        if let Some(skip) = replies.unread() {
            pass(skip, source);
        }
    }

    /// A line is there: a value's, which may be a reply, an element, or neither.
    #[inline(always)]
    pub(super) fn take_line<S: Keys>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let line = hide_field(&self.replies.line);
        let who = if self.replies.outer > 0 { ELEMENTS } else { REPLIES };
        let mut is_awaited = false;
        if self.replies.left == 0
            && let Some(run) = self.pipeline.next(who, connection.id, source)
        {
            if run.has(KEYS) || (who == ELEMENTS && is_refused_inside(run.code)) {
                // Keys of a command whose reply was none, or a command that a transaction does not take: nothing
                // comes to them.
                self.pipeline.leave(who, &run);
                self.replies.again = 1;
                return Ok(());
            }
            self.replies.run = run;
            is_awaited = true;
        }
        if line.complete == 0 {
            self.replies.look = ReplyField::Line as u8;
        }
        if is_bulk(line.kind) && !line.is_nil() {
            self.replies.skip = line.count as u32 + 2;
        }
        let found = self.take_value(&line, is_awaited, source, connection)?;
        self.count(found, source, connection);
        Ok(())
    }

    /// An error: its kind is its first word.
    #[inline(always)]
    fn take_error(&mut self, line: &Line, connection: &mut Connection) {
        if line.kind == b'!' {
            if line.count > 0 {
                self.replies.look_at(ReplyField::Word);
                return;
            }
            count_error(0, 0, connection);
            return;
        }
        count_error(line.lo >> 8 | line.hi << 56, line.hi >> 8, connection);
    }

    /// Counts keys.
    #[inline(always)]
    fn count<S: Keys>(&mut self, found: Found, source: &mut S, connection: &mut Connection) {
        self.replies.lookups.add(found, source, connection, counters);
    }

    /// Hands on what was counted.
    #[inline(always)]
    pub(super) fn settle<S: Keys>(&mut self, source: &mut S, connection: &mut Connection) {
        self.replies.lookups.settle(source, connection, counters);
    }
}

#[inline(always)]
const fn counters(connection: &mut Connection) -> &mut Counters {
    connection.details.redis_mut()
}

impl LookupCounters for Counters {
    #[inline(always)]
    fn fields(&mut self) -> [&mut u32; 3] {
        [&mut self.hits_other, &mut self.misses_other, &mut self.counted]
    }
}

#[inline(always)]
fn count_error(lo: u64, hi: u64, connection: &mut Connection) {
    let kind = text::error_kind(lo, hi);
    let errors = &mut connection.details.redis_mut().errors;
    add(errors, usize::from(hide_field(&kind)));
}

#[inline(always)]
fn count_latency(code: u8, nanoseconds: u64, connection: &mut Connection) {
    let counters = connection.details.redis_mut();
    let (sum, counts) = if code == Command::Get as u8 {
        (&mut counters.get_ns, &mut counters.gets)
    } else {
        (&mut counters.set_ns, &mut counters.sets)
    };
    observe(&LATENCY_BOUNDS, nanoseconds, sum, counts);
}
