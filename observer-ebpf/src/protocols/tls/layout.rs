//! What is told of TLS without any key. It lies in the connection itself ([`Connection::tls`]), beside what is counted of
//! the protocol inside, as far as that is known.
//!
//! [`Connection::tls`]: crate::layout::connection::Connection::tls

/// What TLS counts as a protocol: nothing, see [`Records`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {}

/// The number of TLS 1.3 (RFC 8446, section 4.2.1); earlier versions have lower ones.
pub const TLS_1_3: u16 = 0x0304;

/// How many alerts of each direction are told apart.
pub const ALERTS: usize = 4;

/// Upper bounds, inclusive, in nanoseconds, of the buckets of handshakes; the last bucket is what lies above.
pub static HANDSHAKE_BOUNDS: [u64; 8] =
    [1_000_000, 5_000_000, 10_000_000, 50_000_000, 100_000_000, 500_000_000, 1_000_000_000, 5_000_000_000];
/// Buckets of handshakes.
pub const HANDSHAKE_BUCKETS: usize = 9;

/// What a connection's records tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Records {
    /// When the client's hello began, `CLOCK_MONOTONIC` in nanoseconds; 0 where it was not seen.
    pub hello_ns: u64,
    /// How long the handshake took, in nanoseconds; 0 before it is over, and where its start was not seen.
    pub handshake_ns: u64,
    /// Bytes in application records, by [`Direction`](crate::layout::Direction), without the records' headers.
    pub application: [u64; 2],
    /// Descriptions of the first alerts in the clear, by direction: each one more than it is (RFC 8446, section 6).
    pub alerts: [[u8; ALERTS]; 2],
    /// How many alerts there were in the clear, by direction.
    pub alerts_seen: [u16; 2],
    /// The version that the server has chosen, as it is on the wire; 0 while that is not known.
    pub version: u16,
    /// By direction: 1 while records cannot be told apart.
    pub lost: [u8; 2],
    /// Application records, by direction.
    pub records: [u32; 2],
    /// Of `application`, by direction: bytes that moved inside a call of a library whose plaintext is read.
    pub read: [u64; 2],
    /// The others, where any libraries are read.
    pub unread: [u64; 2],
    /// Bytes of plaintext that such calls returned or took, by direction.
    pub plaintext: [u64; 2],
    /// A [`Kind`](crate::layout::library::Kind) of library, once a call of one has moved bytes of the connection; 0 before.
    pub library: u8,
    /// 1 if a count of what is inside may overflow soon.
    pub full: u8,
    /// A [`Memory`].
    pub memory: u8,
    /// Zero.
    pub reserved: u8,
    /// Of `application`: bytes of the handshake, which in TLS 1.3 is in such records.
    pub handshake_bytes: u32,
}

const _: () = assert!(size_of::<Records>() == 112);

/// Whether records go between the library and the socket by way of memory, outside of the library's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Memory {
    /// Not that anybody knew.
    No = 0,
    /// They do, and the session is known from its hello on: all in application records is in its plaintext, whichever of
    /// `read` and `unread` it is counted in.
    All = 1,
    /// They do, and plaintext had moved before the session was known: `read` counts from then on.
    Late = 2,
}

impl Records {
    /// Of `application`, by direction: bytes whose plaintext is read.
    pub const fn read_bytes(&self) -> [u64; 2] {
        if self.memory == Memory::All as u8 { self.application } else { self.read }
    }
}
