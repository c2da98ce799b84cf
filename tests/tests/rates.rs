//! Rates, against generators that know what they send: the node's, its users', and who was turned away.

// Every message of the host counts towards its rate, and of users past the limit only so many are logged at a time.
// needs: messages
// takes: 140 s

use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::metrics::{Metrics, Sample};
use observer_tests::namespace::Namespace;
use observer_tests::nginx::Nginx;
use observer_tests::puppet::Puppet;
use observer_tests::talk::Talk;
use observer_tests::websocket::peers::{Peer, Runtime};
use serde_json::Value;

/// A little longer than the time that rates are over.
const WINDOW: Duration = Duration::from_millis(11_500);

fn rate(metrics: &Metrics) -> f64 {
    metrics.sum("global_message_rate_per_second", &[])
}

fn spikes(agent: &Agent) -> anyhow::Result<f64> {
    Ok(agent.scrape()?.sum("message_rate_spike_total", &[]))
}

fn assert_near(actual: f64, expected: f64, what: &str) {
    eprintln!("{what}: {actual:.2}, and {expected:.2} by the generator's own count");
    assert!((actual / expected - 1.0).abs() < 0.02, "{what}: {actual}, not {expected}");
}

/// The node's rate is the generators'. It takes most of a minute.
fn expect_the_nodes_rate() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    for (per_second, in_a_call) in [(10, 1), (500, 5), (20_000, 100)] {
        let mut talk = Talk::open(["pace-client", "pace-server"])?;
        talk.start(per_second, in_a_call, 13)?;
        thread::sleep(WINDOW);
        let shown = rate(&agent.scrape()?);
        let overview = agent.json("/processes")?;
        let sent = talk.sent(in_a_call)?;
        assert_near(shown, sent, &format!("at {per_second} a second"));
        assert_near(overview["messages_per_second"].as_f64().unwrap_or(-1.0), sent, "at /processes");
    }
    // It falls to nothing again.
    thread::sleep(WINDOW);
    assert_eq!(rate(&agent.scrape()?), 0.0);
    Ok(())
}

#[test]
fn each_message_counts_once_or_twice_through_a_proxy() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let folder = tempfile::tempdir()?;
    // Rates of which no two sums are alike: a message too many or too few shows where it is.
    let mut talks = Vec::new();
    talks.push((Talk::open(["tcp-c", "tcp-s"])?, 100, 1.0));

    let path = folder.path().join("socket");
    let address = format!("{:?}", path.to_string_lossy());
    let mut server = Puppet::start("unix-s")?;
    server.run(&format!("listener = listen({address})"))?;
    talks.push((Talk::between(Puppet::start("unix-c")?, server, &address)?, 200, 1.0));

    let (near, far) = (Namespace::new()?, Namespace::new()?);
    near.connect("rates0", "10.78.0.1/24", &far, "10.78.0.2/24")?;
    let mut server = Puppet::start_in(&far, "veth-s")?;
    server.run("listener = listen(('10.78.0.2', 0))")?;
    let address = format!("('10.78.0.2', {})", server.number("port(listener)")?);
    talks.push((Talk::between(Puppet::start_in(&near, "veth-c")?, server, &address)?, 400, 1.0));

    let mut server = Puppet::start("behind-s")?;
    let nginx = Nginx::start(&format!("127.0.0.1:{}", server.listen()?), false)?;
    let address = format!("('127.0.0.1', {})", nginx.port);
    talks.push((Talk::between(Puppet::start("behind-c")?, server, &address)?, 800, 2.0));

    for (talk, per_second, _) in &mut talks {
        talk.start(*per_second, 2, 14)?;
    }
    thread::sleep(WINDOW);
    let shown = rate(&agent.scrape()?);
    let mut expected = 0.0;
    for (talk, _, times) in &mut talks {
        expected += *times * talk.sent(2)?;
    }
    assert_near(shown, expected, "all together");
    Ok(())
}

#[test]
fn connections_that_come_and_go_count() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("brief-client")?, Puppet::start("brief-server")?);
    let port = server.listen()?;
    // More than there will be; the server is ended with them.
    server.tell("serve_briefly(listener, 10000)")?;
    client.tell(&format!("talk_briefly(('127.0.0.1', {port}), 20, 0.025, 13)"))?;
    thread::sleep(WINDOW);
    let shown = rate(&agent.scrape()?);
    let [count, seconds] = serde_json::from_value::<[f64; 2]>(client.answer()?)?;
    assert_near(shown, count / seconds, "forty connections a second");
    Ok(())
}

