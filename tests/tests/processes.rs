//! Bytes are counted for the process that moves them, whoever opened the connection.

// needs: nothing
// takes: 8 s

use observer_tests::agent::Agent;
use observer_tests::metrics::{Metrics, bytes};
use observer_tests::puppet::Puppet;

#[test]
fn a_child_that_serves_what_its_parent_accepted() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("fork-client")?, Puppet::start("fork-parent")?);
    let port = server.listen()?;
    client.run(&format!("first = connect(('127.0.0.1', {port})); send([first], 5000)"))?;
    server.run("other = listener.accept()[0]")?;
    let status = server.number(
        "run_child(lambda: (name_process('fork-child'), receive([other], 5000), send([other], 700), other.close()))",
    )?;
    assert_eq!(status, 0.0);
    server.run("other.close()")?;
    client.run("receive([first], 700); first.close()")?;
    let metrics = agent.wait_until("the client's end", |metrics| {
        metrics.sum("observer_connections_closed_total", &[("process", "fork-client")]) == 1.0
    })?;
    // The child is gone; what it did is not.
    assert_eq!(bytes(&metrics, "fork-child", "received"), 5000.0, "{}", metrics.text());
    assert_eq!(bytes(&metrics, "fork-child", "sent"), 700.0);
    assert_eq!(bytes(&metrics, "fork-parent", "received"), 0.0);
    assert_eq!(bytes(&metrics, "fork-parent", "sent"), 0.0);
    Ok(())
}

#[test]
fn parent_and_child_that_share_a_connection() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("share-client")?, Puppet::start("share-parent")?);
    let port = server.listen()?;
    client.run(&format!("first = connect(('127.0.0.1', {port})); send([first], 5000)"))?;
    server.run("other = listener.accept()[0]; receive([other], 1000)")?;
    let child = "run_child(lambda: (name_process('share-child'), receive([other], 1500), send([other], 70)))";
    assert_eq!(server.number(child)?, 0.0);
    server.run("receive([other], 2500); send([other], 30)")?;
    client.run("receive([first], 100)")?;
    let metrics = agent.scrape()?;
    assert_eq!(bytes(&metrics, "share-child", "received"), 1500.0, "{}", metrics.text());
    assert_eq!(bytes(&metrics, "share-child", "sent"), 70.0);
    assert_eq!(bytes(&metrics, "share-parent", "received"), 3500.0);
    assert_eq!(bytes(&metrics, "share-parent", "sent"), 30.0);
    // It is one connection all along.
    let opened = |process| metrics.sum("observer_connections_opened_total", &[("process", process)]);
    assert_eq!(opened("share-parent") + opened("share-child"), 1.0);
    assert_eq!(metrics.sum("observer_connections", &[("process", "share-parent")]), 1.0);
    client.run("first.close()")?;
    server.run("other.close()")?;
    agent.wait_until("one close", |metrics| {
        metrics.sum("observer_connections_closed_total", &[("process", "share-parent")]) == 1.0
            && metrics.sum("observer_connections", &[("process", "share-parent")]) == 0.0
    })?;
    Ok(())
}

#[test]
fn a_process_that_executes_another_program() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("exec-client")?, Puppet::start("exec-before")?);
    let port = server.listen()?;
    client.run(&format!("first = connect(('127.0.0.1', {port})); send([first], 5000)"))?;
    server.run("other = listener.accept()[0]; receive([other], 2000); send([other], 11)")?;
    let pid = server.pid();
    server.run("become('exec-after', other)")?;
    server.run("receive([inherited], 3000); send([inherited], 22)")?;
    assert_eq!(server.number("os.getpid()")?, f64::from(pid), "it is the same process");
    client.run("receive([first], 33)")?;
    let metrics = agent.scrape()?;
    assert_eq!(bytes(&metrics, "exec-before", "received"), 2000.0, "{}", metrics.text());
    assert_eq!(bytes(&metrics, "exec-before", "sent"), 11.0);
    assert_eq!(bytes(&metrics, "exec-after", "received"), 3000.0);
    assert_eq!(bytes(&metrics, "exec-after", "sent"), 22.0);
    assert_eq!(metrics.sum("observer_connections", &[("process", "exec-after")]), 1.0);
    assert_eq!(metrics.sum("observer_connections", &[("process", "exec-before")]), 0.0);
    client.run("first.close()")?;
    server.run("inherited.close()")?;
    agent.wait_until("one close", |metrics| {
        metrics.sum("observer_connections_closed_total", &[("process", "exec-after")]) == 1.0
    })?;
    Ok(())
}

