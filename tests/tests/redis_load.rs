//! What operators look for: caches that miss, memory that runs out, commands that take their time, values and times
//! to live.

// needs: redis
// takes: 34 s

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::metrics::Metrics;
use observer_tests::programs::free_port;
use observer_tests::redis::benchmark::Benchmark;
use observer_tests::redis::clients::{Clients, Library, Protocol};
use observer_tests::redis::server::{Server, Transport, info};
use observer_tests::redis::shown::{View, nothing_lost};
use observer_tests::redis::wire::{Ends, NIL, OK, Reply, Session, command};
use observer_tests::redis::work::Prefixes;
use observer_tests::websocket::{alone, own_name};

/// The bounds of the buckets of values' sizes.
const SIZES: [f64; 8] = [16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 1_048_576.0];
/// Those of times to live.
const TTLS: [f64; 8] = [1.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0];

/// Keys are asked for that nobody has ever written: search results of which 12 in 100 are there, beside sessions
/// of which nearly all are.
#[test]
fn a_cache_that_misses_shows_by_prefix() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let mut clients = Clients::start(Library::Python, Protocol::Resp2, &server.target())?;
    clients.login(2)?;
    clients.puppet()?.run("[sessions[0].set(f'search:{n}', 'found') for n in range(120)][0]")?;
    clients.puppet()?.run("[sessions[0].set(f'session:{n}', 'found') for n in range(950)][0]")?;
    for round in 1..=5 {
        clients.puppet()?.run("[sessions[1].get(f'search:{n}') for n in range(1000)][0]")?;
        clients.puppet()?.run("sessions[1].mget([f'session:{n}' for n in range(1000)])[0]")?;
        let rounds = f64::from(round);
        let expected: Prefixes = [("search", [120.0, 880.0]), ("session", [950.0, 50.0])]
            .map(|(prefix, counts)| (prefix.to_owned(), counts.map(|count| count * rounds)))
            .into();
        ensure!(server.keyspace()? == [1070.0 * rounds, 930.0 * rounds], "{:?}", server.keyspace()?);
        for view in View::both(&clients.process, &server) {
            view.expect(&agent, &expected, View::prefixes)?;
            let [hits, misses] = view.prefixes(&agent.scrape()?)["search"];
            ensure!((hits / (hits + misses) - 0.12).abs() < 1e-9, "{hits} of {}", hits + misses);
        }
    }
    nothing_lost(&agent)
}

/// A server whose memory is full, and which throws away what was not used for long.
fn under_pressure() -> anyhow::Result<Server> {
    let settings = ["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"];
    Server::start_with(Transport::Tcp, &settings)
}

/// What is written is more than it holds.
fn press(clients: &mut Clients) -> anyhow::Result<()> {
    clients.puppet()?.run("[sessions[0].set(f'page:{n}', 'x' * 1000) for n in range(5000)][0]")
}

#[test]
fn evictions_show_when_anybody_asks() -> anyhow::Result<()> {
    let _alone = alone();
    let server = under_pressure()?;
    let agent = Agent::shared()?;
    let views = View::both(&own_name()?, &server);
    let mut clients = Clients::start(Library::Python, Protocol::Resp2, &server.target())?;
    clients.login(1)?;
    let values = |view: &View, metrics: &Metrics| {
        ["redis_memory_used_bytes", "observer_redis_memory_limit_bytes", "redis_evictions_total"]
            .map(|name| view.sum(metrics, name, &[]))
    };
    let mut before = -1.0;
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut session = Session::connect(&server.target())?;
        session.run(&[hello])?;
        for words in ["INFO", "INFO all", "INFO everything", "INFO memory stats", "info STATS memory"] {
            press(&mut clients)?;
            let told = info(&session.ask(words)?)?;
            let told =
                |name: &str| -> anyhow::Result<f64> { Ok(told.get(name).context("no field")?.parse()?) };
            let expected = [told("used_memory")?, told("maxmemory")?, told("evicted_keys")?];
            ensure!(expected[0] > 3e6 && expected[1] > 0.0 && expected[2] > before, "{words}: {expected:?}");
            before = expected[2];
            for view in &views {
                view.expect(&agent, &expected, values).with_context(|| format!("{hello}: {words}"))?;
            }
        }
        // Each may be told without the other.
        press(&mut clients)?;
        let told = info(&session.ask("INFO stats")?)?;
        let evicted: f64 = told["evicted_keys"].parse()?;
        for view in &views {
            view.expect(&agent, &evicted, |view, metrics| values(view, metrics)[2])?;
        }
    }
    nothing_lost(&agent)
}

