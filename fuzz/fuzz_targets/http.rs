//! An HTTP connection with any bytes in it, in calls and buffers cut anyhow, counts as in whole calls, up to the first
//! byte that cannot be; whatever comes then, requests and their answers count again.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::{Observed, add_call};
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};

/// The first half is a client's.
const PIECES: [&[u8]; 20] = [
    b"GET /a/42?x HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"HEAD /b HTTP/1.0\n\n",
    b"POST /c HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
    b"GET http://u@a/ HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"8\r\ndata:x\n\n\r\n",
    b"0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 500 Oh no\r\n\r\n",
    b"HTTP/1.1 101 x\r\nUpgrade: other\r\n\r\n",
    b"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n",
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
    Sized {
        server: bool,
        length: u16,
        bytes: &'a [u8],
    },
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

/// Bytes that are no frames of a client's, which are looked for where a call starts.
fn ascii(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte & 0x7F).collect()
}

/// Who calls, and with what.
fn calls(input: &Input) -> Vec<(bool, Vec<u8>)> {
    let mut calls = vec![(false, PIECES[0].to_vec())];
    for (place, step) in input.steps.iter().enumerate() {
        let (server, bytes) = match step {
            Step::Bytes { server, bytes } => (*server, ascii(bytes)),
            Step::Piece { number } => {
                let number = usize::from(*number) % PIECES.len();
                (number >= 10, PIECES[number].to_vec())
            }
            Step::Sized { server, length, bytes } => {
                let start = if *server { "HTTP/1.1 200 OK" } else { "PATCH /e HTTP/1.1" };
                let head = format!("{start}\r\nContent-Length: {length}\r\n\r\n");
                (*server, [head.as_bytes(), &ascii(bytes)].concat())
            }
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
            continue;
        }
        split.by_cuts(server, &bytes, &mut cuts);
        assert_eq!(split.desyncs.is_empty(), whole.desyncs.is_empty());
        if split.desyncs.is_empty() {
            assert_eq!(split.connection.http(), whole.connection.http());
            assert_eq!(split.labels, whole.labels);
            assert_eq!(split.protocol(), whole.protocol());
            assert_eq!(split.connection.lost, whole.connection.lost);
            assert_eq!(split.connection.pending, whole.connection.pending);
        }
    }
    for mut observed in [whole, split] {
        if observed.protocol() != Protocol::Http || observed.desyncs.is_empty() {
            continue;
        }
        for direction in Direction::ALL {
            observed.miss(direction, 1 << 62, Desync::Gap);
        }
        observed.buffer = 1024;
        if observed.connection.lost != [1; 2] {
            // It is in a body of such a length, or that ends with the connection, or is looked at no more.
            continue;
        }
        observed.client(b"PATCH /end HTTP/1.1\r\n\r\n");
        observed.server(b"HTTP/1.1 299 x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(observed.connection.lost, [0; 2]);
        let rows = observed.labels.requests();
        assert_eq!(rows.get(&("/end".to_owned(), "PATCH", 299)), Some(&1));
    }
});
