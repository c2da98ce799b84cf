//! A TLS session with any bytes in it, in calls and buffers cut anyhow, counts as in whole calls, up to the first byte that
//! cannot be; whatever comes then, records count again.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::{Observed, add_call};
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Role};

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Bytes { server: bool, bytes: &'a [u8] },
    /// A record, of a length that may be another one.
    Record { server: bool, kind: u8, more: i8, bytes: &'a [u8] },
    /// A hello behind its random, as far as it goes.
    Hello { server: bool, session: u8, bytes: &'a [u8] },
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    server: bool,
    passing: bool,
    first: &'a [u8],
    cuts: [(u8, u8); 6],
    /// By step, whether it goes on with the call before it, where that is of the same side.
    joins: u32,
    steps: Vec<Step<'a>>,
}

fn record(kind: u8, length: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [&[kind, 3, 3][..], &length, bytes].concat()
}

/// A hello, in a record of its own.
fn hello(kind: u8, session: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(35 + bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let message = [&[kind][..], &length[1..], &[3, 3], &[7; 32], &[session], bytes].concat();
    record(22, message.len(), &message)
}

/// Who calls, and with what.
fn calls(input: &Input) -> Vec<(bool, Vec<u8>)> {
    let mut calls = vec![(false, hello(1, 0, input.first))];
    for (place, step) in input.steps.iter().enumerate() {
        let (server, bytes) = match step {
            Step::Bytes { server, bytes } => (*server, bytes.to_vec()),
            Step::Record { server, kind, more, bytes } => {
                let length = bytes.len().saturating_add_signed(isize::from(*more));
                (*server, record(18 + kind % 8, length, bytes))
            }
            Step::Hello { server, session, bytes } => (*server, hello(1 + u8::from(*server), *session, bytes)),
        };
        add_call(&mut calls, server, bytes, input.joins >> (place % 32) & 1 != 0);
    }
    calls
}

fuzz_target!(|input: Input| {
    let role = if input.server { Role::Server } else { Role::Client };
    let (mut whole, mut split) = Observed::whole_and_split(role, input.passing);
    let mut cuts = input.cuts.iter().cycle();
    for (server, bytes) in calls(&input) {
        whole.by(server, &bytes);
        if !split.desyncs.is_empty() || !whole.desyncs.is_empty() {
            // From the first one on, where calls start matters.
            break;
        }
        split.by_cuts(server, &bytes, &mut cuts);
        assert_eq!(split.desyncs, whole.desyncs);
        if whole.desyncs.is_empty() {
            assert_eq!(split.connection.tls, whole.connection.tls);
            assert_eq!(split.protocol(), whole.protocol());
            assert_eq!(split.connection.tls.lost, whole.connection.tls.lost);
            assert_eq!(split.connection.pending, whole.connection.pending);
        }
    }
    for mut observed in [whole, split] {
        for direction in Direction::ALL {
            observed.miss(direction, u64::MAX, Desync::Gap);
        }
        observed.buffer = 1024;
        for server in [false, true] {
            let before: u64 = observed.connection.tls.application.iter().sum();
            let lost = observed.connection.tls.lost != [0; 2];
            observed.by(server, &[record(23, 9, &[1; 9]), record(23, 1, &[2])].concat());
            let after: u64 = observed.connection.tls.application.iter().sum();
            // What has begun with something else than a record is not looked at.
            assert!(after - before == 10 || (!lost && after == before), "{before} to {after}");
        }
    }
});
