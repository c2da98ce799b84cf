//! Connections that were open before the agent.

// needs: websocket
// makes: messages
// takes: 20 s

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::metrics::Metrics;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::peers::{Peer, Runtime, Step, closed, exchanged};
use observer_tests::websocket::sides::{Side, nothing_lost, settle};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::{FIN, REQUEST, RESPONSE, Wire};
use observer_tests::websocket::{alone, own_name};

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// Open connections of a side, whatever they speak.
fn open(metrics: &Metrics, side: &Side) -> f64 {
    metrics.sum("observer_connections", &[("process", &side.process), ("role", side.role)])
}

fn expect(what: &str, is: f64, should: f64) -> anyhow::Result<()> {
    ensure!((is - should).abs() < 0.5, "{what} is {is}, not {should}");
    Ok(())
}

fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for opcode in [Opcode::Text, Opcode::Binary] {
        steps.extend([5, 125, 126, 1_000, 65_535, 65_536, 1_000_000].map(|size| Step::message(opcode, size)));
        steps.push(Step::Message(opcode, vec![10, 200, 70_000], Some(8)));
        steps.push(Step::Ping(3));
    }
    steps
}

/// A client and a server, connected twice before the agent starts.
fn connected_before(runtime: Runtime, listen: &str) -> anyhow::Result<()> {
    let _alone = alone();
    let (mut server, address) = Peer::server(runtime, listen, "plain")?;
    let mut client = Peer::client(runtime, &address, "plain", 2)?;
    client.take(&steps())?;
    server.side.open = 2;

    let agent = Agent::start(&[])?;
    let first = agent.scrape()?;
    for side in [&client.side, &server.side] {
        // Python's event loop wakes itself through a pair of sockets, neither of which was accepted.
        let own = if runtime == Runtime::Python && side.role == "client" { 2.0 } else { 0.0 };
        expect(&format!("open connections of the {}", side.role), open(&first, side), 2.0 + own)?;
        let labels = [("process", side.process.as_str())];
        expect("connections opened", first.sum("observer_connections_opened_total", &labels), 0.0)?;
    }

    let traffic = client.take(&steps())?;
    exchanged(&mut client.side, &mut server.side, &traffic);
    nothing_lost(&agent, &settle(&agent, &[&client.side, &server.side])?)?;

    client.close(1000)?;
    for _ in 0..2 {
        closed(&mut client.side, &mut server.side, "1000");
    }
    nothing_lost(&agent, &settle(&agent, &[&client.side, &server.side])?)
}

#[test]
fn python() -> anyhow::Result<()> {
    connected_before(Runtime::Python, "tcp")
}

#[test]
fn node() -> anyhow::Result<()> {
    connected_before(Runtime::Node, "tcp")
}

#[test]
fn python_over_a_unix_socket() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    connected_before(Runtime::Python, path.to_str().context("a path")?)
}

#[test]
fn node_over_a_unix_socket() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    connected_before(Runtime::Node, path.to_str().context("a path")?)
}

/// What is sent in one direction around the agent's start.
#[derive(Clone, Copy, Debug)]
struct Middle {
    /// How the frame starts that is in progress.
    first: u8,
    /// Its payload.
    length: usize,
    /// How much of that has passed before the agent starts.
    before: usize,
    /// Whether a continuation of the message follows.
    continued: bool,
    /// Messages after it until the agent must be in sync: one that has looked at long payload in vain looks
    /// at fewer calls.
    search: usize,
}

const MIDDLES: [Middle; 4] = [
    // Between two frames.
    Middle { first: FIN | 1, length: 100, before: 100, continued: false, search: 0 },
    // In a long frame.
    Middle { first: FIN | 2, length: 10_000_000, before: 1_000_000, continued: false, search: 40 },
    // In a long fragment.
    Middle { first: 2, length: 3_000_000, before: 70_000, continued: true, search: 40 },
    // Between two fragments.
    Middle { first: 1, length: 500, before: 500, continued: true, search: 0 },
];

