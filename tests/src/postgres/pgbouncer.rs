//! A pool between clients and a server.

use std::fs::File;
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::{Address, as_user, give};
use crate::programs::free_port;

/// How long it may take to start.
const START: Duration = Duration::from_secs(10);

/// `pgbouncer` in transaction mode. Dropping it ends it.
#[derive(Debug)]
pub struct Pgbouncer {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl Pgbouncer {
    /// Starts one in front of a server, to which it opens at most `size` sessions.
    pub fn start(server: &Address, size: u32) -> anyhow::Result<Self> {
        Self::start_for(500, server, size)
    }

    /// The same for at most so many clients.
    pub fn start_for(clients: u32, server: &Address, size: u32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        give(path)?;
        let port = free_port()?;
        let users = path.join("users");
        std::fs::write(&users, "\"postgres\" \"\"\n\"app\" \"\"\n")?;
        let configuration = path.join("pgbouncer.ini");
        let Address { host, port: server } = server;
        let text = format!(
            "[databases]\n* = host={host} port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir = {directory}\nauth_type = trust\nauth_file = {users}\n\
             pool_mode = transaction\ndefault_pool_size = {size}\nmax_client_conn = {clients}\n\
             ignore_startup_parameters = extra_float_digits,search_path\n",
            directory = path.display(),
            users = users.display(),
        );
        std::fs::write(&configuration, text)?;
        for file in [&users, &configuration] {
            give(file)?;
        }
        let log = File::create(path.join("log"))?;
        let mut command = as_user()?;
        command.arg("pgbouncer").arg(&configuration).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut pool = Self { child, directory, port };
        pool.wait()?;
        Ok(pool)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = std::fs::read_to_string(self.directory.path().join("log"))?;
            ensure!(self.child.try_wait()?.is_none(), "pgbouncer ended: {log}");
            ensure!(start.elapsed() < START, "pgbouncer does not start: {log}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Where it listens on TCP.
    pub fn tcp(&self) -> Address {
        Address { host: "127.0.0.1".to_owned(), port: self.port }
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
