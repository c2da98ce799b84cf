//! Message queues as people look at them: `/queues`, `observer top` and the page at `/`, beside what was done with a real
//! Redis, what that says itself, and the metrics.

// needs: redis
// takes: 12 s

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary};
use observer_tests::browser::Browser;
use observer_tests::metrics::Metrics;
use observer_tests::puppet::Puppet;
use observer_tests::redis::server::Server;
use observer_tests::redis::wire::command;
use observer_tests::terminal::Terminal;
use observer_tests::websocket::unique_name;
use serde_json::{Value, json};

/// A process that has a connection to Redis, and asks it for one thing at a time.
fn client(name: &str, server: &Server) -> anyhow::Result<Puppet> {
    let mut client = Puppet::start(name)?;
    client.run(&format!("one = connect(('127.0.0.1', {}))", server.port()))?;
    Ok(client)
}

/// Has it send a command, and reads the reply, which ends with this.
fn ask(client: &mut Puppet, words: &str, end: &str) -> anyhow::Result<()> {
    let bytes = String::from_utf8(command(&words.split(' ').collect::<Vec<_>>()))?;
    client.run(&format!("one.sendall({bytes:?}.encode())"))?;
    client.run(&format!("receive_until(one, {end:?}.encode())"))
}

fn number(row: &Value, name: &str) -> anyhow::Result<f64> {
    row[name].as_f64().with_context(|| format!("no number {name}: {row:#}"))
}

/// Rows of a queue.
fn of_queue<'a>(answer: &'a Value, queue: &str) -> anyhow::Result<Vec<&'a Value>> {
    let rows = answer["queues"].as_array().with_context(|| format!("no queues: {answer}"))?;
    Ok(rows.iter().filter(|row| row["queue"] == queue).collect())
}

fn of_process<'a>(rows: &[&'a Value], process: &str) -> anyhow::Result<&'a Value> {
    let row = rows.iter().find(|row| row["process"] == process);
    row.copied().with_context(|| format!("no {process}: {rows:#?}"))
}

/// What the metrics say of a row in a family, if they have one.
fn measured(metrics: &Metrics, row: &Value, family: &str) -> Option<f64> {
    let labels = ["process", "container", "role", "server", "system", "queue", "group"];
    let labels = labels.map(|label| (label, row[label].as_str().unwrap_or_default()));
    metrics.samples(family, &labels).first().map(|sample| sample.value)
}

/// Fails unless a row's numbers are the metrics', from before it was asked for or from after: rates change each second.
fn expect_metrics(row: &Value, around: [&Metrics; 2]) -> anyhow::Result<()> {
    for (member, family) in [
        ("messages", "queue_processing_lag_messages"),
        ("put_per_second", "observer_queue_producer_rate_per_second"),
        ("taken_per_second", "queue_consumer_rate_per_second"),
    ] {
        let [before, after] = around.map(|metrics| measured(metrics, row, family));
        // A number of JSON is read to the last digit but one.
        let is = |measured: Option<f64>| match (measured, row[member].as_f64()) {
            (Some(measured), Some(told)) => (measured - told).abs() < 1e-9,
            (measured, told) => measured == told,
        };
        ensure!(is(before) || is(after), "{member}: {before:?}, {after:?} and not {row:#}");
    }
    let ages = around.map(|metrics| measured(metrics, row, "observer_queue_oldest_message_seconds"));
    let is_between = match (ages, row["oldest_seconds"].as_f64()) {
        ([Some(before), Some(after)], Some(told)) => before <= told + 1e-9 && told <= after + 1e-9,
        ([None, None], None) => true,
        _ => false,
    };
    ensure!(is_between, "{ages:?} and not {row:#}");
    Ok(())
}

/// The cells of the line of a screen that has all of these words in it.
fn cells<'a>(screen: &'a str, words: &[&str]) -> Option<Vec<&'a str>> {
    let mut lines = screen.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    lines.find(|cells| words.iter().all(|word| cells.contains(word)))
}

