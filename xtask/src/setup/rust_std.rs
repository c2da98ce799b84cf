//! Rust's standard library for another machine than this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::report::Report;
use crate::architecture::Architecture;
use crate::command::{output, run};

pub(super) fn ensure(report: &mut Report, architecture: Architecture) {
    let target = architecture.target();
    let item = format!("std for {target}");
    let command = format!("rustup target add {target}");
    let install = || run(Command::new("rustup").args(["target", "add", target]));
    if find(target).is_none() && !report.install(&item, &command, install) {
        return;
    }
    match find(target) {
        Some(directory) => report.found(&item, directory.display()),
        None => report.lacks(&item, &command),
    }
}

/// Where the compiler that builds the agent has it.
fn find(target: &str) -> Option<PathBuf> {
    let printed = output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
    Some(Path::new(printed.trim()).to_owned()).filter(|directory| directory.is_dir())
}
