//! The two streams of one connection: told apart by protocol, then handed to its parser.
//!
//! ```text
//!            client's first bytes           GET …            101, Upgrade: websocket
//!   Opening ─────────────────────► Message ───────► Head ──────────────────────────► Frames
//!      │                              ▲    ◄───────  │                                 │  ▲
//!      │ nothing known here           └ other head ──┘                         desync  ▼  │ in step
//!      └────────────► Opaque                                                          Lost ──► Trial
//!                                                                                      ▲   ◄──
//!   a connection first seen in the middle starts here ─────────────────────────────────┘
//! ```
//!
//! A stream that is lost gets in step at the start of a call whose bytes are whole frames, or with a long
//! frame that turns out to end where another frame starts, or the call ends. A connection first seen in
//! the middle is a WebSocket once that has happened twice; what was counted on the way counts then.

use super::detect::{self, Detected, Start};
use super::http::{self, FOUND_DEFLATE, FOUND_UPGRADE, Head, Progress};
use super::source::{STEPS_MAX, Source};
use super::websocket::{Deflate, Frames, Rules, may_start};
use crate::layout::connection::Connection;
use crate::layout::health::Desync;
use crate::layout::websocket::Counters;
use crate::layout::{Direction, Protocol, Role};

/// What a stream's next bytes are held to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// The connection's first.
    Opening = 0,
    /// The start of an HTTP message, or something in its middle.
    Message = 1,
    /// In an HTTP head that may be a handshake's.
    Head = 2,
    /// WebSocket frames.
    Frames = 3,
    /// WebSocket frames, out of step; or anything, on a connection first seen in the middle.
    Lost = 4,
    /// The payload of what may be a long frame.
    Trial = 5,
    /// Not looked at.
    Opaque = 6,
}

/// One direction.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stream {
    /// A [`Mode`].
    mode: u8,
    /// Calls looked at in vain while lost.
    tries: u8,
    /// 1 if frames have been in step since the handshake, or for a whole call since they were lost.
    proven: u8,
    head: Head,
    reserved: u16,
    frames: Frames,
}

impl Stream {
    const fn new(mode: Mode) -> Self {
        Self { mode: mode as u8, tries: 0, proven: 0, head: Head::START, reserved: 0, frames: Frames::RESUMED }
    }

    #[inline(always)]
    fn is(&self, mode: Mode) -> bool {
        self.mode == mode as u8
    }
}

/// What a call's bytes go through, in this order, until they are found to be frames. The kernel half has the
/// verifier look at each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection's first bytes tell its protocol.
    Open,
    /// So do those of a call in the middle.
    Tell,
    /// An HTTP message may start.
    Message,
    /// An HTTP head goes on.
    Scan,
    /// Frames may start.
    Search,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Open, Self::Tell, Self::Message, Self::Scan, Self::Search];
}

/// How many calls of an unknown stream are looked at before only one in [`TRY_EVERY`] is.
const TRIES: u8 = 64;
const TRY_EVERY: u8 = 16;

/// How many calls in step make a connection first seen in the middle a WebSocket.
const MATCHES: u8 = 2;

/// Both directions.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Session {
    /// A [`Protocol`]; of an HTTP connection that may be upgraded, [`Protocol::Http`].
    protocol: u8,
    /// A [`Role`].
    role: u8,
    /// A [`Deflate`].
    deflate: u8,
    /// Calls in step so far, while a connection first seen in the middle is not known to be a WebSocket.
    matches: u8,
    reserved: u32,
    streams: [Stream; 2],
}

const _: () = assert!(size_of::<Session>() == 8 + 2 * 56);

impl Session {
    /// A connection from its first byte on.
    pub fn new(role: Role) -> Self {
        let blank = Stream::new(Mode::Opening);
        let mut session =
            Self { protocol: 0, role: 0, deflate: 0, matches: 0, reserved: 0, streams: [blank; 2] };
        session.start(role, false);
        session
    }

    /// A connection first seen in the middle.
    pub fn adopted(role: Role) -> Self {
        let mut session = Self::new(role);
        session.start(role, true);
        session
    }

    /// Starts anew, in place, with the connection's first byte or in its middle.
    #[inline(always)]
    pub fn start(&mut self, role: Role, in_the_middle: bool) {
        self.protocol = Protocol::Unknown as u8;
        self.role = role as u8;
        self.deflate = Deflate::Unknown as u8;
        self.matches = 0;
        let mode = if in_the_middle { Mode::Lost } else { Mode::Opening };
        for stream in &mut self.streams {
            *stream = Stream::new(mode);
        }
    }

