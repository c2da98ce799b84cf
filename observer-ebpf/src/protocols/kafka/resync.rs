//! Where a stream is found that is out of sync, or was first seen in the middle.
//!
//! Clients and servers send messages whole. Many read a message's size on its own, and then the rest:
//!
//! ```text
//!   sent:      size │ API key, version …              read:   size  and then  API key, version …
//!   sent:      size │ correlation id …                read:   size  and then  correlation id …
//! ```

use super::schema::{REQUEST_AT, RESPONSE_AT, Slot};
use super::{Kafka, REQUEST_LEAST, RESPONSE_LEAST};
use crate::layout::Side;
use crate::stream::bytes::Bytes;
use crate::stream::text::is_printable;

/// Bytes of a request's header before the client's own name, and those of the name that are looked at.
const HEAD: u32 = 10;
const NAME: u32 = 6;
/// The shortest of such names where the size is not there to tell as well.
const NAME_LEAST: u32 = 4;

/// How many of the bytes within reach two words have.
#[inline(always)]
const fn in_words(available: u32) -> u32 {
    if available < 16 { available } else { 16 }
}

/// Whether the bytes behind a size, of which so many are there, are those of a request's header. The client's own name has
/// to be there, of so many bytes at least, as few other bytes look like that.
#[inline(always)]
fn is_header(lo: u64, hi: u64, available: u32, least: u32) -> bool {
    let (key, version) = ((lo as u16).swap_bytes(), ((lo >> 16) as u16).swap_bytes());
    let length = u32::from((hi as u16).swap_bytes());
    let seen = length.min(NAME).min(available.saturating_sub(HEAD));
    seen > 0 && length >= least && length < 256 && key < 128 && version < 32 && is_printable(hi >> 16, seen)
}

/// Whether a call begins with a whole request, or with what is behind the size of one.
#[inline(always)]
pub(super) fn is_request<S: Bytes>(source: &mut S) -> bool {
    let Ok(available) = source.window(0) else { return false };
    let (lo, hi) = source.words(0);
    let size = (lo as u32).swap_bytes();
    let is_whole = size >= REQUEST_LEAST && size <= source.end().saturating_sub(4);
    is_whole && is_header(lo >> 32 | hi << 32, hi >> 32, in_words(available).saturating_sub(4), 1)
        || is_header(lo, hi, in_words(available), NAME_LEAST)
}

impl Kafka {
    /// Whether a lost stream is found again in a call, by its first bytes: those of a request, or of a response to one that is
    /// in flight.
    #[inline(always)]
    pub(super) fn resync<const SERVER: bool, S: Bytes>(&mut self, source: &mut S) -> bool {
        let side = if SERVER { Side::Server } else { Side::Client };
        let Ok(available) = source.window(0) else { return false };
        let (lo, hi) = source.words(0);
        let end = source.end();
        let stream = self.stream_mut(side);
        let had_size = stream.has_size != 0;
        let first = u64::from((lo as u32).swap_bytes());
        stream.has_size = u8::from(end == 4);
        let kept = stream.reader.slot(Slot::Size);
        if end == 4 && !(SERVER && had_size && kept == 4) {
            stream.reader.set_slot(Slot::Size, first);
            return false;
        }
        let is_behind = had_size && u64::from(end) == kept;
        let (lo, hi) = if is_behind { (lo, hi) } else { (lo >> 32 | hi << 32, hi >> 32) };
        let available = in_words(available);
        let available = if is_behind { available } else { available.saturating_sub(4) };
        let found = if SERVER {
            available >= RESPONSE_LEAST && self.in_flight.has((lo as u32).swap_bytes())
        } else {
            is_header(lo, hi, available, 1)
        };
        let (place, least) = if SERVER { (RESPONSE_AT, RESPONSE_LEAST) } else { (REQUEST_AT, REQUEST_LEAST) };
        if !found || !is_behind && first < u64::from(least) {
            return false;
        }
        let stream = self.stream_mut(side);
        stream.reset(0);
        if is_behind {
            return stream.reader.begin_message(place, least);
        }
        true
    }
}
