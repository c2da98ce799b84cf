//! Writes frames and handshakes, and keeps count of what it writes. Shares no code with the parsers.

use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::protocols::websocket::layout::{MessageType, Opcode, StreamCounters, Violation};

pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8A;

/// How a frame's length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Shortest,
    Two,
    Eight,
}

/// The frames of one direction.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) bytes: Vec<u8>,
    /// What a reader of all `bytes` must count.
    pub(crate) expected: StreamCounters,
    /// What is told of oversized messages: their sizes so far, and the categories that they have just reached.
    pub(crate) oversized: Vec<(u64, u32)>,
    /// Where each frame starts and each header ends.
    pub(crate) edges: Vec<usize>,
    pub(crate) thresholds: Thresholds,
    masked: bool,
    salt: u8,
}

/// The bucket of a size, told by the contract's bounds.
pub(crate) fn bucket(size: u64) -> usize {
    let bounds = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
    bounds.iter().position(|&bound| size <= bound).unwrap_or(bounds.len())
}

/// A data frame's first byte.
pub(crate) fn first_byte(opcode: Opcode, last: bool, compressed: bool) -> u8 {
    let number = [0, 1, 2, 8, 9, 10][opcode as usize];
    number | if last { 0x80 } else { 0 } | if compressed { 0x40 } else { 0 }
}

impl Wire {
    pub(crate) fn from_client() -> Self {
        Self::new(true)
    }

    pub(crate) fn from_server() -> Self {
        Self::new(false)
    }

    pub(crate) fn new(masked: bool) -> Self {
        Self {
            bytes: Vec::new(),
            expected: StreamCounters::ZERO,
            oversized: Vec::new(),
            edges: Vec::new(),
            thresholds: Thresholds::DEFAULT,
            masked,
            salt: 0x5B,
        }
    }

    /// A frame of any kind, uncounted.
    pub(crate) fn raw(&mut self, first: u8, masked: bool, form: Form, payload: &[u8]) {
        self.header(first, masked, form, payload.len() as u64);
        let key = if masked {
            self.bytes.last_chunk().copied().expect("a masked header ends in a key")
        } else {
            [0; 4]
        };
        self.bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }

    /// A header of any kind, uncounted.
    pub(crate) fn header(&mut self, first: u8, masked: bool, form: Form, length: u64) {
        self.edges.push(self.bytes.len());
        let mask = if masked { 0x80 } else { 0 };
        let form = match form {
            Form::Shortest if length > 0xFFFF => Form::Eight,
            Form::Shortest if length > 125 => Form::Two,
            given => given,
        };
        match form {
            Form::Shortest => self.bytes.extend([first, mask | length as u8]),
            Form::Two => {
                self.bytes.extend([first, mask | 0x7E]);
                self.bytes.extend((length as u16).to_be_bytes());
            }
            Form::Eight => {
                self.bytes.extend([first, mask | 0x7F]);
                self.bytes.extend(length.to_be_bytes());
            }
        }
        if masked {
            self.salt = self.salt.wrapping_mul(29).wrapping_add(17);
            let salt = self.salt;
            self.bytes.extend([salt, salt ^ 0xFF, salt.rotate_left(3), 0x81]);
        }
        self.edges.push(self.bytes.len());
    }

    /// A frame that keeps the rules, counted as a frame.
    fn frame(&mut self, opcode: Opcode, first: u8, payload: &[u8]) {
        self.raw(first, self.masked, Form::Shortest, payload);
        self.count_frame(opcode, payload.len() as u64);
    }

    /// Counts a frame that another encoder wrote.
    pub(crate) fn count_frame(&mut self, opcode: Opcode, length: u64) {
        self.expected.frames[opcode as usize][bucket(length)] += 1;
        self.expected.frame_bytes[opcode as usize] += length;
        self.expected.headers += 1;
    }

    /// Counts a message in frames of these sizes.
    pub(crate) fn count_message(&mut self, kind: MessageType, compressed: bool, sizes: &[u64]) {
        let size = sizes.iter().sum();
        self.expected.message_bytes += size;
        self.expected.message_sizes[bucket(size)] += 1;
        self.expected.messages[kind as usize][usize::from(compressed)] += 1;
        self.count_oversized(size);
        let mut before = 0;
        for length in sizes {
            self.declare(before, before + length, sizes.len() == 1);
            before += length;
        }
    }

    /// How many thresholds a size has reached.
    pub(crate) fn reached(&self, size: u64) -> usize {
        let limits = self.thresholds;
        [limits.medium, limits.large, limits.huge].into_iter().filter(|&limit| size >= limit).count()
    }

    /// Counts a message, if it is oversized.
    pub(crate) fn count_oversized(&mut self, size: u64) {
        if let Some(category) = self.reached(size).checked_sub(1) {
            self.expected.oversized[category] += 1;
        }
    }

    /// Tells of a message whose size was declared to be `before`, and is `now`; of one that has but one frame, only the
    /// highest threshold is told.
    pub(crate) fn declare(&mut self, before: u64, now: u64, unfragmented: bool) {
        let (from, to) = (self.reached(before), self.reached(now));
        let from = if unfragmented { to.saturating_sub(1) } else { from };
        self.oversized.extend((from..to).map(|category| (now, category as u32)));
    }

