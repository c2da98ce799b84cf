//! One of both streams, from record to record.

use super::hello::Hello;
use crate::stream::bytes::hide_field;
use crate::stream::carry::Carry;

/// Bytes of a record's header.
pub(super) const HEADER: u32 = 5;
/// The longest record: `2^14 + 2048` bytes (RFC 5246, section 6.2.3); those of TLS 1.3 are shorter.
const RECORD_MAX: u32 = (1 << 14) + 2048;

/// Types of records.
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION: u8 = 23;
const HEARTBEAT: u8 = 24;
/// An alert in the clear, whose two bytes are read: one that is encrypted is longer.
pub(super) const CLEAR_ALERT: u8 = 0x80 | ALERT;
pub(super) const ALERT_LENGTH: u32 = 2;

/// How a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// Before its first record.
    Start = 0,
    /// Found again at a record, behind which nothing has told yet that it was one.
    Tentative = 1,
    /// In sync.
    Synced = 2,
    /// Out of sync.
    Lost = 3,
    /// It has begun with something else than a record, and is not looked at.
    Other = 4,
}

/// Of a stream: what there was of the handshake.
pub(super) const CHANGED_CIPHER: u8 = 1;
/// A handshake record behind that: `Finished`, where it is encrypted.
pub(super) const FINISHED: u8 = 2;
/// An application record, as which TLS 1.3 has its `Finished`.
pub(super) const APPLIED: u8 = 4;

/// One of both streams.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Stream {
    /// The first bytes of a header or of a field of which too few have come.
    pub(super) carry: Carry,
    pub(super) hello: Hello,
    /// Bytes of the record that have not passed.
    pub(super) left: u32,
    /// How many bytes `carry` holds.
    pub(super) carried: u8,
    /// The record's type.
    pub(super) kind: u8,
    /// A [`State`].
    pub(super) state: u8,
    /// `CHANGED_CIPHER`, `FINISHED`, `APPLIED`.
    pub(super) seen: u8,
}

impl Stream {
    pub(super) const START: Self = Self {
        carry: Carry::EMPTY,
        hello: Hello::START,
        left: 0,
        carried: 0,
        kind: 0,
        state: State::Start as u8,
        seen: 0,
    };

    #[inline(always)]
    pub(super) const fn is(&self, state: State) -> bool {
        self.state == state as u8
    }

    /// The record is over, or not known any more: what comes next is a header, if it is in sync.
    #[inline(always)]
    pub(super) const fn begin_anew(&mut self, state: State) {
        self.state = state as u8;
        self.left = 0;
        self.drop_carry();
    }

    /// Nothing is kept of a header or a field.
    #[inline(always)]
    pub(super) const fn drop_carry(&mut self) {
        self.carry = Carry::EMPTY;
        self.carried = 0;
    }

    /// Whether anything in the record is looked at.
    #[inline(always)]
    const fn is_read(&self) -> bool {
        self.kind == CLEAR_ALERT || (self.kind == HANDSHAKE && !self.hello.is_over())
    }

    /// How many of its bytes need no look.
    #[inline(always)]
    pub(super) fn unread(&self) -> u32 {
        let (left, skip) = (hide_field(&self.left), hide_field(&self.hello.skip));
        if !self.is_read() || (self.kind == HANDSHAKE && skip > left) {
            left
        } else if self.kind == HANDSHAKE {
            skip
        } else {
            0
        }
    }

    /// So many of those have passed.
    #[inline(always)]
    pub(super) fn pass(&mut self, bytes: u32) {
        self.left = self.left.wrapping_sub(bytes);
        if self.is_read() {
            self.hello.skip = self.hello.skip.saturating_sub(bytes);
        }
    }
}

/// Whether a word begins with a record's header, and the length of the record.
#[inline(always)]
pub(super) const fn header(word: u64) -> (bool, u32) {
    let [kind, major, minor, high, low, ..] = word.to_le_bytes();
    let length = (high as u32) << 8 | low as u32;
    let is_one =
        kind >= CHANGE_CIPHER_SPEC && kind <= HEARTBEAT && major == 3 && minor <= 4 && length <= RECORD_MAX;
    (is_one, length)
}
