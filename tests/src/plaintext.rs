//! An agent that reads what is encrypted, what it says of how much of it, and servers and clients that encrypt.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};

use crate::agent::{Agent, by_a_thread_that_stays};
use crate::http::Tally;
use crate::http::log::tally;
use crate::http::shown::View;
use crate::losses::Losses;
use crate::metrics::Metrics;
use crate::nginx::Nginx;
use crate::postgres::server::make_certificate;
use crate::puppet::Puppet;
use crate::redis::Address;
use crate::redis::clients::{Clients, Library, Protocol};
use crate::redis::server::Server;
use crate::redis::shown::View as Shown;
use crate::redis::work::{Tally as Commands, Work};
use crate::websocket::unique_name;
use serde_json::Value;

/// An agent that reads what is mapped when it starts.
pub fn reading() -> anyhow::Result<Agent> {
    Agent::start(&["--tls", "start"])
}

/// The agent that tests of a file share, which reads what is mapped by two processes that are there all the while: one of
/// Python, and one of Node. It ends with this process.
pub fn shared() -> anyhow::Result<(Arc<Agent>, [u32; 2])> {
    static SHARED: Mutex<Option<(Arc<Agent>, [Puppet; 2])>> = Mutex::new(None);
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let (agent, keepers) = match shared.take() {
        Some(kept) => kept,
        None => by_a_thread_that_stays(|| {
            let python = client(&unique_name("keeps"), 0)?;
            let node = Puppet::start_node("tls_node.js", &unique_name("keeps"))?;
            Ok((Arc::new(Agent::start_until_we_end(&["--tls", "start"])?), [python, node]))
        })?,
    };
    let told = (Arc::clone(&agent), keepers.each_ref().map(Puppet::pid));
    *shared = Some((agent, keepers));
    Ok(told)
}

/// The same, and what it has lost so far of a protocol's streams.
pub fn shared_for(protocol: &'static str) -> anyhow::Result<(Arc<Agent>, Losses)> {
    let (agent, _) = shared()?;
    let losses = Losses::so_far(&agent, protocol)?;
    Ok((agent, losses))
}

/// How a connection is read whose plaintext is.
pub const READ: [&str; 3] = ["openssl", "yes", ""];

/// Open connections of a process by how they are read: the library, whether, and why not.
pub fn open(metrics: &Metrics, process: &str) -> Vec<([String; 3], f64)> {
    let samples = metrics.samples("observer_tls_connections", &[("process", process)]);
    let counted = samples.iter().filter(|sample| sample.value != 0.0);
    let named = counted.map(|sample| {
        let labels = ["library", "read", "reason"].map(|name| sample.labels[name].clone());
        (labels, sample.value)
    });
    named.collect()
}

/// So many connections of a process are open, and all are read to this extent.
pub fn expect_open(agent: &Agent, process: &str, how: [&str; 3], count: f64) -> anyhow::Result<()> {
    let how = how.map(str::to_owned);
    let is_so = |metrics: &Metrics| {
        let open = open(metrics, process);
        open.iter().all(|(labels, _)| *labels == how)
            && open.iter().map(|(_, count)| count).sum::<f64>() == count
    };
    let outcome = agent.wait_until(&format!("{count} of {process}: {how:?}"), is_so);
    outcome.map(drop).map_err(|error| {
        // What it says in its place, and not all that it says.
        let first = format!("{error}").lines().next().unwrap_or_default().to_owned();
        anyhow::anyhow!("{first}, but {:?}", agent.scrape().map(|metrics| open(&metrics, process)))
    })
}

/// Bytes of a process's application records so far that were read, and that were not.
pub fn bytes(metrics: &Metrics, process: &str) -> [f64; 2] {
    ["yes", "no"].map(|read| metrics.sum("observer_tls_bytes_total", &[("process", process), ("read", read)]))
}

/// All bytes of a process's records were read, and there were some.
pub fn all_was_read(agent: &Agent, process: &str) -> anyhow::Result<()> {
    let [yes, no] = bytes(&agent.scrape()?, process);
    ensure!(yes > 0.0 && no == 0.0, "{process}: {yes} bytes read, and {no} not");
    Ok(())
}

