//! HTTP/1 (RFC 9112), as far as the WebSocket handshake (RFC 6455, section 4) needs it: from the first bytes of a
//! connection to the answer that makes it a WebSocket.
//!
//! ```text
//!              GET …             101, Upgrade: websocket
//!   Message ─────────► Head ──────────────────────────────► it became a WebSocket
//!      ▲   ◄─────────── │ │                                    ▲
//!      │    other head    └─ frames sent before the answer ─► Early
//!      └───────────────────── the answer is another one ───────┘
//! ```
//!
//! Interim responses, as `100 Continue` and `103 Early Hints`, may come before the answer: their heads are stepped over.
//!
//! A stream of HTTP is never out of sync: a message is looked for at the start of each call.

mod detect;
mod head;
pub mod layout;
mod upgrade;

use self::head::Head;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side, Zeroes as _};
use crate::protocols::websocket::frames::Frames;
use crate::protocols::websocket::layout::StreamCounters;
use crate::protocols::websocket::rules::Extensions;
use crate::stream::bytes::{Bytes, is_done};
use crate::stream::parser::{Opening, Outcome, Parse, Parser, StreamId};
use crate::stream::start::Start;
use crate::stream::subprograms::{Runs, Subprograms};

/// What a stream's next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// The start of a message, or something in its middle.
    Message = 0,
    /// In a head that may be a handshake's.
    Head = 1,
    /// The rest of a request of no interest, whose method came with several calls.
    Rest = 2,
    /// Frames that the client sent before it had the answer: they count if that is yes.
    Early = 3,
    /// What another upgrade has led to: not looked at.
    Opaque = 4,
}

/// One side's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Stream {
    /// A [`Mode`].
    mode: u8,
    head: Head,
}

impl Stream {
    const fn new(mode: Mode) -> Self {
        Self { mode: mode as u8, head: Head::START }
    }

    #[inline(always)]
    const fn is(self, mode: Mode) -> bool {
        self.mode == mode as u8
    }
}

/// Both streams of an HTTP connection. The state of a WebSocket begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Http {
    /// Frames that the client sent before it had the answer.
    early: Frames,
    /// The stream of each [`Side`].
    streams: [Stream; 2],
    /// An [`Extensions`]: what the answer to the handshake has agreed to.
    extensions: u8,
    /// 1 if `early` follows on a request for an upgrade, and is not merely likely to be frames.
    expected: u8,
    reserved: [u8; 6],
}

const _: () = assert!(size_of::<Http>() == 64);

/// Functions that the verifier checks each on its own: [`Outcome::code`] of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes in a call.
    Call,
    /// A message may start.
    Message,
    /// A head goes on.
    Scan,
    /// Frames may start.
    Search,
}

impl Subprograms for Http {
    type Subprogram = Subprogram;
}

impl Http {
    /// Before the first byte.
    pub const START: Self = Self {
        early: Frames::RESUMED,
        streams: [Stream::new(Mode::Message); 2],
        extensions: Extensions::Unknown as u8,
        expected: 0,
        reserved: [0; 6],
    };

    #[inline(always)]
    fn reset(&mut self, connection: &mut Connection) {
        self.streams = [Stream::new(Mode::Message); 2];
        self.extensions = Extensions::Unknown as u8;
        self.expected = 0;
        // Its first response may yet be an upgrade.
        connection.pending = 1;
    }

    /// What the handshake's answer has agreed to: an [`Extensions`].
    #[inline(always)]
    pub(in crate::protocols) const fn extensions(&self) -> u8 {
        self.extensions
    }

    /// The frames that the client has sent before it had the answer, if it did.
    #[inline(always)]
    pub(in crate::protocols) const fn early(&self) -> Option<&Frames> {
        if self.streams[Side::Client as usize].is(Mode::Early) { Some(&self.early) } else { None }
    }

    /// Whether the client's request goes on, although it has been answered.
    #[inline(always)]
    pub(in crate::protocols) const fn is_request_unfinished(&self) -> bool {
        self.streams[Side::Client as usize].is(Mode::Head)
    }

    /// Runs a subprogram.
    #[inline(always)]
    pub fn run_subprogram<S: Runs<Self> + Runs<Frames>>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        let outcome = match subprogram {
            Subprogram::Call => self.take_call(stream, source, connection),
            Subprogram::Message => {
                self.start_message(stream, source, connection);
                Outcome::SAME
            }
            Subprogram::Scan => self.scan(stream, source, connection),
            Subprogram::Search => {
                self.search(source);
                Outcome::SAME
            }
        };
        outcome.code()
    }

    /// A call starts where a message may.
    #[inline(always)]
    fn start_message<S: Bytes>(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) {
        let at = source.position();
        let Ok(available) = source.window(at) else { return };
        let (first, second) = source.words(at);
        let start = Start::new(first, available);
        let own = &mut self.streams[stream.side as usize];
        if !stream.is_request() {
            let [version, status] = head::RESPONSE_PATTERNS;
            let rest = Start::new(second, available.saturating_sub(8));
            let incomplete = available < head::STATUS_END && rest.may_be(head::REFUSAL_PATTERN);
            if start.may_be(version) && (rest.may_be(status) || incomplete) {
                *own = Stream::new(Mode::Head);
            } else if detect::is_response(start) {
                if rest.is(head::REFUSAL_PATTERN) {
                    count_refusal(connection);
                }
                self.respond(stream, connection);
            }
            return;
        }
        if start.may_be(head::REQUEST_PATTERN) {
            let end = source.end();
            if end - at >= 16 && source.window(end - 4).is_ok() {
                let (last, _) = source.words(end - 4);
                if last as u32 == head::END {
                    // The whole head, or heads: the response tells whether one was a handshake.
                    return;
                }
            }
            *own = Stream::new(Mode::Head);
        }
    }

    /// A response that is not an upgrade.
    #[inline(always)]
    fn respond(&mut self, stream: StreamId, connection: &mut Connection) {
        connection.pending = 0;
        if self.streams[Side::Client as usize].is(Mode::Early) {
            self.drop_early(stream.direction.opposite(), connection);
        }
    }

    /// What seemed to be frames is none, or not a WebSocket's.
    #[inline(always)]
    fn drop_early(&mut self, direction: Direction, connection: &mut Connection) {
        self.streams[Side::Client as usize] = Stream::new(Mode::Message);
        early_counters(direction, connection).clear();
    }
}

