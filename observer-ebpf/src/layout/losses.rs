//! What the kernel half could not do: an entry for each processor in the `LOSSES` array.

use super::Protocol;

/// Why bytes that were counted could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Unread {
    /// Moved by `io_uring`, whose requests are not in the system call's registers.
    IoUring = 0,
    /// Moved by `sendfile` or `splice`, from or to pages; or found missing by TCP's positions.
    Splice = 1,
    /// Moved by a 32-bit system call.
    Compat = 2,
    /// The memory was not there to read.
    Fault = 3,
    /// Moved by a system call whose buffers the program does not know (`sendmmsg`, `recvmmsg`, …).
    Other = 4,
}

impl Unread {
    /// All, in the order of the arrays.
    pub const ALL: [Self; 5] = [Self::IoUring, Self::Splice, Self::Compat, Self::Fault, Self::Other];
}

/// Why a stream fell out of sync with its parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Desync {
    /// Bytes that held a header could not be read.
    Unread = 0,
    /// Bytes that held a header moved past the hooks, or calls were seen out of order.
    Gap = 1,
    /// Two threads moved bytes on one socket in one direction at once.
    Concurrent = 2,
    /// A length that cannot be followed.
    Length = 3,
    /// A header that breaks the protocol, on a stream that had only just come into sync.
    Header = 4,
    /// More headers in one call than one run of the program may look at.
    Bound = 5,
}

impl Desync {
    /// All, in the order of the arrays.
    pub const ALL: [Self; 6] =
        [Self::Unread, Self::Gap, Self::Concurrent, Self::Length, Self::Header, Self::Bound];
}

impl Desync {
    /// As a number for where only numbers can be passed; 0 for none.
    #[inline(always)]
    pub const fn code(desync: Option<Self>) -> u32 {
        match desync {
            None => 0,
            Some(desync) => 1 + desync as u32,
        }
    }

    /// What [`Desync::code`] made a number of.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => None,
            1 => Some(Self::Unread),
            2 => Some(Self::Gap),
            3 => Some(Self::Concurrent),
            4 => Some(Self::Length),
            5 => Some(Self::Header),
            _ => Some(Self::Bound),
        }
    }
}

/// Counts since the program was loaded.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Losses {
    /// Connections for which no slot was left.
    pub untracked: u64,
    /// Records for which the `EVENTS` ring had no room.
    pub events_lost: u64,
    /// Times that a socket's user changed too often to follow at once.
    pub handoffs_refused: u64,
    /// Messages put into a queue, or taken out of one, for which there was no room to count them.
    pub uncounted_messages: u64,
    /// Bytes by [`Unread`]. There are more entries than reasons, so that a masked number is always in bounds: the
    /// verifier follows a mask where it cannot follow a match.
    pub unread_bytes: [u64; REASONS],
    /// Streams that fell out of sync, by [`Protocol`] and [`Desync`], with more entries likewise.
    pub desyncs: [[u64; REASONS]; PROTOCOLS],
    /// Keys found and not found, by [`Protocol`], that were counted without their prefix: no place was left for it, or no
    /// room to count by it.
    pub unnamed: [[u64; 2]; PROTOCOLS],
}

/// Places for reasons, and for protocols: powers of two.
pub const REASONS: usize = 8;
/// See [`REASONS`].
pub const PROTOCOLS: usize = 16;

const _: () =
    assert!(Unread::ALL.len() <= REASONS && Desync::ALL.len() <= REASONS && Protocol::COUNT <= PROTOCOLS);

impl Losses {
    /// Nothing happened.
    pub const ZERO: Self = Self {
        untracked: 0,
        events_lost: 0,
        handoffs_refused: 0,
        uncounted_messages: 0,
        unread_bytes: [0; REASONS],
        desyncs: [[0; REASONS]; PROTOCOLS],
        unnamed: [[0; 2]; PROTOCOLS],
    };

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.untracked += other.untracked;
        self.events_lost += other.events_lost;
        self.handoffs_refused += other.handoffs_refused;
        self.uncounted_messages += other.uncounted_messages;
        for (sum, bytes) in self.unread_bytes.iter_mut().zip(&other.unread_bytes) {
            *sum += bytes;
        }
        for (sum, count) in self.desyncs.iter_mut().flatten().zip(other.desyncs.iter().flatten()) {
            *sum += count;
        }
        for (sum, count) in self.unnamed.iter_mut().flatten().zip(other.unnamed.iter().flatten()) {
            *sum += count;
        }
    }
}

const _: () = assert!(size_of::<Losses>() == 8 * (4 + REASONS + PROTOCOLS * (REASONS + 2)));
