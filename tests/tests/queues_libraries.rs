//! Celery and RQ: what their workers take out of lists, and how long it was there.

// They keep both processors busy, beside which others would measure other times.
// needs: host
// takes: 13 s
// at once: 2 tests

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::programs::{Program, environment, scripts};
use observer_tests::queues::crew::Crew;
use observer_tests::queues::truth::{Puts, Truth, now};
use observer_tests::queues::{Lists, Queue};
use observer_tests::redis::server::Server;
use observer_tests::redis::shown::{View, shared};
use observer_tests::websocket::unique_name;
use serde_json::{Value, json};

/// How long what is sent may take to be worked off.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker of Celery, which writes down what it takes. Dropping it kills it.
struct Worker {
    program: Program,
    log: std::path::PathBuf,
}

impl Worker {
    fn start(server: &Server, name: &str, log: &Path, pool: &[&str], seconds: u32) -> anyhow::Result<Self> {
        let mut command = Command::new(environment()?.join("venv/bin/python"));
        command.args(["-m", "celery", "-A", "queue_celery", "worker", "--loglevel", "ERROR"]);
        command.args(["--without-gossip", "--without-mingle", "--without-heartbeat"]).args(pool);
        command.env("QUEUE_PORT", server.port().to_string()).env("QUEUE_WORKER", name).env("QUEUE_LOG", log);
        command.env("QUEUE_SECONDS", seconds.to_string()).stderr(Stdio::null());
        let program = Program::start(command.current_dir(scripts()))?;
        Ok(Self { program, log: log.to_owned() })
    }

    /// What it has taken, once that is so many: `[number, since, at]`.
    fn taken(&self, count: usize) -> anyhow::Result<Vec<Value>> {
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect();
            if lines.len() >= count {
                ensure!(lines.len() == count, "it has taken {} of {count}", lines.len());
                return lines.into_iter().map(|line| Ok(serde_json::from_str(line)?)).collect();
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "the worker {} has taken {} of {count}",
                self.program.pid(),
                lines.len()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Pushes and pops as the server counts them, each of one message.
fn moved(server: &Server) -> anyhow::Result<usize> {
    let stats = server.info("commandstats")?;
    let calls = |name: &str| -> anyhow::Result<usize> {
        let Some(fields) = stats.get(&format!("cmdstat_{name}")) else { return Ok(0) };
        let calls = fields.split(',').find_map(|field| field.strip_prefix("calls="));
        Ok(calls.context("no calls")?.parse()?)
    };
    Ok(calls("lpush")? + calls("rpush")?)
}

/// Both ends show what the server itself has counted.
fn agrees(queue: &Queue, agent: &Agent, server: &Server, lists: &mut Lists) -> anyhow::Result<()> {
    let length = queue.expect_length(agent, lists)?;
    let put = moved(server)? as f64;
    let metrics = agent.scrape()?;
    for end in queue.ends() {
        let shown = queue.shown(end, &metrics);
        ensure!([shown.put, shown.taken] == [put, put - length], "{put} less {length}: {end:?} {shown:?}");
    }
    Ok(())
}

#[test]
fn celery() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let folder = tempfile::tempdir()?;
    let names = [unique_name("send"), unique_name("work")];
    let mut sender = Crew::of("os", &names[0], 1)?;
    sender.one(&format!("os.environ['QUEUE_PORT'] = '{}'", server.port()))?;
    sender.one("from queue_celery import *")?;
    let queue = Queue::new("celery", &server, &[&names[0], &names[1]]);
    let mut lists = Lists::of(&server, 0)?;
    let (mut puts, mut truth) = (Puts::default(), Truth::default());

    // Four are taken at once, and never done. The lists of other priorities are of the same queue.
    truth.put += sender.put("send(0, [0] * 4)", &mut puts)?;
    let pool = ["--pool", "threads", "--concurrency", "2", "--prefetch-multiplier", "2"];
    let first = Worker::start(&server, &names[1], &folder.path().join("first"), &pool, 100)?;
    let lost = first.taken(4)?;
    truth.ages.extend(puts.ages(&json!(lost))?);
    truth.put += sender.put("send(4, [0, 3, 6, 9] * 50 + [3] * 200)", &mut puts)?;
    agrees(&queue, &agent, &server, &mut lists)?;
    ensure!(lists.length("celery")? == 400.0, "more were taken");
    drop(first);

    // They come back: the next worker puts them in anew, where they go first.
    thread::sleep(Duration::from_millis(1_500));
    let pool = ["--pool", "solo", "--prefetch-multiplier", "1"];
    let begun = now();
    let second = Worker::start(&server, &names[1], &folder.path().join("second"), &pool, 0)?;
    let taken = second.taken(404)?;
    let restored: Vec<Value> = (0..4).map(|number| json!([number, begun, taken[0][1]])).collect();
    truth.put += puts.add(&json!(restored))?;
    truth.ages.extend(puts.ages(&json!(taken))?);
    queue.expect(&agent, &truth)?;
    agrees(&queue, &agent, &server, &mut lists)?;
    // What is sent while it waits does not.
    truth.put += sender.put("send(404, [0, 3, 6, 9] * 5)", &mut puts)?;
    truth.ages.extend(puts.ages(&json!(second.taken(424)?[404..]))?);
    queue.expect(&agent, &truth)?;
    agrees(&queue, &agent, &server, &mut lists)?;
    losses.no_more(&agent)
}

#[test]
fn rq() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let names = [unique_name("send"), unique_name("work")];
    let mut sender = Crew::of("queue_rq", &names[0], 1)?;
    let mut worker = Crew::of("queue_rq", &names[1], 1)?;
    let queue = Queue::new("rq:queue:default", &server, &[&names[0], &names[1]]);
    let mut lists = Lists::of(&server, 0)?;
    let (mut puts, mut truth) = (Puts::default(), Truth::default());
    let port = server.port();
    for (first, count, wait) in [(0, 20, 150), (20, 60, 1_200), (80, 100, 5_200)] {
        truth.put += sender.put(&format!("send({port}, {first}, {count})"), &mut puts)?;
        thread::sleep(Duration::from_millis(wait));
        truth.ages.extend(worker.take(&format!("work({port}, {})", count - 5), &mut puts)?);
        queue.expect(&agent, &truth)?;
        queue.expect_length(&agent, &mut lists)?;
    }
    // Each in a process of its own: the one that takes them out is the same.
    worker.one(&format!("work_in_children({port}, 15)"))?;
    ensure!(queue.expect_length(&agent, &mut lists)? == 0.0, "some are left");
    let metrics = agent.scrape()?;
    let label = server.target().label();
    let of = |name: &str| queue.shown(&[View::client(name, &label)], &metrics);
    let (sender, taker) = (of(&names[0]), of(&names[1]));
    ensure!(
        [sender.put, sender.taken, taker.put, taker.taken] == [180.0, 0.0, 0.0, 180.0],
        "{sender:?} {taker:?}"
    );
    ensure!([sender.unknown, taker.unknown, taker.ages[7]] == [0.0, 0.0, 180.0], "{sender:?} {taker:?}");
    // What is being worked at was never waited for.
    Queue::new("rq:queue:default:intermediate", &server, &[&names[0], &names[1]]).expect_nothing(&metrics)?;
    losses.no_more(&agent)
}
