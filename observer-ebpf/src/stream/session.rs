//! The two streams of one connection: told apart by protocol, then handed to its parser.
//!
//! ```text
//!              a proxy's
//!   Opening ──────────────► Header ───────────────► Behind
//!      │         first bytes                          │     Became
//!      ├──────────────────────────────────────────────┴─► Parsing ◄───┐ another protocol
//!      │                                                  │  ▲   └────┘
//!      ├─► Opaque: nothing known here ◄───────────────────┘  │
//!      │     ▼ ▲ now and then                                │
//!      │    Again ───────────────────────────────────────────┤ a call that only
//!      └─► Adopting: first seen in the middle ───────────────┘ one protocol's can be
//! ```
//!
//! While a connection that was first seen in the middle is not known to be anything, its bytes go to one parser
//! (`protocols::GUESS`), whose messages take several calls to tell from other bytes; what it counted on the way counts
//! then. A connection whose first bytes were nothing known here may have begun with something of its own, as SOCKS does:
//! now and then a few of its calls are looked at as if it were one first seen in the middle.

mod identify;

use super::bytes::{Bytes, hide_field, is_done};
use super::parser::{Guess as _, Opening, Outcome, Parse as _, Parser as _, StreamId, Told};
use super::subprograms::Subprograms;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::{Direction, Protocol, Role};
use crate::protocols::{self, Call, Parsers, dispatch};

/// Where a connection is on the way to its parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// Before its first byte, or with too few of them to tell.
    Opening = 0,
    /// First seen in the middle, and not known yet.
    Adopting = 1,
    /// A parser has it.
    Parsing = 2,
    /// Not looked at; of what is nothing known here, seldom.
    Opaque = 3,
    /// In the header that a proxy has put in front.
    Header = 4,
    /// Behind such a header, of which there is one at most; else as `Opening`.
    Behind = 5,
    /// Nothing known here, and looked at once more.
    Again = 6,
}

/// How many calls of a stream that is being adopted are looked at before only one in [`TRY_EVERY`] is.
const TRIES: u8 = 64;
const TRY_EVERY: u8 = 16;

/// How many calls of a stream that is nothing known here go by before some are looked at again: few at first, later 256;
/// and how many are looked at then, at most.
const FIRST_REST: u8 = 16;
const TRIES_AGAIN: u8 = 8;

/// Both directions.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Session {
    /// The [`Protocol`] that the connection speaks, as far as known.
    protocol: u8,
    /// The [`Protocol`] whose parser has the streams, which may be one that is only likely.
    parsed_as: u8,
    /// A [`Role`].
    role: u8,
    /// A [`Stage`].
    stage: u8,
    /// By [`Direction`]: calls so far while adopting, or looking again; calls still to go by while not looking.
    tries: [u8; 2],
    /// How many bytes `first` holds.
    first_length: u8,
    /// [`Outcome::code`] of how the bytes of the call in hand went.
    outcome: u8,
    /// The client's first bytes, while they are too few to tell, zeroes behind.
    first: u64,
    /// Of the plaintext of an encrypted connection: the [`Protocol`] that its records have told. 0 of what moves on a
    /// socket.
    inside: u8,
    /// Zero.
    reserved: [u8; 7],
    parsers: Parsers,
}

const _: () = assert!(size_of::<Session>() == 24 + size_of::<Parsers>());

/// Functions that the verifier checks each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Finds out what the connection speaks, by its first bytes.
    Identify,
    /// Steps over a proxy's header.
    Header,
    /// Finds out what the connection speaks, by a call in its middle.
    Adopt,
    /// Takes note of how a call's bytes went, which is `outcome`: [`Desync::code`], or `GOES_ON`.
    Conclude,
}

/// That another parser takes in the rest of the call.
const GOES_ON: u32 = 0x100;

impl Subprograms for Session {
    type Subprogram = Subprogram;
}

impl Session {
    /// A connection from its first byte on.
    pub fn new(role: Role) -> Self {
        Self::begin(role, false)
    }

    /// A connection first seen in the middle.
    pub fn adopted(role: Role) -> Self {
        Self::begin(role, true)
    }

    fn begin(role: Role, in_the_middle: bool) -> Self {
        let mut session = Self {
            protocol: 0,
            parsed_as: 0,
            role: 0,
            stage: 0,
            tries: [0; 2],
            first_length: 0,
            outcome: 0,
            first: 0,
            inside: 0,
            reserved: [0; 7],
            parsers: Parsers::START,
        };
        session.start(role, in_the_middle);
        session
    }

    /// The plaintext of an encrypted connection, of which records have told this protocol: from its first byte on, or in the
    /// middle.
    #[inline(always)]
    pub fn start_inside(&mut self, told: u8, role: Role, in_the_middle: bool) {
        self.start(role, in_the_middle);
        self.inside = told;
    }

    /// Starts anew, in place, with the connection's first byte or in its middle.
    #[inline(always)]
    pub fn start(&mut self, role: Role, in_the_middle: bool) {
        self.protocol = Protocol::Unknown as u8;
        self.parsed_as = Protocol::Unknown as u8;
        self.role = role as u8;
        self.stage = Stage::Opening as u8;
        self.tries = [0; 2];
        self.first_length = 0;
        self.first = 0;
        self.inside = 0;
        if in_the_middle {
            self.adopt();
        }
    }

