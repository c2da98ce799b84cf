//! One connection as the agent reads it: a slot, which is an entry of the `CONNECTIONS` array.
//!
//! The kernel half takes a slot when a connection appears, counts in it, and retires it when the socket is gone; the
//! agent adds a retired slot's counts to its totals and hands the slot back. So no count is ever sent, and none can be
//! lost on the way.

pub use crate::protocols::Details;
use crate::protocols::tls::layout::Records;

/// `AF_UNIX`, `AF_INET` and `AF_INET6` (`include/linux/socket.h`).
pub const AF_UNIX: u16 = 1;
/// See [`AF_UNIX`].
pub const AF_INET: u16 = 2;
/// See [`AF_UNIX`].
pub const AF_INET6: u16 = 10;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The slot is not in use, or is being filled.
    Free = 0,
    /// A TCP client waits for the handshake's answer.
    Connecting = 1,
    /// Open.
    Open = 2,
    /// Over for the process, although the socket may live on, with bytes still to read.
    Closed = 3,
    /// It never opened; [`Connection::error`] says why.
    Failed = 4,
}

impl Phase {
    /// The phase stored as `value`; anything unknown is [`Phase::Free`].
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Connecting,
            2 => Self::Open,
            3 => Self::Closed,
            4 => Self::Failed,
            _ => Self::Free,
        }
    }
}

/// The socket existed before the agent, or was found by looking rather than seen to open.
pub const FLAG_ADOPTED: u8 = 1 << 0;
/// The slot continues another one (a descriptor passed on, or counters near their end): this is
/// no new connection.
pub const FLAG_CONTINUATION: u8 = 1 << 1;
/// The slot was continued by another one: the connection did not close.
pub const FLAG_CONTINUED: u8 = 1 << 2;
/// Neither end connected by name: a socket pair.
pub const FLAG_PAIR: u8 = 1 << 3;
/// The connection's first bytes could not be read: what is spoken was to be found in its middle.
pub const FLAG_UNREAD_START: u8 = 1 << 4;
/// What is spoken is known to be encrypted. The protocol is then that inside, as far as it is known.
pub const FLAG_ENCRYPTED: u8 = 1 << 5;
/// Those that a slot which continues another one takes over.
pub const FLAGS_KEPT: u8 = FLAG_ADOPTED | FLAG_PAIR | FLAG_UNREAD_START | FLAG_ENCRYPTED;

