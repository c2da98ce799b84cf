//! Clients of every kind, whose sessions a test puts in the states it wants.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::rust::RustClients;
use super::server::PASSWORD;
use super::shown::Sessions;
use super::{Address, named};
use crate::programs::Program;
use crate::puppet::Puppet;
use crate::websocket::{own_name, unique_name};

/// What a client is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Python, extended protocol with prepared statements.
    Asyncpg,
    /// Python and libpq, extended protocol.
    Psycopg,
    /// libpq, simple protocol; a process for each session.
    Psql,
    /// Node.js, prepared statements for what selects, simple protocol for the rest.
    Node,
    /// Rust, in this process; prepared statements.
    Rust,
}

/// What a session is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Idle,
    /// A query that does not end.
    Active,
    /// Nothing, inside a transaction.
    InTransaction,
    /// Nothing, inside a transaction that has failed.
    Failed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Active, Self::InTransaction, Self::Failed];

    const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::InTransaction => "in transaction",
            Self::Failed => "failed",
        }
    }

    /// What puts an idle session in it; the last statement of one that is active does not end.
    pub const fn statements(self) -> &'static [&'static str] {
        match self {
            Self::Idle => &["SELECT 1"],
            Self::Active => &["SELECT pg_sleep(3600)"],
            Self::InTransaction => &["BEGIN", "SELECT 1"],
            Self::Failed => &["BEGIN", "SELECT 1/0"],
        }
    }
}

/// How many sessions in each state, in this order.
pub type Mix = [(State, usize)];

/// What must be said of a mix.
pub fn sessions(mix: &Mix) -> Sessions {
    let count = |wanted: &[State]| -> f64 {
        let counts = mix.iter().filter(|(state, _)| wanted.contains(state)).map(|(_, count)| *count as f64);
        counts.sum()
    };
    Sessions {
        active: count(&[State::Active]),
        idle: count(&[State::Idle]),
        in_transaction: count(&[State::InTransaction, State::Failed]),
        waiting: 0.0,
    }
}

/// Clients, and their sessions. Dropping them ends all.
#[derive(Debug)]
pub struct Clients {
    /// What the agent calls their process.
    pub process: String,
    kind: Kind,
    target: Address,
}

#[derive(Debug)]
enum Kind {
    Told(Puppet),
    Psql(Vec<Program>, TempDir),
    Rust(Box<RustClients>),
}

impl Clients {
    /// Clients of a server or a pool without any session yet; they are `postgres`.
    pub fn start(library: Library, target: &Address) -> anyhow::Result<Self> {
        Self::start_as(library, target, "postgres")
    }

    /// The same as another user, who is known by a password.
    pub fn start_as(library: Library, target: &Address, user: &str) -> anyhow::Result<Self> {
        let target = target.clone();
        let process = unique_name("db");
        let (process, kind) = match library {
            Library::Asyncpg => {
                let puppet = python(&process, "asyncpg", &target, user, "disable")?;
                (process, Kind::Told(puppet))
            }
            Library::Psycopg => {
                let puppet = python(&process, "psycopg", &target, user, "disable")?;
                (process, Kind::Told(puppet))
            }
            Library::Node => {
                let mut puppet = Puppet::start_node("postgres_client.js", &process)?;
                let Address { host, port } = &target;
                puppet.run(&format!("use('pg', '{host}', {port}, '{user}', '{PASSWORD}')"))?;
                (process, Kind::Told(puppet))
            }
            Library::Psql => {
                let directory = tempfile::tempdir()?;
                named(directory.path(), "psql", &process)?;
                (process, Kind::Psql(Vec::new(), directory))
            }
            Library::Rust => (own_name()?, Kind::Rust(Box::new(RustClients::new(&target, user)))),
        };
        Ok(Self { process, kind, target })
    }

    /// Opens more sessions.
    pub fn login(&mut self, count: usize) -> anyhow::Result<()> {
        match &mut self.kind {
            Kind::Told(puppet) => expect_none(&puppet.ask(&format!("login({count})"))?),
            Kind::Psql(programs, directory) => {
                for _ in 0..count {
                    let mut psql = Command::new(directory.path().join(&self.process));
                    psql.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", "postgres"]);
                    psql.args(["-h", &self.target.host, "-p", &self.target.port.to_string()]);
                    psql.env("PGSSLMODE", "prefer").env("PGPASSWORD", PASSWORD).stderr(Stdio::null());
                    programs.push(Program::start(&mut psql)?);
                }
                programs.iter_mut().rev().take(count).try_for_each(settled)
            }
            Kind::Rust(clients) => clients.login(count),
        }
    }

