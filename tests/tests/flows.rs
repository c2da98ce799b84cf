//! Flows: bytes, rates, round-trip times and retransmits against `ss`, and how `/flows` and `/processes` are
//! asked.

// needs: websocket
// makes: messages
// takes: 8 s

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use observer_tests::agent::Agent;
use observer_tests::crowd::Crowd;
use observer_tests::namespace::Namespace;
use observer_tests::puppet::{Puppet, connected};
use observer_tests::ss::{self, Socket};
use serde_json::Value;

/// Flows at a path of the agent's.
fn flows(agent: &Agent, query: &str) -> anyhow::Result<Vec<Value>> {
    let answer = agent.json(&format!("/flows?{query}"))?;
    Ok(answer["flows"].as_array().context("no flows")?.clone())
}

fn count(flow: &Value, what: &str, way: &str) -> f64 {
    flow[what][way].as_f64().unwrap_or(-1.0)
}

/// Compares the flows at a port with what `ss` says of the same sockets, once all is read and acknowledged.
fn assert_as_ss(agent: &Agent, namespace: Option<&str>, port: u16) -> anyhow::Result<Vec<Socket>> {
    let start = Instant::now();
    loop {
        let shown = flows(agent, &format!("port={port}"))?;
        let sockets = ss::sockets(namespace, port)?;
        let differences: Vec<String> = sockets
            .iter()
            .filter_map(|socket| {
                let of = |flow: &&Value| flow["local"] == *socket.local && flow["remote"] == *socket.remote;
                let Some(flow) = shown.iter().find(of) else { return Some(format!("not shown: {socket:?}")) };
                let microseconds = flow["rtt_seconds"].as_f64().unwrap_or_default() * 1e6;
                let is = flow["bytes"]["sent"] == socket.sent
                    && flow["bytes"]["received"] == socket.received
                    && flow["retransmits"] == socket.retransmits
                    && (microseconds - socket.rtt_us).abs() < 1.0;
                (!is).then(|| format!("{socket:?}: {flow}"))
            })
            .collect();
        if differences.is_empty() {
            // Those of other namespaces are shown, too.
            let all = sockets.len() == shown.len() || namespace.is_some();
            assert!(!sockets.is_empty() && all, "{sockets:?}\n{shown:?}");
            return Ok(sockets);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{}", differences.join("\n"));
        sleep(Duration::from_millis(300));
    }
}

#[test]
fn bytes_are_those_that_ss_counts() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let (mut client, mut server, port) = connected(["plain-c", "plain-s"])?;
    client.run("send([one], 100001)")?;
    server.run("receive([one], 100001); send([one], 7)")?;
    client.run("receive([one], 7)")?;
    for socket in assert_as_ss(&agent, None, port)? {
        assert_eq!(socket.sent + socket.received, 100_008);
    }
    // A download by `sendfile`.
    server.tell("send_file(one, 50000000)")?;
    client.run("receive([one], 50000000)")?;
    server.answer()?;
    assert_as_ss(&agent, None, port)?;
    // One that is received by no receive.
    server.tell("send([one], 3000000)")?;
    client.run("zero_copy_receive(one, 3000000)")?;
    server.answer()?;
    for socket in assert_as_ss(&agent, None, port)? {
        assert_eq!(socket.sent + socket.received, 53_100_008);
    }
    // An end of one side takes a place in the stream, and is no payload.
    server.run("one.shutdown(socket.SHUT_WR)")?;
    client.run("one.recv(1); send([one], 5)")?;
    server.run("receive([one], 5)")?;
    sleep(Duration::from_millis(300));
    let shown = flows(&agent, &format!("port={port}&process=plain-c"))?;
    assert_eq!(
        (count(&shown[0], "bytes", "sent"), count(&shown[0], "bytes", "received")),
        (100_006.0, 53_000_007.0)
    );
    let shown = flows(&agent, &format!("port={port}&process=plain-s"))?;
    assert_eq!(
        (count(&shown[0], "bytes", "sent"), count(&shown[0], "bytes", "received")),
        (53_000_007.0, 100_006.0)
    );
    Ok(())
}

/// A client that has reached a server through a proxy that splices what the server sends.
struct Spliced {
    client: Puppet,
    proxy: Puppet,
    server: Puppet,
    /// The proxy's port, and the server's.
    ports: [u16; 2],
}

