//! Handshakes that are not as most are: what comes before the answer, and what it agrees to.

// needs: websocket
// makes: messages
// takes: 10 s

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::puppet::Puppet;
use observer_tests::websocket::alone;
use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::peers::{Peer, Runtime};
use observer_tests::websocket::sides::settle;
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::{FIN, REQUEST, RESPONSE, RSV1, Wire};

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// RFC 9110, section 15.2.1, and RFC 8297.
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const EARLY_HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n";

/// A connection whose answer comes in these parts, and what is said on it: nothing is wrong with it.
fn converse(bench: &mut Bench, answer: &[&[u8]], wires: [&Wire; 2]) -> anyhow::Result<()> {
    let pair = Pair::tcp("127.0.0.1")?;
    pair.ask(REQUEST, WRITE, READ)?;
    for part in answer {
        pair.answer(part, WRITE, READ)?;
    }
    bench.count(REQUEST.len(), answer.iter().map(|part| part.len()).sum());
    pair.ask(&wires[0].bytes, WRITE, READ)?;
    pair.answer(&wires[1].bytes, WRITE, READ)?;
    bench.exchange(wires[0], wires[1]);
    bench.open(1);
    bench.settle()?;
    drop(pair);
    bench.close("none");
    bench.settle()
}

fn plain() -> [Wire; 2] {
    [Wire::client(), Wire::server()].map(|mut wire| {
        wire.message(Opcode::Text, 5).message(Opcode::Binary, 70_000);
        wire
    })
}

#[test]
fn interim_responses_may_come_before_the_answer() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    let [client, server] = plain();
    let (go_on, hints) = (CONTINUE.as_bytes(), EARLY_HINTS.as_bytes());
    let all = [go_on, hints, RESPONSE].concat();
    for answer in [
        &[go_on, RESPONSE][..],
        &[hints, RESPONSE],
        &[go_on, hints, hints, RESPONSE],
        &[&all],
        &[&all[..40], &all[40..]],
        &[&all[..go_on.len() + 5], &all[go_on.len() + 5..]],
        // In the status line of the answer.
        &[&all[..go_on.len() + hints.len() + 10], &all[go_on.len() + hints.len() + 10..]],
    ] {
        converse(&mut bench, answer, [&client, &server])?;
    }
    Ok(())
}

/// `ws` gets both, and is connected.
#[test]
fn a_node_client_takes_interim_responses() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let mut server = Puppet::start("hints-server")?;
    let port = server.listen()?;
    server.tell(&format!(
        "one = listener.accept()[0]; grant_upgrade(one, {:?}.encode()); one.sendall(frame(5, False))",
        [CONTINUE, EARLY_HINTS].concat()
    ))?;
    let mut client = Peer::client(Runtime::Node, &format!("ws://127.0.0.1:{port}/"), "plain", 1)?;
    server.answer()?;
    client.side.received.fragments(Opcode::Binary, &[5]);
    let metrics = settle(&agent, &[&client.side])?;
    let labels = [("process", "hints-server")];
    ensure!(metrics.sum("observer_websocket_messages_total", &labels) == 1.0, "{}", metrics.text());
    Ok(())
}

/// What an answer agrees to may set reserved bits: its messages are compressed, and break no rule.
#[test]
fn extensions_give_reserved_bits_a_meaning() -> anyhow::Result<()> {
    let _alone = alone();
    let mut bench = Bench::start()?;
    let extensions = [
        ("permessage-bzip2; server_max_compress_level=9", &[RSV1][..]),
        ("permessage-snappy", &[RSV1]),
        ("x-webkit-deflate-frame", &[RSV1]),
        ("permessage-deflate, x-vendor; level=\"2\"", &[RSV1, 0x20, 0x10, 0x70]),
    ];
    for (extension, bits) in extensions {
        let head = String::from_utf8(RESPONSE.to_vec())?;
        let answer =
            head.replacen("\r\n\r\n", &format!("\r\nSec-WebSocket-Extensions: {extension}\r\n\r\n"), 1);
        let [mut client, mut server] = plain();
        for wire in [&mut client, &mut server] {
            for bit in bits {
                wire.frame(Opcode::Binary, FIN | bit, 300);
                wire.traffic.message(Opcode::Binary, true, 300);
            }
        }
        converse(&mut bench, &[answer.as_bytes()], [&client, &server])?;
    }
    // Without one they break the rules.
    let [mut client, server] = plain();
    client.raw(FIN | RSV1 | Opcode::Binary.number(), &[0; 10]);
    bench.client.violations.insert("reserved", 1);
    bench.server.violations.insert("reserved", 1);
    converse(&mut bench, &[RESPONSE], [&client, &server])
}

/// Two services that have the same name are two rows.
#[test]
fn servers_of_one_name_are_told_apart() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let mut puppets = Vec::new();
    for messages in [2, 5] {
        let (mut client, mut server) = (Puppet::start("same-client")?, Puppet::start("same-server")?);
        let port = server.listen()?;
        client.run(&format!("one = connect(('127.0.0.1', {port})); ask_upgrade(one)"))?;
        server.run("one = listener.accept()[0]; grant_upgrade(one)")?;
        client.run(&format!("finish_upgrade(one); one.sendall(frame(9, True, 1) * {messages})"))?;
        server.run(&format!("receive([one], {})", 15 * messages))?;
        puppets.push((client, server, format!("127.0.0.1:{port}"), f64::from(messages)));
    }
    let agrees = |process: &str, direction: &str, metrics: &observer_tests::metrics::Metrics| {
        puppets.iter().all(|(_, _, server, messages)| {
            let labels = [("process", process), ("server", server.as_str())];
            let sent = [("direction", direction), ("type", "text"), labels[0], labels[1]];
            metrics.sum("observer_websocket_messages_total", &sent) == *messages
                && metrics.samples("observer_websocket_connections", &labels).len() == 1
                && metrics.sum("observer_websocket_connections", &labels) == 1.0
        })
    };
    agent.wait_until("a row for each", |metrics| {
        agrees("same-client", "sent", metrics) && agrees("same-server", "received", metrics)
    })?;
    // What they have counted stays when they have closed.
    for (client, server, ..) in &mut puppets {
        client.run("one.close()")?;
        server.run("one.close()")?;
    }
    let metrics = agent.wait_until("their ends", |metrics| {
        metrics.sum("observer_websocket_connections", &[("process", "same-server")]) == 0.0
            && metrics.sum("observer_websocket_closes_total", &[("process", "same-server")]) == 2.0
    })?;
    for (_, _, server, messages) in &puppets {
        let labels = [("process", "same-server"), ("server", server.as_str())];
        ensure!(metrics.sum("observer_websocket_messages_total", &labels) == *messages, "{server}");
    }
    Ok(())
}
