//! Servers that tell over HTTP when they are ready, as those of Prometheus do.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::programs::free_port;

/// How long one may take to start.
const START: Duration = Duration::from_secs(20);

/// Such a server, with a folder of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Served {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Served {
    /// Starts a program that keeps its files in a folder, on a free port of loopback, and waits until it is ready.
    pub fn start(program: &str, directory: TempDir, arguments: &[String]) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args(arguments).arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let log = File::create(directory.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child =
            command.spawn().with_context(|| format!("cannot start {program}; run: cargo xtask setup"))?;
        let mut served = Self { child, directory, port };
        let start = Instant::now();
        while ureq::get(format!("http://{}/-/ready", served.address())).call().is_err() {
            let log = served.log()?;
            ensure!(served.child.try_wait()?.is_none(), "{program} ended: {log}");
            ensure!(start.elapsed() < START, "{program} does not get ready: {log}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(served)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it has logged.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("log"))?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already, and nobody wants what it has stored.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
