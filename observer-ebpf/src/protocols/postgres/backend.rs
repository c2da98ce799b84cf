//! What a server says.

use super::layout::{QUERY_BOUNDS, QueryKind, State, TRANSACTION_BOUNDS};
use super::messages::is_sound;
use super::text::{self, Text};
use super::{ENCRYPTED, EXECUTED, Postgres, UNTOLD};
use crate::layout::buckets::{add, bucket};
use crate::layout::connection::{Connection, FLAG_ENCRYPTED};
use crate::layout::losses::Desync;
use crate::stream::bytes::{Host, hide_field, write_in_order};
use crate::stream::carry::Carry;

/// The longest error before the server is ready, with its length's own four bytes, and the shortest one. What seems to
/// be of another length has none: it is plain text, as in version 2 of the protocol, of a server that could not start a
/// process for the session (`PQconnectPoll` in `src/interfaces/libpq/fe-connect.c`, `report_fork_failure_to_client` in
/// `src/backend/postmaster/postmaster.c`).
const ERROR_LENGTHS: core::ops::RangeInclusive<u32> = 8..=30_000;

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
                // TLS, or GSSAPI encryption, from here on.
                connection.flags |= FLAG_ENCRYPTED;
                self.encryption = ENCRYPTED;
                source.go_to(source.end());
                return Ok(());
            }
            if kind == b'N' {
                source.go_to(at + 1);
                return Ok(());
            }
        }
        let length = ((lo >> 8) as u32).swap_bytes();
        let total = if have >= 5 { length.saturating_add(1) } else { 5 };
        let is_plain_error = kind == b'E' && self.ready == 0 && have >= 5 && !ERROR_LENGTHS.contains(&length);
        // It goes on to the end of the connection.
        let total = if is_plain_error { u32::MAX } else { total };
        if have >= 5 && !is_plain_error {
            is_sound::<true>(kind, length)?;
        }
        // A command's tag up to the blank behind its first word; a status.
        let wanted = match kind {
            b'C' => total.min(12),
            b'Z' => total.min(6),
            _ => 5,
        };
        let stream = &mut self.streams[1];
        if have < wanted {
            stream.keep(lo, hi, have);
            source.go_to(at + (have - before).max(1));
            return Ok(());
        }
        stream.carried = 0;
        stream.carry = Carry::EMPTY;
        stream.text = match kind {
            b'E' if is_plain_error => Text::PLAIN,
            b'E' => Text::FIELDS,
            _ => Text::NONE,
        };
        if kind == b'C' {
            if self.tag == UNTOLD {
                self.tag = text::tag(if wanted == 12 { lo >> 40 | hi << 24 } else { 0 }) as u8;
            }
        } else if kind == b'Z' {
            self.become_ready((lo >> 40) as u8, source, connection);
        } else if kind == b'W' {
            self.replicate(connection);
        }
        self.finish(1, at, before, total, wanted, source);
        Ok(())
    }

    /// The session streams replication from here on. What asked for that is answered once it is ready again, and is no
    /// query.
    #[inline(always)]
    pub(super) fn replicate(&mut self, connection: &mut Connection) {
        let postgres = connection.details.postgres_mut();
        let (place, is_kept) = postgres.oldest();
        if is_kept {
            self.kinds[place] &= !EXECUTED;
        }
        postgres.state = State::Replication as u8;
    }

    /// The server is ready for the next query.
    #[inline(always)]
    fn become_ready<S: Host>(&mut self, status: u8, source: &mut S, connection: &mut Connection) {
        let now = source.now_ns();
        let postgres = connection.details.postgres_mut();
        if self.ready == 0 {
            self.ready = 1;
            postgres.acquire_ns = now.saturating_sub(connection.seen_ns).max(1);
        } else if postgres.is_active() {
            // Where more are in flight than are kept, the oldest that is.
            let (place, is_kept) = postgres.oldest();
            let told = if is_kept { self.kinds[place] } else { EXECUTED | QueryKind::Other as u8 };
            let is_query = told & EXECUTED != 0;
            if self.tag == UNTOLD {
                self.tag = told & !EXECUTED;
            }
            let kind = usize::from(hide_field(&self.tag));
            let took = now.saturating_sub(postgres.starts[place]);
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
            // Before the state, which the agent reads first.
            write_in_order(&mut postgres.transaction_began_ns, now);
        } else if was_inside && !is_inside && self.transaction_ns != 0 {
            let took = now.saturating_sub(self.transaction_ns);
            postgres.transaction_ns = postgres.transaction_ns.saturating_add(took);
            add(&mut postgres.transactions, bucket(&TRANSACTION_BOUNDS, took));
        }
        write_in_order(&mut postgres.state, state as u8);
    }
}
