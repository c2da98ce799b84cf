//! What the agent cannot see, parse or store is visible as such: each of these provokes one.

// needs: websocket
// makes: messages
// takes: 8 s

use observer_tests::agent::Agent;
use observer_tests::metrics::{Metrics, bytes, unparsed};
use observer_tests::puppet::{Puppet, connected};
use observer_tests::talk::Talk;

/// WebSocket connections that are out of sync, those of other processes of this host included.
fn out_of_sync(metrics: &Metrics) -> f64 {
    metrics.sum("observer_unsynchronised_connections", &[("protocol", "websocket")])
}

#[test]
fn a_limit_that_the_host_is_past_already() -> anyhow::Result<()> {
    let (mut client, mut server) = (Puppet::start("past-client")?, Puppet::start("past-server")?);
    let port = server.listen()?;
    client.run(&format!("opened = connect_all(('127.0.0.1', {port}), 10)"))?;
    server.run("served = accept_all(listener, 10)")?;
    let agent = Agent::start(&["--max-connections", "4"])?;
    let metrics = agent.scrape()?;
    assert!(metrics.sum("observer_tracked_connections", &[]) <= 4.0);
    assert!(metrics.sum("observer_untracked_connections_total", &[]) >= 16.0, "{}", metrics.text());
    client.run("send(opened, 9)")?;
    server.run("receive(served, 9)")?;
    assert_eq!(agent.get("/readyz")?, "ready\n");
    Ok(())
}

#[test]
fn a_length_that_cannot_be_followed() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let Talk { mut client, mut server } = Talk::open(["long-client", "long-server"])?;
    client.run("one.sendall(frame(10, True))")?;
    server.run("receive([one], 16)")?;
    let labels = [("protocol", "websocket"), ("reason", "length")];
    let before = agent.scrape()?;
    client.run("one.sendall(header(1 << 63, True) + filler(100))")?;
    server.run("receive([one], 114)")?;
    let metrics = agent.scrape()?;
    let desyncs =
        metrics.sum("observer_desyncs_total", &labels) - before.sum("observer_desyncs_total", &labels);
    assert_eq!(desyncs, 2.0, "one on each side: {}", metrics.text());
    assert_eq!(out_of_sync(&metrics) - out_of_sync(&before), 2.0);
    // What came before it has counted, and nothing that cannot be.
    let messages = |process| metrics.sum("observer_websocket_messages_total", &[("process", process)]);
    assert_eq!([messages("long-client"), messages("long-server")], [1.0, 1.0]);
    Ok(())
}

#[test]
fn a_file_sent_as_a_payload() -> anyhow::Result<()> {
    const SIZE: u32 = 5_000_000;
    let agent = Agent::shared()?;
    let Talk { mut client, mut server } = Talk::open(["file-client", "file-server"])?;
    let before = agent.scrape()?;
    client.tell(&format!("receive([one], {SIZE} + 10 + 22)"))?;
    server.run(&format!(
        "one.sendall(header({SIZE}, False)); send_file(one, {SIZE}); one.sendall(frame(20, False))"
    ))?;
    client.answer()?;
    let metrics = agent.scrape()?;
    for (process, role, direction) in
        [("file-server", "server", "sent"), ("file-client", "client", "received")]
    {
        let labels = [("process", process), ("role", role), ("direction", direction)];
        assert_eq!(metrics.sum("message_size_bytes_count", &labels), 2.0, "{process}: {}", metrics.text());
        assert_eq!(metrics.sum("message_size_bytes_sum", &labels), f64::from(SIZE + 20), "{process}");
        let large = [labels[0], labels[1], labels[2], ("size_category", "large")];
        assert_eq!(metrics.sum("oversized_message_total", &large), 1.0, "{process}");
        let moved = bytes(&metrics, process, direction) - bytes(&before, process, direction);
        assert_eq!(moved, f64::from(SIZE + 10 + 22), "{process}");
    }
    let labels = [("protocol", "websocket")];
    assert_eq!(metrics.sum("observer_desyncs_total", &labels), before.sum("observer_desyncs_total", &labels));
    Ok(())
}

