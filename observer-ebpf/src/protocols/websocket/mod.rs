//! RFC 6455: frames and messages, measured from their headers (section 5.2).
//!
//! ```text
//!   from HTTP                                          a message that is wrong
//!   ──────────► Request ───────────────► Frames ──────────────────────────────► Lost ──► Trial
//!                (its head goes on)        ▲  ▲                                  │   ◄──   │
//!                                          │  └── a call of whole frames ────────┘         │
//!                                          └── a long frame ends where another starts ─────┘
//! ```
//!
//! A stream that is lost gets in sync at the start of a call whose bytes are whole frames, or with a long frame that
//! turns out to end where another frame starts, or the call ends. A connection first seen in the middle is a WebSocket
//! once that has happened twice; what was counted on the way counts then.

pub mod frames;
mod header;
pub mod layout;
mod resync;
pub(in crate::protocols) mod rules;
mod tally;

use self::frames::Frames;
use self::layout::StreamCounters;
use self::rules::{Extensions, Rules};
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Direction, Role, Side, Zeroes as _};
use crate::protocols::Protocol;
use crate::protocols::http::{Http, Scanned};
use crate::stream::bytes::is_done;
use crate::stream::parser::{Adopts, Guess, Opening, Outcome, Parse, Parser, Recognise, StreamId};
use crate::stream::start::{Match, Start};
use crate::stream::subprograms::{Runs, Subprograms};

/// What a stream's next bytes are held to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// Frames.
    Frames = 0,
    /// The rest of the request for the upgrade, which was answered before its end.
    Request = 1,
    /// Frames, out of sync; or anything, on a connection that is not known to be a WebSocket.
    Lost = 2,
    /// The payload of what may be a long frame.
    Trial = 3,
}

/// One side's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Stream {
    frames: Frames,
    /// A [`Mode`].
    mode: u8,
    /// 1 if frames have been in sync since the handshake, or for a whole call since they were lost.
    proven: u8,
    reserved: [u8; 6],
}

impl Stream {
    const LOST: Self = Self { frames: Frames::RESUMED, mode: Mode::Lost as u8, proven: 0, reserved: [0; 6] };

    #[inline(always)]
    const fn of(frames: Frames) -> Self {
        Self { frames, mode: Mode::Frames as u8, proven: 1, reserved: [0; 6] }
    }

    #[inline(always)]
    const fn is(&self, mode: Mode) -> bool {
        self.mode == mode as u8
    }
}

/// Both streams of a WebSocket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct WebSocket {
    /// What it was before: it takes over from that.
    http: Http,
    /// The stream of each [`Side`].
    streams: [Stream; 2],
    /// An [`Extensions`].
    extensions: u8,
    /// Calls in sync so far, while it is not known that this is a WebSocket.
    matches: u8,
    /// 1 once that is known.
    known: u8,
    reserved: [u8; 5],
}

const _: () = assert!(core::mem::offset_of!(WebSocket, http) == 0);
const _: () = assert!(size_of::<WebSocket>() == size_of::<Http>() + 2 * 56 + 8);

/// How many calls in sync make a connection first seen in the middle a WebSocket.
const MATCHES: u8 = 2;

/// Functions that the verifier checks each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Looks for frames where there are none yet: [`Outcome::code`].
    Seek,
    /// Goes on with a request that was answered before its end: [`Outcome::code`].
    Request,
    /// Puts the stream out of sync.
    Lose,
    /// Takes in what another parser has left of a call: [`Outcome::code`].
    Rest,
}

impl Subprograms for WebSocket {
    type Subprogram = Subprogram;
}

impl WebSocket {
    /// Before anything.
    pub const START: Self = Self {
        http: Http::START,
        streams: [Stream::LOST; 2],
        extensions: Extensions::Unknown as u8,
        matches: 0,
        known: 0,
        reserved: [0; 5],
    };

