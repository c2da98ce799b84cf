//! A memcached server of a test's own, and what the agent shows of sessions with it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::agent::Agent;
use crate::losses::Losses;
use crate::metrics::Metrics;
use crate::programs::{self, free_port};
use crate::websocket::unique_name;

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// A server without any key. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    _directory: TempDir,
    port: u16,
    /// What the agent calls it.
    pub process: String,
}

impl Server {
    /// Starts one, on 127.0.0.1.
    pub fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let process = unique_name("mc");
        let port = free_port()?;
        let link = programs::named(&programs::installed("memcached")?, directory.path(), &process)?;
        let mut command = Command::new(link);
        command.args([
            "--user",
            "nobody",
            "--listen",
            "127.0.0.1",
            "--udp-port",
            "0",
            "--port",
            &port.to_string(),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self { child, _directory: directory, port, process };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            ensure!(self.child.try_wait()?.is_none(), "the server ended");
            ensure!(start.elapsed() < START, "the server does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the agent calls it as a server's end.
    pub fn label(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A number of its own `stats`.
    pub fn stat(&self, name: &str) -> anyhow::Result<f64> {
        let mut session = Session::connect(self)?;
        session.send(b"stats\r\n")?;
        let mut found = None;
        loop {
            let line = session.line()?;
            if line == "END" {
                return found.with_context(|| format!("the server says nothing of {name}"));
            }
            if let Some(value) = line.strip_prefix("STAT ").and_then(|rest| rest.strip_prefix(name)) {
                found = found.or(value.trim().parse().ok());
            }
        }
    }

    /// Keys found and not found, as it counts them: it counts those of `gat` and `gats` apart.
    pub fn keys(&self) -> anyhow::Result<[f64; 2]> {
        let hits = self.stat("get_hits ")? + self.stat("touch_hits ")?;
        let misses = self.stat("get_misses ")? + self.stat("touch_misses ")?;
        Ok([hits, misses])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection of this process's.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    /// Connects.
    pub fn connect(server: &Server) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", server.port))?;
        stream.set_read_timeout(Some(START))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(1 << 16, stream) })
    }

    /// Sends, in one call.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the server has closed the connection");
        Ok(line.trim_end().to_owned())
    }

    /// Reads exactly these bytes.
    pub fn expect(&mut self, expected: &[u8]) -> anyhow::Result<()> {
        let mut bytes = vec![0; expected.len()];
        self.stream
            .read_exact(&mut bytes)
            .with_context(|| format!("instead of {}", expected.escape_ascii()))?;
        ensure!(bytes == expected, "{}, and not {}", bytes.escape_ascii(), expected.escape_ascii());
        Ok(())
    }

    /// Sends, and reads exactly these bytes.
    pub fn ask(&mut self, bytes: &[u8], expected: &[u8]) -> anyhow::Result<()> {
        self.send(bytes)?;
        self.expect(expected)
    }
}

/// One process's sessions with one server, on one of their sides.
pub type View = crate::shown::View<Memcached>;

/// Of what a view tells.
#[derive(Debug)]
pub enum Memcached {}

/// Families of keys found and not found.
const KEYS: [&str; 2] = ["observer_memcached_hits_total", "observer_memcached_misses_total"];

impl View {
    /// Both sides of what a process has to do with a server.
    pub fn both(process: &str, server: &Server) -> [Self; 2] {
        [Self::client(process, &server.label()), Self::server(&server.process, &server.label())]
    }

    /// Keys found and not found so far, by prefix.
    pub fn prefixes(&self, metrics: &Metrics) -> BTreeMap<String, [f64; 2]> {
        self.pairs_by(metrics, KEYS, "cache_key_prefix")
    }

    /// Keys found and not found so far.
    pub fn keys(&self, metrics: &Metrics) -> [f64; 2] {
        KEYS.map(|name| self.sum(metrics, name, &[]))
    }

    /// Commands so far, but for those that a server is asked for its numbers with.
    pub fn commands(&self, metrics: &Metrics) -> BTreeMap<String, f64> {
        let mut commands = self.by(metrics, "observer_memcached_commands_total", "command");
        commands.remove("stats");
        commands
    }

    /// How many commands of a kind have had their time taken, and how long they took together.
    pub fn latency(&self, metrics: &Metrics, command: &str) -> [f64; 2] {
        ["count", "sum"]
            .map(|of| self.sum(metrics, &format!("observer_memcached_seconds_{of}"), &[("command", command)]))
    }

    /// How many of them took no longer than a bound.
    pub fn within(&self, metrics: &Metrics, command: &str, bound: &str) -> f64 {
        self.sum(metrics, "observer_memcached_seconds_bucket", &[("command", command), ("le", bound)])
    }
}

/// Fails if the agent lost anything in memcached's streams.
pub fn nothing_lost(agent: &Agent) -> anyhow::Result<()> {
    Losses::none("memcached").no_more(agent)
}
