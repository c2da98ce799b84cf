//! Limits that any connection of the host counts towards, and sums that any is in.

// needs: host
// takes: 4 s

use std::thread::sleep;
use std::time::Duration;

use observer_tests::agent::Agent;
use observer_tests::metrics::{Metrics, bytes};
use observer_tests::puppet::Puppet;
use observer_tests::talk::Talk;

#[test]
fn connections_past_the_limit() -> anyhow::Result<()> {
    const LIMIT: f64 = 200.0;
    const CONNECTIONS: u32 = 300;
    let sockets = f64::from(2 * CONNECTIONS);
    let agent = Agent::start(&["--max-connections", "200"])?;
    let (mut client, mut server) = (Puppet::start("many-client")?, Puppet::start("many-server")?);
    let port = server.listen()?;
    let before = agent.scrape()?.sum("observer_untracked_connections_total", &[]);
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), {CONNECTIONS}); send(opened, 9)"))?;
    server.run(&format!("served = accept_all(listener, {CONNECTIONS}); receive(served, 9)"))?;
    let metrics = agent.scrape()?;
    let untracked = metrics.sum("observer_untracked_connections_total", &[]) - before;
    let tracked = metrics.sum("observer_tracked_connections", &[]);
    assert_eq!(tracked, LIMIT, "all that may be");
    // Each of them is tracked or counted as untracked.
    let ours = metrics.sum("observer_connections", &[("process", "many-client")])
        + metrics.sum("observer_connections", &[("process", "many-server")]);
    assert!(
        ours <= LIMIT && untracked >= sockets - LIMIT && untracked >= sockets - ours,
        "{ours}, {untracked}"
    );
    // The connection that asks is one more.
    let said = agent.json("/status")?["untracked_connections"].as_f64();
    assert!(said >= Some(untracked + before), "{said:?}");

    client.run("close_all(opened)")?;
    server.run("close_all(served)")?;
    agent
        .wait_until("room again", |metrics| metrics.sum("observer_tracked_connections", &[]) < LIMIT / 2.0)?;
    let mut later = Puppet::start("later-client")?;
    later.run(&format!("opened = connect_all(('127.0.0.1', {port}), 10); send(opened, 9)"))?;
    let metrics = agent.scrape()?;
    assert_eq!(metrics.sum("observer_connections_opened_total", &[("process", "later-client")]), 10.0);
    assert_eq!(bytes(&metrics, "later-client", "sent"), 90.0);
    Ok(())
}

#[test]
fn a_websocket_older_than_the_agent() -> anyhow::Result<()> {
    let Talk { mut client, mut server } = Talk::open(["old-client", "old-server"])?;
    let agent = Agent::start(&[])?;
    let unsynchronised = |metrics: &Metrics| metrics.sum("observer_unsynchronised_connections", &[]);
    let labels = [("process", "old-client")];
    let before = agent
        .wait_until("the idle connection", |metrics| metrics.sum("observer_connections", &labels) == 1.0)?;
    assert!(unsynchronised(&before) >= 2.0, "both sides: {}", before.text());
    assert_eq!(before.sum("observer_connections", &[labels[0], ("protocol", "websocket")]), 0.0);
    for _ in 0..10 {
        client.run("one.sendall(frame(50, True))")?;
        server.run("receive([one], 56); one.sendall(frame(70, False))")?;
        client.run("receive([one], 72)")?;
    }
    let after = agent.wait_until("both sides in sync", |metrics| {
        ["old-client", "old-server"]
            .iter()
            .all(|process| metrics.sum("observer_websocket_connections", &[("process", process)]) == 1.0)
            && unsynchronised(metrics) <= unsynchronised(&before) - 2.0
    })?;
    // A message once more, now that it is known what it is.
    let messages = |metrics: &Metrics| {
        metrics.sum("observer_websocket_messages_total", &[labels[0], ("direction", "sent")])
    };
    client.run("one.sendall(frame(50, True))")?;
    assert_eq!(messages(&agent.scrape()?), messages(&after) + 1.0);
    Ok(())
}

#[test]
fn more_processes_than_series() -> anyhow::Result<()> {
    let agent = Agent::start(&["--max-series", "3"])?;
    let mut server = Puppet::start("fold-server")?;
    let port = server.listen()?;
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut client = Puppet::start(&format!("fold-{number}"))?;
        client.run(&format!("one = connect(('127.0.0.1', {port})); send([one], 1000 + {number})"))?;
        client.run("one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)")?;
        clients.push(client);
    }
    let sent_by_clients = |metrics: &Metrics| -> [f64; 2] {
        let labels = [("role", "client"), ("direction", "sent"), ("protocol", "unknown")];
        let sum = |folded: bool| {
            metrics
                .series("observer_bytes_total", &labels)
                .filter(|one| {
                    if folded {
                        one.labels["process"] == "other"
                    } else {
                        one.labels["process"].starts_with("fold-")
                    }
                })
                .map(|one| one.value)
                .sum()
        };
        [sum(false), sum(true)]
    };
    let [own, other] = sent_by_clients(&agent.scrape()?);
    // Other processes of the host are in the sum too: what our clients send from here on is what it grows by.
    assert!(own + other >= 8.0 * 1000.0 + 28.0, "{own} + {other}");
    let metrics = agent.scrape()?;
    let mut by_family = std::collections::BTreeMap::<&str, usize>::new();
    for one in metrics.series("observer_bytes_total", &[]).filter(|one| one.labels["process"] != "other") {
        *by_family.entry(&one.name).or_default() += 1;
    }
    assert!(by_family.values().all(|&count| count <= 3), "{by_family:?}");
    assert!(metrics.sum("observer_series_folded_total", &[("family", "observer_bytes_total")]) >= 5.0);

    for (number, client) in clients.iter_mut().enumerate() {
        client.run(&format!("send([one], 500 + {number})"))?;
    }
    let [own_after, other_after] = sent_by_clients(&agent.scrape()?);
    assert_eq!(own_after + other_after - own - other, 8.0 * 500.0 + 28.0);
    // What a folded process counted stays when it goes.
    for client in clients {
        client.finish()?;
    }
    sleep(Duration::from_millis(100));
    agent.scrape()?;
    let [_, other_at_the_end] = sent_by_clients(&agent.scrape()?);
    assert!(other_at_the_end >= other_after, "{other_at_the_end} after {other_after}");
    Ok(())
}
