//! Goes through the fields of one side's messages, wherever calls split them.

mod fields;

use super::schema::{Body, END_AT, FIELDS, Kind, OVER_AT, SIZE_AT, Slot};
use crate::layout::losses::Desync;
use crate::stream::bytes::{Bytes, hide_field, low_bytes, pass};
use crate::stream::prefix::Text;

/// Bytes of a message's size.
const SIZE: u32 = 4;
/// The longest number of a varying length, in bytes.
const VARINT_MAX: u8 = 5;
/// Levels of nested arrays: a power of two.
const LEVELS: usize = 4;
/// Slots for numbers: a power of two.
const SLOTS: usize = 8;
/// Bytes of a text that are kept.
const TEXT_KEPT: u32 = 64;

/// [`Reader::step`]: the next field.
pub(super) const GO_ON: u32 = 0;
/// [`Reader::step`]: more bytes are needed.
pub(super) const WAIT: u32 = 0x100;
/// [`Reader::step`]: [`Reader::action`] is to be done.
pub(super) const ACT: u32 = 0x101;

/// Where the reader of a field with tags stands: before their number, before a tag, or before the length of one.
const NUMBER: u8 = 0;
const TAG: u8 = 1;
const TAG_LENGTH: u8 = 2;

/// One side's stream.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Reader {
    /// The last numbers, by [`Slot`].
    slots: [u64; SLOTS],
    /// The last text that was to be kept, its first 64 bytes.
    pub(super) text: Text,
    /// The number that is being read.
    value: u64,
    /// How many elements of the arrays in hand are still to come, by level.
    counts: [u32; LEVELS],
    /// Bytes of the message that have not passed.
    pub(super) left: u32,
    /// How many of them are of no interest, and come next.
    skip: u32,
    /// How long the text is, and how much of it has not passed.
    pub(super) text_length: u32,
    text_left: u32,
    /// How many bytes of the message are left behind the record batches in hand.
    behind_records: u32,
    /// Tags that are still to come.
    tags: u32,
    /// Where the message is in the list of fields.
    place: u8,
    /// Where it goes on behind record batches.
    behind: u8,
    /// How many bytes of the number have been read.
    have: u8,
    /// Where among tags it stands.
    tagging: u8,
    /// The message's version, and 1 if that is a flexible one.
    version: u8,
    flexible: u8,
    /// What is to be done.
    pub(super) action: u8,
    /// 1 if the message is not what it should be, or is not known.
    pub(super) unparsed: u8,
}

impl Reader {
    /// A message comes next.
    #[inline(always)]
    pub(super) const fn begin(&mut self) {
        self.left = SIZE;
        self.skip = 0;
        self.go_to(SIZE_AT);
        self.version = 0;
        self.flexible = 0;
        self.unparsed = 0;
    }

    /// Goes on with the field at a place.
    #[inline(always)]
    pub(super) const fn go_to(&mut self, place: u8) {
        self.place = place;
        self.value = 0;
        self.have = 0;
        self.tagging = NUMBER;
        self.text_left = 0;
    }

    /// Whether the next byte is a message's first.
    #[inline(always)]
    pub(super) const fn is_between(&self) -> bool {
        (self.place == SIZE_AT || self.place == OVER_AT) && self.have == 0 && self.skip == 0
    }

    /// Of a slot, what is in it.
    #[inline(always)]
    pub(super) fn slot(&self, slot: Slot) -> u64 {
        hide_field(&self.slots[slot as usize])
    }

    /// Puts a number into a slot.
    #[inline(always)]
    pub(super) const fn set_slot(&mut self, slot: Slot, value: u64) {
        self.slots[slot as usize] = value;
    }

    /// Does the last action again.
    #[inline(always)]
    pub(super) const fn again(&mut self) {
        self.place = self.place.wrapping_sub(1);
    }

