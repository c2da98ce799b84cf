//! `cargo xtask test`: first what needs no kernel, then the agent against real servers and clients.

use anyhow::{Context as _, Result};

use crate::command::run;
use crate::setup::{self, Needs};
use crate::{build, cargo, privilege, workspace};

/// The command.
pub(crate) fn command(filter: Option<&str>) -> Result<()> {
    setup::ensure(Needs::Everything)?;
    build::everything()?;
    host(filter)?;
    end_to_end(filter)
}

/// Unit, documentation and parser tests. No root, no kernel.
fn host(filter: Option<&str>) -> Result<()> {
    let mut cargo = cargo::same();
    cargo.args(["test", "--workspace", "--exclude", "observer-tests"]).args(build::target_directory());
    run(cargo.args(filter)).context("tests on the host")
}

/// The agent on this kernel. One test at a time: each watches the whole host.
fn end_to_end(filter: Option<&str>) -> Result<()> {
    let mut cargo = cargo::same();
    // A test that fails is no reason not to hear of others.
    cargo.args(["test", "--release", "--no-fail-fast", "--package", "observer-tests"]);
    cargo.args(build::target_directory());
    cargo.args(privilege::cargo_runner().context("end-to-end tests")?);
    cargo.args(["--", "--test-threads=1"]).args(filter).envs(environment());
    run(&mut cargo).context("end-to-end tests")
}

/// What the end-to-end tests and the benchmark find things by.
pub(crate) fn environment() -> [(&'static str, std::path::PathBuf); 2] {
    [("OBSERVER_BIN", workspace::agent()), ("OBSERVER_TEST_ENV", workspace::test_env())]
}
