//! A compiler that can build for BPF, which needs `core` for `bpfel-unknown-none`.
//!
//! rustup ships no such `core`. A nightly toolchain builds it from `rust-src`; Debian ships it built, in
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
    /// rustup's nightly with `rust-src`.
    Nightly {
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
        let sysroot = nightly_in(&listing)?;
        can_build_core(&sysroot).then_some(Self::Nightly { sysroot })
    }

    fn system() -> Option<Self> {
        let sysroot = command::output(Command::new(SYSTEM_RUSTC).args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim());
        has_core(&sysroot).then_some(Self::System { sysroot })
    }

    /// Cargo with a subcommand that builds for BPF.
    pub(crate) fn cargo(&self, subcommand: &str) -> Result<Command> {
        let mut command = match self {
            Self::Nightly { .. } => {
                let mut command = cargo::nightly();
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
            Self::Nightly { sysroot } | Self::System { sysroot } => {
                sysroot.join("bin/clippy-driver").is_file()
            }
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly { sysroot } => {
                write!(formatter, "built by nightly's rust-src, {}", sysroot.display())
            }
            Self::System { sysroot } => {
                write!(formatter, "{SYSTEM_RUSTC}'s, {}", library_directory(sysroot).display())
            }
        }
    }
}

/// The plain nightly (not a dated one) in what `rustup toolchain list --verbose` prints.
fn nightly_in(listing: &str) -> Option<PathBuf> {
    listing.lines().find_map(|line| {
        let name = line.split_whitespace().next()?;
        let host = name.strip_prefix("nightly")?;
        let dated = host.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        (!dated)
            .then(|| line.find(" /").or_else(|| line.find("\t/")).map(|at| PathBuf::from(&line[at + 1..])))?
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
    fn the_plain_nightly_is_found_among_others() {
        let listing = "stable-x86_64-unknown-linux-gnu (active, default) /home/u/.rustup/toolchains/stable\n\
                       nightly-2026-01-01-x86_64-unknown-linux-gnu /home/u/.rustup/toolchains/dated\n\
                       nightly-x86_64-unknown-linux-gnu /home/u/.rustup/toolchains/night ly\n";
        assert_eq!(nightly_in(listing), Some(PathBuf::from("/home/u/.rustup/toolchains/night ly")));
        assert_eq!(nightly_in("stable-x86_64-unknown-linux-gnu /home/u/stable\n"), None);
        assert_eq!(nightly_in(""), None);
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