    #[inline(always)]
    fn reset(&mut self) {
        self.streams = [Stream::LOST; 2];
        self.extensions = Extensions::Unknown as u8;
        self.matches = 0;
        self.known = 1;
    }

    #[inline(always)]
    fn rules(&self, side: Side) -> Rules {
        Rules::new(side, self.extensions, self.streams[side as usize].proven ^ 1)
    }

    /// A call ended between two frames: that is what a stream in sync does.
    #[inline(always)]
    fn prove(&mut self, side: Side) {
        if self.known != 0 {
            self.streams[side as usize].proven = 1;
            return;
        }
        self.matches = self.matches.saturating_add(1);
        self.known = u8::from(self.matches >= MATCHES);
    }

    /// Takes note that a call's bytes are over.
    #[inline(always)]
    fn end_call(&mut self, side: Side) -> Outcome {
        let own = &self.streams[side as usize];
        if own.proven != 0 || !own.is(Mode::Frames) || !own.frames.between_frames() {
            return Outcome::SAME;
        }
        let known = self.known;
        self.prove(side);
        if self.known == known { Outcome::SAME } else { Outcome::CONFIRMED }
    }

    /// Puts a stream out of sync. What it was in the middle of is given up.
    #[inline(always)]
    fn lose_stream(&mut self, stream: StreamId, connection: &mut Connection) {
        if self.known != 0 {
            self.streams[stream.side as usize] = Stream::LOST;
            counters(stream, connection).give_up();
        } else {
            // It was no WebSocket after all: what was counted was not there.
            self.streams = [Stream::LOST; 2];
            self.matches = 0;
            connection.details.clear();
        }
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
            Subprogram::Seek if self.streams[stream.side as usize].is(Mode::Request) => {
                return source.run(Subprogram::Request, self, stream, connection);
            }
            Subprogram::Request => self.end_request(source),
            Subprogram::Seek => self.resync(stream, source, connection),
            Subprogram::Rest => self.take_call::<false, S>(stream, source, connection),
            Subprogram::Lose => {
                self.lose_stream(stream, connection);
                Outcome::SAME
            }
        };
        outcome.code()
    }

    /// The request goes on that has been answered already.
    #[inline(always)]
    fn end_request<S: Runs<Frames>>(&mut self, source: &mut S) -> Outcome {
        let client = &mut self.streams[Side::Client as usize];
        match self.http.scan_rest(source) {
            Scanned::More => {}
            Scanned::End => *client = Stream::of(Frames::START),
            Scanned::Unread => {
                *client = Stream::LOST;
                return Outcome::lost(Desync::Unread);
            }
        }
        Outcome::SAME
    }
}

/// The counters of a stream.
#[inline(always)]
fn counters(stream: StreamId, connection: &mut Connection) -> &mut StreamCounters {
    &mut connection.details.websocket_mut().streams[stream.direction as usize]
}

impl Recognise for WebSocket {
    /// It starts as HTTP.
    #[inline(always)]
    fn recognise(_start: Start, _side: Side) -> Match {
        Match::No
    }

    /// One call does not tell.
    #[inline(always)]
    fn adopts(_start: Start, _side: Side) -> Adopts {
        Adopts::No
    }
}

impl Parser for WebSocket {
    #[inline(always)]
    fn start(&mut self, _opening: Opening, _role: Role, _connection: &mut Connection) {
        self.reset();
        self.extensions = self.http.extensions();
        let early = self.http.early().copied();
        self.streams[Side::Server as usize] = Stream::of(Frames::START);
        let client = &mut self.streams[Side::Client as usize];
        *client = Stream::of(early.unwrap_or(Frames::START));
        if self.http.is_request_unfinished() {
            client.mode = Mode::Request as u8;
            self.http.skip_request();
        }
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, _connection: &mut Connection) {
        self.reset();
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        let own = &self.streams[side as usize];
        !own.is(Mode::Frames) || own.frames.between_frames()
    }

