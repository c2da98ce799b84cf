//! A session's calls, in order.

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;

use crate::common::Call;

/// When a session starts. Its first call is [`STEP_NS`] later.
pub(super) const START_NS: u64 = super::SEEN_NS + 7;
/// The time from one call to the next.
pub(super) const STEP_NS: u64 = 1_003;

/// Messages of a client, as `postgres-protocol` writes them.
pub(crate) fn client(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    write(&mut buffer);
    buffer.to_vec()
}

/// Whether `postgres-protocol` knows a server's message of so many bytes. It does not know a function's result, replication,
/// versions, and keys of more than four bytes.
pub(super) const fn is_read(kind: u8, length: usize) -> bool {
    !(matches!(kind, b'V' | b'W' | b'v') || kind == b'K' && length != 13)
}

/// Writes a session.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) calls: Vec<Call>,
    /// When the next call is.
    pub(crate) now_ns: u64,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { calls: Vec::new(), now_ns: START_NS }
    }

    /// Time goes by.
    pub(crate) fn wait(&mut self, nanoseconds: u64) -> &mut Self {
        self.now_ns += nanoseconds;
        self
    }

    /// A call of the client's.
    pub(crate) fn client(&mut self, bytes: &[u8]) -> &mut Self {
        self.call(false, bytes)
    }

    /// A call of the server's.
    pub(crate) fn server(&mut self, bytes: &[u8]) -> &mut Self {
        self.call(true, bytes)
    }

    /// A call of the server's that is whole messages, which `postgres-protocol` reads to their end.
    pub(crate) fn messages(&mut self, messages: &[Vec<u8>]) -> &mut Self {
        for message in messages {
            if is_read(message[0], message.len()) {
                let mut buffer = BytesMut::from(&message[..]);
                let read = Message::parse(&mut buffer).expect("a message that can be");
                assert!(read.is_some() && buffer.is_empty(), "one message: {message:?}");
            }
        }
        self.server(&messages.concat())
    }

    fn call(&mut self, server: bool, bytes: &[u8]) -> &mut Self {
        self.wait(STEP_NS);
        self.calls.push(Call { server, bytes: bytes.to_vec(), now_ns: self.now_ns });
        self
    }
}
