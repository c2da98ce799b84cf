//! Programs that the end-to-end tests start, and those that emulate machines.

use std::path::{Path, PathBuf};

use super::{apt, report::Report};
use crate::architecture::Architecture;
use crate::command;

/// A program and the Debian package it comes in.
type Program = (&'static str, &'static str);

/// Below it, Debian keeps a directory for each version of `PostgreSQL`: its server is not on `PATH`.
const POSTGRESQL: &str = "/usr/lib/postgresql";

pub(super) const PROGRAMS: &[Program] = &[
    ("curl", "curl"),
    ("nginx", "nginx-light"),
    ("promtool", "prometheus"),
    ("amtool", "prometheus-alertmanager"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("node", "nodejs"),
    ("initdb", "postgresql"),
    ("postgres", "postgresql"),
    ("pgbench", "postgresql"),
    ("psql", "postgresql"),
    ("pgbouncer", "pgbouncer"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("bpftool", "bpftool"),
    ("openssl", "openssl"),
    ("tmux", "tmux"),
    ("strace", "strace"),
    ("systemd-analyze", "systemd"),
    ("chromium", "chromium"),
];
/// After the others: some packages of `node` bring it along, and then conflict with this one.
pub(super) const NPM: &[Program] = &[("npm", "npm")];
/// For `cargo xtask vm`.
pub(super) const MACHINES: &[Program] = &[("busybox", "busybox-static"), ("cpio", "cpio")];

/// What emulates a machine.
pub(super) const fn emulator(architecture: Architecture) -> &'static [Program] {
    match architecture {
        Architecture::X86_64 => &[("qemu-system-x86_64", "qemu-system-x86")],
        Architecture::Aarch64 => &[("qemu-system-aarch64", "qemu-system-arm")],
    }
}

/// What links programs for it on another host: a compiler with its tools, and the C library, told by a file of it.
pub(super) const fn cross(architecture: Architecture) -> &'static [Program] {
    match architecture {
        Architecture::X86_64 => &[
            ("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
            ("/usr/x86_64-linux-gnu/lib/libc.a", "libc6-dev-amd64-cross"),
        ],
        Architecture::Aarch64 => &[
            ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
            ("/usr/aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross"),
        ],
    }
}

pub(super) fn ensure(report: &mut Report, programs: &[Program]) {
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

/// A program where any is, or in the newest version of `PostgreSQL`; or a file by its whole path.
fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    command::find(program).or_else(|| newest(Path::new(POSTGRESQL), program))
}

/// The program of the greatest version among directories like `15/bin`.
fn newest(directory: &Path, program: &str) -> Option<PathBuf> {
    let versions = directory.read_dir().ok()?.filter_map(Result::ok).filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin").join(program)))
    });
    versions.filter(|(_, path)| path.is_file()).max().map(|(_, path)| path)
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
        let expected = [
            "bpftool",
            "chromium",
            "curl",
            "iproute2",
            "nginx-light",
            "nodejs",
            "openssl",
            "pgbouncer",
            "postgresql",
            "prometheus",
            "prometheus-alertmanager",
            "redis-server",
            "redis-tools",
            "strace",
            "systemd",
            "tmux",
        ];
        assert_eq!(packages(PROGRAMS), expected);
    }

    #[test]
    fn the_newest_postgresql_is_found() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        for version in ["9", "15", "common"] {
            let programs = directory.path().join(version).join("bin");
            std::fs::create_dir_all(&programs)?;
            std::fs::write(programs.join("initdb"), "")?;
        }
        std::fs::create_dir_all(directory.path().join("16"))?;
        let found = newest(directory.path(), "initdb");
        assert_eq!(found, Some(directory.path().join("15/bin/initdb")));
        assert_eq!(newest(directory.path(), "absent"), None);
        Ok(())
    }
}
