//! Every command, hit and miss is counted, as the server, the client and the load's generator count them.

// needs: redis
// takes: 45 s

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::redis::benchmark::Benchmark;
use observer_tests::redis::clients::{Clients, Library, Protocol};
use observer_tests::redis::server::{Server, Transport};
use observer_tests::redis::shown::{View, nothing_lost};
use observer_tests::redis::wire::Session;
use observer_tests::redis::work::{Prefixes, Tally, Work};
use observer_tests::shown::expect_each;
use observer_tests::websocket::{alone, own_name};

/// Over a million, one at a time and in pipelines: what the fastest client does. Most are in pipelines, where they take far
/// less time.
const MILLION: [Work; 4] = [
    Work { commands: 30_000, depth: 1, seed: 1 },
    Work { commands: 150_000, depth: 10, seed: 2 },
    Work { commands: 50_000, depth: 4, seed: 3 },
    Work { commands: 780_000, depth: 50, seed: 4 },
];
/// What the others do of the same.
const PART: [Work; 3] = [
    Work { commands: 10_000, depth: 1, seed: 1 },
    Work { commands: 40_000, depth: 10, seed: 2 },
    Work { commands: 10_000, depth: 4, seed: 3 },
];
/// Still less.
const SOME: [Work; 2] =
    [Work { commands: 2_000, depth: 1, seed: 4 }, Work { commands: 10_000, depth: 10, seed: 5 }];

/// The server, its client and the agent say the same of all that has been done so far.
fn agree(agent: &Agent, server: &Server, views: &[View], truth: &Tally) -> anyhow::Result<()> {
    let keyspace = server.keyspace()?;
    ensure!(keyspace == truth.keys(), "the server has {keyspace:?}, its client {:?}", truth.keys());
    expect_each(views, agent, truth, View::tally)?;
    expect_each(views, agent, &server.commands()?, View::commands)?;
    expect_each(views, agent, &server.errors()?, View::errors)
}

/// A client that is seen from its first command.
fn exact(library: Library, protocol: Protocol, transport: Transport, works: &[Work]) -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start_with(transport, &[])?;
    let agent = Agent::shared()?;
    let mut clients = Clients::start(library, protocol, &server.target())?;
    clients.login(2)?;
    let views = View::both(&clients.process, &server);
    let mut truth = Tally::default();
    for (number, &work) in works.iter().enumerate() {
        truth.add(&clients.work(number % 2, work)?);
        agree(&agent, &server, &views, &truth)?;
    }
    let all: u32 = works.iter().map(|work| work.commands).sum();
    ensure!(truth.all() == f64::from(all), "{} commands", truth.all());
    nothing_lost(&agent)
}

#[test]
fn redis_py() -> anyhow::Result<()> {
    exact(Library::Python, Protocol::Resp2, Transport::Tcp, &PART)
}

#[test]
fn node_redis() -> anyhow::Result<()> {
    exact(Library::Node, Protocol::Resp2, Transport::Tcp, &PART)
}

#[test]
fn rust() -> anyhow::Result<()> {
    exact(Library::Rust, Protocol::Resp2, Transport::Tcp, &MILLION)
}

#[test]
fn redis_py_in_resp3() -> anyhow::Result<()> {
    exact(Library::Python, Protocol::Resp3, Transport::Tcp, &SOME)
}

#[test]
fn node_redis_in_resp3() -> anyhow::Result<()> {
    exact(Library::Node, Protocol::Resp3, Transport::Tcp, &SOME)
}

#[test]
fn rust_in_resp3() -> anyhow::Result<()> {
    exact(Library::Rust, Protocol::Resp3, Transport::Tcp, &PART)
}

#[test]
fn redis_py_over_a_unix_socket() -> anyhow::Result<()> {
    exact(Library::Python, Protocol::Resp2, Transport::Unix, &SOME)
}

#[test]
fn node_redis_over_a_unix_socket() -> anyhow::Result<()> {
    exact(Library::Node, Protocol::Resp2, Transport::Unix, &SOME)
}

#[test]
fn rust_over_a_unix_socket() -> anyhow::Result<()> {
    exact(Library::Rust, Protocol::Resp2, Transport::Unix, &PART)
}

#[test]
fn rust_in_resp3_over_a_unix_socket() -> anyhow::Result<()> {
    exact(Library::Rust, Protocol::Resp3, Transport::Unix, &SOME)
}

