//! What is said to memcached is counted, as the server and its clients count it.

// needs: redis
// takes: 7 s

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::memcached::{Server, Session, View, nothing_lost};
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, own_name, unique_name};

/// What a client does with pymemcache, and what came of it by its own count: keys found and not found by prefix, and
/// commands.
const WORK: &str = r#"
import collections, random
from pymemcache.client.base import Client

def work(port, seed, rounds):
    chance = random.Random(seed)
    client = Client(("127.0.0.1", port), no_delay=True)
    found = collections.defaultdict(lambda: [0, 0])
    commands = collections.Counter()
    key = lambda: f"{chance.choice(['user', 'cart', 'session'])}:{chance.randrange(40)}"
    def note(key, value):
        found[key.split(":")[0]][value is None] += 1
    for _ in range(rounds):
        what = chance.randrange(10)
        if what < 3:
            client.set(key(), bytes(chance.randrange(3000)), noreply=what == 0)
            commands["set"] += 1
        elif what < 6:
            one = key()
            note(one, client.get(one))
            commands["get"] += 1
        elif what == 6:
            keys = list(dict.fromkeys(key() for _ in range(1 + chance.randrange(12))))
            values = client.get_many(keys)
            for one in keys:
                note(one, values.get(one))
            commands["get"] += 1
        elif what == 7:
            one = key()
            value, token = client.gets(one)
            note(one, value)
            commands["gets"] += 1
            if value is not None:
                client.cas(one, b"VALUE user:1 0 5\r\nEND\r\n", token, noreply=False)
                commands["cas"] += 1
        elif what == 8:
            client.delete(key(), noreply=False)
            commands["delete"] += 1
        else:
            client.incr("count", 1, noreply=False)
            commands["incr"] += 1
    client.close()
    return {"found": found, "commands": commands}
"#;

#[test]
fn pymemcache() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let mut client = Puppet::start(&unique_name("pymc"))?;
    let name = client.ask("open('/proc/self/comm').read().strip()")?;
    let views = View::both(name.as_str().unwrap_or_default(), &server);
    client.run(&format!("exec({WORK:?}, globals())"))?;
    let mut found = BTreeMap::<String, [f64; 2]>::new();
    let mut commands = BTreeMap::<String, f64>::new();
    for seed in 0..4 {
        let truth = client.ask(&format!("work({}, {seed}, 2_000)", server.port()))?;
        for (prefix, counts) in truth["found"].as_object().into_iter().flatten() {
            let sums = found.entry(prefix.clone()).or_default();
            for (at, sum) in sums.iter_mut().enumerate() {
                *sum += counts[at].as_f64().unwrap_or_default();
            }
        }
        for (command, count) in truth["commands"].as_object().into_iter().flatten() {
            *commands.entry(command.clone()).or_default() += count.as_f64().unwrap_or_default();
        }
        for view in &views {
            view.expect(&agent, &found, View::prefixes)?;
            view.expect(&agent, &commands, View::commands)?;
        }
    }
    let [hits, misses] = server.keys()?;
    let sums = found.values().fold([0.0; 2], |[hits, misses], counts| [hits + counts[0], misses + counts[1]]);
    ensure!(
        [hits, misses] == sums && hits > 0.0 && misses > 0.0,
        "the server has {hits} and {misses}, its client {sums:?}"
    );
    nothing_lost(&agent)
}

#[test]
fn pipelines_of_many_commands() -> anyhow::Result<()> {
    const DEPTH: u32 = 20;
    const ROUNDS: u32 = 5_000;
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let views = View::both(&own_name()?, &server);
    let mut session = Session::connect(&server)?;
    let mut other = Session::connect(&server)?;
    session.ask(b"set user:1 0 0 5\r\nAlice\r\n", b"STORED\r\n")?;
    for round in 0..ROUNDS {
        let (asked, answered): (Vec<String>, Vec<String>) = (0..DEPTH)
            .map(|number| match (round + number) % 3 {
                0 => ("get user:1\r\n".to_owned(), "VALUE user:1 0 5\r\nAlice\r\nEND\r\n".to_owned()),
                1 => (format!("get absent:{number}\r\n"), "END\r\n".to_owned()),
                _ => (
                    "get user:1 absent:1 user:2\r\n".to_owned(),
                    "VALUE user:1 0 5\r\nAlice\r\nEND\r\n".to_owned(),
                ),
            })
            .unzip();
        let one = if round % 2 == 0 { &mut session } else { &mut other };
        one.ask(asked.concat().as_bytes(), answered.concat().as_bytes())?;
    }
    let keys = server.keys()?;
    let commands = f64::from(ROUNDS * DEPTH);
    for view in &views {
        view.expect(&agent, &keys, View::keys)?;
        view.expect(&agent, &commands, |view, metrics| view.commands(metrics)["get"])?;
        view.expect(&agent, &commands, |view, metrics| view.latency(metrics, "get")[0])?;
    }
    nothing_lost(&agent)
}

