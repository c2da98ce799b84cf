//! Libraries that processes map only after the agent has started are read where it follows them, by a process that has kept
//! the privileges for it, and nothing else.

// needs: redis
// takes: 8 s

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::bpf::Objects;
use observer_tests::metrics::Metrics;
use observer_tests::plaintext::{client_of, copy_library, reading};
use observer_tests::postgres::server::make_certificate;
use observer_tests::puppet::Puppet;
use observer_tests::redis::server::Server;
use observer_tests::redis::shown::{View, nothing_lost};
use observer_tests::websocket::{alone, unique_name};

/// `CAP_DAC_READ_SEARCH`, `CAP_SYS_PTRACE`, `CAP_SYS_ADMIN`, `CAP_PERFMON` and `CAP_BPF` by their bits
/// (`include/uapi/linux/capability.h`).
const KEPT: u64 = 1 << 2 | 1 << 19 | 1 << 21 | 1 << 38 | 1 << 39;

/// What a line of a process's status says.
fn status(pid: u64, name: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    Ok(line.context("no such line")?.to_owned())
}

/// The sockets that a process has open.
fn sockets(pid: u64) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = fs::read_link(entry?.path())?;
        if target.to_string_lossy().starts_with("socket:") {
            sockets.insert(target);
        }
    }
    Ok(sockets)
}

