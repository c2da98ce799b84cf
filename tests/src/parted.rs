//! A proxy that passes on the first bytes of a connection in two calls, as a network may have them come.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// How long it keeps the second part back: so long that the first one is read without it.
const PAUSE: Duration = Duration::from_millis(50);

/// Such a proxy in this process, for one connection.
#[derive(Debug)]
pub struct Parted {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Parted {
    /// Starts one in front of a server. The first part that it passes on has so many bytes. It ends with the connection.
    pub fn start(server: u16, first: usize) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        thread::spawn(move || pass_on(&listener, server, first));
        Ok(Self { port })
    }

    /// What the agent calls it as a server's end.
    pub fn label(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn pass_on(listener: &TcpListener, server: u16, first: usize) -> io::Result<()> {
    let (client, _) = listener.accept()?;
    let server = TcpStream::connect(("127.0.0.1", server))?;
    server.set_nodelay(true)?;
    let back = [server.try_clone()?, client.try_clone()?];
    thread::spawn(move || copy(back));
    let mut part = vec![0; first];
    (&client).read_exact(&mut part)?;
    (&server).write_all(&part)?;
    thread::sleep(PAUSE);
    copy([client, server])
}

/// Passes on all that comes from the one to the other, and its end.
fn copy([mut from, mut to]: [TcpStream; 2]) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    to.shutdown(Shutdown::Write)?;
    copied.map(drop)
}