impl Spliced {
    fn open() -> anyhow::Result<Self> {
        let mut server = Puppet::start("splice-s")?;
        let (mut client, mut proxy) = (Puppet::start("splice-c")?, Puppet::start("splice-p")?);
        let ports = [proxy.listen()?, server.listen()?];
        client.run(&format!("one = connect(('127.0.0.1', {}))", ports[0]))?;
        proxy.run(&format!("one = listener.accept()[0]; other = connect(('127.0.0.1', {}))", ports[1]))?;
        server.run("one = listener.accept()[0]")?;
        Ok(Self { client, proxy, server, ports })
    }
}

#[test]
fn a_splice_of_many_gigabytes_is_counted_whole() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let Spliced { mut client, mut proxy, mut server, ports } = Spliced::open()?;
    proxy.tell("splice_between(other, one)")?;
    client.tell("splice_from(one, 5000000000)")?;
    server.run("send_file(one, 5000000000)")?;
    client.answer()?;
    for port in ports {
        for socket in assert_as_ss(&agent, None, port)? {
            assert_eq!(socket.sent + socket.received, 5_000_000_000);
        }
    }
    server.run("one.close()")?;
    proxy.answer()?;
    Ok(())
}

#[test]
fn connections_from_before_the_agent_count_from_then_on() -> anyhow::Result<()> {
    let (mut client, mut server, port) = connected(["early-c", "early-s"])?;
    client.run("send([one], 1000)")?;
    server.run("splice_from(one, 1000)")?;
    let agent = Agent::start(&[])?;
    sleep(Duration::from_millis(1_500));
    client.run("send([one], 2000)")?;
    server.run("splice_from(one, 2000)")?;
    sleep(Duration::from_millis(300));
    let shown = flows(&agent, &format!("port={port}"))?;
    assert_eq!(shown.len(), 2, "{shown:?}");
    for flow in shown {
        assert_eq!(count(&flow, "bytes", "sent") + count(&flow, "bytes", "received"), 2000.0, "{flow}");
    }
    Ok(())
}

/// Which flows and processes come first, and sums over all of them, depend on everybody's traffic.
// needs: host
// takes: 9 s
mod on_a_quiet_host {
    use anyhow::Context as _;

    use super::{Agent, Duration, Namespace, Puppet, Value, assert_as_ss, connected, count, flows, sleep};

    #[test]
    fn retransmits_and_round_trips_are_tcps() -> anyhow::Result<()> {
        let agent = Agent::start(&[])?;
        let (near, far) = (Namespace::new()?, Namespace::new()?);
        near.connect("flows0", "10.79.0.1/24", &far, "10.79.0.2/24")?;
        let mut client = Puppet::start_in(&near, "lossy-c")?;
        let mut server = Puppet::start_in(&far, "lossy-s")?;
        server.run("listener = listen(('10.79.0.2', 0))")?;
        let port: u16 = serde_json::from_value(server.ask("port(listener)")?)?;
        client.run(&format!("one = connect(('10.79.0.2', {port})); send([one], 1000)"))?;
        server.run("one = listener.accept()[0]; receive([one], 1000)")?;
        // What cannot be acknowledged is sent again.
        far.run("ip", &["route", "add", "blackhole", "10.79.0.1/32"])?;
        client.run("send([one], 1000)")?;
        sleep(Duration::from_millis(1_200));
        far.run("ip", &["route", "delete", "blackhole", "10.79.0.1/32"])?;
        server.run("receive([one], 1000)")?;
        let sockets = assert_as_ss(&agent, Some(near.name()), port)?;
        assert!(sockets[0].retransmits > 0 && sockets[0].rtt_us > 0.0, "{sockets:?}");
        let most = flows(&agent, "sort=retransmits&limit=1")?;
        assert_eq!(most[0]["process"], "lossy-c", "{most:?}");
        Ok(())
    }

