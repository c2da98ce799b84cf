//! `repr(C)` types that the BPF program writes and the agent reads.
//!
//! Integers only, padding explicit, sizes asserted: both halves are built from these very definitions,
//! so a layout cannot differ between them.

pub(crate) mod buckets;
pub mod connection;
pub mod event;
pub mod health;
pub mod postgres;
pub mod redis;
pub mod settings;
pub mod socket;
pub mod websocket;

/// A way that bytes go, as the process that owns the socket sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// Written by the process.
    Sent = 0,
    /// Read by the process.
    Received = 1,
}

impl Direction {
    /// Both, in the order of the arrays indexed by direction.
    pub const ALL: [Self; 2] = [Self::Sent, Self::Received];

    /// The direction of this number: anything but 0 is [`Direction::Received`].
    #[inline(always)]
    pub const fn from_u32(number: u32) -> Self {
        if number == 0 { Self::Sent } else { Self::Received }
    }

    /// The other way.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
        }
    }
}

/// Which end of the connection the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// It connected.
    Client = 0,
    /// It accepted.
    Server = 1,
}

impl Role {
    /// The role stored as `value`; anything unknown is a client.
    pub const fn from_u8(value: u8) -> Self {
        if value == Self::Server as u8 { Self::Server } else { Self::Client }
    }

    /// The direction in which a client's bytes pass through this end.
    pub const fn request_direction(self) -> Direction {
        match self {
            Self::Client => Direction::Sent,
            Self::Server => Direction::Received,
        }
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// Not told yet, or not one of the others.
    #[default]
    Unknown = 0,
    /// HTTP/1 that has not been upgraded, or HTTP/2 in the clear.
    Http = 1,
    /// RFC 6455.
    WebSocket = 2,
    /// `PostgreSQL`'s frontend/backend protocol, version 3.
    Postgres = 3,
    /// RESP.
    Redis = 4,
    /// TLS records.
    Tls = 5,
}

impl Protocol {
    /// Every protocol, by its number.
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Http, Self::WebSocket, Self::Postgres, Self::Redis, Self::Tls];

    /// The protocol stored as `value`; anything unknown is [`Protocol::Unknown`].
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Http,
            2 => Self::WebSocket,
            3 => Self::Postgres,
            4 => Self::Redis,
            5 => Self::Tls,
            _ => Self::Unknown,
        }
    }
}

/// What goes back to zeroes, which is how it starts.
///
/// # Safety
///
/// Of integers only, of which any may be zero, without padding, and of whole words.
pub(crate) unsafe trait Zeroes: Sized {
    /// Sets it to zeroes, word by word: the `memset` that a BPF program gets goes byte by byte, and the verifier
    /// follows it through each.
    #[inline(always)]
    fn clear(&mut self) {
        const { assert!(align_of::<Self>() == 8 && size_of::<Self>().is_multiple_of(8)) };
        let words = core::ptr::from_mut(self).cast::<u64>();
        for at in 0..size_of::<Self>() / 8 {
            // SAFETY: within the value, whose words are integers.
            unsafe { words.add(at).write_volatile(0) }
        }
    }
}