#[test]
fn a_descriptor_passed_to_another_process() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut giver, mut taker) =
        (Puppet::start("give-client")?, Puppet::start("giver")?, Puppet::start("taker")?);
    let port = giver.listen()?;
    let path = format!("'@observer-give-{}'", std::process::id());
    taker.run(&format!("waiting = listen({path})"))?;
    giver.run(&format!("channel = connect({path})"))?;
    taker.run("channel = waiting.accept()[0]")?;
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 5); send(opened, 4000)"))?;
    giver.run("served = accept_all(listener, 5); receive(served, 1500)")?;
    giver.run("[give(channel, one) for one in served]")?;
    taker.run("served = [take(channel) for _ in range(5)]; receive(served, 2500); send(served, 900)")?;
    client.run("receive(opened, 900)")?;
    let server = |metrics: &Metrics, process, direction| {
        let labels =
            [("process", process), ("role", "server"), ("direction", direction), ("protocol", "unknown")];
        metrics.sum("observer_bytes_total", &labels)
    };
    let metrics = agent.scrape()?;
    assert_eq!(server(&metrics, "giver", "received"), 7500.0, "{}", metrics.text());
    assert_eq!(server(&metrics, "giver", "sent"), 0.0);
    // The channel's own bytes, one for each descriptor, are the only others that it received.
    assert_eq!(server(&metrics, "taker", "received"), 12_500.0 + 5.0);
    assert_eq!(server(&metrics, "taker", "sent"), 4500.0);
    client.run("close_all(opened)")?;
    taker.run("close_all(served)")?;
    let metrics = agent.wait_until("all are closed", |metrics| {
        metrics.sum("observer_connections_closed_total", &[("process", "taker"), ("role", "server")]) == 5.0
    })?;
    assert_eq!(
        metrics.sum("observer_connections_closed_total", &[("process", "giver"), ("role", "server")]),
        0.0
    );
    Ok(())
}

#[test]
fn workers_that_share_a_port() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let mut client = Puppet::start("port-client")?;
    let names = ["port-one", "port-two", "port-three"];
    let mut workers = Vec::new();
    let mut port = 0.0;
    for name in names {
        let mut worker = Puppet::start(name)?;
        worker.run(&format!("listener = listen(('127.0.0.1', {port}), reuse_port=True)"))?;
        port = worker.number("port(listener)")?;
        workers.push(worker);
    }
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 120); send(opened, 333)"))?;
    let mut all = 0.0;
    for (worker, name) in workers.iter_mut().zip(names) {
        // Each serves what the kernel gave it, and knows how much that was.
        worker.run("listener.setblocking(False); served = []; more = True")?;
        worker.run("import select")?;
        let count = worker.number(
            "[served.append(listener.accept()[0]) for _ in iter(lambda: select.select([listener], [], [], 0)[0], [])] and len(served)",
        )?;
        worker.run("[one.setblocking(True) for one in served]; receive(served, 333)")?;
        all += count;
        let metrics = agent.scrape()?;
        assert_eq!(metrics.sum("observer_connections_opened_total", &[("process", name)]), count);
        assert_eq!(bytes(&metrics, name, "received"), count * 333.0);
    }
    assert_eq!(all, 120.0);
    assert_eq!(bytes(&agent.scrape()?, "port-client", "sent"), 120.0 * 333.0);
    Ok(())
}

