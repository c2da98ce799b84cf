//! `cargo xtask bench`: what observing costs, beside programs that do nothing or only the least.

use anyhow::{Context as _, Result};

use crate::architecture::Architecture;
use crate::command::run;
use crate::setup::{self, Needs};
use crate::{build, cargo, privilege, test};

/// The command.
pub(crate) fn command(args: Vec<String>) -> Result<()> {
    setup::ensure(Needs::Everything)?;
    build::everything()?;
    let host = Architecture::host()?;
    build::bpf("bench-empty", host)?;
    build::bpf("bench-floor", host)?;
    let mut cargo = cargo::same();
    cargo.args(["run", "--release", "--package", "observer-tests", "--bin", "bench"]);
    cargo.args(build::target_directory()).args(privilege::cargo_runner().context("the benchmark")?);
    let objects = [("OBSERVER_BENCH_EMPTY", "bench-empty"), ("OBSERVER_BENCH_FLOOR", "bench-floor")];
    cargo.envs(objects.map(|(variable, binary)| (variable, build::object(binary, host))));
    run(cargo.arg("--").args(args).envs(test::environment())).context("the benchmark")
}
