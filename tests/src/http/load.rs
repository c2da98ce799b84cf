//! Load generators, and their own counts: `ab` and `wrk`.

use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::programs;
use crate::websocket::unique_name;

/// What a load generator says it has done.
#[derive(Clone, Debug)]
pub struct Load {
    /// What the agent calls it.
    pub process: String,
    /// Responses that it has read to their ends.
    pub requests: f64,
    /// Bytes of their bodies, where it says so.
    pub bodies: Option<f64>,
    /// Responses of other statuses than 2xx, or 2xx and 3xx.
    pub failed: f64,
    /// Requests a second.
    pub rate: Option<f64>,
}

/// `ab`: so many requests, so many at a time, over kept connections or one for each.
pub fn ab(url: &str, requests: u32, at_once: u32, kept: bool) -> anyhow::Result<Load> {
    let (requests, at_once) = (requests.to_string(), at_once.to_string());
    let mut words = vec!["-q", "-n", &requests, "-c", &at_once];
    if kept {
        words.push("-k");
    }
    let (process, said) = run("ab", &words, url)?;
    let after = |label: &str| number(&said, label).with_context(|| format!("ab says no {label}: {said}"));
    ensure!(after("Failed requests:")? == 0.0, "{said}");
    Ok(Load {
        process,
        requests: after("Complete requests:")?,
        bodies: Some(after("HTML transferred:")?),
        failed: number(&said, "Non-2xx responses:").unwrap_or(0.0),
        rate: number(&said, "Requests per second:"),
    })
}

/// `wrk`: as many requests as it can make in so many seconds, over so many connections. What is under way at the end is
/// in no count of its own.
pub fn wrk(url: &str, seconds: u32, connections: u32) -> anyhow::Result<Load> {
    let (connections, duration) = (connections.to_string(), format!("{seconds}s"));
    let (process, said) = run("wrk", &["-t", "1", "-c", &connections, "-d", &duration], url)?;
    let line = said.lines().find(|line| line.contains(" requests in "));
    let requests = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    Ok(Load {
        process,
        requests: requests.with_context(|| format!("wrk says no number of requests: {said}"))?,
        bodies: None,
        failed: number(&said, "Non-2xx or 3xx responses:").unwrap_or(0.0),
        rate: number(&said, "Requests/sec:"),
    })
}

fn run(program: &str, words: &[&str], url: &str) -> anyhow::Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    let name = unique_name(program);
    let link = programs::named(&programs::installed(program)?, folder.path(), &name)?;
    let output = Command::new(link).args(words).arg(url).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {said}{errors}");
    Ok((name, said))
}

/// The number behind a label at a line's start.
fn number(said: &str, label: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.trim_start().strip_prefix(label));
    line?.split_whitespace().next()?.parse().ok()
}
