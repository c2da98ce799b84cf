//! `cargo xtask test`: first what needs no kernel, then the agent against real servers and clients.

mod jobs;
mod needs;
mod schedule;

use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow};

use crate::command::run;
use crate::setup::{self, Needs};
use crate::{build, cargo, privilege, workspace};

/// The command. So many binaries of end-to-end tests run at a time.
pub(crate) fn command(filter: Option<&str>, at_once: Option<usize>) -> Result<()> {
    prepare()?;
    if std::env::var_os("XT_NOHOST").is_none() {
        host(filter)?;
    }
    let jobs = jobs::find(filter).context("end-to-end tests")?;
    schedule::run(jobs, at_once.unwrap_or_else(at_once_here)).context("end-to-end tests")
}

/// Builds the agent, and installs what the tests need beside that: the one takes the processors, and the other mostly
/// waits for the network.
fn prepare() -> Result<()> {
    setup::ensure(Needs::Build)?;
    thread::scope(|scope| {
        let installed = scope.spawn(|| setup::ensure(Needs::Everything));
        let built = build::everything();
        installed.join().map_err(|_| anyhow!("the setup panicked"))?.and(built)
    })
}

/// Tests wait for others most of their time, so that a processor is enough for two binaries of them.
fn at_once_here() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    (2 * processors).min(8)
}

/// Unit, documentation and parser tests. No root, no kernel.
fn host(filter: Option<&str>) -> Result<()> {
    let mut cargo = cargo::same();
    cargo.args(["test", "--workspace", "--exclude", "observer-tests"]).args(build::target_directory());
    run(cargo.args(filter)).context("tests on the host")
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
