//! `PostgreSQL`: servers, pools and clients of every kind, and what they themselves say of their sessions.

pub mod clients;
mod cluster;
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

use crate::programs;

/// Below it, Debian keeps a directory for each version: what the server consists of is not on `PATH`.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Who the server runs as; it refuses root. Its own user is there only where its package is installed.
const USER: &str = "nobody";

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
    programs::named(&program(program_name)?, directory, name)
}

/// The numbers of the server's user and its group.
fn user() -> anyhow::Result<[u32; 2]> {
    let found = printed(Command::new("getent").args(["passwd", USER]));
    let found = found.with_context(|| format!("there is no user {USER}, whom every Linux system has"))?;
    let fields: Vec<&str> = found.split(':').collect();
    let [_, _, user, group, ..] = fields[..] else { bail!("getent says of {USER}: {found}") };
    Ok([user.parse()?, group.parse()?])
}

/// A command that executes its arguments as the server's user.
fn as_user() -> anyhow::Result<Command> {
    let [user, group] = user()?;
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).args(["--clear-groups", "--"]);
    Ok(command)
}

/// Gives a file or directory to the server's user.
fn give(path: &Path) -> anyhow::Result<()> {
    let [user, group] = user()?;
    chown(path, Some(user), Some(group)).with_context(|| format!("cannot give away {}", path.display()))
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
