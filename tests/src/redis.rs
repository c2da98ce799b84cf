//! Redis: servers and clients of every kind, and what they themselves say of their commands.

pub mod benchmark;
pub mod by_hand;
pub mod bystanders;
pub mod clients;
pub mod one;
pub mod server;
pub mod shown;
pub mod wire;
pub mod work;

use std::path::PathBuf;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of 127.0.0.1.
    Tcp(u16),
    /// A UNIX socket.
    Unix(PathBuf),
}

impl Address {
    /// What the agent calls it.
    pub fn label(&self) -> String {
        match self {
            Self::Tcp(port) => format!("127.0.0.1:{port}"),
            Self::Unix(path) => path.display().to_string(),
        }
    }
}