#[test]
fn a_file_sent_where_a_header_is_expected() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let Talk { mut client, mut server } = Talk::open(["head-client", "head-server"])?;
    let before = agent.scrape()?;
    // Zeroes: a header of zero bytes after another, were they read.
    server.run("send_file(one, 3000)")?;
    client.run("receive([one], 3000)")?;
    let metrics = agent.scrape()?;
    assert_eq!(unparsed(&metrics, "splice") - unparsed(&before, "splice"), 3000.0, "{}", metrics.text());
    let labels = [("protocol", "websocket"), ("reason", "unread")];
    let desyncs =
        metrics.sum("observer_desyncs_total", &labels) - before.sum("observer_desyncs_total", &labels);
    assert_eq!(desyncs, 1.0, "the server's side");
    Ok(())
}

#[test]
fn a_file_sent_as_the_first_bytes() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server, _) = connected(["sendf-client", "sendf-server"])?;
    let before = unparsed(&agent.scrape()?, "splice");
    client.run("send_file(one, 100000)")?;
    server.run("receive([one], 100000)")?;
    let metrics = agent.scrape()?;
    assert_eq!(bytes(&metrics, "sendf-client", "sent"), 100_000.0, "{}", metrics.text());
    assert_eq!(bytes(&metrics, "sendf-server", "received"), 100_000.0);
    let hidden = unparsed(&metrics, "splice") - before;
    assert!(hidden > 0.0 && hidden <= 100_000.0, "{hidden}");
    Ok(())
}

#[test]
fn bytes_spliced_from_a_socket() -> anyhow::Result<()> {
    const SIZE: u32 = 300_000;
    let agent = Agent::shared()?;
    let (mut client, mut server, _) = connected(["splice-client", "splice-server"])?;
    client.run("send([one], 10)")?;
    server.run("receive([one], 10)")?;
    let before = unparsed(&agent.scrape()?, "splice");
    client.tell(&format!("send([one], {SIZE})"))?;
    server.run(&format!("splice_from(one, {SIZE})"))?;
    client.answer()?;
    // No call is seen to take them: found while the connection is open …
    let metrics = agent.wait_until("all bytes", |metrics| {
        bytes(metrics, "splice-server", "received") == f64::from(SIZE + 10)
    })?;
    assert_eq!(unparsed(&metrics, "splice") - before, f64::from(SIZE));
    // … and when it closes at once.
    client.tell(&format!("send([one], {SIZE}); one.close()"))?;
    server.run(&format!("splice_from(one, {SIZE})"))?;
    server.run("one.recv(1); one.close()")?;
    client.answer()?;
    let metrics = agent.wait_until("the rest", |metrics| {
        bytes(metrics, "splice-server", "received") == f64::from(2 * SIZE + 10)
    })?;
    assert_eq!(unparsed(&metrics, "splice") - before, f64::from(2 * SIZE));
    assert_eq!(bytes(&metrics, "splice-client", "sent"), f64::from(2 * SIZE + 10));
    Ok(())
}

