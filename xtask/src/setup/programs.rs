//! Programs that the end-to-end tests start.

use super::{apt, report::Report};
use crate::command::find;

/// A program and the Debian package it comes in.
type Program = (&'static str, &'static str);

const PROGRAMS: [Program; 5] = [
    ("nginx", "nginx-light"),
    ("promtool", "prometheus"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("node", "nodejs"),
];
/// After the others: some packages of `node` bring it along, and then conflict with this one.
const NPM: [Program; 1] = [("npm", "npm")];

pub(super) fn ensure(report: &mut Report) {
    ensure_all(report, &PROGRAMS);
    ensure_all(report, &NPM);
}

fn ensure_all(report: &mut Report, programs: &[Program]) {
    let absent: Vec<Program> = programs.iter().copied().filter(|(name, _)| find(name).is_none()).collect();
    let packages = packages(&absent);
    if !absent.is_empty() {
        let item = format!("Debian packages {}", packages.join(" "));
        if !report.install(&item, &apt::advice(&packages), || apt::install(&packages)) {
            return;
        }
    }
    for (name, package) in programs {
        match find(name) {
            Some(path) => report.found(name, path.display()),
            None => report.lacks(name, &apt::advice(&[package])),
        }
    }
}

/// The packages of these programs, each once.
fn packages(programs: &[Program]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = programs.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_once() {
        assert_eq!(packages(&PROGRAMS), ["iproute2", "nginx-light", "nodejs", "prometheus"]);
    }
}