#[test]
fn meta_commands() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let views = View::both(&own_name()?, &server);
    let mut session = Session::connect(&server)?;
    session.ask(b"ms user:1 5 T60\r\nAlice\r\n", b"HD\r\n")?;
    session.ask(b"mg user:1 v\r\nmg user:2 v\r\n", b"VA 5\r\nAlice\r\nEN\r\n")?;
    session.ask(b"mg user:1\r\n", b"HD\r\n")?;
    // Only what is found is answered.
    session.ask(
        b"mg user:2 v q\r\nmg user:1 v k q\r\nmg user:3 v q\r\nmn\r\n",
        b"VA 5 kuser:1\r\nAlice\r\nMN\r\n",
    )?;
    // One succeeds in silence, the other fails aloud.
    session.ask(b"ms user:1 3 q\r\nBob\r\nms user:9 3 q MR\r\nBob\r\nmn\r\n", b"NS\r\nMN\r\n")?;
    session.ask(b"md user:1 q\r\nmd user:1\r\nmg user:1 v\r\n", b"NF\r\nEN\r\n")?;
    session.ask(b"get user:1\r\n", b"END\r\n")?;
    let keys = server.keys()?;
    ensure!(keys == [3.0, 5.0], "the server has {keys:?}");
    let commands = [("get", 1.0), ("md", 2.0), ("mg", 7.0), ("mn", 2.0), ("ms", 3.0)];
    let commands: BTreeMap<String, f64> = commands.map(|(name, count)| (name.to_owned(), count)).into();
    for view in &views {
        view.expect(&agent, &commands, View::commands)?;
    }
    // Whose NF that was cannot be told: what is answered with it is not counted.
    for (asked, expected) in [("", [3.0, 4.0]), ("get user:1\r\nget user:2\r\n", [3.0, 6.0])] {
        session.ask(asked.as_bytes(), "END\r\n".repeat(asked.lines().count()).as_bytes())?;
        for view in &views {
            view.expect(&agent, &expected, View::keys)?;
        }
    }
    Ok(())
}

#[test]
fn a_connection_from_before_the_agent() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let mut session = Session::connect(&server)?;
    session.ask(b"get user:1\r\n", b"END\r\n")?;
    let agent = Agent::start(&[])?;
    session.ask(b"set user:1 0 0 5\r\nAlice\r\n", b"STORED\r\n")?;
    let start = server.keys()?;
    // The streams are in sync once each side has said something whole.
    for _ in 0..2 {
        session.ask(b"version\r\n", b"VERSION ")?;
        session.line()?;
    }
    for _ in 0..100 {
        session.ask(b"get user:1 user:2\r\n", b"VALUE user:1 0 5\r\nAlice\r\nEND\r\n")?;
    }
    let keys = server.keys()?;
    let expected = [keys[0] - start[0], keys[1] - start[1]];
    ensure!(expected == [100.0; 2], "the server has {expected:?}");
    for view in View::both(&own_name()?, &server) {
        view.expect(&agent, &expected, View::keys)?;
    }
    nothing_lost(&agent)
}

#[test]
fn how_long_replies_take() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let view = View::client(&own_name()?, &server.label());
    let mut session = Session::connect(&server)?;
    let mut took = Duration::ZERO;
    for _ in 0..50 {
        let start = Instant::now();
        session.ask(b"get user:1\r\n", b"END\r\n")?;
        took += start.elapsed();
    }
    let signal = |signal| {
        // SAFETY: no memory is handed over; it is this test's own process.
        let sent = unsafe { libc::kill(server.pid().cast_signed(), signal) };
        ensure!(sent == 0, "cannot signal the server");
        Ok(())
    };
    signal(libc::SIGSTOP)?;
    let start = Instant::now();
    session.send(b"set user:1 0 0 5\r\nAlice\r\n")?;
    thread::sleep(Duration::from_millis(200));
    signal(libc::SIGCONT)?;
    session.expect(b"STORED\r\n")?;
    let stopped = start.elapsed();
    view.expect(&agent, &[50.0, 1.0], |view, metrics| {
        ["get", "set"].map(|name| view.latency(metrics, name)[0])
    })?;
    let metrics = agent.scrape()?;
    let (get, set) = (view.latency(&metrics, "get")[1], view.latency(&metrics, "set")[1]);
    ensure!(get > 0.0 && get <= took.as_secs_f64(), "{get} s, and its client waited {took:?}");
    ensure!((0.2..=stopped.as_secs_f64()).contains(&set), "{set} s, and its client waited {stopped:?}");
    ensure!(view.within(&metrics, "set", "0.01") == 0.0, "it took longer than 10 ms");
    Ok(())
}

#[test]
fn a_line_that_redis_answers_is_redis() -> anyhow::Result<()> {
    use observer_tests::redis::server::Server as Redis;
    use observer_tests::redis::shown::View as RedisView;
    let _alone = alone();
    let server = Redis::start()?;
    let agent = Agent::shared()?;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port()))?;
    std::io::Write::write_all(&mut stream, b"get user:1\r\nset user:1 x\r\nget user:1\r\n")?;
    let mut answer = [0; 17];
    std::io::Read::read_exact(&mut stream, &mut answer)?;
    ensure!(answer == *b"$-1\r\n+OK\r\n$1\r\nx\r\n", "{}", answer.escape_ascii());
    let views = RedisView::both(&own_name()?, &server);
    for view in &views {
        view.expect(&agent, &[1.0; 2], RedisView::keys)?;
        view.expect(&agent, &[2.0, 1.0], |view, metrics| {
            ["get", "set"].map(|name| view.command(metrics, name))
        })?;
        view.expect(&agent, &[2.0, 1.0], |view, metrics| {
            ["get", "set"].map(|name| view.latency(metrics, name)[0])
        })?;
    }
    Ok(())
}
