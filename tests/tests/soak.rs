//! Everything at once, for long: WebSocket, Postgres and Redis traffic, processes that come and go, and an agent that
//! is killed and started again in the middle of it. `cargo xtask soak` runs it for ten minutes.

// Everything at once, and nothing else: all that it leaves in the kernel is found.
// needs: host
// takes: 24 s

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::bpf::{Kind, Objects};
use observer_tests::crowd::Crowd;
use observer_tests::postgres::pgbench::Pgbench;
use observer_tests::postgres::server::Server as Postgres;
use observer_tests::postgres::shown::{View as PostgresView, queries};
use observer_tests::puppet::Puppet;
use observer_tests::redis::benchmark::Benchmark;
use observer_tests::redis::server::Server as Redis;
use observer_tests::redis::shown::View as RedisView;
use observer_tests::talk::Talk;
use observer_tests::websocket::peers::{Peer, Runtime, Step, exchanged};
use observer_tests::websocket::sides::{Side, settle};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::unique_name;

/// How long it takes where `OBSERVER_SOAK_SECONDS` does not say.
const BRIEF: u64 = 15;
/// How much of the agent's own memory may come while nothing but time passes.
const GROWTH: u64 = 2 << 20;
/// WebSocket connections that stay open.
const CROWD: usize = 500;

fn length() -> anyhow::Result<Duration> {
    let seconds = match std::env::var("OBSERVER_SOAK_SECONDS") {
        Ok(seconds) => seconds.parse().context("OBSERVER_SOAK_SECONDS is a number of seconds")?,
        Err(_) => BRIEF,
    };
    Ok(Duration::from_secs(seconds))
}

/// A WebSocket server and client that were there before every agent, as they were then.
struct Elders {
    server: Peer,
    client: Peer,
    before: [Side; 2],
}

impl Elders {
    fn start() -> anyhow::Result<Self> {
        let (mut server, address) = Peer::server(Runtime::Python, "tcp", "plain")?;
        let client = Peer::client(Runtime::Python, &address, "plain", 2)?;
        server.side.open = 2;
        let before = [client.side.clone(), server.side.clone()];
        Ok(Self { server, client, before })
    }

    /// For an agent that has just started, they have done nothing yet.
    fn begin(&mut self) {
        let [client, server] = self.before.clone();
        (self.client.side, self.server.side) = (client, server);
    }

    /// They exchange messages of every size; all of them are counted.
    fn talk(&mut self, agent: &Agent) -> anyhow::Result<()> {
        let sizes = [5, 125, 126, 1_000, 65_535, 65_536, 1_000_000];
        let mut steps: Vec<Step> = sizes.map(|size| Step::message(Opcode::Binary, size)).into();
        steps.push(Step::Message(Opcode::Text, vec![10, 200, 70_000], Some(8)));
        let traffic = self.client.take(&steps)?;
        exchanged(&mut self.client.side, &mut self.server.side, &traffic);
        settle(agent, &[&self.client.side, &self.server.side]).map(drop)
    }
}

/// What there is to talk to.
struct Servers {
    postgres: Postgres,
    redis: Redis,
    elders: Elders,
}

/// Loads that go on until they are told to stop.
fn loads<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    servers: &Servers,
    stop: &'scope AtomicBool,
) -> anyhow::Result<Vec<ScopedJoinHandle<'scope, anyhow::Result<()>>>> {
    let goes_on = || !stop.load(Ordering::Relaxed);
    let (postgres, redis) = (servers.postgres.tcp(), servers.redis.target());
    let (kept, brief) = (Pgbench::new(&postgres)?, Pgbench::new(&postgres)?);
    kept.prepare()?;
    let benchmark = Benchmark::new(&redis)?;
    Ok(vec![
        scope.spawn(move || {
            while goes_on() {
                kept.run("prepared", &["-S", "-c", "4", "-T", "2", "-R", "400"], None)?;
            }
            Ok(())
        }),
        // A session a transaction.
        scope.spawn(move || {
            while goes_on() {
                brief.run("simple", &["-S", "-C", "-c", "2", "-t", "20", "-R", "20"], None)?;
            }
            Ok(())
        }),
        scope.spawn(move || {
            while goes_on() {
                let arguments = ["-t", "get", "-n", "4000", "-c", "8", "-P", "4", "-r", "1000"];
                benchmark.run(&arguments)?;
                sleep(Duration::from_millis(200));
            }
            Ok(())
        }),
        // Processes that come, say something, and go.
        scope.spawn(move || {
            while goes_on() {
                let mut traffic = Talk::steady([&unique_name("co"), &unique_name("go")], 1)?;
                traffic.client.answer()?;
                traffic.client.finish()?;
                traffic.server.answer()?;
                traffic.server.finish()?;
            }
            Ok(())
        }),
        // Many connections that speak now and then, and large messages.
        scope.spawn(move || {
            let mut crowd = Crowd::open(CROWD)?;
            let mut loud = Talk::steady([&unique_name("lo"), &unique_name("he")], 0)?;
            while goes_on() {
                crowd.speak()?;
                loud.client.answer()?;
                loud.client.tell("send_steadily(one, frame(2_000_000, True), 0.2, 1)")?;
            }
            loud.client.answer().map(drop)
        }),
    ])
}

