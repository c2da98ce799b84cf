//! Connections of any kind are counted, by process, role and protocol, with each of their bytes.

// needs: nothing
// takes: 11 s

use observer_tests::agent::Agent;
use observer_tests::metrics::Metrics;
use observer_tests::namespace::Namespace;
use observer_tests::puppet::Puppet;

/// What the agent says of a process's connections in one role and protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    open: f64,
    opened: f64,
    closed: f64,
    sent: f64,
    received: f64,
}

fn counts(metrics: &Metrics, process: &str, role: &str, protocol: &str) -> Counts {
    let labels = [("process", process), ("role", role), ("protocol", protocol)];
    let bytes = |direction| {
        let labels = [labels[0], labels[1], labels[2], ("direction", direction)];
        metrics.sum("observer_bytes_total", &labels)
    };
    Counts {
        open: metrics.sum("observer_connections", &labels),
        opened: metrics.sum("observer_connections_opened_total", &labels),
        closed: metrics.sum("observer_connections_closed_total", &labels),
        sent: bytes("sent"),
        received: bytes("received"),
    }
}

/// Waits for exactly these counts, of all protocols too: nothing may be counted under another one.
fn expect(agent: &Agent, process: &str, role: &str, protocol: &str, expected: Counts) -> anyhow::Result<()> {
    let what = format!("{process} as {role} of {protocol}: {expected:?}");
    agent.wait_until(&what, |metrics| counts(metrics, process, role, protocol) == expected)?;
    let metrics = agent.scrape()?;
    assert_eq!(counts(&metrics, process, role, protocol), expected);
    let labels = [("process", process)];
    let series = metrics.series("observer_bytes_total", &labels);
    let others: Vec<_> =
        series.filter(|one| one.labels["protocol"] != protocol || one.labels["role"] != role).collect();
    assert!(others.is_empty(), "{others:?}");
    Ok(())
}

/// `count` connections between two processes, `sent` bytes on each from the client and `received` back:
/// exact while they are open and after they are closed, and gone with their processes.
fn plain(
    agent: &Agent,
    client: &mut Puppet,
    server: &mut Puppet,
    names: [&str; 2],
    address: &str,
) -> anyhow::Result<()> {
    const COUNT: u32 = 40;
    const SENT: u32 = 3_001;
    const RECEIVED: u32 = 200_003;
    server.tell(&format!("served = accept_all(listener, {COUNT})"))?;
    client.run(&format!("opened = connect_all({address}, {COUNT})"))?;
    server.answer()?;
    client.run(&format!("send(opened, {SENT})"))?;
    server.run(&format!("receive(served, {SENT})"))?;
    server.tell(&format!("send(served, {RECEIVED})"))?;
    client.run(&format!("receive(opened, {RECEIVED})"))?;
    server.answer()?;

    let (sent, received) = (f64::from(COUNT * SENT), f64::from(COUNT * RECEIVED));
    let count = f64::from(COUNT);
    let open = Counts { open: count, opened: count, closed: 0.0, sent, received };
    let seen_by_server = Counts { sent: received, received: sent, ..open };
    expect(agent, names[0], "client", "unknown", open)?;
    expect(agent, names[1], "server", "unknown", seen_by_server)?;

    client.run("close_all(opened)")?;
    server.run("close_all(served)")?;
    expect(agent, names[0], "client", "unknown", Counts { open: 0.0, closed: count, ..open })?;
    expect(agent, names[1], "server", "unknown", Counts { open: 0.0, closed: count, ..seen_by_server })
}

#[test]
fn ipv4() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("v4-client")?, Puppet::start("v4-server")?);
    let port = server.listen()?;
    plain(&agent, &mut client, &mut server, ["v4-client", "v4-server"], &format!("('127.0.0.1', {port})"))
}

#[test]
fn ipv6() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("v6-client")?, Puppet::start("v6-server")?);
    server.run("listener = listen(('::1', 0))")?;
    let port = server.number("port(listener)")?;
    plain(&agent, &mut client, &mut server, ["v6-client", "v6-server"], &format!("('::1', {port})"))
}

/// Both ends speak MPTCP, or one of them does, where the other end's is TCP: one connection at each, its bytes once, whose
/// subflows are none of their own.
fn mptcp(transports: [&str; 2], names: [&str; 2]) -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start(names[0])?, Puppet::start(names[1])?);
    client.run(&format!("transport = {}", transports[0]))?;
    server.run(&format!("transport = {}", transports[1]))?;
    let port = server.listen()?;
    plain(&agent, &mut client, &mut server, names, &format!("('127.0.0.1', {port})"))
}

