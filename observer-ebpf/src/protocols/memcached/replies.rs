//! What a server says.

mod keys;
mod matching;

use super::layout::{Counters, LATENCY_BOUNDS};
use super::line::{self, End, Grammar, UNKNOWN_WORD, Word};
use super::{DATA_MAX, Memcached};
use crate::layout::buckets::observe;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Side, Zeroes};
use crate::stream::bytes::{Bytes, Host, low_of_two, pass};
use crate::stream::lookups::{Found, LookupCounters, Lookups};
use crate::stream::names::Keys;
use crate::stream::pipeline::{Run, TIMELESS};
use crate::stream::prefix::LastPrefix;
use crate::stream::subprograms::Looks;
use crate::stream::text::find_in_two;
use crate::stream::vocabulary::Vocabulary;

named! {
    /// First words of a server's lines. What is none of them is a number, or stands in a list.
    Kind, KINDS:
    Other "other",
    Value "VALUE",
    End "END",
    Stored "STORED",
    NotStored "NOT_STORED",
    Exists "EXISTS",
    NotFound "NOT_FOUND",
    Deleted "DELETED",
    Touched "TOUCHED",
    Ok "OK",
    Version "VERSION",
    Stat "STAT",
    Reset "RESET",
    Error "ERROR",
    ClientError "CLIENT_ERROR",
    ServerError "SERVER_ERROR",
    Hd "HD",
    Va "VA",
    En "EN",
    Ns "NS",
    Ex "EX",
    Nf "NF",
    Mn "MN",
    Me "ME",
    Busy "BUSY",
}

const _: () = assert!(KINDS <= 32, "each has a bit of a `Kinds`");

static WORDS: Vocabulary<128, 32> = Vocabulary::new(&Kind::NAMES, 0xE8E2_5D94_0ED9_0475);

/// Some of [`Kind`], by bit.
#[derive(Clone, Copy, Debug)]
struct Kinds(u32);

impl Kinds {
    const fn of(kinds: &[Kind]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline(always)]
    const fn has(self, kind: u8) -> bool {
        self.0 >> (kind & 31) & 1 != 0
    }
}

const ERRORS: Kinds = Kinds::of(&[Kind::Error, Kind::ClientError, Kind::ServerError]);
const VALUE: Kinds = Kinds::of(&[Kind::Value]);
/// Lines behind which data comes.
const WITH_DATA: Kinds = Kinds::of(&[Kind::Value, Kind::Va]);
/// Lines that are not a reply's last.
const UNFINISHED: Kinds = Kinds::of(&[Kind::Value, Kind::Stat]);

/// The server's stream.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Replies {
    word: Word,
    last: LastPrefix,
    /// The run that is next in the pipeline.
    next: Run,
    /// The run of the command that is being answered.
    run: Run,
    /// Keys found and not found, not counted yet.
    lookups: Lookups,
    /// Bytes of data that the line tells of.
    data: u32,
    /// The number of the prefix of the key that the line tells of.
    number: u32,
    /// A [`Kind`].
    kind: u8,
    /// 1 if the line is over, and has not been held against its command yet.
    is_over: u8,
    /// 1 once the only key of a command has been found.
    is_found: u8,
    /// 1 while the keys of a command are told one by one; 2 if they were not kept.
    in_keys: u8,
    reserved: u32,
}

// SAFETY: of integers only, without padding.
unsafe impl Zeroes for Replies {}

impl Replies {
    /// All zeroes.
    pub(super) const START: Self = Self {
        word: Word::NONE,
        last: LastPrefix::NONE,
        next: Run::BLANK,
        run: Run::BLANK,
        lookups: Lookups::NONE,
        data: 0,
        number: 0,
        kind: 0,
        is_over: 0,
        is_found: 0,
        in_keys: 0,
        reserved: 0,
    };

    #[inline(always)]
    pub(super) const fn is_at_start(&self) -> bool {
        self.word.is_at_start() && self.is_found == 0 && self.in_keys == 0
    }

    /// Whether a line is there that has not been held against a command yet.
    #[inline(always)]
    pub(super) const fn is_pending(&self) -> bool {
        self.is_over != 0
    }

    /// A call begins.
    #[inline(always)]
    pub(super) fn refresh<S: Keys>(&mut self, source: &S) {
        self.last.refresh(source);
    }

    /// A word is over.
    #[inline(always)]
    fn take_word<S: Keys>(&mut self, source: &mut S) -> Result<(), Desync> {
        let index = self.word.index;
        if index == 0 {
            let (lo, hi) = self.word.start();
            let is_short = self.word.length() <= 16;
            self.kind = if is_short { WORDS.number(lo, hi) } else { Kind::Other as u8 };
            self.data = 0;
            return if self.word.length() == 0 { Err(Desync::Header) } else { Ok(()) };
        }
        if self.word.length() == 0 {
            return Ok(());
        }
        if index == 1 && VALUE.has(self.kind) {
            self.number = self.word.prefix_number(&mut self.last, source);
        } else if index == data_word(self.kind) {
            let Some(data) = self.word.number() else { return Err(Desync::Header) };
            if data > DATA_MAX {
                return Err(Desync::Length);
            }
            self.data = data as u32;
        }
        Ok(())
    }
}

