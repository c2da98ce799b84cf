//! `cargo xtask setup`: finds or installs what building and testing need.
//!
//! Asks nothing. Where something may not be installed from here, says what to type.

mod apt;
mod core;
mod linker;
mod node;
mod programs;
mod python;
mod report;
mod rust_std;
mod unpack;

use std::path::Path;

use anyhow::{Result, bail};

use crate::architecture::Architecture;
use report::Report;

/// How much is wanted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Needs<'a> {
    /// What building and running the agent take.
    Build,
    /// That, and what emulated machines of these architectures take.
    Machines(&'a [Architecture]),
    /// What building and the end-to-end tests take.
    Everything,
}

/// The command: all of it, one line an item.
pub(crate) fn command(check: bool) -> Result<()> {
    go(Needs::Everything, Report::new(check, true))
}

/// The same from within another command, which speaks only of what is not there.
pub(crate) fn ensure(needs: Needs<'_>) -> Result<()> {
    go(needs, Report::new(false, false))
}

fn go(needs: Needs<'_>, mut report: Report) -> Result<()> {
    core::ensure(&mut report);
    linker::ensure(&mut report);
    if let Needs::Machines(architectures) = needs {
        programs::ensure(&mut report, programs::MACHINES);
        let host = Architecture::host()?;
        for &architecture in architectures {
            programs::ensure(&mut report, programs::emulator(architecture));
            if architecture != host {
                programs::ensure(&mut report, programs::cross(architecture));
                rust_std::ensure(&mut report, architecture);
            }
        }
    }
    if needs == Needs::Everything {
        programs::ensure(&mut report, programs::PROGRAMS);
        programs::ensure(&mut report, programs::NPM);
        python::ensure(&mut report);
        node::ensure(&mut report);
    }
    match report.missing() {
        [] => Ok(()),
        missing => bail!("not all is there; run this, then try again:\n  {}", missing.join("\n  ")),
    }
}

/// Whether two files hold the same: a copy of what was asked for, left when it had been installed, tells
/// whether it still is what is asked for.
fn same(one: &Path, other: &Path) -> bool {
    match (std::fs::read(one), std::fs::read(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
