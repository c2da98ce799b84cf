//! Programs that the end-to-end tests start, and those that emulate machines.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{apt, report::Report, unpack};
use crate::architecture::Architecture;
use crate::tools;

/// A program and the Debian package it comes in.
type Program = (&'static str, &'static str);

/// Below it, Debian keeps a directory for each version of `PostgreSQL`: its server is not on `PATH`.
const POSTGRESQL: &str = "usr/lib/postgresql";

pub(super) const PROGRAMS: &[Program] = &[
    ("curl", "curl"),
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("ab", "apache2-utils"),
    ("wrk", "wrk"),
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
    ("memcached", "memcached"),
    ("mptcpize", "mptcpize"),
    ("redis-server", "redis-server"),
    ("redis-benchmark", "redis-tools"),
    ("bpftool", "bpftool"),
    ("openssl", "openssl"),
    ("tmux", "tmux"),
    ("strace", "strace"),
    ("systemd-analyze", "systemd"),
    ("chromium", "chromium"),
    ("wget", "wget"),
    // Libraries, whose places depend on the machine: told by what each package of Debian has.
    ("/usr/share/doc/libgnutls30/copyright", "libgnutls30"),
    ("/usr/share/doc/libgnutls-openssl27/copyright", "libgnutls-openssl27"),
    ("/usr/share/doc/libcurl3-gnutls/copyright", "libcurl3-gnutls"),
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
        if !report.install(&item, &apt::advice(&packages), || install(&packages)) {
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

/// Installs packages. Those that this host's other packages do not let in are unpacked elsewhere.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let Err(error) = apt::install(packages) else { return Ok(()) };
    if !apt::may_install() {
        return Err(error);
    }
    let refused: Vec<&str> = match packages {
        [only] => vec![*only],
        several => several.iter().copied().filter(|package| apt::install(&[package]).is_err()).collect(),
    };
    if refused.is_empty() { Ok(()) } else { unpack::unpack(&refused) }
}

/// A program where any is, or in the newest version of `PostgreSQL`; or a file by its whole path.
fn find(program: &str) -> Option<PathBuf> {
    let roots = [PathBuf::from("/"), tools::unpacked()];
    if let Some(path) = program.strip_prefix('/') {
        return roots.iter().map(|root| root.join(path)).find(|path| path.is_file());
    }
    tools::find(program).or_else(|| roots.iter().find_map(|root| newest(&root.join(POSTGRESQL), program)))
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
            "apache2-utils",
            "bpftool",
            "chromium",
            "curl",
            "haproxy",
            "iproute2",
            "libcurl3-gnutls",
            "libgnutls-openssl27",
            "libgnutls30",
            "memcached",
            "mptcpize",
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
            "wget",
            "wrk",
        ];
        assert_eq!(packages(PROGRAMS), expected);
    }

    #[test]
    fn the_newest_postgresql_is_found() -> Result<()> {
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
