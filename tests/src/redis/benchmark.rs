//! `redis-benchmark`, and what it reports.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use super::Address;
use crate::held::Held;
use crate::programs;
use crate::websocket::unique_name;

/// `redis-benchmark` under a name of its own.
#[derive(Debug)]
pub struct Benchmark {
    directory: TempDir,
    /// What the agent calls it.
    pub process: String,
    target: Address,
    over_mptcp: bool,
}

/// What a run reports.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Commands a second.
    pub per_second: f64,
    /// How long one took, in seconds, on average.
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

impl Benchmark {
    /// Does nothing yet.
    pub fn new(target: &Address) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let process = unique_name("rb");
        programs::named(&programs::installed("redis-benchmark")?, directory.path(), &process)?;
        Ok(Self { directory, process, target: target.clone(), over_mptcp: false })
    }

    /// Has it speak MPTCP.
    #[must_use]
    pub fn over_mptcp(self) -> Self {
        Self { over_mptcp: true, ..self }
    }

    /// Runs it.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Report> {
        let mut command = self.command(arguments)?;
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {}: {errors}", output.status);
        report(&String::from_utf8_lossy(&output.stdout))
    }

    /// Runs it until all that is left for it to do is to report.
    pub fn hold(&self, arguments: &[&str]) -> anyhow::Result<Done> {
        Ok(Done { held: Held::start(self.command(arguments)?, 0)? })
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let program = self.directory.path().join(&self.process);
        let mut command =
            if self.over_mptcp { programs::over_mptcp(&program)? } else { Command::new(program) };
        match &self.target {
            Address::Tcp(port) => command.args(["-h", "127.0.0.1", "-p", &port.to_string()]),
            Address::Unix(path) => command.arg("-s").arg(path),
        };
        // So that it says nothing before its end.
        command.arg("--csv").args(arguments);
        Ok(command)
    }
}

/// `"GET","1000.00","0.050",...`, below what the columns mean.
fn report(text: &str) -> anyhow::Result<Report> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let [Some(titles), Some(values), None] = [lines.next(), lines.next(), lines.next()] else {
        bail!("not one result: {text}");
    };
    ensure!(titles.starts_with("\"test\",\"rps\",\"avg_latency_ms\","), "other columns: {titles}");
    // The first is the command, which may have commas in it.
    let values: Vec<&str> = values.trim_end_matches('"').rsplit("\",\"").collect();
    let value = |at: usize| -> anyhow::Result<f64> {
        let value = values.len().checked_sub(at + 1).and_then(|at| values.get(at));
        value.context("a column")?.parse().with_context(|| format!("no number in: {text}"))
    };
    Ok(Report { per_second: value(1)?, latency: value(2)? / 1000.0 })
}

#[cfg(test)]
mod tests {
    use super::report;

    #[test]
    fn a_report_is_read() -> anyhow::Result<()> {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\"\n\"GET a\",\"400.50\",\"0.119\",\"0.024\"\n";
        let report = report(text)?;
        assert_eq!(report.per_second, 400.5);
        assert!((report.latency - 0.000_119).abs() < 1e-9, "{}", report.latency);
        Ok(())
    }
}