/// Whatever was in progress: once in sync, every message is counted, and none that the agent has not seen begin.
#[test]
fn streams_in_progress() -> anyhow::Result<()> {
    const MESSAGES: usize = 20;
    let _alone = alone();
    let name = own_name()?;
    for middle in MIDDLES {
        for make in [|| Pair::tcp("127.0.0.1"), || Pair::tcp("::1"), Pair::unix] {
            eprintln!("{middle:?}");
            let pair = make()?;
            pair.ask(REQUEST, WRITE, READ)?;
            pair.answer(RESPONSE, WRITE, READ)?;
            let mut rests = Vec::new();
            for mut wire in [Wire::client(), Wire::server()] {
                wire.raw(middle.first, &vec![b'x'; middle.length]);
                let rest = wire.bytes.split_off(wire.bytes.len() - (middle.length - middle.before));
                rests.push(rest);
                if wire.bytes[1] & 0x80 != 0 {
                    pair.ask(&wire.bytes, WRITE, READ)?;
                } else {
                    pair.answer(&wire.bytes, WRITE, READ)?;
                }
            }

            let agent = Agent::start(&[])?;
            pair.ask(&rests[0], WRITE, READ)?;
            pair.answer(&rests[1], WRITE, READ)?;
            if middle.continued {
                let (mut asked, mut answered) = (Wire::client(), Wire::server());
                asked.frame(Opcode::Continuation, FIN, 50);
                answered.frame(Opcode::Continuation, FIN, 50);
                pair.ask(&asked.bytes, WRITE, READ)?;
                pair.answer(&answered.bytes, WRITE, READ)?;
            }
            let mut before = [0.0; 4];
            if middle.search > 0 {
                chat(&pair, middle.search)?;
                let metrics = agent.wait_until("in sync", |metrics| {
                    let labels = [("process", name.as_str())];
                    metrics.sum("observer_websocket_connections", &labels) > 1.0
                        && metrics.sum("observer_unsynchronised_connections", &[("protocol", "websocket")])
                            < 1.0
                })?;
                before = counts(&metrics, &name);
            }
            chat(&pair, MESSAGES)?;
            agent.wait_until("all messages are counted", |metrics| {
                counts(metrics, &name).iter().zip(before).all(|(is, was)| is - was >= MESSAGES as f64)
            })?;
            let metrics = agent.scrape()?;
            for ((is, was), what) in counts(&metrics, &name).into_iter().zip(before).zip(COUNTED) {
                expect(&format!("{what:?}"), is - was, MESSAGES as f64)?;
            }
            nothing_lost(&agent, &metrics)?;
        }
    }
    Ok(())
}

/// What [`chat`] sends: role, direction, type.
const COUNTED: [[&str; 3]; 4] = [
    ["client", "sent", "text"],
    ["client", "received", "binary"],
    ["server", "sent", "binary"],
    ["server", "received", "text"],
];

fn counts(metrics: &Metrics, process: &str) -> [f64; 4] {
    COUNTED.map(|[role, direction, kind]| {
        let labels = [("process", process), ("role", role), ("direction", direction), ("type", kind)];
        metrics.sum("observer_websocket_messages_total", &labels)
    })
}

/// A message to and fro, a number of times.
fn chat(pair: &Pair, times: usize) -> anyhow::Result<()> {
    for number in 0..times {
        let (mut asked, mut answered) = (Wire::client(), Wire::server());
        asked.message(Opcode::Text, 10 + number);
        answered.message(Opcode::Binary, 300 + number);
        pair.ask(&asked.bytes, WRITE, READ)?;
        pair.answer(&answered.bytes, WRITE, READ)?;
    }
    Ok(())
}

/// Large messages that flow while the agent starts: from the next pause on, everything is counted.
fn under_load(runtime: Runtime) -> anyhow::Result<()> {
    const MESSAGES: usize = 30;
    let _alone = alone();
    let (server, address) = Peer::server(runtime, "tcp", "plain")?;
    let mut client = Peer::client(runtime, &address, "plain", 1)?;
    let flowing = thread::spawn(move || {
        let mut steps = vec![Step::message(Opcode::Binary, 3_000_000); 60];
        steps.extend(vec![Step::Message(Opcode::Text, vec![1_000_000, 400_000, 70_000], Some(5)); 60]);
        client.take(&steps).map(|_| client)
    });
    thread::sleep(Duration::from_millis(300));
    let agent = Agent::start(&[])?;
    let mut client = flowing.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
    client.take(&vec![Step::message(Opcode::Text, 5); 5])?;

    let count = |metrics: &Metrics, side: &Side, direction| {
        let labels = [("process", side.process.as_str()), ("direction", direction), ("type", "binary")];
        metrics.sum("observer_websocket_messages_total", &labels)
    };
    let before = agent.wait_until("in sync", |metrics| {
        metrics.sum("observer_unsynchronised_connections", &[("protocol", "websocket")]) < 1.0
            && [&client.side, &server.side].iter().all(|side| {
                metrics
                    .sum("observer_websocket_connections", &[("process", &side.process), ("role", side.role)])
                    > 0.0
            })
    })?;
    client.take(&vec![Step::message(Opcode::Binary, 70_000); MESSAGES])?;
    for side in [&client.side, &server.side] {
        for direction in ["sent", "received"] {
            let was = count(&before, side, direction);
            agent.wait_until("the rest is counted", |metrics| {
                count(metrics, side, direction) >= was + MESSAGES as f64
            })?;
            let is = count(&agent.scrape()?, side, direction);
            expect(&format!("{direction} by the {}", side.role), is - was, MESSAGES as f64)?;
        }
    }
    Ok(())
}

#[test]
fn python_under_load() -> anyhow::Result<()> {
    under_load(Runtime::Python)
}

#[test]
fn node_under_load() -> anyhow::Result<()> {
    under_load(Runtime::Node)
}
