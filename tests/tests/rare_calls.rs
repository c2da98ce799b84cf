//! Ways to send and to receive that few programs use, inside a WebSocket: what can be read is counted to the byte,
//! and what cannot is counted as bytes and told of (docs/metrics.md, `observer_unparsed_bytes_total`).

use observer_tests::agent::Agent;
use observer_tests::metrics::Metrics;
use observer_tests::talk::Talk;

/// Messages and bytes of a process, by direction: sent, received.
fn counted(metrics: &Metrics, process: &str) -> [[f64; 2]; 2] {
    ["sent", "received"].map(|direction| {
        ["observer_websocket_messages_total", "observer_bytes_total"]
            .map(|family| metrics.sum(family, &[("process", process), ("direction", direction)]))
    })
}

fn unparsed(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("observer_unparsed_bytes_total", &[("reason", reason)])
}

/// An agent, and two ends of a WebSocket that know these calls.
fn open(names: [&str; 2]) -> anyhow::Result<(Agent, Talk, Metrics)> {
    let agent = Agent::start(&[])?;
    let mut talk = Talk::open(names)?;
    for puppet in [&mut talk.client, &mut talk.server] {
        puppet.run("from rare_calls import *")?;
    }
    let before = agent.scrape()?;
    Ok((agent, talk, before))
}

/// What has been counted since.
fn since(now: [[f64; 2]; 2], before: [[f64; 2]; 2]) -> [[f64; 2]; 2] {
    [0, 1].map(|direction| [0, 1].map(|what| now[direction][what] - before[direction][what]))
}

#[test]
fn io_uring_with_registered_buffers() -> anyhow::Result<()> {
    let (agent, mut talk, before) = open(["fixed-client", "fixed-server"])?;
    assert_eq!(talk.client.number("ring_write_registered(one, frame(100, True))")?, 106.0);
    talk.server.run("receive([one], 106); one.sendall(frame(200, False))")?;
    assert_eq!(talk.client.number("ring_read_registered(one, 204)")?, 204.0);
    let metrics = agent.scrape()?;
    let count = |process| since(counted(&metrics, process), counted(&before, process));
    assert_eq!(count("fixed-client"), [[0.0, 106.0], [0.0, 204.0]], "{}", metrics.text());
    assert_eq!(count("fixed-server"), [[1.0, 204.0], [1.0, 106.0]]);
    assert_eq!(unparsed(&metrics, "io_uring") - unparsed(&before, "io_uring"), 310.0);
    Ok(())
}

#[test]
fn one_request_of_io_uring_that_receives_on_and_on() -> anyhow::Result<()> {
    let (agent, mut talk, before) = open(["shots-client", "shots-server"])?;
    talk.client.tell("ring_receive_on_and_on(one, 10 * 96)")?;
    talk.server.run("for _ in range(10): one.sendall(frame(94, False)); time.sleep(0.02)")?;
    // One request, which is completed many times, or else it fails.
    talk.client.answer()?;
    let metrics = agent.scrape()?;
    let count = |process| since(counted(&metrics, process), counted(&before, process));
    assert_eq!(count("shots-client"), [[0.0, 0.0], [0.0, 960.0]], "{}", metrics.text());
    assert_eq!(count("shots-server"), [[10.0, 960.0], [0.0, 0.0]]);
    assert_eq!(unparsed(&metrics, "io_uring") - unparsed(&before, "io_uring"), 960.0);
    Ok(())
}

/// The kernel sends from the process's own pages, which are there to be read all the same.
#[test]
fn sent_without_a_copy() -> anyhow::Result<()> {
    let (agent, mut talk, before) = open(["zc-client", "zc-server"])?;
    // SO_ZEROCOPY and MSG_ZEROCOPY (include/uapi/asm-generic/socket.h, include/linux/socket.h).
    talk.client.run("one.setsockopt(socket.SOL_SOCKET, 60, 1)")?;
    talk.server.tell("receive([one], 3 * 50_008)")?;
    talk.client.run("frames = frame(50_000, True) * 3")?;
    talk.client.run("at = 0")?;
    while talk.client.number("len(frames) - at")? > 0.0 {
        talk.client.run("at += one.send(frames[at:], 0x4000000)")?;
    }
    talk.server.answer()?;
    let metrics = agent.scrape()?;
    let count = |process| since(counted(&metrics, process), counted(&before, process));
    assert_eq!(count("zc-client"), [[3.0, 150_024.0], [0.0, 0.0]], "{}", metrics.text());
    assert_eq!(count("zc-server"), [[0.0, 0.0], [3.0, 150_024.0]]);
    for reason in ["fault", "other"] {
        assert_eq!(unparsed(&metrics, reason), unparsed(&before, reason), "{reason}");
    }
    Ok(())
}

/// `MSG_TRUNC` takes bytes from a stream and puts them nowhere: no matter inside a payload.
#[test]
fn bytes_that_nobody_reads() -> anyhow::Result<()> {
    let (agent, mut talk, before) = open(["trunc-client", "trunc-server"])?;
    let take = |talk: &mut Talk, count: u32| -> anyhow::Result<()> {
        talk.server.run(&format!("left = {count}"))?;
        while talk.server.number("left")? > 0.0 {
            talk.server.run("left -= len(one.recv(left, socket.MSG_TRUNC))")?;
        }
        Ok(())
    };
    talk.client.run("one.sendall(frame(10_000, True))")?;
    talk.server.run("receive([one], 1_000)")?;
    take(&mut talk, 9_008)?;
    talk.client.run("one.sendall(frame(50, True))")?;
    talk.server.run("receive([one], 56)")?;
    let metrics = agent.scrape()?;
    let received =
        |metrics: &Metrics| since(counted(metrics, "trunc-server"), counted(&before, "trunc-server"))[1];
    assert_eq!(received(&metrics), [2.0, 10_064.0], "{}", metrics.text());
    assert_eq!(unparsed(&metrics, "other"), unparsed(&before, "other"));
    // A header in them is not seen, nor is the message.
    talk.client.run("one.sendall(frame(50, True))")?;
    take(&mut talk, 56)?;
    let metrics = agent.scrape()?;
    assert_eq!(received(&metrics), [2.0, 10_120.0]);
    assert_eq!(unparsed(&metrics, "other") - unparsed(&before, "other"), 56.0);
    Ok(())
}
