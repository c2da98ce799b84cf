//! What the agent and the program tell each other of TLS libraries, in whose functions plaintext is read.

use super::Direction;
use super::connection::Owner;
use super::socket::Locks;
use crate::stream::session::Session;

/// A TLS library: one with OpenSSL's functions, or `GnuTLS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// OpenSSL itself, and those that follow it closely, such as quictls.
    Openssl = 1,
    /// Google's `BoringSSL`.
    Boringssl = 2,
    /// OpenBSD's `LibreSSL`.
    Libressl = 3,
    /// Amazon's AWS-LC.
    AwsLc = 4,
    /// Another that has OpenSSL's functions, such as `libgnutls-openssl`.
    Unknown = 5,
    /// `GnuTLS`.
    Gnutls = 6,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Openssl, Self::Boringssl, Self::Libressl, Self::AwsLc, Self::Unknown, Self::Gnutls];

    /// The one stored as `value`; none for 0, and what is not known.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u8 == value)
    }

    /// The library's name, as a label has it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Openssl => "openssl",
            Self::Boringssl => "boringssl",
            Self::Libressl => "libressl",
            Self::AwsLc => "aws-lc",
            Self::Unknown => "unknown",
            Self::Gnutls => "gnutls",
        }
    }
}

/// A function of a library that a probe stands on, by what it does. It must fit into 4 bits of a [`Cookie`].
///
/// What is said of `GnuTLS`'s is by <https://www.gnutls.org/manual/gnutls.html#Core-TLS-API>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Function {
    /// `int SSL_read(SSL *, void *, int)`: returns how many bytes it has read (`SSL_read(3ssl)`).
    Read = 1,
    /// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`: returns 1, and stores how many. So does `SSL_read_early_data`.
    ReadEx = 2,
    /// `int SSL_write(SSL *, const void *, int)`: returns how many bytes it has taken (`SSL_write(3ssl)`).
    Write = 3,
    /// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`: returns 1, and stores how many. So does
    /// `SSL_write_early_data`.
    WriteEx = 4,
    /// `SSL_peek` and `SSL_peek_ex`: what they return stays to be read, but records move on the socket meanwhile.
    Peek = 5,
    /// `int SSL_do_handshake(SSL *)`, which `SSL_connect` and `SSL_accept` end in, and `gnutls_handshake`.
    Handshake = 6,
    /// `SSL_free`, `SSL_clear` and `gnutls_deinit`: what comes under the same address is another session.
    Free = 7,
    /// `int SSL_shutdown(SSL *)`, which writes the last record, and `gnutls_bye`.
    Shutdown = 8,
    /// `ssize_t gnutls_record_recv(gnutls_session_t, void *, size_t)`: returns how many bytes it has read.
    Receive = 9,
    /// `ssize_t gnutls_record_send(gnutls_session_t, const void *, size_t)`: returns how many bytes it has taken. One that
    /// has taken none may be made again without its buffer, and then returns how many it takes of the first one's.
    Send = 10,
    /// `int gnutls_record_uncork(gnutls_session_t, unsigned)`: puts what other calls have taken before into records, by
    /// calls of its own that take it once more.
    Uncork = 11,
    /// Functions that move records and no plaintext, and that others call, too, such as `gnutls_alert_send`: inside of a
    /// call in the same session they are a part of it.
    Part = 12,
}

impl Function {
    /// Whether the function of this number takes plaintext or returns it, for good, and then whether it stores how much; none
    /// for others.
    #[inline(always)]
    pub const fn moves(number: u8) -> Option<(Direction, bool)> {
        const READ: u8 = Function::Read as u8;
        const READ_EX: u8 = Function::ReadEx as u8;
        const WRITE: u8 = Function::Write as u8;
        const WRITE_EX: u8 = Function::WriteEx as u8;
        const RECEIVE: u8 = Function::Receive as u8;
        const SEND: u8 = Function::Send as u8;
        match number {
            READ | RECEIVE => Some((Direction::Received, false)),
            READ_EX => Some((Direction::Received, true)),
            WRITE | SEND => Some((Direction::Sent, false)),
            WRITE_EX => Some((Direction::Sent, true)),
            _ => None,
        }
    }

    /// Whether it takes plaintext or returns it, for good.
    pub const fn moves_plaintext(self) -> bool {
        Self::moves(self as u8).is_some()
    }
}

/// Where a call's result is when its probe is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultPlace {
    /// Where functions return it.
    Returned,
    /// The function goes on to return a word of its stack, so many bytes from the stack pointer on, if what it has by now
    /// where functions return their result is positive.
    StackWord(u16),
}

/// Where a session of a library holds what tells whose it is, in bytes from where the session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionLayout {
    /// Where the address of the part is that has the random, if that is not the session itself.
    pub part: Option<u16>,
    /// Where the `random` of the client's hello begins, in that part or in the session (`SSL_get_client_random(3ssl)`).
    pub random: u16,
    /// Where a word is that is 0 in a client's session, and something else in a server's (`SSL_is_server(3ssl)`).
    pub is_server: u16,
}

impl SessionLayout {
    /// Places from here on cannot be told to a probe.
    pub const END: u16 = 1 << 12;

    /// The places, unless one of them is too far away to be told.
    pub fn new(part: Option<u16>, random: u16, is_server: u16) -> Option<Self> {
        let is_near = |place: u16| place < Self::END;
        let all_near = part.is_none_or(is_near) && is_near(random) && is_near(is_server);
        if all_near { Some(Self { part, random, is_server }) } else { None }
    }
}

