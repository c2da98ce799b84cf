//! A Kafka broker and clients of a test's own, what they say of what they did, and what the agent shows of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::losses::{self, Losses};
use crate::metrics::Metrics;
use crate::puppet::Puppet;
use crate::queues::truth::{Age, Puts};
use crate::ss;
use crate::websocket::unique_name;

/// How long the agent and whom it is compared with may take to agree.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests by the agent's name, as librdkafka's statistics call them, and by API key.
const APIS: [(&str, &str, &str); 13] = [
    ("produce", "Produce", "0"),
    ("fetch", "Fetch", "1"),
    ("list_offsets", "ListOffsets", "2"),
    ("metadata", "Metadata", "3"),
    ("offset_commit", "OffsetCommit", "8"),
    ("offset_fetch", "OffsetFetch", "9"),
    ("find_coordinator", "FindCoordinator", "10"),
    ("join_group", "JoinGroup", "11"),
    ("heartbeat", "Heartbeat", "12"),
    ("leave_group", "LeaveGroup", "13"),
    ("sync_group", "SyncGroup", "14"),
    ("api_versions", "ApiVersion", "18"),
    ("init_producer_id", "InitProducerId", "22"),
];

/// Counts by name.
pub type Counts = BTreeMap<String, f64>;

/// What is told of requests, by the agent's names.
fn counts(told: Value) -> anyhow::Result<Counts> {
    let told: Counts = serde_json::from_value(told).context("counts of requests")?;
    let mut counts = Counts::new();
    for (name, count) in told {
        let known = APIS.iter().find(|(_, statistics, key)| *statistics == name || *key == name);
        *counts.entry(known.map_or("other", |(known, _, _)| known).to_owned()).or_default() += count;
    }
    Ok(counts)
}

/// A broker (`tests/scripts/kafka_broker.py`). Dropping it ends it.
#[derive(Debug)]
pub struct Broker {
    puppet: Puppet,
    port: u16,
    /// What the agent calls it.
    pub process: String,
}

impl Broker {
    /// Starts one with topics of so many partitions.
    pub fn start(topics: &[(&str, u32)]) -> anyhow::Result<Self> {
        let process = unique_name("bro");
        let mut puppet = Puppet::start(&process)?;
        puppet.run("from kafka_broker import *")?;
        let port = serde_json::from_value(puppet.ask("start()")?).context("the broker's port")?;
        for (name, partitions) in topics {
            puppet.run(&format!("topic('{name}', {partitions})"))?;
        }
        Ok(Self { puppet, port, process })
    }

    /// What the agent calls it as a server's end.
    pub fn label(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its own end of all connections.
    pub fn view(&self) -> View {
        View::server(&self.process, &self.label())
    }

    /// Has it answer so much later from now on.
    pub fn delay(&mut self, milliseconds: u32) -> anyhow::Result<()> {
        self.puppet.run(&format!("delay({milliseconds})"))
    }

    /// Has it answer the next requests of an API key with errors of these codes.
    pub fn refuse(&mut self, key: u8, codes: &[i32]) -> anyhow::Result<()> {
        self.puppet.run(&format!("refuse({key}, {codes:?})"))
    }

    /// How many requests it has received, by its own count.
    pub fn received(&mut self) -> anyhow::Result<Counts> {
        counts(self.puppet.ask("received()")?)
    }

    /// Connections with it as the kernel has them: of their clients' ends, and of its own.
    pub fn connections(&self) -> anyhow::Result<[f64; 2]> {
        let sockets = ss::sockets(None, self.port)?;
        let own = format!(":{}", self.port);
        let count = |is: fn(&ss::Socket) -> &String| {
            sockets.iter().filter(|socket| is(socket).ends_with(&own)).count() as f64
        };
        Ok([count(|socket| &socket.remote), count(|socket| &socket.local)])
    }
}

/// A process with a producer or a consumer (`tests/scripts/kafka_client.py`). Dropping it ends it.
#[derive(Debug)]
pub struct Client {
    puppet: Puppet,
    /// What the agent calls it.
    pub process: String,
}

impl Client {
    /// Starts one that uses a library.
    pub fn start(library: &str, broker: &Broker) -> anyhow::Result<Self> {
        Self::start_with(library, broker, "")
    }

    /// The same with more settings, as keyword arguments.
    pub fn start_with(library: &str, broker: &Broker, settings: &str) -> anyhow::Result<Self> {
        let process = unique_name("cli");
        let mut puppet = Puppet::start(&process)?;
        puppet.run("from kafka_client import *")?;
        puppet.run(&format!("use('{library}', {}, {settings})", broker.port))?;
        Ok(Self { puppet, process })
    }

    /// Its end of its connections with a broker.
    pub fn view(&self, broker: &Broker) -> View {
        View::client(&self.process, &broker.label())
    }

    /// Has it do something.
    pub fn ask(&mut self, expression: &str) -> anyhow::Result<Value> {
        self.puppet.ask(expression)
    }

    /// Tells it to do something, and does not wait.
    pub fn tell(&mut self, statement: &str) -> anyhow::Result<()> {
        self.puppet.tell(statement)
    }

    /// What came of that.
    pub fn answer(&mut self) -> anyhow::Result<Value> {
        self.puppet.answer()
    }