    /// The [`Protocol`] that the connection speaks, as far as known, by its number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether the direction's stream is a WebSocket's and between two frames, or of no interest: a call
    /// that leads from such a point to another was seen whole.
    #[inline(always)]
    pub fn is_settled(&self, direction: Direction) -> bool {
        let stream = &self.streams[direction as usize];
        !stream.is(Mode::Frames) || stream.frames.between_frames()
    }

    /// Takes note of `bytes` that need no look, if a call of so many needs none: tells whether that was so.
    #[inline(always)]
    pub fn pass(&mut self, direction: Direction, bytes: u32, connection: &mut Connection) -> bool {
        let stream = &mut self.streams[direction as usize];
        if stream.is(Mode::Opaque) {
            return true;
        }
        if stream.is(Mode::Frames) && stream.frames.payload_left() >= u64::from(bytes) {
            stream.frames.pass(u64::from(bytes), &mut connection.websocket[direction as usize]);
            if stream.proven == 0 && stream.frames.between_frames() {
                self.prove(direction, connection);
            }
            return true;
        }
        if stream.is(Mode::Lost) && self.protocol == Protocol::Unknown as u8 {
            // Nothing was found in a good many calls: this is unlikely to be anything known here.
            let skip = stream.tries >= TRIES && !stream.tries.is_multiple_of(TRY_EVERY);
            if skip {
                stream.tries = if stream.tries == u8::MAX { TRIES } else { stream.tries + 1 };
            }
            return skip;
        }
        false
    }

    /// Steps over `bytes` that moved unseen: harmless in the middle of a payload, else a desync for `why`.
    #[inline(always)]
    pub fn miss(
        &mut self,
        direction: Direction,
        bytes: u64,
        why: Desync,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let stream = &mut self.streams[direction as usize];
        let left = stream.frames.payload_left();
        if stream.is(Mode::Frames) {
            if left >= bytes {
                stream.frames.pass(bytes, &mut connection.websocket[direction as usize]);
                return None;
            }
            self.lose(direction, connection);
            return Some(why);
        }
        if stream.is(Mode::Trial) {
            if left > bytes {
                stream.frames.pass(bytes, &mut connection.websocket[direction as usize]);
            } else {
                stream.mode = Mode::Lost as u8;
            }
        } else if stream.is(Mode::Head) {
            stream.mode = Mode::Message as u8;
        } else if stream.is(Mode::Opening) {
            self.become_other(Protocol::Unknown, connection);
        }
        None
    }

