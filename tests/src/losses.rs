//! What an agent loses of a protocol's streams: nothing more, as a rule.

use std::sync::Arc;

use anyhow::{Context as _, ensure};

use crate::agent::Agent;
use crate::metrics::{Metrics, desyncs, is_loss};

/// What the agent has lost so far.
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    protocol: &'static str,
    /// Times that it came out of sync with the protocol's streams.
    desyncs: f64,
    /// Events, but not the runs of a program that the kernel left out, as the program interrupted itself: what those would
    /// have counted tests compare themselves.
    events: f64,
}

impl Losses {
    /// Nothing of a protocol's streams.
    pub const fn none(protocol: &'static str) -> Self {
        Self { protocol, desyncs: 0.0, events: 0.0 }
    }

    /// What an agent has lost so far of a protocol's streams, which other tests may have it lose.
    pub fn so_far(agent: &Agent, protocol: &'static str) -> anyhow::Result<Self> {
        Self::told(agent, &agent.scrape().context("before the test")?, protocol)
    }

    /// Those of a protocol's streams that a scrape of the agent tells of.
    fn told(agent: &Agent, metrics: &Metrics, protocol: &'static str) -> anyhow::Result<Self> {
        let events = metrics.sum("observer_events_lost_total", &[]) - agent.missed_runs()?;
        Ok(Self { protocol, desyncs: desyncs(metrics, protocol), events })
    }

    /// Fails if the agent has lost more by now.
    pub fn no_more(self, agent: &Agent) -> anyhow::Result<()> {
        self.no_more_in(agent, &agent.scrape().context("after the test")?)
    }

    /// The same by a scrape of it.
    pub fn no_more_in(self, agent: &Agent, metrics: &Metrics) -> anyhow::Result<()> {
        let now = Self::told(agent, metrics, self.protocol)?;
        let lost = [now.desyncs - self.desyncs, now.events - self.events];
        let told: Vec<&str> = metrics.text().lines().filter(|line| is_loss(line)).collect();
        ensure!(lost[0] == 0.0 && lost[1] < 1.0, "desyncs, lost events: {lost:?}\n{}", told.join("\n"));
        Ok(())
    }
}

/// The agent that tests of a file share, and what it has lost so far of a protocol's streams: other tests of the file may
/// have it lose something.
pub fn shared(protocol: &'static str) -> anyhow::Result<(Arc<Agent>, Losses)> {
    let agent = Agent::shared()?;
    let losses = Losses::so_far(&agent, protocol)?;
    Ok((agent, losses))
}