/// What a probe is told of where it stands, as the number that the kernel keeps for it (`bpf_get_attach_cookie`).
///
/// ```text
///   bit   0        4       8            24     36      48         60
///         function library stack's word part   random  is_server  which of word, part and layout there are
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie(u64);

impl Cookie {
    const LIBRARY: u32 = 4;
    const WORD: u32 = 8;
    const PART: u32 = 24;
    const RANDOM: u32 = 36;
    const IS_SERVER: u32 = 48;
    const HAS_WORD: u32 = 60;
    const HAS_PART: u32 = 61;
    const HAS_LAYOUT: u32 = 62;

    /// Of a function of a library, where its result is, and what is known of its sessions.
    pub const fn new(
        library: Kind,
        function: Function,
        place: ResultPlace,
        layout: Option<SessionLayout>,
    ) -> Self {
        let place = match place {
            ResultPlace::Returned => 0,
            ResultPlace::StackWord(offset) => 1 << Self::HAS_WORD | (offset as u64) << Self::WORD,
        };
        let layout = match layout {
            None => 0,
            Some(SessionLayout { part, random, is_server }) => {
                let part = match part {
                    None => 0,
                    Some(part) => 1 << Self::HAS_PART | (part as u64) << Self::PART,
                };
                1 << Self::HAS_LAYOUT
                    | part
                    | (random as u64) << Self::RANDOM
                    | (is_server as u64) << Self::IS_SERVER
            }
        };
        Self(layout | place | (library as u64) << Self::LIBRARY | function as u64)
    }

    /// As the kernel keeps it.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// As the kernel has kept it.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The function's number.
    #[inline(always)]
    pub const fn function(self) -> u8 {
        self.0 as u8 & 0xF
    }

    /// The library's number.
    #[inline(always)]
    pub const fn library(self) -> u8 {
        (self.0 >> Self::LIBRARY) as u8 & 0xF
    }

    /// Where in the stack the result is, in bytes from the stack pointer on, if it is there.
    #[inline(always)]
    pub const fn stack_word(self) -> Option<u64> {
        if self.has(Self::HAS_WORD) { Some(self.0 >> Self::WORD & 0xFFFF) } else { None }
    }

    /// What is known of the library's sessions.
    #[inline(always)]
    pub const fn layout(self) -> Option<SessionLayout> {
        if !self.has(Self::HAS_LAYOUT) {
            return None;
        }
        let part = if self.has(Self::HAS_PART) { Some(self.place(Self::PART)) } else { None };
        Some(SessionLayout { part, random: self.place(Self::RANDOM), is_server: self.place(Self::IS_SERVER) })
    }

    const fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 != 0
    }

    const fn place(self, from: u32) -> u16 {
        (self.0 >> from) as u16 & (SessionLayout::END - 1)
    }
}

/// A session of a library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PlaintextKey {
    /// Its address in its process.
    pub address: u64,
    /// The process: its thread-group id in the host's pid namespace.
    pub tgid: u32,
    /// How many programs the process has executed, with which addresses begin anew.
    pub exec_id: u32,
}

impl PlaintextKey {
    /// Of a session at an address in a process.
    #[inline(always)]
    pub const fn new(address: u64, owner: &Owner) -> Self {
        Self { address, tgid: owner.tgid, exec_id: owner.exec_id }
    }
}

/// How many probes on libraries may be in the middle of reading at once, on one processor.
pub const ROOMS: u32 = 4;

/// The plaintext of one connection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Plaintext {
    /// The connection's number; 0 before it has one.
    pub id: u64,
    /// Who is at work on its streams.
    pub locks: Locks,
    /// The connection's slot in `CONNECTIONS`.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
    /// The buffer of the latest [`Function::Send`] that has taken nothing.
    pub kept: u64,
    /// The parsers.
    pub session: Session,
}

#[cfg(test)]
mod tests {
    use super::{Cookie, Function, Kind, ResultPlace, SessionLayout};

    #[test]
    fn a_cookie_keeps_what_it_is_made_of() {
        let last = SessionLayout::END - 1;
        let layouts = [
            None,
            SessionLayout::new(None, 0, 0),
            SessionLayout::new(None, 0x160, 0x38),
            SessionLayout::new(Some(0xA8), 0xB8, 0x38),
            SessionLayout::new(Some(0), 0, last),
            SessionLayout::new(Some(last), last, 0),
        ];
        assert!(layouts[1..].iter().all(Option::is_some));
        for (place, word) in [
            (ResultPlace::Returned, None),
            (ResultPlace::StackWord(0), Some(0)),
            (ResultPlace::StackWord(0xFFFF), Some(0xFFFF)),
        ] {
            for layout in layouts {
                let number = Cookie::new(Kind::Libressl, Function::WriteEx, place, layout).number();
                let cookie = Cookie::from_number(number);
                assert_eq!((cookie.function(), cookie.library(), cookie.stack_word()), (4, 3, word));
                assert_eq!(cookie.layout(), layout);
            }
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::from_u8(kind as u8), Some(kind));
        }
        assert_eq!((Kind::from_u8(0), Kind::from_u8(9)), (None, None));
    }

    #[test]
    fn places_that_are_too_far_away_are_not_told() {
        let end = SessionLayout::END;
        for (part, random, is_server) in [(Some(end), 0, 0), (None, end, 0), (None, 0, end)] {
            assert_eq!(SessionLayout::new(part, random, is_server), None);
        }
    }
}
