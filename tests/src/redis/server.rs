//! A Redis server of a test's own.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::Address;
use super::wire::{Reply, Session};
use crate::programs::{self, free_port};
use crate::websocket::unique_name;

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// What a server's clients come over; who asks it for its own numbers comes over the other, which is another
/// server to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// 127.0.0.1
    Tcp,
    /// A UNIX socket.
    Unix,
}

/// A server without any key. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    command: Command,
    child: Child,
    directory: TempDir,
    port: u16,
    transport: Transport,
    /// What the agent calls it.
    pub process: String,
}

impl Server {
    /// Starts one whose clients come over TCP.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(Transport::Tcp, &[])
    }

    /// Starts one with more settings: `--name`, `value`.
    pub fn start_with(transport: Transport, settings: &[&str]) -> anyhow::Result<Self> {
        Self::start_by(|program| Ok(Command::new(program)), transport, settings)
    }

    /// Starts one that speaks TLS on another port, with this certificate and key. Returns that port, too.
    pub fn start_over_tls([certificate, key]: &[String; 2]) -> anyhow::Result<(Self, u16)> {
        let port = free_port()?;
        let settings = [
            ["--tls-port", &port.to_string()],
            ["--tls-cert-file", certificate],
            ["--tls-key-file", key],
            ["--tls-ca-cert-file", certificate],
            ["--tls-auth-clients", "no"],
        ];
        Ok((Self::start_with(Transport::Tcp, settings.as_flattened())?, port))
    }

    /// Starts one that speaks MPTCP where its clients do.
    pub fn start_over_mptcp() -> anyhow::Result<Self> {
        Self::start_by(programs::over_mptcp, Transport::Tcp, &[])
    }

    fn start_by(
        command: impl FnOnce(&Path) -> anyhow::Result<Command>,
        transport: Transport,
        settings: &[&str],
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let process = unique_name("redis");
        let port = free_port()?;
        let mut command = command(&programs::named(&programs::installed("redis-server")?, path, &process)?)?;
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--unixsocket").arg(path.join("socket")).arg("--dir").arg(path);
        command.args(["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]);
        command.args(["--maxclients", "500", "--proto-max-bulk-len", "1gb"]).args(settings);
        let log = File::options().create(true).append(true).open(path.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self { command, child, directory, port, transport, process };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        // It says so once it accepts.
        loop {
            let log = std::fs::read_to_string(self.directory.path().join("log"))?;
            if log.contains("at /") && log.contains("Ready to accept connections") {
                return Ok(());
            }
            ensure!(self.child.try_wait()?.is_none(), "the server ended: {log}");
            ensure!(start.elapsed() < START, "the server does not start: {log}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it, with all that it has, and starts it again where it was.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        File::options().write(true).truncate(true).open(self.directory.path().join("log"))?;
        self.child = self.command.spawn().with_context(|| format!("cannot start {:?}", self.command))?;
        self.wait()
    }

    /// Where its clients come.
    pub fn target(&self) -> Address {
        self.address(self.transport)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn address(&self, transport: Transport) -> Address {
        match transport {
            Transport::Tcp => Address::Tcp(self.port),
            Transport::Unix => Address::Unix(self.directory.path().join("socket")),
        }
    }

    /// A session over the transport that clients do not use.
    pub fn asking(&self) -> anyhow::Result<Session> {
        Session::connect(&self.asking_target())
    }

    /// Where that comes.
    pub fn asking_target(&self) -> Address {
        let other = match self.transport {
            Transport::Tcp => Transport::Unix,
            Transport::Unix => Transport::Tcp,
        };
        self.address(other)
    }

    /// What it answers there to a command.
    pub fn ask(&self, words: &str) -> anyhow::Result<Reply> {
        self.asking()?.ask(words)
    }

    /// A section of `INFO`, by name.
    pub fn info(&self, section: &str) -> anyhow::Result<BTreeMap<String, String>> {
        info(&self.ask(&format!("INFO {section}"))?)
    }

    /// Whether this is its transport, by a line of `CLIENT LIST`.
    pub(super) fn comes_over(&self, line: &str) -> bool {
        let tcp = line.contains(&format!(" laddr=127.0.0.1:{} ", self.port));
        tcp == (self.transport == Transport::Tcp)
    }
}

/// The fields of an `INFO` reply.
pub fn info(reply: &Reply) -> anyhow::Result<BTreeMap<String, String>> {
    let text = reply.text()?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    Ok(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already. It has nothing to save.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
