//! A side's bytes, word by word: what stands between the delimiters of wherever in a message they are (RFC 9112,
//! sections 2 to 7).

use super::request::METHOD_MAX;
use crate::layout::losses::Desync;
use crate::stream::bytes::{Bytes, hide_field, low_of_two};
use crate::stream::prefix::{Text, WORD_KEPT};
use crate::stream::text::{between, bits_of, equals_of, everywhere, lowest_bit, marks_of, words};

/// Where in a message a stream's next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Place {
    /// Before a message.
    Start = 0,
    /// In a request's method.
    Method = 1,
    /// At the start of a request's target, or in a scheme.
    Target = 2,
    /// Before, and behind, the first slash that follows a scheme.
    Slash = 3,
    SecondSlash = 4,
    /// In the authority of a target.
    Authority = 5,
    /// In a segment of a target's path.
    Segment = 6,
    /// In what is behind the path.
    Query = 7,
    /// In a request's version, which ends its first line.
    Version = 8,
    /// In a response's version.
    StatusVersion = 9,
    /// In a response's status.
    Status = 10,
    /// At the start of a line of a head, or in a field's name.
    Name = 11,
    /// In the value of a field that matters.
    Value = 12,
    /// In the rest of a line that does not matter.
    Skip = 13,
    /// In the line that tells the size of a chunk.
    ChunkSize = 14,
    /// Behind the size.
    ChunkExtension = 15,
    /// Behind the data of a chunk.
    ChunkEnd = 16,
    /// In the lines behind the last chunk.
    Trailer = 17,
    /// In the body, or the data of a chunk, of which it is known how many bytes are left.
    Body = 18,
    /// In a body that ends with the connection.
    Rest = 19,
    /// In what another upgrade, or a tunnel, has led to: not looked at.
    Opaque = 20,
    /// In frames that the client has sent before it had the answer: they count if that is yes.
    Early = 21,
    /// Out of sync.
    Lost = 22,
}

/// Places whose words have an end, as patterns.
const METHOD: u8 = Place::Method as u8;
const VERSION: u8 = Place::Version as u8;
const STATUS_VERSION: u8 = Place::StatusVersion as u8;
const STATUS: u8 = Place::Status as u8;
const CHUNK_SIZE: u8 = Place::ChunkSize as u8;
const CHUNK_END: u8 = Place::ChunkEnd as u8;

/// As many places as a masked number may have.
const PLACES: usize = 32;

/// What ends a word at each place, besides the end of a line: each [`everywhere`].
static DELIMITERS: [[u64; 4]; PLACES] = {
    let mut all = [delimiters(*b"\n\n\n\n"); PLACES];
    all[Place::Method as usize] = delimiters(*b" \n\n\n");
    all[Place::Target as usize] = delimiters(*b" /:?");
    all[Place::Slash as usize] = delimiters(*b" /\n\n");
    all[Place::SecondSlash as usize] = delimiters(*b" /\n\n");
    all[Place::Authority as usize] = delimiters(*b" /?\n");
    all[Place::Segment as usize] = delimiters(*b" /?\n");
    all[Place::Query as usize] = delimiters(*b" \n\n\n");
    all[Place::StatusVersion as usize] = delimiters(*b" \n\n\n");
    all[Place::Status as usize] = delimiters(*b" \n\n\n");
    all[Place::Name as usize] = delimiters(*b":\n\n\n");
    all[Place::Value as usize] = delimiters(*b" ,;\t");
    all[Place::ChunkSize as usize] = delimiters(*b" ;\t\n");
    all
};

const fn delimiters(bytes: [u8; 4]) -> [u64; 4] {
    let [one, two, three, four] = bytes;
    [everywhere(one), everywhere(two), everywhere(three), everywhere(four)]
}

const NEWLINES: u64 = everywhere(b'\n');

/// Bytes of a line that does not matter that are stepped over at once.
const SKIPPED: u32 = 64;

/// How many lines that do not matter are stepped over at once, at most.
const LINES_SKIPPED: u32 = 4;