#[test]
fn evictions_show_when_the_agent_asks() -> anyhow::Result<()> {
    let _alone = alone();
    let server = under_pressure()?;
    let down = free_port()?;
    let urls = [server.port(), down].map(|port| format!("redis://127.0.0.1:{port}"));
    let agent = Agent::start(&["--redis-info", &urls[0], "--redis-info", &urls[1]])?;
    let mut clients = Clients::start(Library::Python, Protocol::Resp2, &server.target())?;
    clients.login(1)?;
    press(&mut clients)?;
    let label = server.target().label();
    let newest = |metrics: &Metrics, name: &str| {
        let labels = [("server", label.as_str())];
        metrics.samples(name, &labels).iter().map(|sample| sample.value).fold(0.0, f64::max)
    };
    for _ in 0..2 {
        press(&mut clients)?;
        let evicted: f64 = server.info("stats")?["evicted_keys"].parse()?;
        ensure!(evicted > 1000.0, "{evicted} evictions");
        let what = format!("{evicted} evictions are told");
        let metrics =
            agent.wait_until(&what, |metrics| newest(metrics, "redis_evictions_total") == evicted)?;
        let used: f64 = server.info("memory")?["used_memory"].parse()?;
        let told = newest(&metrics, "redis_memory_used_bytes");
        ensure!((told - used).abs() < 0.1 * used, "{told} bytes are told, {used} are used");
        let limit: f64 = server.info("memory")?["maxmemory"].parse()?;
        ensure!(newest(&metrics, "observer_redis_memory_limit_bytes") == limit, "not {limit}");
    }
    // What it asks is said, and so is which server does not answer.
    let status = agent.json("/status")?.to_string();
    for (port, is_up) in [(server.port(), 1.0), (down, 0.0)] {
        let name = format!("127.0.0.1:{port}");
        ensure!(status.contains(&name), "{name} is not in {status}");
        agent.wait_until(&format!("whether {name} answers"), |metrics| {
            let told = metrics.samples("observer_redis_info_up", &[("server", &name)]);
            told.len() == 1 && told.iter().all(|sample| sample.value == is_up)
        })?;
    }
    let log = agent.log().join("\n");
    ensure!(log.contains(&format!("127.0.0.1:{down}")), "nothing about the server that is down: {log}");
    nothing_lost(&agent)
}

/// What a histogram must say of some values.
fn histogram(values: &[f64], bounds: &[f64]) -> Vec<f64> {
    let within = |bound: &f64| values.iter().filter(|&value| value <= bound).count() as f64;
    let mut all: Vec<f64> = bounds.iter().map(within).collect();
    all.extend([values.len() as f64, values.iter().sum()]);
    all
}

