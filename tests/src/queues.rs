//! Message queues: how long each message waited by those that put it in and took it out, and what the agent shows of that.

pub mod crew;
pub mod truth;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use self::truth::{BOUNDS, Truth};
use crate::agent::Agent;
use crate::kafka::Broker;
use crate::metrics::Metrics;
use crate::redis::server::Server;
use crate::redis::shown::View;
use crate::redis::wire::{Reply, Session, command};

/// How long the agent may take to say what is so.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a queue has been quiet when the agent knows its length.
const QUIET: Duration = Duration::from_millis(300);

/// What the agent shows of a queue at one end: of its server, or of its clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Messages put in.
    pub put: f64,
    /// Messages taken out.
    pub taken: f64,
    /// Of these, those whose age is not known.
    pub unknown: f64,
    /// Ages of no more than each bound, of all, and their sum.
    pub ages: Vec<f64>,
    /// Messages that wait, if that is shown.
    pub length: Option<f64>,
    /// Seconds that the next one has waited, if that is shown.
    pub oldest: Option<f64>,
}

/// A queue of a server, which the agent sees from both ends.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// What kind of queue it is, as the label tells.
    system: &'static str,
    /// The consumer group, likewise; none for whatever group there is.
    group: Option<String>,
    /// The server's end.
    pub server: Vec<View>,
    /// Those of its clients.
    pub clients: Vec<View>,
}

impl Queue {
    /// One that processes of these names use.
    pub fn new(name: &str, server: &Server, processes: &[&str]) -> Self {
        let label = server.target().label();
        let clients = processes.iter().map(|process| View::client(process, &label));
        Self {
            name: name.to_owned(),
            system: "redis_list",
            group: Some(String::new()),
            server: vec![View::server(&server.process, &label)],
            clients: clients.collect(),
        }
    }

    /// A stream that processes of these names use, or a consumer group of it.
    pub fn stream(name: &str, group: &str, server: &Server, processes: &[&str]) -> Self {
        let group = Some(group.to_owned());
        Self { system: "redis_stream", group, ..Self::new(name, server, processes) }
    }

    /// A topic of Kafka that processes of these names use, in whatever consumer group.
    pub fn topic(name: &str, broker: &Broker, processes: &[&str]) -> Self {
        let label = broker.label();
        let clients = processes.iter().map(|process| View::client(process, &label));
        Self {
            name: name.to_owned(),
            system: "kafka",
            group: None,
            server: vec![View::server(&broker.process, &label)],
            clients: clients.collect(),
        }
    }

    /// The same as one consumer group uses it, or whoever is in none.
    #[must_use]
    pub fn of_group(&self, group: &str) -> Self {
        Self { group: Some(group.to_owned()), ..self.clone() }
    }

    /// The same as clients of one process use it.
    #[must_use]
    pub fn of_process(&self, process: &str) -> Self {
        let clients = self.clients.iter().filter(|view| view.is_of(process)).cloned().collect();
        Self { clients, ..self.clone() }
    }

    /// Both of its ends.
    pub fn ends(&self) -> [&[View]; 2] {
        [&self.server, &self.clients]
    }

    fn values(&self, end: &[View], metrics: &Metrics, family: &str, more: &[(&str, &str)]) -> Vec<f64> {
        let group = self.group.as_deref().map(|group| ("group", group));
        let labels = [("system", self.system), ("queue", &self.name)].into_iter().chain(group);
        let labels: Vec<(&str, &str)> = labels.chain(more.iter().copied()).collect();
        let series = end.iter().flat_map(|view| view.series(metrics, family, &labels));
        series.map(|sample| sample.value).collect()
    }

    /// The sum of a family's series of this queue that have more labels.
    pub fn sum(&self, end: &[View], metrics: &Metrics, family: &str, more: &[(&str, &str)]) -> f64 {
        self.values(end, metrics, family, more).iter().sum()
    }

    /// What is shown at an end.
    pub fn shown(&self, end: &[View], metrics: &Metrics) -> Shown {
        self.shown_by(end, metrics, "message_age_in_queue_seconds", "take")
    }

    /// What is shown at an end of what was acknowledged, with the times until then for ages.
    pub fn acknowledged(&self, end: &[View], metrics: &Metrics) -> Shown {
        self.shown_by(end, metrics, "message_queue_processing_latency_seconds", "ack")
    }

    fn shown_by(&self, end: &[View], metrics: &Metrics, times: &str, operation: &str) -> Shown {
        const TOTAL: &str = "observer_queue_messages_total";
        let sum = |family: &str, more: &[(&str, &str)]| self.sum(end, metrics, family, more);
        let level = |family: &str| {
            let values = self.values(end, metrics, family, &[]);
            (!values.is_empty()).then(|| values.iter().sum())
        };
        let bucket = |bound: f64| sum(&format!("{times}_bucket"), &[("le", &bound.to_string())]);
        let mut ages = BOUNDS.map(bucket).to_vec();
        ages.extend(["count", "sum"].map(|of| sum(&format!("{times}_{of}"), &[])));
        Shown {
            put: sum(TOTAL, &[("operation", "put")]),
            taken: sum(TOTAL, &[("operation", operation)]),
            unknown: sum("observer_queue_unknown_age_total", &[]),
            ages,
            length: level("queue_processing_lag_messages"),
            oldest: level("observer_queue_oldest_message_seconds"),
        }
    }

