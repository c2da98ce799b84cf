//! What the agent serves, and flows.

// needs: websocket
// makes: messages
// takes: 30 s

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use observer_tests::agent::Agent;
use observer_tests::metrics::{Metrics, Sample};
use observer_tests::programs::free_port;
use observer_tests::puppet::Puppet;
use observer_tests::talk::Talk;
use serde_json::Value;

/// Provokes every family that there is.
fn everything(client: &mut Puppet, server: &mut Puppet) -> anyhow::Result<()> {
    // Messages of all kinds and sizes, an unsound frame, a close; then a length that cannot be followed.
    client.run("send_text = lambda size: one.sendall(frame(size, True, 1))")?;
    server.tell("receive_to_end(one)")?;
    client.run("[send_text(size) for size in (0, 99, 1000, 70000, 1200000, 5000000, 10000000)]")?;
    client.run("one.sendall(frame(10, True) + frame(5, True, 9) + frame(5, True, 10) + frame(5, False))")?;
    client.run("one.sendall(header(2, True, 8) + b'\\x03\\xe8'); one.close()")?;
    server.answer()?;
    server.run("one.close()")?;
    let port = server.number("port(listener)")?;
    client.run(&format!("one = connect(('127.0.0.1', {port})); ask_upgrade(one)"))?;
    server.run("one = listener.accept()[0]; grant_upgrade(one)")?;
    client.run("finish_upgrade(one); one.sendall(frame(10, True)); one.sendall(header(1 << 63, True))")?;
    server.run("receive([one], 30)")?;
    // HTTP, something unknown, a UNIX socket, a refused connect, a file.
    client.run(&format!("two = connect(('127.0.0.1', {port}))"))?;
    server.run("two = listener.accept()[0]")?;
    server.tell("http_serve(two, 3, 100)")?;
    client.run("http_exchange(two, 3, 100)")?;
    server.answer()?;
    client.run(&format!("three = connect(('127.0.0.1', {port})); send_file(three, 100000)"))?;
    server.run("three = listener.accept()[0]; receive([three], 100000)")?;
    client.run("left, right = socket.socketpair(); send([left], 5); receive([right], 5)")?;
    client.run(&format!("try_connect(('127.0.0.1', {}))", free_port()?))?;
    // A name that has to be escaped.
    client.run("run_child(lambda: (name_process('a\"b\\\\c\\nd'), send([left], 5)))")
}

#[test]
fn endpoints() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let page = agent.get("/")?;
    for link in ["/metrics", "/flows", "/events", "/status", "/healthz", "/readyz"] {
        assert!(page.contains(&format!("href=\"{link}")), "{link}: {page}");
    }
    assert_eq!(agent.get("/healthz")?.trim(), "ok");
    assert_eq!(agent.get("/readyz")?.trim(), "ready");
    assert!(agent.get("/nothing").is_err());

    let status = agent.json("/status")?;
    let probes = status["probes"].as_array().context("no probes")?;
    assert_eq!(probes.len(), 8, "{status}");
    for probe in probes {
        assert!(probe["name"].is_string() && probe["state"] == "up" && probe["reason"].is_null(), "{probe}");
    }
    for key in ["tracked_connections", "untracked_connections", "events_lost"] {
        assert!(status[key].is_u64(), "{key}: {status}");
    }
    // What it says of itself is what the kernel says.
    let metrics = agent.scrape()?;
    let proc = format!("/proc/{}", agent.pid());
    let descriptors = std::fs::read_dir(format!("{proc}/fd"))?.count() as f64;
    assert!((metrics.sum("process_open_fds", &[]) - descriptors).abs() <= 3.0, "{descriptors}");
    let threads = std::fs::read_dir(format!("{proc}/task"))?.count() as f64;
    assert_eq!(metrics.sum("process_threads", &[]), threads);
    let resident = agent.resident_bytes()? as f64;
    let said = metrics.sum("process_resident_memory_bytes", &[]);
    assert!((said / resident - 1.0).abs() < 0.1, "{said} of {resident}");
    Ok(())
}

#[test]
fn only_reading_is_allowed() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let url = format!("http://{}", agent.address());
    for path in ["/metrics", "/status", "/flows"] {
        let answer = ureq::post(format!("{url}{path}")).send_empty();
        assert!(matches!(answer, Err(ureq::Error::StatusCode(405))), "{path}: {answer:?}");
    }
    let answer = ureq::get(format!("{url}/flows?limit=many")).call();
    assert!(matches!(answer, Err(ureq::Error::StatusCode(400))), "{answer:?}");
    let answer = ureq::get(format!("{url}/nothing")).call();
    assert!(matches!(answer, Err(ureq::Error::StatusCode(404))), "{answer:?}");
    Ok(())
}

