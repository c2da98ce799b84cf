//! HTTP/1 (RFC 9112): where messages start and end, what requests are of and what their answers say; and the handshake
//! that makes a WebSocket of a connection (RFC 6455, section 4).
//!
//! ```text
//!           a line          an empty line                     the last byte
//!   Start ─────────► Name ─────────────────► Body, ChunkSize, Rest ──────────► Start
//!     ▲                │  101, Upgrade: websocket: it became a WebSocket
//!     │                └──────────────────────────────────────────────────────► Opaque: another upgrade, a tunnel
//!   Lost: what breaks the rules, until a call starts with a message
//! ```
//!
//! Heads are gone through word by word, and of most lines only their end is looked for. Bodies of a known length, and the
//! data of chunks, are stepped over unread, but for those of event streams.
//!
//! A request is in flight from the end of its head on (`queue.rs`), and is counted with the last byte of its answer, by
//! route (`target.rs`), method and status.

mod ahead;
mod body;
mod calls;
mod detect;
mod head;
pub mod layout;
pub mod names;
mod queue;
mod reader;
mod request;
mod response;
pub mod target;
mod upgrade;

use self::calls::{told, told_outcome};
use self::layout::{Current, Done};
use self::names::Labels;
use self::queue::Requests;
use self::reader::{Place, Reader};
use self::target::Template;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side, Zeroes as _};
use crate::protocols::websocket::frames::Frames;
use crate::protocols::websocket::layout::StreamCounters;
use crate::protocols::websocket::rules::Extensions;
use crate::stream::bytes::hide_field;
use crate::stream::parser::{Opening, Outcome, Parse, Parser, StreamId};
use crate::stream::subprograms::{Runs, Subprograms};

/// Both streams of an HTTP connection. The state of a WebSocket begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Http {
    /// Frames that the client sent before it had the answer.
    early: Frames,
    /// The stream of each [`Side`].
    readers: [Reader; 2],
    /// The route of the request whose head is gone through, or was last.
    target: Template,
    /// A route that no answer has been seen of yet.
    candidate: Template,
    requests: Requests,
    /// What was measured of the request that was answered last.
    done: Done,
    /// An answer that is over, and whose request has not been seen yet.
    ahead: Current,
    /// `CLOCK_MONOTONIC` of the first byte of the request whose head is gone through.
    start_ns: u64,
    /// The same of the response.
    first_ns: u64,
    /// The method of the request whose head is gone through, the number of its authority, and the response's status. They
    /// are wide, for older verifiers compare codes in one register and use them in another.
    method: u32,
    authority: u32,
    status: u32,
    /// Events of an event stream in the call in hand.
    events: u32,
    /// Requests of `candidate` so far, written by the client's direction, and how many of them are answered, written by the
    /// server's. It may be another route once all are.
    candidates: u32,
    candidates_over: u32,
    /// 1 once the response has passed that is being answered, and has not been counted.
    has_ended: u32,
    /// 1 if the response is to a request that was not seen.
    is_orphan: u32,
    /// 1 if requests have been sent that were not seen, until one is seen again.
    has_lost_requests: u32,
    /// How far the bytes in reach go.
    reach: u32,
    /// By [`Side`]: what the last word of the call in hand has led to, by `calls.rs`, and what has ended it. Both sides' calls
    /// may be gone through at once.
    next: [u32; 2],
    delimiter: [u32; 2],
    /// Where the path leads in the tree of given templates, so far; 0 if to none of them.
    node: u32,
    /// Whether there is an answer whose request has not been seen yet: [`ahead::BEGUN`] and so on.
    ahead_state: u32,
    /// An [`Extensions`]: what the answer to the handshake has agreed to.
    extensions: u8,
    /// 1 if the last request asks for an upgrade, and has no answer yet: what follows, and is no request, are frames, and
    /// not merely likely to be.
    expected: u8,
    /// How long the response is whose head was the last, a [`response::Body`]. It is kept here because the verifier forgets
    /// what it knows of numbers that go through memory.
    body: u8,
    reserved: [u8; 5],
}

const _: () = assert!(align_of::<Http>() == 8 && size_of::<Http>().is_multiple_of(8));

/// Functions that the verifier checks each on its own: [`Outcome::code`] of each, unless it says something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes in a call of the client's.
    ClientCall,
    /// Takes in a call of the server's.
    ServerCall,
    /// A message may start where a stream is out of sync: 1 if one does.
    Resync,
    /// Takes what is in reach of a call of the client's.
    Request,
    /// The same of the server's.
    Response,
    /// A segment of a path is over. 0.
    Segment,
    /// A target has no path. 0.
    EmptyPath,
    /// A word of a field's value is over.
    Value,
    /// The head of a request is over.
    RequestHead,
    /// The head of a response is over.
    ResponseHead,
    /// There is some of a body.
    Body,
    /// The answer to a request has passed. 0.
    Settle,
    /// Frames may start: 1 if they do.
    Search,
    /// Frames that came before the answer.
    Early,
}

