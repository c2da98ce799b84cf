//! What the kernel half could not do, one element for each processor in the `HEALTH` array.

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
    /// All, by number of array element.
    pub const ALL: [Self; 5] = [Self::IoUring, Self::Splice, Self::Compat, Self::Fault, Self::Other];
}

/// Why a stream fell out of step with its parser.
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
    /// A header that breaks the protocol, on a stream that had only just come into step.
    Header = 4,
    /// More headers in one call than one run of the program may look at.
    Bound = 5,
}

impl Desync {
    /// All, by number of array element.
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
pub struct Health {
    /// Connections for which no element was left.
    pub untracked: u64,
    /// Records for which the `EVENTS` ring had no room.
    pub events_lost: u64,
    /// Times that a socket's user changed too often to follow at once.
    pub handoffs_refused: u64,
    /// Bytes by [`Unread`]. More than there are, so that a masked number is always in bounds: the verifier
    /// follows a mask where it cannot follow a match.
    pub unread_bytes: [u64; 8],
    /// By [`Protocol`] and [`Desync`].
    pub desyncs: [[u64; 8]; 8],
}

const _: () = assert!(Unread::ALL.len() <= 8 && Protocol::ALL.len() <= 8 && Desync::ALL.len() <= 8);

impl Health {
    /// Nothing happened.
    pub const ZERO: Self = Self {
        untracked: 0,
        events_lost: 0,
        handoffs_refused: 0,
        unread_bytes: [0; 8],
        desyncs: [[0; 8]; 8],
    };
}

const _: () = assert!(size_of::<Health>() == 8 * (3 + 8 + 64));
