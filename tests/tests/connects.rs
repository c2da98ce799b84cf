//! How connects go: their latency, the ways they fail, and segments that had to be sent again.

// needs: nothing
// takes: 26 s

use anyhow::Context as _;
use observer_tests::agent::Agent;
use observer_tests::namespace::Namespace;
use observer_tests::programs::free_port;
use observer_tests::puppet::Puppet;

/// A namespace, and its router, which has a route of this kind to 10.97.0.0/24.
fn before_a_route(kind: &str) -> anyhow::Result<(Namespace, Namespace)> {
    let (namespace, router) = (Namespace::new()?, Namespace::new()?);
    namespace.connect("out", "10.98.0.1/24", &router, "10.98.0.2/24")?;
    namespace.run("ip", &["route", "add", "default", "via", "10.98.0.2"])?;
    router.run("sysctl", &["-q", "net.ipv4.ip_forward=1"])?;
    router.run("ip", &["route", "add", kind, "10.97.0.0/24"])?;
    Ok((namespace, router))
}

/// How many segments a namespace's TCP has sent again, by its own count.
fn sent_again(namespace: &Namespace) -> anyhow::Result<f64> {
    let table = namespace.run("nstat", &["-asz", "TcpRetransSegs"])?;
    let count = table
        .lines()
        .find_map(|line| line.strip_prefix("TcpRetransSegs")?.split_whitespace().next()?.parse().ok());
    count.with_context(|| format!("no TcpRetransSegs: {table}"))
}

/// Waits until exactly these connects of a process have failed, and nothing of it is open or was.
fn expect_failures(agent: &Agent, process: &str, reason: &str, count: f64) -> anyhow::Result<()> {
    let labels = [("process", process), ("role", "client"), ("reason", reason)];
    let metrics = agent.wait_until(&format!("{count} {reason}"), |metrics| {
        metrics.sum("observer_connect_failures_total", &labels) == count
    })?;
    let of_process = [("process", process)];
    assert_eq!(metrics.sum("observer_connect_failures_total", &of_process), count, "{}", metrics.text());
    for family in
        ["observer_connections", "observer_connections_opened_total", "observer_connections_closed_total"]
    {
        assert_eq!(metrics.sum(family, &of_process), 0.0, "{family}");
    }
    assert_eq!(metrics.sum("observer_connect_seconds_count", &of_process), 0.0);
    Ok(())
}

#[test]
fn refused() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let mut client = Puppet::start("refused")?;
    let port = free_port()?;
    for _ in 0..7 {
        assert_eq!(
            client.number(&format!("try_connect(('127.0.0.1', {port}))"))?,
            f64::from(libc::ECONNREFUSED)
        );
    }
    expect_failures(&agent, "refused", "refused", 7.0)
}

#[test]
fn refused_without_waiting() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let mut client = Puppet::start("refused-later")?;
    let port = free_port()?;
    client.run("client = new_socket(('127.0.0.1', 0)); client.setblocking(False)")?;
    let errno = client.number(&format!("client.connect_ex(('127.0.0.1', {port}))"))?;
    assert_eq!(errno, f64::from(libc::EINPROGRESS));
    // Nobody asks the socket how it went.
    expect_failures(&agent, "refused-later", "refused", 1.0)?;
    client.run("client.close()")?;
    expect_failures(&agent, "refused-later", "refused", 1.0)
}

#[test]
fn timeout() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (namespace, _router) = before_a_route("blackhole")?;
    let mut client = Puppet::start_in(&namespace, "timeout")?;
    let errno =
        client.number("try_connect(('10.97.0.1', 80), [(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)])")?;
    assert_eq!(errno, f64::from(libc::ETIMEDOUT));
    expect_failures(&agent, "timeout", "timeout", 1.0)?;
    let metrics = agent.scrape()?;
    // Nothing else is sent there, so the namespace's own count is of the SYN.
    let again = sent_again(&namespace)?;
    assert!(again > 0.0, "the SYN was sent but once");
    assert_eq!(metrics.sum("observer_retransmits_total", &[("process", "timeout")]), again);
    Ok(())
}

#[test]
fn unreachable() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (namespace, _router) = before_a_route("unreachable")?;
    let mut client = Puppet::start_in(&namespace, "unreachable")?;
    for _ in 0..3 {
        assert_eq!(client.number("try_connect(('10.97.0.1', 80))")?, f64::from(libc::EHOSTUNREACH));
    }
    // Without a route there is no SYN, and so no connect that the kernel began.
    namespace.run("ip", &["route", "delete", "default"])?;
    assert_eq!(client.number("try_connect(('10.97.0.1', 80))")?, f64::from(libc::ENETUNREACH));
    expect_failures(&agent, "unreachable", "unreachable", 3.0)
}

#[test]
fn given_up() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (namespace, _router) = before_a_route("blackhole")?;
    let mut client = Puppet::start_in(&namespace, "given-up")?;
    // The process loses patience and closes: no error of the network's.
    client.run("client = new_socket(('10.97.0.1', 80)); client.setblocking(False)")?;
    assert_eq!(client.number("client.connect_ex(('10.97.0.1', 80))")?, f64::from(libc::EINPROGRESS));
    client.run("client.close()")?;
    expect_failures(&agent, "given-up", "other", 1.0)
}

