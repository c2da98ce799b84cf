//! TLS records (RFC 8446, section 5.1). Nothing inside them is read but the client's first words, its `ClientHello`,
//! which is in the clear: by its ALPN extension (RFC 7301) it says what it wants to speak inside.
//!
//! ```text
//!   record             ClientHello (RFC 8446, sections 4 and 4.1.2)
//!   type version length │ type length version random │ session │ ciphers │ compression │ extensions
//!    1      2      2    │   1    3       2      32   │  1 + n  │  2 + n  │    1 + n    │ 2 + (2 + 2 + n) …
//! ```
//!
//! It is followed a field at a time to the ALPN extension or to its end, and not past the server's first words.

mod detect;
pub mod layout;

use crate::layout::connection::{Connection, FLAG_ENCRYPTED};
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side};
use crate::protocols::Protocol;
use crate::stream::bytes::{Bytes, ITERATIONS_MAX, is_done, low_bytes, pass};
use crate::stream::carry::Carry;
use crate::stream::parser::{Opening, Outcome, Parse, Parser, StreamId};
use crate::stream::subprograms::{Runs, Subprograms};

/// Bytes before the first field whose length varies.
const FIXED: u32 = 5 + 4 + 2 + 32;
/// The number of the ALPN extension (RFC 7301, section 3.1).
const ALPN: u32 = 16;
/// What Postgres is called there ("SSL Session Encryption" in the `PostgreSQL` documentation).
const POSTGRES: [u64; 2] = [u64::from_le_bytes(*b"postgres"), u64::from_le_bytes(*b"ql\0\0\0\0\0\0")];

/// Which field of the `ClientHello` comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum At {
    /// None that is looked at.
    Over = 0,
    /// The length of the session's name.
    Session = 1,
    /// The length of the list of ciphers.
    Ciphers = 2,
    /// The length of the list of compressions.
    Compression = 3,
    /// The length of all extensions.
    Extensions = 4,
    /// An extension's number and length.
    Extension = 5,
    /// The length of a protocol's name.
    NameLength = 6,
    /// A name that is as long as that of Postgres.
    Name = 7,
}

/// How many bytes each of them has.
static NEEDED: [u32; 8] = [1, 1, 2, 1, 2, 4, 1, 10];

/// The start of a connection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tls {
    /// The first bytes of a field of which too few have come.
    carry: Carry,
    /// Bytes before the next field that have not passed.
    skip: u32,
    /// Bytes of extensions, or of names, from the next field on.
    left: u32,
    /// How many bytes `carry` holds.
    carried: u8,
    /// An [`At`].
    at: u8,
    /// 1 once the client has asked for Postgres.
    is_postgres: u8,
    reserved: [u8; 5],
}

const _: () = assert!(size_of::<Tls>() == 32);

impl Tls {
    /// Nothing seen yet.
    pub const START: Self = Self {
        carry: Carry::EMPTY,
        skip: FIXED,
        left: 0,
        carried: 0,
        at: At::Session as u8,
        is_postgres: 0,
        reserved: [0; 5],
    };

    #[inline(always)]
    const fn is_over(&self) -> bool {
        self.at == At::Over as u8
    }

    #[inline(always)]
    const fn go(&mut self, next: At) {
        self.at = next as u8;
    }

    /// Nothing more is looked at.
    #[inline(always)]
    fn end(&mut self, connection: &mut Connection) {
        self.go(At::Over);
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
        if stream.is_request() && !self.is_over() {
            let is_whole = S::repeat(ITERATIONS_MAX, || {
                source.run(Subprogram::Step, self, stream, connection);
                !is_done(source) && !self.is_over()
            });
            if is_whole && !self.is_over() {
                return Outcome::SAME;
            }
        }
        self.end(connection);
        Outcome::became(if self.is_postgres == 0 { Protocol::Tls } else { Protocol::Postgres })
    }