/// Which word of a line tells how many bytes of data come behind it; 0 if none does.
#[inline(always)]
const fn data_word(kind: u8) -> u32 {
    const OF_VALUE: u8 = Kind::Value as u8;
    const OF_VA: u8 = Kind::Va as u8;
    match kind {
        OF_VALUE => 3,
        OF_VA => 1,
        _ => 0,
    }
}

impl Memcached {
    /// Takes what is in reach of a call of the server's, or holds a line that is over against its command: goes at least
    /// one byte further, or one run.
    #[inline(always)]
    pub(super) fn take_reply<S: Keys>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let replies = &mut self.replies;
        if replies.is_over != 0 {
            return self.match_line(source, connection);
        }
        let skip = &mut self.skip[Side::Server as usize];
        if *skip > 0 {
            pass(skip, source);
            return Ok(());
        }
        let separator = source.separator();
        let end = replies.word.read(source, separator)?;
        if end == End::None {
            return Ok(());
        }
        replies.take_word(source)?;
        replies.word.next(end);
        if end == End::Line {
            replies.is_over = 1;
            if WITH_DATA.has(replies.kind) {
                *skip = replies.data + 2;
            }
        }
        Ok(())
    }

    /// Hands on what was counted.
    #[inline(always)]
    pub(super) fn settle<S: Keys>(&mut self, source: &mut S, connection: &mut Connection) {
        self.replies.lookups.settle(source, connection, counters);
    }

    /// Gets in sync at the start of a call, if it is whole replies, as many as there are commands without.
    #[inline(always)]
    pub(super) fn resync_replies<S: Looks<Self>>(&mut self, source: &mut S) -> bool {
        self.replies.clear();
        let whole = source.is_whole(Side::Server);
        let replies = source.scratch().messages;
        if whole && replies == self.asked.wrapping_sub(self.answered) {
            return true;
        }
        // Some of them are answered, and it is not known which: those that come are waited for.
        self.pipeline.clear();
        self.answered = self.asked;
        false
    }
}

/// Whether a first reply that starts so is memcached's, by its first word.
#[inline(always)]
pub(super) fn is_first(lo: u64, hi: u64, available: u32) -> bool {
    let blank = find_in_two(lo, hi, b' ');
    let end = find_in_two(lo, hi, b'\r');
    let length = if blank < end { blank } else { end };
    let (first, second) = low_of_two(lo, hi, length);
    if length >= available {
        // The word's end comes with a later call.
        return first as u8 >= b'A' && first as u8 <= b'Z' || (first as u8).is_ascii_digit();
    }
    let kind = WORDS.number(first, second);
    let is_number = (first as u8).is_ascii_digit();
    // Others answer these with something behind them.
    let stands_alone = is_number || kind == Kind::Ok as u8;
    (is_number || kind != Kind::Other as u8) && !(stands_alone && blank < end)
}

/// A server's lines.
enum Lines {}

impl Grammar for Lines {
    #[inline(always)]
    fn code(lo: u64, hi: u64) -> u8 {
        let kind = WORDS.number(lo, hi);
        let is_number = (lo as u8).is_ascii_digit();
        if kind == Kind::Other as u8 && !is_number { UNKNOWN_WORD } else { kind }
    }

    #[inline(always)]
    fn data(code: u8) -> u32 {
        data_word(code)
    }

    #[inline(always)]
    fn is_last(code: u8) -> bool {
        !UNFINISHED.has(code)
    }
}

/// Whether a call consists of whole replies, with the data that they tell of; how many,
/// [`Scratch::messages`](crate::stream::bytes::Scratch::messages) tells.
#[inline(always)]
pub(super) fn is_whole<S: Bytes>(source: &mut S) -> bool {
    line::is_whole::<Lines, S>(source)
}

#[inline(always)]
const fn counters(connection: &mut Connection) -> &mut Counters {
    connection.details.memcached_mut()
}

impl LookupCounters for Counters {
    #[inline(always)]
    fn fields(&mut self) -> [&mut u32; 3] {
        [&mut self.hits_other, &mut self.misses_other, &mut self.counted]
    }
}

/// Commands whose time is taken.
const GETS: u8 = 1;
const SETS: u8 = 2;

/// What a line has told.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// Whether the line is to be looked at again: it belongs to another run of commands.
    again: bool,
    /// [`GETS`] or [`SETS`] if the line ends the reply to such a command; else 0.
    timed: u8,
    found: Found,
}

impl Taken {
    /// The line is taken.
    const LINE: Self = Self { again: false, timed: 0, found: Found::NONE };
    /// The line is another run's.
    const AGAIN: Self = Self { again: true, ..Self::LINE };
}

/// Counts how long the reply to a command has taken.
#[inline(always)]
fn count_latency<S: Host>(timed: u8, run: &Run, source: &mut S, connection: &mut Connection) {
    let counters = counters(connection);
    if run.has(TIMELESS) {
        counters.unmatched = counters.unmatched.wrapping_add(1);
        return;
    }
    let nanoseconds = source.now_ns().saturating_sub(run.start_ns);
    let (sum, counts) = if timed == GETS {
        (&mut counters.get_ns, &mut counters.gets)
    } else {
        (&mut counters.set_ns, &mut counters.sets)
    };
    observe(&LATENCY_BOUNDS, nanoseconds, sum, counts);
}
