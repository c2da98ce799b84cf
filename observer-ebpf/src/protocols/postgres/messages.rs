//! Messages by their headers, the same for both sides.

use super::layout::OTHER_CLASSES;
use super::text::Text;
use super::{LENGTH_MAX, Mode, PLAIN_AT_ONCE, Postgres};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::stream::bytes::{Bytes, Host, ITERATIONS_MAX, is_done};

impl Postgres {
    /// Takes what is in reach: a payload's bytes, or a message's header and what is looked at behind it. Goes
    /// at least one byte further.
    #[inline(always)]
    pub(super) fn take<const SERVER: bool, S: Host>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let at = source.position();
        let left = source.end().saturating_sub(at);
        if left == 0 {
            return Ok(());
        }
        let stream = &mut self.streams[usize::from(SERVER)];
        if stream.skip > 0 && stream.text.is_over() {
            let bytes = if stream.skip < left { stream.skip } else { left };
            stream.skip -= bytes;
            source.go_to(at + bytes);
            return Ok(());
        }
        let mut available = source.window(at).map_err(|_| Desync::Unread)?;
        let (mut lo, mut hi) = source.words(at);
        if stream.skip > 0 {
            stream.skip -= 1;
            source.go_to(at + 1);
            self.read_text::<SERVER>(lo as u8, connection);
            return Ok(());
        }
        let mut at = at;
        if stream.carried == 0 && stream.is(Mode::Messages) && self.encryption == 0 {
            let all = available == left;
            let mut executes = false;
            if !SERVER {
                self.begin(lo as u8, source, connection);
            }
            let start = at;
            for _ in 0..PLAIN_AT_ONCE {
                let (kind, length) = (lo as u8, ((lo >> 8) as u32).swap_bytes());
                // Behind the message, the window must hold the next header, too, unless it holds the call's end.
                let room = if all { available } else { available.saturating_sub(16) };
                let begun = SERVER || self.open != 0 || kind == b'd';
                if !(begun && is_plain::<SERVER>(kind, length) && length < room && available >= 5) {
                    break;
                }
                executes |= !SERVER && kind == b'E';
                at += 1 + length;
                available -= 1 + length;
                (lo, hi) = source.words(at);
            }
            if executes {
                self.execute(connection);
            }
            source.go_to(at);
            if available == 0 {
                return Ok(());
            }
            if !SERVER && at != start {
                self.begin(lo as u8, source, connection);
            }
        }
        let reach = if available < 16 { available } else { 16 };
        if SERVER {
            self.take_backend(at, (lo, hi), reach, source, connection)
        } else {
            self.take_frontend(at, (lo, hi), reach, source, connection)
        }
    }

    /// A byte of a text.
    #[inline(always)]
    fn read_text<const SERVER: bool>(&mut self, byte: u8, connection: &mut Connection) {
        let stream = &mut self.streams[usize::from(SERVER)];
        if SERVER {
            let told = stream.text.push_field(byte);
            // As far as is looked, some errors tell none.
            if told.is_some() || stream.skip == 0 || stream.text.is_over() {
                self.take_error(told.unwrap_or(OTHER_CLASSES), connection);
            }
        } else if let Some(kind) = stream.text.push_statement(byte) {
            self.tell_kind(kind, connection);
        }
        let stream = &mut self.streams[usize::from(SERVER)];
        if stream.skip == 0 {
            stream.text = Text::NONE;
        }
    }
}

/// See [`crate::stream::parser::Parser::is_whole`].
#[inline(always)]
pub(super) fn is_whole<const SERVER: bool, S: Bytes>(source: &mut S) -> bool {
    source.scratch().last = [0; 2];
    source.go_to(0);
    let mut sound = true;
    let finished = S::repeat(ITERATIONS_MAX, || {
        let at = source.position();
        let left = source.end().saturating_sub(at);
        let available = source.window(at).unwrap_or(0);
        let (lo, _) = source.words(at);
        let (kind, length) = (lo as u8, ((lo >> 8) as u32).swap_bytes());
        sound = available >= 5 && is_sound::<SERVER>(kind, length).is_ok() && length < left;
        if !sound {
            return false;
        }
        let payload = if available >= 6 && length > 4 { (lo >> 40) as u8 } else { 0 };
        source.scratch().last = [kind, payload];
        source.go_to(at + 1 + length);
        !is_done(source)
    });
    source.go_to(0);
    let [kind, payload] = source.scratch().last;
    let ends = if SERVER {
        kind == b'Z' && matches!(payload, b'I' | b'T' | b'E')
    } else {
        kind == b'Q' || kind == b'S' || kind == b'F' || kind == b'X'
    };
    finished && sound && (ends || kind == b'd' && is_replication::<SERVER, S>(payload, source))
}