#[test]
fn events_tell_who_sent_what_to_whom() -> anyhow::Result<()> {
    let agent = Agent::start(&["--oversized", "medium=1000,large=2000,huge=3000"])?;
    let Talk { mut client, mut server } = Talk::open(["event-client", "event-server"])?;
    client.run(
        "one.sendall(frame(1500, True)); one.sendall(frame(999, True)); one.sendall(frame(3000, True))",
    )?;
    server.run("receive([one], 1508 + 1007 + 3008)")?;
    let ends = client.ask("[f'{host}:{port}' for host, port in (one.getsockname(), one.getpeername())]")?;
    let events = agent.json("/events")?;
    let all = events["events"].as_array().context("no events")?;
    for (puppet, name, direction, [local, remote]) in [
        (&client, "event-client", "sent", [&ends[0], &ends[1]]),
        (&server, "event-server", "received", [&ends[1], &ends[0]]),
    ] {
        let mut own: Vec<&Value> = all.iter().filter(|event| event["process"] == name).collect();
        own.sort_by_key(|event| event["size_bytes"].as_u64());
        assert_eq!(own.len(), 2, "{events}");
        for (event, size, category) in [(own[0], 1500, "medium"), (own[1], 3000, "huge")] {
            assert_eq!(event["size_bytes"], size, "{event}");
            assert_eq!(event["size_category"], category, "{event}");
            assert_eq!(event["direction"], direction, "{event}");
            assert_eq!(event["pid"], puppet.pid(), "{event}");
            assert_eq!([&event["local"], &event["remote"]], [local, remote], "{event}");
        }
    }
    Ok(())
}

#[test]
fn flows_are_sorted_and_limited() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let (mut client, mut server) = (Puppet::start("list-client")?, Puppet::start("list-server")?);
    let port = server.listen()?;
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 6)"))?;
    server.run("served = accept_all(listener, 6)")?;
    for number in 0..6 {
        client.run(&format!("send([opened[{number}]], 1000 * ({number} + 1))"))?;
        server.run(&format!("receive([served[{number}]], 1000 * ({number} + 1))"))?;
    }
    sleep(Duration::from_millis(2_500));
    let ports = client.ask("[one.getsockname()[1] for one in opened]")?;
    let all = agent.json("/flows")?;
    let flows = all["flows"].as_array().context("no flows")?;
    let rate = |flow: &Value| {
        let rate = |way: &str| flow["bytes_per_second"][way].as_f64().unwrap_or_default();
        rate("sent") + rate("received")
    };
    assert!(flows.is_sorted_by(|one, other| rate(one) >= rate(other)), "{all}");
    let own: Vec<&Value> = flows.iter().filter(|flow| flow["process"] == "list-client").collect();
    assert_eq!(own.len(), 6, "{all}");
    for (flow, number) in own.iter().zip((0..6).rev()) {
        assert_eq!(flow["local"], format!("127.0.0.1:{}", ports[number]), "{all}");
        assert_eq!(flow["bytes"]["sent"], 1000 * (number + 1));
        assert_eq!(flow["bytes"]["received"], 0);
        assert_eq!(flow["pid"], client.pid());
        assert_eq!(flow["role"], "client");
    }
    for limit in [0, 1, 5] {
        let some = agent.json(&format!("/flows?limit={limit}"))?;
        assert_eq!(some["flows"].as_array().map(Vec::len), Some(limit), "{some}");
    }
    Ok(())
}

fn flow<'a>(metrics: &'a Metrics, name: &'a str, process: &str, direction: &str) -> Vec<&'a Sample> {
    let wanted = |one: &&Sample| one.labels["process"] == process && one.labels["direction"] == direction;
    metrics.series(name, &[]).filter(wanted).collect()
}

