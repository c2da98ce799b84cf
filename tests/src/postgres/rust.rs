//! Clients in this process, with the `postgres` crate: a thread for each session.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::{Client, Config, NoTls};

use super::Address;
use super::clients::State;
use super::server::PASSWORD;

/// How long a statement may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a session without anything to do waits before it reads what has come.
const IDLE: Duration = Duration::from_millis(200);

/// Their sessions.
#[derive(Debug)]
pub struct RustClients {
    config: Config,
    sessions: Vec<Session>,
}

#[derive(Debug)]
struct Session {
    statements: Sender<String>,
    /// The SQLSTATE of each that is over; empty for one that went well.
    results: Receiver<String>,
}

impl RustClients {
    /// None yet.
    pub fn new(target: &Address, user: &str) -> Self {
        let mut config = Config::new();
        config.user(user).password(PASSWORD).dbname("postgres").port(target.port);
        // A path is a UNIX socket's directory.
        config.host(&target.host);
        Self { config, sessions: Vec::new() }
    }

    /// Opens more sessions.
    pub fn login(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            let client = self.config.connect(NoTls)?;
            let (statements, told) = channel();
            let (tell, results) = channel();
            thread::spawn(move || work(client, &told, &tell));
            self.sessions.push(Session { statements, results });
        }
        Ok(())
    }

    /// Puts some sessions in a state, all at once.
    pub fn put(&mut self, state: State, first: usize, last: usize) -> anyhow::Result<()> {
        for session in &self.sessions[first..last] {
            for statement in state.statements() {
                session.statements.send((*statement).to_owned())?;
            }
        }
        if state == State::Active {
            return Ok(());
        }
        for session in &self.sessions[first..last] {
            for statement in state.statements() {
                session.expect(if *statement == "SELECT 1/0" { "22012" } else { "" })?;
            }
        }
        Ok(())
    }

    /// One more statement of each, all at once.
    pub fn again(&mut self, state: State, first: usize, last: usize) -> anyhow::Result<()> {
        if state == State::Active {
            for session in &self.sessions[first..last] {
                session.expect("57014")?;
                session.statements.send("SELECT pg_sleep(3600)".to_owned())?;
            }
            return Ok(());
        }
        for session in &self.sessions[first..last] {
            session.statements.send("SELECT 1".to_owned())?;
        }
        for session in &self.sessions[first..last] {
            session.expect(if state == State::Failed { "25P02" } else { "" })?;
        }
        Ok(())
    }

    /// Closes all that are not active.
    pub fn logout(&mut self) {
        self.sessions.clear();
    }
}

impl Session {
    fn expect(&self, code: &str) -> anyhow::Result<()> {
        let result = self.results.recv_timeout(PATIENCE).context("no end of a statement")?;
        ensure!(result == code, "{result:?}, and not {code:?}");
        Ok(())
    }
}

/// A session's thread; it ends with the session, or once nobody tells it anything any more.
fn work(mut client: Client, told: &Receiver<String>, tell: &Sender<String>) {
    loop {
        let statement = match told.recv_timeout(IDLE) {
            Ok(statement) => statement,
            Err(RecvTimeoutError::Timeout) => {
                read(&mut client);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        // What is prepared goes in the extended protocol.
        let result = client.query(&*statement, &[]);
        let code =
            result.err().map(|error| error.code().map_or("?", postgres::error::SqlState::code).to_owned());
        read(&mut client);
        if tell.send(code.unwrap_or_default()).is_err() {
            break;
        }
    }
}

/// Reads what has come. The end of a query comes after its error, and the answer to the statement's being closed after
/// its rows; this library reads neither before it is asked for something else, and the server may take its time.
fn read(client: &mut Client) {
    let _ = client.notifications().timeout_iter(Duration::from_millis(20)).next();
}
