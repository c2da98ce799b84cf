//! What is said of sessions and commands, by the server and by the agent.

use std::sync::Arc;

use anyhow::Context as _;

use super::server::Server;
use super::work::{Counts, Prefixes, Tally};
use crate::agent::Agent;
use crate::losses::{self, Losses};
use crate::metrics::{self, Metrics, Sample};
use crate::shown::reach;

/// The commands that are compared by name; the others are compared together.
const NAMED: [&str; 24] = [
    "get", "set", "mget", "mset", "hget", "hset", "getex", "getdel", "exists", "del", "expire", "pexpire",
    "incr", "lpush", "rpush", "blpop", "publish", "eval", "multi", "exec", "ping", "auth", "hello", "setex",
];
/// What is not compared: what the server is asked for its numbers with, and what libraries say of themselves
/// with, which this server knows only part of, and does not count when it does not.
const NOT_COMPARED: [&str; 3] = ["info", "config", "client"];

/// Sessions by state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sessions {
    /// A command is unanswered.
    pub active: f64,
    /// None is.
    pub idle: f64,
    /// One is that waits by its nature.
    pub blocked: f64,
}

impl Server {
    /// Its clients' sessions: those that are blocked, and the others.
    pub fn sessions(&self) -> anyhow::Result<Sessions> {
        let list = self.ask("CLIENT LIST")?.text()?;
        let mut sessions = Sessions::default();
        for line in list.lines().filter(|line| self.comes_over(line)) {
            let flags = line.split(' ').find_map(|field| field.strip_prefix("flags=")).context("no flags")?;
            if flags.contains('b') {
                sessions.blocked += 1.0;
            } else {
                sessions.idle += 1.0;
            }
        }
        Ok(sessions)
    }

    /// Waits until its sessions are these.
    pub fn reach(&self, expected: Sessions) -> anyhow::Result<()> {
        reach(&expected, || self.sessions())
    }

    /// Keys found and not found.
    pub fn keyspace(&self) -> anyhow::Result<[f64; 2]> {
        let info = self.info("stats")?;
        let field = |name: &str| -> anyhow::Result<f64> { Ok(info.get(name).context("no field")?.parse()?) };
        Ok([field("keyspace_hits")?, field("keyspace_misses")?])
    }

    /// Commands, those it has refused included.
    pub fn commands(&self) -> anyhow::Result<Counts> {
        let mut counts = Counts::new();
        for (name, fields) in self.info("commandstats")? {
            let name = name.trim_start_matches("cmdstat_");
            let number = |field: &str| -> anyhow::Result<f64> {
                let value = fields.split(',').find_map(|one| one.strip_prefix(field)?.strip_prefix('='));
                Ok(value.with_context(|| format!("no {field} of {name}"))?.parse()?)
            };
            let count = number("calls")? + number("rejected_calls")?;
            // A subcommand has its own numbers.
            fold(&mut counts, name.split('|').next().unwrap_or(name), count);
        }
        Ok(counts)
    }

    /// Errors by kind.
    pub fn errors(&self) -> anyhow::Result<Counts> {
        let fields = self.info("errorstats")?;
        let mut counts = Counts::new();
        for (kind, count) in fields {
            let kind = kind.trim_start_matches("errorstat_").to_owned();
            counts.insert(kind, count.trim_start_matches("count=").parse()?);
        }
        Ok(counts)
    }

    /// Forgets what it has counted.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.asking()?.run(&["CONFIG RESETSTAT"])
    }
}

fn fold(counts: &mut Counts, name: &str, count: f64) {
    if count != 0.0 && !NOT_COMPARED.contains(&name) {
        let name = if NAMED.contains(&name) { name } else { "not named" };
        *counts.entry(name.to_owned()).or_default() += count;
    }
}

/// One process's sessions with one server, on one of their sides.
pub type View = crate::shown::View<Redis>;

/// Of what a view tells.
#[derive(Debug)]
pub enum Redis {}