/// A client closes in the middle of a frame, and the server reads what there is of it and the end in one call. The end
/// has a place in TCP's stream, as a byte has: it must not be taken for one that moved unseen.
#[test]
fn a_websocket_that_ends_inside_a_frame() -> anyhow::Result<()> {
    // CLOSE_WAIT (`include/net/tcp_states.h`), the first byte of TCP_INFO: the other end's FIN has come.
    const END_CAME: &str = "one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == bytes([8])";
    let agent = Agent::shared()?;
    // Inside the header, of 8 bytes, and inside the payload.
    for (number, part) in [1, 7, 8, 150].into_iter().enumerate() {
        let names = [format!("end-client-{number}"), format!("end-server-{number}")];
        let Talk { mut client, mut server } = Talk::open([&names[0], &names[1]])?;
        client.run("one.sendall(frame(50, True))")?;
        server.run("receive([one], 56)")?;
        let before = agent.scrape()?;
        client.run(&format!("one.sendall(frame(200, True)[:{part}]); one.close()"))?;
        server.run(&format!("while not {END_CAME}: time.sleep(0.001)"))?;
        assert_eq!(server.number("len(one.recv(65536))")?, f64::from(part), "in one call");
        // While the server's socket is there, and when it is not any more.
        for statement in ["None", "one.close()"] {
            server.run(statement)?;
            let metrics = agent.scrape()?;
            for (process, direction) in [(&names[0], "sent"), (&names[1], "received")] {
                let moved = bytes(&metrics, process, direction) - bytes(&before, process, direction);
                assert_eq!(moved, f64::from(part), "{process}: {}", metrics.text());
                let labels = [("process", process.as_str()), ("direction", direction)];
                assert_eq!(
                    metrics.sum("message_size_bytes_count", &labels),
                    1.0,
                    "{process}: only the whole one"
                );
            }
            let gaps = |metrics: &Metrics| {
                let labels = [("protocol", "websocket"), ("reason", "gap")];
                [metrics.sum("observer_desyncs_total", &labels), unparsed(metrics, "splice")]
            };
            assert_eq!(gaps(&metrics), gaps(&before), "after {part} bytes: {}", metrics.text());
        }
    }
    Ok(())
}

#[test]
fn io_uring_with_registered_buffers() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server, _) = connected(["ring-client", "ring-server"])?;
    for puppet in [&mut client, &mut server] {
        puppet.run("from rare_calls import *")?;
    }
    let before = agent.scrape()?;
    assert_eq!(client.number("ring_write_registered(one, filler(4000))")?, 4000.0);
    server.run("receive([one], 4000); send([one], 600)")?;
    assert_eq!(client.number("ring_read_registered(one, 600)")?, 600.0);
    let metrics = agent.scrape()?;
    assert_eq!(bytes(&metrics, "ring-client", "sent"), 4000.0, "{}", metrics.text());
    assert_eq!(bytes(&metrics, "ring-client", "received"), 600.0);
    assert_eq!(bytes(&metrics, "ring-server", "received"), 4000.0);
    // The first bytes might have told the protocol, and what came then on a connection of which they were not seen.
    assert_eq!(unparsed(&metrics, "io_uring") - unparsed(&before, "io_uring"), 4600.0);
    Ok(())
}

#[test]
fn registered_buffers_inside_a_websocket() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let Talk { mut client, mut server } = Talk::open(["ringws-client", "ringws-server"])?;
    client.run("from rare_calls import *")?;
    let before = agent.scrape()?;
    client.run("ring_write_registered(one, frame(100, True))")?;
    server.run("receive([one], 106)")?;
    let metrics = agent.scrape()?;
    let messages = |process| metrics.sum("observer_websocket_messages_total", &[("process", process)]);
    assert_eq!(messages("ringws-server"), 1.0, "its side could be read");
    assert_eq!(messages("ringws-client"), 0.0);
    assert_eq!(unparsed(&metrics, "io_uring") - unparsed(&before, "io_uring"), 106.0);
    let labels = [("protocol", "websocket"), ("reason", "unread")];
    assert_eq!(
        metrics.sum("observer_desyncs_total", &labels) - before.sum("observer_desyncs_total", &labels),
        1.0
    );
    assert_eq!(out_of_sync(&metrics) - out_of_sync(&before), 1.0);
    // With calls that can be read, it is in sync again.
    for _ in 0..3 {
        client.run("one.sendall(frame(100, True))")?;
        server.run("receive([one], 106)")?;
    }
    agent.wait_until("in sync", |metrics| out_of_sync(metrics) <= out_of_sync(&before))?;
    Ok(())
}

