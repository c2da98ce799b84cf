//! A second decoder, for whole streams in memory: what RFC 6455 says, in the plainest way, with the headers read
//! by `tungstenite` wherever it reads them.

use std::io::Cursor;

use observer_ebpf::layout::control::Thresholds;
use observer_ebpf::protocols::websocket::layout::{MessageType, Opcode, StreamCounters, Violation};
use tungstenite::protocol::frame::FrameHeader;

use super::wire::{Extension, Wire};

/// What a stream holds.
pub(crate) struct Reference {
    pub(crate) counters: StreamCounters,
    /// Sizes so far, and the categories just reached.
    pub(crate) oversized: Vec<(u64, u32)>,
    /// A length of 2^63 or more ended it.
    pub(crate) broken: bool,
}

struct Header {
    first: u8,
    masked: bool,
    length: u64,
    padded: bool,
    size: usize,
    key: [u8; 4],
}

fn header(bytes: &[u8]) -> Option<Header> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let masked = second >= 0x80;
    let (length, padded, mut size) = match second % 0x80 {
        126 => {
            let length = u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?));
            (length, length < 126, 4)
        }
        127 => {
            let length = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            (length, length < 65_536, 10)
        }
        length => (u64::from(length), false, 2),
    };
    let mut key = [0; 4];
    if masked {
        key = *bytes.get(size..)?.first_chunk()?;
        size += 4;
    }
    let header = Header { first, masked, length, padded, size, key };
    check(&header, bytes);
    Some(header)
}

/// Holds a header against `tungstenite`'s reading, which knows no reserved opcodes.
fn check(header: &Header, bytes: &[u8]) {
    let mut cursor = Cursor::new(bytes);
    if let Ok(Some((theirs, length))) = FrameHeader::parse(&mut cursor) {
        assert_eq!(cursor.position(), header.size as u64);
        assert_eq!(length, header.length);
        assert_eq!(theirs.is_final, header.first >= 0x80);
        assert_eq!(theirs.mask, header.masked.then_some(header.key));
        assert_eq!(u8::from(theirs.opcode), header.first & 15);
    }
}

/// A message in progress: its type, whether it is compressed, and its size so far. `Some(None)` is one of which
/// a frame broke the rules, so that it does not count.
type InProgress = Option<Option<(MessageType, bool, u64)>>;

/// Decodes all that `bytes` hold.
pub(crate) fn refer(bytes: &[u8], masked: bool, agreed: Extension, thresholds: Thresholds) -> Reference {
    let mut count = Wire::new(masked);
    count.thresholds = thresholds;
    let mut message: InProgress = None;
    let mut rest = bytes;
    let mut broken = false;
    while let Some(header) = header(rest) {
        let judged = judge(&header, agreed, message);
        let is_close = matches!(judged, Ok(Opcode::Close));
        let body = &rest[header.size..];
        // A close frame's header is not complete before its code.
        let coded = header.first & 15 == 8 && (2..126).contains(&header.length) && !header.padded;
        if coded && body.len() < 2 {
            break;
        }
        if is_close && count.expected.close == 0 {
            let code = || u32::from(u16::from_be_bytes([body[0] ^ header.key[0], body[1] ^ header.key[1]]));
            count.expected.close = if coded { code().max(1) } else { 1 };
        }
        if let Err(violation) = judged {
            count.expected.violations[violation as usize] += 1;
            broken = header.length > i64::MAX as u64;
            if broken || header.first & 8 == 0 && violation != Violation::Opcode {
                let size = message.flatten().map_or(0, |(_, _, size)| size);
                count.give_up(size);
                message = if header.first >= 0x80 { None } else { Some(None) };
            }
            if broken {
                break;
            }
        } else {
            count.expected.headers += 1;
            count.expected.violations[Violation::Mask as usize] += u32::from(header.masked != masked);
        }
        let complete = usize::try_from(header.length).ok().and_then(|length| body.get(length..));
        if let Ok(opcode) = judged {
            take(&mut count, opcode, &header, &mut message, complete.is_some());
        }
        let Some(next) = complete else { break };
        rest = next;
    }
    Reference { counters: count.expected, oversized: count.oversized, broken }
}

/// Takes in a frame that keeps the rules, of which perhaps not all bytes are there.
fn take(count: &mut Wire, opcode: Opcode, header: &Header, message: &mut InProgress, complete: bool) {
    if complete {
        count.count_frame(opcode, header.length);
        count.expected.headers -= 1;
    }
    let fresh = |kind| Some(Some((kind, header.first & 0x70 != 0, 0)));
    let before = match opcode {
        Opcode::Text => fresh(MessageType::Text),
        Opcode::Binary => fresh(MessageType::Binary),
        Opcode::Continuation => *message,
        _ => return,
    };
    let last = header.first >= 0x80;
    let mut now = before.flatten();
    if let Some((kind, compressed, size)) = &mut now {
        let before = *size;
        *size += header.length;
        let after = count.reached(*size);
        count.declare(before, *size, last && opcode != Opcode::Continuation);
        if count.reached(before) < 3 && (last || after == 3) {
            count.count_oversized(*size);
        }
        count.expected.unfinished = *size;
        count.expected.reached = if last { 0 } else { after as u32 };
        if last && complete {
            count.expected.unfinished = 0;
            let (counters, told) = (count.expected, count.oversized.len());
            count.count_message(*kind, *compressed, &[*size]);
            // It was counted and told of before, by its headers.
            count.expected.oversized = counters.oversized;
            count.oversized.truncate(told);
        }
    }
    *message = if last { None } else { Some(now) };
}

fn judge(header: &Header, agreed: Extension, message: InProgress) -> Result<Opcode, Violation> {
    let opcode = match header.first & 15 {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(Violation::Opcode),
    };
    let starts = matches!(opcode, Opcode::Text | Opcode::Binary);
    let control = header.first & 8 != 0;
    let meant = match agreed {
        Extension::Vendor => 0x70,
        Extension::Deflate if starts => 0x40,
        Extension::Deflate | Extension::None => 0,
    };
    if header.first & 0x70 & !meant != 0 {
        return Err(Violation::Reserved);
    }
    if header.length > i64::MAX as u64 || header.padded || control && header.length > 125 {
        return Err(Violation::Length);
    }
    let fragment = header.first < 0x80;
    let inside = message.is_some_and(|known| known.is_some());
    if control && fragment || opcode == Opcode::Continuation && message.is_none() || starts && inside {
        return Err(Violation::Opcode);
    }
    Ok(opcode)
}
