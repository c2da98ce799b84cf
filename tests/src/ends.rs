//! Two ends of a connection in one process, which say what no library would.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Two ends of a TCP connection in this process, the client's first.
#[derive(Debug)]
pub struct Ends {
    /// The end that has connected.
    pub client: TcpStream,
    /// The end that was accepted.
    pub server: TcpStream,
    /// What the agent calls the server.
    pub label: String,
}

impl Ends {
    /// Connects them, without a byte.
    pub fn connect() -> anyhow::Result<Self> {
        let listener = listen()?;
        let address = listener.local_addr()?;
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(Duration::from_secs(10)))?;
        }
        Ok(Self { client, server, label: address.to_string() })
    }

    /// The client sends, and the server receives.
    pub fn ask(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        pass(&mut self.client, &mut self.server, bytes)
    }

    /// The server sends, and the client receives.
    pub fn answer(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        pass(&mut self.server, &mut self.client, bytes)
    }
}

/// Listens on a port that none has had before: what the agent counts is told apart by it.
fn listen() -> anyhow::Result<TcpListener> {
    static USED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut used = USED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        if used.insert(listener.local_addr()?.port()) {
            return Ok(listener);
        }
    }
}

/// In pieces that the sockets' buffers hold.
fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) -> anyhow::Result<()> {
    for piece in bytes.chunks(16_384) {
        from.write_all(piece)?;
        to.read_exact(&mut vec![0; piece.len()])?;
    }
    Ok(())
}