/// How far a head was scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocols) enum Scanned {
    /// It goes on in another call.
    More,
    /// It is none that matters here.
    Other {
        /// It is a response's.
        is_response: bool,
        /// It turns a request away.
        is_refusal: bool,
    },
    /// The head is over.
    End {
        /// `FOUND_*`.
        found: u8,
    },
}

/// Counts a response that turns a request away.
#[inline(always)]
fn count_refusal(connection: &mut Connection) {
    let counters = connection.details.http_mut();
    counters.too_many_requests = counters.too_many_requests.wrapping_add(1);
}

/// Where frames are counted that come before the answer: where the WebSocket's will be.
#[inline(always)]
fn early_counters(direction: Direction, connection: &mut Connection) -> &mut StreamCounters {
    &mut connection.details.websocket_mut().streams[direction as usize]
}

impl Parser for Http {
    #[inline(always)]
    fn start(&mut self, opening: Opening, _role: Role, connection: &mut Connection) {
        self.reset(connection);
        if opening.kept > 0 {
            // The method came over several calls; only a GET is of interest from there on.
            let is_get = Start::new(opening.first, 8).is(head::REQUEST_PATTERN);
            let client = &mut self.streams[Side::Client as usize];
            client.mode = if is_get { Mode::Head } else { Mode::Rest } as u8;
            client.head = Head::IN_START_LINE;
        }
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, connection: &mut Connection) {
        self.reset(connection);
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        !self.streams[side as usize].is(Mode::Early) || self.early.between_frames()
    }

    #[inline(always)]
    fn is_lost(&self, _side: Side) -> bool {
        false
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, connection: &mut Connection) -> Option<Outcome> {
        let own = &self.streams[stream.side as usize];
        if own.is(Mode::Opaque) {
            return Some(Outcome::SAME);
        }
        if own.is(Mode::Early) && self.early.payload_left() >= bytes {
            self.early.pass(bytes, early_counters(stream.direction, connection));
            return Some(Outcome::SAME);
        }
        None
    }

    #[inline(always)]
    fn miss(&mut self, stream: StreamId, bytes: u64, why: Desync, connection: &mut Connection) -> Outcome {
        if self.pass(stream, bytes, connection).is_some() {
            return Outcome::SAME;
        }
        let own = &mut self.streams[stream.side as usize];
        if own.is(Mode::Early) {
            self.drop_early(stream.direction, connection);
            return Outcome::lost(why);
        }
        own.mode = Mode::Message as u8;
        Outcome::SAME
    }

    #[inline(always)]
    fn lose(&mut self, side: Side, _connection: &mut Connection) {
        self.streams[side as usize] = Stream::new(Mode::Message);
    }

    #[inline(always)]
    fn is_full(connection: &Connection, direction: Direction) -> bool {
        connection.details.websocket().streams[direction as usize].is_full()
    }

    #[inline(always)]
    fn carry_over(_before: &Connection, _next: &mut Connection) {}
}

impl<S: Runs<Self> + Runs<Frames>> Parse<S> for Http {
    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        Outcome::from_code(source.run(Subprogram::Call, self, stream, connection))
    }
}

impl Http {
    /// Takes in a call's bytes.
    #[inline(always)]
    fn take_call<S: Runs<Self> + Runs<Frames>>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        let at = stream.side as usize;
        let mut outcome = Outcome::SAME;
        if self.streams[at].is(Mode::Message) {
            source.run(Subprogram::Message, self, stream, connection);
        }
        if self.streams[at].is(Mode::Head) {
            outcome = Outcome::from_code(source.run(Subprogram::Scan, self, stream, connection));
        }
        if !stream.is_request() {
            return outcome;
        }
        if self.streams[at].is(Mode::Message) {
            source.run(Subprogram::Search, self, stream, connection);
        }
        if self.streams[at].is(Mode::Rest) {
            self.streams[at].mode = Mode::Message as u8;
            let end = source.end();
            source.go_to(end);
        }
        if self.streams[at].is(Mode::Early) && !is_done(source) {
            return self.run_early(stream, source, connection);
        }
        outcome
    }
}
