//! One session with a server, and all that is said of it.

use std::sync::Arc;

use super::server::{Server, Transport};
use super::shown::{Sessions, View, nothing_lost};
use super::wire::Session;
use super::work::{Counts, Prefixes};
use crate::agent::Agent;
use crate::metrics::Metrics;
use crate::shown::expect_each;
use crate::websocket::own_name;

/// So many sessions that are blocked and idle.
pub const fn sessions(blocked: u32, idle: u32) -> Sessions {
    Sessions { active: 0.0, idle: idle as f64, blocked: blocked as f64 }
}

/// The server and the agent say of these sessions what they are.
pub fn agree(agent: &Agent, server: &Server, views: &[View], expected: Sessions) -> anyhow::Result<()> {
    server.reach(expected)?;
    expect_each(views, agent, &expected, View::sessions)
}

/// Keys found and not found by prefix, for comparison.
pub fn prefixes(counts: &[(&str, [u32; 2])]) -> Prefixes {
    counts.iter().map(|&(prefix, counts)| (prefix.to_owned(), counts.map(f64::from))).collect()
}

/// A server, the agent of this file's tests, one session of this process's, and both of its sides.
pub struct One {
    /// The server.
    pub server: Server,
    /// The agent.
    pub agent: Arc<Agent>,
    /// The session.
    pub session: Session,
    /// What the agent says of its two sides.
    pub views: [View; 2],
    /// The same of whoever comes over the transport that clients do not use.
    asking: [View; 2],
}

impl One {
    /// Starts a server with more settings.
    pub fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let server = Server::start_with(Transport::Tcp, settings)?;
        let agent = Agent::shared()?;
        let session = Session::connect(&server.target())?;
        let process = own_name()?;
        let views = View::both(&process, &server);
        let label = server.asking_target().label();
        let asking = [View::client(&process, &label), View::server(&server.process, &label)];
        Ok(Self { server, agent, session, views, asking })
    }

    /// So many keys found and not found so far, and all commands and errors.
    pub fn expect(&self, keys: &Prefixes) -> anyhow::Result<()> {
        for (view, asking) in self.views.iter().zip(&self.asking) {
            view.expect(&self.agent, keys, View::prefixes)?;
            // Those of whoever makes something happen meanwhile included.
            let both = |of: fn(&View, &Metrics) -> Counts| {
                move |view: &View, metrics: &Metrics| {
                    let mut counts = of(view, metrics);
                    for (name, count) in of(asking, metrics) {
                        *counts.entry(name).or_default() += count;
                    }
                    counts
                }
            };
            view.expect(&self.agent, &self.server.commands()?, both(View::commands))?;
            view.expect(&self.agent, &self.server.errors()?, both(View::errors))?;
        }
        nothing_lost(&self.agent)
    }

    /// The sessions are in these states.
    pub fn expect_sessions(&self, expected: Sessions) -> anyhow::Result<()> {
        expect_each(&self.views, &self.agent, &expected, View::sessions)
    }
}
