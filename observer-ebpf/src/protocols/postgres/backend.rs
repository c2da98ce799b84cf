//! What a server says.

use super::layout::{QUERY_BOUNDS, QueryKind, State, TRANSACTION_BOUNDS};
use super::messages::is_sound;
use super::text::{self, Text};
use super::{EXECUTED, KEPT, Postgres, UNTOLD};
use crate::layout::buckets::{add, bucket};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::stream::bytes::{Host, hide_field};
use crate::stream::carry::Carry;

impl Postgres {
    /// As [`Postgres::take_frontend`].
    #[inline(always)]
    pub(super) fn take_backend<S: Host>(
        &mut self,
        at: u32,
        words: (u64, u64),
        reach: u32,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let stream = &mut self.streams[1];
        let before = u32::from(stream.carried);
        let (lo, hi, have) = stream.join(words.0, words.1, reach);
        let kind = lo as u8;
        if self.encryption != 0 && before == 0 {
            self.encryption = 0;
            if kind == b'S' || kind == b'G' {
                self.encrypted = 1;
                source.go_to(source.end());
                return Ok(());
            }
            if kind == b'N' {
                source.go_to(at + 1);
                return Ok(());
            }
        }
        let stream = &mut self.streams[1];
        let length = ((lo >> 8) as u32).swap_bytes();
        let total = if have >= 5 { length.saturating_add(1) } else { 5 };
        // A command's tag up to the blank behind its first word; a status.
        let wanted = match kind {
            b'C' => total.min(12),
            b'Z' => total.min(6),
            _ => 5,
        };
        if have >= 5 {
            is_sound::<true>(kind, length)?;
        }
        if have < wanted {
            stream.keep(lo, hi, have);
            source.go_to(at + (have - before).max(1));
            return Ok(());
        }
        stream.carried = 0;
        stream.carry = Carry::EMPTY;
        stream.text = if kind == b'E' { Text::FIELDS } else { Text::NONE };
        if kind == b'C' {
            if self.tag == UNTOLD {
                self.tag = text::tag(if wanted == 12 { lo >> 40 | hi << 24 } else { 0 }) as u8;
            }
        } else if kind == b'Z' {
            self.become_ready((lo >> 40) as u8, source, connection);
        }
        self.finish(1, at, before, total, wanted, source);
        Ok(())
    }

    /// The server is ready for the next query.
    #[inline(always)]
    fn become_ready<S: Host>(&mut self, status: u8, source: &mut S, connection: &mut Connection) {
        let now = source.now_ns();
        let postgres = connection.details.postgres_mut();
        if self.ready == 0 {
            self.ready = 1;
            postgres.acquire_ns = now.saturating_sub(connection.seen_ns).max(1);
        } else if self.asked != self.answered {
            // Where more are in flight than are kept, the oldest that is.
            let behind = self.asked.wrapping_sub(self.answered) as usize > KEPT;
            let place = if behind { self.asked } else { self.answered } as usize & (KEPT - 1);
            let told = if behind { EXECUTED | QueryKind::Other as u8 } else { self.kinds[place] };
            let is_query = told & EXECUTED != 0;
            if self.tag == UNTOLD {
                self.tag = told & !EXECUTED;
            }
            let kind = usize::from(hide_field(&self.tag));
            let took = now.saturating_sub(self.starts[place]);
            self.answered = self.answered.wrapping_add(1);
            postgres.answered = postgres.answered.wrapping_add(1);
            if let (true, Some(total), Some(buckets)) =
                (is_query, postgres.query_ns.get_mut(kind), postgres.queries.get_mut(kind))
            {
                *total = total.saturating_add(took);
                add(buckets, bucket(&QUERY_BOUNDS, took));
            }
        }
        self.tag = UNTOLD;
        let state = match status {
            b'T' => State::InTransaction,
            b'E' => State::Failed,
            _ => State::Idle,
        };
        let was_inside =
            postgres.state == State::InTransaction as u8 || postgres.state == State::Failed as u8;
        let is_inside = !matches!(state, State::Idle);
        if is_inside && !was_inside {
            // One whose start was not seen has none.
            self.transaction_ns = if postgres.state == State::Idle as u8 { now } else { 0 };
        } else if was_inside && !is_inside && self.transaction_ns != 0 {
            let took = now.saturating_sub(self.transaction_ns);
            postgres.transaction_ns = postgres.transaction_ns.saturating_add(took);
            add(&mut postgres.transactions, bucket(&TRANSACTION_BOUNDS, took));
        }
        postgres.state = state as u8;
    }
}
