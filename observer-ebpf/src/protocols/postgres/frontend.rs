//! What a client says.

use super::layout::{QueryKind, STARTS, State};
use super::messages::is_sound;
use super::text::{self, Text};
use super::{EXECUTED, Mode, Postgres};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::stream::bytes::{Host, write_in_order};
use crate::stream::carry::Carry;

/// Codes of messages without a type.
mod code {
    /// `StartupMessage`, version 3.x: the upper half.
    pub(super) const MAJOR: u32 = 3;
    pub(super) const CANCEL: u32 = 80_877_102;
    pub(super) const SSL: u32 = 80_877_103;
    pub(super) const GSS: u32 = 80_877_104;
}

/// The longest message without a type (`MAX_STARTUP_PACKET_LENGTH` in `src/include/libpq/pqcomm.h`), with
/// something to spare.
const STARTUP_MAX: u32 = 1 << 14;

impl Postgres {
    /// A message from its first byte on, or more of it: `have` more bytes are in `words`.
    #[inline(always)]
    pub(super) fn take_frontend<S: Host>(
        &mut self,
        at: u32,
        words: (u64, u64),
        reach: u32,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let stream = &mut self.streams[0];
        let before = u32::from(stream.carried);
        let (lo, hi, have) = stream.join(words.0, words.1, reach);
        if stream.is(Mode::Startup) {
            return self.take_startup(at, before, (lo, have), source, connection);
        }
        let kind = lo as u8;
        let length = ((lo >> 8) as u32).swap_bytes();
        let total = length.saturating_add(1);
        if have < 5 {
            stream.keep(lo, hi, have);
            source.go_to(at + (have - before).max(1));
            return Ok(());
        }
        is_sound::<false>(kind, length)?;
        let has_statement = kind == b'Q' || kind == b'P';
        let wanted = if total < 16 { total } else { 16 };
        stream.carried = 0;
        stream.carry = Carry::EMPTY;
        stream.text = Text::NONE;
        let mut taken = 5;
        if has_statement {
            // An unnamed statement has a zero byte before it.
            let offset = if kind == b'Q' { 5 } else { 6 };
            let in_reach = before == 0 && have >= wanted && (kind == b'Q' || (lo >> 40) as u8 == 0);
            let text = lo >> (8 * offset) | hi << (64 - 8 * offset);
            let told = if in_reach { text::first_word(text, wanted.saturating_sub(offset)) } else { None };
            if told.is_some() {
                taken = wanted;
            } else {
                stream.text = if kind == b'Q' { Text::STATEMENT } else { Text::NAMED_STATEMENT };
            }
            if let Some(kind) = told {
                self.tell_kind(kind, connection);
            }
        }
        self.finish(0, at, before, total, taken, source);
        self.end_of(kind, connection);
        Ok(())
    }

    /// Takes note that `taken` bytes of a message of `total` have been dealt with.
    #[inline(always)]
    pub(super) fn finish<S: Host>(
        &mut self,
        side: usize,
        at: u32,
        before: u32,
        total: u32,
        taken: u32,
        source: &mut S,
    ) {
        // Some of them came with calls that are over, but not all, or they had been dealt with then.
        let taken = if taken > before { taken } else { before };
        let stream = &mut self.streams[side & 1];
        stream.skip = total.saturating_sub(taken);
        if stream.skip == 0 {
            stream.text = Text::NONE;
        }
        source.go_to(at + (taken - before));
    }

    /// A message without a type.
    #[inline(always)]
    fn take_startup<S: Host>(
        &mut self,
        at: u32,
        before: u32,
        (lo, have): (u64, u32),
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let stream = &mut self.streams[0];
        if have < 8 {
            stream.keep(lo, 0, have);
            source.go_to(at + (have - before).max(1));
            return Ok(());
        }
        let length = (lo as u32).swap_bytes();
        let code = ((lo >> 32) as u32).swap_bytes();
        let encryption = code == code::SSL || code == code::GSS;
        let session = code >> 16 == code::MAJOR;
        if !(8..=STARTUP_MAX).contains(&length) || !(session || encryption || code == code::CANCEL) {
            connection.pending = 0;
            return Err(Desync::Header);
        }
        stream.carried = 0;
        stream.carry = Carry::EMPTY;
        if encryption {
            self.encryption = 1;
        } else {
            stream.mode = Mode::Messages as u8;
            connection.pending = 0;
            if !session {
                connection.details.postgres_mut().state = State::None as u8;
            }
        }
        self.finish(0, at, before, length, 8, source);
        Ok(())
    }

    /// The first byte of a message: if it belongs to a request, begins one unless one is open. A Flush by
    /// itself asks for nothing.
    #[inline(always)]
    pub(super) fn begin<S: Host>(&mut self, kind: u8, source: &mut S, connection: &mut Connection) {
        if matches!(kind, b'd' | b'c' | b'f' | b'p' | b'H' | b'X') {
            return;
        }
        // The Sync behind a COPY takes the place of the one before it, which the server ignored.
        let replaces = kind == b'S' && self.copied != 0;
        self.copied = 0;
        let counters = connection.details.postgres_mut();
        if self.open != 0 || (replaces && counters.is_active()) {
            return;
        }
        self.open = 1;
        let place = counters.asked as usize & (STARTS - 1);
        self.kinds[place] = QueryKind::Other as u8;
        // The agent may look at any time: when it began comes before that it did.
        write_in_order(&mut counters.starts[place], source.now_ns());
        let asked = counters.asked.wrapping_add(1);
        write_in_order(&mut counters.asked, asked);
    }

    /// What a message asks for, and ends.
    #[inline(always)]
    fn end_of(&mut self, kind: u8, connection: &Connection) {
        if kind == b'Q' || kind == b'E' || kind == b'F' {
            self.execute(connection);
        }
        if kind == b'Q' || kind == b'S' || kind == b'F' {
            self.open = 0;
        } else if kind == b'c' || kind == b'f' {
            self.copied = 1;
        }
    }

    /// What the newest request does, by its first statement.
    #[inline(always)]
    pub(super) fn tell_kind(&mut self, kind: QueryKind, connection: &Connection) {
        let told = &mut self.kinds[newest(connection)];
        if *told & !EXECUTED == QueryKind::Other as u8 {
            *told = *told & EXECUTED | kind as u8;
        }
    }

    /// The newest request is more than a preparation.
    #[inline(always)]
    pub(super) fn execute(&mut self, connection: &Connection) {
        self.kinds[newest(connection)] |= EXECUTED;
    }
}

/// The newest request's place.
#[inline(always)]
fn newest(connection: &Connection) -> usize {
    connection.details.postgres().asked.wrapping_sub(1) as usize & (STARTS - 1)
}
