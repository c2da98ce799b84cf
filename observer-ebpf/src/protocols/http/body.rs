//! Bodies: of a known length, in chunks (RFC 9112, section 7.1), and up to the connection's end; and the events of event
//! streams (HTML, section 9.2.6), which end with an empty line.

use super::names::Labels;
use super::reader::{Place, Reader};
use super::response::key_of;
use super::{Calls, Http};
use crate::layout::Side;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::stream::bytes::{Bytes, hide_field};
use crate::stream::parser::StreamId;
use crate::stream::text::{between, digits_of, everywhere, find_in_two, sum_of_bytes};

/// [`Reader::line`]: before the first byte of a line.
const LINE_START: u8 = 0;
/// In a line.
const IN_LINE: u8 = 1;
/// Behind a carriage return that has ended a line.
const BEHIND_RETURN: u8 = 2;

/// The most digits of a chunk's size.
const SIZE_DIGITS: u32 = 15;

/// The number that the first `length` (1 to 15) bytes of two words spell in hexadecimal, if they do.
#[inline(always)]
fn hexadecimal(lo: u64, hi: u64, length: u32) -> Option<u64> {
    if length == 0 || length > SIZE_DIGITS {
        return None;
    }
    let count = |word: u64| {
        let letters = between(word | everywhere(0x20), b'a', b'f');
        sum_of_bytes((digits_of(word) | letters) >> 7)
    };
    if count(lo) + count(hi) != length {
        return None;
    }
    // Each digit's value, then the digits side by side: the first one is the highest.
    let packed = |word: u64| {
        let values = (word & everywhere(0x0F)) + 9 * (word >> 6 & everywhere(1));
        let pairs = values.swap_bytes();
        let pairs = (pairs | pairs >> 4) & 0x00FF_00FF_00FF_00FF;
        let fours = (pairs | pairs >> 8) & 0x0000_FFFF_0000_FFFF;
        (fours | fours >> 16) & 0xFFFF_FFFF
    };
    Some((packed(lo) << 32 | packed(hi)) >> (4 * (16 - length)))
}

impl Reader {
    /// The line that tells a chunk's size goes on, or is over.
    #[inline(always)]
    pub(super) fn end_chunk_size(&mut self, delimiter: u8) -> Result<(), Desync> {
        if self.is(Place::ChunkSize) {
            let [lo, hi, ..] = self.text.words;
            let Some(size) = hexadecimal(lo, hi, hide_field(&self.length)) else {
                return Err(Desync::Length);
            };
            self.left = size;
        }
        if delimiter != b'\n' {
            self.go(Place::ChunkExtension);
            return Ok(());
        }
        let is_last = hide_field(&self.left) == 0;
        self.go(if is_last { Place::Trailer } else { Place::Body });
        Ok(())
    }

    /// Goes on behind the last byte of a body, or of a chunk. Tells whether the message is over.
    #[inline(always)]
    pub(super) fn end_body(&mut self) -> bool {
        if self.is_chunked != 0 {
            self.go(Place::ChunkEnd);
            return false;
        }
        self.rest();
        true
    }
}

impl Http {
    /// Takes what there is of a body: goes at least one byte further. Tells whether the message is over.
    #[inline(always)]
    pub(super) fn take_body<S: Calls>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<bool, Desync> {
        let at = source.position();
        let rest = source.end().saturating_sub(at);
        let own = &mut self.readers[stream.side as usize];
        let is_rest = own.is(Place::Rest);
        let left = if is_rest { u64::from(rest) } else { hide_field(&own.left) };
        let mut bytes = if left < u64::from(rest) { left as u32 } else { rest };
        if own.has_events != 0 {
            bytes = self.take_events(bytes, source)?;
        }
        source.go_to(at + bytes);
        if is_rest {
            let now_ns = source.now_ns();
            let current = &mut connection.details.http_mut().current;
            current.last_ns = now_ns;
            current.response_bytes = current.response_bytes.wrapping_add(u64::from(bytes));
            return Ok(false);
        }
        let own = &mut self.readers[stream.side as usize];
        own.left = hide_field(&own.left).saturating_sub(u64::from(bytes));
        Ok(hide_field(&own.left) == 0 && own.end_body())
    }

    /// Takes what is in reach of an event stream, up to the end of a line, at most `most` bytes, of which there is one at
    /// least. Tells how many bytes those are.
    #[inline(always)]
    fn take_events<S: Bytes>(&mut self, most: u32, source: &mut S) -> Result<u32, Desync> {
        let at = source.position();
        let available = source.window(at).map_err(|_| Desync::Unread)?;
        let (lo, hi) = source.words(at);
        let first = lo as u8;
        let server = &mut self.readers[Side::Server as usize];
        if server.line == BEHIND_RETURN {
            server.line = LINE_START;
            if first == b'\n' {
                return Ok(1);
            }
        }
        let is_end = first == b'\n' || first == b'\r';
        if server.line == LINE_START && !is_end {
            server.line = IN_LINE;
            server.is_event |= u8::from(first != b':');
        }
        self.reach = find_in_two(lo, hi, b'\n');
        self.reach = hide_field(&self.reach).min(find_in_two(lo, hi, b'\r'));
        let end = hide_field(&self.reach);
        self.reach = available.min(most).min(16);
        let reach = hide_field(&self.reach);
        let server = &mut self.readers[Side::Server as usize];
        if end >= reach {
            return Ok(reach);
        }
        if server.line == LINE_START {
            // An empty line.
            self.events = self.events.wrapping_add(u32::from(server.is_event));
            server.is_event = 0;
        }
        let delimiter = (if end < 8 { lo >> (8 * (end & 7)) } else { hi >> (8 * (end & 7)) }) as u8;
        server.line = if delimiter == b'\r' { BEHIND_RETURN } else { LINE_START };
        Ok(end + 1)
    }

    /// Counts the events of a call.
    #[inline(always)]
    pub(super) fn count_events<S: Labels>(&mut self, source: &mut S, connection: &mut Connection) {
        let events = hide_field(&self.events);
        self.events = 0;
        if events == 0 || self.is_orphan != 0 {
            return;
        }
        let key = key_of(&connection.details.http().current);
        // Where there is no room, what is counted of the stream at its end says so.
        let _ = source.count_events(connection, key, u64::from(events));
    }

    /// Steps over bytes of a body that are not looked at, if they are all of it. `None` if they need a look.
    #[inline(always)]
    pub(super) fn pass_body(
        &mut self,
        stream: StreamId,
        bytes: u64,
        connection: &mut Connection,
    ) -> Option<()> {
        let own = &mut self.readers[stream.side as usize];
        let left = hide_field(&own.left);
        if !own.is(Place::Body) || left < bytes {
            return None;
        }
        own.left = left - bytes;
        if left == bytes && own.end_body() && !stream.is_request() {
            self.mark_ended(connection);
        }
        Some(())
    }
}
