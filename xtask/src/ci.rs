//! `cargo xtask ci`: the lints, then the tests.

use anyhow::{Context as _, Result};

use crate::command::{self, run};
use crate::setup::{self, Needs};
use crate::{build, cargo, test};

/// The command.
pub(crate) fn command(no_test: bool) -> Result<()> {
    setup::ensure(if no_test { Needs::Build } else { Needs::Everything })?;
    lints()?;
    if no_test { Ok(()) } else { test::command(None, None) }
}

fn lints() -> Result<()> {
    step("formatting");
    run(cargo::same().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")?;

    step("clippy");
    let mut clippy = cargo::same();
    clippy.args(["clippy", "--workspace", "--all-targets"]).args(build::target_directory());
    run(clippy.args(["--", "-D", "warnings"])).context("clippy")?;

    step("lints of the BPF program");
    build::lint_bpf()?;

    step("documentation");
    let mut doc = cargo::same();
    doc.args(["doc", "--workspace", "--no-deps"]).args(build::target_directory());
    run(doc.env("RUSTDOCFLAGS", "-D warnings")).context("documentation")?;

    step("dependencies");
    if command::find("cargo-deny").is_none() {
        println!("NOT CHECKED: cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    }
    run(cargo::same().args(["deny", "--workspace", "check"])).context("see deny.toml")
}

fn step(name: &str) {
    println!("==> {name}");
}
