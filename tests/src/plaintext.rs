//! An agent that reads what is encrypted, what it says of how much of it, and servers and clients that encrypt.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};

use crate::agent::Agent;
use crate::http::Tally;
use crate::http::log::tally;
use crate::http::shown::View;
use crate::losses::Losses;
use crate::metrics::Metrics;
use crate::nginx::Nginx;
use crate::postgres::server::make_certificate;
use crate::puppet::Puppet;
use crate::websocket::unique_name;

/// An agent that reads what is mapped when it starts.
pub fn reading() -> anyhow::Result<Agent> {
    Agent::start(&["--tls", "start"])
}

/// The agent that tests of a file share, which reads what is mapped by two processes that are there all the while: one of
/// Python, and one of Node. It ends with this process.
pub fn shared() -> anyhow::Result<(Arc<Agent>, [u32; 2])> {
    static SHARED: Mutex<Option<(Arc<Agent>, [u32; 2])>> = Mutex::new(None);
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((agent, pids)) = &*shared {
        return Ok((Arc::clone(agent), *pids));
    }
    let (tell, started) = channel();
    // The kernel ends it with the thread that has started it: no test's, which all end before this process does.
    std::thread::spawn(move || {
        let start = || -> anyhow::Result<_> {
            let python = client(&unique_name("keeps"), 0)?;
            let node = Puppet::start_node("tls_node.js", &unique_name("keeps"))?;
            let agent = Agent::start_until_we_end(&["--tls", "start"])?;
            Ok((agent, [python, node]))
        };
        match start() {
            Ok((agent, keepers)) => {
                let _ = tell.send(Ok((agent, keepers.each_ref().map(Puppet::pid))));
                loop {
                    std::thread::park();
                }
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        }
    });
    let (agent, pids) = started.recv().context("nobody has started an agent")??;
    let agent = Arc::new(agent);
    *shared = Some((Arc::clone(&agent), pids));
    Ok((agent, pids))
}

/// The same, and what it has lost so far of a protocol's streams.
pub fn shared_for(protocol: &'static str) -> anyhow::Result<(Arc<Agent>, Losses)> {
    let (agent, _) = shared()?;
    let losses = Losses::so_far(&agent, protocol)?;
    Ok((agent, losses))
}

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

/// The path of the library that a Python process has mapped.
pub fn library_of(puppet: &mut Puppet) -> anyhow::Result<PathBuf> {
    let path = puppet.ask("library()")?;
    Ok(path.as_str().context("it has no libssl")?.into())
}
