//! Many WebSocket connections at once, between processes of which each may have so many files open.

use crate::puppet::Puppet;

/// Connections of one client and one server.
const EACH: usize = 5_000;

/// Such connections: clients, and their servers.
#[derive(Debug)]
pub struct Crowd {
    pairs: Vec<(Puppet, Puppet)>,
}

impl Crowd {
    /// Opens so many, each with a handshake.
    pub fn open(count: usize) -> anyhow::Result<Self> {
        let mut pairs = Vec::new();
        for start in (0..count).step_by(EACH) {
            let each = EACH.min(count - start);
            let mut server = Puppet::start("crowd-server")?;
            let mut client = Puppet::start("crowd-client")?;
            let port = server.listen()?;
            server.tell(&format!("served = accept_all(listener, {each})"))?;
            client.run(&format!("opened = connect_all(('127.0.0.1', {port}), {each})"))?;
            server.answer()?;
            client.run("for one in opened: ask_upgrade(one)")?;
            server.run("for one in served: grant_upgrade(one)")?;
            client.run("for one in opened: finish_upgrade(one)")?;
            pairs.push((client, server));
        }
        Ok(Self { pairs })
    }

    /// Has every client send a message.
    pub fn speak(&mut self) -> anyhow::Result<()> {
        for (client, server) in &mut self.pairs {
            client.run("for one in opened: one.sendall(frame(5, True))")?;
            server.run("receive(served, 11)")?;
        }
        Ok(())
    }
}
