//! haproxy: it passes on what its clients say, with a header of the PROXY protocol in front, or takes such a header off.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::programs::{self, Program};
use crate::websocket::unique_name;

/// One of a test's own. Dropping it ends it.
#[derive(Debug)]
pub struct Haproxy {
    _program: Program,
    _folder: tempfile::TempDir,
    /// What it is called.
    pub name: String,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Haproxy {
    /// Starts one in front of a server, an address and a port, with more words for where it listens (`accept-proxy`) and
    /// for how it reaches the server (`send-proxy`, `send-proxy-v2` and so on).
    pub fn start(server: &str, listening: &str, sending: &str) -> anyhow::Result<Self> {
        Self::with("tcp", server, listening, sending)
    }

    /// Starts one that reads HTTP requests, and passes them on to a server over connections of its own.
    pub fn speaking_http(server: &str) -> anyhow::Result<Self> {
        Self::with("http", server, "", "")
    }

    /// The same that speaks TLS with its clients, by a file with a certificate and its key.
    pub fn speaking_https(server: &str, certificate: &str) -> anyhow::Result<Self> {
        Self::with("http", server, &format!("ssl crt {certificate}"), "")
    }

    fn with(mode: &str, server: &str, listening: &str, sending: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = programs::free_port()?;
        let configuration = format!(
            "global\n  maxconn 100\ndefaults\n  mode {mode}\n  timeout connect 10s\n  timeout client 60s\n  \
             timeout server 60s\nlisten all\n  bind 127.0.0.1:{port} {listening}\n  server one {server} {sending}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, configuration)?;
        let name = unique_name("hap");
        let link = programs::named(&programs::installed("haproxy")?, folder.path(), &name)?;
        let mut command = Command::new(link);
        let program = Program::start(command.arg("-db").arg("-q").arg("-f").arg(file))?;
        // It says nothing once it listens, and would pass a connection on that only tries whether it does.
        for _ in 0..200 {
            if is_listening(port)? {
                return Ok(Self { _program: program, _folder: folder, name, port });
            }
            sleep(Duration::from_millis(50));
        }
        anyhow::bail!("haproxy does not listen: {:?}", program.finish()?);
    }
}

/// Whether anybody listens on a port of 127.0.0.1.
fn is_listening(port: u16) -> anyhow::Result<bool> {
    // Address and state (`TCP_LISTEN`) as `Documentation/networking/proc_net_tcp.rst` has them.
    let (address, state) = (format!("0100007F:{port:04X}"), "0A");
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    Ok(table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next() == Some(&address) && fields.nth(1) == Some(state)
    }))
}