    /// Has the message in progress given up, of `size` bytes so far.
    pub(crate) fn give_up(&mut self, size: u64) {
        if self.reached(size) < 3 {
            self.count_oversized(size);
        }
        self.expected.unfinished = 0;
        self.expected.reached = 0;
    }

    /// Begins a message with a frame that is not its last, and goes on with such frames.
    pub(crate) fn unfinished(&mut self, kind: MessageType, sizes: &[usize]) -> &mut Self {
        let mut before = 0;
        for (place, &size) in sizes.iter().enumerate() {
            let opcode = match (place, kind) {
                (0, MessageType::Text) => Opcode::Text,
                (0, MessageType::Binary) => Opcode::Binary,
                _ => Opcode::Continuation,
            };
            self.frame(opcode, first_byte(opcode, false, false), &pattern(size));
            let now = before + size as u64;
            self.declare(before, now, false);
            if self.reached(before) < 3 && self.reached(now) == 3 {
                self.count_oversized(now);
            }
            before = now;
        }
        self.expected.unfinished = before;
        self.expected.reached = self.reached(before) as u32;
        self
    }

    /// Writes frames that are masked although they must not be, or the other way.
    pub(crate) fn wrongly_masked(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        let before = self.expected.headers;
        self.masked = !self.masked;
        write(self);
        self.masked = !self.masked;
        self.expected.violations[Violation::Mask as usize] += self.expected.headers - before;
        self
    }

    /// A message in one frame.
    pub(crate) fn message(&mut self, kind: MessageType, size: usize) -> &mut Self {
        self.fragments(kind, false, &[size], &[])
    }

    /// A message in frames of these sizes, with the control frames (first byte, size) between all of them.
    pub(crate) fn fragments(
        &mut self,
        kind: MessageType,
        compressed: bool,
        sizes: &[usize],
        between: &[(u8, usize)],
    ) -> &mut Self {
        for (place, &size) in sizes.iter().enumerate() {
            let opcode = match (place, kind) {
                (0, MessageType::Text) => Opcode::Text,
                (0, MessageType::Binary) => Opcode::Binary,
                _ => Opcode::Continuation,
            };
            let last = place + 1 == sizes.len();
            self.frame(opcode, first_byte(opcode, last, compressed && place == 0), &pattern(size));
            if !last {
                for &(first, size) in between {
                    self.control(first, size);
                }
            }
        }
        let sizes: Vec<u64> = sizes.iter().map(|&size| size as u64).collect();
        self.count_message(kind, compressed, &sizes);
        self
    }

    /// A ping or pong.
    pub(crate) fn control(&mut self, first: u8, size: usize) -> &mut Self {
        let opcode = if first == PING { Opcode::Ping } else { Opcode::Pong };
        self.frame(opcode, first, &pattern(size));
        self
    }

    /// A close frame, with its code and as many bytes of reason.
    pub(crate) fn close(&mut self, code: Option<u16>, reason: usize) -> &mut Self {
        let mut payload = Vec::new();
        if let Some(code) = code {
            payload.extend(code.to_be_bytes());
            payload.extend(pattern(reason));
        }
        self.frame(Opcode::Close, CLOSE, &payload);
        if self.expected.close == 0 {
            self.expected.close = code.map_or(1, |code| u32::from(code).max(1));
        }
        self
    }

    /// A frame that breaks the rules in one way.
    pub(crate) fn violate(&mut self, kind: Violation, first: u8, form: Form, size: usize) -> &mut Self {
        self.raw(first, self.masked, form, &pattern(size));
        self.expected.violations[kind as usize] += 1;
        self
    }
}

/// Payload that looks like headers now and then.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| [0x81, 0x05, 0x88, 0x82, 0xFE, 0x00, 0x7F][at % 7]).collect()
}

/// What a handshake agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    None,
    /// RFC 7692's: RSV1 on the first frame of a message.
    Deflate,
    /// One that may use any reserved bit.
    Vendor,
}

/// The two heads of an opening handshake.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
}

impl Handshake {
    /// As browsers and servers write it.
    pub(crate) fn new(deflate: bool) -> Self {
        Self::with(if deflate { Extension::Deflate } else { Extension::None })
    }

    /// One that agrees to an extension.
    pub(crate) fn with(extension: Extension) -> Self {
        let mut request = String::from(
            "GET /chat?u=1 HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: \
             keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
        );
        let mut response = String::from(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        );
        if extension != Extension::None {
            request +=
                "Sec-WebSocket-Extensions: x-webkit-deflate, permessage-deflate; client_max_window_bits\r\n";
        }
        response += match extension {
            Extension::None => "",
            Extension::Deflate => {
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"
            }
            Extension::Vendor => "Sec-WebSocket-Extensions: permessage-deflate, x-vendor; level=\"3\"\r\n",
        };
        Self { request: (request + "\r\n").into_bytes(), response: (response + "\r\n").into_bytes() }
    }
}
