//! The LLVM library that bpf-linker loads when it runs.
//!
//! bpf-linker takes the first `libLLVM*` it meets on the library path. A distribution has several versions
//! side by side, so it is given a directory with the right one alone.

use std::env::consts::ARCH;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{command, workspace};

/// The major version that the bpf-linker of `setup` is made for.
pub(crate) const MAJOR: u32 = 22;

/// The library in a directory.
pub(crate) fn library_in(directory: &Path) -> Option<PathBuf> {
    let prefix = format!("libLLVM.so.{MAJOR}.");
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found.into_iter().next()
}

/// The library that a distribution's compiler uses, or the one of the toolchain that builds the agent.
fn library(prefix: &Path) -> Option<PathBuf> {
    let lib = prefix.join("lib");
    let own = [lib.join(format!("{ARCH}-linux-gnu")), lib.join(format!("llvm-{MAJOR}/lib")), lib];
    own.iter().find_map(|directory| library_in(directory)).or_else(|| {
        let sysroot = command::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        library_in(&Path::new(sysroot.trim()).join("lib"))
    })
}

/// A directory that holds nothing but that library; none when it is nowhere: bpf-linker then looks itself.
pub(crate) fn directory(prefix: &Path) -> Result<Option<PathBuf>> {
    let Some(library) = library(prefix) else { return Ok(None) };
    let directory = workspace::bpf().join("llvm");
    let Some(name) = library.file_name() else { return Ok(None) };
    let link = directory.join(name);
    if !fs::read_link(&link).is_ok_and(|present| present == library) {
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot empty {}", directory.display()))?;
        }
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        symlink(&library, &link).with_context(|| format!("cannot make {}", link.display()))?;
    }
    Ok(Some(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_version_counts() -> Result<()> {
        let directory = tempfile::tempdir()?;
        for name in ["libLLVM-14.so", "libLLVM.so.19.1", "libLLVM.so.220.1"] {
            fs::write(directory.path().join(name), "")?;
        }
        assert_eq!(library_in(directory.path()), None);
        let right = directory.path().join("libLLVM.so.22.1-rust-1.95.0-stable");
        fs::write(&right, "")?;
        assert_eq!(library_in(directory.path()), Some(right));
        Ok(())
    }

    #[test]
    fn a_distribution_keeps_it_by_architecture() -> Result<()> {
        let prefix = tempfile::tempdir()?;
        let directory = prefix.path().join("lib").join(format!("{ARCH}-linux-gnu"));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("libLLVM.so.22.1"), "")?;
        assert_eq!(library(prefix.path()), Some(directory.join("libLLVM.so.22.1")));
        Ok(())
    }
}
