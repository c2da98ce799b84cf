//! Records of the `EVENTS` ring: rare things that someone wants to know of at once.

use super::connection::Owner;

/// A WebSocket message that has reached a threshold, or several: sent when the header is seen that declares the size
/// which does.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Oversized {
    /// `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// [`super::connection::Connection::id`].
    pub connection: u64,
    /// Payload bytes of the message, as far as its headers have declared them.
    pub size: u64,
    /// Whose socket it is.
    pub owner: Owner,
    /// The owner's name as the kernel had it.
    pub comm: [u8; 16],
    /// Addresses as in [`super::connection::Connection`].
    pub local: [u8; 16],
    /// See `local`.
    pub remote: [u8; 16],
    /// See `local`.
    pub client: [u8; 16],
    /// See `local`.
    pub local_port: u16,
    /// See `local`.
    pub remote_port: u16,
    /// `AF_*`.
    pub family: u16,
    /// A [`super::Direction`].
    pub direction: u8,
    /// A [`super::Role`].
    pub role: u8,
    /// The index of the connection, by which a UNIX path is found.
    pub index: u32,
    /// See `local`.
    pub client_port: u16,
    /// The thresholds reached, from this one: 0 medium, 1 large, 2 huge.
    pub first: u8,
    /// To this one.
    pub last: u8,
}

const _: () = assert!(size_of::<Oversized>() == 120);

/// A process has an encrypted connection that is not read: its number in the agent's pid namespace. Sent once a minute at
/// most for each process, and told apart from other records by its length.
pub type Encrypted = u64;

const _: () = assert!(size_of::<Encrypted>() != size_of::<Oversized>());
