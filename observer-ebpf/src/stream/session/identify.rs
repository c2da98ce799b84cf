//! From a connection's bytes to the parser that takes them.

use super::{FIRST_REST, Session, Stage};
use crate::layout::connection::{Connection, FLAG_UNREAD_START};
use crate::layout::{Protocol, Role, Side, Zeroes as _};
use crate::protocols::{self, Call, dispatch};
use crate::stream::bytes::low_bytes;
use crate::stream::parser::{Guess as _, Opening, Parser as _, StreamId};
use crate::stream::proxy::{self, Progress};
use crate::stream::start::{self, Match, Start};

impl Session {
    /// The connection is one first seen in the middle.
    #[inline(always)]
    pub(super) fn adopt(&mut self) {
        self.stage = Stage::Adopting as u8;
        self.parsed_as = protocols::GUESS as u8;
        self.parsers.guess().start_searching();
    }

    /// The connection's start could not be read: it is as one first seen in the middle.
    #[inline(always)]
    pub(super) fn miss_start(&mut self, connection: &mut Connection) {
        if self.parsed_as() != Protocol::Unknown {
            // What was likely may have been counted.
            connection.details.clear();
        }
        self.protocol = Protocol::Unknown as u8;
        self.tries = [0; 2];
        self.adopt();
        connection.protocol = self.shown();
        connection.flags |= FLAG_UNREAD_START;
        connection.pending = 0;
        connection.lost = [1; 2];
    }

    /// The connection is nothing known here.
    #[inline(always)]
    pub(super) fn become_unknown(&mut self, connection: &mut Connection) {
        self.protocol = Protocol::Unknown as u8;
        self.rest(FIRST_REST);
        connection.protocol = self.shown();
        connection.pending = 0;
        connection.lost = [0; 2];
    }

    /// Looks at none of so many calls of each stream; 0 stands for 256.
    #[inline(always)]
    pub(super) fn rest(&mut self, calls: u8) {
        self.parsed_as = Protocol::Unknown as u8;
        self.stage = Stage::Opaque as u8;
        self.tries = [calls; 2];
    }

    /// Looks at some calls again.
    #[inline(always)]
    fn look_again(&mut self, connection: &mut Connection) {
        // A parser that was mistaken may have counted.
        connection.details.clear();
        self.adopt();
        self.stage = Stage::Again as u8;
        self.tries = [0; 2];
    }

    /// The connection speaks this from here on: it is not looked at further where that has no parser. What is encrypted is TLS,
    /// whatever it speaks inside.
    #[inline(always)]
    pub(super) fn become_other(&mut self, protocol: Protocol, opening: Opening, connection: &mut Connection) {
        self.enter(protocol, connection);
        if connection.is_encrypted() && self.inside == 0 {
            // No more than the protocol is known of what is inside: it is the records that are followed.
            if opening.before as u8 != Protocol::Tls as u8 {
                self.parsers.tls().start_inside();
            }
            self.parsed_as = Protocol::Tls as u8;
            return;
        }
        let role = Role::from_u8(self.role);
        dispatch!(
            protocol,
            self.parsers,
            |parser| parser.start(opening, role, connection),
            none => self.stage = Stage::Opaque as u8
        );
        if opening.tentative {
            self.protocol = Protocol::Unknown as u8;
            connection.protocol = self.shown();
        }
    }

    /// The connection speaks this, as a call in its middle has told.
    #[inline(always)]
    fn resume(&mut self, protocol: Protocol, connection: &mut Connection) {
        self.enter(protocol, connection);
        let role = Role::from_u8(self.role);
        dispatch!(
            protocol,
            self.parsers,
            |parser| parser.resume(role, connection),
            none => self.stage = Stage::Opaque as u8
        );
    }