#[test]
fn a_burst_is_one_spike() -> anyhow::Result<()> {
    let agent = Agent::start(&["--spike-threshold", "2000"])?;
    for burst in 1..=2 {
        let mut talk = Talk::open(["burst-client", "burst-server"])?;
        // 60,000 messages: 6,000 a second over ten.
        talk.start(20_000, 100, 3)?;
        let sent = talk.sent(100)?;
        assert!(sent > 15_000.0, "the generator is too slow: {sent}");
        let start = Instant::now();
        while start.elapsed() < WINDOW + Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(500));
            let count = spikes(&agent)?;
            let late = start.elapsed() > Duration::from_secs(2);
            assert!(count == f64::from(burst) || (!late && count == f64::from(burst - 1)), "{count}");
        }
        assert_eq!(rate(&agent.scrape()?), 0.0);
    }
    Ok(())
}

/// What the agent says of users of a process: its histogram of minutes by bound, and their sum.
fn minutes(metrics: &Metrics, process: &str, direction: &str) -> (Vec<(String, f64)>, f64) {
    let labels = [("process", process), ("direction", direction)];
    let bound = |sample: &Sample| (sample.labels["le"].clone(), sample.value);
    let buckets = metrics.samples("user_messages_per_minute_bucket", &labels).into_iter().map(bound);
    (buckets.collect(), metrics.sum("user_messages_per_minute_sum", &labels))
}

fn high_rate(metrics: &Metrics, process: &str) -> f64 {
    metrics.sum("high_rate_users_total", &[("process", process)])
}

/// Idle, low, normal, high.
fn users(metrics: &Metrics, process: &str) -> [f64; 4] {
    ["idle", "low", "normal", "high"]
        .map(|bucket| metrics.sum("active_users_by_rate", &[("process", process), ("rate_bucket", bucket)]))
}

fn events<'a>(answer: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    answer["events"].as_array().into_iter().flatten().filter(move |event| event["kind"] == kind)
}