/// A process, in a way that outlives its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Owner {
    /// When the thread-group leader started, in nanoseconds since boot (`task_struct.start_boottime`);
    /// 0 while nobody has used the socket.
    pub start_ns: u64,
    /// Thread-group id: in the agent's pid namespace where the agent reads it, 0 for a process outside; in the
    /// host's where the program compares it.
    pub tgid: u32,
    /// How many programs the leader has executed (`task_struct.self_exec_id`).
    pub exec_id: u32,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Connection {
    /// Unique while the program is loaded; 0 before first use.
    pub id: u64,
    /// A [`Phase`], written last when a slot is filled.
    pub phase: u8,
    /// A [`super::Role`].
    pub role: u8,
    /// A [`super::Protocol`].
    pub protocol: u8,
    /// `FLAG_*`.
    pub flags: u8,
    /// `AF_*`.
    pub family: u16,
    /// Port of this end, host byte order.
    pub local_port: u16,
    /// Port of the other end, host byte order.
    pub remote_port: u16,
    /// By [`super::Direction`]: 1 while the stream is out of sync with its parser.
    pub lost: [u8; 2],
    /// The port of `client`, host byte order.
    pub client_port: u16,
    /// `sk_err` when a connect failed or the connection was over, a positive errno or 0.
    pub error: u8,
    /// 1 while the protocol is not settled: too few bytes so far, or HTTP whose first response may yet
    /// upgrade it.
    pub pending: u8,
    /// Network namespace (`ns_common.inum`).
    pub netns: u32,
    /// The pass of the refresh program that last saw the socket.
    pub pass: u32,
    /// `CLOCK_MONOTONIC` when the connection was first seen.
    pub seen_ns: u64,
    /// SYN sent to established, in nanoseconds; 0 when not seen.
    pub connect_ns: u64,
    /// The kernel's own count of segments sent again (`tcp_sock.total_retrans`), less what it was at
    /// adoption.
    pub retransmits: u32,
    /// What `total_retrans` was at adoption.
    pub retransmits_before: u32,
    /// The process that uses the socket.
    pub owner: Owner,
    /// Its leader's name when it was first seen to (`task_struct.comm`).
    pub comm: [u8; 16],
    /// This end's address: IPv4 in the first four bytes, or IPv6; of a UNIX socket, its inode and its peer's
    /// ([`Connection::inodes`]).
    pub local: [u8; 16],
    /// The other end's.
    pub remote: [u8; 16],
    /// Payload bytes by [`super::Direction`], as calls moved them; those that moved unseen are added once they
    /// are found.
    pub bytes: [u64; 2],
    /// Payload bytes that TCP itself says the process wrote and read since the connection was first seen,
    /// whichever way they took, when the refresh program last looked; 0 where it is not TCP.
    pub tcp_bytes: [u64; 2],
    /// TCP's smoothed round-trip time in microseconds, when the refresh program last looked; 0 where TCP has
    /// measured none.
    pub rtt_us: u32,
    /// The number of the connection's process and server in `SERVICES`; 0 while nothing was counted by name.
    pub service: u32,
    /// Who a proxy says that its client is, in a header of the PROXY protocol: IPv6, or IPv4 mapped into it; zeroes where
    /// there is none.
    pub client: [u8; 16],
    /// What records of TLS tell; zeroes where it is not encrypted.
    pub tls: Records,
    /// What its protocol counts. To be read through [`Connection::websocket`] and its like.
    pub details: Details,
}

const _: () = assert!(size_of::<Connection>() == 176 + size_of::<Records>() + size_of::<Details>());
const _: () = assert!(align_of::<Connection>() == 8);

impl Connection {
    /// Whether what is spoken is known to be encrypted.
    #[inline(always)]
    pub const fn is_encrypted(&self) -> bool {
        self.flags & FLAG_ENCRYPTED != 0
    }

    /// Whether a stream is out of sync: with the records' parser, or with that of what is inside or in the clear.
    pub fn is_lost(&self) -> bool {
        self.lost != [0; 2] || self.tls.lost != [0; 2]
    }

    /// The inode of a UNIX socket, and its peer's; 0 where unknown, as that of a peer that is not accepted yet. They lie
    /// where other sockets have an address.
    pub fn inodes(&self) -> [u64; 2] {
        let (own, peer) = self.local.split_at(8);
        [own, peer].map(|bytes| bytes.try_into().map_or(0, u64::from_ne_bytes))
    }

    /// The other end's address in two words.
    #[inline(always)]
    pub fn remote_words(&self) -> [u64; 2] {
        const { assert!(core::mem::offset_of!(Self, remote).is_multiple_of(8)) };
        #[expect(clippy::cast_ptr_alignment, reason = "it lies at a multiple of eight bytes, as asserted")]
        let words = self.remote.as_ptr().cast::<u64>();
        // SAFETY: within the address, of 16 bytes, which is aligned to eight bytes where it is in its structure.
        unsafe { [words.read_volatile(), words.add(1).read_volatile()] }
    }

    /// Sets what [`Connection::inodes`] tells.
    #[inline(always)]
    pub fn set_inodes(&mut self, inodes: [u64; 2]) {
        // SAFETY: integers of one size.
        self.local = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(inodes) };
    }
}

/// The longest `sun_path` (`include/uapi/linux/un.h`).
pub const UNIX_PATH_MAX: usize = 108;

/// The path of a UNIX connection's server end: a value of the `UNIX_PATHS` map, keyed by the index of
/// the connection's slot. The agent removes it before it hands the slot back.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UnixPath {
    /// Bytes used of `path`.
    pub length: u32,
    /// As bound; an abstract name starts with a zero byte.
    pub path: [u8; UNIX_PATH_MAX],
}

const _: () = assert!(size_of::<UnixPath>() == 112);
