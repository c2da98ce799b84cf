//! WebSocket streams written by hand, through every system call and cut in every place: each byte is known.

// needs: websocket
// makes: messages
// takes: 47 s

use observer_tests::websocket::alone;
use observer_tests::websocket::bench::{Bench, mixed};
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::{
    DEFLATE_REQUEST, DEFLATE_RESPONSE, FIN, REQUEST, RESPONSE, RSV1, Wire,
};

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

fn tiny(mut wire: Wire, count: usize) -> Wire {
    for number in 0..count {
        wire.message(if number % 2 == 0 { Opcode::Text } else { Opcode::Binary }, number % 3);
    }
    wire.close(1000);
    wire
}

#[test]
fn every_way_to_send() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    for sending in [
        Sending::Write(usize::MAX),
        Sending::Write(1_000),
        Sending::Write(7),
        Sending::Send(usize::MAX),
        Sending::Send(1_460),
        Sending::Writev(2, 100),
        Sending::Writev(1024, 1),
        Sending::Writev(1024, 61),
        Sending::Sendmsg(3, 5),
        Sending::Sendmsg(1024, 997),
    ] {
        bench.mixed_over_all(sending, READ)?;
    }
    Ok(())
}

#[test]
fn every_way_to_receive() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    for receiving in [
        Receiving::Read(1 << 20),
        Receiving::Read(13),
        Receiving::Recv(1 << 16),
        Receiving::Recv(3),
        Receiving::Peek(100),
        Receiving::Peek(1 << 16),
        Receiving::WaitAll(50_000),
        Receiving::Readv(2, 100),
        Receiving::Readv(1024, 1),
        Receiving::Readv(1024, 61),
        Receiving::Recvmsg(3, 5),
        Receiving::Recvmsg(1024, 997),
    ] {
        bench.mixed_over_all(WRITE, receiving)?;
    }
    Ok(())
}

#[test]
fn a_byte_a_call_from_the_first_to_the_last() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    for pair in [Pair::tcp("127.0.0.1")?, Pair::tcp("::1")?, Pair::unix()?] {
        bench.session(
            pair,
            &mixed(Wire::client()),
            &mixed(Wire::server()),
            Sending::Send(1),
            Receiving::Recv(1),
        )?;
    }
    Ok(())
}

/// A UNIX connection has no hook at its start: looking for sockets may find it before its first byte.
#[test]
fn a_unix_connection_that_was_found_idle() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    // An accepted connection that nobody uses makes the agent look.
    let (_unused, pair) = (Pair::tcp("127.0.0.1")?, Pair::unix()?);
    let idle = [("process", bench.client.process.as_str()), ("protocol", "unknown")];
    bench.agent.wait_until("both are found, with all four ends", |metrics| {
        metrics.sum("observer_connections", &idle) == 4.0
    })?;
    let (asked, answered) = (mixed(Wire::client()), mixed(Wire::server()));
    bench.session(pair, &asked, &answered, Sending::Send(1), Receiving::Recv(1))
}

#[test]
fn ten_thousand_frames_in_a_write() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    for receiving in [READ, Receiving::WaitAll(1 << 20)] {
        for pair in [Pair::tcp("127.0.0.1")?, Pair::unix()?] {
            bench.session(
                pair,
                &tiny(Wire::client(), 10_000),
                &tiny(Wire::server(), 10_000),
                WRITE,
                receiving,
            )?;
        }
    }
    Ok(())
}

#[test]
fn frames_right_behind_the_answer() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    let mut asked = Wire::client();
    asked.message(Opcode::Text, 3).message(Opcode::Binary, 200).close(1000);
    let mut answered = Wire::server();
    answered.message(Opcode::Binary, 70_000).message(Opcode::Text, 0).close(1000);
    for sending in [WRITE, Sending::Writev(1024, 50), Sending::Send(100)] {
        for pair in [Pair::tcp("127.0.0.1")?, Pair::tcp("::1")?, Pair::unix()?] {
            pair.ask(REQUEST, sending, READ)?;
            pair.answer(&[RESPONSE, &answered.bytes].concat(), sending, READ)?;
            pair.ask(&asked.bytes, sending, READ)?;
            bench.count(REQUEST.len(), RESPONSE.len());
            bench.exchange(&asked, &answered);
            bench.open(1);
            bench.settle()?;
            drop(pair);
            bench.close("1000");
        }
    }
    bench.settle()
}