#[test]
fn the_nodes_rate_is_the_generators_and_the_one_abuser_among_200_is_found() -> anyhow::Result<()> {
    const QUIET: u32 = 200;
    let agent = Agent::start(&[])?;
    let (mut quiet, mut abuser) = (Puppet::start("quiet-client")?, Puppet::start("abuser")?);
    let mut server = Puppet::start("chat-server")?;
    let port = server.listen()?;
    let opened = Instant::now();
    server.tell(&format!("served = accept_all(listener, {QUIET} + 1)"))?;
    quiet.run(&format!("opened = connect_all(('127.0.0.1', {port}), {QUIET})"))?;
    abuser.run(&format!("opened = connect_all(('127.0.0.1', {port}), 1)"))?;
    server.answer()?;
    for client in [&mut quiet, &mut abuser] {
        client.run("for one in opened: ask_upgrade(one)")?;
    }
    server.run("for one in served: grant_upgrade(one)")?;
    for client in [&mut quiet, &mut abuser] {
        client.run("for one in opened: finish_upgrade(one)")?;
    }
    let metrics = agent.scrape()?;
    assert_eq!(users(&metrics, "chat-server"), [201.0, 0.0, 0.0, 0.0], "{}", metrics.text());

    // Seven messages each in the first minute, and 450; the server says two to everyone.
    quiet.run("for one in opened: one.sendall(frame(5, True) * 7)")?;
    abuser.run("for one in opened: one.sendall(frame(5, True) * 450)")?;
    server.run("for one in served[:200]: receive([one], 7 * 11)")?;
    server.run("receive(served[200:], 450 * 11); [one.sendall(frame(5, False) * 2) for one in served]")?;
    for client in [&mut quiet, &mut abuser] {
        client.run("receive(opened, 2 * 7)")?;
    }
    let found = |metrics: &Metrics, times: f64| {
        [high_rate(metrics, "chat-server"), high_rate(metrics, "abuser")] == [times; 2]
    };
    let metrics = agent.wait_until("the abuser", |metrics| found(metrics, 1.0))?;
    assert_eq!(high_rate(&metrics, "quiet-client"), 0.0);
    assert_eq!(users(&metrics, "chat-server"), [0.0, 200.0, 0.0, 1.0]);
    assert_eq!(users(&metrics, "abuser"), [0.0, 0.0, 0.0, 1.0]);
    // Found by its address at /events and in the log, which is nowhere in a label.
    let ends = abuser
        .ask("[f'{host}:{port}' for host, port in [opened[0].getsockname(), opened[0].getpeername()]]")?;
    let answer = agent.json("/events")?;
    let all: Vec<&Value> = events(&answer, "high_rate").collect();
    assert_eq!(all.len(), 2, "{answer}");
    for (name, pid, direction, local, remote) in [
        ("abuser", abuser.pid(), "sent", &ends[0], &ends[1]),
        ("chat-server", server.pid(), "received", &ends[1], &ends[0]),
    ] {
        let event = all.iter().find(|event| event["process"] == name).context("no event")?;
        assert_eq!((&event["pid"], &event["container"]), (&pid.into(), &"".into()), "{event}");
        assert_eq!((&event["local"], &event["remote"]), (local, remote), "{event}");
        assert_eq!((&event["direction"], &event["limit_per_minute"]), (&direction.into(), &100.into()));
        assert!(event["messages"].as_u64().is_some_and(|count| (101..=450).contains(&count)), "{event}");
        let rate = event["messages_per_second"].as_f64().unwrap_or_default();
        let expected =
            event["messages"].as_f64().unwrap_or_default() / event["seconds"].as_f64().unwrap_or(1.0);
        assert!((rate / expected - 1.0).abs() < 0.01, "{event}");
    }
    let own = ends[0].as_str().context("no address")?;
    let log: Vec<String> = agent.log().into_iter().filter(|line| line.contains("high rate")).collect();
    assert!(log.len() == 2 && log.iter().all(|line| line.contains(own)), "{log:#?}");
    let labelled = |line: &&str| line.contains(own) && !line.starts_with("observer_flow_");
    assert_eq!(metrics.text().lines().find(labelled), None);
    assert!(minutes(&metrics, "chat-server", "received").0.is_empty(), "no minute is full");

    // Every connection's minute is full a minute after it was opened. Nobody among them says anything until then, so that
    // the node's rate can be looked at meanwhile.
    expect_the_nodes_rate()?;
    thread::sleep(Duration::from_secs(63).saturating_sub(opened.elapsed()));
    let full = |metrics: &Metrics| {
        metrics.sum("user_messages_per_minute_count", &[("process", "chat-server")]) >= 402.0
    };
    let metrics = agent.wait_until("a full minute of each", full)?;
    let bounds = ["1", "10", "60", "100", "300", "600", "1000", "6000", "60000", "+Inf"];
    let expected = |counts: [f64; 10]| -> Vec<(String, f64)> {
        bounds.iter().map(|&bound| bound.to_owned()).zip(counts).collect()
    };
    let sent = [0.0, 200.0, 200.0, 200.0, 200.0, 201.0, 201.0, 201.0, 201.0, 201.0];
    let told = [0.0, 201.0, 201.0, 201.0, 201.0, 201.0, 201.0, 201.0, 201.0, 201.0];
    assert_eq!(minutes(&metrics, "chat-server", "received"), (expected(sent), 200.0 * 7.0 + 450.0));
    assert_eq!(minutes(&metrics, "chat-server", "sent"), (expected(told), 402.0));
    let quiet_sent = sent.map(|count| f64::min(count, 200.0));
    assert_eq!(minutes(&metrics, "quiet-client", "sent"), (expected(quiet_sent), 1400.0));

    // Once a minute: in the next one again, and not before.
    assert!(found(&metrics, 1.0));
    abuser.run("for one in opened: one.sendall(frame(5, True) * 450)")?;
    server.run("receive(served[200:], 450 * 11)")?;
    let metrics = agent.wait_until("the abuser again", |metrics| found(metrics, 2.0))?;
    assert_eq!(users(&metrics, "chat-server")[3], 1.0);
    Ok(())
}

#[test]
fn a_user_that_leaves_at_once_is_found_too() -> anyhow::Result<()> {
    let agent = Agent::start(&["--message-rate-limit", "10"])?;
    let (mut client, mut server) = (Puppet::start("hit-and-run")?, Puppet::start("hit-server")?);
    let port = server.listen()?;
    server.tell("serve_briefly(listener, 4)")?;
    client.run(&format!("talk_briefly(('127.0.0.1', {port}), 11, 0.01, 0.025)"))?;
    client.run(&format!("talk_briefly(('127.0.0.1', {port}), 10, 1, 0.001)"))?;
    let metrics = agent.wait_until("three of four", |metrics| high_rate(metrics, "hit-server") == 3.0)?;
    assert_eq!(high_rate(&metrics, "hit-and-run"), 3.0);
    Ok(())
}