/// Which lines of a head matter.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    /// Those of a server.
    pub(super) is_response: bool,
    /// Whom the request is addressed to.
    pub(super) with_host: bool,
}

impl Lines {
    /// Whether a line may matter that starts with these bytes.
    #[inline(always)]
    fn may_matter(self, lo: u64, hi: u64) -> bool {
        let start = lower(lo);
        let first = lo as u8;
        let ninth = hi as u8 | 0x20;
        let is_body = start == CONTENT && (ninth == b'l' || ninth == b't' && self.is_response);
        let is_host = start & HOST_MASK == HOST && self.with_host;
        let is_other = start == TRANSFER || start == WEBSOCKET || start & UPGRADE_MASK == UPGRADE;
        first == b'\r' || first == b'\n' || is_body || is_host || is_other
    }
}

/// Whether a line that starts with these bytes tells a type of a body that is no event stream's, as most do.
#[inline(always)]
fn is_another_type<S: Bytes>(lo: u64, hi: u64, available: u32, source: &S) -> bool {
    const NAME: (u64, u64) = words("content-type: ");
    const EVENT_STREAM: (u64, u64) = words("text/event-strea");
    const START: u64 = u64::MAX >> 16;
    let is_type = lower(lo) == NAME.0 && lower(hi) & START == NAME.1;
    // The value's first ten bytes.
    let behind = lower(source.words(source.position() + 16).0);
    let value = (lower(hi) >> 48 | behind << 16, behind >> 48);
    is_type && available >= 24 && value != (EVENT_STREAM.0, EVENT_STREAM.1 & 0xFFFF)
}

/// How fields that matter start, in lower case.
const CONTENT: u64 = u64::from_le_bytes(*b"content-");
const TRANSFER: u64 = u64::from_le_bytes(*b"transfer");
const WEBSOCKET: u64 = u64::from_le_bytes(*b"sec-webs");
const UPGRADE: u64 = u64::from_le_bytes(*b"upgrade\0");
const UPGRADE_MASK: u64 = u64::MAX >> 8;
const HOST: u64 = u64::from_le_bytes(*b"host:\0\0\0");
const HOST_MASK: u64 = u64::MAX >> 24;

/// What there is where a message starts.
pub(super) struct First {
    /// Its first 16 bytes, of which `available` are there.
    pub(super) words: (u64, u64),
    pub(super) available: u32,
}

/// A side's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Reader {
    /// The first 48 bytes of the word in progress, and those that were taken with them, zeroes behind. In fields and
    /// authorities, in lower case.
    pub(super) text: Text,
    /// Bytes of a body, or of a chunk's data, that are left.
    pub(super) left: u64,
    /// The length that the head tells.
    pub(super) content_length: u64,
    /// How many bytes of the word there have been.
    pub(super) length: u32,
    /// Of the bytes in reach, how many there are before the word's end; and how many are taken. They are kept here
    /// because the verifier forgets what it knows of numbers that go through memory; else it follows each place at which
    /// a word may end on its own.
    pub(super) end: u32,
    taken: u32,
    /// `FOUND_*` of the head.
    pub(super) found: u32,
    /// A [`Place`].
    pub(super) place: u8,
    /// Which field's value it is, by its number; 0 for one that does not matter.
    pub(super) field: u8,
    /// In a field's value: 0 before an element of its list, 1 behind its first word, 2 in its parameters.
    pub(super) element: u8,
    /// 1 if the lines of the body are an event stream's.
    pub(super) has_events: u8,
    /// Where in a line of an event stream the next byte is.
    pub(super) line: u8,
    /// 1 if the block has a line that is no comment.
    pub(super) is_event: u8,
    /// 1 once a body comes in chunks.
    pub(super) is_chunked: u8,
    pub(super) reserved: u8,
}

impl Reader {
    pub(super) const fn at(place: Place) -> Self {
        Self {
            text: Text::NONE,
            left: 0,
            content_length: 0,
            length: 0,
            end: 0,
            taken: 0,
            found: 0,
            place: place as u8,
            field: 0,
            element: 0,
            has_events: 0,
            line: 0,
            is_event: 0,
            is_chunked: 0,
            reserved: 0,
        }
    }