    /// Takes the first `kept` bytes of a message, seven at most, for those that have been read. The message goes on at a
    /// place behind its size, with its API key and its version.
    #[inline(always)]
    pub(super) fn keep(&mut self, first: u64, kept: u32, place: u8) {
        let head = first.swap_bytes();
        if kept < SIZE {
            // A shift by 64 is split in two.
            self.value = (head >> (32 - 4 * kept)) >> (32 - 4 * kept);
            self.have = kept as u8;
            return;
        }
        self.slots[Slot::Size as usize] = head >> 32;
        self.left = ((head >> 32) as u32).saturating_sub(kept - SIZE);
        self.place = place;
        let behind = head & u64::from(u32::MAX);
        match kept - SIZE {
            0 => {}
            1 => self.value = behind >> 24,
            2 => self.slots[Slot::Code as usize] = behind >> 16,
            _ => {
                self.slots[Slot::Code as usize] = behind >> 16;
                self.value = (behind >> 8) & 0xFF;
            }
        }
        self.place += u8::from(kept - SIZE > 1);
        self.have = (kept & 1) as u8;
    }

    /// The rest of the message is of no interest.
    #[inline(always)]
    pub(super) const fn leave(&mut self) {
        self.skip = self.left;
        self.go_to(OVER_AT);
    }

    /// The rest of the message is not what it should be.
    #[inline(always)]
    const fn abandon(&mut self) {
        self.unparsed = 1;
        self.leave();
    }

    /// Steps over bytes of the message that move unseen, if there are as many. What is behind them in the message is not
    /// looked at either.
    #[inline(always)]
    pub(super) fn miss(&mut self, bytes: u64) -> bool {
        if self.place == SIZE_AT || bytes > u64::from(self.left) {
            return false;
        }
        let bytes = bytes as u32;
        if bytes > self.skip {
            self.abandon();
        }
        self.left -= bytes;
        self.skip = self.skip.saturating_sub(bytes);
        true
    }

    /// Whether so many bytes are ones that need no look. A message's last byte does: what it ends is done then.
    #[inline(always)]
    pub(super) const fn can_pass(&self, bytes: u64) -> bool {
        bytes <= self.skip as u64 && bytes < self.left as u64
    }

    /// Bytes of the message have passed.
    #[inline(always)]
    fn take<S: Bytes>(&mut self, source: &mut S, bytes: u32) {
        self.left = hide_field(&self.left).saturating_sub(bytes);
        source.go_to(source.position() + bytes);
    }

    /// So many of the message's next bytes are of no interest.
    #[inline(always)]
    fn skip(&mut self, bytes: u32) {
        let left = hide_field(&self.left);
        self.skip = if bytes < left { bytes } else { left };
    }

    /// Takes the next field, or as much of it as is there: [`GO_ON`] and so on, or [`Desync::code`] of what went wrong.
    #[inline(always)]
    pub(super) fn step<S: Bytes>(&mut self, source: &mut S) -> u32 {
        let at = source.position();
        let is_done = at >= source.end();
        if self.skip > 0 {
            if is_done {
                return WAIT;
            }
            let before = self.skip;
            pass(&mut self.skip, source);
            self.left = self.left.saturating_sub(before - self.skip);
            return GO_ON;
        }
        if self.text_left > 0 {
            return if is_done { WAIT } else { self.take_text(source) };
        }
        let field = &FIELDS[usize::from(hide_field(&self.place))];
        let version = hide_field(&self.version);
        let kind = hide_field(&field.kind);
        let is_there = version >= field.first && version <= field.last;
        if !is_there || kind == Kind::Tags as u8 && self.flexible == 0 {
            self.place = self.place.wrapping_add(1);
            return GO_ON;
        }
        let argument = hide_field(&field.argument);
        let place = hide_field(&field.place);
        if Kind::is_empty(kind) {
            return self.take_mark(kind, argument, place);
        }
        if self.left == 0 {
            // It is shorter than it should be.
            self.abandon();
            return GO_ON;
        }
        if kind == Kind::Fixed as u8 {
            self.skip(u32::from(argument));
            self.place = self.place.wrapping_add(1);
            return GO_ON;
        }
        if is_done {
            return WAIT;
        }
        let width = match kind {
            kind if kind == Kind::Number as u8 => argument,
            kind if kind == Kind::Plain as u8 => 2,
            _ if self.flexible != 0 => 0,
            kind if kind == Kind::Text as u8 => 2,
            _ => 4,
        };
        let code = self.take_number(source, width);
        if code != GO_ON || self.have != u8::MAX {
            return code;
        }
        self.have = 0;
        let value = hide_field(&self.value);
        self.value = 0;
        self.take_field(kind, argument, place, value);
        GO_ON
    }

