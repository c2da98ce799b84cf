//! The agent as `deploy/systemd/observer.service` runs it, as far as that can be had without systemd: as a user of its
//! own, with the unit's capabilities and no others, and without new privileges.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::deployed::deploy;

/// A user that nobody is: of those that systemd takes for `DynamicUser=` (61184 to 65519).
pub const USER: u32 = 61_999;

/// The unit's settings, in their order.
#[derive(Debug)]
pub struct Unit(Vec<(String, String)>);

impl Unit {
    /// As it is in the repository.
    pub fn read() -> anyhow::Result<Self> {
        let path = deploy().join("systemd/observer.service");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
        Ok(Self(lines.filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()))
    }

    /// All that a setting is set to.
    pub fn values<'a>(&'a self, setting: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == setting).map(|(_, value)| value.as_str())
    }

    /// What a setting that is there once is set to.
    pub fn value<'a>(&'a self, setting: &'a str) -> anyhow::Result<&'a str> {
        let mut values = self.values(setting);
        let value = values.next().with_context(|| format!("the unit has no {setting}"))?;
        ensure!(values.next().is_none(), "the unit has {setting} more than once");
        Ok(value)
    }

    /// The capabilities that it gives, as `CAP_BPF`.
    pub fn capabilities(&self) -> anyhow::Result<Vec<&str>> {
        let given = self.value("AmbientCapabilities")?;
        ensure!(self.value("CapabilityBoundingSet")? == given, "what is not given need not be bounded");
        Ok(given.split_whitespace().collect())
    }

    /// Has `program` executed as the unit does, by a command that takes the program's arguments. What it may do is
    /// `capabilities`.
    pub fn command(&self, program: &Path, capabilities: &[&str]) -> anyhow::Result<Command> {
        ensure!(self.value("NoNewPrivileges")? == "yes" && self.value("DynamicUser")? == "yes");
        let set = only(capabilities);
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={USER}")).arg(format!("--regid={USER}")).arg("--clear-groups");
        for kind in ["inh-caps", "ambient-caps", "bounding-set"] {
            command.arg(format!("--{kind}={set}"));
        }
        command.args(["--no-new-privs", "--"]).arg(program);
        Ok(command)
    }
}

/// These capabilities and no others, as `setpriv` takes a set.
pub fn only(capabilities: &[&str]) -> String {
    let added =
        capabilities.iter().map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()));
    std::iter::once("-all".to_owned()).chain(added).collect::<Vec<_>>().join(",")
}