    /// Takes in a call's bytes.
    pub fn feed<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let desync = self.take_in(direction, source, connection);
        self.end_call(direction, connection);
        desync
    }

    fn take_in<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        source.go_to(0);
        for stage in Stage::ALL {
            if self.is_at(direction, stage) {
                self.run_stage(direction, stage, source, connection);
            }
        }
        if !self.has_frames(direction) || source.position() >= source.end() {
            return None;
        }
        match self.first_frame(direction, source, connection) {
            None if source.position() < source.end() => self.run_frames(direction, source, connection),
            outcome => outcome,
        }
    }

    /// Takes in the first frame of a call, from the source's position on.
    #[inline(always)]
    pub fn first_frame<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let rules = self.rules(direction);
        let frames = &mut self.streams[direction as usize].frames;
        let outcome = frames.first(source, &mut connection.websocket[direction as usize], rules);
        self.conclude(direction, outcome, connection)
    }

    /// What the frames of a call tell of the stream.
    #[inline(always)]
    fn conclude(
        &mut self,
        direction: Direction,
        outcome: Result<(), Desync>,
        connection: &mut Connection,
    ) -> Option<Desync> {
        if let Err(desync) = outcome {
            self.lose(direction, connection);
            return Some(desync);
        }
        None
    }

    /// Takes note that a call was taken in to its end.
    #[inline(always)]
    pub fn end_call(&mut self, direction: Direction, connection: &mut Connection) {
        let stream = &self.streams[direction as usize];
        if stream.proven == 0 && stream.is(Mode::Frames) && stream.frames.between_frames() {
            self.prove(direction, connection);
        }
    }

    /// Whether the direction's bytes go through a stage next.
    #[inline(always)]
    pub fn is_at(&self, direction: Direction, stage: Stage) -> bool {
        let stream = &self.streams[direction as usize];
        match stage {
            Stage::Open => stream.is(Mode::Opening),
            Stage::Tell => stream.is(Mode::Lost) && self.protocol == Protocol::Unknown as u8,
            Stage::Message => stream.is(Mode::Message),
            Stage::Scan => stream.is(Mode::Head),
            Stage::Search => stream.is(Mode::Lost) || stream.is(Mode::Trial) || stream.is(Mode::Message),
        }
    }

    /// Takes the call's bytes through a stage, which [`Session::is_at`] said they go through.
    #[inline(always)]
    pub fn run_stage<S: Source>(
        &mut self,
        direction: Direction,
        stage: Stage,
        source: &mut S,
        connection: &mut Connection,
    ) {
        match stage {
            Stage::Open => self.open(direction, source, connection),
            Stage::Tell => self.tell_adopted(direction, source, connection),
            Stage::Message => self.start_message(direction, source, connection),
            Stage::Scan => self.scan(direction, source, connection),
            Stage::Search => self.search(direction, source, connection),
        }
    }

    /// Whether the direction's next bytes are frames, or in one.
    #[inline(always)]
    pub fn has_frames(&self, direction: Direction) -> bool {
        self.streams[direction as usize].is(Mode::Frames)
    }

    #[inline(always)]
    fn rules(&self, direction: Direction) -> Rules {
        let deflate = match self.deflate {
            1 => Deflate::Off,
            2 => Deflate::On,
            _ => Deflate::Unknown,
        };
        let request = Role::from_u8(self.role).request_direction();
        let proven = self.streams[direction as usize].proven != 0;
        Rules::new(direction as u8 == request as u8, deflate, !proven)
    }

    /// Takes in the frames of a call behind the first one, from the source's position on.
    #[inline(always)]
    pub fn run_frames<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let rules = self.rules(direction);
        let frames = &mut self.streams[direction as usize].frames;
        let outcome = frames.run(source, &mut connection.websocket[direction as usize], rules);
        self.conclude(direction, outcome, connection)
    }

    /// A call ended between two frames: that is what a stream in step does.
    #[inline(always)]
    fn prove(&mut self, direction: Direction, connection: &mut Connection) {
        if self.protocol == Protocol::WebSocket as u8 {
            self.streams[direction as usize].proven = 1;
            return;
        }
        self.matches = self.matches.saturating_add(1);
        if self.protocol == Protocol::Unknown as u8 && self.matches >= MATCHES {
            self.protocol = Protocol::WebSocket as u8;
            connection.protocol = self.protocol;
            connection.pending = 0;
        }
    }

    /// Puts the stream out of step.
    #[inline(always)]
    fn lose(&mut self, direction: Direction, connection: &mut Connection) {
        if self.protocol == Protocol::WebSocket as u8 {
            self.streams[direction as usize] = Stream::new(Mode::Lost);
            connection.lost[direction as usize] = 1;
        } else {
            // It was no WebSocket after all: what was counted was not there.
            let mode = if self.protocol == Protocol::Http as u8 { Mode::Message } else { Mode::Lost };
            let tries = self.streams[direction as usize].tries;
            self.streams[direction as usize] = Stream { tries, ..Stream::new(mode) };
            let other = &mut self.streams[direction.opposite() as usize];
            if other.is(Mode::Frames) || other.is(Mode::Trial) {
                other.mode = mode as u8;
            }
            connection.lost = if mode as u8 == Mode::Lost as u8 { [1; 2] } else { [0; 2] };
            connection.websocket = [Counters::ZERO; 2];
            self.matches = 0;
        }
    }

    /// The connection speaks something that is not looked at further.
    #[inline(always)]
    fn become_other(&mut self, protocol: Protocol, connection: &mut Connection) {
        self.protocol = protocol as u8;
        self.streams[0].mode = Mode::Opaque as u8;
        self.streams[1].mode = Mode::Opaque as u8;
        connection.protocol = self.protocol;
        connection.pending = 0;
        connection.lost = [0; 2];
    }

    /// HTTP it is; `settled` unless its first response may be an upgrade.
    #[inline(always)]
    fn become_http(&mut self, settled: bool, connection: &mut Connection) {
        self.protocol = Protocol::Http as u8;
        self.streams[0] = Stream::new(Mode::Message);
        self.streams[1] = Stream::new(Mode::Message);
        connection.protocol = self.protocol;
        connection.pending = u8::from(!settled);
        connection.lost = [0; 2];
    }

    /// The first bytes of the connection, or more of them.
    #[inline(always)]
    fn open<S: Source>(&mut self, direction: Direction, source: &mut S, connection: &mut Connection) {
        let Ok(available) = source.window(0) else {
            return self.become_other(Protocol::Unknown, connection);
        };
        let (first, _) = source.words(0);
        if direction as u8 != Role::from_u8(self.role).request_direction() as u8 {
            if detect::is_http_response(Start::new(first, available)) {
                return self.become_http(false, connection);
            }
            // The server speaks first, in nothing known here.
            return self.become_other(Protocol::Unknown, connection);
        }
        let head = &mut self.streams[direction as usize].frames;
        let Some((first, length, before)) = head.gather(first, available) else {
            return self.become_other(Protocol::Unknown, connection);
        };
        let start = Start::new(first, length);
        match detect::request(start) {
            // The rest comes with another call.
            Detected::More => source.go_to(source.end()),
            Detected::Is(Protocol::Http) => {
                self.become_http(false, connection);
                if before > 0 {
                    // The method came over several calls; only a GET is of interest from there on.
                    let stream = &mut self.streams[direction as usize];
                    stream.head = Head::IN_START_LINE;
                    stream.mode = if start.is(http::REQUEST_PATTERN) { Mode::Head } else { Mode::Message } as u8;
                    // The rest of another request is of none.
                    if stream.is(Mode::Message) {
                        source.go_to(source.end());
                    }
                }
            }
            Detected::Is(protocol) => self.become_other(protocol, connection),
        }
    }

    /// A call starts where an HTTP message may.
    #[inline(always)]
    fn start_message<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let request = Role::from_u8(self.role).request_direction();
        let Ok(available) = source.window(0) else { return };
        let (first, second) = source.words(0);
        let start = Start::new(first, available);
        let stream = &mut self.streams[direction as usize];
        if direction as u8 != request as u8 {
            let [version, status] = http::RESPONSE_PATTERNS;
            let rest = Start::new(second, available.saturating_sub(8));
            if start.may_be(version) && rest.may_be(status) {
                stream.mode = Mode::Head as u8;
                stream.head = Head::START;
            } else if detect::is_http_response(start) {
                self.respond(connection);
            }
            return;
        }
        if start.may_be(http::REQUEST_PATTERN) {
            let end = source.end();
            if end >= 16 && source.window(end - 4).is_ok() {
                let (last, _) = source.words(end - 4);
                if last as u32 == http::END {
                    // The whole head, or heads: the response tells whether one was a handshake.
                    return;
                }
            }
            stream.mode = Mode::Head as u8;
            stream.head = Head::START;
        }
    }

    /// A response that is not an upgrade.
    #[inline(always)]
    fn respond(&mut self, connection: &mut Connection) {
        connection.pending = 0;
        let request = &mut self.streams[Role::from_u8(self.role).request_direction() as usize];
        if request.is(Mode::Frames) {
            *request = Stream::new(Mode::Message);
            connection.websocket = [Counters::ZERO; 2];
        }
    }

    /// Scans a head that may be a handshake's; leaves the source behind it, or at its end.
    #[inline(always)]
    fn scan<S: Source>(&mut self, direction: Direction, source: &mut S, connection: &mut Connection) {
        let is_request = direction as u8 == Role::from_u8(self.role).request_direction() as u8;
        let end = source.end();
        let head = &mut self.streams[direction as usize].head;
        let mut ended = false;
        let mut other = u8::MAX;
        let done = S::repeat(STEPS_MAX, || {
            let at = source.position();
            if at >= end {
                return false;
            }
            let Ok(_) = source.window(at) else {
                other = 0;
                return false;
            };
            let (word, _) = source.words(at);
            source.go_to(at + 1);
            match head.push(word as u8, is_request) {
                Progress::More => true,
                Progress::End => {
                    ended = true;
                    false
                }
                Progress::Other(matched) => {
                    other = matched;
                    false
                }
            }
        });
        let found = head.found;
        let stream = &mut self.streams[direction as usize];
        if !done || other != u8::MAX {
            stream.mode = Mode::Message as u8;
            // "HTTP/1." was there, and not 101: a response of another kind.
            if !is_request && (7..=http::RESPONSE.len() as u8).contains(&other) {
                self.respond(connection);
            }
            return;
        }
        if !ended {
            return;
        }
        stream.mode = Mode::Message as u8;
        if is_request {
            if self.protocol == Protocol::WebSocket as u8 {
                self.start_frames(direction);
            } else if found & FOUND_UPGRADE != 0 && source.position() < end {
                // Frames sent before the answer: they count if the answer is yes.
                self.start_frames(direction);
            }
        } else if found & FOUND_UPGRADE != 0 {
            self.upgrade(direction, found, connection);
        } else {
            self.become_other(Protocol::Http, connection);
        }
    }

    #[inline(always)]
    fn start_frames(&mut self, direction: Direction) {
        let stream = &mut self.streams[direction as usize];
        stream.mode = Mode::Frames as u8;
        stream.frames = Frames::START;
        stream.proven = 1;
    }

    /// The handshake is complete with the response that went in `direction`.
    #[inline(always)]
    fn upgrade(&mut self, direction: Direction, found: u8, connection: &mut Connection) {
        let deflate = if found & FOUND_DEFLATE != 0 { Deflate::On } else { Deflate::Off };
        self.protocol = Protocol::WebSocket as u8;
        self.deflate = deflate as u8;
        connection.protocol = self.protocol;
        connection.pending = 0;
        connection.lost = [0; 2];
        self.start_frames(direction);
        let request = &mut self.streams[direction.opposite() as usize];
        if request.is(Mode::Frames) {
            request.proven = 1;
        } else if !request.is(Mode::Head) {
            self.start_frames(direction.opposite());
        }
    }

    /// Whether a call may start with a frame on a stream that is lost, or on one where a request may start:
    /// another thread may have read the answer to the handshake before this one was seen to send it.
    #[inline(always)]
    fn may_be_frames<S: Source>(&mut self, direction: Direction, source: &mut S) -> bool {
        let is_request = direction as u8 == Role::from_u8(self.role).request_direction() as u8;
        let unknown = self.protocol != Protocol::WebSocket as u8;
        let rules = self.rules(direction);
        let stream = &mut self.streams[direction as usize];
        if stream.is(Mode::Lost) {
            stream.tries = stream.tries.saturating_add(1);
        } else if !(stream.is(Mode::Message) && is_request) {
            return false;
        }
        let Ok(available) = source.window(0) else { return false };
        let (first, _) = source.words(0);
        available >= 2 && may_start(first, rules, unknown)
    }

    /// Looks for frames where they may start.
    #[inline(always)]
    fn search<S: Source>(&mut self, direction: Direction, source: &mut S, connection: &mut Connection) {
        if self.streams[direction as usize].is(Mode::Trial) {
            self.try_frame(direction, source, connection);
        } else if self.may_be_frames(direction, source) {
            self.find_step(direction, source, connection);
        }
    }

    /// Tries to get in step at the start of a call.
    #[inline(always)]
    fn find_step<S: Source>(&mut self, direction: Direction, source: &mut S, connection: &mut Connection) {
        let rules = self.rules(direction);
        let stream = &mut self.streams[direction as usize];
        let lost = stream.is(Mode::Lost);
        // Not in use in these modes. (A local would be on the stack, whose every value the verifier follows.)
        stream.frames = Frames::RESUMED;
        let Some(headers) = stream.frames.rehearse(source, rules) else { return };
        if stream.frames.between_frames() || (lost && headers >= 3) {
            stream.mode = Mode::Frames as u8;
            stream.frames = if lost { Frames::RESUMED } else { Frames::START };
            stream.proven = 0;
            connection.lost[direction as usize] = 0;
        } else if lost && headers == 1 && stream.frames.payload_left() > 0 && stream.frames.is_plausible() {
            // Some of its payload has passed with this call.
            stream.mode = Mode::Trial as u8;
        }
    }

    /// Tells other protocols by a call in the middle of a stream.
    #[inline(always)]
    fn tell_adopted<S: Source>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let Ok(available) = source.window(0) else { return };
        let (first, _) = source.words(0);
        if detect::is_tls_record(first, available) {
            self.become_other(Protocol::Tls, connection);
            return;
        }
        if available < detect::ENOUGH {
            return;
        }
        let start = Start::new(first, available);
        let is_request = direction as u8 == Role::from_u8(self.role).request_direction() as u8;
        let http = if is_request {
            detect::is_http_request(start)
        } else {
            detect::is_http_response(start)
        };
        if http {
            self.become_http(false, connection);
        }
    }

    /// Goes on with what may be a long frame. Leaves the source where frames are known to go on.
    #[inline(always)]
    fn try_frame<S: Source>(&mut self, direction: Direction, source: &mut S, connection: &mut Connection) {
        let end = source.end();
        let rules = self.rules(direction);
        let stream = &mut self.streams[direction as usize];
        let left = stream.frames.payload_left();
        let counters = &mut connection.websocket[direction as usize];
        if left > u64::from(end) {
            stream.frames.pass(u64::from(end), counters);
            return;
        }
        let boundary = left as u32;
        let starts_next = boundary == end
            || (source.window(boundary).is_ok_and(|available| {
                available < 2 || may_start(source.words(boundary).0, rules, false)
            }));
        if !starts_next {
            stream.mode = Mode::Lost as u8;
            return;
        }
        stream.mode = Mode::Frames as u8;
        stream.proven = 0;
        stream.frames.confirm(source, counters);
        connection.lost[direction as usize] = 0;
        self.prove(direction, connection);
        source.go_to(boundary);
    }
}
