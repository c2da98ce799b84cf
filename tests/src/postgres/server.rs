//! A `PostgreSQL` server of a test's own.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::shown::Sessions;
use super::{Address, as_user, cluster, give, named, printed, program};
use crate::programs::free_port;

/// How long it may take to start.
const START: Duration = Duration::from_secs(30);
/// The password of every user, where one is asked for.
pub const PASSWORD: &str = "a secret";

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether clients that come over TCP must know [`PASSWORD`] (SCRAM), and not only say who they are.
    pub password: bool,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// How many sessions there may be; three of them are for superusers.
    pub max_connections: u32,
    /// Whether its WAL has what logical replication needs.
    pub logical: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { password: false, tls: false, max_connections: 200, logical: false }
    }
}

/// A server with an empty cluster. Dropping it ends it and removes the cluster.
///
/// Its superuser is `postgres`; `app` is a user who is not.
#[derive(Debug)]
pub struct Server {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Server {
    /// Starts one whose clients need no password.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&Options::default())
    }

    /// Starts one.
    pub fn start_with(options: &Options) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        give(path)?;
        named(path, "psql", "asks")?;
        cluster::make(path, options.password)?;
        let port = free_port()?;
        let mut command = as_user()?;
        command.arg(program("postgres")?).arg("-D").arg(path.join("data"));
        let settings = [
            format!("port={port}"),
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", path.display()),
            format!("max_connections={}", options.max_connections),
            "shared_preload_libraries=pg_stat_statements".to_owned(),
            "fsync=off".to_owned(),
            "jit=off".to_owned(),
            "autovacuum=off".to_owned(),
            format!("wal_level={}", if options.logical { "logical" } else { "replica" }),
        ];
        for setting in settings {
            command.args(["-c", &setting]);
        }
        if options.tls {
            let [certificate, key] = make_certificate(path)?;
            command.args(["-c", "ssl=on", "-c", &format!("ssl_cert_file={certificate}")]);
            command.args(["-c", &format!("ssl_key_file={key}")]);
        }
        let log = File::create(path.join("log"))?;
        command.current_dir(path).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self { child, directory, port };
        server.wait()?;
        server.ask("CREATE EXTENSION pg_stat_statements")?;
        server.ask(&format!("CREATE USER app PASSWORD '{PASSWORD}'; GRANT ALL ON SCHEMA public TO app"))?;
        Ok(server)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while let Err(error) = self.ask("SELECT 1") {
            let log = std::fs::read_to_string(self.directory.path().join("log"))?;
            ensure!(self.child.try_wait()?.is_none(), "the server ended: {log}");
            ensure!(start.elapsed() < START, "the server does not start: {error:#}\n{log}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Where it listens on TCP.
    pub fn tcp(&self) -> Address {
        Address { host: "127.0.0.1".to_owned(), port: self.port }
    }

    /// Where its UNIX socket is.
    pub fn unix(&self) -> Address {
        Address { host: self.directory.path().display().to_string(), port: self.port }
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it answers to statements: a line a row, `|` between columns. They go over the UNIX socket in a
    /// session of their own, of a process called `asks`, one request each.
    pub fn ask(&self, statements: &str) -> anyhow::Result<String> {
        let mut psql = Command::new(self.directory.path().join("asks"));
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-h",
        ]);
        psql.arg(self.directory.path()).args(["-p", &self.port.to_string()]);
        for statement in statements.split("; ") {
            psql.args(["-c", statement]);
        }
        printed(&mut psql)
    }

    /// Changes a setting, which holds for sessions from now on.
    pub fn set(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.ask(&format!("ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf()"))?;
        // The postmaster is told by a signal, and does not say when it is done.
        thread::sleep(Duration::from_millis(300));
        Ok(())
    }

    /// Ends every other session.
    pub fn terminate_all(&self) -> anyhow::Result<()> {
        let others =
            "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        self.ask(&format!("SELECT count(pg_terminate_backend(pid)) {others}"))?;
        self.reach(Sessions::default())
    }

    /// Keeps it from accepting anybody, until it is resumed.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// Does something while it can start no process, as for a session that wants to begin.
    pub fn while_it_cannot_fork<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let pid = self.child.id().to_string();
        // Its own user may lower the limit of its processes, and raise it again.
        let limit = |arguments: &[&str]| printed(as_user()?.args(["prlimit", "--pid", &pid]).args(arguments));
        let before = limit(&["--nproc", "--output=SOFT", "--noheadings"])?;
        limit(&["--nproc=0:"])?;
        let done = work();
        limit(&[&format!("--nproc={}:", before.trim())])?;
        done
    }

    fn signal(&self, signal: libc::c_int) -> anyhow::Result<()> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: a child of ours that has not been waited for, so the number is its own.
        ensure!(unsafe { libc::kill(pid, signal) } == 0, "cannot signal the server");
        Ok(())
    }

    /// Ends every query that runs, as if its client had asked for that. Tells how many.
    pub fn cancel_all(&self) -> anyhow::Result<u32> {
        let running = "FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()";
        let backends = "backend_type = 'client backend'";
        let cancel = format!("SELECT count(pg_cancel_backend(pid)) {running} AND {backends}");
        Ok(self.ask(&cancel)?.parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT is its immediate shutdown: it ends its sessions' processes, and then itself.
        // It may have been paused, or have ended already.
        let _ = self.signal(libc::SIGQUIT);
        let _ = self.resume();
        let _ = self.child.wait();
    }
}

/// A certificate that nobody has signed, and its key.
pub fn make_certificate(path: &Path) -> anyhow::Result<[String; 2]> {
    let files = ["certificate", "key"].map(|name| path.join(name));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]);
    printed(openssl.arg("-out").arg(&files[0]).arg("-keyout").arg(&files[1]))?;
    for file in &files {
        give(file)?;
    }
    Ok(files.map(|file| file.display().to_string()))
}