#[test]
fn values_and_times_to_live() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let mut session = Session::connect(&server.target())?;
    let views = View::both(&own_name()?, &server);
    let mut sizes = Vec::new();
    let mut ttls = Vec::new();
    let mut without = 0.0;
    for length in
        [0, 1, 15, 16, 17, 64, 65, 256, 1_024, 4_096, 4_097, 16_384, 65_536, 65_537, 1_048_576, 3_000_000]
    {
        session.send(&command(&[&b"SET"[..], b"user:1", &vec![b'\n'; length]]))?;
        ensure!(session.reply()? == Reply::simple("OK"), "SET of {length} bytes");
        sizes.push(length as f64);
        without += 1.0;
    }
    // A command, the sizes of what it writes, the times to live in it, and how many writes are without.
    let commands: [(&str, &[f64], &[f64], f64); 23] = [
        ("SET user:1 abc EX 1", &[3.0], &[1.0], 0.0),
        ("SET user:1 abc PX 10000", &[3.0], &[10.0], 0.0),
        ("set user:1 abc ex 2 nx", &[3.0], &[2.0], 0.0),
        ("SET user:1 abc XX GET PX 1500", &[3.0], &[1.5], 0.0),
        ("SET user:1 abc EX 100000", &[3.0], &[100_000.0], 0.0),
        ("SET user:1 abc KEEPTTL", &[3.0], &[], 0.0),
        ("SET user:1 abc XX", &[3.0], &[], 1.0),
        ("SET user:1 EX", &[2.0], &[], 1.0),
        ("SETEX user:1 30 abcd", &[4.0], &[30.0], 0.0),
        ("PSETEX user:1 60000 abcde", &[5.0], &[60.0], 0.0),
        ("SETNX user:2 abcdef", &[6.0], &[], 1.0),
        ("GETSET user:1 abcdefg", &[7.0], &[], 1.0),
        ("MSET user:1 a user:2 bb user:3 ccc", &[1.0, 2.0, 3.0], &[], 3.0),
        ("EXPIRE user:1 300", &[], &[300.0], 0.0),
        ("PEXPIRE user:1 900000", &[], &[900.0], 0.0),
        ("EXPIRE user:1 3600 GT", &[], &[3600.0], 0.0),
        ("EXPIRE absent:1 61", &[], &[61.0], 0.0),
        ("GETEX user:1 EX 86400", &[], &[86_400.0], 0.0),
        ("GETEX user:1 PX 500", &[], &[0.5], 0.0),
        ("GETEX user:1", &[], &[], 0.0),
        ("PERSIST user:1", &[], &[], 0.0),
        ("APPEND user:1 abc", &[], &[], 0.0),
        ("INCR counter", &[], &[], 0.0),
    ];
    for (words, written, lives, plain) in commands {
        let reply = session.ask(words)?;
        ensure!(!matches!(reply, Reply::Error(_)), "{words}: {reply:?}");
        sizes.extend_from_slice(written);
        ttls.extend_from_slice(lives);
        without += plain;
    }
    let expected = (histogram(&sizes, &SIZES), histogram(&ttls, &TTLS), without);
    let said = |view: &View, metrics: &Metrics| {
        let sizes = view.histogram(metrics, "redis_key_size_bytes", &SIZES);
        let ttls = view.histogram(metrics, "redis_ttl_seconds", &TTLS);
        (sizes, ttls, view.sum(metrics, "observer_redis_writes_without_ttl_total", &[]))
    };
    for view in &views {
        view.expect(&agent, &expected, said)?;
    }
    // Points in time, which are so many seconds from now.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let then = |seconds: u128| [now / 1000 + seconds, now + seconds * 1000];
    let [seconds, milliseconds] = then(200);
    session.run(&[
        &format!("SET user:1 abc EXAT {seconds}"),
        &format!("SET user:1 abc PXAT {milliseconds}"),
        &format!("EXPIREAT user:1 {seconds}"),
        &format!("PEXPIREAT user:1 {milliseconds}"),
        &format!("GETEX user:1 EXAT {seconds}"),
    ])?;
    for view in &views {
        let count = |view: &View, metrics: &Metrics| said(view, metrics).1[TTLS.len()];
        view.expect(&agent, &(ttls.len() as f64 + 5.0), count)?;
        let (_, after, plain) = said(view, &agent.scrape()?);
        let sum = after[TTLS.len() + 1] - expected.1[TTLS.len() + 1];
        ensure!((sum - 1000.0).abs() < 10.0, "five times 200 s are {sum} s");
        ensure!(after[4] - expected.1[4] == 5.0, "they are below 300 s: {after:?}");
        ensure!(plain == without, "{plain} writes without");
    }
    nothing_lost(&agent)
}

/// Times are compared with those that others take, or that the test itself lets pass.
// needs: host
// takes: 8 s
mod on_idle_processors {
    use super::{
        Agent, Benchmark, Duration, Ends, NIL, OK, Prefixes, Server, Session, View, alone, command, ensure,
        nothing_lost, own_name, thread,
    };