    #[test]
    fn flows_are_picked_and_sorted_as_asked() -> anyhow::Result<()> {
        let agent = Agent::start(&[])?;
        let (mut first, mut first_server, first_port) = connected(["pick-one", "pick-one-s"])?;
        let (mut second, mut second_server, second_port) = connected(["pick-two", "pick-two-s"])?;
        first.run("ask_upgrade(one)")?;
        first_server.run("grant_upgrade(one)")?;
        first.run("finish_upgrade(one); one.sendall(frame(5, True) * 3)")?;
        first_server.run("receive([one], 33)")?;
        second.run("send([one], 100000)")?;
        second_server.run("receive([one], 100000)")?;
        sleep(Duration::from_millis(2_200));
        let names = |query: &str| -> anyhow::Result<Vec<String>> {
            let rows = flows(&agent, query)?;
            let name = |flow: &Value| flow["process"].as_str().unwrap_or_default().to_owned();
            Ok(rows.iter().map(name).filter(|name| name.starts_with("pick-")).collect())
        };
        assert_eq!(names("process=pick-one")?, ["pick-one"]);
        assert_eq!(names(&format!("port={second_port}"))?, ["pick-two", "pick-two-s"]);
        assert_eq!(names(&format!("protocol=websocket&port={first_port}"))?, ["pick-one", "pick-one-s"]);
        assert!(names(&format!("protocol=redis&port={first_port}"))?.is_empty());
        assert_eq!(names("sort=messages&limit=2")?, ["pick-one", "pick-one-s"]);
        assert_eq!(names("sort=bytes&process=pick-two&limit=1")?, ["pick-two"]);
        // They were opened one after the other; those of the machine itself may be older.
        assert_eq!(names("sort=age")?, ["pick-one", "pick-one-s", "pick-two", "pick-two-s"]);
        let times: Vec<f64> = flows(&agent, "sort=rtt")?
            .iter()
            .map(|flow| flow["rtt_seconds"].as_f64().unwrap_or(0.0))
            .collect();
        assert!(times.is_sorted_by(|one, other| one >= other) && times[0] > 0.0, "{times:?}");
        for (wrong, named) in [
            ("sort=fastest", "sort=fastest: not one of bytes, messages, age, rtt, retransmits"),
            ("limit=-1", "limit=-1"),
            ("port=http", "port=http"),
            ("protocol=smtp", "protocol=smtp: not one of unknown, http, websocket, postgres, redis, tls"),
            ("colour=red", "colour"),
        ] {
            let url = format!("http://{}/flows?{wrong}", agent.address());
            let mut answer = ureq::get(&url).config().http_status_as_error(false).build().call()?;
            assert_eq!(answer.status(), 400, "{wrong}");
            let said = answer.body_mut().read_to_string()?;
            assert!(said.starts_with(named), "{wrong}: {said}");
        }
        Ok(())
    }

    #[test]
    fn processes_are_the_sums_of_their_flows() -> anyhow::Result<()> {
        let agent = Agent::start(&["--oversized", "medium=1000"])?;
        let (mut client, mut server) = (Puppet::start("sum-client")?, Puppet::start("sum-server")?);
        let port = server.listen()?;
        client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 5)"))?;
        server.run("served = accept_all(listener, 5)")?;
        client.run("for one in opened[:3]: ask_upgrade(one)")?;
        server.run("for one in served[:3]: grant_upgrade(one)")?;
        client.run(
            "for one in opened[:3]: finish_upgrade(one); one.sendall(frame(50, True) * 4 + frame(2000, True))",
        )?;
        server.run("receive(served[:3], 4 * 56 + 2008)")?;
        client.run("send(opened[3:], 12345)")?;
        server.run("receive(served[3:], 12345)")?;
        sleep(Duration::from_millis(2_200));
        let overview = agent.json("/processes")?;
        for (name, way, other) in [("sum-client", "sent", "received"), ("sum-server", "received", "sent")] {
            let processes = overview["processes"].as_array().context("no processes")?;
            let process =
                processes.iter().find(|process| process["process"] == name).context("no such process")?;
            assert_eq!(process["connections"], serde_json::json!({ "unknown": 2, "websocket": 3 }));
            assert_eq!((&process["messages"][way], &process["messages"][other]), (&15.into(), &0.into()));
            assert_eq!(process["oversized"], 3);
            let rows = flows(&agent, &format!("process={name}"))?;
            for what in ["bytes", "messages"] {
                for way in ["sent", "received"] {
                    let sum: f64 = rows.iter().map(|row| count(row, what, way)).sum();
                    assert_eq!(count(process, what, way), sum, "{name} {what} {way}");
                }
            }
            assert!(
                count(process, "bytes_per_second", way) > 0.0
                    && count(process, "messages_per_second", way) > 0.0
            );
        }
        // Four and one at each end of three connections.
        let sizes = overview["message_sizes"].as_array().context("no sizes")?;
        let at = |bound: f64| sizes.iter().find(|size| size["le"] == bound).map(|size| size["count"].clone());
        assert_eq!((at(100.0), at(10_000.0)), (Some(24.into()), Some(6.into())), "{sizes:?}");
        assert!(overview["connections"]["websocket"].as_u64() >= Some(6), "{overview}");
        let one = agent.json("/processes?limit=1")?;
        assert_eq!(one["processes"].as_array().map(Vec::len), Some(1));
        let refused = ureq::get(format!("http://{}/processes?limit=many", agent.address())).call();
        assert!(matches!(refused, Err(ureq::Error::StatusCode(400))), "{refused:?}");
        Ok(())
    }
}