    /// Puts as many idle sessions as there are in a mix in its states, the first ones first.
    pub fn put(&mut self, mix: &Mix) -> anyhow::Result<()> {
        for_each(mix, |state, first, last| self.put_some(state, first, last))
    }

    /// Puts some of the sessions, which are idle, in a state.
    pub fn put_some(&mut self, state: State, first: usize, last: usize) -> anyhow::Result<()> {
        match &mut self.kind {
            Kind::Told(puppet) => {
                let told = puppet.ask(&format!("put({first}, {last}, '{}')", state.word()))?;
                let failed = if state == State::Failed { last - first } else { 0 };
                expect_codes(&told, "22012", failed)
            }
            Kind::Psql(programs, _) => {
                for psql in &mut programs[first..last] {
                    for statement in state.statements() {
                        psql.tell(&format!("{statement};"))?;
                    }
                    if state != State::Active {
                        settled(psql)?;
                    }
                }
                Ok(())
            }
            Kind::Rust(clients) => clients.put(state, first, last),
        }
    }

    /// Has each session run one more statement in its state. Those that are active must have been interrupted
    /// by the server, and go on with another query.
    pub fn again(&mut self, mix: &Mix) -> anyhow::Result<()> {
        for_each(mix, |state, first, last| match &mut self.kind {
            Kind::Told(puppet) => {
                let told = puppet.ask(&format!("again({first}, {last}, '{}')", state.word()))?;
                let (code, count) = match state {
                    State::Failed => ("25P02", last - first),
                    State::Active => ("57014", last - first),
                    State::Idle | State::InTransaction => ("", 0),
                };
                expect_codes(&told, code, count)
            }
            Kind::Psql(programs, _) => {
                for psql in &mut programs[first..last] {
                    if state == State::Active {
                        settled(psql)?;
                        psql.tell("SELECT pg_sleep(3600);")?;
                    } else {
                        psql.tell("SELECT 1;")?;
                        settled(psql)?;
                    }
                }
                Ok(())
            }
            Kind::Rust(clients) => clients.again(state, first, last),
        })
    }

    /// Closes all sessions that are not active.
    pub fn logout(&mut self) -> anyhow::Result<()> {
        match &mut self.kind {
            Kind::Told(puppet) => puppet.run("logout()"),
            Kind::Psql(programs, _) => programs.drain(..).try_for_each(|psql| psql.finish().map(drop)),
            Kind::Rust(clients) => {
                clients.logout();
                Ok(())
            }
        }
    }

    /// The script, for what only it can do.
    pub fn puppet(&mut self) -> anyhow::Result<&mut Puppet> {
        match &mut self.kind {
            Kind::Told(puppet) => Ok(puppet),
            Kind::Psql(..) | Kind::Rust(_) => bail!("these clients are not told by lines"),
        }
    }
}

/// A Python process that has no session yet.
pub fn python(
    name: &str,
    library: &str,
    target: &Address,
    user: &str,
    encryption: &str,
) -> anyhow::Result<Puppet> {
    let mut puppet = Puppet::start(name)?;
    puppet.run("from postgres_client import *")?;
    let Address { host, port } = target;
    puppet.run(&format!("use('{library}', '{host}', {port}, '{user}', '{PASSWORD}', '{encryption}')"))?;
    Ok(puppet)
}

/// Waits until `psql` has done what it was told before.
fn settled(psql: &mut Program) -> anyhow::Result<()> {
    psql.tell("\\echo settled")?;
    while psql.line()? != "settled" {}
    Ok(())
}

fn for_each(
    mix: &Mix,
    mut work: impl FnMut(State, usize, usize) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut first = 0;
    for &(state, count) in mix {
        work(state, first, first + count).with_context(|| format!("{count} sessions: {state:?}"))?;
        first += count;
    }
    Ok(())
}

fn expect_none(told: &Value) -> anyhow::Result<()> {
    expect_codes(told, "", 0)
}

/// The SQLSTATEs that a script has told.
pub fn expect_codes(told: &Value, code: &str, count: usize) -> anyhow::Result<()> {
    let codes: Vec<String> = serde_json::from_value(told.clone()).context("no SQLSTATEs")?;
    ensure!(codes.len() == count && codes.iter().all(|one| one == code), "{code} {count} times? {codes:?}");
    Ok(())
}