#[test]
fn mptcp_at_both_ends() -> anyhow::Result<()> {
    mptcp(["socket.IPPROTO_MPTCP"; 2], ["mptcp-client", "mptcp-server"])
}

#[test]
fn mptcp_at_the_clients_end() -> anyhow::Result<()> {
    mptcp(["socket.IPPROTO_MPTCP", "0"], ["mptcp-client-1", "tcp-server-1"])
}

#[test]
fn mptcp_at_the_servers_end() -> anyhow::Result<()> {
    mptcp(["0", "socket.IPPROTO_MPTCP"], ["tcp-client-2", "mptcp-server-2"])
}

#[test]
fn mptcp_from_before_the_agent() -> anyhow::Result<()> {
    let (mut client, mut server) = (Puppet::start("mptcp-before-c")?, Puppet::start("mptcp-before-s")?);
    for process in [&mut client, &mut server] {
        process.run("transport = socket.IPPROTO_MPTCP")?;
    }
    let port = server.listen()?;
    client.run(&format!("one = connect(('127.0.0.1', {port}))"))?;
    server.run("one = listener.accept()[0]")?;
    client.run("send([one], 10)")?;
    server.run("receive([one], 10)")?;
    let agent = Agent::start(&[])?;
    client.run("send([one], 700)")?;
    server.run("receive([one], 700)")?;
    let open = Counts { open: 1.0, sent: 700.0, ..Counts::default() };
    expect(&agent, "mptcp-before-c", "client", "unknown", open)?;
    expect(&agent, "mptcp-before-s", "server", "unknown", Counts { sent: 0.0, received: 700.0, ..open })
}

#[test]
fn unix_sockets_with_a_path() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("socket");
    let address = format!("{:?}", path.to_string_lossy());
    let (mut client, mut server) = (Puppet::start("path-client")?, Puppet::start("path-server")?);
    server.run(&format!("listener = listen({address})"))?;
    plain(&agent, &mut client, &mut server, ["path-client", "path-server"], &address)
}

#[test]
fn unix_sockets_with_an_abstract_name() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let name = format!("@observer-{}", std::process::id());
    let address = format!("{name:?}");
    let (mut client, mut server) = (Puppet::start("abs-client")?, Puppet::start("abs-server")?);
    server.run(&format!("listener = listen({address})"))?;
    client.run(&format!("first = connect({address}); send([first], 10)"))?;
    server.run("other = listener.accept()[0]; receive([other], 10)")?;
    let ends = |name: &str| -> anyhow::Result<Vec<[String; 2]>> {
        let flows = agent.json("/flows")?;
        let flows = flows["flows"].as_array().cloned().unwrap_or_default();
        let text = |flow: &serde_json::Value, key: &str| flow[key].as_str().unwrap_or_default().to_owned();
        let own = flows.iter().filter(|flow| flow["process"] == name);
        Ok(own.map(|flow| [text(flow, "local"), text(flow, "remote")]).collect())
    };
    assert_eq!(ends("abs-client")?, [[String::new(), name.clone()]]);
    assert_eq!(ends("abs-server")?, [[name.clone(), String::new()]]);
    client.run("first.close()")?;
    server.run("other.close()")?;
    let once = Counts { opened: 1.0, closed: 1.0, sent: 10.0, ..Counts::default() };
    expect(&agent, "abs-client", "client", "unknown", once)?;
    expect(&agent, "abs-server", "server", "unknown", Counts { sent: 0.0, received: 10.0, ..once })
}

#[test]
fn a_socket_pair_is_two_connections_of_one_process() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let mut process = Puppet::start("pair")?;
    process.run("one, other = socket.socketpair(); send([one], 1234); receive([other], 1234); send([other], 77); receive([one], 77)")?;
    let open = Counts { open: 2.0, opened: 2.0, closed: 0.0, sent: 1311.0, received: 1311.0 };
    expect(&agent, "pair", "client", "unknown", open)?;
    process.run("one.close(); other.close()")?;
    expect(&agent, "pair", "client", "unknown", Counts { open: 0.0, closed: 2.0, ..open })
}

