//! The PROXY protocol, as haproxy and others send it, in front of what is spoken: that is told as without it, at both ends,
//! and whom the header declares to be the client is shown.

// needs: websocket, postgres
// makes: messages, redis
// takes: 15 s

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::haproxy::Haproxy;
use observer_tests::nginx::Nginx;
use observer_tests::postgres::Address;
use observer_tests::postgres::clients::State;
use observer_tests::postgres::rust::RustClients;
use observer_tests::postgres::server::Server;
use observer_tests::postgres::shown::{View, nothing_lost};
use observer_tests::puppet::{Puppet, connected};
use observer_tests::websocket::alone;
use serde_json::Value;

/// How haproxy may send a header.
const SENDING: [&str; 3] = ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"];

/// A process's only flow in a role and a protocol: there has to be just one.
fn flow(agent: &Agent, process: &str, role: &str, protocol: &str) -> anyhow::Result<Value> {
    let answer = agent.json(&format!("/flows?process={process}"))?;
    let flows = answer["flows"].as_array().context("no flows")?;
    let mut found = flows.iter().filter(|flow| flow["role"] == role && flow["protocol"] == protocol);
    let one = found.next().with_context(|| format!("{process} has no {protocol} as a {role}: {flows:#?}"))?;
    ensure!(found.next().is_none(), "there are several: {flows:#?}");
    Ok(one.clone())
}

/// Where a puppet's connection comes from.
fn own_address(puppet: &mut Puppet) -> anyhow::Result<String> {
    let address = puppet.ask("'%s:%d' % one.getsockname()")?;
    Ok(address.as_str().context("no address")?.to_owned())
}

#[test]
fn http_and_websockets_from_haproxy_to_nginx() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&["--oversized", "medium=100000,large=200000,huge=300000"])?;
    for (number, sending) in SENDING.into_iter().enumerate() {
        let mut server = Puppet::start(&format!("px-server-{number}"))?;
        let nginx = Nginx::behind_a_proxy(&format!("127.0.0.1:{}", server.listen()?))?;
        let haproxy = Haproxy::start(&format!("127.0.0.1:{}", nginx.port), "", sending)?;
        let mut client = Puppet::start(&format!("px-client-{number}"))?;
        client.run(&format!("one = connect(('127.0.0.1', {}))", haproxy.port))?;
        let mut addresses = vec![own_address(&mut client)?];
        client.run(
            "one.sendall(b'GET /here HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n'); receive_until(one, b'here')",
        )?;
        for (process, role, declared) in [
            (&haproxy.name, "server", ""),
            (&haproxy.name, "client", &addresses[0]),
            (&nginx.name, "server", &addresses[0]),
        ] {
            let flow = flow(&agent, process, role, "http")?;
            assert_eq!(flow["client"], declared, "{sending}: {flow:#}");
        }
        client.run("one.close()")?;

        client.run(&format!("one = connect(('127.0.0.1', {})); ask_upgrade(one)", haproxy.port))?;
        addresses.push(own_address(&mut client)?);
        server.run("one = listener.accept()[0]; grant_upgrade(one)")?;
        client.run("finish_upgrade(one)")?;
        client.run("one.sendall(frame(150_000, True) + frame(10, True))")?;
        server.run("receive([one], 150_000 + 14 + 16)")?;
        let metrics = agent.scrape()?;
        let events = agent.json("/events")?;
        let events = events["events"].as_array().context("no events")?;
        for (process, role, direction, declared) in [
            (&haproxy.name, "server", "received", ""),
            (&haproxy.name, "client", "sent", &addresses[1]),
            (&nginx.name, "server", "received", &addresses[1]),
            (&nginx.name, "client", "sent", ""),
        ] {
            let labels = [("process", process.as_str()), ("role", role), ("direction", direction)];
            let messages = metrics.sum("observer_websocket_messages_total", &labels);
            assert_eq!(messages, 2.0, "{sending}: {process} as a {role}\n{}", metrics.text());
            let flow = flow(&agent, process, role, "websocket")?;
            assert_eq!(flow["client"], declared, "{sending}: {flow:#}");
            let told: Vec<&Value> = events
                .iter()
                .filter(|event| event["process"] == **process && event["role"] == role)
                .collect();
            assert_eq!(told.len(), 1, "{sending}: {events:#?}");
            assert_eq!(told[0]["client"], declared, "{sending}: {}", told[0]);
        }
        client.run("one.close()")?;
        server.run("receive_to_end(one); one.close()")?;

        // Whom nginx itself took the client to be.
        let start = Instant::now();
        while nginx.clients()?.len() < 2 {
            ensure!(start.elapsed() < Duration::from_secs(10), "nginx has logged {:?}", nginx.clients()?);
            sleep(Duration::from_millis(50));
        }
        assert_eq!(nginx.clients()?, addresses);
    }
    Ok(())
}