    /// Has it join a group that reads some topics: `['orders']`.
    pub fn join(&mut self, topics: &str, group: &str) -> anyhow::Result<()> {
        self.puppet.run(&format!("join({topics}, '{group}')"))
    }

    /// Has it take so many messages, and tells how old they were.
    pub fn take(&mut self, count: usize, puts: &mut Puts) -> anyhow::Result<Vec<Age>> {
        puts.ages(&self.ask(&format!("take({count})"))?)
    }

    /// Has it commit so much of what it has taken, and tells how long ago that had been put in.
    pub fn commit(&mut self, share: f64, puts: &mut Puts) -> anyhow::Result<Vec<Age>> {
        /// A message may be taken for as old as one that was written up to so many seconds before it.
        const SPAN: f64 = 0.165;
        let ages = puts.ages(&self.ask(&format!("commit({share})"))?)?;
        let oldest = |age: &Age| {
            let near = ages.iter().map(|other| other[1]).filter(|most| *most <= age[1] + SPAN);
            near.fold(age[1], f64::max)
        };
        Ok(ages.iter().map(|age| [age[0], oldest(age)]).collect())
    }

    /// How many messages of a topic its group has not committed, as the broker tells it: each partition's high watermark
    /// less what is committed of it.
    pub fn behind(&mut self, topic: &str) -> anyhow::Result<f64> {
        let told: Vec<[i64; 2]> = serde_json::from_value(self.ask(&format!("standing('{topic}')"))?)?;
        ensure!(
            !told.is_empty() && told.iter().all(|[committed, _]| *committed >= 0),
            "not committed: {told:?}"
        );
        Ok(told.iter().map(|[committed, high]| high - committed).sum::<i64>() as f64)
    }

    /// How many requests it has sent, by the count of the library, which is librdkafka.
    pub fn counted(&mut self) -> anyhow::Result<Counts> {
        counts(self.ask("counted()")?)
    }
}

/// One process's connections with one broker, on one of their sides.
pub type View = crate::shown::View<Kafka>;

/// Of what a view tells.
#[derive(Debug)]
pub enum Kafka {}

/// Times of requests that were answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// How many there are.
    pub count: f64,
    /// How many seconds they took together.
    pub sum: f64,
    /// How many of them took no more than a tenth of a second, and than half a second.
    pub within: [f64; 2],
}

impl View {
    /// Requests so far.
    pub fn requests(&self, metrics: &Metrics) -> Counts {
        let mut counts = Counts::new();
        for (name, count) in self.by(metrics, "observer_kafka_requests_total", "api") {
            let name =
                if APIS.iter().any(|(known, _, _)| *known == name) { name } else { "other".to_owned() };
            *counts.entry(name).or_default() += count;
        }
        counts
    }

    /// Errors so far, but for the one with which a connection may begin, as this broker does not know the newest version of the
    /// request that asks for versions.
    pub fn errors(&self, metrics: &Metrics) -> Counts {
        let mut errors = self.by(metrics, "observer_kafka_errors_total", "error");
        errors.remove("unsupported_version");
        errors
    }

    /// Fetch requests so far that waited, or found nothing.
    pub fn waits(&self, metrics: &Metrics) -> f64 {
        self.sum(metrics, "observer_kafka_fetch_waits_total", &[])
    }

    /// Times of requests.
    pub fn times(&self, metrics: &Metrics, api: &str) -> Times {
        let sum = |of: &str, more: &[(&str, &str)]| {
            let name = format!("observer_kafka_request_duration_seconds_{of}");
            self.sum(metrics, &name, &[&[("api", api)], more].concat())
        };
        Times {
            count: sum("count", &[]),
            sum: sum("sum", &[]),
            within: ["0.1", "0.5"].map(|bound| sum("bucket", &[("le", bound)])),
        }
    }

    /// Responses and requests that the agent could make nothing of.
    pub fn not_read(&self, metrics: &Metrics) -> [f64; 2] {
        ["observer_kafka_unmatched_responses_total", "observer_kafka_unparsed_total"]
            .map(|name| self.sum(metrics, name, &[]))
    }
}

/// Connections of Kafka that are open, of some processes on one side.
pub fn connections(metrics: &Metrics, processes: &[&str], role: &str) -> f64 {
    let count = |process: &&str| {
        let labels = [("process", *process), ("role", role), ("protocol", "kafka")];
        metrics.sum("observer_connections", &labels)
    };
    processes.iter().map(count).sum()
}

/// Waits until the agent shows what somebody says, who may go on doing something meanwhile.
pub fn agree<T: PartialEq + Debug>(
    agent: &Agent,
    mut said: impl FnMut() -> anyhow::Result<T>,
    shown: impl Fn(&Metrics) -> T,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let before = said()?;
        let shown = shown(&agent.scrape()?);
        let after = said()?;
        if before == after && shown == after {
            return Ok(after);
        }
        ensure!(start.elapsed() < PATIENCE, "shown is\n{shown:?}, and not\n{before:?} to\n{after:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The agent that tests of a file share, and what it has lost so far of Kafka's streams.
pub fn shared() -> anyhow::Result<(Arc<Agent>, Losses)> {
    losses::shared("kafka")
}
