//! Redis under each observer: as many commands as there can be, in pipelines and not, and what ten thousand a second
//! take of the server.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::redis::benchmark::Benchmark;
use observer_tests::redis::server::Server;
use observer_tests::redis::wire::{Reply, Session, command};

use crate::compare;
use crate::placement::Placement;

/// Sessions that are busy at once.
const SESSIONS: &str = "20";
/// The load at which the server's processor time is looked at.
const PER_SECOND: usize = 10_000;
/// Its sessions: each has a command a millisecond.
const PACED_SESSIONS: usize = 10;

/// Compares the rates of all.
pub(crate) fn redis(rounds: usize, seconds: Duration) -> anyhow::Result<()> {
    let server = Server::start()?;
    let benchmark = Benchmark::new(&server.target())?;
    // The server's process is where it is.
    let placements = [Placement::Any];
    for (depth, goal) in [("1", 0.95), ("16", 0.90), ("64", 0.90)] {
        for which in ["get", "set"] {
            let load = ["-t", which, "-P", depth, "-c", SESSIONS, "-r", "1000"];
            // It takes a number, and no time.
            let rate = benchmark.run(&[&load[..], &["-n", "50000"]].concat())?.per_second;
            let commands = format!("{:.0}", rate * seconds.as_secs_f64());
            let title = format!("redis-benchmark {}, {rounds} rounds of {commands}", load.join(" "));
            compare(&title, "commands/s", goal, &placements, rounds, || {
                Ok(benchmark.run(&[&load[..], &["-n", &commands]].concat())?.per_second)
            })?;
        }
    }
    let title = format!("{PER_SECOND} GETs/s, {rounds} rounds of {seconds:?}");
    let unit = "commands in a second of the server's processor time";
    compare(&title, unit, 0.95, &placements, rounds, || paced(&server, seconds))
}

/// How many commands a second of the server's time is enough for.
fn paced(server: &Server, duration: Duration) -> anyhow::Result<f64> {
    let mut sessions =
        (0..PACED_SESSIONS).map(|_| Session::connect(&server.target())).collect::<Result<Vec<_>, _>>()?;
    let get = command(&["GET", "key:1"]);
    let before = processor_time(server)?;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < duration {
        for session in &mut sessions {
            session.send(&get)?;
        }
        for session in &mut sessions {
            ensure!(!matches!(session.reply()?, Reply::Error(_)), "an error");
        }
        count += PACED_SESSIONS;
        let due = Duration::from_secs_f64(count as f64 / PER_SECOND as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    ensure!(rate > 0.9 * PER_SECOND as f64, "only {rate} commands/s");
    Ok(count as f64 / (processor_time(server)? - before))
}

/// Seconds that the server's main thread, which does all of its work, has had ("Scheduler Statistics" in the
/// kernel's documentation).
fn processor_time(server: &Server) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", server.pid()))?;
    let nanoseconds = text.split_ascii_whitespace().next().context("no schedstat")?;
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}
