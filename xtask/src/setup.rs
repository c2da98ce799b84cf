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

use std::path::Path;

use anyhow::{Result, bail};

use report::Report;

/// How much is wanted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Needs {
    /// What building and running the agent take.
    Build,
    /// That, and what emulated machines take.
    Machines,
    /// What building and the end-to-end tests take.
    Everything,
}

/// The command: all of it, one line an item.
pub(crate) fn command(check: bool) -> Result<()> {
    go(Needs::Everything, Report::new(check, true))
}

/// The same from within another command, which speaks only of what is not there.
pub(crate) fn ensure(needs: Needs) -> Result<()> {
    go(needs, Report::new(false, false))
}

fn go(needs: Needs, mut report: Report) -> Result<()> {
    core::ensure(&mut report);
    linker::ensure(&mut report);
    if needs == Needs::Machines {
        programs::ensure(&mut report, programs::MACHINES);
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