impl Subprograms for Http {
    type Subprogram = Subprogram;
}

/// What HTTP asks of whoever runs it.
pub trait Calls: Labels + Runs<Http> + Runs<Frames> {}

impl<S: Labels + Runs<Http> + Runs<Frames>> Calls for S {}

/// How far the rest of a head was gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocols) enum Scanned {
    /// It goes on in another call.
    More,
    /// It cannot be read.
    Unread,
    /// The head is over.
    End,
}

impl Http {
    /// Before the first byte.
    pub const START: Self = Self {
        early: Frames::RESUMED,
        readers: [Reader::at(Place::Start); 2],
        target: Template::START,
        candidate: Template::START,
        requests: Requests::NONE,
        done: Done {
            duration_ns: 0,
            first_byte_ns: 0,
            response_ns: 0,
            request_bytes: 0,
            response_bytes: 0,
            is_stream: 0,
            is_timed: 0,
            is_sized: 0,
        },
        ahead: Current::NONE,
        start_ns: 0,
        first_ns: 0,
        method: 0,
        authority: 0,
        status: 0,
        events: 0,
        candidates: 0,
        candidates_over: 0,
        has_ended: 0,
        is_orphan: 0,
        has_lost_requests: 0,
        reach: 0,
        next: [calls::NONE; 2],
        delimiter: [0; 2],
        node: 0,
        ahead_state: ahead::NONE,
        extensions: Extensions::Unknown as u8,
        expected: 0,
        body: 0,
        reserved: [0; 5],
    };

    #[inline(always)]
    fn reset(&mut self, place: Place, connection: &mut Connection) {
        let [client, server] = &mut self.readers;
        client.start(place);
        server.start(place);
        self.requests.clear();
        self.events = 0;
        self.candidates_over = hide_field(&self.candidates);
        self.has_ended = 0;
        self.is_orphan = 0;
        self.ahead_state = ahead::NONE;
        self.has_lost_requests = u32::from(place as u8 == Place::Lost as u8);
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
    pub(in crate::protocols) fn early(&self) -> Option<&Frames> {
        if self.readers[Side::Client as usize].is(Place::Early) { Some(&self.early) } else { None }
    }

    /// Whether the client's request goes on, although it has been answered.
    #[inline(always)]
    pub(in crate::protocols) fn is_request_unfinished(&self) -> bool {
        let place = hide_field(&self.readers[Side::Client as usize].place);
        place > Place::Start as u8 && place <= Place::Skip as u8
    }

    /// Runs a subprogram.
    #[inline(always)]
    pub fn run_subprogram<S: Calls>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        let outcome = match subprogram {
            Subprogram::ClientCall => self.take_call::<false, S>(stream, source, connection),
            Subprogram::ServerCall => self.take_call::<true, S>(stream, source, connection),
            Subprogram::Resync => {
                let is_found = if stream.is_request() {
                    self.resync_requests(source)
                } else {
                    self.resync_responses(source, connection)
                };
                return u32::from(is_found);
            }
            Subprogram::Request => told(self.take_request(stream, source, connection)),
            Subprogram::Response => told(self.take_response(stream, source, connection)),
            Subprogram::Segment => {
                self.end_segment(source);
                Outcome::SAME
            }
            Subprogram::EmptyPath => {
                self.add_empty_path(source);
                Outcome::SAME
            }
            Subprogram::Value => told(self.end_value_word(stream, source, connection.role)),
            Subprogram::RequestHead => told(self.end_request_head(source, connection)),
            Subprogram::ResponseHead => told_outcome(self.end_response_head(stream, source, connection)),
            Subprogram::Body => match self.take_body(stream, source, connection) {
                Ok(is_over) => {
                    if is_over && !stream.is_request() {
                        self.mark_ended(connection);
                    }
                    Outcome::SAME
                }
                Err(why) => Outcome::lost(why),
            },
            Subprogram::Settle => {
                if self.events != 0 {
                    self.count_events(source, connection);
                }
                if self.has_ended != 0 {
                    self.end_response(source, connection);
                }
                Outcome::SAME
            }
            Subprogram::Search => return u32::from(self.search_frames(source)),
            Subprogram::Early => self.run_early(stream, source, connection),
        };
        outcome.code()
    }