    /// The mean time of a command is what `redis-benchmark` says it is, which takes it between its own calls.
    #[test]
    fn commands_take_as_long_as_redis_benchmark_says() -> anyhow::Result<()> {
        let _alone = alone();
        let server = Server::start()?;
        let agent = Agent::start(&[])?;
        for which in ["get", "set"] {
            for (sessions, depth) in [("1", "1"), ("20", "1"), ("5", "16")] {
                let bench = Benchmark::new(&server.target())?;
                let run = bench.hold(&["-n", "40000", "-t", which, "-c", sessions, "-P", depth])?;
                let view = View::client(&bench.process, &server.target().label());
                let sent = server.commands()?[which];
                server.reset()?;
                view.expect(&agent, &sent, |view, metrics| view.latency(metrics, which)[0])?;
                let [count, sum] = view.latency(&agent.scrape()?, which);
                let mean = sum / count;
                let report = run.report()?;
                println!(
                    "{which}, {sessions} sessions of {depth}: {mean} s, {} s by redis-benchmark",
                    report.latency
                );
                ensure!(
                    mean < 1.1 * report.latency + 20e-6 && mean > 0.5 * report.latency - 30e-6,
                    "{mean} s by the agent, {} s by redis-benchmark",
                    report.latency
                );
            }
        }
        nothing_lost(&agent)
    }

    #[test]
    fn commands_that_wait_for_a_slow_one_take_long() -> anyhow::Result<()> {
        let _alone = alone();
        let server = Server::start()?;
        let agent = Agent::start(&[])?;
        let mut session = Session::connect(&server.target())?;
        let views = View::both(&own_name()?, &server);
        session.run(&["SET user:1 a", "GET user:1"])?;
        let mut slow = server.asking()?;
        for words in ["GET user:1", "SET user:1 b", "GET gone:1"] {
            slow.tell("DEBUG SLEEP 0.4")?;
            thread::sleep(Duration::from_millis(100));
            session.run(&[words])?;
            slow.reply()?;
        }
        // The server has read it when it says so: to it, the command took no time.
        let client = &views[0];
        for (which, count, waited) in [("get", 3.0, 0.6), ("set", 2.0, 0.3)] {
            client.expect(&agent, &count, |view, metrics| view.latency(metrics, which)[0])?;
            let metrics = agent.scrape()?;
            let [_, sum] = client.latency(&metrics, which);
            ensure!((sum - waited).abs() < 0.1, "{which}s took {sum} s, and not {waited} s");
            let short = client.within(&metrics, which, "0.01");
            ensure!(short == 1.0, "{short} {which}s were short");
        }
        nothing_lost(&agent)
    }

    #[test]
    fn each_command_of_a_pipeline_takes_its_own_time() -> anyhow::Result<()> {
        let _alone = alone();
        let agent = Agent::start(&[])?;
        let mut ends = Ends::connect()?;
        let name = own_name()?;
        let views = [View::client(&name, &ends.label), View::server(&name, &ends.label)];
        let [get, set] = [command(&["GET", "user:1"]), command(&["SET", "user:1", "a"])];
        ends.ask(&[&get[..], &set, &get, &set, &get].concat())?;
        // 0, 50, 150, 300 and 500 ms after they were sent.
        for (wait, reply) in [(0, &b"$1\r\na\r\n"[..]), (50, OK), (100, NIL), (150, OK), (200, NIL)] {
            thread::sleep(Duration::from_millis(wait));
            ends.answer(reply)?;
        }
        for view in &views {
            for (which, counted, took, within) in [("get", 3.0, 0.65, 1.0), ("set", 2.0, 0.35, 0.0)] {
                view.expect(&agent, &counted, |view, metrics| view.latency(metrics, which)[0])?;
                let metrics = agent.scrape()?;
                let [_, sum] = view.latency(&metrics, which);
                ensure!(sum >= took - 0.001 && sum < took + 0.1, "{which}s took {sum} s, and not {took} s");
                let short = view.within(&metrics, which, "0.01");
                ensure!(short == within, "{short} {which}s were short");
            }
        }
        // A reply of which most takes its time.
        ends.ask(&get)?;
        ends.answer(b"$100000\r\n")?;
        thread::sleep(Duration::from_millis(200));
        ends.answer(&[&vec![b'x'; 100_000][..], b"\r\n"].concat())?;
        for view in &views {
            view.expect(&agent, &4.0, |view, metrics| view.latency(metrics, "get")[0])?;
            let expected: Prefixes = [("user".to_owned(), [2.0, 2.0])].into();
            view.expect(&agent, &expected, View::prefixes)?;
        }
        nothing_lost(&agent)
    }
}
