//! WebSocket streams, through several system calls.

use anyhow::{Context as _, ensure};
use observer_tests::metrics::{Metrics, unparsed};
use observer_tests::ring::By;
use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::moving;
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::Wire;
use serde_json::Value;

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// Every kind of call that moves bytes.
const CALLS: [(Sending, Receiving); 5] = [
    (WRITE, READ),
    (Sending::Send(1_460), Receiving::Recv(1_000)),
    (Sending::Writev(9, 61), Receiving::Readv(5, 700)),
    (Sending::Sendmsg(64, 997), Receiving::Recvmsg(9, 100)),
    (Sending::Write(1_000), Receiving::Peek(4_000)),
];

/// Over IPv4 and IPv6.
pub(crate) fn tcp(bench: &mut Bench) -> anyhow::Result<()> {
    CALLS.into_iter().try_for_each(|(sending, receiving)| bench.mixed_over_tcp(sending, receiving))
}

/// Over UNIX sockets.
pub(crate) fn unix(bench: &mut Bench) -> anyhow::Result<()> {
    CALLS.into_iter().try_for_each(|(sending, receiving)| bench.mixed_over_unix(sending, receiving))
}

/// Requests of `io_uring` that are parsed.
const REQUESTS: [(Sending, Receiving); 4] = [
    (Sending::Ring(By::Thread, usize::MAX), Receiving::Ring(By::Thread, 1 << 16)),
    (Sending::Ring(By::Worker, 1_460), Receiving::Ring(By::Worker, 1_000)),
    (Sending::Ring(By::Poller, 5_000), Receiving::Ring(By::Poller, 5_000)),
    (Sending::RingVectors(By::Thread, 64, 997), Receiving::RingVectors(By::Thread, 9, 100)),
];

/// Over `io_uring`, parsed.
pub(crate) fn requests(bench: &mut Bench) -> anyhow::Result<()> {
    REQUESTS.into_iter().try_for_each(|(sending, receiving)| bench.mixed_over_all(sending, receiving))
}

/// Over `io_uring`, where its requests cannot be read: as bytes.
pub(crate) fn request_bytes(bench: &mut Bench) -> anyhow::Result<()> {
    const SIZE: usize = 10_000;
    let before = bench.agent.scrape()?;
    let pair = Pair::tcp("127.0.0.1")?;
    pair.ask(&[0; SIZE], Sending::Ring(By::Thread, 1_000), READ)?;
    let after = bench.agent.scrape()?;
    for direction in ["sent", "received"] {
        let labels = [("protocol", "unknown"), ("direction", direction)];
        let moved = |metrics: &Metrics| metrics.sum("observer_bytes_total", &labels);
        let moved = moved(&after) - moved(&before);
        ensure!(moved == SIZE as f64, "{moved} bytes were {direction}, not {SIZE}");
    }
    // Its first bytes might have told the protocol, and as they were not seen, all that follow.
    let unread = unparsed(&after, "io_uring") - unparsed(&before, "io_uring");
    ensure!(unread == SIZE as f64, "{unread} bytes were unread");
    Ok(())
}

/// From memory whose pages the kernel moves: what the agent could not read it must say. How often that is depends on which
/// thread the machine's only processor is given to.
pub(crate) fn moving(bench: &mut Bench) -> anyhow::Result<()> {
    const MOVES: u32 = 30;
    for by in [moving::By::Address(WRITE), moving::By::Message] {
        let outcome = moving::exchange(bench, by, MOVES)?;
        eprintln!("{by:?}: {outcome:?}");
    }
    Ok(())
}

/// Messages past each limit, each of which is told at once.
pub(crate) fn oversized(bench: &mut Bench) -> anyhow::Result<()> {
    const SIZES: [usize; 3] = [1_000_000, 5_000_001, 10_000_000];
    let events = |bench: &Bench| -> anyhow::Result<usize> {
        let all = bench.agent.json("/events")?;
        let is_told = |event: &&Value| event["size_bytes"].is_u64();
        Ok(all["events"].as_array().context("no events")?.iter().filter(is_told).count())
    };
    let before = events(bench)?;
    let mut asked = Wire::client();
    for size in SIZES {
        asked.message(Opcode::Binary, size);
    }
    asked.close(1000);
    let mut answered = Wire::server();
    answered.close(1000);
    // In calls that are over soon, on an emulated machine, too.
    bench.session(Pair::tcp("127.0.0.1")?, &asked, &answered, Sending::Write(100_000), READ)?;
    let after = events(bench)?;
    // The sender's and the receiver's.
    ensure!(after - before == 2 * SIZES.len(), "{} events of {} messages", after - before, SIZES.len());
    Ok(())
}
