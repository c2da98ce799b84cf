//! Two processes that talk over a WebSocket as a test tells them.

use crate::puppet::Puppet;

/// A client with a WebSocket to a server: `one` to both.
#[derive(Debug)]
pub struct Talk {
    /// The one that asked for the upgrade.
    pub client: Puppet,
    /// The one that granted it.
    pub server: Puppet,
}

impl Talk {
    /// Over loopback.
    pub fn open(names: [&str; 2]) -> anyhow::Result<Self> {
        let (client, mut server) = (Puppet::start(names[0])?, Puppet::start(names[1])?);
        let port = server.listen()?;
        Self::between(client, server, &format!("('127.0.0.1', {port})"))
    }

    /// A server that listens as `listener`, and a client that connects to where it is reached.
    pub fn between(mut client: Puppet, mut server: Puppet, address: &str) -> anyhow::Result<Self> {
        client.run(&format!("one = connect({address}); ask_upgrade(one)"))?;
        server.run("one = listener.accept()[0]; grant_upgrade(one)")?;
        client.run("finish_upgrade(one)")?;
        Ok(Self { client, server })
    }

    /// Over loopback, with fifty messages of 500 bytes a second under way for some seconds.
    pub fn steady(names: [&str; 2], seconds: u32) -> anyhow::Result<Self> {
        let mut talk = Self::open(names)?;
        talk.server.tell("receive_to_end(one)")?;
        talk.client.tell(&format!("send_steadily(one, frame(492, True), 0.02, {seconds})"))?;
        Ok(talk)
    }

    /// Starts to send messages at a steady pace, so many in a call.
    pub fn start(&mut self, per_second: u32, in_a_call: u32, seconds: u32) -> anyhow::Result<()> {
        self.server.tell("receive_to_end(one)")?;
        self.client.tell(&format!(
            "send_steadily(one, frame(20, True) * {in_a_call}, {in_a_call} / {per_second}, {seconds})"
        ))
    }

    /// What came of that: messages a second. Closes the connection.
    pub fn sent(&mut self, in_a_call: u32) -> anyhow::Result<f64> {
        let answer = self.client.answer()?;
        let [calls, seconds] = serde_json::from_value::<[f64; 2]>(answer)?;
        self.client.run("one.close()")?;
        self.server.answer()?;
        self.server.run("one.close()")?;
        Ok(calls * f64::from(in_a_call) / seconds)
    }
}
