//! What the kernel half keeps for each socket, in socket storage: it goes when the socket goes.

use super::connection::Owner;
use crate::stream::session::Session;

/// [`Socket::index`] of a socket for which no slot was left.
pub const UNTRACKED: u32 = u32::MAX;

/// What is known of where in TCP's stream the next call should start ([`Socket::positions`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Position {
    /// Nothing: the direction has had no call yet.
    Unknown = 0,
    /// It starts where the last call ended.
    Exact = 1,
    /// It starts behind bytes that were taken for having moved unseen, but which may be those of a call in progress.
    Provisional = 2,
}

/// Who is at work on two streams, by direction: each is one processor's at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Locks {
    /// Bytes of calls that could not be looked at since another was at work.
    pub contended: [u64; 2],
    /// 1 while a processor is at work on the direction's stream.
    pub busy: [u64; 2],
}

impl Locks {
    /// Nobody is.
    pub const FREE: Self = Self { contended: [0; 2], busy: [0; 2] };
}

/// A socket's state.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Socket {
    /// The connection's slot in `CONNECTIONS`, or [`UNTRACKED`].
    pub index: u32,
    /// Changes of owner that may still follow one another at once.
    pub handoffs: u32,
    /// Who used the socket last, to tell a change without a look at the slot.
    pub owner: Owner,
    /// `CLOCK_MONOTONIC` of the connect, while it lasts.
    pub connect_started_ns: u64,
    /// Jiffies of the last change of owner.
    pub handoff_jiffies: u64,
    /// TCP: where in each stream the next call should start, by direction (`write_seq`, `copied_seq`).
    pub positions: [u32; 2],
    /// `positions` when the refresh pass last looked.
    pub doubted_at: [u32; 2],
    /// TCP's own counts of payload written and read, where those of the slot start.
    pub tcp_base: [u64; 2],
    /// The address of the library's session whose plaintext moves here, in the process that uses it; 0 where none is known.
    pub plaintext_of: u64,
    /// Who is at work on its streams.
    pub locks: Locks,
    /// A [`Position`], by direction.
    pub positioned: [u8; 2],
    /// 1 if the refresh pass found the position wrong when it last looked.
    pub doubts: [u8; 2],
    /// 1 once `tcp_base` holds what it should.
    pub based: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// The parsers.
    pub session: Session,
}
