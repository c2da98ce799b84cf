//! Noise, and servers that are thrown it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Numbers that look like noise, the same each time (xorshift64).
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// Others for others.
    pub fn new(seed: u32) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ u64::from(seed))
    }

    /// One below a bound.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32 % bound
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }
}

/// Sends something to a real server, each part in a call of its own, and waits for the end, which the server may
/// bring about at any time.
pub fn throw(server: impl ToSocketAddrs, parts: &[&[u8]]) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    for part in parts {
        // It need not take all of it.
        if stream.write_all(part).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut Vec::new());
    Ok(())
}