/// Whether a call is one message that keeps a replication session alive: the server's, or the standby's ("Streaming
/// Replication Protocol" in the `PostgreSQL` documentation). Its last byte asks for an answer, or does not.
#[inline(always)]
fn is_replication<const SERVER: bool, S: Bytes>(payload: u8, source: &mut S) -> bool {
    const KEEPALIVE: (u8, u32) = (b'k', 1 + 4 + 18);
    const STATUS_UPDATE: (u8, u32) = (b'r', 1 + 4 + 34);
    let (wanted, length) = if SERVER { KEEPALIVE } else { STATUS_UPDATE };
    let last = length - 1;
    payload == wanted
        && source.end() == length
        && source.window(last).is_ok()
        && source.words(last).0 as u8 <= 1
}

/// What there is to know of a message by its type.
#[derive(Clone, Copy)]
struct Kind(u8);

impl Kind {
    /// There is one.
    const KNOWN: u8 = 1 << 0;
    /// It has no payload.
    const EMPTY: u8 = 1 << 1;
    /// It needs no more than a look at its header, where a request is open already.
    const PLAIN: u8 = 1 << 2;

    /// That of a side's message.
    #[inline(always)]
    fn of<const SERVER: bool>(kind: u8) -> Self {
        let kinds = if SERVER { &SERVER_KINDS } else { &CLIENT_KINDS };
        Self(kinds[usize::from(kind)])
    }

    #[inline(always)]
    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// A byte for each type. One that is loaded costs no branch, each way of which the verifier would follow to the end.
const fn kinds(known: &[u8], empty: &[u8], plain: &[u8]) -> [u8; 256] {
    let mut kinds = [0; 256];
    let lists = [(known, Kind::KNOWN), (empty, Kind::EMPTY), (plain, Kind::PLAIN)];
    let mut list = 0;
    while list < lists.len() {
        let (types, flag) = lists[list];
        let mut at = 0;
        while at < types.len() {
            kinds[types[at] as usize] |= flag;
            at += 1;
        }
        list += 1;
    }
    kinds
}

static CLIENT_KINDS: [u8; 256] = kinds(b"BCDEFHPQSXcdfp", b"HSXc", b"BCDEHd");
static SERVER_KINDS: [u8; 256] = kinds(b"123ACDEGHIKNRSTVWZcdnstv", b"123Icns", b"123ADGHIKNRSTVcdnstv");

/// The least and the greatest length, its own four bytes included, of a message of each type: none for what is no type.
const fn lengths(kinds: &[u8; 256], is_server: bool) -> [(u32, u32); 256] {
    let mut all = [(u32::MAX, 0); 256];
    let mut at = 0;
    while at < 256 {
        let kind = Kind(kinds[at]);
        if kind.has(Kind::EMPTY) {
            all[at] = (4, 4);
        } else if is_server && at == b'Z' as usize {
            all[at] = (5, 5);
        } else if kind.has(Kind::KNOWN) {
            all[at] = (4, LENGTH_MAX);
        }
        at += 1;
    }
    all
}

static CLIENT_LENGTHS: [(u32, u32); 256] = lengths(&CLIENT_KINDS, false);
static SERVER_LENGTHS: [(u32, u32); 256] = lengths(&SERVER_KINDS, true);

/// Whether a message of this type and length is one of the plain ones.
#[inline(always)]
fn is_plain<const SERVER: bool>(kind: u8, length: u32) -> bool {
    let kind = Kind::of::<SERVER>(kind);
    kind.has(Kind::PLAIN) && length >= 4 && (length == 4 || !kind.has(Kind::EMPTY))
}

/// Whether a message of this type and length (its own four bytes included) can be.
#[inline(always)]
pub(super) fn is_sound<const SERVER: bool>(kind: u8, length: u32) -> Result<(), Desync> {
    let lengths = if SERVER { &SERVER_LENGTHS } else { &CLIENT_LENGTHS };
    let (least, most) = lengths[usize::from(kind)];
    // The signs of the differences tell, by arithmetic: each comparison would be another way on for the verifier.
    let length = u64::from(length);
    let beyond = length.wrapping_sub(u64::from(least)) | u64::from(most).wrapping_sub(length);
    if beyond >> 63 == 0 {
        return Ok(());
    }
    Err(if Kind::of::<SERVER>(kind).has(Kind::KNOWN) { Desync::Length } else { Desync::Header })
}
