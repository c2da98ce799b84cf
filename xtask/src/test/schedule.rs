//! Runs jobs side by side where their needs allow it, tries once more what failed, by itself, and says at the end what
//! that came to.

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

/// Of how many tests at most a failure may be the machine's. If more fail, it is what they test that does.
const MOST_UNSTEADY: usize = 3;

/// Runs all jobs, at most so many at a time; fails if any test does, and does so again by itself.
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
            show(&job, &outcome);
            failed.extend(failures(job, &outcome));
        }
        Ok(())
    })?;
    println!("\n{tests} end-to-end tests in {:.0} s", start.elapsed().as_secs_f64());
    if failed.iter().map(|job| job.tests.len()).sum::<usize>() > MOST_UNSTEADY {
        return refuse(&failed);
    }
    again(failed)
}

/// Runs what failed once more, with nothing beside it: a machine that is not ours alone takes a processor away for longer
/// than some tests can allow for. What passes then is told, as unsteady.
fn again(failed: Vec<Job>) -> Result<()> {
    let mut unsteady = Vec::new();
    let mut failed_again = Vec::new();
    for job in failed {
        println!("\n     Once more, by itself: {}", names(&job));
        let outcome = go(0, &job)?;
        show(&job, &outcome);
        let name = names(&job);
        match failures(job, &outcome) {
            Some(job) => failed_again.push(job),
            None => unsteady.push(name),
        }
    }
    if !unsteady.is_empty() {
        println!(
            "\nUNSTEADY: failed beside others, passed by itself. Find out why:\n  {}",
            unsteady.join("\n  ")
        );
    }
    refuse(&failed_again)
}

/// An error that names the tests, if there are any.
fn refuse(failed: &[Job]) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let tests: usize = failed.iter().map(|job| job.tests.len()).sum();
    bail!("{tests} failed:\n  {}", failed.iter().map(names).collect::<Vec<_>>().join("\n  "));
}

fn names(job: &Job) -> String {
    format!("{}: {}", job.name, job.tests.join(", "))
}

fn show(job: &Job, outcome: &Outcome) {
    println!("\n     Running {} ({:.1} s)", job.name, outcome.took.as_secs_f64());
    print!("{}", outcome.output);
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

/// The job with those of its tests that failed; none if all passed.
fn failures(job: Job, outcome: &Outcome) -> Option<Job> {
    let tests = failed_tests(&job.tests, outcome.status.success(), &outcome.output);
    if tests.is_empty() { None } else { Some(job.of(tests)) }
}

/// The tests that failed, by what their binary says; all of them, if it says of none and has not passed.
fn failed_tests(tests: &[String], is_success: bool, output: &str) -> Vec<String> {
    let named = output.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let named: Vec<String> = named.map(str::to_owned).collect();
    let passed = format!("test result: ok. {} passed; 0 failed;", tests.len());
    if named.is_empty() && !(is_success && output.contains(&passed)) { tests.to_vec() } else { named }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::needs::parts;

    #[test]
    fn a_binary_that_does_not_say_what_passed_has_failed() {
        let tests = ["one", "two"].map(str::to_owned);
        let passed = "test one ... ok\ntest two ... ok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        let failed = "test one ... ok\ntest two ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed;\n";
        let only_one = "test one ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert_eq!(failed_tests(&tests, true, passed), [] as [&str; 0]);
        assert_eq!(failed_tests(&tests, false, failed), ["two"]);
        for (is_success, output) in [(false, passed), (true, only_one), (true, ""), (false, "Killed")] {
            assert_eq!(failed_tests(&tests, is_success, output), tests);
        }
    }

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
