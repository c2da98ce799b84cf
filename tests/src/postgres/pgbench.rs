//! `pgbench`, and what it reports.

use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::{Address, named, printed};
use crate::held::Held;
use crate::websocket::unique_name;

/// What is left in the pipe that it reports to: more than the line with its version, which it begins with, and
/// less than its report.
const ROOM: usize = 200;

/// `pgbench` under a name of its own.
#[derive(Debug)]
pub struct Pgbench {
    directory: TempDir,
    /// What the agent calls it.
    pub process: String,
    target: Address,
    /// What it asks for, as `sslmode`.
    encryption: &'static str,
}

/// What a run reports.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How many transactions there were.
    pub transactions: f64,
    /// How long one took, in seconds.
    pub latency: f64,
}

/// A run that is over, in a process that still waits to write its report.
#[derive(Debug)]
pub struct Done {
    held: Held,
}

impl Done {
    /// Lets it write its report, and end.
    pub fn report(self) -> anyhow::Result<Report> {
        report(&self.held.output()?)
    }
}

impl Pgbench {
    /// Does nothing yet.
    pub fn new(target: &Address) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let process = unique_name("pgb");
        named(directory.path(), "pgbench", &process)?;
        named(directory.path(), "pgbench", "pgbench-init")?;
        Ok(Self { directory, process, target: target.clone(), encryption: "disable" })
    }

    /// The same, with TLS.
    #[must_use]
    pub fn encrypted(self) -> Self {
        Self { encryption: "require", ..self }
    }

    /// Makes its tables; not under its own name.
    pub fn prepare(&self) -> anyhow::Result<()> {
        printed(self.command("pgbench-init").args(["-i", "-q", "-s", "1"])).map(drop)
    }

    /// Runs it in a mode of the protocol, on a script or its built-in one.
    pub fn run(&self, mode: &str, arguments: &[&str], script: Option<&str>) -> anyhow::Result<Report> {
        self.hold(mode, arguments, script)?.report()
    }

    /// Runs it until all that is left for it to do is to report.
    pub fn hold(&self, mode: &str, arguments: &[&str], script: Option<&str>) -> anyhow::Result<Done> {
        let mut command = self.command(&self.process);
        // With a report of its progress (at no time here) it measures latencies, and does not derive them.
        command.args(["-n", "-M", mode, "-P", "1000"]).args(arguments);
        if let Some(script) = script {
            let file = self.directory.path().join("script");
            std::fs::write(&file, script)?;
            command.arg("-f").arg(file);
        }
        Ok(Done { held: Held::start(command, ROOM)? })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.directory.path().join(name));
        let Address { host, port } = &self.target;
        command.args(["-h", host, "-p", &port.to_string(), "-U", "postgres"]);
        command.env("PGDATABASE", "postgres").env("PGSSLMODE", self.encryption);
        command
    }
}

fn report(text: &str) -> anyhow::Result<Report> {
    let value = |name: &str| -> anyhow::Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("no {name} in: {text}"))?;
        let number = line.trim().split([' ', '/']).next().unwrap_or_default();
        number.parse().with_context(|| format!("{name}{line}"))
    };
    ensure!(value("number of failed transactions:")? == 0.0, "failures: {text}");
    let latency = value("latency average = ")? / 1000.0;
    Ok(Report { transactions: value("number of transactions actually processed:")?, latency })
}
