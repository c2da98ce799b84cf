//! A Redis session with any bytes in it, in calls and buffers cut anyhow, counts as in whole calls, up to the first
//! byte that cannot be; whatever comes then, commands and their replies count again.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::{Observed, add_call};
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::redis::layout::State;

/// Of [`PIECES`], those that a client says: they come first.
const CLIENTS: usize = 17;

const PIECES: [&[u8]; 30] = [
    b"*2\r\n$3\r\nGET\r\n$3\r\na:1\r\n",
    b"*3\r\n$4\r\nMGET\r\n$3\r\na:1\r\n$3\r\nb:1\r\n",
    b"*2\r\n$6\r\nEXISTS\r\n$1\r\nx\r\n",
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nEXEC\r\n",
    b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
    b"*1\r\n$4\r\nINFO\r\n",
    b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n",
    b"PING\r\n",
    b"*2\r\n$3\r\nGET\r\n$9\r\n:1:{4}:a:\r\n",
    b"*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$1\r\n0\r\n",
    b"*6\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n$7\r\nSTREAMS\r\n$1\r\ns\r\n$1\r\n$\r\n",
    b"*2\r\n$10\r\nSSUBSCRIBE\r\n$1\r\nc\r\n",
    b"*1\r\n$7\r\nMONITOR\r\n",
    b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n",
    b"*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n1\r\n",
    b"*1\r\n$7\r\nHGETALL\r\n",
    b"-NOPERM no\r\n",
    b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n",
    b">3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n",
    b">3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n",
    b"+OK\r\n",
    b"-DENIED no\r\n",
    b"$1\r\nx\r\n",
    b"$-1\r\n",
    b"+QUEUED\r\n",
    b"*2\r\n$1\r\nx\r\n_\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
    b"$34\r\nused_memory:12\r\nevicted_keys:34\r\n\r\n\r\n",
    b"-OOM no\r\n",
];

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Bytes {
        server: bool,
        bytes: &'a [u8],
    },
    /// Gets further than noise.
    Piece {
        number: u8,
    },
    Header {
        server: bool,
        kind: u8,
        number: i64,
    },
    Bulk {
        server: bool,
        bytes: &'a [u8],
    },
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    server: bool,
    inline: bool,
    passing: bool,
    cuts: [(u8, u8); 6],
    /// A bit for each step: whether its bytes go into the call of the step before, if that is of the same side.
    joins: u32,
    steps: Vec<Step<'a>>,
}

/// Who calls, and with what.
fn calls(input: &Input) -> Vec<(bool, Vec<u8>)> {
    let first: &[u8] = if input.inline { PIECES[8] } else { b"*1\r\n$4\r\nPING\r\n" };
    let mut calls = vec![(false, first.to_vec()), (true, b"+PONG\r\n".to_vec())];
    for (place, step) in input.steps.iter().enumerate() {
        let (server, bytes) = match step {
            Step::Bytes { server, bytes } => (*server, bytes.to_vec()),
            Step::Piece { number } => {
                let number = usize::from(*number) % PIECES.len();
                (number >= CLIENTS, PIECES[number].to_vec())
            }
            Step::Header { server, kind, number } => {
                let kind = char::from(b"*$%~>|:!="[usize::from(*kind) % 9]);
                (*server, format!("{kind}{number}\r\n").into_bytes())
            }
            Step::Bulk { server, bytes } => {
                (*server, [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
            }
        };
        add_call(&mut calls, server, bytes, input.joins >> (place % 32) & 1 != 0);
    }
    calls
}

fn assert_same(split: &Observed, whole: &Observed) {
    assert_eq!(split.connection.redis(), whole.connection.redis());
    assert_eq!(split.keys, whole.keys);
    assert_eq!(split.protocol(), whole.protocol());
    assert_eq!(split.connection.lost, whole.connection.lost);
    assert_eq!(split.connection.pending, whole.connection.pending);
}

fuzz_target!(|input: Input| {
    let role = if input.server { Role::Server } else { Role::Client };
    let (mut whole, mut split) = Observed::whole_and_split(role, input.passing);
    let mut cuts = input.cuts.iter().cycle();
    for (server, bytes) in calls(&input) {
        whole.by(server, &bytes);
        if !split.desyncs.is_empty() || !whole.desyncs.is_empty() {
            // From the first one on, where calls start matters.
            continue;
        }
        split.by_cuts(server, &bytes, &mut cuts);
        assert!(split.desyncs.is_empty());
        assert_same(&split, &whole);
    }
    for mut observed in [whole, split] {
        let counters = *observed.connection.redis();
        if observed.protocol() != Protocol::Redis || counters.state != State::Session as u8 {
            continue;
        }
        for direction in Direction::ALL {
            observed.miss(direction, u64::MAX, Desync::Gap);
        }
        observed.buffer = 1024;
        // The first may find commands of which it is not known whether they are answered.
        for _ in 0..2 {
            observed.client(b"*2\r\n$3\r\nGET\r\n$5\r\nend:1\r\n");
            observed.server(b"$1\r\nx\r\n");
        }
        assert_eq!(observed.connection.lost, [0; 2]);
        let counts = observed.keys.by_prefix().get("end").copied().unwrap_or_default();
        assert!((1..=2).contains(&counts.0), "{counts:?}");
        assert!(!observed.connection.redis().is_active());
    }
});
