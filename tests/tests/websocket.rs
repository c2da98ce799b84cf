//! Real WebSocket servers and clients: every frame and message is counted, exactly, by both ends.

// needs: websocket
// makes: messages
// takes: 25 s

use std::net::TcpStream;

use anyhow::Context as _;
use observer_tests::agent::Agent;
use observer_tests::nginx::Nginx;
use observer_tests::websocket::peers::{Peer, Runtime, Step, closed, exchanged};
use observer_tests::websocket::sides::{Side, nothing_lost, settle};
use observer_tests::websocket::traffic::{Opcode, Traffic};
use observer_tests::websocket::{alone, own_name};
use tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Bytes, Message};

/// Sizes around the forms of a frame's length, around buckets and categories.
const SIZES: [u64; 12] =
    [0, 1, 100, 101, 125, 126, 65_535, 65_536, 999_999, 1_000_000, 5_000_000, 12_000_000];

fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for opcode in [Opcode::Text, Opcode::Binary] {
        steps.extend(SIZES.map(|size| Step::message(opcode, size)));
        steps.push(Step::Ping(4));
        steps.push(Step::Message(opcode, vec![1, 126, 65_536], None));
        steps.push(Step::Message(opcode, vec![100, 70_000, 3, 5_000_000], Some(125)));
    }
    steps
}

/// A client of a runtime with a server of another (or the same), on two connections.
fn combination(server: Runtime, client: Runtime, listen: &str) -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let (mut server, address) = Peer::server(server, listen, "plain")?;
    let mut client = Peer::client(client, &address, "plain", 2)?;
    server.side.open = 2;
    settle(&agent, &[&client.side, &server.side])?;

    let traffic = client.take(&steps())?;
    exchanged(&mut client.side, &mut server.side, &traffic);
    settle(&agent, &[&client.side, &server.side])?;

    client.close(1000)?;
    for _ in 0..2 {
        closed(&mut client.side, &mut server.side, "1000");
    }
    nothing_lost(&agent, &settle(&agent, &[&client.side, &server.side])?)
}

#[test]
fn python_with_python() -> anyhow::Result<()> {
    combination(Runtime::Python, Runtime::Python, "tcp")
}

#[test]
fn a_python_server_with_a_node_client() -> anyhow::Result<()> {
    combination(Runtime::Python, Runtime::Node, "tcp")
}

#[test]
fn a_node_server_with_a_python_client() -> anyhow::Result<()> {
    combination(Runtime::Node, Runtime::Python, "tcp")
}

#[test]
fn node_with_node() -> anyhow::Result<()> {
    combination(Runtime::Node, Runtime::Node, "tcp")
}

#[test]
fn python_over_a_unix_socket() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    combination(Runtime::Python, Runtime::Python, path.to_str().context("a path")?)
}

#[test]
fn node_over_a_unix_socket() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    combination(Runtime::Node, Runtime::Node, path.to_str().context("a path")?)
}

/// `tungstenite` in this process, with a server of a runtime.
fn with_tungstenite(server: Runtime) -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let (mut server, address) = Peer::server(server, "tcp", "plain")?;
    let mut client = Side::new(&own_name()?, std::process::id(), "client");

    let host = address.trim_start_matches("ws://").trim_end_matches('/');
    let stream = TcpStream::connect(host)?;
    let unlimited = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
    let (mut socket, _) = tungstenite::client::client_with_config(&address, stream, Some(unlimited))
        .map_err(|error| anyhow::anyhow!("no handshake: {error}"))?;
    client.open = 1;
    server.side.open = 1;

    let mut sent = Traffic::default();
    let mut received = Traffic::default();
    for size in SIZES {
        for opcode in [Opcode::Text, Opcode::Binary] {
            let length = usize::try_from(size)?;
            let message = match opcode {
                Opcode::Text => Message::text("x".repeat(length)),
                _ => Message::binary(vec![0x81; length]),
            };
            socket.send(message.clone())?;
            anyhow::ensure!(socket.read()? == message, "the echo of {size} bytes differs");
            sent.fragments(opcode, &[size]);
            received.fragments(opcode, &[size]);
        }
        socket.send(Message::Ping(Bytes::from_static(b"ping")))?;
        anyhow::ensure!(socket.read()? == Message::Pong(Bytes::from_static(b"ping")), "another pong");
        sent.frame(Opcode::Ping, 4);
        received.frame(Opcode::Pong, 4);
    }
    exchanged(&mut client, &mut server.side, &[sent, received]);
    settle(&agent, &[&client, &server.side])?;

    socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() }))?;
    anyhow::ensure!(matches!(socket.read()?, Message::Close(_)), "no close came back");
    drop(socket);
    closed(&mut client, &mut server.side, "1001");
    nothing_lost(&agent, &settle(&agent, &[&client, &server.side])?)
}