    /// The [`Protocol`] that the connection speaks, as far as known, by its number.
    #[inline(always)]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The first half of the random in a client's hello, by which TLS has its sessions told apart. None where it was not seen.
    #[inline(always)]
    pub fn client_random(&mut self) -> Option<[u64; 2]> {
        if self.parsed_as == Protocol::Tls as u8 { self.parsers.tls().client_random() } else { None }
    }

    /// What is shown of the protocol: of plaintext that is nothing known so far, what its records have told.
    #[inline(always)]
    const fn shown(&self) -> u8 {
        if self.protocol == Protocol::Unknown as u8 { self.inside } else { self.protocol }
    }

    #[inline(always)]
    const fn is(&self, stage: Stage) -> bool {
        self.stage == stage as u8
    }

    /// Read anew each time: a number that is kept in a register, and known after a dispatch, would have the verifier walk
    /// all that follows once for each protocol.
    #[inline(always)]
    fn parsed_as(&self) -> Protocol {
        Protocol::from_u8(hide_field(&self.parsed_as))
    }

    /// The stream in a direction.
    #[inline(always)]
    pub const fn stream(&self, direction: Direction) -> StreamId {
        StreamId::new(direction, Role::from_u8(self.role))
    }

    /// Whether a direction's stream stands between two messages, or is of no interest: a call that leads from such a
    /// point to another was seen whole.
    #[inline(always)]
    pub fn is_settled(&mut self, direction: Direction) -> bool {
        let side = self.stream(direction).side;
        dispatch!(self.parsed_as(), self.parsers, |parser| parser.is_between(side), none => true)
    }

    /// Takes note of `bytes` that need no look, if a call of so many needs none: tells whether that was so.
    #[inline(always)]
    pub fn pass(&mut self, direction: Direction, bytes: u32, connection: &mut Connection) -> bool {
        if self.is(Stage::Opaque) {
            return !self.is_due(direction);
        }
        let stream = self.stream(direction);
        let passed = dispatch!(
            self.parsed_as(),
            self.parsers,
            |parser| parser.pass(stream, u64::from(bytes), connection),
            none => None
        );
        let Some(outcome) = passed else { return self.gives_up(stream) };
        if outcome != Outcome::SAME {
            self.conclude(outcome, connection);
        }
        true
    }

    /// Whether a call is one of those at which a connection that is nothing known here is looked at all the same.
    #[inline(always)]
    fn is_due(&mut self, direction: Direction) -> bool {
        let left = &mut self.tries[direction as usize];
        *left = left.wrapping_sub(1);
        *left == 0 && self.protocol == Protocol::Unknown as u8
    }

    /// Whether a call of a stream that is being adopted is not looked at: nothing was found in a good many, so that this
    /// is unlikely to be anything known here.
    #[inline(always)]
    fn gives_up(&mut self, stream: StreamId) -> bool {
        let calls = &mut self.tries[stream.direction as usize];
        let call = *calls;
        if self.stage == Stage::Again as u8 {
            *calls = call.wrapping_add(1);
            if call >= TRIES_AGAIN {
                self.rest(0);
                return true;
            }
            return false;
        }
        if self.stage != Stage::Adopting as u8 {
            return false;
        }
        *calls = if call == u8::MAX { TRIES } else { call + 1 };
        call >= TRIES && !call.is_multiple_of(TRY_EVERY) && self.parsers.guess().is_searching(stream.side)
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
        if self.is(Stage::Opaque) {
            return None;
        }
        let stream = self.stream(direction);
        let outcome = dispatch!(
            self.parsed_as(),
            self.parsers,
            |parser| parser.miss(stream, bytes, why, connection),
            none => Outcome::became(Protocol::Unknown)
        );
        if outcome == Outcome::became(Protocol::Unknown) {
            // What could not be read would have told the protocol.
            self.miss_start(connection);
            return None;
        }
        self.conclude(outcome, connection)
    }

    /// Whether a message has passed unread in a direction that [`Session::settle`] is to count.
    #[inline(always)]
    pub fn owes(&mut self, direction: Direction) -> bool {
        let side = self.stream(direction).side;
        dispatch!(self.parsed_as(), self.parsers, |parser| parser.owes(side), none => false)
    }

    /// Counts a message that has passed unread.
    #[inline(always)]
    pub fn settle<S: Call>(&mut self, direction: Direction, source: &mut S, connection: &mut Connection) {
        let stream = self.stream(direction);
        dispatch!(
            self.parsed_as(),
            self.parsers,
            |parser| parser.settle(stream, source, connection),
            none => {}
        );
    }

