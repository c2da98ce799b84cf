//! What a connection starts with may be out of the agent's sight: it is found out all the same, as on a connection that was
//! first seen in the middle. So is what comes behind something that is not known.

// needs: websocket
// makes: messages, redis
// takes: 5 s

use observer_tests::agent::Agent;
use observer_tests::metrics::{Metrics, unparsed};
use observer_tests::puppet::{Puppet, connected};
use observer_tests::websocket::alone;

/// Ways to send `data` that the agent cannot read, with the reason that it gives.
const UNSEEN: [(&str, &str); 3] = [
    ("send_many(one, [data[:3], data[3:]])", "other"),
    ("ring_write_registered(one, data)", "io_uring"),
    ("send_by_file(one, data)", "splice"),
];

/// Two ends of a connection, whose client has sent `opening` in such a way, and whose server has answered.
fn opened(agent: &Agent, number: usize, opening: &str, answer: &str) -> anyhow::Result<(Puppet, Puppet)> {
    let (way, reason) = UNSEEN[number];
    let (mut client, mut server, _) =
        connected([&format!("unseen-c-{number}"), &format!("unseen-s-{number}")])?;
    client.run("from rare_calls import *")?;
    let before = unparsed(&agent.scrape()?, reason);
    client.run(&format!("data = {opening}"))?;
    client.run(way)?;
    let length = client.number("len(data)")?;
    server.run(&format!("receive([one], {length:.0})"))?;
    let hidden = unparsed(&agent.scrape()?, reason) - before;
    assert_eq!(hidden, length, "{way}: the opening could be read");
    server.run(&format!("data = {answer}; one.sendall(data)"))?;
    let length = server.number("len(data)")?;
    client.run(&format!("receive([one], {length:.0})"))?;
    Ok((client, server))
}

/// Connections of a process that are open, of a protocol.
fn open(metrics: &Metrics, process: &str, protocol: &str) -> f64 {
    metrics.sum("observer_connections", &[("process", process), ("protocol", protocol)])
}

fn names(number: usize) -> [String; 2] {
    [format!("unseen-c-{number}"), format!("unseen-s-{number}")]
}

#[test]
fn a_websocket() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    for number in 0..UNSEEN.len() {
        let request = "b'GET / HTTP/1.1\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n'";
        let response = "b'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n'";
        let (mut client, mut server) = opened(&agent, number, request, response)?;
        client.run("[one.sendall(frame(100, True)) for _ in range(7)] and None")?;
        server.run("receive([one], 7 * 106); one.sendall(frame(200, False))")?;
        client.run("receive([one], 204)")?;
        let metrics = agent.scrape()?;
        for process in &names(number) {
            let counted = metrics.sum("observer_websocket_messages_total", &[("process", process)]);
            assert_eq!(counted, 8.0, "{process}: {}", metrics.text());
            assert_eq!(open(&metrics, process, "websocket"), 1.0);
        }
    }
    Ok(())
}

#[test]
fn a_redis_session() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    for number in 0..UNSEEN.len() {
        let (mut client, mut server) =
            opened(&agent, number, "b'*2\\r\\n$6\\r\\nSELECT\\r\\n$1\\r\\n0\\r\\n'", "b'+OK\\r\\n'")?;
        for _ in 0..5 {
            client.run("one.sendall(b'*2\\r\\n$3\\r\\nGET\\r\\n$6\\r\\nuser:1\\r\\n')")?;
            server.run("receive([one], 25); one.sendall(b'$1\\r\\nx\\r\\n')")?;
            client.run("receive([one], 7)")?;
        }
        let metrics = agent.scrape()?;
        for process in &names(number) {
            let labels = [("process", process.as_str()), ("command", "get")];
            assert_eq!(metrics.sum("observer_redis_commands_total", &labels), 5.0, "{}", metrics.text());
            let labels = [("process", process.as_str()), ("cache_key_prefix", "user")];
            assert_eq!(metrics.sum("redis_cache_hits_total", &labels), 5.0, "{}", metrics.text());
        }
    }
    Ok(())
}