/// `redis-benchmark`, over a million commands or a part of them: each run in a process of its own, and in how many sessions.
fn benchmark(transport: Transport, part: u32) -> anyhow::Result<()> {
    const USERS: &[&str] = &["GET", "user:__rand_int__"];
    const WRITES: &[&str] = &["SET", "user:__rand_int__", "some text"];
    const SEVERAL: &[&str] = &["MGET", "user:__rand_int__", "absent:__rand_int__", "user:__rand_int__"];
    // What to do; which prefix is found or not, and how often which one is not.
    let runs: [(u32, &str, &str, &[&str], u32); 8] = [
        (50_000, "1", "20", WRITES, 0),
        (30_000, "1", "50", USERS, 0),
        (380_000, "16", "50", USERS, 0),
        (200_000, "64", "20", USERS, 0),
        (200_000, "16", "50", WRITES, 0),
        (100_000, "8", "20", SEVERAL, 1),
        (10_000, "1", "1", SEVERAL, 1),
        (50_000, "500", "3", USERS, 0),
    ];
    let _alone = alone();
    let server = Server::start_with(transport, &[])?;
    let agent = Agent::shared()?;
    let label = server.target().label();
    let from_server = View::server(&server.process, &label);
    let mut all = Tally::default();
    for (commands, depth, sessions, command, absent) in runs {
        let commands = commands / part;
        server.reset()?;
        let bench = Benchmark::new(&server.target())?;
        // Half of the keys are written at first.
        let range = if command == WRITES { "5000" } else { "10000" };
        let arguments = ["-n", &commands.to_string(), "-P", depth, "-c", sessions, "-r", range];
        let run = bench.hold(&[&arguments, command].concat())?;
        let sent = server.commands()?;
        let name = command[0].to_lowercase();
        let count = sent.get(&name).copied().unwrap_or_default();
        ensure!(count >= f64::from(commands) && sent.len() == 1, "it sent {sent:?}");
        let [hits, misses] = server.keyspace()?;
        let mut truth = Tally { prefixes: Prefixes::new(), commands: sent };
        let absent = count * f64::from(absent);
        if absent > 0.0 {
            truth.prefixes.insert("absent".to_owned(), [0.0, absent]);
        }
        if command != WRITES {
            truth.prefixes.insert("user".to_owned(), [hits, misses - absent]);
        }
        View::client(&bench.process, &label).expect(&agent, &truth, View::tally)?;
        all.add(&truth);
        from_server.expect(&agent, &all, View::tally)?;
        run.report()?;
    }
    ensure!(all.all() > 1e6 / f64::from(part), "{} commands", all.all());
    nothing_lost(&agent)
}

#[test]
fn redis_benchmark() -> anyhow::Result<()> {
    benchmark(Transport::Tcp, 1)
}

#[test]
fn redis_benchmark_over_a_unix_socket() -> anyhow::Result<()> {
    benchmark(Transport::Unix, 5)
}

/// Go's servers listen with MPTCP of themselves, and other programs speak it where they are started so.
#[test]
fn redis_benchmark_over_mptcp() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start_over_mptcp()?;
    let agent = Agent::shared()?;
    let label = server.target().label();
    let from_server = View::server(&server.process, &label);
    let mut all = Tally::default();
    // Both ends speak it; or the server would, and its client does not.
    for over_mptcp in [true, false] {
        server.reset()?;
        let bench = Benchmark::new(&server.target())?;
        let bench = if over_mptcp { bench.over_mptcp() } else { bench };
        let arguments = ["-n", "50000", "-P", "4", "-c", "20", "-r", "10000", "GET", "user:__rand_int__"];
        let run = bench.hold(&arguments)?;
        let commands = server.commands()?;
        ensure!(commands.get("get").is_some_and(|&count| count >= 50_000.0), "it sent {commands:?}");
        let prefixes = [("user".to_owned(), server.keyspace()?)].into();
        let truth = Tally { prefixes, commands };
        View::client(&bench.process, &label).expect(&agent, &truth, View::tally)?;
        all.add(&truth);
        from_server.expect(&agent, &all, View::tally)?;
        run.report()?;
    }
    nothing_lost(&agent)
}

/// The agent starts when the sessions have been there for a while.
fn adopted(library: Library, protocol: Protocol, transport: Transport) -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start_with(transport, &[])?;
    let mut clients = Clients::start(library, protocol, &server.target())?;
    clients.login(2)?;
    for session in 0..2 {
        clients.work(session, Work { commands: 500, depth: 1, seed: 6 })?;
    }
    let agent = Agent::start(&[])?;
    server.reset()?;
    let views = View::both(&clients.process, &server);
    let mut truth = Tally::default();
    // A session's first words to be seen are one command, or several.
    for (session, work) in [(1, SOME[1]), (0, SOME[0]), (1, SOME[0]), (0, SOME[1])] {
        truth.add(&clients.work(session, work)?);
        agree(&agent, &server, &views, &truth)?;
    }
    Ok(())
}

