//! TLS records (RFC 8446, section 5.1; RFC 5246, section 6.2.1): headers are read, and what they are the headers of is
//! stepped over. What is in the clear tells the version, what is asked for inside, how long the handshake took, and alerts.
//!
//! ```text
//!   type version length │ …        20 change of cipher, 21 alert, 22 handshake, 23 application, 24 heartbeat
//!     1     2      2    │ length
//! ```
//!
//! It is the parser of every encrypted connection, whatever is known to be spoken inside.

mod detect;
mod hello;
pub mod layout;
mod stream;

use self::layout::{ALERTS, TLS_1_3};
use self::stream::{
    ALERT, ALERT_LENGTH, APPLICATION, APPLIED, CHANGE_CIPHER_SPEC, CHANGED_CIPHER, CLEAR_ALERT, FINISHED,
    HANDSHAKE, HEADER, State, Stream, header,
};
use crate::layout::connection::{Connection, FLAG_ENCRYPTED};
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side};
use crate::stream::bytes::{Host, ITERATIONS_MAX, hide_field, is_done, pass};
use crate::stream::carry::Carry;
use crate::stream::parser::{Opening, Outcome, Parse, Parser, StreamId};
use crate::stream::subprograms::{Runs, Subprograms};

/// Both streams.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tls {
    streams: [Stream; 2],
    /// 1 once it has been told what is spoken inside, as far as that is known.
    is_told: u8,
    /// [`Desync::code`] of why the call in hand cannot be followed.
    broken: u8,
    reserved: [u8; 6],
    /// The first half of the random in the client's hello, as it is on the wire; zeroes where it was not seen.
    client_random: [u64; 2],
}

const _: () = assert!(size_of::<Tls>() == 104);

impl Tls {
    /// Nothing seen yet.
    const START: Self =
        Self { streams: [Stream::START; 2], is_told: 0, broken: 0, reserved: [0; 6], client_random: [0; 2] };

    /// Starts inside a connection that another protocol has begun, and of which the protocol inside is known.
    #[inline(always)]
    pub(crate) fn start_inside(&mut self) {
        *self = Self::START;
        self.is_told = 1;
    }

    /// The first half of the random in the client's hello, as it is on the wire. None where it was not seen, or is zeroes.
    #[inline(always)]
    pub(crate) fn client_random(&self) -> Option<[u64; 2]> {
        if self.client_random == [0; 2] { None } else { Some(self.client_random) }
    }

    #[inline(always)]
    const fn stream(&mut self, side: Side) -> &mut Stream {
        &mut self.streams[side as usize & 1]
    }

    /// What is spoken inside is as far known as it will be.
    #[inline(always)]
    fn tell(&mut self, connection: &mut Connection) -> Outcome {
        self.settle(connection);
        Outcome::became(self.streams[0].hello.protocol())
    }

    /// It is encrypted, and no more will be known of what is inside.
    #[inline(always)]
    const fn settle(&mut self, connection: &mut Connection) {
        self.is_told = 1;
        connection.flags |= FLAG_ENCRYPTED;
        connection.pending = 0;
    }

