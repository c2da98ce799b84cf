//! What `tungstenite` writes counts as what it wrote, and as what it reads.

mod common;

use std::io::Cursor;

use common::{Extension, Observed, Wire, refer};
use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::layout::{Protocol, Role, Side};
use observer_ebpf::protocols::websocket::layout::{MessageType, Opcode};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};

/// Low enough to be reached often.
const THRESHOLDS: Thresholds = Thresholds { medium: 120, large: 1_000, huge: 70_000 };

/// A message: its type, its fragments' sizes, and control frames of these sizes between them.
#[derive(Clone, Debug)]
struct Message {
    text: bool,
    fragments: Vec<usize>,
    between: Vec<(bool, usize)>,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..140usize,
        2 => prop::sample::select(vec![100, 101, 125, 126, 127, 999, 1_000, 1_001]),
        1 => 0..3_000usize,
        1 => prop::sample::select(vec![65_534, 65_535, 65_536, 65_537, 100_000, 100_001]),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (any::<bool>(), vec(size(), 1..4), vec((any::<bool>(), 0..126usize), 0..2))
        .prop_map(|(text, fragments, between)| Message { text, fragments, between })
}

/// Writes frames with `tungstenite`, and counts them by hand.
struct Encoder {
    wire: Wire,
    masked: bool,
    /// Headers and payloads as given to `tungstenite`.
    written: Vec<(FrameHeader, u64)>,
}

impl Encoder {
    fn frame(&mut self, mut frame: Frame, opcode: Opcode) {
        if self.masked {
            let salt = self.written.len() as u8;
            frame.header_mut().mask = Some([salt, 0x80 ^ salt, 0xFF, 0x01]);
        }
        let length = frame.payload().len() as u64;
        self.written.push((frame.header().clone(), length));
        frame.format(&mut self.wire.bytes).expect("a vector takes everything");
        self.wire.count_frame(opcode, length);
    }

    fn message(&mut self, message: &Message) {
        let (data, opcode, kind) = if message.text {
            (Data::Text, Opcode::Text, MessageType::Text)
        } else {
            (Data::Binary, Opcode::Binary, MessageType::Binary)
        };
        for (place, &size) in message.fragments.iter().enumerate() {
            let last = place + 1 == message.fragments.len();
            let (data, opcode) =
                if place == 0 { (data, opcode) } else { (Data::Continue, Opcode::Continuation) };
            self.frame(Frame::message(vec![0x82; size], OpCode::Data(data), last), opcode);
            if last {
                break;
            }
            for &(ping, size) in &message.between {
                let payload = vec![0x8A; size];
                if ping {
                    self.frame(Frame::ping(payload), Opcode::Ping);
                } else {
                    self.frame(Frame::pong(payload), Opcode::Pong);
                }
            }
        }
        let sizes: Vec<u64> = message.fragments.iter().map(|&size| size as u64).collect();
        self.wire.count_message(kind, false, &sizes);
    }

    fn close(&mut self, code: Option<u16>) {
        let frame = code.map(|code| CloseFrame { code: CloseCode::from(code), reason: "bye".into() });
        self.frame(Frame::close(frame), Opcode::Close);
        self.wire.expected.close = code.map_or(1, u32::from);
    }
}

fn encode(messages: &[Message], closes: &[Option<u16>], masked: bool) -> Encoder {
    let mut wire = Wire::new(masked);
    wire.thresholds = THRESHOLDS;
    let mut encoder = Encoder { wire, masked, written: Vec::new() };
    for message in messages {
        encoder.message(message);
    }
    for &code in closes {
        encoder.close(code);
    }
    encoder
}

/// Feeds `bytes` in calls of the lengths that `cuts` give, round and round.
fn feed(observed: &mut Observed, bytes: &[u8], cuts: &[(usize, u32)], masked: bool) {
    let mut rest = bytes;
    for &(length, buffer) in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, behind) = rest.split_at(length.min(rest.len()));
        observed.buffer = buffer;
        if masked {
            observed.client(part);
        } else {
            observed.server(part);
        }
        rest = behind;
    }
}

