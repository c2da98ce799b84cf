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
/// what is one of many that run one after the other, as the last of them is what everybody waits for; of those, what
/// takes long. What runs alone is at the end.
fn in_order(mut jobs: Vec<Job>) -> Vec<Job> {
    let all: Vec<Needs> = jobs.iter().map(|job| job.needs.clone()).collect();
    jobs.sort_by_cached_key(|job| {
        let others = all.iter().filter(|other| other.disturbs(&job.needs)).count();
        let row = in_a_row(&job.needs, &all);
        (job.needs.is_host(), Reverse(others), Reverse(row), Reverse(job.needs.seconds), job.name.clone())
    });
    jobs
}

/// How many seconds a job takes and all that cannot run beside it, but for what runs alone.
fn in_a_row(needs: &Needs, all: &[Needs]) -> u32 {
    let others = all.iter().filter(|other| !other.is_host() && other.conflict(needs));
    let seconds: u32 = others.map(|other| other.seconds).sum();
    // What needs something for itself is among those.
    if needs.conflict(needs) { seconds } else { seconds + needs.seconds }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::needs::parts;

    #[test]
    fn a_row_is_what_cannot_run_beside_each_other() -> Result<()> {
        let needs = |text: &str| -> Result<Needs> {
            let first = parts(&format!("{text}\nuse std::fs;\n"))?.into_iter().next();
            Ok(first.context("no part")?.needs)
        };
        let redis = needs("// needs: redis\n// takes: 20 s")?;
        let rates = needs("// needs: messages\n// takes: 100 s")?;
        let page = needs("// makes: messages\n// takes: 7 s")?;
        let nothing = needs("// needs: nothing\n// takes: 3 s")?;
        let host = needs("// needs: host\n// takes: 1000 s")?;
        let all = [&redis, &redis, &rates, &page, &page, &nothing, &host].map(Needs::clone);
        let rows = [&redis, &rates, &page, &nothing].map(|needs| in_a_row(needs, &all));
        // Those that only disturb another do not wait for each other.
        assert_eq!(rows, [20 + 20, 100 + 7 + 7, 100 + 7, 3]);
        Ok(())
    }
}
