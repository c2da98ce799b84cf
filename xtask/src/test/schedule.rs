//! Runs jobs side by side where their needs allow it, and says at the end what failed.

use std::cmp::Reverse;
use std::process::ExitStatus;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::captured;
use super::jobs::Job;
use super::needs::Needs;

/// How a job has ended.
struct Outcome {
    status: ExitStatus,
    /// All that it printed.
    output: String,
    took: Duration,
}

/// Runs all jobs, at most so many at a time; fails if any test does.
pub(super) fn run(jobs: Vec<Job>, at_once: usize) -> Result<()> {
    let start = Instant::now();
    let tests: usize = jobs.iter().map(|job| job.tests.len()).sum();
    println!("{tests} end-to-end tests, in {} jobs of which {at_once} run at a time", jobs.len());
    let mut failed = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let mut waiting = in_order(jobs);
        let mut running: Vec<(usize, Needs)> = Vec::new();
        let (done, ended) = channel();
        let mut number = 0;
        while !waiting.is_empty() || !running.is_empty() {
            while running.len() < at_once
                && let Some(next) = next(&waiting, &running)
            {
                let job = waiting.remove(next);
                number += 1;
                running.push((number, job.needs.clone()));
                let done = done.clone();
                scope.spawn(move || {
                    let outcome = go(number, &job);
                    // Whoever waits for it is there until all have ended.
                    let _ = done.send((number, job, outcome));
                });
            }
            let (number, job, outcome) = ended.recv().context("no job is left")?;
            running.retain(|(other, _)| *other != number);
            let outcome = outcome.with_context(|| job.name.clone())?;
            println!("\n     Running {} ({:.1} s)", job.name, outcome.took.as_secs_f64());
            print!("{}", outcome.output);
            failed.extend(failures(&job, &outcome));
        }
        Ok(())
    })?;
    println!("\n{tests} end-to-end tests in {:.0} s", start.elapsed().as_secs_f64());
    if !failed.is_empty() {
        bail!("{} failed:\n  {}", failed.len(), failed.join("\n  "));
    }
    Ok(())
}

/// First what must not be disturbed by many others, which wait meanwhile: it would never find the moment later. Then
/// what takes long; and what runs alone at the end.
fn in_order(mut jobs: Vec<Job>) -> Vec<Job> {
    let all: Vec<Needs> = jobs.iter().map(|job| job.needs.clone()).collect();
    jobs.sort_by_cached_key(|job| {
        let others = all.iter().filter(|other| other.disturbs(&job.needs)).count();
        (job.needs.is_host(), Reverse(others), Reverse(job.needs.seconds), job.name.clone())
    });
    jobs
}

/// The first job that may start beside those that run.
fn next(waiting: &[Job], running: &[(usize, Needs)]) -> Option<usize> {
    waiting.iter().position(|job| running.iter().all(|(_, needs)| !job.needs.conflict(needs)))
}

fn go(number: usize, job: &Job) -> Result<Outcome> {
    let start = Instant::now();
    let (status, output) = captured(&mut job.command(), &number.to_string())?;
    Ok(Outcome { status, output, took: start.elapsed() })
}

/// The tests of a job that failed, by what their binary says; or the job, if it says of none.
fn failures(job: &Job, outcome: &Outcome) -> Vec<String> {
    let lines = outcome.output.lines();
    let names = lines.filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let names: Vec<String> = names.map(|name| format!("{}: {name}", job.name)).collect();
    let passed = format!("test result: ok. {} passed; 0 failed;", job.tests.len());
    if names.is_empty() && !(outcome.status.success() && outcome.output.contains(&passed)) {
        return vec![format!("{}: {}", job.name, outcome.status)];
    }
    names
}
