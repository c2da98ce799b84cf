//! `core` for BPF; see `toolchain` for the two ways to have it.

use std::process::Command;

use anyhow::{Result, anyhow};

use super::{apt, report::Report};
use crate::command::{find, run};
use crate::llvm;
use crate::toolchain::Toolchain;

const ITEM: &str = "core for BPF";
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// A dated nightly: the newest has a newer LLVM than bpf-linker, and one that is already on this host under
/// the plain name is not ours to update.
const NIGHTLY: [&str; 7] =
    ["toolchain", "install", "nightly-2026-05-20", "--profile", "minimal", "--component", "rust-src,clippy"];

pub(super) fn ensure(report: &mut Report) {
    if Toolchain::find().is_none() && !report.install(ITEM, &advice(), install) {
        return;
    }
    match Toolchain::find() {
        Some(toolchain) => report.found(ITEM, toolchain),
        None => report.lacks(ITEM, &advice()),
    }
}

/// The distribution's first, because it is of a fixed version; then rustup's. A way that fails gives way to
/// the next.
fn install() -> Result<()> {
    let mut failures = Vec::new();
    for way in [from_distribution, from_rustup] {
        match way() {
            Ok(()) if Toolchain::find().is_some() => return Ok(()),
            Ok(()) => failures.push(format!("there still is none for LLVM {}", llvm::MAJOR)),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    Err(anyhow!(failures.join("; ")))
}

fn from_distribution() -> Result<()> {
    apt::install(&PACKAGES)
}

fn from_rustup() -> Result<()> {
    run(Command::new("rustup").args(NIGHTLY))
}

fn advice() -> String {
    let rustup = format!("rustup {}", NIGHTLY.join(" "));
    if find("apt-get").is_some() { format!("{}   (or: {rustup})", apt::advice(&PACKAGES)) } else { rustup }
}
