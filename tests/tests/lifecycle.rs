//! The agent ends when it is told to, and leaves nothing in the kernel.

// needs: nothing
// takes: 4 s

use std::os::unix::process::ExitStatusExt as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use observer_tests::agent::Agent;
use observer_tests::bpf::{Kind, Objects};
use observer_tests::puppet::Puppet;

/// How long the agent may take to end.
const STOP: Duration = Duration::from_secs(3);

/// An agent that has sockets in its maps, with what it holds.
fn busy() -> anyhow::Result<(Agent, Puppet, Objects)> {
    let agent = Agent::start(&[])?;
    let mut process = Puppet::start("life")?;
    process.run("one, other = socket.socketpair(); send([one], 10); receive([other], 10)")?;
    process.run("listener = listen(); opened = connect_all(listener.getsockname(), 5); send(opened, 10)")?;
    agent.scrape()?;
    let held = Objects::of(agent.pid())?;
    assert!(held.count(Kind::Program) >= 6 && held.count(Kind::Map) >= 6, "{held:?}");
    Ok((agent, process, held))
}

#[test]
fn sigterm() -> anyhow::Result<()> {
    let (agent, mut process, held) = busy()?;
    let start = Instant::now();
    let status = agent.stop()?;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
    held.expect_gone()?;
    // Those that it watched go on.
    process
        .run("served = accept_all(listener, 5); receive(served, 10); send([other], 10); receive([one], 10)")
}

#[test]
fn sigint_with_clients_that_never_leave() -> anyhow::Result<()> {
    let (agent, _process, held) = busy()?;
    let _silent = std::net::TcpStream::connect(agent.address())?;
    let mut kept = std::net::TcpStream::connect(agent.address())?;
    std::io::Write::write_all(&mut kept, b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")?;
    let mut half = std::net::TcpStream::connect(agent.address())?;
    std::io::Write::write_all(&mut half, b"GET /met")?;
    sleep(Duration::from_millis(200));
    let start = Instant::now();
    agent.signal(libc::SIGINT)?;
    // Waits for its end; the SIGTERM that it sends as well changes nothing.
    let status = agent.stop()?;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(start.elapsed() < STOP, "{:?}", start.elapsed());
    held.expect_gone()
}

#[test]
fn sigkill() -> anyhow::Result<()> {
    let (agent, mut process, held) = busy()?;
    agent.signal(libc::SIGKILL)?;
    let status = agent.stop()?;
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    held.expect_gone()?;
    process
        .run("served = accept_all(listener, 5); receive(served, 10); send([other], 10); receive([one], 10)")
}

#[test]
fn again_and_again() -> anyhow::Result<()> {
    let mut process = Puppet::start("again")?;
    process.run("one, other = socket.socketpair()")?;
    for _ in 0..3 {
        let agent = Agent::start(&[])?;
        process.run("send([one], 1000); receive([other], 1000)")?;
        let labels = [("process", "again"), ("direction", "sent")];
        assert_eq!(agent.scrape()?.sum("observer_bytes_total", &labels), 1000.0);
        assert_eq!(agent.stop()?.code(), Some(0));
    }
    Ok(())
}
