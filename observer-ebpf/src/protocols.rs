//! The table of protocols. A line each: from it come their numbers, labels and default ports, the unions of their
//! parsers and of their counters, and every dispatch over them. No dispatch has an arm for the rest, so that a protocol
//! which is in the table and not handled somewhere does not compile.
//!
//! To add one: a folder here, with its parser and its counters; its line below; and what the compiler asks for then.

#[macro_use]
mod table;

pub mod fastcgi;
pub mod http;
pub mod http2;
pub mod kafka;
pub mod memcached;
pub mod postgres;
pub mod redis;
pub mod scgi;
pub mod tls;
pub mod websocket;

use self::http::names::Labels;
use self::tls::Tls;
use self::websocket::WebSocket;
use self::websocket::frames::Frames;
use crate::layout::connection::Connection;
use crate::layout::{Direction, Side};
use crate::queues::topics::Topics;
use crate::stream::names::Keys;
use crate::stream::parser::{Adopts, Parser, Recognise};
use crate::stream::proxy::Header;
use crate::stream::session::Session;
use crate::stream::start::{Match, Start};
use crate::stream::subprograms::{Looks, Runs};

protocols! { ($)
    // Their streams are parsed. Where first bytes may be of several, the one that stands first is asked first.
    parsed {
        /// HTTP/1 that has not been upgraded.
        Http = 1, "http", http::Http;
        /// RFC 6455.
        WebSocket = 2, "websocket", websocket::WebSocket;
        /// `PostgreSQL`'s frontend/backend protocol, version 3.
        Postgres = 3, "postgres", postgres::Postgres, port 5432;
        /// Kafka's protocol, behind Postgres, whose first message has the length and two bytes of a request of Kafka's.
        Kafka = 10, "kafka", kafka::Kafka;
        /// memcached's text protocol.
        Memcached = 6, "memcached", memcached::Memcached;
        /// RESP.
        Redis = 4, "redis", redis::Redis, port 6379;
        /// TLS records, which tell at most the protocol of what is inside.
        Tls = 5, "tls", tls::Tls;
    }
    // They are recognised, and counted as connections and bytes.
    recognised {
        /// HTTP/2 in the clear (RFC 9113).
        Http2 = 7, "http2", http2::Http2;
        /// `FastCGI`.
        Fastcgi = 8, "fastcgi", fastcgi::Fastcgi;
        /// SCGI.
        Scgi = 9, "scgi", scgi::Scgi;
    }
    // Not told yet, or not one of the others.
    none Unknown = 0, "unknown";
}

/// What a connection first seen in the middle is taken for until it is known: the one protocol that a single call does
/// not tell.
pub(crate) const GUESS: Protocol = Protocol::WebSocket;

impl Parsers {
    /// The parser of [`GUESS`].
    #[inline(always)]
    pub(crate) const fn guess(&mut self) -> &mut WebSocket {
        // SAFETY: of integers only, without padding: whatever is there is a state.
        unsafe { &mut self.websocket }
    }

    /// The parser of what is encrypted.
    #[inline(always)]
    pub(crate) const fn tls(&mut self) -> &mut Tls {
        // SAFETY: of integers only, without padding: whatever is there is a state.
        unsafe { &mut self.tls }
    }

    /// The state of a proxy's header.
    #[inline(always)]
    pub(crate) const fn proxy(&mut self) -> &mut Header {
        // SAFETY: of integers only, without padding: whatever is there is a state.
        unsafe { &mut self.proxy }
    }
}