    /// Runs through the bytes of a call.
    #[inline(always)]
    fn run_call<S: Runs<Self>>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        if self.is_told == 0 && !stream.is_request() {
            self.streams[0].hello.end();
            return self.tell(connection);
        }
        let was_lost = self.stream(stream.side).is(State::Lost);
        if was_lost && !self.find(stream.side, source) {
            source.go_to(source.end());
            return Outcome::SAME;
        }
        let is_whole = S::repeat(ITERATIONS_MAX, || {
            source.run(Subprogram::Step, self, stream, connection);
            !is_done(source) && self.broken == 0 && (self.is_told != 0 || !self.streams[0].hello.is_over())
        });
        if self.is_told == 0 && self.streams[0].hello.is_over() {
            return self.tell(connection);
        }
        let broken = hide_field(&self.broken);
        self.broken = 0;
        if broken != 0 {
            source.go_to(source.end());
            return self.end_broken(u32::from(broken), stream.side, connection);
        }
        if !is_whole {
            self.lose(stream.side, connection);
            return Outcome::lost(Desync::Bound);
        }
        if was_lost { Outcome::RESYNCED } else { Outcome::SAME }
    }

    /// A call of a stream cannot be followed.
    #[inline(always)]
    fn end_broken(&mut self, why: u32, side: Side, connection: &mut Connection) -> Outcome {
        let state = hide_field(&self.stream(side).state);
        self.lose(side, connection);
        if state == State::Start as u8 {
            // A server may answer in the clear; and what a session becomes may be another encryption.
            self.stream(side).state = State::Other as u8;
            return Outcome::SAME;
        }
        if state == State::Tentative as u8 {
            // What seemed to be a record was none.
            return Outcome::RESYNCED;
        }
        Outcome::of(Desync::from_code(why))
    }

    /// Finds a stream again that is out of sync: where a call begins with a record's header.
    #[inline(always)]
    fn find<S: Host>(&mut self, side: Side, source: &mut S) -> bool {
        let at = source.position();
        let Ok(available) = source.window(at) else { return false };
        let (is_one, _) = header(source.words(at).0);
        if available < HEADER || !is_one {
            return false;
        }
        let stream = self.stream(side);
        stream.kind = 0;
        stream.begin_anew(State::Tentative);
        true
    }

    /// Takes what is in reach: bytes that are stepped over, a header, or a field.
    #[inline(always)]
    fn step<S: Host>(&mut self, id: StreamId, source: &mut S, connection: &mut Connection) {
        let stream = self.stream(id.side);
        if stream.is(State::Other) {
            source.go_to(source.end());
            return;
        }
        let unread = stream.unread();
        if unread > 0 {
            let mut left = unread;
            pass(&mut left, source);
            stream.pass(unread - left);
            return;
        }
        let is_header = stream.left == 0;
        let needed = if is_header {
            HEADER
        } else if stream.kind == CLEAR_ALERT {
            ALERT_LENGTH
        } else {
            stream.hello.needed()
        };
        let before = u32::from(stream.carried);
        if !is_header && needed > before + stream.left {
            // A field that goes on in the next record: that is too much care for a hello.
            stream.hello.end();
            stream.drop_carry();
            return;
        }
        let at = source.position();
        let Ok(available) = source.window(at) else {
            self.broken = Desync::code(Some(Desync::Unread)) as u8;
            return;
        };
        let (lo, hi) = source.words(at);
        let reach = if available < 16 { available } else { 16 };
        let (lo, hi, have) = stream.carry.join(stream.carried, lo, hi, reach);
        let taken = if have < needed { have } else { needed }.wrapping_sub(before);
        source.go_to(at + taken);
        if !is_header {
            stream.left = stream.left.saturating_sub(taken);
        }
        if have < needed {
            stream.carry = Carry::of(lo, hi, have);
            stream.carried = have as u8;
            return;
        }
        stream.drop_carry();
        if is_header {
            self.take_header(id, lo, source, connection);
        } else if stream.kind == CLEAR_ALERT {
            take_alert(id.direction, lo, connection);
        } else {
            let is_random = stream.hello.is_at_random();
            stream.hello.take(lo, hi, id.is_request());
            if is_random {
                self.client_random = [lo, hi];
            } else if !id.is_request() && stream.hello.version != 0 {
                connection.tls.version = stream.hello.version;
            }
        }
    }

    /// Takes a record's header.
    #[inline(always)]
    fn take_header<S: Host>(&mut self, id: StreamId, word: u64, source: &mut S, connection: &mut Connection) {
        let (is_one, length) = header(word);
        if !is_one {
            self.broken = Desync::code(Some(Desync::Length)) as u8;
            return;
        }
        let kind = word as u8;
        let stream = self.stream(id.side);
        let state = hide_field(&stream.state);
        if state == State::Start as u8 && id.is_request() {
            connection.tls.hello_ns = source.now_ns();
        }
        stream.state =
            if state == State::Tentative as u8 && stream.kind == 0 { state } else { State::Synced as u8 };
        stream.left = length;
        stream.kind = if kind == ALERT && length == ALERT_LENGTH { CLEAR_ALERT } else { kind };
        if kind == APPLICATION {
            let at = id.direction as usize;
            let bytes = &mut connection.tls.application[at];
            *bytes = bytes.wrapping_add(u64::from(length));
            connection.tls.records[at] = connection.tls.records[at].wrapping_add(1);
        }
        stream.seen |= match kind {
            CHANGE_CIPHER_SPEC => CHANGED_CIPHER,
            HANDSHAKE if stream.seen & CHANGED_CIPHER != 0 => FINISHED,
            APPLICATION => APPLIED,
            _ => 0,
        };
        if connection.tls.handshake_ns == 0
            && connection.tls.hello_ns != 0
            && self.is_handshake_over(id, kind, connection)
        {
            let now = source.now_ns();
            let passed = now.saturating_sub(connection.tls.hello_ns);
            connection.tls.handshake_ns = if passed == 0 { 1 } else { passed };
            let [sent, received] = connection.tls.application;
            connection.tls.handshake_bytes = sent.wrapping_add(received) as u32;
        }
    }

    /// Whether a record is the last one of the handshake: in TLS 1.3 the client's `Finished`, which looks like an
    /// application record and comes behind the server's, and before that version the later one of both sides' own.
    #[inline(always)]
    fn is_handshake_over(&self, id: StreamId, kind: u8, connection: &Connection) -> bool {
        let [client, server] = [self.streams[0].seen, self.streams[1].seen];
        if connection.tls.version >= TLS_1_3 {
            kind == APPLICATION && id.is_request() && server & APPLIED != 0
        } else {
            client & server & FINISHED != 0
        }
    }

    /// Runs a subprogram.
    #[inline(always)]
    pub fn run_subprogram<S: Runs<Self>>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        match subprogram {
            Subprogram::Call => self.run_call(stream, source, connection).code(),
            Subprogram::Step => {
                self.step(stream, source, connection);
                0
            }
        }
    }
}