#[test]
fn redis_py_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Python, Protocol::Resp2, Transport::Tcp)
}

#[test]
fn redis_py_in_resp3_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Python, Protocol::Resp3, Transport::Tcp)
}

#[test]
fn node_redis_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Node, Protocol::Resp2, Transport::Tcp)
}

#[test]
fn rust_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Rust, Protocol::Resp2, Transport::Tcp)
}

#[test]
fn rust_over_a_unix_socket_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Rust, Protocol::Resp3, Transport::Unix)
}

/// The agent starts while commands are under way. What it says once they are done is never more than there
/// were, and from then on it misses nothing.
fn in_full_swing(library: Library, protocol: Protocol, transport: Transport) -> anyhow::Result<()> {
    let _alone = alone();
    for (depth, commands) in [(1, 1_500), (10, 5_000)] {
        let server = Server::start_with(transport, &[])?;
        let mut clients = Clients::start(library, protocol, &server.target())?;
        clients.login(1)?;
        let done = || Ok::<_, anyhow::Error>(server.commands()?.values().sum::<f64>());
        let piece = Work { commands, depth, seed: 100 };
        let rest = Work { commands: 6_000, depth, seed: 7 };
        let (truth, (agent, begun)) = clients.work_during(0, piece, rest, || {
            let start = Instant::now();
            while done()? < 1_000.0 {
                ensure!(start.elapsed() < Duration::from_secs(20), "no commands are under way");
                thread::sleep(Duration::from_millis(20));
            }
            let before = done()?;
            let agent = Agent::start(&[])?;
            let begun = done()?;
            ensure!(begun > before, "no commands were under way as the agent started");
            Ok((agent, begun))
        })?;
        let left = truth.all() - begun;
        ensure!(left > 5_000.0, "{begun} commands were over before the agent");
        let views = View::both(&clients.process, &server);
        let mut before = Vec::new();
        for view in &views {
            let seen = settled(&agent, view)?;
            println!("{:?} of {} commands were seen", seen.commands, truth.all());
            ensure!(seen.all() > 0.9 * left, "of {left} it has seen {:?}", seen.commands);
            for (prefix, counts) in &seen.prefixes {
                let most = truth.prefixes.get(prefix).copied().unwrap_or_default();
                ensure!(counts[0] <= most[0] && counts[1] <= most[1], "{prefix}: {counts:?} of {most:?}");
            }
            before.push(seen);
        }
        let more = clients.work(0, Work { commands: 3_000, depth, seed: 8 })?;
        for (view, mut all) in views.iter().zip(before) {
            all.add(&more);
            view.expect(&agent, &all, View::tally)?;
        }
    }
    Ok(())
}

/// What is said once nothing changes any more.
fn settled(agent: &Agent, view: &View) -> anyhow::Result<Tally> {
    let mut before = view.tally(&agent.scrape()?);
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = view.tally(&agent.scrape()?);
        if now == before {
            return Ok(now);
        }
        before = now;
    }
}

#[test]
fn redis_py_in_full_swing() -> anyhow::Result<()> {
    in_full_swing(Library::Python, Protocol::Resp2, Transport::Tcp)
}

#[test]
fn node_redis_in_full_swing() -> anyhow::Result<()> {
    in_full_swing(Library::Node, Protocol::Resp3, Transport::Tcp)
}

#[test]
fn redis_py_over_a_unix_socket_in_full_swing() -> anyhow::Result<()> {
    in_full_swing(Library::Python, Protocol::Resp2, Transport::Unix)
}