/// New processes do a known number of things; the agent says just that.
fn newcomers(agent: &Agent, servers: &Servers) -> anyhow::Result<()> {
    let mut sender = Puppet::start(&unique_name("nc"))?;
    let name = unique_name("ns");
    let mut receiver = Puppet::start(&name)?;
    let port = receiver.listen()?;
    sender.run(&format!("one = connect(('127.0.0.1', {port})); ask_upgrade(one)"))?;
    receiver.run("one = listener.accept()[0]; grant_upgrade(one)")?;
    sender.run("finish_upgrade(one)")?;
    receiver.tell("receive([one], 300 * len(frame(700, True)))")?;
    sender.run("[one.sendall(frame(700, True)) for _ in range(300)][0]")?;
    receiver.answer()?;
    let labels = [("process", name.as_str()), ("role", "server"), ("direction", "received")];
    let metrics = agent.wait_until("300 messages of a new process", |metrics| {
        metrics.sum("observer_websocket_messages_total", &labels) >= 300.0
    })?;
    let told = ["observer_websocket_messages_total", "message_size_bytes_sum"]
        .map(|family| metrics.sum(family, &labels));
    ensure!(told == [300.0, 210_000.0], "{told:?} of 300 messages of 700 bytes");

    let bench = Pgbench::new(&servers.postgres.tcp())?;
    let script = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 7;\n";
    let run = bench.hold("extended", &["-c", "2", "-t", "50"], Some(script))?;
    let view = PostgresView::client(&bench.process, &servers.postgres.tcp().label());
    let updates = |view: &PostgresView, metrics: &_| {
        let mut counts = view.queries(metrics);
        counts.retain(|kind, _| kind == "update");
        counts
    };
    view.expect(agent, &queries(&[("update", 100)]), updates)?;
    run.report()?;

    let bench = Benchmark::new(&servers.redis.target())?;
    let run = bench.hold(&["-t", "set", "-n", "3000", "-c", "5", "-P", "3"])?;
    let view = RedisView::client(&bench.process, &servers.redis.target().label());
    view.expect(agent, &3000.0, |view, metrics| view.command(metrics, "set"))?;
    run.report()?;
    Ok(())
}

/// An agent's life, of so long at least; every second or so its counts are looked at. Tells what memory of its own it
/// had at each look.
fn live(agent: &Agent, servers: &mut Servers, long: Duration) -> anyhow::Result<Vec<u64>> {
    let start = Instant::now();
    servers.elders.begin();
    let mut memory = Vec::new();
    loop {
        servers.elders.talk(agent).context("sessions older than the agent")?;
        newcomers(agent, servers).context("processes younger than the agent")?;
        memory.push(agent.own_bytes()?);
        if start.elapsed() >= long {
            return Ok(memory);
        }
        sleep(Duration::from_secs(1));
    }
}

#[test]
fn everything_at_once() -> anyhow::Result<()> {
    let length = length()?;
    let before = Objects::now()?;
    let mut servers =
        Servers { postgres: Postgres::start()?, redis: Redis::start()?, elders: Elders::start()? };
    let stop = AtomicBool::new(false);
    let agent = thread::scope(|scope| -> anyhow::Result<Agent> {
        let loads = loads(scope, &servers, &stop)?;
        let done = (|| {
            // One long life for what grows with time, then two that end in the middle of everything. What is kept of
            // processes that have ended would grow as it should.
            let agent = Agent::start(&["--series-retention", "1"])?;
            let memory = live(&agent, &mut servers, length / 2)?;
            println!("its own memory, at each look: {memory:?}");
            // At the first look it has hardly begun.
            let memory = &memory[1..];
            let half = memory.len() / 2;
            let [first, last] = [&memory[..half], &memory[half..]].map(|part| part.iter().min().copied());
            let (first, last) = (first.context("no look")?, last.context("no look")?);
            ensure!(last < first + GROWTH, "its own memory grows: {memory:?}");
            agent.signal(libc::SIGKILL)?;
            agent.stop()?;

            let agent = Agent::start(&[])?;
            live(&agent, &mut servers, length / 4)?;
            agent.signal(libc::SIGKILL)?;
            agent.stop()?;

            let agent = Agent::start(&[])?;
            live(&agent, &mut servers, length / 4)?;
            // By their numbers: some that were there before may still have been those of an agent that had ended.
            let seen = Objects::now()?.without(&before);
            for kind in [Kind::Program, Kind::Map, Kind::Link] {
                ensure!(seen.count(kind) > 0, "bpftool sees no {kind:?} of an agent that runs");
            }
            Ok(agent)
        })();
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().map_err(|_| anyhow::anyhow!("a load panicked"))?.context("a load")?;
        }
        done
    })?;
    let status = agent.stop()?;
    ensure!(status.success(), "the agent ended with {status}");
    before.expect_again()
}
