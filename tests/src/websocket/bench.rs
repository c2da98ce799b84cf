//! Both ends of connections within this process, and an agent that sees them.

use super::calls::{Pair, Receiving, Sending};
use super::own_name;
use super::sides::{Side, nothing_lost, settle};
use super::traffic::Opcode;
use super::wire::{FIN, REQUEST, RESPONSE, Wire};
use crate::agent::Agent;

/// An agent, and both ends of connections within this process.
#[derive(Debug)]
pub struct Bench {
    /// The agent.
    pub agent: Agent,
    /// The ends that connected.
    pub client: Side,
    /// The ends that were accepted.
    pub server: Side,
}

impl Bench {
    /// Starts an agent.
    pub fn start() -> anyhow::Result<Self> {
        Self::new(Agent::start(&[])?)
    }

    /// With a running agent.
    pub fn new(agent: Agent) -> anyhow::Result<Self> {
        let side = |role| Ok::<_, anyhow::Error>(Side::new(&own_name()?, std::process::id(), role));
        let (mut client, mut server) = (side("client")?, side("server")?);
        client.bytes = Some([0; 2]);
        server.bytes = Some([0; 2]);
        Ok(Self { agent, client, server })
    }

    /// Bytes that moved from the client to the server, and the other way.
    pub fn count(&mut self, asked: usize, answered: usize) {
        for (side, sent, received) in
            [(&mut self.client, asked, answered), (&mut self.server, answered, asked)]
        {
            if let Some([to, from]) = &mut side.bytes {
                *to += sent as u64;
                *from += received as u64;
            }
        }
    }

    /// What moved from the client to the server, and the other way.
    pub fn exchange(&mut self, asked: &Wire, answered: &Wire) {
        self.count(asked.bytes.len(), answered.bytes.len());
        self.client.sent.add_all(&asked.traffic, 1);
        self.server.received.add_all(&asked.traffic, 1);
        self.client.received.add_all(&answered.traffic, 1);
        self.server.sent.add_all(&answered.traffic, 1);
    }

    /// Waits until the agent says all of it, and has lost nothing.
    pub fn settle(&self) -> anyhow::Result<()> {
        nothing_lost(&self.agent, &settle(&self.agent, &[&self.client, &self.server])?)
    }

    /// A session from its handshake to its end: all calls are of one kind.
    pub fn session(
        &mut self,
        pair: Pair,
        asked: &Wire,
        answered: &Wire,
        sending: Sending,
        receiving: Receiving,
    ) -> anyhow::Result<()> {
        pair.ask(REQUEST, sending, receiving)?;
        pair.answer(RESPONSE, sending, receiving)?;
        self.count(REQUEST.len(), RESPONSE.len());
        pair.ask(&asked.bytes, sending, receiving)?;
        pair.answer(&answered.bytes, sending, receiving)?;
        self.exchange(asked, answered);
        self.open(1);
        self.settle()?;
        drop(pair);
        self.close("1000");
        self.settle()
    }

    /// Sessions of frames of all forms and types: over IPv4 and IPv6.
    pub fn mixed_over_tcp(&mut self, sending: Sending, receiving: Receiving) -> anyhow::Result<()> {
        eprintln!("{sending:?}, {receiving:?}");
        for address in ["127.0.0.1", "::1"] {
            self.mixed(Pair::tcp(address)?, sending, receiving)?;
        }
        Ok(())
    }

    /// The same over a UNIX socket.
    pub fn mixed_over_unix(&mut self, sending: Sending, receiving: Receiving) -> anyhow::Result<()> {
        self.mixed(Pair::unix()?, sending, receiving)
    }

    /// Over all of them.
    pub fn mixed_over_all(&mut self, sending: Sending, receiving: Receiving) -> anyhow::Result<()> {
        self.mixed_over_tcp(sending, receiving)?;
        self.mixed_over_unix(sending, receiving)
    }

    fn mixed(&mut self, pair: Pair, sending: Sending, receiving: Receiving) -> anyhow::Result<()> {
        self.session(pair, &mixed(Wire::client()), &mixed(Wire::server()), sending, receiving)
    }

    /// So many connections have been opened.
    pub fn open(&mut self, count: u32) {
        self.client.open += count;
        self.server.open += count;
    }

    /// One has been closed.
    pub fn close(&mut self, code: &'static str) {
        self.client.close(code);
        self.server.close(code);
    }
}

/// Frames of all forms and types.
#[must_use]
pub fn mixed(mut wire: Wire) -> Wire {
    for size in [0, 1, 5, 125, 126, 127, 1_000, 65_535, 65_536] {
        wire.message(Opcode::Text, size).message(Opcode::Binary, size);
        wire.fragments(Opcode::Binary, &[size, 0, 3], 125);
        wire.frame(Opcode::Pong, FIN, 3);
    }
    wire.close(1000);
    wire
}