    /// Goes over to a protocol, whose parser is to be set.
    #[inline(always)]
    fn enter(&mut self, protocol: Protocol, connection: &mut Connection) {
        // Something may have been counted by another parser; of what records have told, before it was encrypted.
        if protocols::begins_anew(protocol, self.parsed_as()) && protocol as u8 != self.inside {
            connection.details.clear();
        }
        connection.lost = [0; 2];
        connection.pending = 0;
        self.stage = Stage::Parsing as u8;
        self.protocol = protocol as u8;
        self.parsed_as = protocol as u8;
        connection.protocol = protocol as u8;
    }

    /// Tells the protocol by the connection's first bytes, or by more of them. Leaves the source at its start, or at its
    /// end where more bytes are needed.
    #[inline(always)]
    pub(super) fn identify<S: Call>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let before = u32::from(self.first_length);
        let from = source.position();
        let (found, protocol) = if stream.is_request() {
            // The call's first buffers may each be shorter than what tells.
            S::repeat(start::ENOUGH, || {
                let at = source.position();
                let Ok(available) = source.window(at) else { return false };
                self.gather(source.words(at).0, available);
                source.go_to(at + available);
                at + available < source.end() && u32::from(self.first_length) < start::ENOUGH
            });
            source.go_to(from);
            let length = u32::from(self.first_length);
            // Where there are not more of them than before, they cannot be read.
            if length == before {
                self.miss_start(connection);
                return;
            }
            let start = Start::new(self.first, length);
            let header = if self.is(Stage::Opening) { proxy::recognise(start) } else { Match::No };
            match header {
                Match::No => protocols::recognise(start, Side::Client),
                Match::More => (Match::More, Protocol::Unknown),
                Match::Maybe | Match::Yes => {
                    self.parsers.proxy().begin(self.first);
                    self.stage = Stage::Header as u8;
                    source.go_to(from + length - before);
                    return;
                }
            }
        } else {
            // The server speaks first.
            let Ok(available) = source.window(from) else {
                self.miss_start(connection);
                return;
            };
            protocols::recognise(Start::new(source.words(from).0, available), Side::Server)
        };
        match found {
            // The rest comes with another call.
            Match::More if stream.is_request() => source.go_to(source.end()),
            Match::More | Match::No => self.become_unknown(connection),
            Match::Maybe | Match::Yes => {
                let tentative = found == Match::Maybe;
                let opening =
                    Opening { first: self.first, kept: before, tentative, before: Protocol::Unknown };
                self.become_other(protocol, opening, connection);
            }
        }
    }

    /// Steps over a proxy's header. What is behind it is as the first bytes of a connection.
    #[inline(always)]
    pub(super) fn pass_header<S: Call>(&mut self, source: &mut S, connection: &mut Connection) {
        match self.parsers.proxy().run(source) {
            Progress::More => {}
            Progress::End => {
                (connection.client, connection.client_port) = self.parsers.proxy().client();
                self.stage = Stage::Behind as u8;
                self.first_length = 0;
                self.first = 0;
            }
            Progress::Wrong => self.become_unknown(connection),
            Progress::Unread => self.miss_start(connection),
        }
    }

    /// Keeps a connection's first bytes, eight at most.
    #[inline(always)]
    fn gather(&mut self, word: u64, available: u32) {
        let kept = u32::from(self.first_length);
        if kept < start::ENOUGH {
            let length = (kept + available).min(start::ENOUGH);
            self.first = low_bytes(self.first | word << (8 * (kept & 7)), length);
            self.first_length = length as u8;
        }
    }

    /// Tells the protocol by a call in the middle of a connection.
    #[inline(always)]
    pub(super) fn identify_in_the_middle<S: Call>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) {
        if self.is(Stage::Opaque) {
            // The other stream may just have told.
            if self.protocol != Protocol::Unknown as u8 {
                return;
            }
            self.look_again(connection);
        }
        if !self.parsers.guess().is_searching(stream.side) {
            return;
        }
        let Ok(available) = source.window(0) else { return };
        let start = Start::new(source.words(0).0, available);
        if let Some(protocol) = protocols::adopt(start, stream.side, source) {
            self.resume(protocol, connection);
        }
    }
}
