//! From a connection's bytes to the parser that takes them.

use super::{Session, Stage};
use crate::layout::connection::Connection;
use crate::layout::{Protocol, Role, Side, Zeroes as _};
use crate::protocols::{self, Call, dispatch};
use crate::stream::bytes::low_bytes;
use crate::stream::parser::{Guess as _, Opening, Parser as _, StreamId};
use crate::stream::start::{self, Match, Start};

impl Session {
    /// The connection is one first seen in the middle.
    #[inline(always)]
    pub(super) fn adopt(&mut self) {
        self.stage = Stage::Adopting as u8;
        self.parsed_as = protocols::GUESS as u8;
        self.parsers.guess().start_searching();
    }

    /// The connection is nothing known here.
    #[inline(always)]
    pub(super) fn become_unknown(&mut self, connection: &mut Connection) {
        self.protocol = Protocol::Unknown as u8;
        self.parsed_as = Protocol::Unknown as u8;
        self.stage = Stage::Opaque as u8;
        connection.protocol = self.protocol;
        connection.pending = 0;
        connection.lost = [0; 2];
    }

    /// The connection speaks this from here on: it is not looked at further where that has no parser.
    #[inline(always)]
    pub(super) fn become_other(&mut self, protocol: Protocol, opening: Opening, connection: &mut Connection) {
        self.enter(protocol, connection);
        if connection.encrypted != 0 {
            // No more than the protocol is known of what is inside.
            self.parsed_as = Protocol::Unknown as u8;
            self.stage = Stage::Opaque as u8;
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
            connection.protocol = self.protocol;
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
        // Something may have been counted by another parser.
        if protocols::begins_anew(protocol, self.parsed_as()) {
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
        let (found, protocol) = if stream.is_request() {
            // The call's first buffers may each be shorter than what tells.
            S::repeat(start::ENOUGH, || {
                let at = source.position();
                let Ok(available) = source.window(at) else { return false };
                self.gather(source.words(at).0, available);
                source.go_to(at + available);
                at + available < source.end() && u32::from(self.first_length) < start::ENOUGH
            });
            source.go_to(0);
            let length = u32::from(self.first_length);
            // Where there are not more of them than before, they cannot be read.
            if length == before {
                (Match::No, Protocol::Unknown)
            } else {
                protocols::recognise(Start::new(self.first, length), Side::Client)
            }
        } else {
            // The server speaks first.
            let available = source.window(0).unwrap_or(0);
            protocols::recognise(Start::new(source.words(0).0, available), Side::Server)
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
        if !self.parsers.guess().is_searching(stream.side) {
            return;
        }
        let tries = &mut self.tries[stream.direction as usize];
        *tries = tries.saturating_add(1);
        let Ok(available) = source.window(0) else { return };
        let start = Start::new(source.words(0).0, available);
        if let Some(protocol) = protocols::adopt(start, stream.side, source) {
            self.resume(protocol, connection);
        }
    }
}