#[test]
fn another_network_namespace() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let namespace = Namespace::new()?;
    let mut client = Puppet::start_in(&namespace, "ns-client")?;
    let mut server = Puppet::start_in(&namespace, "ns-server")?;
    let port = server.listen()?;
    client.run(&format!("first = connect(('127.0.0.1', {port})); send([first], 10)"))?;
    server.run("other = listener.accept()[0]; receive([other], 10)")?;
    let flows = agent.json("/flows")?;
    let inode = namespace.inode()?;
    let ours = |flow: &&serde_json::Value| flow["process"] == "ns-client" && flow["netns"] == inode;
    assert_eq!(flows["flows"].as_array().map(|flows| flows.iter().filter(ours).count()), Some(1), "{flows}");
    drop((client, server));

    let mut client = Puppet::start_in(&namespace, "ns2-client")?;
    let mut server = Puppet::start_in(&namespace, "ns2-server")?;
    let port = server.listen()?;
    plain(&agent, &mut client, &mut server, ["ns2-client", "ns2-server"], &format!("('127.0.0.1', {port})"))
}

#[test]
fn http_that_is_no_websocket() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("http-client")?, Puppet::start("http-server")?);
    let port = server.listen()?;
    client.run(&format!("first = connect(('127.0.0.1', {port}))"))?;
    server.run("other = listener.accept()[0]")?;
    server.tell("http_serve(other, 25, 7000)")?;
    let [sent, received] = client.pair("http_exchange(first, 25, 7000)")?;
    assert_eq!(serde_json::from_value::<[f64; 2]>(server.answer()?)?, [received, sent]);
    let open = Counts { open: 1.0, opened: 1.0, closed: 0.0, sent, received };
    expect(&agent, "http-client", "client", "http", open)?;
    expect(&agent, "http-server", "server", "http", Counts { sent: received, received: sent, ..open })?;
    client.run("first.close()")?;
    server.run("other.close()")?;
    expect(&agent, "http-client", "client", "http", Counts { open: 0.0, closed: 1.0, ..open })
}

#[test]
fn a_connection_that_nobody_uses_is_there_too() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("idle-client")?, Puppet::start("idle-server")?);
    let port = server.listen()?;
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 3)"))?;
    server.run("served = accept_all(listener, 3)")?;
    let open = Counts { open: 3.0, opened: 3.0, ..Counts::default() };
    expect(&agent, "idle-client", "client", "unknown", open)?;
    expect(&agent, "idle-server", "server", "unknown", open)?;
    client.run("close_all(opened)")?;
    server.run("close_all(served)")?;
    let over = Counts { open: 0.0, closed: 3.0, ..open };
    expect(&agent, "idle-client", "client", "unknown", over)?;
    expect(&agent, "idle-server", "server", "unknown", over)
}

#[test]
fn a_connection_reset_by_its_client_is_closed_on_both_sides() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("rst-client")?, Puppet::start("rst-server")?);
    let port = server.listen()?;
    client.run(&format!("first = connect(('127.0.0.1', {port})); send([first], 5)"))?;
    server.run("other = listener.accept()[0]; receive([other], 5)")?;
    client.run("reset(first)")?;
    // The server has not closed its end, and need not for the connection to be over.
    let over = Counts { opened: 1.0, closed: 1.0, sent: 5.0, ..Counts::default() };
    expect(&agent, "rst-client", "client", "unknown", over)?;
    expect(&agent, "rst-server", "server", "unknown", Counts { sent: 0.0, received: 5.0, ..over })
}

/// Every connection of the host counts.
// needs: host
// takes: 1 s
mod on_a_quiet_host {
    use super::{Agent, Puppet};

    #[test]
    fn closed_connections_leave_nothing() -> anyhow::Result<()> {
        let agent = Agent::start(&[])?;
        let (mut client, mut server) = (Puppet::start("gone-client")?, Puppet::start("gone-server")?);
        let port = server.listen()?;
        let before = agent.scrape()?.sum("observer_tracked_connections", &[]);
        server.tell("served = accept_all(listener, 400)")?;
        client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 400); send(opened, 1)"))?;
        server.answer()?;
        server.run("receive(served, 1)")?;
        let open = agent.scrape()?.sum("observer_tracked_connections", &[]);
        assert!(open >= before + 700.0, "{before} connections, then {open}");
        client.run("close_all(opened)")?;
        server.run("close_all(served)")?;
        agent.wait_until("as many connections as before", |metrics| {
            metrics.sum("observer_tracked_connections", &[]) <= before
        })?;
        let metrics = agent.scrape()?;
        for name in ["gone-client", "gone-server"] {
            assert_eq!(metrics.series("observer_connections", &[("process", name)]).count(), 0);
        }
        let flows = agent.get("/flows")?;
        assert!(!flows.contains("gone-"), "{flows}");
        Ok(())
    }
}
