//! Ways to send and to receive that few programs use, inside a WebSocket: what can be read is counted to the byte,
//! and what cannot is counted as bytes and told of (docs/metrics.md, `observer_unparsed_bytes_total`).

// needs: websocket
// makes: messages
// takes: 12 s

use observer_tests::agent::Agent;
use observer_tests::metrics::{Metrics, unparsed};
use observer_tests::puppet::Puppet;
use observer_tests::talk::Talk;

/// An agent, two ends of a WebSocket that know these calls, and what was counted before they make any.
struct Scene {
    agent: Agent,
    talk: Talk,
    before: Metrics,
}

impl Scene {
    fn open(names: [&str; 2]) -> anyhow::Result<Self> {
        let agent = Agent::start(&[])?;
        let mut talk = Talk::open(names)?;
        for puppet in [&mut talk.client, &mut talk.server] {
            puppet.run("from rare_calls import *")?;
        }
        let before = agent.scrape()?;
        Ok(Self { agent, talk, before })
    }

    fn since(&self, now: &Metrics, count: impl Fn(&Metrics) -> f64) -> f64 {
        count(now) - count(&self.before)
    }

    /// Messages and bytes of a process since then, by direction: sent, received.
    fn counted(&self, now: &Metrics, process: &str) -> [[f64; 2]; 2] {
        ["sent", "received"].map(|direction| {
            let labels = [("process", process), ("direction", direction)];
            ["observer_websocket_messages_total", "observer_bytes_total"]
                .map(|family| self.since(now, |metrics| metrics.sum(family, &labels)))
        })
    }

    /// Bytes since then that could not be read.
    fn unparsed(&self, now: &Metrics, reason: &str) -> f64 {
        self.since(now, |metrics| unparsed(metrics, reason))
    }
}

/// Its bytes lie in pages that the kernel holds. What is sent and received in other ways is in `io_uring.rs`.
#[test]
fn io_uring_with_registered_buffers() -> anyhow::Result<()> {
    let mut scene = Scene::open(["fixed-client", "fixed-server"])?;
    assert_eq!(scene.talk.client.number("ring_write_registered(one, frame(100, True))")?, 106.0);
    scene.talk.server.run("receive([one], 106); one.sendall(frame(200, False))")?;
    assert_eq!(scene.talk.client.number("ring_read_registered(one, 204)")?, 204.0);
    let metrics = scene.agent.scrape()?;
    assert_eq!(scene.counted(&metrics, "fixed-client"), [[0.0, 106.0], [0.0, 204.0]], "{}", metrics.text());
    assert_eq!(scene.counted(&metrics, "fixed-server"), [[1.0, 204.0], [1.0, 106.0]]);
    assert_eq!(scene.unparsed(&metrics, "io_uring"), 310.0);
    Ok(())
}

#[test]
fn one_request_of_io_uring_that_receives_on_and_on() -> anyhow::Result<()> {
    let mut scene = Scene::open(["shots-client", "shots-server"])?;
    scene.talk.client.tell("ring_receive_on_and_on(one, 10 * 96)")?;
    scene.talk.server.run("for _ in range(10): one.sendall(frame(94, False)); time.sleep(0.02)")?;
    // One request, which is completed many times, or else it fails.
    scene.talk.client.answer()?;
    let metrics = scene.agent.scrape()?;
    assert_eq!(scene.counted(&metrics, "shots-client"), [[0.0, 0.0], [10.0, 960.0]], "{}", metrics.text());
    assert_eq!(scene.counted(&metrics, "shots-server"), [[10.0, 960.0], [0.0, 0.0]]);
    assert_eq!(scene.unparsed(&metrics, "io_uring"), 0.0);
    Ok(())
}

/// The kernel sends from the process's own pages, which are there to be read all the same.
#[test]
fn sent_without_a_copy() -> anyhow::Result<()> {
    let mut scene = Scene::open(["zc-client", "zc-server"])?;
    // SO_ZEROCOPY and MSG_ZEROCOPY (include/uapi/asm-generic/socket.h, include/linux/socket.h).
    scene.talk.client.run("one.setsockopt(socket.SOL_SOCKET, 60, 1)")?;
    scene.talk.server.tell("receive([one], 3 * 50_008)")?;
    scene.talk.client.run("frames = frame(50_000, True) * 3")?;
    scene.talk.client.run("at = 0")?;
    while scene.talk.client.number("len(frames) - at")? > 0.0 {
        scene.talk.client.run("at += one.send(frames[at:], 0x4000000)")?;
    }
    scene.talk.server.answer()?;
    let metrics = scene.agent.scrape()?;
    assert_eq!(scene.counted(&metrics, "zc-client"), [[3.0, 150_024.0], [0.0, 0.0]], "{}", metrics.text());
    assert_eq!(scene.counted(&metrics, "zc-server"), [[0.0, 0.0], [3.0, 150_024.0]]);
    for reason in ["fault", "other"] {
        assert_eq!(scene.unparsed(&metrics, reason), 0.0, "{reason}");
    }
    Ok(())
}