/// Where bytes go that moved before a connection became a WebSocket's is not for this test to say.
#[test]
fn an_upgrade_as_the_third_request() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    for side in [&mut bench.client, &mut bench.server] {
        side.bytes = None;
    }
    let asked = mixed(Wire::client());
    let answered = mixed(Wire::server());
    for pair in [Pair::tcp("127.0.0.1")?, Pair::tcp("::1")?, Pair::unix()?] {
        for _ in 0..2 {
            pair.ask(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n", WRITE, READ)?;
            pair.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello", WRITE, READ)?;
        }
        bench.session(pair, &asked, &answered, WRITE, READ)?;
    }
    Ok(())
}

#[test]
fn compressed_messages_count_with_their_size_on_the_wire() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    let compressed = |mut wire: Wire| {
        wire.compressed(Opcode::Text, &[700]).message(Opcode::Text, 9).compressed(Opcode::Binary, &[90_000]);
        wire.compressed(Opcode::Binary, &[10, 20, 30]).message(Opcode::Binary, 0).close(1000);
        wire
    };
    let (asked, answered) = (compressed(Wire::client()), compressed(Wire::server()));
    for pair in [Pair::tcp("127.0.0.1")?, Pair::unix()?] {
        pair.ask(DEFLATE_REQUEST, WRITE, READ)?;
        pair.answer(DEFLATE_RESPONSE, WRITE, READ)?;
        bench.count(DEFLATE_REQUEST.len(), DEFLATE_RESPONSE.len());
        pair.ask(&asked.bytes, WRITE, READ)?;
        pair.answer(&answered.bytes, WRITE, READ)?;
        bench.exchange(&asked, &answered);
        bench.open(1);
        bench.settle()?;
        drop(pair);
        bench.close("1000");
    }
    bench.settle()
}

/// Writes some frames.
type Frames = fn(&mut Wire);

/// One frame of each kind that breaks the RFC; what follows it counts as ever.
#[test]
fn each_violation_counts_once_at_each_end() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    let kinds: [(&str, Frames); 8] = [
        ("mask", |wire| _ = wire.wrongly_masked(Opcode::Text, 4)),
        ("reserved", |wire| _ = wire.raw(FIN | RSV1 | 1, b"four")),
        ("reserved", |wire| _ = wire.raw(FIN | 0x20 | 2, b"four")),
        ("opcode", |wire| _ = wire.raw(FIN | 3, b"four")),
        ("opcode", |wire| _ = wire.raw(FIN | 0xB, b"four")),
        ("opcode", |wire| _ = wire.raw(FIN, b"no message to continue")),
        ("opcode", |wire| _ = wire.raw(9, b"a ping in fragments")),
        ("length", |wire| _ = wire.raw(FIN | 9, &[0; 126])),
    ];
    for (kind, violate) in kinds {
        for from_client in [true, false] {
            eprintln!("{kind} {from_client}");
            let mut wires = [Wire::client(), Wire::server()];
            for (at, wire) in wires.iter_mut().enumerate() {
                wire.message(Opcode::Text, 5);
                if from_client == (at == 0) {
                    violate(wire);
                }
                wire.message(Opcode::Binary, 6).close(1000);
            }
            for side in [&mut bench.client, &mut bench.server] {
                *side.violations.entry(kind).or_default() += 1;
            }
            let [asked, answered] = wires;
            bench.session(Pair::tcp("127.0.0.1")?, &asked, &answered, WRITE, READ)?;
        }
    }
    Ok(())
}

/// A connection that ends without a close frame; one whose close has no code.
#[test]
fn closes_count_by_code() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    let sessions: [(&str, Frames); 5] = [
        ("none", |_| ()),
        ("none", |wire| _ = wire.frame(Opcode::Close, FIN, 0)),
        ("1001", |wire| _ = wire.close(1001)),
        ("1013", |wire| _ = wire.close(1013)),
        ("4999", |wire| _ = wire.close(4999)),
    ];
    for (code, end) in sessions {
        for pair in [Pair::tcp("127.0.0.1")?, Pair::unix()?] {
            pair.ask(REQUEST, WRITE, READ)?;
            pair.answer(RESPONSE, WRITE, READ)?;
            bench.count(REQUEST.len(), RESPONSE.len());
            let [mut asked, mut answered] = [Wire::client(), Wire::server()];
            asked.message(Opcode::Text, 5);
            end(&mut answered);
            pair.ask(&asked.bytes, WRITE, READ)?;
            pair.answer(&answered.bytes, WRITE, READ)?;
            bench.exchange(&asked, &answered);
            drop(pair);
            bench.open(1);
            bench.close(code);
            bench.settle()?;
        }
    }
    Ok(())
}