    /// Waits until both ends show the truth.
    pub fn expect(&self, agent: &Agent, truth: &Truth) -> anyhow::Result<()> {
        self.ends().into_iter().try_for_each(|end| self.expect_at(end, agent, truth))
    }

    /// Waits until one does.
    pub fn expect_at(&self, end: &[View], agent: &Agent, truth: &Truth) -> anyhow::Result<()> {
        settle(agent, |metrics| {
            let shown = self.shown(end, metrics);
            truth.check(&shown).with_context(|| format!("{} of {end:?}: {shown:?}", self.name))
        })
    }

    /// Waits until both ends show that so many messages wait.
    pub fn expect_lag(&self, agent: &Agent, lag: f64) -> anyhow::Result<()> {
        self.ends().into_iter().try_for_each(|end| self.expect_lag_at(end, agent, lag))
    }

    /// Waits until clients show that so many messages wait.
    pub fn expect_clients_lag(&self, agent: &Agent, lag: f64) -> anyhow::Result<()> {
        self.expect_lag_at(&self.clients, agent, lag)
    }

    fn expect_lag_at(&self, end: &[View], agent: &Agent, lag: f64) -> anyhow::Result<()> {
        settle(agent, |metrics| {
            let shown = self.shown(end, metrics);
            ensure!(shown.length == Some(lag), "not {lag} in {}: {end:?} {shown:?}", self.name);
            Ok(())
        })
    }

    /// Waits until both ends show what was acknowledged, and how long after it had been put in.
    pub fn expect_acknowledged(&self, agent: &Agent, truth: &Truth) -> anyhow::Result<()> {
        self.ends().into_iter().try_for_each(|end| {
            settle(agent, |metrics| {
                let shown = self.acknowledged(end, metrics);
                truth.check(&shown).with_context(|| format!("acknowledged at {end:?}: {shown:?}"))
            })
        })
    }

    /// Fails if either end shows anything of it.
    pub fn expect_nothing(&self, metrics: &Metrics) -> anyhow::Result<()> {
        let label = format!("queue=\"{}\"", self.name);
        let mine =
            |line: &&str| line.contains(&label) && self.ends().concat().iter().any(|view| view.names(line));
        let lines: Vec<&str> = metrics.text().lines().filter(mine).collect();
        ensure!(lines.is_empty(), "{} is shown:\n{}", self.name, lines.join("\n"));
        Ok(())
    }

    /// Both ends show as many messages as the server has, whenever they are asked while nobody does anything.
    pub fn expect_length(&self, agent: &Agent, lists: &mut Lists) -> anyhow::Result<f64> {
        thread::sleep(QUIET);
        let length = lists.length(&self.name)?;
        for _ in 0..5 {
            let metrics = agent.scrape()?;
            for end in self.ends() {
                let shown = self.shown(end, &metrics);
                ensure!(
                    shown.length == Some(length),
                    "{} has {length} messages: {end:?} {shown:?}",
                    self.name
                );
                ensure!(length > 0.0 || shown.oldest == Some(0.0), "none is old: {end:?} {shown:?}");
            }
            thread::sleep(QUIET / 6);
        }
        ensure!(lists.length(&self.name)? == length, "{} is in use", self.name);
        Ok(length)
    }
}

/// Waits until something holds, and still does a little later.
pub fn settle(agent: &Agent, holds: impl Fn(&Metrics) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut before = false;
    loop {
        let now = holds(&agent.scrape()?);
        if before && now.is_ok() {
            return Ok(());
        }
        before = now.is_ok();
        if start.elapsed() > PATIENCE {
            now?;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Asks a server how long its lists are, in words from which the agent learns nothing.
pub struct Lists {
    session: Session,
}

impl Lists {
    /// Those of a database.
    pub fn of(server: &Server, db: u32) -> anyhow::Result<Self> {
        let mut session = server.asking()?;
        session.run(&[&format!("SELECT {db}")])?;
        Ok(Self { session })
    }

    /// How many messages there are in one, and in those of its other priorities.
    pub fn length(&mut self, queue: &str) -> anyhow::Result<f64> {
        const SCRIPT: &str = "local sum = 0
            for _, key in ipairs(KEYS) do sum = sum + redis.call('LLEN', key) end
            return sum";
        let priority = |number: u32| format!("{queue}\x06\x16{number}");
        let keys = [queue.to_owned(), priority(3), priority(6), priority(9)];
        let words = ["EVAL", SCRIPT, "4"].into_iter().chain(keys.iter().map(String::as_str));
        self.session.send(&command(&words.collect::<Vec<_>>()))?;
        let reply = self.session.reply()?;
        let Reply::Number(length) = reply else { anyhow::bail!("no length: {reply:?}") };
        Ok(length as f64)
    }
}