#[test]
fn postgres_through_two_proxies() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    for sending in SENDING {
        server.reset_statements()?;
        let near = Haproxy::start(&server.tcp().label(), "accept-proxy", "")?;
        let label = format!("127.0.0.1:{}", near.port);
        let far = Haproxy::start(&label, "", sending)?;
        let mut clients = RustClients::new(&Address { host: "127.0.0.1".to_owned(), port: far.port }, "app");
        clients.login(2)?;
        clients.put(State::Idle, 0, 2)?;
        for _ in 0..5 {
            clients.again(State::Idle, 0, 2)?;
        }
        let truth = server.statements()?;
        assert!(truth["select"] >= 10.0, "{truth:?}");
        for view in [View::client(&far.name, &label), View::server(&near.name, &label)] {
            view.expect(&agent, &truth, View::queries)?;
            view.expect(&agent, &2.0, View::acquired)?;
            view.expect(&agent, &2.0, |view, metrics| view.sessions(metrics).idle)?;
        }
        drop(clients);
    }
    nothing_lost(&agent)
}

/// What a server is told in front of all else, and what it is told then: by version, by call.
#[test]
fn headers_of_every_kind_in_front_of_raw_bytes() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let version_2 = "b'\\r\\n\\r\\n\\0\\r\\nQUIT\\n'";
    let v4 = "bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack('>HH', 51000, 443)";
    let v6 = "bytes.fromhex('20010db8' + '00' * 11 + '07') * 2 + struct.pack('>HH', 51000, 443)";
    let headers = [
        ("b'PROXY TCP4 192.0.2.7 198.51.100.1 51000 443\\r\\n'".to_owned(), "192.0.2.7:51000"),
        ("b'PROXY TCP6 2001:db8::7 ::1 51000 443\\r\\n'".to_owned(), "[2001:db8::7]:51000"),
        ("b'PROXY UNKNOWN\\r\\n'".to_owned(), ""),
        (format!("{version_2} + b'\\x21\\x11\\0\\x0c' + {v4}"), "192.0.2.7:51000"),
        (
            format!(
                "{version_2} + b'\\x21\\x21' + struct.pack('>H', 36 + 3003) + {v6} + b'\\x05\\x0b\\xb8' + filler(3000)"
            ),
            "[2001:db8::7]:51000",
        ),
        (format!("{version_2} + b'\\x20\\0\\0\\x07\\x04\\0\\x04' + bytes(4)"), ""),
    ];
    let starts = [
        ("b'*1\\r\\n$4\\r\\nPING\\r\\n'", "b'+PONG\\r\\n'", "redis"),
        ("b'set a 0 0 1\\r\\nx\\r\\n'", "b'STORED\\r\\n'", "memcached"),
        (
            "b'\\0\\0\\0\\x11\\0\\x03\\0\\0user\\0me\\0\\0'",
            "b'R\\0\\0\\0\\x08\\0\\0\\0\\0Z\\0\\0\\0\\x05I'",
            "postgres",
        ),
        ("b'\\x16\\x03\\x01\\0\\x05\\x01\\0\\0\\x01\\x03'", "b'\\x15\\x03\\x03\\0\\x02\\x02\\x28'", "tls"),
        ("b'GET / HTTP/1.1\\r\\n\\r\\n'", "b'HTTP/1.1 204 No Content\\r\\n\\r\\n'", "http"),
    ];
    for (number, (header, declared)) in headers.iter().enumerate() {
        for (start, answer, protocol) in starts {
            for cuts in
                ["[]", "[1]", "[9]", "[len(header)]", "[len(header) + 3]", "range(1, len(header) + 9)"]
            {
                let names = [format!("raw-c-{number}"), format!("raw-s-{number}")];
                let (mut client, mut server, _) = connected([&names[0], &names[1]])?;
                client.run("one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)")?;
                client.run(&format!("header = {header}; data = header + {start}; at = 0"))?;
                client.run(&format!(
                    "[one.sendall(data[a:b]) for a, b in zip([0, *{cuts}], [*{cuts}, len(data)])] and None"
                ))?;
                let length = client.number("len(data)")?;
                server.run(&format!("receive([one], {length:.0}); one.sendall({answer})"))?;
                client.run(&format!("receive([one], len({answer}))"))?;
                for (process, role) in [(&names[0], "client"), (&names[1], "server")] {
                    let flow = flow(&agent, process, role, protocol)?;
                    assert_eq!(flow["client"], *declared, "{header} cut at {cuts}: {flow:#}");
                }
            }
        }
    }
    Ok(())
}