/// Times and rates are compared.
// needs: host
// takes: 24 s
mod on_idle_processors {
    use super::{Agent, Crowd, Duration, Instant, Socket, Spliced, assert_as_ss, count, flows, sleep, ss};

    #[test]
    fn a_proxy_that_splices_has_the_bytes_that_ss_counts_and_their_rate() -> anyhow::Result<()> {
        const SIZE: f64 = 200_000.0;
        let agent = Agent::start(&[])?;
        let Spliced { mut client, mut proxy, mut server, ports } = Spliced::open()?;
        // Some of it before the agent's next look, so that nothing but TCP can tell.
        proxy.tell("splice_between(other, one)")?;
        client.tell("receive_to_end(one)")?;
        server.tell(&format!("send_steadily(one, filler({SIZE:.0}), 0.01, 13)"))?;
        sleep(Duration::from_millis(1_500));
        let before = ss::sockets(None, ports[1])?;
        let start = Instant::now();
        sleep(Duration::from_secs(10));
        let shown = flows(&agent, &format!("port={}&process=splice-p", ports[1]))?;
        let after = ss::sockets(None, ports[1])?;
        let seconds = start.elapsed().as_secs_f64();
        let [calls, taken] = serde_json::from_value::<[f64; 2]>(server.answer()?)?;
        let sent = calls * SIZE / taken;
        let received = |sockets: &[Socket]| sockets.iter().map(|socket| socket.received).max().unwrap_or(0);
        let by_ss = (received(&after) - received(&before)) as f64 / seconds;
        let rate = count(&shown[0], "bytes_per_second", "received");
        eprintln!("spliced: {rate:.0} bytes/s; ss: {by_ss:.0}; the server: {sent:.0}");
        assert!(
            (rate / by_ss - 1.0).abs() < 0.05 && (rate / sent - 1.0).abs() < 0.05,
            "{rate} {by_ss} {sent}"
        );
        for port in ports {
            assert_as_ss(&agent, None, port)?;
        }
        // What the kernel's own counts add to is the flows, and not the bytes of calls: those of the proxy are as
        // many as it moved, once.
        let total = calls * SIZE;
        let labels = [("process", "splice-p")];
        agent.wait_until("each byte once", |metrics| {
            let bytes = |way| metrics.sum("observer_bytes_total", &[labels[0], ("direction", way)]);
            (bytes("sent"), bytes("received")) == (total, total)
        })?;
        server.run("one.close()")?;
        assert_eq!(proxy.answer()?.as_f64(), Some(total));
        proxy.run("one.close()")?;
        assert_eq!(client.answer()?.as_f64(), Some(total));
        Ok(())
    }

    #[test]
    fn many_open_connections_are_answered_for_soon_and_in_little_memory() -> anyhow::Result<()> {
        const CONNECTIONS: usize = 20_000;
        let agent = Agent::start(&[])?;
        let mut crowd = Crowd::open(CONNECTIONS)?;
        crowd.speak()?;
        let labels = [("process", "crowd-server")];
        agent.wait_until("all of them", |metrics| {
            metrics.sum("observer_websocket_connections", &labels) == CONNECTIONS as f64
        })?;
        for path in ["/metrics", "/flows?limit=100"] {
            let mut times = Vec::new();
            for _ in 0..9 {
                let start = Instant::now();
                agent.get(path)?;
                times.push(start.elapsed());
            }
            times.sort();
            eprintln!("{path}: {:?} to {:?}", times[0], times[8]);
            assert!(times[4] < Duration::from_millis(100), "{path}: {times:?}");
        }
        let resident = agent.resident_bytes()? as f64 / 1e6;
        eprintln!("resident: {resident:.1} MB");
        assert!(resident < 60.0, "{resident} MB");
        Ok(())
    }
}