    /// Takes in a call's bytes, from the source's position on.
    #[inline(always)]
    pub fn feed<S: Call>(
        &mut self,
        direction: Direction,
        source: &mut S,
        connection: &mut Connection,
    ) -> Option<Desync> {
        let stream = self.stream(direction);
        if !self.is(Stage::Parsing) {
            self.find_out(stream, source, connection);
            if self.parsed_as() == Protocol::Unknown || is_done(source) {
                return None;
            }
        }
        let outcome = dispatch!(
            self.parsed_as(),
            self.parsers,
            |parser| parser.run(stream, source, connection),
            none => Outcome::SAME
        );
        if outcome == Outcome::SAME {
            return None;
        }
        self.outcome = outcome.code() as u8;
        let mut code = source.run(Subprogram::Conclude, self, stream, connection);
        if code == GOES_ON {
            // What one protocol leaves of a call, another one takes.
            let outcome = dispatch!(
                self.parsed_as(),
                self.parsers,
                |parser| parser.run_rest(stream, source, connection),
                none => Outcome::SAME
            );
            self.outcome = outcome.code() as u8;
            code = source.run(Subprogram::Conclude, self, stream, connection);
        }
        if code == GOES_ON { None } else { Desync::from_code(code) }
    }

    /// Finds out what the connection speaks, if the call's bytes tell.
    #[inline(always)]
    fn find_out<S: Call>(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) {
        let is_at_start = self.is(Stage::Opening) || self.is(Stage::Header) || self.is(Stage::Behind);
        if !is_at_start {
            source.run(Subprogram::Adopt, self, stream, connection);
            return;
        }
        // The server may speak before the client's header is over.
        if !self.is(Stage::Header) || !stream.is_request() {
            source.run(Subprogram::Identify, self, stream, connection);
        }
        if self.is(Stage::Header) && stream.is_request() {
            source.run(Subprogram::Header, self, stream, connection);
            if self.is(Stage::Behind) && !is_done(source) {
                source.run(Subprogram::Identify, self, stream, connection);
            }
        }
    }

    /// Takes note of how a call's bytes went: [`Desync::code`], or [`GOES_ON`].
    #[inline(always)]
    fn conclude_call<S: Bytes>(&mut self, source: &S, connection: &mut Connection) -> u32 {
        let outcome = Outcome::from_code(u32::from(self.outcome));
        let desync = self.conclude(outcome, connection);
        match outcome.told() {
            Told::Became(Protocol::Unknown) => return 0,
            Told::Became(protocol) => {
                self.become_other(protocol, Opening::behind(self.parsed_as()), connection);
            }
            Told::Confirmed => {}
            Told::Same | Told::Resynced | Told::Lost(_) => return Desync::code(desync),
        }
        if self.is(Stage::Parsing) && !is_done(source) { GOES_ON } else { 0 }
    }

    /// Takes note of how bytes went.
    #[inline(always)]
    fn conclude(&mut self, outcome: Outcome, connection: &mut Connection) -> Option<Desync> {
        match outcome.told() {
            Told::Resynced => {
                self.show_lost(connection);
                None
            }
            Told::Confirmed => {
                self.stage = Stage::Parsing as u8;
                self.protocol = self.parsed_as;
                connection.protocol = self.shown();
                connection.pending = 0;
                self.show_lost(connection);
                None
            }
            Told::Became(Protocol::Unknown) => {
                self.become_unknown(connection);
                None
            }
            // To become another protocol is for whoever goes on with the call.
            Told::Same | Told::Became(_) => None,
            Told::Lost(desync) => {
                self.show_lost(connection);
                // Where one has only looked again, nothing was in sync.
                if self.is(Stage::Again) { None } else { Some(desync) }
            }
        }
    }

    /// Shows which streams are out of sync. What is nothing known here is not.
    #[inline(always)]
    fn show_lost(&mut self, connection: &mut Connection) {
        for direction in Direction::ALL {
            let side = self.stream(direction).side;
            let is_lost = dispatch!(
                self.parsed_as(), self.parsers, |parser| parser.is_lost(side), none => false
            );
            let is_lost = u8::from(is_lost && !self.is(Stage::Again));
            if self.parsed_as == Protocol::Tls as u8 {
                // Beside whether what is inside is out of sync, which another program may find out at the same time.
                connection.tls.lost[direction as usize] = is_lost;
            } else {
                connection.lost[direction as usize] = is_lost;
            }
        }
    }

    /// Whether a count may overflow soon, of what a connection has counted in a direction.
    #[inline(always)]
    pub fn is_full(&self, direction: Direction, connection: &Connection) -> bool {
        protocols::is_full(self.parsed_as(), connection, direction)
    }

    /// Takes over what is no count when a connection goes on in another slot.
    #[inline(always)]
    pub fn carry_over(&self, before: &Connection, next: &mut Connection) {
        protocols::carry_over(self.parsed_as(), before, next);
    }

    /// Runs a subprogram.
    #[inline(always)]
    pub fn run_subprogram<S: Call>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        match subprogram {
            Subprogram::Identify => {
                self.identify(stream, source, connection);
                0
            }
            Subprogram::Header => {
                self.pass_header(source, connection);
                0
            }
            Subprogram::Adopt => {
                self.identify_in_the_middle(stream, source, connection);
                0
            }
            Subprogram::Conclude => self.conclude_call(source, connection),
        }
    }
}
