//! What `cargo xtask vm` boots a kernel for: the agent, loaded and attached there, counts what passes between both
//! ends of connections that are known to the byte.
//!
//! Prints a line for each thing found out, its words separated by tabs; the last one is the outcome:
//!
//! ```text
//! path     tracepoints of sends and receives
//! program  sock_send_length  84211
//! test     WebSocket over TCP
//! end      passed | refused: REASON | failed: REASON
//! ```

mod adoption;
mod library;
mod preempted;
mod recorded;
mod stream;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use observer_tests::agent::{self, Agent};
use observer_tests::metrics::Metrics;
use observer_tests::websocket::bench::Bench;
use serde_json::Value;

use adoption::Before;
use recorded::Way;

fn main() {
    let outcome = match test() {
        Ok(()) => "passed".to_owned(),
        Err(error) => match refusal() {
            Some(reason) => format!("refused: {reason}"),
            None => format!("failed: {error:#}"),
        },
    };
    // One line, whatever the error holds.
    println!("end\t{}", outcome.replace(['\n', '\t'], " "));
}

/// Why the agent cannot run here, if it says so itself.
fn refusal() -> Option<String> {
    let output = Command::new(agent::binary().ok()?).args(["check", "--json"]).output().ok()?;
    let report: Value = serde_json::from_slice(&output.stdout).ok()?;
    report["reason"].as_str().map(str::to_owned)
}

/// The program without which requests of `io_uring` are counted as bytes alone.
const REQUESTS: &str = "io_uring_submit_req";

/// Passes on what the agent says of its programs, all of which must be attached; tells whether one of them reads
/// requests of `io_uring`.
fn programs(agent: &Agent) -> anyhow::Result<bool> {
    let mut has_requests = false;
    let status = agent.json("/status")?;
    println!("path\t{}", status["data_path"].as_str().context("no data path")?);
    for probe in status["probes"].as_array().context("no probes")? {
        ensure!(probe["state"] == "up", "{} is down: {}", probe["name"], probe["reason"]);
        let name = probe["name"].as_str().context("no name")?;
        println!("program\t{name}\t{}", probe["verified_instructions"]);
        has_requests |= name == REQUESTS;
    }
    Ok(has_requests)
}

/// Has the kernel make no huge pages but where it is asked to.
///
/// While it moves a process's pages, programs cannot read them. They wait until it has done; but where there is one
/// processor only, and whoever moves pages is kept from it by the thread that the program runs for, that is in vain.
fn keep_pages() -> anyhow::Result<()> {
    const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    if Path::new(ENABLED).exists() { fs::write(ENABLED, "madvise").context(ENABLED) } else { Ok(()) }
}

/// What is said through a library is measured as in the clear, as the agent reads it.
fn plaintext(agent: &Agent) -> anyhow::Result<()> {
    let status = agent.json("/status")?;
    let libraries = status["tls_libraries"].as_array().context("no libraries")?;
    let is_own = |library: &&Value| library["path"].as_str().is_some_and(|path| path.ends_with("guest"));
    let own = libraries.iter().find(is_own).with_context(|| format!("not its own among {libraries:?}"))?;
    ensure!(own["reason"].is_null(), "{own}");
    let bytes = |metrics: &Metrics| {
        ["yes", "no"].map(|read| metrics.sum("observer_tls_bytes_total", &[("read", read)]))
    };
    let before = bytes(&agent.scrape()?);
    recorded::redis(agent, Way::Library)?;
    recorded::postgres(agent, Way::Library)?;
    let after = bytes(&agent.scrape()?);
    let [read, unread] = [0, 1].map(|at| after[at] - before[at]);
    ensure!(read > 0.0 && unread == 0.0, "{read} bytes were read, and {unread} were not");
    Ok(())
}

/// Runs every test, with one agent.
fn test() -> anyhow::Result<()> {
    keep_pages()?;
    let before = Before::connect()?;
    // With what reads libraries: all that other programs have, and more, is to get past the kernel's verifier.
    let agent = Agent::start(&["--tls", "start"])?;
    let has_requests = programs(&agent)?;
    let mut bench = Bench::new(agent)?;
    let mut failures = Vec::new();
    let mut note = |name: &str, outcome: anyhow::Result<()>| match outcome {
        Ok(()) => println!("test\t{name}"),
        Err(error) => {
            println!("failed\t{name}\t{}", format!("{error:#}").replace(['\n', '\t'], " "));
            failures.push(name.to_owned());
        }
    };
    note("connections from before the agent", before.go_on(&mut bench));
    note("WebSocket over TCP", stream::tcp(&mut bench));
    note("WebSocket over UNIX sockets", stream::unix(&mut bench));
    if has_requests {
        note("WebSocket through io_uring", stream::requests(&mut bench));
    } else {
        note("io_uring, as bytes", stream::request_bytes(&mut bench));
    }
    note("threads that preempt one another", preempted::threads(&mut bench));
    if has_requests {
        note("the same through io_uring", preempted::requests(&mut bench));
    }
    note("oversized messages", stream::oversized(&mut bench));
    // The last of WebSocket, since the agent may lose some.
    note("memory that the kernel moves", stream::moving(&mut bench));
    note("Redis", recorded::redis(&bench.agent, Way::Clear));
    note("memcached", recorded::memcached(&bench.agent));
    note("Kafka", recorded::kafka(&bench.agent));
    note("Postgres", recorded::postgres(&bench.agent, Way::Clear));
    note("TLS", recorded::tls(&bench.agent));
    note("plaintext of a library", plaintext(&bench.agent));
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join(", ")) }
}