/// No bytes of a process's records were read, and there were at least so many, and no more than records add to them.
pub fn nothing_was_read(agent: &Agent, process: &str, least: f64) -> anyhow::Result<()> {
    let [yes, no] = bytes(&agent.scrape()?, process);
    // Each record of up to 16 KiB adds some bytes, and handshakes and heads have a few.
    let expected = least..least.mul_add(1.01, 60_000.0);
    ensure!(yes == 0.0 && expected.contains(&no), "{process}: {yes} bytes read, {no} not, and not {least}");
    Ok(())
}

/// A server of files that speaks TLS, and writes a log.
#[derive(Debug)]
pub struct Site {
    /// The server. Its files are `page` of 200 bytes and `large` of 1,000,000, and it takes what is put at `/takes`.
    pub nginx: Nginx,
    /// What it proves itself with: a certificate, and its key.
    pub certificate: [String; 2],
    folder: tempfile::TempDir,
    /// How many requests it has been made, by those who made them.
    pub count: usize,
}

impl Site {
    /// Starts it with more directives around the server.
    pub fn start(around: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificate = make_certificate(folder.path())?;
        let nginx = Nginx::logging_as(
            "ssl",
            &format!("{} {around}", directives(&certificate)),
            "location = /takes { return 201 taken; } location = /fails { return 503 sorry; }",
        )?;
        nginx.write("page", 200)?;
        nginx.write("large", 1_000_000)?;
        Ok(Self { nginx, certificate, folder, count: 0 })
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("https://{}", self.nginx.label())
    }

    /// A folder for what a test needs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the agent shows of it, and of a client of its.
    pub fn views(&self, client: &str) -> [View; 2] {
        let label = self.nginx.label();
        [View::server(&self.nginx.name, &label), View::client(client, &label)]
    }

    /// So many more requests have been made. Returns what its log says of these.
    pub fn logged(&mut self, more: usize) -> anyhow::Result<Tally> {
        let before = self.count;
        self.count += more;
        let log = self.nginx.logged(self.count)?;
        Ok(tally(&log[before..], route).shown())
    }

    /// What its log says of all that have been made.
    pub fn all(&self) -> anyhow::Result<Tally> {
        Ok(tally(&self.nginx.logged(self.count)?, route).shown())
    }
}

/// A Redis server that speaks TLS on another port, with clients that do.
pub struct Cache {
    /// The server.
    pub server: Server,
    /// The clients, without any session yet.
    pub clients: Clients,
    /// Where the server speaks TLS.
    pub port: u16,
    /// What the agent calls that.
    pub label: String,
    folder: tempfile::TempDir,
}

impl Cache {
    /// Starts both.
    pub fn start() -> anyhow::Result<Self> {
        Self::with(Library::Python)
    }

    /// Starts both, the clients written with this.
    pub fn with(library: Library) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (server, port) = Server::start_over_tls(&make_certificate(folder.path())?)?;
        let mut clients = Clients::start(library, Protocol::Resp2, &Address::Tcp(port))?;
        match library {
            Library::Python => clients
                .puppet()?
                .run("target.update(ssl=True, ssl_cert_reqs='none', ssl_check_hostname=False)")?,
            Library::Node => clients.puppet()?.run("encrypt()")?,
            Library::Asyncio => {}
            Library::Rust => bail!("those of Rust do not speak TLS here"),
        }
        Ok(Self { server, clients, port, label: format!("127.0.0.1:{port}"), folder })
    }

    /// A folder for what a test needs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the agent shows of the clients, and of the server.
    pub fn views(&self) -> [Shown; 2] {
        [Shown::client(&self.clients.process, &self.label), Shown::server(&self.server.process, &self.label)]
    }

    /// Has sessions do some work. Tells what came of it, which the server must have seen, too.
    pub fn work(&mut self, sessions: &[usize], commands: u32) -> anyhow::Result<Commands> {
        self.server.reset()?;
        let mut truth = Commands::default();
        for (number, &session) in (1..).zip(sessions) {
            let depth = if number % 2 == 0 { 10 } else { 1 };
            let seed = number * 100 + commands;
            truth.add(&self.clients.work(session, Work { commands, depth, seed })?);
        }
        let keyspace = self.server.keyspace()?;
        ensure!(keyspace == truth.keys(), "the server has {keyspace:?}, its client {:?}", truth.keys());
        Ok(truth)
    }
}