    #[inline(always)]
    fn is_lost(&self, side: Side) -> bool {
        let own = &self.streams[side as usize];
        own.is(Mode::Lost) || own.is(Mode::Trial)
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, connection: &mut Connection) -> Option<Outcome> {
        let own = &mut self.streams[stream.side as usize];
        if !own.is(Mode::Frames) || own.frames.payload_left() < bytes {
            return None;
        }
        own.frames.pass(bytes, counters(stream, connection));
        Some(self.end_call(stream.side))
    }

    #[inline(always)]
    fn miss(&mut self, stream: StreamId, bytes: u64, why: Desync, connection: &mut Connection) -> Outcome {
        let own = &mut self.streams[stream.side as usize];
        let left = own.frames.payload_left();
        if own.is(Mode::Frames) {
            if left < bytes {
                self.lose_stream(stream, connection);
                return Outcome::lost(why);
            }
            own.frames.pass(bytes, counters(stream, connection));
        } else if own.is(Mode::Trial) {
            if left > bytes {
                own.frames.pass(bytes, counters(stream, connection));
            } else {
                own.mode = Mode::Lost as u8;
            }
        }
        Outcome::SAME
    }

    #[inline(always)]
    fn lose(&mut self, side: Side, connection: &mut Connection) {
        let direction = Role::from_u8(connection.role).direction_of(side);
        self.lose_stream(StreamId { direction, side }, connection);
    }

    #[inline(always)]
    fn is_full(connection: &Connection, direction: Direction) -> bool {
        connection.details.websocket().streams[direction as usize].is_full()
    }

    #[inline(always)]
    fn carry_over(before: &Connection, next: &mut Connection) {
        let streams = &mut next.details.websocket_mut().streams;
        for (next, before) in streams.iter_mut().zip(&before.details.websocket().streams) {
            next.carry_over(before);
        }
    }

    /// It goes on with what it counted as HTTP.
    const GOES_ON_FROM: Option<Protocol> = Some(Protocol::Http);
}

impl Guess for WebSocket {
    #[inline(always)]
    fn start_searching(&mut self) {
        self.reset();
        self.known = 0;
    }

    #[inline(always)]
    fn is_searching(&self, side: Side) -> bool {
        self.streams[side as usize].is(Mode::Lost)
    }
}

impl<S: Runs<Self> + Runs<Frames>> Parse<S> for WebSocket {
    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        self.take_call::<true, S>(stream, source, connection)
    }

    #[inline(always)]
    fn run_rest(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        Outcome::from_code(source.run(Subprogram::Rest, self, stream, connection))
    }
}

impl WebSocket {
    /// Takes in a call's bytes. Most calls hold one frame, which is not worth the set-up of a loop: with `FIRST`, the
    /// first one is taken without.
    #[inline(always)]
    fn take_call<const FIRST: bool, S: Runs<Self> + Runs<Frames>>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        let at = stream.side as usize;
        let mut before = Outcome::SAME;
        if !self.streams[at].is(Mode::Frames) {
            // What comes right behind the handshake is not lost.
            let seek = const { if FIRST { Subprogram::Seek } else { Subprogram::Request } };
            before = Outcome::from_code(source.run(seek, self, stream, connection));
            let is_over = !self.streams[at].is(Mode::Frames) || is_done(source);
            if is_over || before == Outcome::CONFIRMED {
                return before;
            }
        }
        let rules = self.rules(stream.side);
        let frames = &mut self.streams[at].frames;
        frames.hold_against(rules);
        let mut desync = if FIRST { frames.first(source, counters(stream, connection)) } else { None };
        if desync.is_none() && !is_done(source) {
            desync = Desync::from_code(source.run(frames::Subprogram::Run, frames, stream, connection));
        }
        if let Some(desync) = desync {
            source.run(Subprogram::Lose, self, stream, connection);
            return Outcome::lost(desync);
        }
        let outcome = self.end_call(stream.side);
        if outcome == Outcome::SAME { before } else { outcome }
    }
}