#[test]
fn a_queue_is_told_and_shown() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let server = Server::start()?;
    let [put, take] = ["put", "take"].map(unique_name);
    let [mut producer, mut worker] = [client(&put, &server)?, client(&take, &server)?];
    let queue = unique_name("jobs");
    let start = Instant::now();
    for _ in 0..5 {
        ask(&mut producer, &format!("LPUSH {queue} message"), "\r\n")?;
    }
    sleep(Duration::from_secs(2));
    for _ in 0..2 {
        ask(&mut worker, &format!("RPOP {queue}"), "message\r\n")?;
    }
    let waited = start.elapsed();
    ask(&mut worker, &format!("LLEN {queue}"), ":3\r\n")?;

    // Both ends are on this host: the server's and, for each client, its own.
    agent.wait_until("both rates", |metrics| {
        let is_positive = |family, role| metrics.sum(family, &[("queue", &queue), ("role", role)]) > 0.0;
        is_positive("queue_consumer_rate_per_second", "server")
            && is_positive("observer_queue_producer_rate_per_second", "client")
    })?;
    let before = agent.scrape()?;
    let answer = agent.json("/queues?limit=10000")?;
    let after = agent.scrape()?;
    let rows = of_queue(&answer, &queue)?;
    assert_eq!(rows.len(), 3, "{rows:#?}");
    for row in &rows {
        let kind = ["system", "group", "container"].map(|label| row[label].clone());
        assert_eq!(kind, ["redis_list", "", ""].map(Value::from));
        assert_eq!(row["acknowledged_per_second"], Value::Null, "{row:#}");
        expect_metrics(row, [&before, &after])?;
    }
    for (process, role) in [(&server.process, "server"), (&take, "client")] {
        let row = of_process(&rows, process)?;
        assert_eq!((&row["role"], &row["messages"]), (&json!(role), &json!(3)), "{row:#}");
        let oldest = number(row, "oldest_seconds")?;
        assert!(oldest >= 2.0 && oldest <= start.elapsed().as_secs_f64(), "{row:#}");
        // Times are in steps of a millisecond or so.
        let mean = number(row, "mean_age_seconds")?;
        assert!(mean > 2.0 - 0.002 && mean <= waited.as_secs_f64() + 0.002, "{row:#}");
        let p95 = number(row, "p95_age_seconds")?;
        assert!(1.0 < p95 && p95 <= 5.0, "{row:#}");
        assert!(number(row, "taken_per_second")? > 0.0, "{row:#}");
    }
    // Whoever only puts messages in takes none at a rate of 0.
    let row = of_process(&rows, &put)?;
    let unknown = ["messages", "oldest_seconds", "taken_per_second", "mean_age_seconds", "p95_age_seconds"];
    assert!(unknown.iter().all(|member| row[member].is_null()), "{row:#}");
    assert!(number(row, "put_per_second")? > 0.0, "{row:#}");

    // The fullest first, and at most as many as are asked for.
    let all = answer["queues"].as_array().context("no queues")?;
    let waiting = |row: &Value| row["messages"].as_u64().unwrap_or_default();
    assert!(all.is_sorted_by(|one, other| waiting(one) >= waiting(other)), "{answer:#}");
    assert_eq!(agent.json("/queues?limit=1")?["queues"].as_array().map(Vec::len), Some(1));
    assert!(agent.get("/queues?limit=all").is_err() && agent.get("/queues?sort=name").is_err());

    let terminal = Terminal::open(160, 30)?;
    terminal.command(&format!("{} top --url {}", binary()?.display(), agent.address()))?;
    terminal.wait_for("the screen", |screen| screen.contains("● live"))?;
    terminal.write("4/")?;
    terminal.write(&queue)?;
    let screen = terminal.wait_for("all three", |screen| {
        [&server.process, &take, &put].iter().all(|process| cells(screen, &[process, &queue]).is_some())
    })?;
    assert!(screen.contains("3 of ") && screen.contains("WAITING OLDEST PUT/s TAKE/s ACK/s    AGE    P95"));
    let row = cells(&screen, &[&server.process, &queue]).unwrap_or_default();
    // PROCESS, ROLE, SERVER, SYSTEM, QUEUE, WAITING, OLDEST, PUT/s, TAKE/s, ACK/s, AGE, P95; no container and no group.
    let label = server.target().label();
    assert_eq!(row[1..6], ["server", &label, "redis_list", &queue, "3"], "{screen}");
    assert!(row[6].ends_with('s') && row[9] == "-", "{screen}");
    assert_eq!(cells(&screen, &[&put, &queue]).unwrap_or_default()[5..7], ["-", "-"], "{screen}");
    terminal.press(&["Enter"])?;
    terminal.write("q")?;

    let mut browser = Browser::open(&format!("http://{}/", agent.address()), &json!({}))?;
    browser.wait_for("document.getElementById('state').textContent === 'live'")?;
    browser.run(&format!("await page.fill('#filter', '{queue}')"))?;
    assert_eq!(browser.column("queues", "queue")?, [&*queue; 3]);
    assert_eq!(browser.column("queues", "waiting")?, ["3", "3", "–"]);
    assert_eq!(browser.column("queues", "acknowledged/s")?, ["–"; 3]);
    let oldest = browser.column("queues", "oldest")?;
    assert!(oldest[0].ends_with(" s") && oldest[2] == "–", "{oldest:?}");
    browser.run("await page.selectOption('#protocol', 'redis')")?;
    assert_eq!(browser.column("queues", "role")?.len(), 3);
    assert_eq!(browser.run("return seen.errors")?, json!([]));
    Ok(())
}

#[test]
fn a_group_of_a_stream_has_its_own_row() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let server = Server::start()?;
    let name = unique_name("bill");
    let mut worker = client(&name, &server)?;
    let stream = unique_name("orders");
    ask(&mut worker, &format!("XADD {stream} 1-1 key value"), "1-1\r\n")?;
    ask(&mut worker, &format!("XGROUP CREATE {stream} billing 0"), "OK\r\n")?;
    ask(&mut worker, &format!("XREADGROUP GROUP billing me COUNT 1 STREAMS {stream} >"), "value\r\n")?;
    ask(&mut worker, &format!("XACK {stream} billing 1-1"), ":1\r\n")?;
    agent.wait_until("a rate", |metrics| {
        let labels = [("queue", &*stream), ("role", "client"), ("group", "billing")];
        metrics.sum("queue_consumer_rate_per_second", &labels) > 0.0
    })?;
    let answer = agent.json("/queues?limit=10000")?;
    let rows = of_queue(&answer, &stream)?;
    let groups: Vec<&Value> = rows.into_iter().filter(|row| row["group"] == "billing").collect();
    assert_eq!(groups.len(), 2, "{groups:#?}");
    for process in [&server.process, &name] {
        let row = of_process(&groups, process)?;
        assert_eq!((&row["system"], &row["messages"]), (&json!("redis_stream"), &Value::Null), "{row:#}");
        let rates = [number(row, "taken_per_second")?, number(row, "acknowledged_per_second")?];
        assert!(rates[0] > 0.0 && rates[0] == rates[1], "{row:#}");
    }
    Ok(())
}
