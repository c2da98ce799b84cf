//! Traffic of a known rate, for what shows rates.

use crate::puppet::Puppet;

/// A WebSocket connection between two processes, and for some seconds fifty messages of 500 bytes a second.
#[derive(Debug)]
pub struct Steady {
    /// The process that sends.
    pub client: Puppet,
    /// The process that receives.
    pub server: Puppet,
}

impl Steady {
    /// Starts it between a client and a server of these names.
    pub fn start(names: [&str; 2], seconds: u32) -> anyhow::Result<Self> {
        let (mut client, mut server) = (Puppet::start(names[0])?, Puppet::start(names[1])?);
        let port = server.listen()?;
        client.run(&format!("one = connect(('127.0.0.1', {port})); ask_upgrade(one)"))?;
        server.run("one = listener.accept()[0]; grant_upgrade(one)")?;
        client.run("finish_upgrade(one)")?;
        server.tell("receive_to_end(one)")?;
        client.tell(&format!("send_steadily(one, frame(492, True), 0.02, {seconds})"))?;
        Ok(Self { client, server })
    }
}
