//! A memcached session with any bytes in it, in calls and buffers cut anyhow, counts as in whole calls, up to the first
//! byte that cannot be; whatever comes then, commands and their replies count again.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::{Observed, add_call};
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::memcached::layout::Command;

/// The first half is a client's.
const PIECES: [&[u8]; 16] = [
    b"get a:1\r\n",
    b"gets a:1 b:1 a:2\r\n",
    b"set a:1 0 0 3\r\nabc\r\n",
    b"set a:1 0 0 3 noreply\r\nabc\r\n",
    b"mg a:1 v q\r\n",
    b"ms a:1 3 q\r\nabc\r\n",
    b"mn\r\n",
    b"stats\r\n",
    b"END\r\n",
    b"VALUE a:1 0 3\r\nabc\r\n",
    b"STORED\r\n",
    b"VA 3\r\nabc\r\n",
    b"HD\r\n",
    b"NS\r\n",
    b"MN\r\n",
    b"SERVER_ERROR out of memory\r\n",
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
    Data {
        server: bool,
        meta: bool,
        length: i32,
        bytes: &'a [u8],
    },
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    server: bool,
    passing: bool,
    first: u8,
    cuts: [(u8, u8); 6],
    /// By step, whether it goes on with the call before it, where that is of the same side.
    joins: u32,
    steps: Vec<Step<'a>>,
}

/// Who calls, and with what.
fn calls(input: &Input) -> Vec<(bool, Vec<u8>)> {
    let mut calls = vec![(false, PIECES[usize::from(input.first) % 8].to_vec())];
    for (place, step) in input.steps.iter().enumerate() {
        let (server, bytes) = match step {
            Step::Bytes { server, bytes } => (*server, bytes.to_vec()),
            Step::Piece { number } => {
                let number = usize::from(*number) % PIECES.len();
                (number >= 8, PIECES[number].to_vec())
            }
            Step::Data { server, meta, length, bytes } => {
                let head = match (server, meta) {
                    (false, false) => format!("set b:1 0 -1 {length}\r\n"),
                    (false, true) => format!("ms b:1 {length} T0\r\n"),
                    (true, false) => format!("VALUE b:1 0 {length}\r\n"),
                    (true, true) => format!("VA {length} kb:1\r\n"),
                };
                (*server, [head.as_bytes(), bytes, b"\r\n"].concat())
            }
        };
        add_call(&mut calls, server, bytes, input.joins >> (place % 32) & 1 != 0);
    }
    calls
}

fn assert_same(split: &Observed, whole: &Observed) {
    assert_eq!(split.connection.memcached(), whole.connection.memcached());
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
        let was_told = whole.connection.pending == 0;
        whole.by(server, &bytes);
        if !split.desyncs.is_empty() || !whole.desyncs.is_empty() {
            // From the first one on, where calls start matters.
            continue;
        }
        // What the first reply is, is told by as much of it as comes at once.
        if server && !was_told {
            split.buffer = 1024;
            split.by(server, &bytes);
        } else {
            split.by_cuts(server, &bytes, &mut cuts);
        }
        // What turned out to be nothing known is looked at again in a call of later ones: where those start matters.
        if whole.protocol() == Protocol::Unknown && whole.connection.pending == 0 {
            return;
        }
        assert_eq!(split.desyncs.is_empty(), whole.desyncs.is_empty());
        // A meta command behind a quiet one may put the server's stream out of sync, from its next call on.
        if split.desyncs.is_empty() && split.connection.lost == [0; 2] && whole.connection.lost == [0; 2] {
            assert_same(&split, &whole);
        } else {
            return;
        }
    }
    for mut observed in [whole, split] {
        let watches = observed.connection.memcached().commands[Command::Watch as usize];
        if observed.protocol() != Protocol::Memcached || watches > 0 {
            continue;
        }
        for direction in Direction::ALL {
            observed.miss(direction, u64::MAX, Desync::Gap);
        }
        observed.buffer = 1024;
        // The first may find commands of which it is not known whether they are answered.
        for _ in 0..2 {
            observed.client(b"get end:1\r\n");
            observed.server(b"VALUE end:1 0 1\r\nx\r\nEND\r\n");
        }
        assert_eq!(observed.connection.lost, [0; 2]);
        let counts = observed.keys.by_prefix().get("end").copied().unwrap_or_default();
        assert!((1..=2).contains(&counts.0), "{counts:?}");
    }
});
