//! WebSocket streams through `io_uring`, whose requests no system call's arguments tell of: each byte is known.

// needs: websocket
// makes: messages
// takes: 23 s

use std::os::fd::AsRawFd as _;

use io_uring::{opcode, squeue, types};
use observer_tests::ring::{By, completion, ring};
use observer_tests::websocket::alone;
use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::{REQUEST, RESPONSE, Wire};

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

#[test]
fn every_way_to_send() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    for sending in [
        Sending::Ring(By::Thread, usize::MAX),
        Sending::Ring(By::Thread, 7),
        Sending::Ring(By::Worker, 1_460),
        Sending::Ring(By::Poller, 1_000),
        Sending::RingVectors(By::Thread, 1, 4_000),
        Sending::RingVectors(By::Thread, 3, 5),
        Sending::RingVectors(By::Thread, 1024, 997),
        Sending::RingVectors(By::Worker, 9, 61),
        Sending::RingVectors(By::Poller, 9, 61),
    ] {
        bench.mixed_over_all(sending, READ)?;
    }
    // Not over UNIX sockets, which cannot.
    for (by, size) in [(By::Thread, 100_000), (By::Thread, 100), (By::Poller, 5_000)] {
        let sending = Sending::RingZeroCopy(by, size);
        bench.mixed_over_tcp(sending, READ)?;
    }
    Ok(())
}

#[test]
fn every_way_to_receive() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    for receiving in [
        Receiving::Ring(By::Thread, 1 << 16),
        Receiving::Ring(By::Thread, 13),
        Receiving::Ring(By::Worker, 1_000),
        Receiving::Ring(By::Poller, 1_000),
        Receiving::RingWaitAll(By::Thread, 50_000),
        Receiving::RingWaitAll(By::Worker, 50_000),
        Receiving::RingVectors(By::Thread, 1, 4_000),
        Receiving::RingVectors(By::Thread, 3, 5),
        Receiving::RingVectors(By::Thread, 1024, 997),
        Receiving::RingVectors(By::Worker, 9, 61),
        Receiving::RingVectors(By::Poller, 9, 61),
    ] {
        bench.mixed_over_all(WRITE, receiving)?;
    }
    Ok(())
}

/// Messages that one call submits, each to be sent after the last one, on several connections; and what receives them
/// has been waiting on all of them.
#[test]
fn many_requests_at_once() -> anyhow::Result<()> {
    const CONNECTIONS: usize = 20;
    const MESSAGES: usize = 8;
    let _alone = alone();
    let mut bench = Bench::start()?;
    let mut sends = ring(By::Thread)?;
    let mut receives = ring(By::Thread)?;
    let pairs: Vec<Pair> = (0..CONNECTIONS)
        .map(|number| if number % 2 == 0 { Pair::tcp("127.0.0.1") } else { Pair::unix() })
        .collect::<anyhow::Result<_>>()?;
    for pair in &pairs {
        pair.ask(REQUEST, WRITE, READ)?;
        pair.answer(RESPONSE, WRITE, READ)?;
        bench.count(REQUEST.len(), RESPONSE.len());
    }
    bench.open(u32::try_from(CONNECTIONS)?);

    // Ten rounds, so that a thread's and a socket's requests take the places of others.
    for round in 0..10 {
        let mut messages: Vec<Vec<Vec<u8>>> = Vec::new();
        for number in 0..CONNECTIONS {
            let parts = (0..MESSAGES).map(|part| {
                let mut wire = Wire::client();
                wire.message(Opcode::Binary, number * 7 + part * 130 + round);
                bench.exchange(&wire, &Wire::server());
                wire.bytes
            });
            messages.push(parts.collect());
        }
        let mut rooms: Vec<Vec<u8>> = messages.iter().map(|parts| vec![0; parts.concat().len()]).collect();
        for (pair, room) in pairs.iter().zip(&mut rooms) {
            let server = types::Fd(pair.server.as_raw_fd());
            let size = u32::try_from(room.len())?;
            let entry = opcode::Recv::new(server, room.as_mut_ptr(), size).flags(libc::MSG_WAITALL).build();
            // SAFETY: the room is there until all of them are complete.
            unsafe { receives.submission().push(&entry)? };
        }
        receives.submit()?;
        for (pair, parts) in pairs.iter().zip(&messages) {
            let client = types::Fd(pair.client.as_raw_fd());
            for (number, part) in parts.iter().enumerate() {
                let entry = opcode::Send::new(client, part.as_ptr(), u32::try_from(part.len())?).build();
                let more = number + 1 < parts.len();
                let flags = if more { squeue::Flags::IO_LINK } else { squeue::Flags::empty() };
                // SAFETY: the bytes are there until all of them are complete.
                unsafe { sends.submission().push(&entry.flags(flags))? };
            }
            for part in parts {
                assert_eq!(completion(&mut sends)?.0, i32::try_from(part.len())?);
            }
        }
        for _ in &pairs {
            assert!(completion(&mut receives)?.0 > 0);
        }
        for (parts, room) in messages.iter().zip(&rooms) {
            assert_eq!(&parts.concat(), room);
        }
        bench.settle()?;
    }
    Ok(())
}