#[test]
fn rates_of_flows() -> anyhow::Result<()> {
    // For all flows of the host: others may be faster.
    let agent = Agent::start(&["--flow-series", "100000"])?;
    let without = Agent::start(&["--flow-series", "0"])?;
    let Talk { mut client, mut server } = Talk::open(["rate-client", "rate-server"])?;
    server.tell("receive_to_end(one)")?;
    client.tell("send_steadily(one, frame(492, True), 0.02, 14)")?;
    sleep(Duration::from_secs(13));
    let metrics = agent.scrape()?;
    let none = without.scrape()?;
    let [count, seconds] = serde_json::from_value::<[f64; 2]>(client.answer()?)?;
    let messages = count / seconds;
    for (process, pid, direction) in
        [("rate-client", client.pid(), "sent"), ("rate-server", server.pid(), "received")]
    {
        for (name, expected) in [
            ("observer_flow_messages_per_second", messages),
            ("observer_flow_bytes_per_second", messages * 500.0),
        ] {
            let series = flow(&metrics, name, process, direction);
            assert_eq!(series.len(), 1, "{process}: {}", metrics.text());
            let value = series[0].value;
            assert!(
                (value / expected - 1.0).abs() < 0.15,
                "{process} {direction}: {name} {value}, not {expected}"
            );
            assert_eq!(series[0].labels["pid"], pid.to_string());
            assert_eq!(series[0].labels["protocol"], "websocket");
        }
    }
    assert!(!none.text().lines().any(|line| line.starts_with("observer_flow_")), "{}", none.text());
    // Gone with the connection.
    client.run("one.close()")?;
    server.answer()?;
    server.run("one.close()")?;
    let metrics = agent.scrape()?;
    let left: Vec<&str> = metrics
        .text()
        .lines()
        .filter(|line| line.starts_with("observer_flow_") && line.contains("\"rate-"))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
    Ok(())
}

#[test]
fn only_so_many_flows_are_series() -> anyhow::Result<()> {
    let agent = Agent::start(&["--flow-series", "3"])?;
    let (mut client, mut server) = (Puppet::start("top-client")?, Puppet::start("top-server")?);
    let port = server.listen()?;
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 10)"))?;
    server.run("served = accept_all(listener, 10)")?;
    client.run("send(opened, 30000)")?;
    server.run("receive(served, 30000)")?;
    sleep(Duration::from_millis(2_500));
    let metrics = agent.scrape()?;
    // Each flow has a series for each direction.
    assert_eq!(metrics.series("observer_flow_bytes_per_second", &[]).count(), 6, "{}", metrics.text());
    Ok(())
}

/// Evictions of a Redis server are a gauge with a counter's name, which is required, and which promtool objects to:
/// a server's own count, which starts anew when it is told to.
// needs: websocket, redis
// makes: messages
// takes: 5 s
mod without_redis {
    use std::io::Write as _;

    use anyhow::Context as _;

    use super::{Agent, Command, Duration, Metrics, Stdio, Talk, everything, sleep};

    #[test]
    fn promtool_accepts_all_of_it() -> anyhow::Result<()> {
        // Few series, so that some are folded.
        for arguments in [&["--max-series", "2"][..], &[]] {
            let agent = Agent::start(arguments)?;
            let Talk { mut client, mut server } = Talk::open(["all-client", "all-server"])?;
            everything(&mut client, &mut server)?;
            sleep(Duration::from_millis(1_500));
            let text = agent.get("/metrics")?;
            let mut promtool = Command::new("promtool")
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .context("cannot run promtool")?;
            promtool.stdin.take().context("no stdin")?.write_all(text.as_bytes())?;
            let output = promtool.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");

            // It has seen what it was to see.
            let metrics = Metrics::parse(&text);
            for family in [
                "message_size_bytes_count",
                "observer_websocket_frame_size_bytes_count",
                "observer_websocket_messages_total",
                "oversized_message_total",
                "observer_websocket_closes_total",
                "observer_websocket_violations_total",
                "observer_connections",
                "observer_connections_opened_total",
                "observer_connect_failures_total",
                "observer_connect_seconds_count",
                "observer_bytes_total",
                "observer_flow_bytes_per_second",
                "observer_desyncs_total",
                "observer_unparsed_bytes_total",
                "observer_collect_seconds_count",
                "process_resident_memory_bytes",
            ] {
                assert!(metrics.sum(family, &[]) > 0.0, "no {family}: {text}");
            }
            if arguments.is_empty() {
                let name = "a\"b\\c\nd";
                assert_eq!(metrics.sum("observer_bytes_total", &[("process", name)]), 5.0, "{text}");
            } else {
                assert!(metrics.sum("observer_series_folded_total", &[]) > 0.0, "{text}");
            }
        }
        Ok(())
    }
}
