//! What answers and memory take while many connections are open, each seen from both ends.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use observer_tests::crowd::Crowd;

use crate::median;
use crate::programs::{self, Observer};

/// How often each endpoint is asked.
const ASKED: usize = 11;

/// Asks the agent while so many sockets are tracked, all of which have said something lately.
pub(crate) fn crowd() -> anyhow::Result<()> {
    for pairs in [10_000, 20_000] {
        let running = Observer::Agent.start()?;
        let agent = running.agent().context("the agent does not run")?;
        let mut crowd = Crowd::open(pairs)?;
        crowd.speak()?;
        thread::sleep(Duration::from_secs(3));
        crowd.speak()?;
        println!("{pairs} WebSocket connections, both ends observed: {} tracked", 2 * pairs);
        let before = programs::cpu_seconds(agent.pid())?;
        thread::sleep(Duration::from_secs(5));
        let used = programs::cpu_seconds(agent.pid())? - before;
        println!("  processor            {:>6.2} % of one", 100.0 * used / 5.0);
        for path in ["/metrics", "/flows?limit=100", "/flows", "/processes"] {
            let mut times = Vec::with_capacity(ASKED);
            for _ in 0..ASKED {
                let start = Instant::now();
                agent.get(path)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            println!("  {path:<20} {:>6.1} ms, median of {ASKED} (goal 100)", median(times));
            println!("    resident {:>6.1} MB (goal 60)", agent.resident_bytes()? as f64 / 1e6);
        }
    }
    Ok(())
}