fn cuts() -> impl Strategy<Value = Vec<(usize, u32)>> {
    let length = prop_oneof![3 => 1..20usize, 2 => 1..400usize, 1 => 1..200_000usize];
    let buffer = prop_oneof![1..20u32, 1..2_000u32];
    vec((length, buffer), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_it_writes_counts_as_what_it_wrote(
        messages in vec(message(), 0..12),
        closes in vec(proptest::option::of(1000..5000u16), 0..2),
        cuts in cuts(),
        masked: bool,
        server: bool,
    ) {
        let encoder = encode(&messages, &closes, masked);
        let role = if server { Role::Server } else { Role::Client };
        let mut observed = Observed::upgraded(role, false).with_thresholds(THRESHOLDS);
        feed(&mut observed, &encoder.wire.bytes, &cuts, masked);
        let counted = if masked { observed.by_client() } else { observed.by_server() };
        prop_assert_eq!(counted, encoder.wire.expected);
        let direction = if masked { role.request_direction() } else { role.request_direction().opposite() };
        prop_assert_eq!(&observed.oversized[direction as usize], &encoder.wire.oversized);
        prop_assert_eq!(observed.protocol(), Protocol::WebSocket);
        prop_assert!(observed.desyncs.is_empty());
    }

    #[test]
    fn it_reads_the_headers_where_they_were_counted(messages in vec(message(), 0..12), masked: bool) {
        let encoder = encode(&messages, &[], masked);
        let bytes = &encoder.wire.bytes;
        let mut cursor = Cursor::new(bytes);
        let mut observed = Observed::upgraded(Role::Client, false);
        for (written, length) in &encoder.written {
            let start = cursor.position() as usize;
            let (header, payload) = FrameHeader::parse(&mut cursor)
                .expect("it reads what it wrote")
                .expect("all of it");
            prop_assert_eq!(&header, written);
            prop_assert_eq!(payload, *length);
            let body = cursor.position() as usize;
            prop_assert_eq!(body - start, header.len(payload));
            // One byte less than a header is none yet; the whole of it is.
            let counted = |observed: &Observed| {
                if masked { observed.by_client().headers } else { observed.by_server().headers }
            };
            let before = counted(&observed);
            for part in [&bytes[start..body - 1], &bytes[body - 1..body]] {
                prop_assert_eq!(counted(&observed), before);
                if masked { observed.client(part) } else { observed.server(part) }
            }
            prop_assert_eq!(counted(&observed), before + 1);
            let end = body + payload as usize;
            if masked { observed.client(&bytes[body..end]) } else { observed.server(&bytes[body..end]) }
            cursor.set_position(end as u64);
        }
        prop_assert_eq!(cursor.position() as usize, bytes.len());
    }

    #[test]
    fn the_reference_counts_what_it_writes(messages in vec(message(), 0..12), masked: bool) {
        let encoder = encode(&messages, &[None], masked);
        let reference = refer(&encoder.wire.bytes, masked, Extension::None, THRESHOLDS);
        prop_assert_eq!(reference.counters, encoder.wire.expected);
        prop_assert_eq!(&reference.oversized, &encoder.wire.oversized);
        prop_assert!(!reference.broken);
    }

    /// Bytes that are mostly headers, right or wrong.
    #[test]
    fn any_bytes_count_as_the_reference_counts_them(
        frames in vec((any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..12), 0..40usize), 0..40),
        cuts in cuts(),
        masked: bool,
        agreed in prop::sample::select(vec![Extension::None, Extension::Deflate, Extension::Vendor]),
    ) {
        let mut bytes = Vec::new();
        for (first, second, rest, payload) in frames {
            // Mostly known opcodes without reserved bits, and short lengths.
            let first = if first % 8 == 0 { first } else { [1, 2, 0, 0x80, 0x81, 0x82, 0x89, 0x88][usize::from(first / 32)] };
            let mask = if masked { 0x80 } else { 0 };
            let second = if second % 8 == 0 { second } else { mask | payload as u8 };
            bytes.extend([first, second]);
            bytes.extend(&rest);
            bytes.extend(vec![0x00; payload]);
        }
        let reference = refer(&bytes, masked, agreed, THRESHOLDS);
        let mut observed = Observed::agreed(Role::Server, agreed).with_thresholds(THRESHOLDS);
        // Behind a length that cannot be followed, the calls' cuts tell what counts.
        let whole = [(bytes.len().max(1), cuts[0].1)];
        feed(&mut observed, &bytes, if reference.broken { &whole } else { &cuts }, masked);
        let counted = if masked { observed.by_client() } else { observed.by_server() };
        prop_assert_eq!(counted, reference.counters);
        let direction = Role::Server.direction_of(if masked { Side::Client } else { Side::Server });
        prop_assert_eq!(&observed.oversized[direction as usize], &reference.oversized);
        prop_assert_eq!(observed.desyncs.len(), usize::from(reference.broken));
    }
}
