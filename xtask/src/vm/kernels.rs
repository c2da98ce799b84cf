//! The kernels that are booted.

use anyhow::{Result, bail};

use crate::architecture::Architecture;

/// A line of kernels, of which the newest that the distribution has is booted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// What it is called on the command line.
    pub(crate) line: &'static str,
    /// Its version, as far as all of the line have it.
    pub(crate) version: &'static str,
    /// The machine that it is for.
    pub(crate) architecture: Architecture,
    /// The suite that has it.
    pub(crate) suite: &'static str,
    /// Whose default it is.
    pub(crate) runs: &'static str,
    /// Whether it is booted where none is named. None for another architecture than most hosts' is: on a fresh host
    /// the agent would have to be built twice.
    pub(crate) by_default: bool,
    /// Whether the agent is to refuse it, with its reason.
    pub(crate) refused: bool,
}

const fn kernel(line: &'static str, suite: &'static str, runs: &'static str) -> Kernel {
    let architecture = Architecture::X86_64;
    Kernel { line, version: line, architecture, suite, runs, by_default: false, refused: false }
}

const fn arm64(line: &'static str, kernel: Kernel) -> Kernel {
    Kernel { line, architecture: Architecture::Aarch64, ..kernel }
}

const fn by_default(kernel: Kernel) -> Kernel {
    Kernel { by_default: true, ..kernel }
}

/// All of them, those of an architecture together, the oldest first.
pub(crate) const KERNELS: [Kernel; 14] = [
    Kernel { refused: true, ..kernel("5.10", "bullseye-security", "Debian 11") },
    by_default(kernel("6.1", "bookworm-security", "Debian 12")),
    by_default(kernel("6.12", "trixie-security", "Debian 13")),
    kernel("6.16", "trixie-backports", ""),
    kernel("6.17", "trixie-backports", ""),
    kernel("6.18", "trixie-backports", ""),
    kernel("6.19", "trixie-backports", ""),
    kernel("7.0", "trixie-backports", ""),
    kernel("7.1", "trixie-backports", ""),
    kernel("7.2", "trixie-backports", ""),
    by_default(kernel("7.3", "trixie-backports", "")),
    Kernel { refused: true, ..arm64("6.1-arm64", kernel("6.1", "bookworm-security", "Debian 12")) },
    arm64("6.12-arm64", kernel("6.12", "trixie-security", "Debian 13")),
    arm64("7.3-arm64", kernel("7.3", "trixie-backports", "")),
];

/// Those that are named, or all, or else those that are booted where none is named.
pub(crate) fn chosen(names: &[String], all: bool) -> Result<Vec<&'static Kernel>> {
    if let Some(unknown) = names.iter().find(|name| KERNELS.iter().all(|kernel| kernel.line != name.as_str()))
    {
        let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.line).collect();
        bail!("there is no kernel {unknown} here; there are {}", known.join(", "));
    }
    let is_chosen = |kernel: &&Kernel| {
        all || if names.is_empty() { kernel.by_default } else { names.iter().any(|name| name == kernel.line) }
    };
    Ok(KERNELS.iter().filter(is_chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_chosen_by_name() -> Result<()> {
        let lines = |names: &[&str], all| -> Result<Vec<&str>> {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            Ok(chosen(&names, all)?.into_iter().map(|kernel| kernel.line).collect())
        };
        assert_eq!(lines(&["6.12", "5.10"], false)?, ["5.10", "6.12"]);
        assert_eq!(lines(&[], false)?, ["6.1", "6.12", "7.3"]);
        assert_eq!(lines(&[], true)?.len(), KERNELS.len());
        assert!(lines(&["6.2"], false).is_err());
        Ok(())
    }
}
