//! `PostgreSQL`: servers, pools and clients of every kind, and what they themselves say of their sessions.

pub mod clients;
pub mod pgbench;
pub mod pgbouncer;
pub mod rust;
pub mod server;
pub mod shown;
pub mod wire;

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

/// Below it, Debian keeps a directory for each version: what the server consists of is not on `PATH`.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Who the server runs as; it refuses root.
const USER: &str = "postgres";

/// One of the newest `PostgreSQL`'s programs.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let versions = Path::new(VERSIONS).read_dir().into_iter().flatten().filter_map(Result::ok);
    let found = versions.filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin").join(name)))
    });
    let newest = found.filter(|(_, path)| path.is_file()).max().map(|(_, path)| path);
    newest.with_context(|| format!("there is no {name} below {VERSIONS}; run: cargo xtask setup"))
}

/// A link to one of its programs, which then runs under the link's name.
pub fn named(directory: &Path, program_name: &str, name: &str) -> anyhow::Result<PathBuf> {
    ensure!(name.len() < 16, "{name} is too long for a process's name");
    let link = directory.join(name);
    std::os::unix::fs::symlink(program(program_name)?, &link)?;
    Ok(link)
}

/// A command that executes its arguments as the server's user.
fn as_user() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--"]);
    command
}

/// Gives a file or directory to the server's user.
fn give(path: &Path) -> anyhow::Result<()> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let user = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|line| line[0] == USER);
    let Some([_, _, user, group, ..]) = user.as_deref() else {
        bail!("there is no user {USER}; run: cargo xtask setup");
    };
    chown(path, Some(user.parse()?), Some(group.parse()?))?;
    Ok(())
}

/// Runs a program that must succeed, and returns what it printed.
pub fn printed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Where a server or a pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// An IPv4 address, or the directory of a UNIX socket.
    pub host: String,
    /// Its port, or the UNIX socket's number.
    pub port: u16,
}

impl Address {
    /// What the agent calls it.
    pub fn label(&self) -> String {
        let Self { host, port } = self;
        if host.starts_with('/') { format!("{host}/.s.PGSQL.{port}") } else { format!("{host}:{port}") }
    }
}
