//! The agent under test: the real binary, started as a user would.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::metrics::Metrics;

/// How long the agent may take to attach and to serve, on an emulated machine, too.
const START: Duration = Duration::from_secs(200);

/// The agent's binary.
pub fn binary() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("OBSERVER_BIN").context("OBSERVER_BIN is not set; run: cargo xtask test")?;
    Ok(PathBuf::from(path))
}

/// A copy of it where anybody may execute it: where it was built, not everybody may.
pub fn binary_for_anybody() -> anyhow::Result<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let path = directory.path().join("observer");
    fs::copy(binary()?, &path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok((directory, path))
}

/// A running agent. Dropping it ends it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    address: String,
    scheme: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// Starts something by a thread that stays as long as this process does. What the kernel ends with the thread which has
/// started it needs one that is no test's: these all end before.
pub fn by_a_thread_that_stays<T: Send + 'static>(
    start: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (tell, started) = channel();
    thread::spawn(move || {
        let _ = tell.send(start());
        loop {
            thread::park();
        }
    });
    started.recv().context("nobody has started it")?
}

impl Agent {
    /// Starts `observer run` on a free port with more arguments, and waits until it observes.
    pub fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_by(Command::new(binary()?), arguments)
    }

    /// The same by a command that executes the binary, or another one that takes its arguments.
    pub fn start_by(command: Command, arguments: &[&str]) -> anyhow::Result<Self> {
        let agent = Self::spawn(command, arguments)?;
        agent.get("/readyz").context("the agent does not get ready")?;
        Ok(agent)
    }

    /// The same where not everybody may ask it whether it is ready: it observes once it serves.
    pub fn start_guarded(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(Command::new(binary()?), arguments)
    }

    /// The one that tests of a file share which need no flags and none that starts later. It ends with this process.
    ///
    /// What it counts begins before a test does: a test tells its own by labels that no other one has.
    pub fn shared() -> anyhow::Result<Arc<Self>> {
        static SHARED: Mutex<Option<Arc<Agent>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = &*shared {
            return Ok(Arc::clone(agent));
        }
        let agent = Arc::new(by_a_thread_that_stays(|| Self::start_until_we_end(&[]))?);
        *shared = Some(Arc::clone(&agent));
        Ok(agent)
    }

    /// Starts one that ends with the thread which has started it.
    pub fn start_until_we_end(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(binary()?);
        // SAFETY: of this process only.
        let end_with_parent = || match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: between fork and exec it does nothing but a system call.
        unsafe { command.pre_exec(end_with_parent) };
        Self::start_by(command, arguments)
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> anyhow::Result<Self> {
        // SAFETY: no arguments; it only tells.
        ensure!(unsafe { libc::geteuid() } == 0, "end-to-end tests need root; run: cargo xtask test");
        let mut child = command
            .args(["run", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the agent")?;
        let stderr = child.stderr.take().context("the agent has no stderr")?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, address) = channel();
        let lines = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("serving ")
                    && let Some((scheme, address)) =
                        rest.split_once("/metrics").and_then(|(url, _)| url.split_once("://"))
                {
                    let _ = found.send((scheme.to_owned(), address.to_owned()));
                }
                if let Ok(mut lines) = lines.lock() {
                    lines.push(line);
                }
            }
        });
        let mut agent = Self { child, address: String::new(), scheme: String::new(), log };
        (agent.scheme, agent.address) = agent.wait_for_address(&address)?;
        Ok(agent)
    }

    fn wait_for_address(&mut self, found: &Receiver<(String, String)>) -> anyhow::Result<(String, String)> {
        found
            .recv_timeout(START)
            .with_context(|| format!("the agent did not start; its log: {:#?}", self.log()))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves: `ADDR:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same as a URL, without a path.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What it has logged so far, by line.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().map(|lines| lines.clone()).unwrap_or_default()
    }

    /// The body that a path answers with, which must be a success.
    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("http://{}{path}", self.address);
        let mut answer = ureq::get(&url).call().with_context(|| format!("GET {path}"))?;
        answer.body_mut().with_config().limit(1 << 30).read_to_string().with_context(|| format!("GET {path}"))
    }

    /// The JSON that a path answers with.
    pub fn json(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.get(path)?).with_context(|| format!("GET {path}"))
    }

    /// Runs of its programs that the kernel left out, as a program was running on that processor already.
    pub fn missed_runs(&self) -> anyhow::Result<f64> {
        self.json("/status")?["missed_runs"].as_f64().context("no missed_runs")
    }

    /// All metrics now.
    pub fn scrape(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics")?))
    }

    /// Scrapes until `holds`, and returns that scrape; fails with `what` after ten seconds.
    pub fn wait_until(&self, what: &str, holds: impl Fn(&Metrics) -> bool) -> anyhow::Result<Metrics> {
        let start = Instant::now();
        loop {
            let metrics = self.scrape()?;
            if holds(&metrics) {
                return Ok(metrics);
            }
            if start.elapsed() > Duration::from_secs(10) {
                bail!("not within 10 s: {what}\n{}", metrics.text());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.memory("VmRSS:")
    }

    /// That of it in bytes which is the agent's own, and no part of a map: of those, more is touched the more
    /// connections there are at once, up to what they were made for.
    pub fn own_bytes(&self) -> anyhow::Result<u64> {
        self.memory("RssAnon:")
    }

    fn memory(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("no {name}"))?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }

    /// Sends it SIGTERM and waits for its end.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        Ok(self.child.wait()?)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) -> anyhow::Result<()> {
        let pid = libc::pid_t::try_from(self.pid())?;
        // SAFETY: a child of ours that has not been waited for, so the number is its own.
        ensure!(unsafe { libc::kill(pid, signal) } == 0, "cannot signal the agent");
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