    /// Takes as much of a number as is there, of `width` bytes or a varying length if that is 0. Once it is complete,
    /// [`Reader::have`] is the greatest there is.
    #[inline(always)]
    fn take_number<S: Bytes>(&mut self, source: &mut S, width: u8) -> u32 {
        let at = source.position();
        let Ok(available) = source.window(at) else { return Desync::Unread as u32 + 1 };
        let (lo, _) = source.words(at);
        let have = hide_field(&self.have);
        if width == 0 {
            let byte = lo as u8;
            self.value |= u64::from(byte & 0x7F) << (7 * u32::from(have & 7));
            self.take(source, 1);
            self.have = if byte & 0x80 == 0 { u8::MAX } else { have + 1 };
            if self.have == VARINT_MAX {
                self.abandon();
            }
            return GO_ON;
        }
        let mut bytes = u32::from(width.wrapping_sub(have)).min(8);
        bytes = bytes.min(available).min(hide_field(&self.left));
        // A shift by 64 is split in two.
        let bits = 4 * bytes;
        let before = (hide_field(&self.value) << bits) << bits;
        self.value = before | (lo.swap_bytes() >> (32 - bits)) >> (32 - bits);
        self.take(source, bytes);
        let have = u32::from(have) + bytes;
        self.have = if have >= u32::from(width) { u8::MAX } else { have as u8 };
        GO_ON
    }

    /// Takes up to eight bytes of a text.
    #[inline(always)]
    fn take_text<S: Bytes>(&mut self, source: &mut S) -> u32 {
        let at = source.position();
        let Ok(available) = source.window(at) else { return Desync::Unread as u32 + 1 };
        let (lo, _) = source.words(at);
        let done = self.text_length.wrapping_sub(self.text_left);
        let inside = hide_field(&done) & 7;
        let bytes = (8 - inside).min(available).min(hide_field(&self.text_left));
        let word = low_bytes(lo, bytes) << (8 * inside);
        let kept = &mut self.text.words[core::hint::black_box(done >> 3) as usize & 7];
        *kept = if inside == 0 { word } else { *kept | word };
        self.text_left = hide_field(&self.text_left).saturating_sub(bytes);
        self.take(source, bytes);
        if done.wrapping_add(bytes) >= TEXT_KEPT && self.text_left > 0 {
            let rest = hide_field(&self.text_left);
            self.text_left = 0;
            self.skip(rest);
        }
        GO_ON
    }

    /// The message's size is known: false if no message has it.
    #[inline(always)]
    pub(super) fn begin_message(&mut self, place: u8, least: u32) -> bool {
        let size = self.slot(Slot::Size);
        let is_one = size >= u64::from(least) && size <= SIZE_MAX;
        if is_one {
            self.left = size as u32;
            self.go_to(place);
        } else {
            self.again();
        }
        is_one
    }

    /// Goes on with a body, of a version; leaves it if that is not known.
    #[inline(always)]
    pub(super) fn begin_body(&mut self, body: Body, version: u8) {
        self.version = version;
        self.flexible = u8::from(version >= body.flexible);
        self.go_to(body.place);
        if version > body.last {
            self.abandon();
        } else if body.place == END_AT {
            self.leave();
        }
    }
}

/// The greatest message: what a broker takes is some MB, but a response may be large.
pub(super) const SIZE_MAX: u64 = 1 << 30;