#[test]
fn a_postgres_session() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    for number in 0..UNSEEN.len() {
        let welcome = "b'R\\0\\0\\0\\x08\\0\\0\\0\\0' + b'Z\\0\\0\\0\\x05I'";
        let startup = "b'\\0\\0\\0\\x11\\0\\x03\\0\\0user\\0me\\0\\0'";
        let (mut client, mut server) = opened(&agent, number, startup, welcome)?;
        for _ in 0..5 {
            client.run("one.sendall(b'Q\\0\\0\\0\\x0dselect 1\\0')")?;
            server.run(
                "receive([one], 14); one.sendall(b'C\\0\\0\\0\\x0dSELECT 1\\0' + b'Z\\0\\0\\0\\x05I')",
            )?;
            client.run("receive([one], 20)")?;
        }
        let metrics = agent.scrape()?;
        for process in &names(number) {
            let labels = [("process", process.as_str()), ("query_type", "select")];
            let queries = metrics.sum("db_query_duration_seconds_count", &labels);
            assert_eq!(queries, 5.0, "{process}: {}", metrics.text());
            assert_eq!(metrics.sum("db_connections_idle", &labels[..1]), 1.0, "{process}");
        }
    }
    Ok(())
}

#[test]
fn a_memcached_session_and_http() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    for number in 0..UNSEEN.len() {
        for (opening, opened_with, request, answer, protocol) in [
            (
                "b'version\\r\\n'",
                "b'VERSION 1.6.18\\r\\n'",
                "b'set a 0 0 1\\r\\nx\\r\\n'",
                "b'STORED\\r\\n'",
                "memcached",
            ),
            (
                "b'POST / HTTP/1.1\\r\\n\\r\\n'",
                "b'?'",
                "b'GET /a HTTP/1.1\\r\\n\\r\\n'",
                "b'HTTP/1.1 200 OK\\r\\n\\r\\n'",
                "http",
            ),
            (
                "b'\\x16\\x03\\x01\\0\\x05\\x01\\0\\0\\x01\\x03'",
                "b'?'",
                "b'\\x17\\x03\\x03\\0\\x05hello'",
                "b'\\x17\\x03\\x03\\0\\x05hello'",
                "tls",
            ),
        ] {
            let (mut client, mut server) = opened(&agent, number, opening, opened_with)?;
            client.run(&format!("one.sendall({request})"))?;
            server.run(&format!("receive([one], len({request})); one.sendall({answer})"))?;
            client.run(&format!("receive([one], len({answer}))"))?;
            let metrics = agent.scrape()?;
            for process in &names(number) {
                assert_eq!(open(&metrics, process, protocol), 1.0, "{process}: {}", metrics.text());
            }
        }
    }
    Ok(())
}

/// As SOCKS has it (RFC 1928): a short exchange, and then whatever the client wants to speak.
#[test]
fn what_is_behind_something_unknown() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let (mut client, mut server, _) = connected(["socks-client", "socks-server"])?;
    client.run("one.sendall(b'\\x05\\x01\\x00')")?;
    server.run("receive([one], 3); one.sendall(b'\\x05\\x00')")?;
    client.run("receive([one], 2)")?;
    let metrics = agent.scrape()?;
    for process in ["socks-client", "socks-server"] {
        assert_eq!(open(&metrics, process, "unknown"), 1.0, "{}", metrics.text());
    }
    client.tell("http_exchange(one, 300, 10)")?;
    server.run("http_serve(one, 300, 10)")?;
    client.answer()?;
    let metrics = agent.scrape()?;
    for process in ["socks-client", "socks-server"] {
        assert_eq!(open(&metrics, process, "http"), 1.0, "{}", metrics.text());
    }
    Ok(())
}
