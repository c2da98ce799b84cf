//! What becomes of a field that is complete.

use super::{ACT, GO_ON, LEVELS, NUMBER, Reader, SLOTS, TAG, TAG_LENGTH};
use crate::protocols::kafka::schema::{BATCH_AT, Kind, Slot};
use crate::stream::bytes::hide_field;
use crate::stream::prefix::Text;

/// Bytes of a record batch from behind its length to the end of its header.
const BATCH_REST: u32 = 49;
/// Bytes of a record batch, and of what was there before them, up to their format.
const BATCH_LEAST: u32 = 17;
/// Those of them that are behind the batch's length.
const BATCH_BEGUN: u32 = 5;
/// The format of record batches; before it, messages were of other formats.
const MAGIC: u64 = 2;

impl Reader {
    /// Does what a field of no bytes asks for.
    #[inline(always)]
    pub(super) fn take_mark(&mut self, kind: u8, argument: u8, place: u8) -> u32 {
        let next = self.place.wrapping_add(1);
        match kind {
            kind if kind == Kind::Close as u8 => {
                let count = &mut self.counts[usize::from(argument) & (LEVELS - 1)];
                *count = count.wrapping_sub(1);
                self.place = if *count == 0 { next } else { place };
            }
            kind if kind == Kind::Magic as u8 => {
                self.place = next;
                let length = self.slot(Slot::LENGTH) as u32;
                let is_batch = self.slot(Slot::FORMAT) == MAGIC;
                // What is cut off at the end is not delivered: it is asked for again.
                let is_whole = length >= BATCH_REST && length - BATCH_BEGUN <= self.records_left();
                self.unparsed |= u8::from(!is_batch);
                if !is_batch || !is_whole {
                    self.leave_records();
                }
            }
            kind if kind == Kind::Batch as u8 => {
                let length = self.slot(Slot::LENGTH) as u32;
                let rest = self.records_left();
                let more = length.saturating_sub(BATCH_REST).min(rest);
                if rest - more < BATCH_LEAST {
                    self.leave_records();
                } else {
                    self.skip(more);
                    self.place = BATCH_AT;
                }
            }
            kind if kind == Kind::Act as u8 => {
                self.place = next;
                self.action = argument;
                return ACT;
            }
            _ => self.leave(),
        }
        GO_ON
    }

    /// How many bytes of record batches have not passed.
    #[inline(always)]
    fn records_left(&self) -> u32 {
        hide_field(&self.left).saturating_sub(hide_field(&self.behind_records))
    }

    /// The rest of the record batches is of no interest.
    #[inline(always)]
    fn leave_records(&mut self) {
        self.skip(self.records_left());
        self.place = self.behind;
    }

    /// Takes a number that is complete, by what it is of.
    #[inline(always)]
    pub(super) fn take_field(&mut self, kind: u8, argument: u8, place: u8, value: u64) {
        let next = self.place.wrapping_add(1);
        // Lengths are one less where they may vary, and else negative where there is nothing.
        let length = if self.flexible != 0 && kind != Kind::Plain as u8 {
            (value as u32).saturating_sub(1)
        } else if kind == Kind::Text as u8 || kind == Kind::Plain as u8 {
            u32::from((value as i16).max(0).cast_unsigned())
        } else {
            (value as u32).cast_signed().max(0).cast_unsigned()
        };
        match kind {
            kind if kind == Kind::Number as u8 => {
                self.slots[usize::from(place) & (SLOTS - 1)] = value;
                self.place = next;
            }
            kind if kind == Kind::Text as u8 || kind == Kind::Plain as u8 => {
                self.place = next;
                if argument == 0 {
                    self.skip(length);
                } else {
                    self.text = Text::NONE;
                    self.text_length = length.min(hide_field(&self.left));
                    self.text_left = self.text_length;
                }
            }
            kind if kind == Kind::Array as u8 => {
                self.counts[usize::from(argument) & (LEVELS - 1)] = length;
                self.place = if length == 0 { place } else { next };
            }
            kind if kind == Kind::Items as u8 => {
                self.place = next;
                self.skip(length.saturating_mul(u32::from(argument)));
            }
            kind if kind == Kind::Records as u8 => {
                let length = length.min(hide_field(&self.left));
                self.behind = next;
                self.behind_records = hide_field(&self.left) - length;
                if length < BATCH_LEAST {
                    self.leave_records();
                } else {
                    self.place = BATCH_AT;
                }
            }
            _ => self.take_tag(value as u32, next),
        }
    }

    /// Takes a number of tagged fields: how many there are, a tag, or how long it is.
    #[inline(always)]
    fn take_tag(&mut self, value: u32, next: u8) {
        match self.tagging {
            NUMBER => {
                self.tags = value;
                self.tagging = TAG;
            }
            TAG => {
                self.tagging = TAG_LENGTH;
                return;
            }
            _ => {
                self.skip(value);
                self.tags = self.tags.saturating_sub(1);
                self.tagging = TAG;
            }
        }
        if self.tags == 0 {
            self.tagging = NUMBER;
            self.place = next;
        }
    }
}
