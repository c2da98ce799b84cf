//! What nobody should send: the agent lives, stays small, and keeps count of everybody else.

// makes: messages
// takes: 5 s

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::noise::{Chance, throw};
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::peers::{Peer, Runtime, Step, exchanged};
use observer_tests::websocket::sides::settle;
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::{FIN, REQUEST, RESPONSE, RSV1, Wire};
use observer_tests::websocket::{alone, own_name};

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// A connection that keeps the rules all the while, and what it must count.
struct Bystander {
    client: Peer,
    server: Peer,
}

impl Bystander {
    fn start() -> anyhow::Result<Self> {
        let (mut server, address) = Peer::server(Runtime::Python, "tcp", "plain")?;
        let client = Peer::client(Runtime::Node, &address, "plain", 1)?;
        server.side.open = 1;
        Ok(Self { client, server })
    }

    /// A few more messages, and everything so far is counted.
    fn check(&mut self, agent: &Agent) -> anyhow::Result<()> {
        let steps = [
            Step::message(Opcode::Text, 5),
            Step::message(Opcode::Binary, 70_000),
            Step::Message(Opcode::Text, vec![1, 200, 3], Some(4)),
        ];
        let traffic = self.client.take(&steps)?;
        exchanged(&mut self.client.side, &mut self.server.side, &traffic);
        settle(agent, &[&self.client.side, &self.server.side])?;
        agent.get("/healthz")?;
        agent.get("/readyz")?;
        agent.json("/status")?;
        agent.json("/flows")?;
        Ok(())
    }
}

/// A real server is thrown noise, garbage that looks like HTTP, and frames that break every rule.
fn throw_everything(target: SocketAddr, noise: &mut Chance) -> anyhow::Result<()> {
    for length in [1, 2, 7, 8, 9, 100, 5_000, 100_000] {
        throw(target, &[&noise.bytes(length)])?;
        throw(target, &[REQUEST, &noise.bytes(length)])?;
        throw(target, &[b"GET ", &noise.bytes(length)])?;
        throw(target, &[b"GET / HTTP/1.1\r\nX: ", &vec![b'x'; length]])?;
        throw(target, &[&b"\r\n".repeat(length)])?;
    }
    throw(target, &[b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: -1\r\n\r\n", REQUEST])?;
    throw(target, &[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", REQUEST])?;
    for bits in 0..16 {
        for opcode in 0..16 {
            let mut wire = Wire::client();
            wire.raw(bits << 4 | opcode, b"payload");
            throw(target, &[REQUEST, &wire.bytes])?;
        }
    }
    for length in [1 << 62, 1 << 63, u64::MAX, (1 << 63) - 1, 1 << 32] {
        let mut wire = Wire::client();
        wire.header(FIN | 2, length);
        throw(target, &[REQUEST, &wire.bytes, &noise.bytes(1_000)])?;
    }
    Ok(())
}

/// Two ends that agree to do what no library would, in both directions.
fn conspire(parts: impl Fn(&mut Wire), sending: Sending, receiving: Receiving) -> anyhow::Result<()> {
    for pair in [Pair::tcp("127.0.0.1")?, Pair::unix()?] {
        pair.ask(REQUEST, sending, receiving)?;
        pair.answer(RESPONSE, sending, receiving)?;
        for (mut wire, asks) in [(Wire::client(), true), (Wire::server(), false)] {
            parts(&mut wire);
            if asks {
                pair.ask(&wire.bytes, sending, receiving)?;
            } else {
                pair.answer(&wire.bytes, sending, receiving)?;
            }
        }
    }
    Ok(())
}

fn conspire_in_everything(noise: &mut Chance) -> anyhow::Result<()> {
    // Fragments without an end.
    for sending in [WRITE, Sending::Send(3)] {
        conspire(
            |wire| {
                wire.frame(Opcode::Text, 0, 1);
                for _ in 0..10_000 {
                    wire.frame(Opcode::Continuation, 0, 1);
                }
            },
            sending,
            READ,
        )?;
    }
    // A byte a call, of noise.
    let bytes = noise.bytes(5_000);
    conspire(|wire| wire.bytes.extend(&bytes), Sending::Send(1), Receiving::Recv(1))?;
    // Noise in long writes; nothing but headers; nothing but violations.
    let bytes = noise.bytes(5_000_000);
    conspire(|wire| wire.bytes.extend(&bytes), WRITE, READ)?;
    conspire(|wire| (0..100_000).for_each(|_| _ = wire.header(FIN | 9, 0)), WRITE, READ)?;
    conspire(|wire| (0..100_000).for_each(|_| _ = wire.raw(RSV1 | 0x0F, b"x")), WRITE, READ)?;
    // Lengths that cannot be.
    for length in [1 << 63, u64::MAX, (1 << 63) - 1] {
        let bytes = noise.bytes(100_000);
        conspire(|wire| wire.header(FIN | 1, length).bytes.extend(&bytes), Sending::Send(1_000), READ)?;
    }
    // Nothing but empty messages.
    conspire(|wire| (0..2_000).for_each(|_| _ = wire.raw(FIN | 2, &[]).header(FIN | 2, 0)), WRITE, READ)
}

/// Opens this many connections, sends a byte on each and closes it, on an address of its own for their ports' sake.
fn churn(address: &str, connections: usize) -> anyhow::Result<()> {
    const WORKERS: usize = 8;
    let listener = TcpListener::bind((address, 0))?;
    // The 128 that may wait to be accepted else are too few: those beyond try again a second later.
    // SAFETY: a socket of ours that listens; it only changes how many.
    ensure!(unsafe { libc::listen(listener.as_raw_fd(), 4_096) } == 0, "it cannot listen for more");
    let target = listener.local_addr()?;
    thread::scope(|scope| {
        let acceptor =
            scope.spawn(|| (0..connections).try_for_each(|_| listener.accept()?.0.read_exact(&mut [0])));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    (0..connections / WORKERS).try_for_each(|_| TcpStream::connect(target)?.write_all(b"x"))
                })
            })
            .collect();
        for worker in workers.into_iter().chain([acceptor]) {
            worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))??;
        }
        Ok(())
    })
}