#[test]
fn pipelines_deeper_than_any_bound() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let mut clients = Clients::start(Library::Rust, Protocol::Resp2, &server.target())?;
    clients.login(1)?;
    let views = View::both(&clients.process, &server);
    let mut truth = clients.work(0, Work { commands: 1_000, depth: 1, seed: 9 })?;
    agree(&agent, &server, &views, &truth)?;
    // Of every kind, in no order.
    truth.add(&clients.work(0, Work { commands: 100_000, depth: 1_000, seed: 10 })?);
    agree(&agent, &server, &views, &truth)?;
    // More than can be kept in mind.
    truth.add(&clients.work(0, Work { commands: 100_000, depth: 20_000, seed: 12 })?);
    for view in &views {
        view.expect(&agent, &truth.commands, |view, metrics| view.tally(metrics).commands)?;
        let seen = settled(&agent, view)?;
        let unmatched = view.sum(&agent.scrape()?, "observer_redis_unmatched_replies_total", &[]);
        println!("{:?} of {:?} keys; {unmatched} replies unmatched", seen.keys(), truth.keys());
        ensure!(seen.keys() == truth.keys() || unmatched > 0.0, "what was left out is not counted");
        // What has no room of its own may count under another prefix, but not twice.
        let [most, keys] = [truth.keys(), seen.keys()];
        ensure!(keys[0] <= most[0] && keys[1] <= most[1], "{keys:?} of {most:?}");
        for (prefix, counts) in seen.prefixes.iter().filter(|(prefix, _)| *prefix != "other") {
            let most = truth.prefixes.get(prefix).copied().unwrap_or_default();
            ensure!(counts[0] <= most[0] && counts[1] <= most[1], "{prefix}: {counts:?} of {most:?}");
        }
    }
    // And then, nothing is missed again.
    let before = views.iter().map(|view| settled(&agent, view)).collect::<Result<Vec<_>, _>>()?;
    let more = clients.work(0, Work { commands: 20_000, depth: 10, seed: 11 })?;
    for (view, mut all) in views.iter().zip(before) {
        all.add(&more);
        view.expect(&agent, &all, View::tally)?;
    }
    nothing_lost(&agent)
}

#[test]
fn every_command_that_hits_or_misses() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let mut session = Session::connect(&server.target())?;
    let views = View::both(&own_name()?, &server);
    for hello in ["HELLO 2", "HELLO 3", "HELLO 2"] {
        let before = views[0].prefixes(&agent.scrape()?);
        session.run(&[
            hello,
            "SET user:1 a",
            "SET user:2 b",
            "HSET cart:1 apple 1 pear 2",
            "GET user:1",
            "GET user:3",
            "GET user:3",
            "MGET user:1 user:3 gone:1 user:2 plain",
            "MGET gone:1",
            "HGET cart:1 apple",
            "HGET cart:1 plum",
            "HGET cart:2 apple",
            "GETEX user:1 EX 100",
            "GETEX user:4",
            "GETDEL user:1",
            "GETDEL user:1",
            "EXISTS user:2",
            "EXISTS user:1",
            "EXISTS user:1 user:2 user:2 user:3",
            // Of several prefixes, nobody can tell which ones there are.
            "EXISTS user:2 cart:1 gone:1",
            // None of these does.
            "STRLEN user:2",
            "TTL user:2",
            "HMGET cart:1 apple plum",
            "HGETALL cart:1",
            "SET user:2 c GET",
            "GETSET user:2 d",
            "GETRANGE user:2 0 0",
            "OBJECT ENCODING user:2",
        ])?;
        let mut expected = before.clone();
        for (prefix, [hits, misses]) in [
            ("user", [8.0, 8.0]),
            ("cart", [1.0, 2.0]),
            ("gone", [0.0, 2.0]),
            ("none", [0.0, 1.0]),
            ("other", [2.0, 1.0]),
        ] {
            let counts = expected.entry(prefix.to_owned()).or_default();
            counts[0] += hits;
            counts[1] += misses;
        }
        for view in &views {
            view.expect(&agent, &expected, View::prefixes)?;
            view.expect(&agent, &server.commands()?, View::commands)?;
        }
    }
    nothing_lost(&agent)
}

#[test]
fn prefixes_are_told_as_they_are_set_up() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::start(&["--redis-prefix-separator", "/", "--redis-max-prefixes", "3"])?;
    let mut session = Session::connect(&server.target())?;
    let views = View::both(&own_name()?, &server);
    session.run(&["SET a/1 x", "GET a/1", "GET b:c/2", "GET d", "GET e:f"])?;
    session.run(&["GET g/1", "GET h/1", "GET i/1", "GET a/2", "MGET b:c/3 h/2 d", "GET h/2"])?;
    let expected = [("a", [1.0, 1.0]), ("b:c", [0.0, 2.0]), ("g", [0.0, 1.0])];
    let expected = expected.into_iter().chain([("none", [0.0, 3.0]), ("other", [0.0, 4.0])]);
    let expected: Prefixes = expected.map(|(prefix, counts)| (prefix.to_owned(), counts)).collect();
    for view in &views {
        view.expect(&agent, &expected, View::prefixes)?;
    }
    nothing_lost(&agent)
}
