//! What the kernel holds of BPF, as bpftool tells it.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// How long the kernel may take to free what nobody holds any more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Programs, maps and links, each by its kind and number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects(BTreeSet<String>);

impl Objects {
    /// Those of now.
    pub fn now() -> anyhow::Result<Self> {
        let mut all = BTreeSet::new();
        for kind in ["prog", "map", "link"] {
            let output = Command::new("bpftool").args(["-j", kind, "show"]).output().context("bpftool")?;
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "bpftool {kind} show: {}: {errors}", output.status);
            let listed: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
            all.extend(listed.iter().map(|one| format!("{kind} {} {}", one["id"], one["name"])));
        }
        Ok(Self(all))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits until there are none but these; fails with what is left.
    pub fn expect_again(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let now = Self::now()?;
            let left: Vec<&String> = now.0.difference(&self.0).collect();
            if left.is_empty() {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "left in the kernel: {left:#?}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}