/// Families of keys found and not found.
const KEYS: [&str; 2] = ["redis_cache_hits_total", "redis_cache_misses_total"];

impl View {
    /// Both sides of what a process has to do with a server.
    pub fn both(process: &str, server: &Server) -> [Self; 2] {
        let label = server.target().label();
        [Self::client(process, &label), Self::server(&server.process, &label)]
    }

    /// Sessions by state.
    pub fn sessions(&self, metrics: &Metrics) -> Sessions {
        Sessions {
            active: self.sum(metrics, "redis_connections_active", &[]),
            idle: self.sum(metrics, "redis_connections_idle", &[]),
            blocked: self.sum(metrics, "observer_redis_connections_blocked", &[]),
        }
    }

    /// Keys found and not found so far, by prefix.
    pub fn prefixes(&self, metrics: &Metrics) -> Prefixes {
        self.pairs_by(metrics, KEYS, "cache_key_prefix")
    }

    /// Keys found and not found so far.
    pub fn keys(&self, metrics: &Metrics) -> [f64; 2] {
        KEYS.map(|name| self.sum(metrics, name, &[]))
    }

    /// Commands so far, folded as [`Server::commands`] are.
    pub fn commands(&self, metrics: &Metrics) -> Counts {
        let mut counts = Counts::new();
        for (name, count) in self.by(metrics, "observer_redis_commands_total", "command") {
            fold(&mut counts, &name, count);
        }
        counts
    }

    /// How often one has been sent.
    pub fn command(&self, metrics: &Metrics, command: &str) -> f64 {
        self.sum(metrics, "observer_redis_commands_total", &[("command", command)])
    }

    /// Errors so far by kind.
    pub fn errors(&self, metrics: &Metrics) -> Counts {
        self.by(metrics, "observer_redis_errors_total", "kind")
    }

    /// What came of `GET`, `MGET` and `SET` so far.
    pub fn tally(&self, metrics: &Metrics) -> Tally {
        let mut commands = self.commands(metrics);
        commands.retain(|name, _| ["get", "mget", "set"].contains(&name.as_str()));
        Tally { prefixes: self.prefixes(metrics), commands }
    }

    /// How many `get`s or `set`s had their time taken, and how long they took together.
    pub fn latency(&self, metrics: &Metrics, which: &str) -> [f64; 2] {
        ["count", "sum"].map(|of| self.sum(metrics, &format!("redis_{which}_latency_seconds_{of}"), &[]))
    }

    /// How many of them took no longer than a bound.
    pub fn within(&self, metrics: &Metrics, which: &str, bound: &str) -> f64 {
        self.sum(metrics, &format!("redis_{which}_latency_seconds_bucket"), &[("le", bound)])
    }

    /// A histogram's buckets (those below one included), count and sum, and its bounds.
    pub fn histogram(&self, metrics: &Metrics, name: &str, bounds: &[f64]) -> Vec<f64> {
        let bucket = |bound: &f64| {
            let samples = self.series(metrics, &format!("{name}_bucket"), &[]);
            let is = |sample: &&&Sample| {
                sample.labels.get("le").and_then(|le| le.parse::<f64>().ok()) == Some(*bound)
            };
            samples.iter().filter(is).map(|sample| sample.value).sum::<f64>()
        };
        let mut values: Vec<f64> = bounds.iter().map(bucket).collect();
        values.extend(["count", "sum"].map(|of| self.sum(metrics, &format!("{name}_{of}"), &[])));
        values
    }
}

/// Times that the agent came out of sync with Redis streams.
pub fn desyncs(metrics: &Metrics) -> f64 {
    metrics::desyncs(metrics, "redis")
}

/// The agent that tests of a file share, and what it has lost so far of Redis streams.
pub fn shared() -> anyhow::Result<(Arc<Agent>, Losses)> {
    losses::shared("redis")
}

/// Fails if the agent lost anything in Redis streams.
pub fn nothing_lost(agent: &Agent) -> anyhow::Result<()> {
    Losses::none("redis").no_more(agent)
}
