//! What the agent shows of a process's sessions with a server, and waiting until it is what it should be.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::agent::Agent;
use crate::metrics::{Metrics, Sample, is_loss};

/// How long the agent and a server may take to agree.
const PATIENCE: Duration = Duration::from_secs(5);

/// One process's sessions with one server, on one of their sides, in a protocol's words.
#[derive(Debug)]
pub struct View<P> {
    labels: Vec<(&'static str, String)>,
    protocol: PhantomData<P>,
}

impl<P> Clone for View<P> {
    fn clone(&self) -> Self {
        Self { labels: self.labels.clone(), protocol: PhantomData }
    }
}

impl<P> View<P> {
    /// A client's, which is called `process`.
    pub fn client(process: &str, server: &str) -> Self {
        Self::new(process, "client", server)
    }

    /// A server's, which is called `process`.
    pub fn server(process: &str, server: &str) -> Self {
        Self::new(process, "server", server)
    }

    fn new(process: &str, role: &str, server: &str) -> Self {
        let labels = [("process", process), ("role", role), ("server", server)];
        Self { labels: labels.map(|(name, value)| (name, value.to_owned())).to_vec(), protocol: PhantomData }
    }

    /// The same with any server, or over any of a server's addresses.
    #[must_use]
    pub fn anywhere(&self) -> Self {
        let labels = self.labels.iter().filter(|(name, _)| *name != "server").cloned().collect();
        Self { labels, protocol: PhantomData }
    }

    /// A family's series of these sessions that have more labels.
    pub fn series<'a>(&self, metrics: &'a Metrics, name: &str, more: &[(&str, &str)]) -> Vec<&'a Sample> {
        let labels = self.labels.iter().map(|(name, value)| (*name, value.as_str()));
        let labels: Vec<(&str, &str)> = labels.chain(more.iter().copied()).collect();
        metrics.samples(name, &labels)
    }

    /// Whether a line of a scrape has all of its labels.
    pub fn names(&self, line: &str) -> bool {
        self.labels.iter().all(|(name, value)| line.contains(&format!("{name}=\"{value}\"")))
    }

    /// Whether it is of this process.
    pub fn is_of(&self, process: &str) -> bool {
        self.labels.iter().any(|(name, value)| *name == "process" && value == process)
    }

    /// The sum of these series.
    pub fn sum(&self, metrics: &Metrics, name: &str, more: &[(&str, &str)]) -> f64 {
        self.series(metrics, name, more).iter().map(|sample| sample.value).sum()
    }

    /// A family's values by one of its labels, without those that are zero.
    pub fn by(&self, metrics: &Metrics, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut counts = BTreeMap::new();
        for sample in self.series(metrics, name, &[]).iter().filter(|sample| sample.value != 0.0) {
            *counts.entry(sample.labels.get(label).cloned().unwrap_or_default()).or_default() += sample.value;
        }
        counts
    }

    /// The values of two families by one of their labels.
    pub fn pairs_by(&self, metrics: &Metrics, names: [&str; 2], label: &str) -> BTreeMap<String, [f64; 2]> {
        let mut pairs = BTreeMap::<String, [f64; 2]>::new();
        for (at, name) in names.into_iter().enumerate() {
            for (value, count) in self.by(metrics, name, label) {
                pairs.entry(value).or_default()[at] += count;
            }
        }
        pairs
    }

    /// Waits until something is as expected, and still is a little later.
    pub fn expect<T: PartialEq + Debug>(
        &self,
        agent: &Agent,
        expected: &T,
        of: impl Fn(&Self, &Metrics) -> T,
    ) -> anyhow::Result<()> {
        expect_each(slice::from_ref(self), agent, expected, of)
    }
}

/// Waits until each view says the same at once, as expected, and still does a little later.
pub fn expect_each<P, T: PartialEq + Debug>(
    views: &[View<P>],
    agent: &Agent,
    expected: &T,
    of: impl Fn(&View<P>, &Metrics) -> T,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut before = false;
    loop {
        let metrics = agent.scrape()?;
        let mut says = views.iter().map(|view| (view, of(view, &metrics)));
        let wrong = says.find(|(_, actual)| actual != expected);
        if wrong.is_none() && before {
            return Ok(());
        }
        if let Some((view, actual)) = &wrong
            && start.elapsed() > PATIENCE
        {
            let interesting = |line: &&str| view.names(line) && !line.contains("_bucket") || is_loss(line);
            let lines: Vec<&str> = metrics.text().lines().filter(interesting).collect();
            let text = lines.join("\n");
            bail!("{:?}: it says\n{actual:?}, and not\n{expected:?}\n{text}", view.labels);
        }
        before = wrong.is_none();
        // What is right must stay right.
        thread::sleep(Duration::from_millis(if before { 50 } else { 20 }));
    }
}

/// Waits until a server says what is expected.
pub fn reach<T: PartialEq + Debug>(expected: &T, ask: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let said = ask()?;
        if said == *expected {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "the server has {said:?}, and not {expected:?}");
        thread::sleep(Duration::from_millis(50));
    }
}