    #[inline(always)]
    pub(super) fn is(&self, place: Place) -> bool {
        hide_field(&self.place) == place as u8
    }

    /// Goes on at another place, with another word.
    #[inline(always)]
    pub(super) fn go(&mut self, place: Place) {
        self.place = place as u8;
        self.forget_word();
    }

    /// A word is over.
    #[inline(always)]
    pub(super) fn forget_word(&mut self) {
        let length = hide_field(&self.length);
        self.length = 0;
        let mut at = 0;
        while at < 8 {
            // Behind the word there are zeroes as it is.
            if at == 2 && length <= 16 {
                return;
            }
            // SAFETY: a reference is always writable; as one value they would go by way of a loop over bytes.
            unsafe { core::ptr::from_mut(&mut self.text.words[at]).write_volatile(0) };
            at += 1;
        }
    }

    /// Between messages.
    #[inline(always)]
    pub(super) fn rest(&mut self) {
        self.go(Place::Start);
        self.left = 0;
    }

    /// Begins where a parser of another protocol may have left anything.
    #[inline(always)]
    pub(super) fn start(&mut self, place: Place) {
        self.length = u32::MAX;
        self.begin(place);
    }

    /// A message begins.
    #[inline(always)]
    pub(super) fn begin(&mut self, place: Place) {
        self.go(place);
        self.left = 0;
        self.content_length = 0;
        self.found = 0;
        self.field = 0;
        self.element = 0;
        self.has_events = 0;
        self.line = 0;
        self.is_event = 0;
        self.is_chunked = 0;
    }

    /// Keeps the first `kept` bytes of a connection until more come: fewer than a method's name.
    #[inline(always)]
    pub(super) fn keep(&mut self, first: u64, kept: u32) {
        self.text.words[0] = crate::stream::bytes::low_bytes(first, kept);
        self.length = kept;
    }

    /// What a message starts with, which is left where it is. None if that is the end of an empty line, which is stepped
    /// over: before a request they are to be ignored (RFC 9112, section 2.2).
    #[inline(always)]
    pub(super) fn first<S: Bytes>(source: &mut S) -> Result<Option<First>, Desync> {
        let at = source.position();
        let available = source.window(at).map_err(|_| Desync::Unread)?;
        let words = source.words(at);
        let first = words.0 as u8;
        if first == b'\r' || first == b'\n' {
            source.go_to(at + 1);
            return Ok(None);
        }
        Ok(Some(First { words, available }))
    }

    /// Takes what is in reach: 16 bytes at most, or 64 in lines that do not matter. Goes at least one byte further, or to
    /// another place. Tells what ends the word; 0 if it goes on.
    #[inline(always)]
    pub(super) fn take<S: Bytes>(&mut self, lines: Lines, source: &mut S) -> Result<u8, Desync> {
        let at = source.position();
        let available = source.window(at).map_err(|_| Desync::Unread)?;
        let (mut lo, mut hi) = source.words(at);
        if self.is(Place::Name) && self.length == 0 {
            if self.take_length_line(lo, hi, available, source) {
                return Ok(0);
            }
            self.look_at_line(lines, lo, hi, available, source);
        }
        if self.is(Place::Skip) {
            self.skip(lines, available, source);
            return Ok(0);
        }
        let [one, two, three, four] = DELIMITERS[usize::from(hide_field(&self.place)) & (PLACES - 1)];
        let found = |word| {
            let marks = marks_of(word, one) | marks_of(word, two) | marks_of(word, three);
            bits_of(marks | marks_of(word, four) | marks_of(word, NEWLINES))
        };
        self.end = lowest_bit(found(lo) | found(hi) << 8 | 1 << 16);
        // Two words of eight bytes where it is at the start of one, else the rest of that one.
        let length = hide_field(&self.length);
        let inside = length & 7;
        let end = hide_field(&self.end);
        self.taken = if inside == 0 { 16 } else { 8 - inside };
        self.taken = hide_field(&self.taken).min(available).min(end);
        let taken = hide_field(&self.taken);
        if self.is(Place::Name) || self.is(Place::Value) || self.is(Place::Authority) {
            (lo, hi) = (lower(lo), lower(hi));
        }
        let (lo, hi) = low_of_two(lo, hi, taken);
        if length < WORD_KEPT {
            self.text.add(length, lo, hi);
        }
        self.length = length.saturating_add(taken);
        if end > taken || end >= available || end > 15 {
            source.go_to(at + taken);
            return Ok(0);
        }
        let [delimiter, next, ..] = source.words(at + taken).0.to_le_bytes();
        // What is between a field's name and its value, mostly.
        let is_blank = delimiter == b':' && next == b' ' && end + 1 < available && self.is(Place::Name);
        source.go_to(at + taken + 1 + u32::from(is_blank));
        if delimiter == b'\n' {
            self.length = self.text.without_return(self.length);
        }
        Ok(delimiter)
    }

