//! Programs that the agent observes: real servers and clients, started by a test and ended with it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;

/// The folder with what `cargo xtask setup` installed for tests.
pub fn environment() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("OBSERVER_TEST_ENV");
    Ok(PathBuf::from(path.context("OBSERVER_TEST_ENV is not set; run: cargo xtask test")?))
}

/// A program where any is.
pub fn installed(name: &str) -> anyhow::Result<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian has nginx, which is not on everybody's PATH.
    let mut found =
        std::env::split_paths(&folders).chain(["/usr/sbin".into()]).map(|folder| folder.join(name));
    found
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed; run: cargo xtask setup"))
}

/// A command that has a program speak MPTCP wherever it would speak TCP.
pub fn over_mptcp(program: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(installed("mptcpize")?);
    command.arg("run").arg(program);
    Ok(command)
}

/// A link to a program, which then runs under the link's name.
pub fn named(program: &Path, directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    anyhow::ensure!(name.len() < 16, "{name} is too long for a process's name");
    let link = directory.join(name);
    std::os::unix::fs::symlink(program, &link)?;
    Ok(link)
}

/// A program that a test talks to by lines. Dropping it ends it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
    /// Where it reads from.
    pub input: Option<ChildStdin>,
}

impl Program {
    /// Starts a program.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        let input = child.stdin.take();
        Ok(Self { child, output, input })
    }

    /// Starts a script below `tests/scripts` with the Python of the test environment.
    pub fn python(script: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let python = environment()?.join("venv/bin/python");
        Self::start(Command::new(python).arg("-u").arg(scripts().join(script)).args(arguments))
    }

    /// Starts a script below `tests/scripts` with Node.js and the test environment's modules.
    pub fn node(script: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let modules = environment()?.join("node_modules");
        let mut command = Command::new("node");
        Self::start(command.env("NODE_PATH", modules).arg(scripts().join(script)).args(arguments))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line)?;
        anyhow::ensure!(length > 0, "the program ended without another line");
        Ok(line.trim_end().to_owned())
    }

    /// Tells it a line.
    pub fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        use std::io::Write as _;
        writeln!(self.input.as_mut().context("its input is closed")?, "{line}")?;
        Ok(())
    }

    /// Closes its input and waits for its end.
    pub fn finish(mut self) -> anyhow::Result<ExitStatus> {
        drop(self.input.take());
        Ok(self.child.wait()?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the scripts are.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

/// A port that is free now, and that nobody is given who does not ask for it: the kernel gives others (see
/// `net.ipv4.ip_local_port_range`), so that it still is free when a server takes it. Each process begins at another.
pub fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 10_240;
    const COUNT: u32 = 20_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let number = std::process::id() * 37 + ASKED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + u16::try_from(number % COUNT)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port from {FIRST} on is free")
}
