//! A Postgres session with any bytes in it, in calls and buffers cut anyhow, counts as in whole calls, up to the first
//! byte that cannot be; whatever comes then, a request and its answer set the state right.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::Observed;
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::postgres::layout::State;

const STARTUP: &[u8] = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";
const SSL: &[u8] = b"\0\0\0\x08\x04\xD2\x16\x2F";
const CANCEL: &[u8] = b"\0\0\0\x10\x04\xD2\x16\x2E\0\0\0\x07\0\0\0\x09";
const QUERY: &[u8] = b"Q\0\0\0\x0Dselect 1\0";
const READY: &[u8] = b"Z\0\0\0\x05T";
const REFUSED: &[u8] = b"Ecould not fork new process for connection: no\n\0";
const BOTH: &[u8] = b"W\0\0\0\x07\0\0\0";

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Opening {
    Startup,
    Refused,
    Encryption,
    Cancel,
    Ready,
    /// Refused in plain text.
    Refusal,
    Replication,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Bytes {
        server: bool,
        bytes: &'a [u8],
    },
    /// Gets further than noise.
    Message {
        server: bool,
        kind: u8,
        length: Option<u32>,
        payload: &'a [u8],
    },
    Query {
        text: &'a str,
    },
    Ready {
        status: u8,
    },
    Complete {
        tag: &'a str,
    },
    Error {
        code: [u8; 5],
    },
    /// Of a stream of replication: WAL, and that a side is alive.
    Replicated {
        wal: Option<&'a [u8]>,
        server: bool,
        asks: u8,
    },
    Wait {
        nanoseconds: u32,
    },
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    server: bool,
    opening: Opening,
    passing: bool,
    cuts: [(u8, u8); 6],
    /// A bit for each step: whether its bytes go into the call of the step before, if that is of the same side.
    joins: u32,
    steps: Vec<Step<'a>>,
}

fn message(kind: u8, length: Option<u32>, payload: &[&[u8]]) -> Vec<u8> {
    let payload = payload.concat();
    let length = length.unwrap_or(payload.len() as u32 + 4);
    [&[kind], &length.to_be_bytes()[..], &payload].concat()
}

fn kind(server: bool, number: u8) -> u8 {
    let kinds: &[u8] = if server { b"123ACDEGHIKNRSTVWZcdnstv" } else { b"BCDEFHPQSXcdfp" };
    kinds[usize::from(number) % kinds.len()]
}

/// Who calls, with what, and how much later.
fn calls(input: &Input) -> Vec<(bool, Vec<u8>, u64)> {
    let opening: &[(bool, &[u8])] = match input.opening {
        Opening::Startup => &[(false, STARTUP)],
        Opening::Refused => &[(false, SSL), (true, b"N"), (false, STARTUP)],
        Opening::Encryption => &[(false, SSL)],
        Opening::Cancel => &[(false, CANCEL)],
        Opening::Ready => &[(false, STARTUP), (true, b"Z\0\0\0\x05I")],
        Opening::Refusal => &[(false, STARTUP), (true, REFUSED)],
        Opening::Replication => &[(false, STARTUP), (true, b"Z\0\0\0\x05I"), (false, QUERY), (true, BOTH)],
    };
    let mut wait = 0;
    let mut calls: Vec<_> = opening.iter().map(|&(server, bytes)| (server, bytes.to_vec(), 1)).collect();
    for (place, step) in input.steps.iter().enumerate() {
        let (server, bytes) = match step {
            Step::Bytes { server, bytes } => (*server, bytes.to_vec()),
            Step::Message { server, kind: number, length, payload } => {
                (*server, message(kind(*server, *number), *length, &[payload]))
            }
            Step::Query { text } => (false, message(b'Q', None, &[text.as_bytes(), b"\0"])),
            Step::Ready { status } => (true, message(b'Z', None, &[&[b"ITE"[usize::from(*status) % 3]]])),
            Step::Complete { tag } => (true, message(b'C', None, &[tag.as_bytes(), b"\0"])),
            Step::Error { code } => (true, message(b'E', None, &[b"SERROR\0C", code, b"\0\0"])),
            Step::Replicated { wal: Some(wal), .. } => (true, message(b'd', None, &[b"w", &[0; 24], wal])),
            Step::Replicated { server: true, asks, .. } => {
                (true, message(b'd', None, &[b"k", &[0; 16], &[*asks]]))
            }
            Step::Replicated { asks, .. } => (false, message(b'd', None, &[b"r", &[0; 32], &[*asks]])),
            Step::Wait { nanoseconds } => {
                wait += u64::from(*nanoseconds);
                continue;
            }
        };
        match calls.last_mut() {
            Some((same, before, _)) if *same == server && input.joins >> (place % 32) & 1 != 0 => {
                before.extend(bytes)
            }
            _ => calls.push((server, bytes, wait)),
        }
        wait = 0;
    }
    calls
}

fn assert_same(split: &Observed, whole: &Observed) {
    assert_eq!(split.connection.postgres(), whole.connection.postgres());
    assert_eq!(split.protocol(), whole.protocol());
    assert_eq!(split.connection.lost, whole.connection.lost);
    assert_eq!(split.connection.pending, whole.connection.pending);
    assert_eq!(split.desyncs, whole.desyncs);
}

fuzz_target!(|input: Input| {
    let role = if input.server { Role::Server } else { Role::Client };
    let (mut whole, mut split) = Observed::whole_and_split(role, input.passing);
    let mut cuts = input.cuts.iter().cycle();
    for (server, bytes, wait) in calls(&input) {
        whole.now_ns += wait;
        split.now_ns += wait;
        whole.by(server, &bytes);
        if !split.desyncs.is_empty() {
            // From the first one on, where calls start matters.
            continue;
        }
        split.by_cuts(server, &bytes, &mut cuts);
        assert_same(&split, &whole);
    }
    for mut observed in [whole, split] {
        let counters = observed.connection.postgres();
        assert!(counters.asked >= counters.answered);
        if observed.protocol() != Protocol::Postgres
            || matches!(input.opening, Opening::Cancel | Opening::Encryption)
        {
            continue;
        }
        for direction in Direction::ALL {
            observed.miss(direction, u64::MAX, Desync::Gap);
        }
        observed.buffer = 1024;
        observed.client(QUERY);
        observed.server(READY);
        assert_eq!(observed.connection.lost, [0; 2]);
        assert_eq!(observed.connection.postgres().state, State::InTransaction as u8);
        assert!(!observed.connection.postgres().is_active());
    }
});
