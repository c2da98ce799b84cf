//! A Kafka session with any bytes in it, in calls and buffers cut anyhow, counts as in whole calls, up to the first byte
//! that cannot be; whatever comes then, requests and their responses count again.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::{Observed, add_call};
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::kafka::layout::Api;

/// The API keys that are told apart most, and one that is not.
const KEYS: [u8; 16] = [0, 0, 1, 1, 1, 3, 8, 9, 11, 12, 13, 14, 18, 28, 68, 99];

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Bytes {
        server: bool,
        bytes: &'a [u8],
    },
    /// A request: some of them are of a broker, or have no name.
    Request {
        key: u8,
        version: u8,
        name: u8,
        parts: Vec<Part<'a>>,
    },
    /// A response to the request so many before the last.
    Response {
        before: u8,
        parts: Vec<Part<'a>>,
    },
}

/// A part of a body.
#[derive(Arbitrary, Debug)]
enum Part<'a> {
    Bytes(&'a [u8]),
    /// What is mostly there.
    Zeroes(u8),
    Number(u8),
    /// An array of one topic, its name, and an array of one partition.
    Topic {
        is_flexible: bool,
        name: &'a [u8],
    },
    /// Record batches behind their length, of which something may be missing at the end.
    Batches {
        is_flexible: bool,
        batches: Vec<Batch>,
        missing: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Batch {
    first: u16,
    records: u8,
    delta: i16,
    format: u8,
    attributes: u8,
    length: u8,
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    server: bool,
    passing: bool,
    cuts: [(u8, u8); 6],
    /// By step, whether it goes on with the call before it, where that is of the same side.
    joins: u32,
    steps: Vec<Step<'a>>,
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn request(key: u8, version: u8, correlation: u32, name: &[u8], body: &[u8]) -> Vec<u8> {
    let name = [&(name.len() as u16).to_be_bytes()[..], name].concat();
    sized(&[&[0, key, 0, version][..], &correlation.to_be_bytes(), &name, body].concat())
}

fn response(correlation: u32, body: &[u8]) -> Vec<u8> {
    sized(&[&correlation.to_be_bytes()[..], body].concat())
}

fn batch(batch: &Batch) -> Vec<u8> {
    let format = if batch.format < 240 { 2 } else { batch.format & 1 };
    let mut bytes = u64::from(batch.first).to_be_bytes().to_vec();
    bytes.extend((49 + u32::from(batch.length)).to_be_bytes());
    bytes.extend([0, 0, 0, 0, format, 0, 0, 0, 0, 0, batch.attributes]);
    bytes.extend(i32::from(batch.delta).to_be_bytes());
    bytes.extend([0; 6]);
    bytes.extend([1, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    bytes.resize(57, 0);
    bytes.extend(u32::from(batch.records).to_be_bytes());
    bytes.resize(61 + usize::from(batch.length), 0xEE);
    bytes
}

fn body(parts: &[Part]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => all.extend(*bytes),
            Part::Zeroes(count) => all.resize(all.len() + usize::from(count % 32), 0),
            Part::Number(number) => all.extend(u32::from(*number).to_be_bytes()),
            Part::Topic { is_flexible: true, name } => {
                let name = &name[..name.len().min(100)];
                all.extend([2, name.len() as u8 + 1]);
                all.extend(name);
                all.extend([2, 0, 0, 0, 1]);
            }
            Part::Topic { is_flexible: false, name } => {
                let name = &name[..name.len().min(100)];
                all.extend([0, 0, 0, 1, 0, name.len() as u8]);
                all.extend(name);
                all.extend([0, 0, 0, 1, 0, 0, 0, 1]);
            }
            Part::Batches { is_flexible, batches, missing } => {
                let mut bytes = batches.iter().flat_map(batch).collect::<Vec<_>>();
                bytes.truncate(bytes.len().saturating_sub(usize::from(*missing)));
                if *is_flexible {
                    let length = bytes.len() as u32 + 1;
                    all.extend([length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8 & 0x7F]);
                } else {
                    all.extend((bytes.len() as u32).to_be_bytes());
                }
                all.extend(bytes);
            }
        }
    }
    all
}

/// Who calls, and with what.
fn calls(input: &Input) -> Vec<(bool, Vec<u8>)> {
    let mut calls = vec![
        (false, request(18, 0, u32::MAX - 7, b"fuzz", &[])),
        (true, response(u32::MAX - 7, &[0; 6])),
    ];
    let mut correlation = u32::MAX - 7;
    for (place, step) in input.steps.iter().enumerate() {
        let (server, bytes) = match step {
            Step::Bytes { server, bytes } => (*server, bytes.to_vec()),
            Step::Request { key, version, name, parts } => {
                correlation = correlation.wrapping_add(1);
                let name: &[u8] = match name {
                    0..16 => b"broker-1-fetcher-0",
                    16..32 => b"",
                    _ => b"fuzz",
                };
                let key = KEYS[usize::from(*key) % KEYS.len()];
                (false, request(key, version % 20, correlation, name, &body(parts)))
            }
            Step::Response { before, parts } => {
                (true, response(correlation.wrapping_sub(u32::from(before % 4)), &body(parts)))
            }
        };
        add_call(&mut calls, server, bytes, place > 0 && input.joins >> (place % 32) & 1 != 0);
    }
    calls
}

fn assert_same(split: &Observed, whole: &Observed) {
    assert_eq!(split.connection.kafka(), whole.connection.kafka());
    assert_eq!(split.queues, whole.queues);
    assert_eq!(split.protocol(), whole.protocol());
    assert_eq!(split.connection.lost, whole.connection.lost);
    assert_eq!(split.connection.pending, whole.connection.pending);
}

fuzz_target!(|input: Input| {
    let role = if input.server { Role::Server } else { Role::Client };
    let (mut whole, mut split) = Observed::whole_and_split(role, input.passing);
    (whole.wall_ns, split.wall_ns) = (1_790_000_000_000_000_000, 1_790_000_000_000_000_000);
    let mut cuts = input.cuts.iter().cycle();
    for (server, bytes) in calls(&input) {
        whole.by(server, &bytes);
        if !split.desyncs.is_empty() || !whole.desyncs.is_empty() {
            // From the first one on, where calls start matters.
            continue;
        }
        split.by_cuts(server, &bytes, &mut cuts);
        assert_eq!(split.desyncs.is_empty(), whole.desyncs.is_empty());
        if split.desyncs.is_empty() {
            assert_same(&split, &whole);
        }
    }
    for mut observed in [whole, split] {
        assert_eq!(observed.protocol(), Protocol::Kafka);
        for direction in Direction::ALL {
            // Within a message as well as without, twice that is more than any has.
            observed.miss(direction, u64::MAX, Desync::Gap);
        }
        observed.buffer = 1024;
        let before = observed.connection.kafka().requests[Api::Heartbeat as usize];
        // Where ids of before are taken for later ones, the first may be thought to have been answered.
        for correlation in 1_000..1_002 {
            observed.client(&request(12, 0, correlation, b"end", b"\0\x01g\0\0\0\x01\0\0"));
            observed.server(&response(correlation, b"\0\0"));
        }
        assert_eq!(observed.connection.lost, [0; 2]);
        assert_eq!(observed.connection.kafka().requests[Api::Heartbeat as usize], before + 2);
    }
});
