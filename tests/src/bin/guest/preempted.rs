//! Threads that take the processor from one another in the middle of their calls.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::{REQUEST, RESPONSE, Wire};

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// How often the thread that goes before others sends and receives.
const INTERRUPTIONS: u32 = 2_000;
/// How long it sleeps in between. The other one sends and receives meanwhile, without a pause.
const PAUSE: Duration = Duration::from_micros(300);
/// How many do. With more than one, two may be kept in the middle of their calls at once, one in each of the agent's two
/// programs: then the first thread's call is lost, which the agent counts.
const BUSY: usize = 1;

/// One thread sends and receives whenever its time has come, whatever the processor is at: most often a program of the
/// agent's, for another thread sends and receives all the time. Every message of both must be counted.
pub(crate) fn threads(bench: &mut Bench) -> anyhow::Result<()> {
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
                        exchange(pair, &message)?;
                        count += 1;
                    }
                    Ok::<u32, anyhow::Error>(count)
                })
            })
            .collect();
        let urgent = scope.spawn(|| {
            let outcome = go_first().and_then(|()| {
                for _ in 0..INTERRUPTIONS {
                    thread::sleep(PAUSE);
                    exchange(&urgent, &message)?;
                }
                Ok(INTERRUPTIONS)
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
fn exchange(pair: &Pair, message: &Wire) -> anyhow::Result<()> {
    pair.client.send(&message.bytes, WRITE)?;
    pair.server.receive(message.bytes.len(), READ).map(drop)
}

/// Makes this thread one that runs at once when it can.
fn go_first() -> anyhow::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameters are there; 0 is this thread.
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).context("no real-time thread") }
}