/// `MSG_TRUNC` takes bytes from a stream and puts them nowhere: no matter inside a payload.
#[test]
fn bytes_that_nobody_reads() -> anyhow::Result<()> {
    let mut scene = Scene::open(["trunc-client", "trunc-server"])?;
    let take = |server: &mut Puppet, count: u32| -> anyhow::Result<()> {
        server.run(&format!("left = {count}"))?;
        while server.number("left")? > 0.0 {
            server.run("left -= len(one.recv(left, socket.MSG_TRUNC))")?;
        }
        Ok(())
    };
    scene.talk.client.run("one.sendall(frame(10_000, True))")?;
    scene.talk.server.run("receive([one], 1_000)")?;
    take(&mut scene.talk.server, 9_008)?;
    scene.talk.client.run("one.sendall(frame(50, True))")?;
    scene.talk.server.run("receive([one], 56)")?;
    let metrics = scene.agent.scrape()?;
    assert_eq!(scene.counted(&metrics, "trunc-server")[1], [2.0, 10_064.0], "{}", metrics.text());
    assert_eq!(scene.unparsed(&metrics, "other"), 0.0);
    // A header in them is not seen, nor is the message.
    scene.talk.client.run("one.sendall(frame(50, True))")?;
    take(&mut scene.talk.server, 56)?;
    let metrics = scene.agent.scrape()?;
    assert_eq!(scene.counted(&metrics, "trunc-server")[1], [2.0, 10_120.0]);
    assert_eq!(scene.unparsed(&metrics, "other"), 56.0);
    Ok(())
}

/// `MSG_WAITALL`: TCP has gone on for seconds before the call is over, as it does when bytes are spliced away.
#[test]
fn a_receive_that_waits_for_all_of_it() -> anyhow::Result<()> {
    let mut scene = Scene::open(["wait-client", "wait-server"])?;
    // Longer than the agent takes to find bytes that moved unseen.
    let half = |scene: &mut Scene, count: u32, at: u32| -> anyhow::Result<()> {
        scene.talk.server.tell(&format!("assert len(one.recv({count}, socket.MSG_WAITALL)) == {count}"))?;
        scene
            .talk
            .client
            .run(&format!("one.sendall(frames[:{at}]); time.sleep(4); one.sendall(frames[{at}:])"))?;
        scene.talk.server.answer()?;
        Ok(())
    };
    let desyncs = |metrics: &Metrics| metrics.sum("observer_desyncs_total", &[("reason", "gap")]);

    // Inside a payload: nothing is lost.
    scene.talk.client.run("frames = frame(10_000, True); one.sendall(frames[:8]); frames = frames[8:]")?;
    scene.talk.server.run("receive([one], 8)")?;
    half(&mut scene, 10_000, 5_000)?;
    let metrics = scene.agent.scrape()?;
    assert_eq!(scene.counted(&metrics, "wait-server")[1], [1.0, 10_008.0], "{}", metrics.text());
    assert_eq!(scene.since(&metrics, desyncs), 0.0);

    // With headers among what came before: in sync again once the call's bytes can be read.
    scene.talk.client.run("frames = frame(100, True) * 3")?;
    half(&mut scene, 318, 150)?;
    let metrics = scene.agent.scrape()?;
    assert_eq!(scene.counted(&metrics, "wait-server")[1], [4.0, 10_326.0], "{}", metrics.text());
    assert_eq!(scene.since(&metrics, desyncs), 1.0);

    scene.talk.client.run("one.sendall(frame(50, True))")?;
    scene.talk.server.run("receive([one], 56)")?;
    let metrics = scene.agent.scrape()?;
    assert_eq!(scene.counted(&metrics, "wait-server")[1], [5.0, 10_382.0]);
    assert_eq!(scene.counted(&metrics, "wait-client")[0], [5.0, 10_382.0]);
    assert_eq!(metrics.sum("observer_unsynchronised_connections", &[("protocol", "websocket")]), 0.0);
    Ok(())
}
