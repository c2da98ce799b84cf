//! A compiler that can build for BPF, which needs `core` for `bpfel-unknown-none`.
//!
//! rustup ships no such `core`. A nightly toolchain, whose LLVM must be the linker's, builds it from
//! `rust-src`; Debian ships it built, in
//! `libstd-rust-web-dev-bpf`, for the compiler of its `rustc-web`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{cargo, command, llvm};

/// What is built for.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Where a distribution has its compiler.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

/// One of the two ways to have `core` for BPF.
#[derive(Debug, PartialEq)]
pub(crate) enum Toolchain {
    /// One of rustup's nightlies, with `rust-src`.
    Nightly {
        /// What rustup calls it.
        name: String,
        /// Where it is.
        sysroot: PathBuf,
    },
    /// The distribution's compiler and its `core`.
    System {
        /// Where it is installed, such as `/usr`.
        sysroot: PathBuf,
    },
}

impl Toolchain {
    /// The one this host offers; nightly is preferred, because clippy can look at the BPF program too there.
    pub(crate) fn find() -> Option<Self> {
        Self::nightly().or_else(Self::system)
    }

    fn nightly() -> Option<Self> {
        // Unlike `rustup run`, this never goes and installs a toolchain.
        let listing = command::output(Command::new("rustup").args(["toolchain", "list", "--verbose"]))?;
        let (name, sysroot) = nightlies(&listing).find(|(_, sysroot)| can_build_core(sysroot))?;
        Some(Self::Nightly { name: name.to_owned(), sysroot })
    }

    fn system() -> Option<Self> {
        let sysroot = command::output(Command::new(SYSTEM_RUSTC).args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim());
        has_core(&sysroot).then_some(Self::System { sysroot })
    }

    /// Cargo with a subcommand that builds for BPF.
    pub(crate) fn cargo(&self, subcommand: &str) -> Result<Command> {
        let mut command = match self {
            Self::Nightly { name, .. } => {
                let mut command = cargo::of(name);
                command.args([subcommand, "-Z", "build-std=core"]);
                command
            }
            Self::System { sysroot } => {
                let mut command = cargo::same();
                // The BPF program uses features that are unstable on this target, such as inline assembly.
                command.arg(subcommand).env("RUSTC", SYSTEM_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                if let Some(directory) = llvm::directory(sysroot)? {
                    command.env("LD_LIBRARY_PATH", directory);
                }
                command
            }
        };
        command.args(["--target", TARGET]);
        Ok(command)
    }

    /// Whether it comes with a clippy of its own version.
    pub(crate) fn has_clippy(&self) -> bool {
        match self {
            Self::Nightly { sysroot, .. } | Self::System { sysroot } => {
                sysroot.join("bin/clippy-driver").is_file()
            }
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly { name, .. } => write!(formatter, "rust-src of {name}"),
            Self::System { sysroot } => {
                write!(formatter, "{SYSTEM_RUSTC}'s, {}", library_directory(sysroot).display())
            }
        }
    }
}

/// The nightlies, plain and dated, in what `rustup toolchain list --verbose` prints.
fn nightlies(listing: &str) -> impl Iterator<Item = (&str, PathBuf)> {
    listing.lines().filter_map(|line| {
        let name = line.split_whitespace().next()?;
        let sysroot = line.get(line.find(" /")? + 1..)?;
        name.starts_with("nightly").then(|| (name, PathBuf::from(sysroot)))
    })
}

/// Whether a nightly has the sources of `core`, and an LLVM whose output bpf-linker reads.
fn can_build_core(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
        && llvm::library_in(&sysroot.join("lib")).is_some()
}

/// Whether a compiler has `core` for BPF.
fn has_core(sysroot: &Path) -> bool {
    let Ok(entries) = library_directory(sysroot).read_dir() else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libcore-")
            && Path::new(&*name).extension().is_some_and(|extension| extension == "rlib")
    })
}

fn library_directory(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(root: &Path, path: &str) -> Result<()> {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        Ok(fs::write(path, "")?)
    }

    #[test]
    fn nightlies_are_found_among_others() {
        let listing = "stable-x86_64-unknown-linux-gnu (active, default) /home/u/.rustup/toolchains/stable\n\
                       nightly-2026-01-01-x86_64-unknown-linux-gnu /home/u/.rustup/toolchains/dated\n\
                       nightly-x86_64-unknown-linux-gnu (override) /home/u/.rustup/toolchains/night ly\n";
        let found: Vec<_> = nightlies(listing).collect();
        let expected = [
            ("nightly-2026-01-01-x86_64-unknown-linux-gnu", "/home/u/.rustup/toolchains/dated"),
            ("nightly-x86_64-unknown-linux-gnu", "/home/u/.rustup/toolchains/night ly"),
        ];
        assert_eq!(found, expected.map(|(name, sysroot)| (name, PathBuf::from(sysroot))));
        assert_eq!(nightlies("").count(), 0);
    }

    #[test]
    fn a_nightly_needs_sources_and_the_linkers_llvm() -> Result<()> {
        let sysroot = tempfile::tempdir()?;
        assert!(!can_build_core(sysroot.path()));
        file(sysroot.path(), "lib/rustlib/src/rust/library/Cargo.lock")?;
        file(sysroot.path(), "lib/libLLVM.so.99.1-rust-nightly")?;
        assert!(!can_build_core(sysroot.path()));
        file(sysroot.path(), &format!("lib/libLLVM.so.{}.1-rust-nightly", llvm::MAJOR))?;
        assert!(can_build_core(sysroot.path()));
        Ok(())
    }

    #[test]
    fn a_system_compiler_needs_core() -> Result<()> {
        let sysroot = tempfile::tempdir()?;
        assert!(!has_core(sysroot.path()));
        file(sysroot.path(), "lib/rustlib/bpfel-unknown-none/lib/liballoc-1.rlib")?;
        assert!(!has_core(sysroot.path()));
        file(sysroot.path(), "lib/rustlib/bpfel-unknown-none/lib/libcore-1.rlib")?;
        assert!(has_core(sysroot.path()));
        Ok(())
    }
}
