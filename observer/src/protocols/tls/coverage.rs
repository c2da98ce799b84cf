//! How much of an encrypted connection was read in the clear, and why not all of it.

use std::collections::HashSet;

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::{Connection, FLAG_ADOPTED, FLAG_UNREAD_START};
use observer_ebpf::protocols::tls::layout::Records;

use crate::config::Reading;

/// What a record of any version adds to its plaintext, at most: a nonce, padding and a code that authenticates it
/// (RFC 5246, section 6.2.3; RFC 8446, section 5.2).
const OVERHEAD: u64 = 64;
/// What may be in records and not have been asked for yet: one record in a library's buffer, tickets, updates of keys.
const WAITING: u64 = 20 * 1024;

/// Why a connection is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unread {
    /// No plaintext is to be read at all.
    #[default]
    Off,
    /// Its process was seen in no library whose functions are known.
    NoSymbols,
    /// Its process uses such a library, but the connection's records do not move inside its calls, and no hello tells which
    /// session they are of.
    Unlinked,
}

/// How much of a connection is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coverage {
    /// All of it, so far.
    Yes,
    /// It was there before it was first seen.
    JoinedLate,
    /// Bytes moved past the calls that are read.
    Bypassed,
    /// Nothing.
    No(Unread),
}

impl Coverage {
    /// That of a connection; `unread` is why, should nothing have been read.
    pub fn of(connection: &Connection, unread: Unread) -> Self {
        let records = &connection.tls;
        if records.library == 0 {
            return Self::No(unread);
        }
        if records.read_bytes() != records.application
            || Direction::ALL.into_iter().any(|way| is_short(records, way))
        {
            return Self::Bypassed;
        }
        if connection.flags & (FLAG_ADOPTED | FLAG_UNREAD_START) != 0 { Self::JoinedLate } else { Self::Yes }
    }

    /// The values of the labels `read` and `reason`.
    pub const fn labels(self) -> [&'static str; 2] {
        match self {
            Self::Yes => ["yes", ""],
            Self::JoinedLate => ["partly", "joined_late"],
            Self::Bypassed => ["partly", "bypassed"],
            Self::No(Unread::Off) => ["no", "off"],
            Self::No(Unread::NoSymbols) => ["no", "no_symbols"],
            Self::No(Unread::Unlinked) => ["no", "unlinked"],
        }
    }
}

/// Whether there is less plaintext than there must have been in a direction's records.
fn is_short(records: &Records, direction: Direction) -> bool {
    let at = direction as usize;
    let read = records.read_bytes()[at];
    let most = records.plaintext[at]
        .saturating_add(u64::from(records.records[at]).saturating_mul(OVERHEAD))
        .saturating_add(u64::from(records.handshake_bytes));
    read.saturating_sub(most) > WAITING.max(read / 100)
}

/// What is known of processes that use libraries.
#[derive(Clone, Debug, Default)]
pub struct PlaintextUse {
    /// What is to be read.
    pub reading: Reading,
    /// Processes that use a library for connections that are not known, by pid.
    pub users: HashSet<u32>,
}

impl PlaintextUse {
    /// Why a connection is not read, should it not be.
    pub fn unread(&self, connection: &Connection) -> Unread {
        match self.reading {
            Reading::Off => Unread::Off,
            Reading::Start | Reading::Follow => {
                if self.users.contains(&connection.owner.tgid) {
                    Unread::Unlinked
                } else {
                    Unread::NoSymbols
                }
            }
        }
    }
}