#[test]
fn a_library_that_comes_later() -> anyhow::Result<()> {
    let _alone = alone();
    let copy = tempfile::tempdir()?;
    copy_library(copy.path())?;
    let folder = tempfile::tempdir()?;
    let (server, port) = Server::start_over_tls(&make_certificate(folder.path())?)?;
    let agent = Agent::start(&["--tls", "follow"])?;
    let has = |agent: &Agent| -> anyhow::Result<bool> {
        let status = agent.json("/status")?;
        let libraries = status["tls_libraries"].as_array().context("no libraries")?;
        let path = copy.path().display().to_string();
        Ok(libraries.iter().any(|library| {
            library["path"].as_str().is_some_and(|known| known.starts_with(&path))
                && library["reason"].is_null()
        }))
    };
    ensure!(!has(&agent)?, "nobody has mapped it");

    let process = unique_name("later");
    let mut client = client_of(copy.path(), &process, port)?;
    client.run("import redis")?;
    client.run(&format!(
        "def connect(): return redis.Redis(port={port}, ssl=True, ssl_cert_reqs='none', ssl_check_hostname=False)"
    ))?;
    client.run("first = connect(); first.ping()")?;
    // The agent is told of the first connection, and looks.
    let start = std::time::Instant::now();
    while !has(&agent)? {
        ensure!(start.elapsed() < Duration::from_secs(10), "it was not looked at: {:?}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    client.run("second = connect(); second.ping()")?;
    server.reset()?;
    client.run("[second.get(f'user:{number}') for number in range(1000)]")?;
    client.run("second.set('user:1', 1); second.get('user:1')")?;
    let keyspace = server.keyspace()?;
    ensure!(keyspace == [1.0, 1000.0], "{keyspace:?}");
    let view = View::client(&process, &format!("127.0.0.1:{port}"));
    view.expect(&agent, &keyspace, View::keys)?;
    let open = |metrics: &Metrics, read: &str| {
        metrics.sum("observer_tls_connections", &[("process", &process), ("read", read)])
    };
    // The first one goes on as one that was joined.
    client.run("[first.get(f'user:{number}') for number in range(100)]")?;
    agent.wait_until("one is read, and one was joined late", |metrics| {
        [open(metrics, "yes"), open(metrics, "partly")] == [1.0, 1.0]
    })?;

    // What each of both processes may do.
    let attacher = agent.json("/status")?["tls_attacher"].as_u64().context("nobody attaches")?;
    for (pid, permitted) in [(u64::from(agent.pid()), 0), (attacher, KEPT)] {
        for set in ["CapPrm", "CapEff"] {
            let set = u64::from_str_radix(&status(pid, set)?, 16)?;
            ensure!(set & !permitted == 0, "process {pid} may do {set:x}");
        }
        ensure!(status(pid, "NoNewPrivs")? == "1" && status(pid, "CapBnd")? == "0000000000000000");
    }
    let network = |pid: u64| fs::read_link(format!("/proc/{pid}/ns/net"));
    ensure!(network(attacher)? != network(u64::from(agent.pid()))?, "both have the same network");
    ensure!(sockets(attacher)?.len() == 1, "{:?}", sockets(attacher)?);

    // Both end together, whoever ends first, and leave nothing behind.
    let objects = Objects::of(agent.pid())?;
    let of_attacher = Objects::of(u32::try_from(attacher)?)?;
    agent.signal(libc::SIGKILL)?;
    drop(agent);
    objects.expect_gone()?;
    of_attacher.expect_gone()?;
    // Whoever inherits it may not have waited for it.
    let start = std::time::Instant::now();
    while status(attacher, "State").is_ok_and(|state| !state.starts_with('Z')) {
        ensure!(start.elapsed() < Duration::from_secs(5), "it runs without its agent");
        std::thread::sleep(Duration::from_millis(20));
    }
    client.run("first.ping(); second.ping()")
}

/// A session that has ended makes place for another one under its address, while its socket is there until its peer has
/// closed, too.
#[test]
fn an_address_that_is_used_again() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let [certificate, key] = make_certificate(folder.path())?;
    let names = [unique_name("served"), unique_name("again")];
    let (mut server, mut client) = (Puppet::start(&names[0])?, Puppet::start(&names[1])?);
    let port = server.listen()?;
    server.run(&format!(
        "import ssl; context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); \
         context.load_cert_chain('{certificate}', '{key}'); held = []"
    ))?;
    server.run("def accept(): held.append(context.wrap_socket(listener.accept()[0], server_side=True))")?;
    server.run("def hear(data=b''): return data if data.endswith(b'PING\\r\\n') else hear(data + held[-1].recv(100))")?;
    server.run("def answer(times): [(hear(), held[-1].sendall(b'+PONG\\r\\n')) for _ in range(times)]")?;
    client.run("import socket, ssl; context = ssl._create_unverified_context()")?;
    client.run(&format!(
        "def connect(): return context.wrap_socket(socket.create_connection(('127.0.0.1', {port})))"
    ))?;
    client.run(
        "def ask(one, times): [(one.sendall(b'*1\\r\\n$4\\r\\nPING\\r\\n'), one.recv(100)) for _ in range(times)]",
    )?;
    let agent = reading()?;
    let mut asked = 10.0;
    let mut ask = |server: &mut Puppet, client: &mut Puppet, times: u32| -> anyhow::Result<()> {
        server.tell(&format!("answer({times})"))?;
        client.run(&format!("ask(one, {times})"))?;
        server.answer()?;
        asked += f64::from(times);
        Ok(())
    };
    for _ in 0..10 {
        server.tell("accept()")?;
        client.run("one = connect()")?;
        server.answer()?;
        ask(&mut server, &mut client, 2)?;
        // The server has not closed it yet.
        client.run("one.close(); del one")?;
        server.tell("accept()")?;
        client.run("one = connect()")?;
        server.answer()?;
        ask(&mut server, &mut client, 1)?;
        // In the middle of a command, where a session that is forgotten would show.
        client.run("one.sendall(b'*1\\r\\n$4\\r\\nPI')")?;
        server.run("held.pop(0).close()")?;
        client.run("one.sendall(b'NG\\r\\n')")?;
        server.run("answer(1)")?;
        client.run("one.recv(100)")?;
        ask(&mut server, &mut client, 5)?;
        client.run("one.close(); del one")?;
        server.run("held.pop(0).close()")?;
    }
    let server_label = format!("127.0.0.1:{port}");
    for view in [View::client(&names[1], &server_label), View::server(&names[0], &server_label)] {
        view.expect(&agent, &asked, |view, metrics| view.command(metrics, "ping"))?;
    }
    nothing_lost(&agent)
}

#[test]
fn an_agent_whose_attacher_ends_goes_on() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&["--tls", "follow"])?;
    let attacher = agent.json("/status")?["tls_attacher"].as_u64().context("nobody attaches")?;
    // SAFETY: a child of an agent of this test's own, which has not ended.
    let outcome = unsafe { libc::kill(libc::pid_t::try_from(attacher)?, libc::SIGKILL) };
    ensure!(outcome == 0, "it was there");
    let start = std::time::Instant::now();
    while !agent.json("/status")?["tls_attacher"].is_null() {
        ensure!(start.elapsed() < Duration::from_secs(10), "the agent has not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(agent.log().iter().any(|line| line.contains("no more TLS libraries")), "{:?}", agent.log());
    ensure!(agent.stop()?.success(), "it ends as ever");
    Ok(())
}