    /// A response that is not an upgrade.
    #[inline(always)]
    fn respond(&mut self, stream: StreamId, connection: &mut Connection) {
        connection.pending = 0;
        self.expected = 0;
        if self.readers[Side::Client as usize].is(Place::Early) {
            self.drop_early(stream.direction.opposite(), connection);
        }
    }

    /// What seemed to be frames is none, or not a WebSocket's.
    #[inline(always)]
    fn drop_early(&mut self, direction: Direction, connection: &mut Connection) {
        self.readers[Side::Client as usize].rest();
        early_counters(direction, connection).clear();
    }
}

/// Where frames are counted that come before the answer: where the WebSocket's will be.
#[inline(always)]
fn early_counters(direction: Direction, connection: &mut Connection) -> &mut StreamCounters {
    &mut connection.details.websocket_mut().streams[direction as usize]
}

impl Parser for Http {
    #[inline(always)]
    fn start(&mut self, opening: Opening, _role: Role, connection: &mut Connection) {
        self.reset(Place::Start, connection);
        if opening.kept > 0 {
            // The method came over several calls.
            self.begin_request(0);
            self.keep_start(opening.first, opening.kept);
        }
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, connection: &mut Connection) {
        self.reset(Place::Lost, connection);
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        let own = &self.readers[side as usize];
        match hide_field(&own.place) {
            EARLY => self.early.between_frames(),
            place => {
                place == Place::Start as u8 || place == Place::Opaque as u8 || place == Place::Lost as u8
            }
        }
    }

    #[inline(always)]
    fn is_lost(&self, side: Side) -> bool {
        self.readers[side as usize].is(Place::Lost)
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, connection: &mut Connection) -> Option<Outcome> {
        let own = &self.readers[stream.side as usize];
        let place = hide_field(&own.place);
        if place == Place::Opaque as u8 {
            return Some(Outcome::SAME);
        }
        if place == Place::Body as u8 && own.has_events == 0 {
            return self.pass_body(stream, bytes, connection).map(|()| Outcome::SAME);
        }
        if place == Place::Early as u8 && self.early.payload_left() >= bytes {
            self.early.pass(bytes, early_counters(stream.direction, connection));
            return Some(Outcome::SAME);
        }
        None
    }

    #[inline(always)]
    fn miss(&mut self, stream: StreamId, bytes: u64, why: Desync, connection: &mut Connection) -> Outcome {
        if self.pass(stream, bytes, connection).is_some() || self.is_lost(stream.side) {
            return Outcome::SAME;
        }
        let own = &self.readers[stream.side as usize];
        if own.is(Place::Rest) {
            let current = &mut connection.details.http_mut().current;
            current.response_bytes = current.response_bytes.wrapping_add(bytes);
            return Outcome::SAME;
        }
        // Events that are not seen are not counted.
        if own.is(Place::Body) && self.pass_body(stream, bytes, connection).is_some() {
            return Outcome::SAME;
        }
        if self.readers[stream.side as usize].is(Place::Early) {
            self.drop_early(stream.direction, connection);
        }
        self.lose(stream.side, connection);
        Outcome::lost(why)
    }

    #[inline(always)]
    fn lose(&mut self, side: Side, connection: &mut Connection) {
        match side {
            Side::Client => {
                let client = &mut self.readers[Side::Client as usize];
                let place = hide_field(&client.place);
                client.go(Place::Lost);
                if client.is_chunked != 0 && place >= Place::ChunkSize as u8 && place <= Place::Body as u8 {
                    self.requests.lose_size();
                }
                self.has_lost_requests = 1;
                self.expected = 0;
            }
            Side::Server => self.lose_answers(connection),
        }
    }

    #[inline(always)]
    fn owes(&self, side: Side) -> bool {
        matches!(side, Side::Server) && hide_field(&self.has_ended) != 0
    }

    #[inline(always)]
    fn is_full(connection: &Connection, direction: Direction) -> bool {
        let is_crowded = connection.details.http().left_out > u16::MAX / 2;
        is_crowded || connection.details.websocket().streams[direction as usize].is_full()
    }

    #[inline(always)]
    fn carry_over(before: &Connection, next: &mut Connection) {
        let before = before.details.http();
        let counters = next.details.http_mut();
        counters.asked = before.asked;
        counters.answered = before.answered;
        counters.current = before.current;
        counters.differ = before.differ;
    }
}

/// [`Place::Early`], as a pattern.
const EARLY: u8 = Place::Early as u8;

impl<S: Calls> Parse<S> for Http {
    #[inline(always)]
    fn settle(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) {
        source.run(Subprogram::Settle, self, stream, connection);
    }

    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        let call = match stream.side {
            Side::Client => Subprogram::ClientCall,
            Side::Server => Subprogram::ServerCall,
        };
        Outcome::from_code(source.run(call, self, stream, connection))
    }
}
