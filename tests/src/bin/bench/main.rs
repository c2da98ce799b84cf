//! `cargo xtask bench`: what observing costs.
//!
//! The same loads run with nothing attached, with empty programs, with a floor program (the least that looks
//! at a call's bytes) and with the agent, in turn, so that what a noisy machine does meets them all. Ratios
//! are of medians.

mod crowd;
mod http;
mod kafka;
mod load;
mod placement;
mod postgres;
mod programs;
mod redis;

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::load::Load;
use crate::placement::Placement;
use crate::programs::Observer;

/// Measures what observing costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each load runs under each observer.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Measures only this: throughput, nanoseconds, postgres, redis, kafka, http, agent or crowd.
    #[arg(long)]
    only: Option<String>,
    /// Internal: one end of a load.
    #[arg(long, hide = true, num_args = 2..)]
    end: Option<Vec<String>>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(end) = arguments.end {
        return load::run_end(&end);
    }
    let seconds = Duration::from_secs_f64(arguments.seconds);
    let wanted = |part: &str| arguments.only.as_deref().is_none_or(|only| only == part);
    if wanted("throughput") {
        throughput(arguments.rounds, seconds)?;
    }
    if wanted("nanoseconds") {
        nanoseconds(seconds)?;
    }
    if wanted("postgres") {
        postgres::postgres(arguments.rounds, seconds)?;
    }
    if wanted("redis") {
        redis::redis(arguments.rounds, seconds)?;
    }
    if wanted("kafka") {
        kafka::kafka(arguments.rounds, seconds)?;
    }
    if wanted("http") {
        http::http(arguments.rounds, seconds)?;
    }
    if wanted("agent") {
        agent_itself()?;
    }
    if wanted("crowd") {
        crowd::crowd()?;
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Round trips a second under each observer.
fn throughput(rounds: usize, seconds: Duration) -> anyhow::Result<()> {
    for (load, goal) in [(Load::Echo { payload: 64 }, 0.93), (Load::Echo { payload: 65_536 }, 0.98)] {
        let title = format!("{load}, {rounds} rounds of {seconds:?}");
        compare(&title, "round trips/s", goal, &Placement::ALL, rounds, || {
            Ok(load.run(seconds)?.per_second)
        })?;
    }
    Ok(())
}

/// Prints how often a second something can be done under each observer.
fn compare(
    title: &str,
    unit: &str,
    goal: f64,
    placements: &[Placement],
    rounds: usize,
    mut run: impl FnMut() -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    println!("{title}: {unit}, and the ratio to off");
    print!("  {:<32}", "");
    for observer in Observer::ALL {
        print!(" {:>14}", observer.name());
    }
    println!("  goal for the agent: {goal}");
    for &placement in placements {
        let mut rates = Observer::ALL.map(|_| Vec::new());
        for _ in 0..rounds {
            for (observer, rates) in Observer::ALL.into_iter().zip(&mut rates) {
                let running = observer.start()?;
                rates.push(placement.apply(&mut run)?);
                drop(running);
            }
        }
        let rates = rates.map(median);
        print!("  {placement:<32}");
        for rate in rates {
            print!(" {:>8.*} {:.3}", if rate < 100.0 { 3 } else { 0 }, rate, rate / rates[0]);
        }
        println!();
    }
    println!();
    Ok(())
}

/// Nanoseconds a run of each program, as the kernel counts them.
fn nanoseconds(seconds: Duration) -> anyhow::Result<()> {
    let _statistics = programs::Statistics::enable()?;
    println!("nanoseconds a run (kernel.bpf_stats_enabled), net of an empty program");
    println!(
        "  {:<44} {:<18} {:>7} {:>7} {:>7} {:>7}",
        "load", "program", "empty", "floor", "agent", "ratio"
    );
    for load in [
        Load::Echo { payload: 64 },
        Load::Echo { payload: 65_536 },
        Load::Burst { payload: 64, frames: 500 },
        Load::Burst { payload: 0, frames: 100 },
    ] {
        let mut by_observer = Vec::new();
        for observer in [Observer::Empty, Observer::Floor, Observer::Agent] {
            let running = observer.start()?;
            let before = running.costs()?;
            load.run(seconds)?;
            by_observer.push(running.costs()?.since(&before));
        }
        for program in ["sock_send_length", "sock_recv_length"] {
            let cost = |at: usize| by_observer[at].nanoseconds(program).context("a program did not run");
            let (empty, floor, agent) = (cost(0)?, cost(1)?, cost(2)?);
            let (floor, agent) = (floor - empty, agent - empty);
            print!(
                "  {:<44} {program:<18} {empty:>7.0} {floor:>7.0} {agent:>7.0} {:>7.2}",
                load.to_string(),
                agent / floor
            );
            match load {
                Load::Burst { frames, .. } if program == "sock_send_length" => {
                    println!("  {:.1} ns a frame (goal 50)", agent / f64::from(frames));
                }
                Load::Echo { payload: 64 } => println!("  goal 1.30"),
                Load::Burst { .. } | Load::Echo { .. } | Load::Paced { .. } => println!(),
            }
        }
    }
    println!();
    Ok(())
}

/// What the agent itself takes while 50,000 messages a second pass.
fn agent_itself() -> anyhow::Result<()> {
    let running = Observer::Agent.start()?;
    let agent = running.agent().context("the agent does not run")?;
    let seconds = Duration::from_secs(10);
    let before = programs::cpu_seconds(agent.pid())?;
    let outcome = Load::Paced { payload: 64, per_second: 50_000 }.run(seconds)?;
    let used = programs::cpu_seconds(agent.pid())? - before;
    agent.scrape()?;
    println!("the agent at {:.0} messages/s, both ends observed, for {seconds:?}", outcome.per_second);
    println!("  processor   {:>6.2} % of one (goal 1)", 100.0 * used / outcome.seconds);
    println!("  resident    {:>6.1} MB (goal 40)", agent.resident_bytes()? as f64 / 1e6);
    Ok(())
}