#[test]
fn latency_of_a_connect_that_had_to_be_repeated() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (namespace, other) = (Namespace::new()?, Namespace::new()?);
    namespace.connect("out", "10.96.0.1/24", &other, "10.96.0.2/24")?;
    let mut server = Puppet::start_in(&other, "far-server")?;
    server.run("listener = listen(('10.96.0.2', 0))")?;
    let port = server.number("port(listener)")?;
    let mut client = Puppet::start_in(&namespace, "far-client")?;
    // The first SYN is lost, the one a second later is not.
    other.run("ip", &["route", "add", "blackhole", "10.96.0.1/32"])?;
    client.tell(&format!("timed_connects(('10.96.0.2', {port}), 1)"))?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    other.run("ip", &["route", "delete", "blackhole", "10.96.0.1/32"])?;
    let measured = client.answer()?.as_f64().unwrap_or_default();
    assert!(measured >= 1.0, "the SYN was not lost: {measured} s");
    let labels = [("process", "far-client"), ("role", "client")];
    let metrics = agent
        .wait_until("the connect", |metrics| metrics.sum("observer_connect_seconds_count", &labels) == 1.0)?;
    let seconds = metrics.sum("observer_connect_seconds_sum", &labels);
    assert!(seconds >= 1.0 && seconds < measured, "{seconds} of {measured}");
    Ok(())
}

#[test]
fn segments_sent_again() -> anyhow::Result<()> {
    const BYTES: u32 = 3_000_000;
    let agent = Agent::shared()?;
    let (sender, router, receiver) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
    sender.connect("out", "10.95.0.1/24", &router, "10.95.0.2/24")?;
    router.connect("on", "10.94.0.1/24", &receiver, "10.94.0.2/24")?;
    sender.run("ip", &["route", "add", "default", "via", "10.95.0.2"])?;
    receiver.run("ip", &["route", "add", "default", "via", "10.94.0.1"])?;
    router.run("sysctl", &["-q", "net.ipv4.ip_forward=1"])?;
    // A queue this short on the way drops what comes in bursts.
    router.run(
        "tc",
        &["qdisc", "add", "dev", "on", "root", "tbf", "rate", "40mbit", "burst", "70kb", "limit", "80kb"],
    )?;
    let mut server = Puppet::start_in(&receiver, "lossy-server")?;
    server.run("listener = listen(('10.94.0.2', 0))")?;
    let port = server.number("port(listener)")?;
    let mut client = Puppet::start_in(&sender, "lossy-client")?;
    client.run(&format!("first = connect(('10.94.0.2', {port}))"))?;
    server.run("other = listener.accept()[0]")?;
    server.tell(&format!("receive([other], {BYTES})"))?;
    client.run(&format!("send([first], {BYTES})"))?;
    server.answer()?;

    // The namespace has this one connection, so its own count is the connection's.
    let again = sent_again(&sender)?;
    assert!(again > 0.0, "nothing was lost");
    let labels = [("process", "lossy-client"), ("role", "client")];
    let exact = |metrics: &observer_tests::metrics::Metrics| {
        metrics.sum("observer_retransmits_total", &labels) == again
    };
    agent.wait_until(&format!("{again} segments while it is open"), exact)?;
    client.run("first.close()")?;
    server.run("other.close()")?;
    agent.wait_until("that many after it is closed", |metrics| {
        exact(metrics) && metrics.sum("observer_connections_closed_total", &labels) == 1.0
    })?;
    let metrics = agent.scrape()?;
    assert!(exact(&metrics));
    assert_eq!(
        metrics.sum("observer_bytes_total", &[labels[0], labels[1], ("direction", "sent")]),
        f64::from(BYTES),
        "bytes sent again count once"
    );
    Ok(())
}

/// A connect takes microseconds where nothing else runs.
// needs: host
// takes: 1 s
mod on_idle_processors {
    use super::{Agent, Puppet};

    #[test]
    fn latency() -> anyhow::Result<()> {
        const COUNT: u32 = 200;
        let agent = Agent::start(&[])?;
        let (mut client, mut server) = (Puppet::start("lat-client")?, Puppet::start("lat-server")?);
        let port = server.listen()?;
        let measured = client.number(&format!("timed_connects(('127.0.0.1', {port}), {COUNT})"))?;
        let labels = [("process", "lat-client"), ("role", "client")];
        let metrics = agent.wait_until("all connects", |metrics| {
            metrics.sum("observer_connect_seconds_count", &labels) == f64::from(COUNT)
        })?;
        // What the kernel takes is a part of what the client does.
        let seconds = metrics.sum("observer_connect_seconds_sum", &labels);
        assert!(seconds > 0.0 && seconds < measured, "{seconds} of {measured}");
        // A connect over loopback takes microseconds.
        let fast = metrics.sum("observer_connect_seconds_bucket", &[labels[0], labels[1], ("le", "0.005")]);
        assert!(fast >= f64::from(COUNT) * 0.9, "{fast} within 5 ms");
        assert_eq!(metrics.sum("observer_connect_seconds_count", &[("process", "lat-server")]), 0.0);
        Ok(())
    }
}