#[test]
fn a_python_server_with_tungstenite() -> anyhow::Result<()> {
    with_tungstenite(Runtime::Python)
}

#[test]
fn a_node_server_with_tungstenite() -> anyhow::Result<()> {
    with_tungstenite(Runtime::Node)
}

/// A Python client, nginx, a Node.js server: nginx is a server to the one and a client to the other.
fn through_nginx(worker: bool) -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let (mut server, upstream) = Peer::server(Runtime::Node, "tcp", "plain")?;
    let nginx = Nginx::start(&upstream, worker)?;
    let mut client = Peer::client(Runtime::Python, &format!("ws://127.0.0.1:{}/", nginx.port), "plain", 2)?;
    let mut front = Side::new(&nginx.name, nginx.pid()?, "server");
    let mut back = Side::new(&nginx.name, nginx.pid()?, "client");
    for side in [&mut server.side, &mut front, &mut back] {
        side.open = 2;
    }
    settle(&agent, &[&client.side, &front, &back, &server.side])?;

    let traffic = client.take(&steps())?;
    exchanged(&mut client.side, &mut front, &traffic);
    exchanged(&mut back, &mut server.side, &traffic);
    settle(&agent, &[&client.side, &front, &back, &server.side])?;

    client.close(1000)?;
    for _ in 0..2 {
        closed(&mut client.side, &mut front, "1000");
        closed(&mut back, &mut server.side, "1000");
    }
    nothing_lost(&agent, &settle(&agent, &[&client.side, &front, &back, &server.side])?)
}

#[test]
fn nginx_as_one_process() -> anyhow::Result<()> {
    through_nginx(false)
}

#[test]
fn nginx_with_a_worker() -> anyhow::Result<()> {
    through_nginx(true)
}

/// What is sent, as (opcode, size), and from which size on it is compressed.
fn compressed(server: (Runtime, &str), client: (Runtime, &str), threshold: u64) -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let (mut server, address) = Peer::server(server.0, "tcp", server.1)?;
    let mut client = Peer::client(client.0, &address, client.1, 1)?;
    server.side.open = 1;
    for side in [&mut client.side, &mut server.side] {
        side.sized = false;
    }
    let sizes = [1, 10, 1023, 1024, 5_000, 200_000];
    let mut steps = Vec::new();
    let mut traffic = Traffic::default();
    for (size, opcode) in sizes.into_iter().flat_map(|size| [(size, Opcode::Text), (size, Opcode::Binary)]) {
        steps.push(Step::message(opcode, size));
        // Only their number is known: how small they get is the library's business.
        traffic.frame(opcode, 0);
        traffic.message(opcode, size >= threshold, 0);
    }
    client.take(&steps)?;
    exchanged(&mut client.side, &mut server.side, &[traffic.clone(), traffic]);
    settle(&agent, &[&client.side, &server.side])?;
    client.close(1000)?;
    closed(&mut client.side, &mut server.side, "1000");
    nothing_lost(&agent, &settle(&agent, &[&client.side, &server.side])?)
}

/// `websockets` compresses every message once it is agreed on.
#[test]
fn python_compresses_everything() -> anyhow::Result<()> {
    compressed((Runtime::Python, "deflate"), (Runtime::Python, "deflate"), 0)
}

/// So does `ws`, unless its context is reset after each message: then from its threshold of 1024 bytes on.
#[test]
fn node_compresses_everything() -> anyhow::Result<()> {
    compressed((Runtime::Node, "deflate"), (Runtime::Node, "deflate"), 0)
}

#[test]
fn node_without_context_compresses_above_its_threshold() -> anyhow::Result<()> {
    compressed((Runtime::Node, "reset"), (Runtime::Node, "reset"), 1024)
}

#[test]
fn compression_that_one_end_refuses_is_not_used() -> anyhow::Result<()> {
    compressed((Runtime::Node, "plain"), (Runtime::Python, "deflate"), u64::MAX)
}
