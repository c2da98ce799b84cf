//! Any calls, in any buffers, with any faults: no panic, bounded work, and nothing read that is out of reach.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::{Handshake, Observed};
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Role};

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Start {
    Fresh,
    Adopted,
    Upgraded { deflate: bool },
}

#[derive(Arbitrary, Debug)]
enum Step {
    Call {
        sent: bool,
        buffer: u8,
        bytes: Vec<u8>,
    },
    Faulty {
        sent: bool,
        buffer: u8,
        readable: u8,
        bytes: Vec<u8>,
    },
    /// Bytes that get further than noise.
    Request {
        sent: bool,
        cut: u8,
        deflate: bool,
    },
    /// Behind as many interim ones.
    Response {
        sent: bool,
        cut: u8,
        deflate: bool,
        interim: u8,
    },
    Proxy {
        sent: bool,
        second: bool,
        cut: u8,
    },
    Frame {
        sent: bool,
        first: u8,
        masked: bool,
        length: u16,
        cut: u16,
    },
    Miss {
        sent: bool,
        bytes: u64,
    },
    Pass {
        sent: bool,
        bytes: u32,
    },
}

/// What proxies put in front, of either version.
const HEADERS: [&[u8]; 2] = [
    b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02\x04\0\0",
];

#[derive(Arbitrary, Debug)]
struct Input {
    server: bool,
    start: Start,
    passing: bool,
    steps: Vec<Step>,
}

fn direction(sent: bool) -> Direction {
    if sent { Direction::Sent } else { Direction::Received }
}

/// In two calls.
fn call(observed: &mut Observed, sent: bool, bytes: &[u8], cut: usize) {
    let (head, tail) = bytes.split_at(cut.min(bytes.len()));
    observed.call(direction(sent), head);
    observed.call(direction(sent), tail);
}

fn run(input: &Input, poison: u8) -> Observed {
    let role = if input.server { Role::Server } else { Role::Client };
    let mut observed = match input.start {
        Start::Fresh => Observed::new(role),
        Start::Adopted => Observed::adopted(role),
        Start::Upgraded { deflate } => Observed::upgraded(role, deflate),
    };
    observed.passing = input.passing;
    observed.poison = poison;
    for step in &input.steps {
        observed.buffer = 1024;
        match step {
            Step::Call { sent, buffer, bytes } => {
                observed.buffer = u32::from(*buffer);
                observed.call(direction(*sent), bytes);
            }
            Step::Faulty { sent, buffer, readable, bytes } => {
                observed.buffer = u32::from(*buffer);
                observed.call_readable(direction(*sent), bytes, u32::from(*readable));
            }
            Step::Request { sent, cut, deflate } => {
                call(&mut observed, *sent, &Handshake::new(*deflate).request, usize::from(*cut));
            }
            Step::Response { sent, cut, deflate, interim } => {
                let mut heads =
                    b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n".repeat(usize::from(*interim % 4));
                heads.extend(Handshake::new(*deflate).response);
                call(&mut observed, *sent, &heads, usize::from(*cut));
            }
            Step::Proxy { sent, second, cut } => {
                let header = HEADERS[usize::from(*second)];
                call(&mut observed, *sent, header, usize::from(*cut));
            }
            Step::Frame { sent, first, masked, length, cut } => {
                let mut wire = common::Wire::new(*masked);
                wire.raw(*first, *masked, common::Form::Shortest, &vec![b'x'; usize::from(*length)]);
                call(&mut observed, *sent, &wire.bytes, usize::from(*cut));
            }
            Step::Miss { sent, bytes } => {
                observed.miss(direction(*sent), *bytes, Desync::Gap);
            }
            Step::Pass { sent, bytes } => {
                observed.session.pass(direction(*sent), *bytes, &mut observed.connection);
            }
        }
        for direction in Direction::ALL {
            let _ = observed.session.is_settled(direction);
            assert!(observed.connection.lost[direction as usize] <= 1);
        }
        let _ = observed.protocol();
    }
    observed
}

fuzz_target!(|input: Input| {
    let zeros = run(&input, 0);
    let ones = run(&input, 0xFF);
    assert_eq!(zeros.connection.websocket(), ones.connection.websocket());
    assert_eq!(zeros.protocol(), ones.protocol());
    assert_eq!(zeros.connection.lost, ones.connection.lost);
    assert_eq!(zeros.desyncs, ones.desyncs);
});