/// Takes note of an alert in the clear: its level, which the description tells as well, and its description.
#[inline(always)]
fn take_alert(direction: Direction, word: u64, connection: &mut Connection) {
    let at = direction as usize & 1;
    let seen = hide_field(&connection.tls.alerts_seen[at]);
    if usize::from(seen) < ALERTS {
        let description = (word >> 8) as u8;
        connection.tls.alerts[at][usize::from(seen) % ALERTS] = description.saturating_add(1);
    }
    connection.tls.alerts_seen[at] = seen.saturating_add(1);
}

/// Functions that the verifier checks each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes in a call: [`Outcome::code`].
    Call,
    /// Takes what is in reach of a call.
    Step,
}

impl Subprograms for Tls {
    type Subprogram = Subprogram;
}

impl Parser for Tls {
    #[inline(always)]
    fn start(&mut self, opening: Opening, _role: Role, connection: &mut Connection) {
        *self = Self::START;
        // No more of them than a header, as another byte would have told.
        let kept = if opening.kept < HEADER { opening.kept } else { HEADER };
        self.streams[0].carry = Carry::of(opening.first, 0, kept);
        self.streams[0].carried = kept as u8;
        // It may yet be a protocol that is told inside.
        connection.pending = 1;
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, connection: &mut Connection) {
        *self = Self::START;
        connection.tls.lost = [1; 2];
        self.lose(Side::Client, connection);
        self.lose(Side::Server, connection);
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        let stream = &self.streams[side as usize & 1];
        stream.left == 0 && stream.carried == 0
    }

    #[inline(always)]
    fn is_lost(&self, side: Side) -> bool {
        self.streams[side as usize & 1].is(State::Lost)
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, _connection: &mut Connection) -> Option<Outcome> {
        let stream = self.stream(stream.side);
        if stream.is(State::Other) {
            return Some(Outcome::SAME);
        }
        if u64::from(stream.unread()) < bytes {
            return None;
        }
        stream.pass(bytes as u32);
        Some(Outcome::SAME)
    }

    /// Where only a hello's bytes are missing, the records go on.
    #[inline(always)]
    fn miss(&mut self, id: StreamId, bytes: u64, why: Desync, connection: &mut Connection) -> Outcome {
        if self.is_lost(id.side) || self.pass(id, bytes, connection).is_some() {
            return Outcome::SAME;
        }
        let stream = self.stream(id.side);
        let is_in_hello = stream.kind == HANDSHAKE && stream.left != 0 && u64::from(stream.left) >= bytes;
        if !is_in_hello {
            self.lose(id.side, connection);
            return Outcome::lost(why);
        }
        stream.hello.end();
        stream.drop_carry();
        stream.left -= bytes as u32;
        self.settle(connection);
        Outcome::SAME
    }

    #[inline(always)]
    fn lose(&mut self, side: Side, connection: &mut Connection) {
        self.settle(connection);
        let stream = self.stream(side);
        stream.hello.end();
        stream.begin_anew(State::Lost);
    }

    #[inline(always)]
    fn is_full(connection: &Connection, _direction: Direction) -> bool {
        connection.tls.full != 0
    }

    #[inline(always)]
    fn carry_over(before: &Connection, next: &mut Connection) {
        next.tls.version = before.tls.version;
        next.tls.library = before.tls.library;
        next.tls.lost = before.tls.lost;
        if before.tls.handshake_ns == 0 {
            next.tls.hello_ns = before.tls.hello_ns;
        }
    }
}

impl<S: Runs<Self>> Parse<S> for Tls {
    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        Outcome::from_code(source.run(Subprogram::Call, self, stream, connection))
    }
}