#[test]
fn what_a_process_did_outlives_it_whoever_looks() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("last-client")?, Puppet::start("last-server")?);
    let port = server.listen()?;
    client.run(&format!("first = connect(('127.0.0.1', {port})); send([first], 100)"))?;
    server.run("other = listener.accept()[0]; receive([other], 100)")?;
    assert_eq!(bytes(&agent.scrape()?, "last-client", "sent"), 100.0);
    client.run("send([first], 23)")?;
    client.finish()?;
    server.run("receive_to_end(other); other.close()")?;
    // The client is gone. Its last 23 bytes are not, for nobody.
    for _ in 0..3 {
        let metrics = agent.scrape()?;
        let labels = [("process", "last-client")];
        assert_eq!(bytes(&metrics, "last-client", "sent"), 123.0, "{}", metrics.text());
        assert_eq!(metrics.sum("observer_connections_closed_total", &labels), 1.0);
        assert_eq!(bytes(&metrics, "last-server", "received"), 123.0);
    }
    Ok(())
}

#[test]
fn a_process_that_came_and_went_between_two_scrapes() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let mut server = Puppet::start("passing-server")?;
    let port = server.listen()?;
    agent.scrape()?;
    for _ in 0..3 {
        let mut client = Puppet::start("passing-client")?;
        client.run(&format!("first = connect(('127.0.0.1', {port})); send([first], 41); first.close()"))?;
        client.finish()?;
    }
    let metrics = agent.scrape()?;
    assert_eq!(bytes(&metrics, "passing-client", "sent"), 123.0, "{}", metrics.text());
    let labels = [("process", "passing-client")];
    assert_eq!(metrics.sum("observer_connections_opened_total", &labels), 3.0);
    assert_eq!(metrics.sum("observer_connections_closed_total", &labels), 3.0);
    Ok(())
}

#[test]
fn threads_are_counted_for_their_process() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server) = (Puppet::start("thr-client")?, Puppet::start("thr-server")?);
    let port = server.listen()?;
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 8)"))?;
    server.run("served = accept_all(listener, 8)")?;
    client.run("import threading")?;
    client.run("work = lambda one: (name_process('a-thread'), send([one], 12345))")?;
    client.run("threads = [threading.Thread(target=work, args=(one,)) for one in opened]")?;
    client.run("[thread.start() for thread in threads]; [thread.join() for thread in threads]")?;
    server.run("receive(served, 12345)")?;
    let metrics = agent.scrape()?;
    assert_eq!(bytes(&metrics, "thr-client", "sent"), 8.0 * 12_345.0, "{}", metrics.text());
    assert_eq!(bytes(&metrics, "a-thread", "sent"), 0.0);
    Ok(())
}

/// Whoever starts a process takes the next number.
// needs: host
// takes: 1 s
mod on_a_quiet_host {
    use super::{Agent, Metrics, Puppet, bytes};

    #[test]
    fn a_number_used_again_is_another_process() -> anyhow::Result<()> {
        let agent = Agent::start(&[])?;
        let mut server = Puppet::start("reuse-server")?;
        let port = server.listen()?;
        let mut first = Puppet::start("reuse-first")?;
        first.run(&format!("one = connect(('127.0.0.1', {port})); send([one], 100)"))?;
        server.run("other = listener.accept()[0]; receive([other], 100)")?;
        let pid = first.pid();
        assert_eq!(bytes(&agent.scrape()?, "reuse-first", "sent"), 100.0);
        first.finish()?;

        let mut second = None;
        for _ in 0..50 {
            server.run(&format!("set_last_pid({})", pid - 1))?;
            let candidate = Puppet::start("reuse-second")?;
            if candidate.pid() == pid {
                second = Some(candidate);
                break;
            }
        }
        let Some(mut second) = second else {
            anyhow::bail!("another process was always quicker to take the number")
        };
        second.run(&format!("one = connect(('127.0.0.1', {port})); send([one], 7)"))?;
        let metrics = agent.scrape()?;
        assert_eq!(bytes(&metrics, "reuse-second", "sent"), 7.0, "{}", metrics.text());
        assert_eq!(bytes(&metrics, "reuse-first", "sent"), 100.0, "it is a name of its own");
        // Its socket lives until the other side has acknowledged the end, which takes TCP a moment.
        let is_over =
            |metrics: &Metrics| metrics.sum("observer_connections", &[("process", "reuse-first")]) == 0.0;
        let metrics = agent.wait_until("the first's connection is over", is_over)?;
        assert_eq!(bytes(&metrics, "reuse-second", "sent"), 7.0);
        assert_eq!(bytes(&metrics, "reuse-first", "sent"), 100.0);
        Ok(())
    }
}
