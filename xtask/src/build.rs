//! `cargo xtask build`: BPF first, then the agent, which holds it.
//!
//! The BPF program reads registers of the machine that it is for.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::architecture::Architecture;
use crate::command::{self, run};
use crate::setup::{self, Needs};
use crate::toolchain::{TARGET, Toolchain};
use crate::{cargo, workspace};

/// How the BPF program is compiled. rustc itself tells bpf-linker the processor.
const FLAGS: [&str; 6] = [
    "-Clinker=bpf-linker",
    "-Clink-arg=--btf",
    // Which would have every run of zeroes written byte by byte, in a function.
    "-Clink-arg=--disable-expand-memcpy-in-order",
    "-Ctarget-cpu=v3",
    "-Cdebuginfo=2",
    "-Cpanic=abort",
];

/// The command.
pub(crate) fn command() -> Result<()> {
    setup::ensure(Needs::Build)?;
    everything()
}

/// Builds the BPF program and the agent; for callers that have set up.
pub(crate) fn everything() -> Result<()> {
    program()?;
    agent()
}

/// Builds the BPF program, which the agent holds.
pub(crate) fn program() -> Result<()> {
    bpf("observer-program", Architecture::host()?)
}

/// Builds the agent around the program.
///
/// The package of the end-to-end tests is named, too, though nothing of it is built: cargo compiles a dependency with
/// the features that all named packages ask for. The tests then use what is compiled here, which saves a minute.
pub(crate) fn agent() -> Result<()> {
    let mut cargo = cargo::same();
    cargo.args(["build", "--release", "--package", "observer", "--package", "observer-tests"]);
    run(cargo.args(["--bin", "observer"]).args(target_directory())).context("the agent does not build")
}

/// Builds the agent and the guest that tests it in a machine; tells where they are.
///
/// For another architecture than the host's they hold all that they are linked with: its libraries are not here.
pub(crate) fn guest(architecture: Architecture) -> Result<[PathBuf; 2]> {
    bpf("observer-program", architecture)?;
    let is_host = architecture == Architecture::host()?;
    let mut cargo = if is_host { cargo::same() } else { cargo::with_tools() };
    cargo.args(["build", "--release", "--package", "observer", "--package", "observer-tests"]);
    cargo.args(["--bin", "observer", "--bin", "guest"]).args(target_directory());
    let mut directory = workspace::target();
    if !is_host {
        let target = architecture.target();
        let variable =
            |name: &str| format!("CARGO_TARGET_{}_{name}", target.to_uppercase().replace('-', "_"));
        cargo.args(["--target", target]);
        cargo.env(variable("LINKER"), architecture.tool("gcc"));
        cargo.env(variable("RUSTFLAGS"), "-Ctarget-feature=+crt-static");
        directory = directory.join(target);
    }
    run(&mut cargo).with_context(|| format!("the agent does not build for {}", architecture.name()))?;
    Ok(["observer", "guest"].map(|name| directory.join("release").join(name)))
}

/// The option that keeps the build where the rest looks for it, whatever cargo's configuration says.
pub(crate) fn target_directory() -> [String; 2] {
    ["--target-dir".to_owned(), workspace::target().display().to_string()]
}

/// Builds a binary of `observer-ebpf` into `target/bpf/<architecture>/<binary>.o`.
pub(crate) fn bpf(binary: &str, architecture: Architecture) -> Result<()> {
    let toolchain = Toolchain::find().context("no `core` for BPF; run `cargo xtask setup`")?;
    let mut cargo = bpf_cargo(&toolchain, "build", &FLAGS, architecture)?;
    run(cargo.args(["--bin", binary])).with_context(|| format!("the BPF program {binary} does not build"))?;

    let built = architecture.bpf().join(TARGET).join("release").join(binary);
    let kept = object(binary, architecture);
    let bytes = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    // Left alone when it is the same, so that cargo does not build the agent again for nothing.
    if !fs::read(&kept).is_ok_and(|present| present == bytes) {
        fs::write(&kept, bytes).with_context(|| format!("cannot write {}", kept.display()))?;
    }
    Ok(())
}

/// Where [`bpf`] leaves a binary.
pub(crate) fn object(binary: &str, architecture: Architecture) -> PathBuf {
    architecture.bpf().join(format!("{binary}.o"))
}

/// Looks at all of the BPF half for warnings, for every architecture, with clippy where the toolchain has one.
pub(crate) fn lint_bpf() -> Result<()> {
    let toolchain = Toolchain::find().context("no `core` for BPF; run `cargo xtask setup`")?;
    let flags: Vec<&str> = FLAGS.iter().copied().chain(["-Dwarnings"]).collect();
    let subcommand = if toolchain.has_clippy() {
        "clippy"
    } else {
        println!("not clippy but rustc's own lints: the compiler used for BPF comes without a clippy");
        "check"
    };
    for architecture in Architecture::ALL {
        run(bpf_cargo(&toolchain, subcommand, &flags, architecture)?.arg("--bins"))
            .with_context(|| format!("the BPF program for {} has warnings", architecture.name()))?;
    }
    Ok(())
}

fn bpf_cargo(
    toolchain: &Toolchain,
    subcommand: &str,
    flags: &[&str],
    architecture: Architecture,
) -> Result<std::process::Command> {
    let machine = format!("--cfg=bpf_target_arch=\"{}\"", architecture.name());
    let flags: Vec<&str> = flags.iter().copied().chain([machine.as_str()]).collect();
    let mut cargo = toolchain.cargo(subcommand)?;
    cargo
        .args(["--package", "observer-ebpf", "--features", "program", "--release", "--target-dir"])
        .arg(architecture.bpf())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // rustc looks for the linker on PATH, which need not have what `cargo install` installs.
    if let Some(linker) = command::find("bpf-linker")
        && let Some(directory) = linker.parent()
    {
        cargo.env("PATH", command::path_with(directory)?);
    }
    Ok(cargo)
}