// Its machine code is x86's.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_program() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server, _) = connected(["compat-client", "compat-server"])?;
    client.run("from rare_calls import *")?;
    let before = unparsed(&agent.scrape()?, "compat");
    client.run("program = compat_program(one.fileno(), filler(1000))")?;
    let status = client.number("run_program([program], [one.fileno()])")?;
    client.run("os.unlink(program)")?;
    assert_eq!(status, 0.0);
    server.run("receive([one], 1000)")?;
    let metrics = agent.scrape()?;
    assert_eq!(unparsed(&metrics, "compat") - before, 1000.0, "{}", metrics.text());
    assert_eq!(bytes(&metrics, "compat-server", "received"), 1000.0);
    let sent: f64 = metrics
        .series("observer_bytes_total", &[("direction", "sent"), ("role", "client")])
        .filter(|series| series.labels["process"].starts_with("compat"))
        .map(|series| series.value)
        .sum();
    assert_eq!(sent, 1000.0, "under the program's own name");
    Ok(())
}

#[test]
fn several_messages_in_one_call() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let (mut client, mut server, _) = connected(["mmsg-client", "mmsg-server"])?;
    let before = unparsed(&agent.scrape()?, "other");
    assert_eq!(client.number("send_many(one, [filler(100), filler(2000), filler(3)])")?, 2103.0);
    server.run("receive([one], 2103)")?;
    let metrics = agent.scrape()?;
    assert_eq!(bytes(&metrics, "mmsg-client", "sent"), 2103.0, "{}", metrics.text());
    let hidden = unparsed(&metrics, "other") - before;
    assert_eq!(hidden, 2103.0, "any of them could have told the protocol");
    Ok(())
}

#[test]
fn several_websocket_messages_in_one_call() -> anyhow::Result<()> {
    let agent = Agent::shared()?;
    let Talk { mut client, mut server } = Talk::open(["mmws-client", "mmws-server"])?;
    let before = agent.scrape()?;
    client.run("send_many(one, [frame(100, True), frame(90, True)])")?;
    server.run("receive([one], 202)")?;
    let metrics = agent.scrape()?;
    assert_eq!(unparsed(&metrics, "other") - unparsed(&before, "other"), 202.0, "{}", metrics.text());
    let messages = |process| metrics.sum("observer_websocket_messages_total", &[("process", process)]);
    assert_eq!([messages("mmws-client"), messages("mmws-server")], [0.0, 2.0]);
    Ok(())
}

#[test]
fn more_records_than_the_ring_holds() -> anyhow::Result<()> {
    const FRAMES: u32 = 10_000;
    let agent = Agent::start(&["--oversized", "medium=10,large=20,huge=30"])?;
    let Talk { mut client, mut server } = Talk::open(["flood-client", "flood-server"])?;
    agent.scrape()?;
    agent.signal(libc::SIGSTOP)?;
    let flood = || -> anyhow::Result<()> {
        server.tell(&format!("receive([one], {FRAMES} * 21)"))?;
        // A call for each: more would be more headers in a call than the agent looks at.
        client.run(&format!("[one.sendall(frame(15, True)) for _ in range({FRAMES})] and None"))?;
        server.answer()?;
        Ok(())
    };
    let flooded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(flood));
    agent.signal(libc::SIGCONT)?;
    flooded.map_err(|_| anyhow::anyhow!("the flood panicked"))??;
    let metrics =
        agent.wait_until("lost records", |metrics| metrics.sum("observer_events_lost_total", &[]) > 0.0)?;
    for (process, direction) in [("flood-client", "sent"), ("flood-server", "received")] {
        let labels = [("process", process), ("direction", direction), ("size_category", "medium")];
        assert_eq!(metrics.sum("oversized_message_total", &labels), f64::from(FRAMES), "{process}");
        assert_eq!(metrics.sum("message_size_bytes_count", &labels[..2]), f64::from(FRAMES), "{process}");
    }
    let lost = metrics.sum("observer_events_lost_total", &[]);
    assert!(lost < f64::from(2 * FRAMES), "some had room: {lost}");
    assert_eq!(agent.json("/status")?["events_lost"].as_f64().map(|lost| lost > 0.0), Some(true));
    Ok(())
}
