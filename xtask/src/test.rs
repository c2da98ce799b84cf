//! `cargo xtask test`: first what needs no kernel, then the agent against real servers and clients.

mod jobs;
mod needs;
mod schedule;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::command::{run, shown};
use crate::setup::{self, Needs};
use crate::{build, cargo, privilege, workspace};

/// The command. So many binaries of end-to-end tests run at a time.
pub(crate) fn command(filter: Option<&str>, at_once: Option<usize>) -> Result<()> {
    setup::ensure(Needs::Build)?;
    // A build leaves processors idle wherever crates wait for one, as does what waits for the network. So whatever does
    // not need the other goes on at the same time. What runs does not: some tests compare times.
    let binaries = thread::scope(|scope| {
        let installed = scope.spawn(|| setup::ensure(Needs::Everything));
        build::program()?;
        let host = scope.spawn(build_host);
        let built = build::agent().and_then(|()| jobs::build());
        ended(host)?;
        ended(installed)?;
        built
    })?;
    run(cargo_of_host().args(filter)).context("tests on the host")?;
    let jobs = jobs::find(&binaries, filter).context("end-to-end tests")?;
    // Who must give a password does so before several want it at once.
    if let [program, words @ ..] = &privilege::prefix()?[..] {
        run(Command::new(program).args(words).arg("true"))?;
    }
    schedule::run(jobs, at_once.unwrap_or_else(at_once_here)).context("end-to-end tests")
}

fn ended(work: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    work.join().map_err(|_| anyhow!("a part of this program panicked"))?
}

/// Tests wait for others most of their time, so that a processor is enough for two binaries of them.
fn at_once_here() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    (2 * processors).min(8)
}

/// Unit, documentation and parser tests. No root, no kernel.
fn cargo_of_host() -> Command {
    let mut cargo = cargo::same();
    cargo.args(["test", "--workspace", "--exclude", "observer-tests"]).args(build::target_directory());
    cargo
}

/// Builds them; what cargo prints is shown if they do not build.
fn build_host() -> Result<()> {
    let (status, output) = captured(cargo_of_host().arg("--no-run"), "host")?;
    ensure!(status.success(), "the tests on the host do not build ({status}):\n{output}");
    Ok(())
}

/// Runs a command to its end; what it prints goes into a file, for a process that it leaves behind may hold that open.
fn captured(command: &mut Command, name: &str) -> Result<(ExitStatus, String)> {
    let directory = workspace::target().join("test-output");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let path = directory.join(format!("{name}.txt"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    let output = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((status, String::from_utf8_lossy(&output).into_owned()))
}

/// Cargo with a subcommand, about the end-to-end tests.
fn cargo_of_tests(subcommand: &str) -> Command {
    let mut cargo = cargo::same();
    cargo.args([subcommand, "--release", "--package", "observer-tests"]).args(build::target_directory());
    cargo
}

/// One binary of the end-to-end tests, by cargo itself: one test at a time, and what they print as they print it.
pub(crate) fn one(binary: &str) -> Result<Command> {
    let mut cargo = cargo_of_tests("test");
    cargo.args(["--test", binary]).args(privilege::cargo_runner().context("end-to-end tests")?);
    cargo.args(["--", "--test-threads=1", "--nocapture"]).envs(environment());
    Ok(cargo)
}

/// What the end-to-end tests and the benchmark find things by.
pub(crate) fn environment() -> [(&'static str, PathBuf); 2] {
    [("OBSERVER_BIN", workspace::agent()), ("OBSERVER_TEST_ENV", workspace::test_env())]
}