/// How often a process was turned away, or turned away.
fn turned_away(metrics: &Metrics, process: &str) -> [f64; 3] {
    ["http_429", "ws_1008", "ws_1013"].map(|reason| {
        metrics.sum("rate_limited_connections_total", &[("process", process), ("reason", reason)])
    })
}

#[test]
fn http_429_counts_on_both_sides_and_on_connections_kept_alive() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let nginx = Nginx::limiting(5)?;
    let mut client = Puppet::start("limited")?;
    client.run(&format!("one = connect(('127.0.0.1', {}))", nginx.port))?;
    let statuses: Vec<u16> = serde_json::from_value(client.ask("http_ask(one, ['/'] * 20)")?)?;
    let refused = statuses.iter().filter(|&&status| status == 429).count() as f64;
    ensure!(refused == 15.0 && statuses.contains(&200), "nginx is not set up to limit: {statuses:?}");
    // Another one, of which the first response is one.
    client.run(&format!("two = connect(('127.0.0.1', {}))", nginx.port))?;
    assert_eq!(client.ask("http_ask(two, ['/'])")?[0], 429);
    let expected = [refused + 1.0, 0.0, 0.0];
    let metrics = agent.wait_until("all that were refused", |metrics| {
        turned_away(metrics, "limited") == expected && turned_away(metrics, &nginx.name) == expected
    })?;
    let roles = |process, role| {
        metrics.sum("rate_limited_connections_total", &[("process", process), ("role", role)])
    };
    assert_eq!((roles("limited", "client"), roles(&nginx.name, "server")), (16.0, 16.0));
    // They stay when the connections are gone.
    client.run("one.close(); two.close()")?;
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(turned_away(&agent.scrape()?, "limited"), expected);
    Ok(())
}

#[test]
fn close_codes_of_the_server_count() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    // The server's code, and what the client answers or has said before.
    let mut expected = [0.0; 3];
    for (theirs, ours) in [(1008, 1000), (1013, 1013), (1013, 1001), (1000, 1008), (1001, 1001)] {
        let Talk { mut client, mut server } = Talk::open(["closed-client", "closing-server"])?;
        server.run(&format!("one.sendall(header(2, False, 8) + struct.pack('>H', {theirs}))"))?;
        client.run(&format!(
            "receive([one], 4); one.sendall(header(2, True, 8) + struct.pack('>H', {ours}))"
        ))?;
        server.run("receive([one], 8)")?;
        let shown = agent.scrape()?;
        client.run("one.close()")?;
        server.run("one.close()")?;
        match theirs {
            1008 => expected[1] += 1.0,
            1013 => expected[2] += 1.0,
            _ => {}
        }
        assert_eq!(turned_away(&shown, "closing-server"), expected, "at once");
        client.finish()?;
        server.finish()?;
        // What processes did outlives them, and goes on with the next of their name.
        let metrics = agent.scrape()?;
        for name in ["closed-client", "closing-server"] {
            assert_eq!(turned_away(&metrics, name), expected, "{theirs}, {ours}: {name}");
        }
    }
    // A real server, which answers with the client's code.
    for runtime in [Runtime::Python, Runtime::Node] {
        let (server, address) = Peer::server(runtime, "tcp", "plain")?;
        let mut client = Peer::client(runtime, &address, "plain", 3)?;
        client.close(1008)?;
        agent.wait_until("three", |metrics| {
            turned_away(metrics, &server.side.process) == [0.0, 3.0, 0.0]
                && turned_away(metrics, &client.side.process) == [0.0, 3.0, 0.0]
        })?;
    }
    Ok(())
}

#[test]
fn limits_are_read_from_the_file_too() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("observer.toml");
    fs::write(&file, "message-rate-limit = 3\nspike-threshold = 5\n")?;
    let agent = Agent::start(&["--config", &file.to_string_lossy(), "--spike-threshold", "1"])?;
    let mut talk = Talk::open(["limits-client", "limits-server"])?;
    talk.start(50, 1, 1)?;
    talk.sent(1)?;
    let metrics = agent.wait_until("a spike and a user", |metrics| {
        metrics.sum("message_rate_spike_total", &[]) == 1.0 && high_rate(metrics, "limits-client") == 1.0
    })?;
    assert!(
        !agent.log().iter().any(|line| line.contains("no use")),
        "{:#?}\n{}",
        agent.log(),
        metrics.text()
    );
    Ok(())
}
