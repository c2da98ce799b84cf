//! Two processes that say to each other, byte for byte and call for call, what a test tells them.

use std::fmt::Write as _;

use super::shown::View;
use crate::puppet::Puppet;
use crate::websocket::unique_name;

/// A client and a server, and the connection that they have open: `one` to both.
#[derive(Debug)]
pub struct Wire {
    /// The one that connects.
    pub client: Puppet,
    /// The one that accepts.
    pub server: Puppet,
    /// What the agent calls them: the client, and the server.
    pub names: [String; 2],
    /// What the agent shows of them: the client's side, and the server's.
    pub views: [View; 2],
    /// Where the server listens, on 127.0.0.1.
    pub port: u16,
}

impl Wire {
    /// Two processes with a connection.
    pub fn open() -> anyhow::Result<Self> {
        let names = [unique_name("hwc"), unique_name("hws")];
        let (client, mut server) = (Puppet::start(&names[0])?, Puppet::start(&names[1])?);
        let port = server.listen()?;
        let label = format!("127.0.0.1:{port}");
        let views = [View::client(&names[0], &label), View::server(&names[1], &label)];
        let mut wire = Self { client, server, names, views, port };
        wire.connect()?;
        Ok(wire)
    }

    /// Opens another connection, instead of the one that there was.
    pub fn connect(&mut self) -> anyhow::Result<()> {
        self.client.run(&format!(
            "one = connect(('127.0.0.1', {})); one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)",
            self.port
        ))?;
        self.server
            .run("one = listener.accept()[0]; one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)")
    }

    /// The client says something, so many bytes in a call, and the server reads as many in a call.
    pub fn ask(&mut self, bytes: &[u8], step: usize) -> anyhow::Result<()> {
        say(&mut self.client, &mut self.server, bytes, step)
    }

    /// The server says something likewise.
    pub fn answer(&mut self, bytes: &[u8], step: usize) -> anyhow::Result<()> {
        say(&mut self.server, &mut self.client, bytes, step)
    }

    /// The server closes the connection, and the client then does.
    pub fn close(&mut self) -> anyhow::Result<()> {
        self.server.run("one.close()")?;
        self.client.run("receive_to_end(one); one.close()")
    }
}

fn say(from: &mut Puppet, to: &mut Puppet, bytes: &[u8], step: usize) -> anyhow::Result<()> {
    let length = bytes.len();
    from.tell(&format!(
        "data = {}; [one.sendall(data[at:at + {step}]) for at in range(0, {length}, {step})] and None",
        python(bytes)
    ))?;
    to.run(&format!(
        "[one.recv(min({step}, {length} - at), socket.MSG_WAITALL) for at in range(0, {length}, {step})] and None"
    ))?;
    from.answer().map(drop)
}

/// Bytes as Python writes them.
pub fn python(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Into memory, which does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    format!("bytes.fromhex('{hex}')")
}
