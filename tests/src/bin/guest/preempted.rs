//! Threads that take the processor from one another in the middle of their calls.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use observer_tests::ring::By;
use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::{REQUEST, RESPONSE, Wire};

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// How often the thread that goes before others sends and receives.
const INTERRUPTIONS: u32 = 2_000;
/// The same of requests of `io_uring`, for each of those who carry them out.
const REQUEST_INTERRUPTIONS: u32 = 200;
/// How long it sleeps in between. The other one sends and receives meanwhile, without a pause.
const PAUSE: Duration = Duration::from_micros(300);
/// How many do. With more than one, two may be kept in the middle of their calls at once, one in each of the agent's two
/// programs: then the first thread's call is lost, which the agent counts.
const BUSY: usize = 1;

/// Through system calls.
pub(crate) fn threads(bench: &mut Bench) -> anyhow::Result<()> {
    exchanges(bench, WRITE, READ, INTERRUPTIONS)
}

/// Through requests of `io_uring`, whoever carries them out.
pub(crate) fn requests(bench: &mut Bench) -> anyhow::Result<()> {
    [By::Thread, By::Worker, By::Poller].into_iter().try_for_each(|by| {
        let (sending, receiving) = (Sending::Ring(by, usize::MAX), Receiving::Ring(by, 1 << 16));
        exchanges(bench, sending, receiving, REQUEST_INTERRUPTIONS)
    })
}

/// One thread sends and receives whenever its time has come, whatever the processor is at: most often a program of the
/// agent's, for another thread sends and receives all the time. Every message of both must be counted.
fn exchanges(
    bench: &mut Bench,
    sending: Sending,
    receiving: Receiving,
    interruptions: u32,
) -> anyhow::Result<()> {
    let mut message = Wire::client();
    message.message(Opcode::Binary, 60);
    let mut pairs = Vec::new();
    for _ in 0..=BUSY {
        let pair = Pair::tcp("127.0.0.1")?;
        pair.ask(REQUEST, WRITE, READ)?;
        pair.answer(RESPONSE, WRITE, READ)?;
        bench.count(REQUEST.len(), RESPONSE.len());
        bench.open(1);
        pairs.push(pair);
    }
    let urgent = pairs.pop().context("there is one more")?;
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let busy: Vec<_> = pairs
            .iter()
            .map(|pair| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !is_over.load(Relaxed) {
                        exchange(pair, &message, sending, receiving)?;
                        count += 1;
                    }
                    Ok::<u32, anyhow::Error>(count)
                })
            })
            .collect();
        let urgent = scope.spawn(|| {
            let outcome = go_first().and_then(|()| {
                for _ in 0..interruptions {
                    thread::sleep(PAUSE);
                    exchange(&urgent, &message, sending, receiving)?;
                }
                Ok(interruptions)
            });
            is_over.store(true, Relaxed);
            outcome
        });
        let mut sent = 0;
        for thread in busy.into_iter().chain([urgent]) {
            sent += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok::<u32, anyhow::Error>(sent)
    })?;
    bench.count(message.bytes.len() * sent as usize, 0);
    bench.client.sent.add_all(&message.traffic, sent);
    bench.server.received.add_all(&message.traffic, sent);
    bench.settle()?;
    drop((pairs, urgent));
    for _ in 0..=BUSY {
        bench.close("none");
    }
    bench.settle()
}

/// Sends a message, and receives it at the other end.
fn exchange(pair: &Pair, message: &Wire, sending: Sending, receiving: Receiving) -> anyhow::Result<()> {
    pair.client.send(&message.bytes, sending)?;
    pair.server.receive(message.bytes.len(), receiving).map(drop)
}

/// Makes this thread one that runs at once when it can.
fn go_first() -> anyhow::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters are there; 0 is this thread.
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("no real-time thread") }
}
