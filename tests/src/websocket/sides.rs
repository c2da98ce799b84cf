//! One process in one role: all that the agent must say of its WebSocket connections, and nothing else.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::traffic::{Traffic, Values, series};
use crate::agent::Agent;
use crate::losses::Losses;
use crate::metrics::Metrics;

/// How long the agent may take to say what it must.
const PATIENCE: Duration = Duration::from_secs(10);

/// Series that are compared by direction.
const BY_DIRECTION: [&str; 9] = [
    "message_size_bytes_bucket",
    "message_size_bytes_sum",
    "message_size_bytes_count",
    "observer_websocket_frame_size_bytes_bucket",
    "observer_websocket_frame_size_bytes_sum",
    "observer_websocket_frame_size_bytes_count",
    "observer_websocket_messages_total",
    "oversized_message_total",
    "observer_websocket_unfinished_bytes",
];

/// A process in one role.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its name.
    pub process: String,
    /// Its id.
    pub pid: u32,
    /// `client` or `server`.
    pub role: &'static str,
    /// What it sent.
    pub sent: Traffic,
    /// What it received.
    pub received: Traffic,
    /// WebSocket connections that are open.
    pub open: u32,
    /// Those that closed, by code.
    pub closes: BTreeMap<&'static str, u32>,
    /// Frames that break the RFC, by kind, in both directions.
    pub violations: BTreeMap<&'static str, u32>,
    /// Bytes sent and received on WebSocket connections, where they are known.
    pub bytes: Option<[u64; 2]>,
    /// Whether sizes are known: those of compressed messages may not be.
    pub sized: bool,
}

impl Side {
    /// A process that has done nothing yet.
    pub fn new(process: &str, pid: u32, role: &'static str) -> Self {
        Self {
            process: process.to_owned(),
            pid,
            role,
            sent: Traffic::default(),
            received: Traffic::default(),
            open: 0,
            closes: BTreeMap::new(),
            violations: BTreeMap::new(),
            bytes: None,
            sized: true,
        }
    }

    /// One that closed, and had been open.
    pub fn close(&mut self, code: &'static str) {
        self.open -= 1;
        *self.closes.entry(code).or_default() += 1;
    }

    /// What the agent says that is not so, and what it does not say.
    pub fn differences(&self, metrics: &Metrics) -> Vec<String> {
        let who = format!("{} ({}) as {}", self.process, self.pid, self.role);
        let compare = |what: &str, expected: &Values, actual: &Values| -> Vec<String> {
            let keys: std::collections::BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
            keys.into_iter()
                .filter(|&key| expected.get(key) != actual.get(key))
                .map(|key| {
                    let of = |values: &Values| values.get(key).copied().unwrap_or_default();
                    format!("{who}{what}: {key} is {}, not {}", of(actual), of(expected))
                })
                .collect()
        };
        let mut differences = Vec::new();
        for (direction, traffic) in [("sent", &self.sent), ("received", &self.received)] {
            let actual = self.actual(metrics, &BY_DIRECTION, &[("direction", direction)]);
            let mut expected = traffic.values();
            if !self.sized {
                expected.retain(|key, _| is_about_numbers(key));
            }
            differences.extend(compare(&format!(" {direction}"), &expected, &actual));
        }
        let counted = |name: &str, label: &str, counts: &BTreeMap<&str, u32>| -> Values {
            counts
                .iter()
                .map(|(value, &count)| (format!("{name} {label}={value}"), f64::from(count)))
                .collect()
        };
        let mut expected = counted("observer_websocket_closes_total", "code", &self.closes);
        expected.extend(counted("observer_websocket_violations_total", "kind", &self.violations));
        if self.open > 0 {
            expected.insert("observer_websocket_connections".to_owned(), f64::from(self.open));
        }
        let mut names = vec![
            "observer_websocket_closes_total",
            "observer_websocket_violations_total",
            "observer_websocket_connections",
        ];
        if let Some([sent, received]) = self.bytes {
            names.push("observer_bytes_total");
            for (direction, bytes) in [("sent", sent), ("received", received)] {
                if bytes > 0 {
                    let key = format!("observer_bytes_total {direction} protocol=websocket");
                    expected.insert(key, bytes as f64);
                }
            }
        }
        differences.extend(compare("", &expected, &self.actual(metrics, &names, &[])));
        differences
    }

    fn actual(&self, metrics: &Metrics, names: &[&str], labels: &[(&str, &str)]) -> Values {
        let whose = [("process", self.process.as_str()), ("role", self.role)];
        let labels: Vec<(&str, &str)> = whose.into_iter().chain(labels.iter().copied()).collect();
        let pid = self.pid.to_string();
        let mut values = Values::new();
        for name in names {
            for sample in metrics.series(name, &labels).filter(|sample| sample.value != 0.0) {
                if *name == "observer_bytes_total" {
                    if sample.labels.get("protocol").is_some_and(|protocol| protocol == "websocket") {
                        let direction = sample.labels.get("direction").map_or("", String::as_str);
                        *values.entry(format!("{name} {direction} protocol=websocket")).or_default() +=
                            sample.value;
                    }
                    continue;
                }
                // Ends of connections have ports that nobody knows before.
                let mut but = vec!["process", "role", "container", "direction", "server"];
                if sample.labels.get("pid") == Some(&pid) {
                    but.push("pid");
                }
                *values.entry(series(sample, &but)).or_default() += sample.value;
            }
        }
        if !self.sized {
            values.retain(|key, _| is_about_numbers(key));
        }
        values
    }
}

fn is_about_numbers(series: &str) -> bool {
    !series.contains("_bytes_bucket") && !series.contains("_bytes_sum") && !series.starts_with("oversized")
}

/// Waits until the agent says of each side what it must, twice in a row.
pub fn settle(agent: &Agent, sides: &[&Side]) -> anyhow::Result<Metrics> {
    let start = Instant::now();
    let mut before = false;
    loop {
        let metrics = agent.scrape()?;
        let differences: Vec<String> = sides.iter().flat_map(|side| side.differences(&metrics)).collect();
        if differences.is_empty() {
            if before {
                return Ok(metrics);
            }
        } else if start.elapsed() > PATIENCE {
            let ours: Vec<&str> = metrics
                .text()
                .lines()
                .filter(|line| ["desync", "unparsed", "events_lost"].iter().any(|word| line.contains(word)))
                .collect();
            bail!("the agent is wrong:\n{}\n{}", differences.join("\n"), ours.join("\n"));
        }
        before = differences.is_empty();
        thread::sleep(Duration::from_millis(50));
    }
}

/// Fails if the agent lost anything in WebSocket streams; see [`Losses`].
pub fn nothing_lost(agent: &Agent, metrics: &Metrics) -> anyhow::Result<()> {
    Losses::none("websocket").no_more_in(agent, metrics)
}
