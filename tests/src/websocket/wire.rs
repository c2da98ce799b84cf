//! Writes WebSocket streams by hand, and counts what it writes.

use super::traffic::{Opcode, Traffic};

/// The client's half of an opening handshake.
pub const REQUEST: &[u8] = b"GET /chat?room=1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The server's half, without extensions.
pub const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The client's half, with compression offered.
pub const DEFLATE_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// The server's half, with compression accepted.
pub const DEFLATE_RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// Marks the last frame of a message.
pub const FIN: u8 = 0x80;
/// Marks a compressed message.
pub const RSV1: u8 = 0x40;

const KEY: [u8; 4] = [0x81, 0xFE, 0x88, 0x05];

/// Frames in one direction.
#[derive(Clone, Debug)]
pub struct Wire {
    /// As they are on the wire.
    pub bytes: Vec<u8>,
    /// What they are.
    pub traffic: Traffic,
    masked: bool,
}

impl Wire {
    /// A client's.
    pub fn client() -> Self {
        Self { bytes: Vec::new(), traffic: Traffic::default(), masked: true }
    }

    /// A server's.
    pub fn server() -> Self {
        Self { masked: false, ..Self::client() }
    }

    /// Counts with other limits than the agent's own.
    #[must_use]
    pub fn with_limits(mut self, medium: u64, large: u64, huge: u64) -> Self {
        self.traffic = Traffic::with_limits(medium, large, huge);
        self
    }

    /// The header of a frame, in its shortest form; not counted.
    pub fn header(&mut self, first: u8, length: u64) -> &mut Self {
        let mask = if self.masked { 0x80 } else { 0 };
        self.bytes.push(first);
        match length {
            0..126 => self.bytes.push(mask | length as u8),
            126..0x1_0000 => {
                self.bytes.push(mask | 0x7E);
                self.bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                self.bytes.push(mask | 0x7F);
                self.bytes.extend(length.to_be_bytes());
            }
        }
        if self.masked {
            self.bytes.extend(KEY);
        }
        self
    }

    /// A frame; not counted.
    pub fn raw(&mut self, first: u8, payload: &[u8]) -> &mut Self {
        self.header(first, payload.len() as u64);
        let key = if self.masked { KEY } else { [0; 4] };
        self.bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        self
    }

    /// A message whose frame is masked as the other end's are, which breaks the RFC. It counts as any other.
    pub fn wrongly_masked(&mut self, opcode: Opcode, size: usize) -> &mut Self {
        self.masked = !self.masked;
        self.message(opcode, size);
        self.masked = !self.masked;
        self
    }

    /// A frame.
    pub fn frame(&mut self, opcode: Opcode, bits: u8, size: usize) -> &mut Self {
        self.raw(bits | opcode.number(), &payload(size));
        self.traffic.frame(opcode, size as u64);
        self
    }

    /// A message in one frame.
    pub fn message(&mut self, opcode: Opcode, size: usize) -> &mut Self {
        self.frame(opcode, FIN, size);
        self.traffic.message(opcode, false, size as u64);
        self
    }

    /// A message that says it is compressed, in frames of these sizes.
    pub fn compressed(&mut self, opcode: Opcode, sizes: &[usize]) -> &mut Self {
        self.split(opcode, RSV1, sizes, None);
        self.traffic.message(opcode, true, sizes.iter().map(|&size| size as u64).sum());
        self
    }

    /// A message in frames of these sizes, with a ping between each two.
    pub fn fragments(&mut self, opcode: Opcode, sizes: &[usize], ping: usize) -> &mut Self {
        self.split(opcode, 0, sizes, Some(ping));
        self.traffic.message(opcode, false, sizes.iter().map(|&size| size as u64).sum());
        self
    }

    fn split(&mut self, opcode: Opcode, bits: u8, sizes: &[usize], ping: Option<usize>) {
        for (place, &size) in sizes.iter().enumerate() {
            let fin = if place + 1 == sizes.len() { FIN } else { 0 };
            if place == 0 {
                self.frame(opcode, bits | fin, size);
            } else {
                if let Some(size) = ping {
                    self.frame(Opcode::Ping, FIN, size);
                }
                self.frame(Opcode::Continuation, fin, size);
            }
        }
    }

    /// A close.
    pub fn close(&mut self, code: u16) -> &mut Self {
        self.raw(FIN | Opcode::Close.number(), &code.to_be_bytes());
        self.traffic.frame(Opcode::Close, 2);
        self
    }
}

/// Payload that looks like headers here and there.
pub fn payload(size: usize) -> Vec<u8> {
    [0x81, 0x05, 0x88, 0x82, 0xFE, 0x00, 0x7F].into_iter().cycle().take(size).collect()
}
