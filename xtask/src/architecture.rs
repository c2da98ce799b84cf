//! Machines that the agent is built for.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::workspace;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Architecture {
    /// x86-64.
    X86_64,
    /// arm64.
    Aarch64,
}

impl Architecture {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// This host's.
    pub(crate) fn host() -> Result<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => bail!("observer runs on x86-64 and arm64, and not on {other}"),
        }
    }

    /// What Rust calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// What Debian calls it.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// What Rust calls its programs on Linux.
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// A program that makes something for it, such as `gcc`: on another host Debian has it under a longer name.
    pub(crate) fn tool(self, name: &str) -> String {
        match Self::host() {
            Ok(host) if host == self => name.to_owned(),
            _ => format!("{}-linux-gnu-{name}", self.name()),
        }
    }

    /// Where its BPF programs are built, and kept.
    pub(crate) fn bpf(self) -> PathBuf {
        workspace::bpf().join(self.name())
    }
}
