//! BPF programs, maps and links, as the kernel numbers them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// How long the kernel may take to free what nobody holds any more: somebody may still be in it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A program.
    Program,
    /// A map.
    Map,
    /// What attaches a program.
    Link,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Program, Self::Map, Self::Link];

    /// As bpftool calls it, and the field of `/proc/PID/fdinfo` with its number.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Program => ("prog", "prog_id:"),
            Self::Map => ("map", "map_id:"),
            Self::Link => ("link", "link_id:"),
        }
    }
}

/// Some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects(BTreeSet<(Kind, u32)>);

impl Objects {
    /// All that there are now, as bpftool tells.
    pub fn now() -> anyhow::Result<Self> {
        let mut all = BTreeSet::new();
        for kind in Kind::ALL {
            let (name, _) = kind.names();
            let output = Command::new("bpftool").args(["-j", name, "show"]).output();
            let output = output.context("cannot run bpftool; run: cargo xtask setup")?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "bpftool {name} show: {}: {errors}", output.status);
            for one in serde_json::from_slice::<Vec<serde_json::Value>>(&output.stdout)? {
                let id = one["id"].as_u64().with_context(|| format!("a {name} without a number: {one}"))?;
                all.insert((kind, u32::try_from(id)?));
            }
        }
        Ok(Self(all))
    }

    /// Those that a process holds, by its descriptors.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let mut held = Self::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            let text = match fs::read_to_string(entry?.path()) {
                // A client's connection, closed meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                text => text?,
            };
            for (line, kind) in text.lines().flat_map(|line| Kind::ALL.map(|kind| (line, kind))) {
                if let Some(id) = line.strip_prefix(kind.names().1).and_then(|id| id.trim().parse().ok()) {
                    held.0.insert((kind, id));
                }
            }
        }
        Ok(held)
    }

    /// How many of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.0.iter().filter(|(one, _)| *one == kind).count()
    }

    /// Those that are not among others.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        Self(self.0.difference(&others.0).copied().collect())
    }

    /// Fails if any of them is still there after a while.
    pub fn expect_gone(&self) -> anyhow::Result<()> {
        expect_none(|now| now.0.intersection(&self.0).copied().collect())
    }

    /// Fails if there are others after a while.
    pub fn expect_again(&self) -> anyhow::Result<()> {
        expect_none(|now| now.0.difference(&self.0).copied().collect())
    }
}

fn expect_none(left: impl Fn(&Objects) -> Vec<(Kind, u32)>) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let left = left(&Objects::now()?);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "left in the kernel: {left:?}");
        sleep(Duration::from_millis(50));
    }
}
