//! `cargo xtask test`: first what needs no kernel, then the agent against real servers and clients.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::run;
use crate::setup::{self, Needs};
use crate::{build, cargo, privilege, workspace};

/// The command.
pub(crate) fn command(filter: Option<&str>) -> Result<()> {
    setup::ensure(Needs::Everything)?;
    build::everything()?;
    host(filter)?;
    run(end_to_end(&[])?.args(filter)).context("end-to-end tests")
}

/// Unit, documentation and parser tests. No root, no kernel.
fn host(filter: Option<&str>) -> Result<()> {
    let mut cargo = cargo::same();
    cargo.args(["test", "--workspace", "--exclude", "observer-tests"]).args(build::target_directory());
    run(cargo.args(filter)).context("tests on the host")
}

/// The agent on this kernel, in all or some of the test binaries. One test at a time: each watches the whole host.
pub(crate) fn end_to_end(which: &[&str]) -> Result<Command> {
    let mut cargo = cargo::same();
    // A test that fails is no reason not to hear of others.
    cargo.args(["test", "--release", "--no-fail-fast", "--package", "observer-tests"]).args(which);
    cargo.args(build::target_directory());
    cargo.args(privilege::cargo_runner().context("end-to-end tests")?);
    cargo.args(["--", "--test-threads=1"]).envs(environment());
    Ok(cargo)
}

/// What the end-to-end tests and the benchmark find things by.
pub(crate) fn environment() -> [(&'static str, std::path::PathBuf); 2] {
    [("OBSERVER_BIN", workspace::agent()), ("OBSERVER_TEST_ENV", workspace::test_env())]
}