fn target(address: &str) -> anyhow::Result<SocketAddr> {
    address.trim_start_matches("ws://").trim_end_matches('/').parse().context("an address")
}

#[test]
fn ten_thousand_connections_are_all_counted() -> anyhow::Result<()> {
    const CONNECTIONS: usize = 10_000;
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let mut bystander = Bystander::start()?;
    churn("127.0.1.3", CONNECTIONS)?;
    bystander.check(&agent)?;
    let name = own_name()?;
    let counts = |metrics: &observer_tests::metrics::Metrics| {
        ["client", "server"].map(|role| {
            ["observer_connections_opened_total", "observer_connections_closed_total"].map(|family| {
                let labels = [("process", name.as_str()), ("role", role), ("protocol", "unknown")];
                metrics.sum(family, &labels)
            })
        })
    };
    let all = CONNECTIONS as f64;
    let is_all = |counts: [[f64; 2]; 2]| counts == [[all; 2]; 2];
    let settled = agent.wait_until("all were opened and closed", |metrics| is_all(counts(metrics)));
    let last = agent.scrape()?;
    settled.map_err(|_| anyhow::anyhow!("opened and closed, by client and server: {:?}", counts(&last)))?;
    ensure!(is_all(counts(&last)), "later: {:?}", counts(&last));
    Ok(())
}

/// The agent's memory must not grow, and the reasons of what it cannot follow are counted for all together.
// needs: host
// takes: 7 s
mod on_a_quiet_host {
    use super::{
        Agent, Bystander, Chance, Peer, Runtime, alone, churn, conspire_in_everything, ensure, target,
        throw_everything,
    };

    #[test]
    fn nothing_hostile_harms() -> anyhow::Result<()> {
        let _alone = alone();
        let agent = Agent::start(&[])?;
        let mut bystander = Bystander::start()?;
        let (_python, python) = Peer::server(Runtime::Python, "tcp", "deflate")?;
        let (_node, node) = Peer::server(Runtime::Node, "tcp", "plain")?;
        let mut noise = Chance::new(0);
        let mut own = Vec::new();
        for round in 1..=2 {
            for server in [&python, &node] {
                throw_everything(target(server)?, &mut noise)?;
                bystander.check(&agent)?;
            }
            conspire_in_everything(&mut noise)?;
            bystander.check(&agent)?;
            churn(&format!("127.0.1.{round}"), 10_000)?;
            bystander.check(&agent)?;
            own.push(agent.own_bytes()?);
            eprintln!("the agent's own memory after round {round}: {own:?}");
        }
        let resident = agent.resident_bytes()?;
        ensure!(resident < 40 << 20, "{resident} bytes are resident");
        let growth = own[1].saturating_sub(own[0]);
        ensure!(growth < 2 << 20, "{growth} bytes more are the agent's own after another round");

        // All that was out of sync is gone, and nothing but what was sent was the reason.
        let metrics = agent.wait_until("nothing is out of sync", |metrics| {
            metrics.sum("observer_unsynchronised_connections", &[("protocol", "websocket")]) < 1.0
        })?;
        for reason in ["unread", "gap", "concurrent", "bound"] {
            let desyncs =
                metrics.sum("observer_desyncs_total", &[("protocol", "websocket"), ("reason", reason)]);
            ensure!(desyncs < 1.0, "{desyncs} desyncs for {reason}");
        }
        ensure!(
            metrics.sum("observer_untracked_connections_total", &[]) < 1.0,
            "connections were not tracked"
        );
        Ok(())
    }
}