    /// Takes what is in reach: bytes before a field, or the field. Goes at least one byte further.
    #[inline(always)]
    fn step<S: Bytes>(&mut self, source: &mut S) {
        if self.skip > 0 {
            pass(&mut self.skip, source);
            return;
        }
        let at = source.position();
        let Ok(available) = source.window(at) else {
            self.go(At::Over);
            return;
        };
        let (lo, hi) = source.words(at);
        let before = u32::from(self.carried);
        let reach = if available < 16 { available } else { 16 };
        let (lo, hi, have) = self.carry.join(self.carried, lo, hi, reach);
        let needed = NEEDED[usize::from(self.at) & 7];
        if have < needed {
            self.carry = Carry::of(lo, hi, have);
            self.carried = have as u8;
            source.go_to(at + have.saturating_sub(before).max(1));
            return;
        }
        self.carry = Carry::EMPTY;
        self.carried = 0;
        source.go_to(at + needed.saturating_sub(before).max(1));
        self.take(lo, hi);
    }

    /// Takes a field.
    #[inline(always)]
    fn take(&mut self, lo: u64, hi: u64) {
        let [a, b, c, d, ..] = lo.to_le_bytes();
        let (first, second) = (u32::from(a) << 8 | u32::from(b), u32::from(c) << 8 | u32::from(d));
        let one = u32::from(a);
        match self.at {
            at if at == At::Session as u8 => self.field(one, At::Ciphers),
            at if at == At::Ciphers as u8 => self.field(first, At::Compression),
            at if at == At::Compression as u8 => self.field(one, At::Extensions),
            at if at == At::Extensions as u8 => {
                self.left = first;
                self.field(0, At::Extension);
            }
            at if at == At::Extension as u8 => {
                self.left = self.left.saturating_sub(4 + second);
                if first == ALPN {
                    // A list, behind its length.
                    self.left = second.saturating_sub(2);
                    self.field(2, At::NameLength);
                } else {
                    self.field(second, At::Extension);
                }
            }
            at if at == At::NameLength as u8 => {
                self.left = self.left.saturating_sub(1 + one);
                if a == 10 {
                    self.go(At::Name);
                    return;
                }
                self.field(one, At::NameLength);
            }
            _ => {
                self.is_postgres = u8::from([lo, low_bytes(hi, 2)] == POSTGRES);
                self.left *= u32::from(self.is_postgres == 0);
                self.field(0, At::NameLength);
            }
        }
        let is_listed = self.at >= At::Extension as u8;
        if is_listed && self.left == 0 {
            self.go(At::Over);
        }
    }

    /// The next field, behind some bytes.
    #[inline(always)]
    const fn field(&mut self, skip: u32, next: At) {
        self.skip = skip;
        self.go(next);
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
                self.step(source);
                0
            }
        }
    }
}

/// Functions that the verifier checks each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes in a call: [`Outcome::code`].
    Call,
    /// Takes what is in reach of a call of the client's.
    Step,
}

impl Subprograms for Tls {
    type Subprogram = Subprogram;
}

impl Parser for Tls {
    #[inline(always)]
    fn start(&mut self, opening: Opening, _role: Role, connection: &mut Connection) {
        *self = Self::START;
        self.skip = FIXED.saturating_sub(opening.kept);
        // It may yet be a protocol that is told inside.
        connection.pending = 1;
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, connection: &mut Connection) {
        self.end(connection);
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        self.is_over() || matches!(side, Side::Server)
    }

    #[inline(always)]
    fn is_lost(&self, _side: Side) -> bool {
        false
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, _connection: &mut Connection) -> Option<Outcome> {
        if self.is_over() {
            return Some(Outcome::SAME);
        }
        if !stream.is_request() || u64::from(self.skip) < bytes {
            return None;
        }
        self.skip -= bytes as u32;
        Some(Outcome::SAME)
    }

    /// Nothing is out of sync where nothing more is looked at.
    #[inline(always)]
    fn miss(&mut self, stream: StreamId, bytes: u64, _why: Desync, connection: &mut Connection) -> Outcome {
        if self.pass(stream, bytes, connection).is_none() {
            self.end(connection);
        }
        Outcome::SAME
    }

    #[inline(always)]
    fn lose(&mut self, _side: Side, connection: &mut Connection) {
        self.end(connection);
    }

    #[inline(always)]
    fn is_full(_connection: &Connection, _direction: Direction) -> bool {
        false
    }

    #[inline(always)]
    fn carry_over(_before: &Connection, _next: &mut Connection) {}
}

impl<S: Runs<Self>> Parse<S> for Tls {
    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        Outcome::from_code(source.run(Subprogram::Call, self, stream, connection))
    }
}
