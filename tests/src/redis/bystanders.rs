//! Sessions with a real server beside those of a test.

use super::clients::{Clients, Library, Protocol};
use super::server::Server;
use super::shown::{Sessions, View};
use super::work::{Tally, Work};
use crate::agent::Agent;

/// Sessions that keep the rules all the while.
pub struct Bystanders {
    /// Their server.
    pub server: Server,
    clients: Clients,
    /// What came of all that they did.
    pub truth: Tally,
    seed: u32,
}

impl Bystanders {
    /// A server, and three sessions with it, of which one waits.
    pub fn start() -> anyhow::Result<Self> {
        let server = Server::start()?;
        let mut clients = Clients::start(Library::Python, Protocol::Resp2, &server.target())?;
        clients.login(3)?;
        clients.puppet()?.run("hold(2, 3)")?;
        Ok(Self { server, clients, truth: Tally::default(), seed: 0 })
    }

    /// A little more work, and everything is as it should be.
    pub fn check(&mut self, agent: &Agent) -> anyhow::Result<()> {
        for (session, depth) in [(0, 1), (1, 10)] {
            self.seed += 1;
            let work = Work { commands: 500, depth, seed: self.seed };
            self.truth.add(&self.clients.work(session, work)?);
        }
        let label = self.server.target().label();
        let client = View::client(&self.clients.process, &label);
        client.expect(agent, &self.truth, View::tally)?;
        client.expect(agent, &Sessions { active: 0.0, idle: 2.0, blocked: 1.0 }, View::sessions)?;
        agent.get("/healthz")?;
        agent.get("/readyz")?;
        agent.json("/status")?;
        Ok(())
    }
}