/// The route of a path of a [`Site`].
pub fn route(path: &str) -> String {
    if path == "/absent" { "unmatched".to_owned() } else { path.to_owned() }
}

/// What has nginx speak TLS of both versions with a certificate.
pub fn directives([certificate, key]: &[String; 2]) -> String {
    format!(
        "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
         ssl_session_cache shared:SSL:1m;"
    )
}

/// A Python process that asks servers by what its `ssl` gives it, on sockets of its own (`tests/scripts/tls_client.py`).
pub fn client(name: &str, port: u16) -> anyhow::Result<Puppet> {
    made_client(Puppet::start(name)?, port)
}

/// The same with a copy of the library in a folder.
pub fn client_of(folder: &Path, name: &str, port: u16) -> anyhow::Result<Puppet> {
    let mut command = std::process::Command::new("env");
    command.arg(format!("LD_LIBRARY_PATH={}", folder.display()));
    made_client(Puppet::start_by(command, name)?, port)
}

fn made_client(mut puppet: Puppet, port: u16) -> anyhow::Result<Puppet> {
    puppet.run("from tls_client import *")?;
    puppet.run(&format!("use({port})"))?;
    Ok(puppet)
}

/// So many requests for a page of so many bytes, and nothing else.
pub fn pages(count: f64, length: f64) -> Tally {
    let requests = [(["GET", "/page", "200"].map(str::to_owned), count)].into();
    Tally { requests, bodies: [("/page".to_owned(), [0.0, count * length])].into() }
}

/// A process of Python's asyncio, or of uvloop.
pub fn asyncio(name: &str, uvloop: bool) -> anyhow::Result<Puppet> {
    let mut puppet = Puppet::start(name)?;
    puppet.run("from tls_asyncio import *")?;
    if uvloop {
        puppet.run("use_uvloop()")?;
    }
    Ok(puppet)
}

/// The same, which is a server as well: with the port where it speaks TLS.
pub fn serving(name: &str, uvloop: bool) -> anyhow::Result<(Puppet, u16)> {
    let folder = tempfile::tempdir()?;
    // It has read both once it is there.
    let [certificate, key] = make_certificate(folder.path())?;
    let mut server = asyncio(name, uvloop)?;
    let port = port(server.ask(&format!("serve('{certificate}', '{key}')"))?)?;
    Ok((server, port))
}

/// What the agent shows of a client and of the server that it asks, on a port of this host.
pub fn ends([client, server]: [&str; 2], port: u16) -> [View; 2] {
    let label = format!("127.0.0.1:{port}");
    [View::client(client, &label), View::server(server, &label)]
}

/// A port that a script has told.
pub fn port(told: Value) -> anyhow::Result<u16> {
    serde_json::from_value(told).context("no port")
}

/// The path of the library that a Python process has mapped.
pub fn library_of(puppet: &mut Puppet) -> anyhow::Result<PathBuf> {
    let path = puppet.ask("library()")?;
    Ok(path.as_str().context("it has no libssl")?.into())
}

/// Puts a copy of the library that Python's `ssl` uses into a folder, in place of what has its name there: no process has
/// that file mapped, whatever else runs on this host.
pub fn copy_library(folder: &Path) -> anyhow::Result<()> {
    let library = library_of(&mut client(&unique_name("maps"), 0)?)?;
    let name = library.file_name().context("a library without a name")?;
    let new = folder.join("new");
    std::fs::copy(&library, &new)?;
    Ok(std::fs::rename(&new, folder.join(name))?)
}