    /// Whether the word in progress may become one that stands here.
    #[inline(always)]
    pub(super) fn check_length(&self) -> Result<(), Desync> {
        let length = hide_field(&self.length);
        match hide_field(&self.place) {
            METHOD if length > METHOD_MAX => Err(Desync::Header),
            VERSION if length > 9 => Err(Desync::Header),
            STATUS_VERSION if length > 8 => Err(Desync::Header),
            STATUS if length > 4 => Err(Desync::Header),
            CHUNK_SIZE if length > 16 => Err(Desync::Length),
            CHUNK_END if length > 1 => Err(Desync::Length),
            _ => Ok(()),
        }
    }

    /// The same in a line that does not matter, without a word being kept, and in those that follow it and do not matter
    /// either.
    #[inline(always)]
    fn skip<S: Bytes>(&mut self, lines: Lines, available: u32, source: &mut S) {
        let at = source.position();
        let mut newlines = 0;
        let mut from = 0;
        while from < SKIPPED {
            let (lo, hi) = source.words(at + from);
            let found = bits_of(equals_of(lo, b'\n')) | bits_of(equals_of(hi, b'\n')) << 8;
            newlines |= found << from;
            from += 16;
        }
        let mut line = 0;
        while line < LINES_SKIPPED {
            self.end = if newlines == 0 { SKIPPED } else { lowest_bit(newlines) };
            let end = hide_field(&self.end);
            if end >= available || end >= SKIPPED {
                source.go_to(at + available.min(SKIPPED));
                return;
            }
            let start = at + end + 1;
            source.go_to(start);
            let (lo, hi) = source.words(start);
            if available - end <= 16 || lines.may_matter(lo, hi) {
                break;
            }
            newlines &= newlines - 1;
            line += 1;
        }
        self.place = Place::Name as u8;
    }

    /// Whether a line is one that matters. Most are not, and need not be gone through word by word. One that starts with a
    /// blank goes on with the line before it (RFC 9112, section 5.2).
    #[inline(always)]
    fn look_at_line<S: Bytes>(&mut self, lines: Lines, lo: u64, hi: u64, available: u32, source: &S) {
        let first = lo as u8;
        if first == b' ' || first == b'\t' {
            self.place = if self.field == 0 { Place::Skip } else { Place::Value } as u8;
            return;
        }
        if available >= 16 && (!lines.may_matter(lo, hi) || is_another_type(lo, hi, available, source)) {
            self.field = 0;
            self.place = Place::Skip as u8;
        }
    }

    /// Whether the word is these at most 16 bytes.
    #[inline(always)]
    pub(super) fn word_is(&self, (lo, hi): (u64, u64), length: u32) -> bool {
        (self.text.words[0] ^ lo) | (self.text.words[1] ^ hi) | u64::from(self.length ^ length) == 0
    }
}

/// A word with its letters in lower case.
#[inline(always)]
pub(super) const fn lower(word: u64) -> u64 {
    word | between(word, b'A', b'Z') >> 2
}
