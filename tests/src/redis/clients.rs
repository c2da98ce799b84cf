//! Clients of every kind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, bail, ensure};
use redis::{
    Client, Connection, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo,
};
use serde_json::json;

use super::Address;
use super::work::{Tally, Work, spaces};
use crate::noise::Chance;
use crate::puppet::Puppet;
use crate::websocket::{own_name, unique_name};

/// What a client is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Python: redis-py.
    Python,
    /// Python: redis-py's asyncio, which speaks TLS.
    Asyncio,
    /// Node.js: node-redis.
    Node,
    /// Rust, in this process.
    Rust,
}

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The one that a session starts in.
    Resp2,
    /// The one that `HELLO 3` asks for.
    Resp3,
}

/// Clients, and their sessions. Dropping them ends all.
pub struct Clients {
    /// What the agent calls their process.
    pub process: String,
    kind: Kind,
}

enum Kind {
    Told(Puppet),
    Rust(Client, Vec<Connection>),
}

impl Clients {
    /// Clients of a server without any session yet.
    pub fn start(library: Library, protocol: Protocol, target: &Address) -> anyhow::Result<Self> {
        let process = unique_name("cache");
        let (process, kind) = match library {
            Library::Python | Library::Asyncio => {
                let mut puppet = Puppet::start(&process)?;
                let script = if library == Library::Asyncio { "redis_asyncio" } else { "redis_client" };
                puppet.run(&format!("from {script} import *"))?;
                puppet.run(&used(protocol, target))?;
                (process, Kind::Told(puppet))
            }
            Library::Node => {
                let mut puppet = Puppet::start_node("redis_client.js", &process)?;
                puppet.run(&used(protocol, target))?;
                (process, Kind::Told(puppet))
            }
            Library::Rust => (own_name()?, Kind::Rust(client(protocol, target)?, Vec::new())),
        };
        Ok(Self { process, kind })
    }

    /// Opens more sessions.
    pub fn login(&mut self, count: usize) -> anyhow::Result<()> {
        match &mut self.kind {
            Kind::Told(puppet) => puppet.run(&format!("login({count})")),
            Kind::Rust(client, sessions) => {
                for _ in 0..count {
                    sessions.push(client.get_connection()?);
                }
                Ok(())
            }
        }
    }

    /// Has a session do some work, and tells what came of it.
    pub fn work(&mut self, session: usize, work: Work) -> anyhow::Result<Tally> {
        match &mut self.kind {
            Kind::Told(_) => {
                self.begin(session, work)?;
                self.finish()
            }
            Kind::Rust(_, sessions) => rust(&mut sessions[session], work),
        }
    }

    /// The same, without waiting.
    pub fn begin(&mut self, session: usize, work: Work) -> anyhow::Result<()> {
        self.puppet()?.tell(&format!("work({session}, {})", work.arguments()))
    }

    /// What came of it.
    pub fn finish(&mut self) -> anyhow::Result<Tally> {
        Ok(serde_json::from_value(self.puppet()?.answer()?)?)
    }

    /// Has a session be at work all the while that something else is done, and for `rest` of it once that is over. Tells
    /// what came of all that, and of the other.
    ///
    /// It is told its work in pieces, of which the next one always waits for it already, so that it never pauses.
    pub fn work_during<T>(
        &mut self,
        session: usize,
        piece: Work,
        rest: Work,
        other: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(Tally, T)> {
        // With pieces that are alike, it would ask for the same keys again and again.
        let mut seed = piece.seed;
        let mut next = || {
            seed += 1;
            Work { seed, ..piece }
        };
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let working = scope.spawn(|| -> anyhow::Result<Tally> {
                let mut tally = Tally::default();
                self.begin(session, next())?;
                while !over.load(Ordering::Acquire) {
                    self.begin(session, next())?;
                    tally.add(&self.finish()?);
                }
                self.begin(session, rest)?;
                tally.add(&self.finish()?);
                tally.add(&self.finish()?);
                Ok(tally)
            });
            let other = other();
            over.store(true, Ordering::Release);
            let tally = working.join().unwrap_or_else(|_| bail!("it panicked"))?;
            Ok((tally, other?))
        })
    }

    /// Has a session run commands of words between spaces one after the other, none of which may fail.
    pub fn run(&mut self, session: usize, commands: &[&str]) -> anyhow::Result<()> {
        let commands: Vec<Vec<&str>> = commands.iter().map(|words| words.split(' ').collect()).collect();
        let errors = self.puppet()?.ask(&format!("run({session}, {})", json!(commands)))?;
        ensure!(errors == json!([]), "{errors}");
        Ok(())
    }

    /// Closes all sessions.
    pub fn logout(&mut self) -> anyhow::Result<()> {
        match &mut self.kind {
            Kind::Told(puppet) => puppet.run("logout()"),
            Kind::Rust(_, sessions) => {
                sessions.clear();
                Ok(())
            }
        }
    }

    /// The script, for what only it can do.
    pub fn puppet(&mut self) -> anyhow::Result<&mut Puppet> {
        match &mut self.kind {
            Kind::Told(puppet) => Ok(puppet),
            Kind::Rust(..) => bail!("these clients are not told by lines"),
        }
    }
}

pub(crate) fn used(protocol: Protocol, target: &Address) -> String {
    let protocol = if protocol == Protocol::Resp3 { 3 } else { 2 };
    match target {
        Address::Tcp(port) => format!("use({protocol}, '127.0.0.1', {port}, '')"),
        Address::Unix(path) => format!("use({protocol}, '', 0, '{}')", path.display()),
    }
}

fn client(protocol: Protocol, target: &Address) -> anyhow::Result<Client> {
    let address = match target {
        Address::Tcp(port) => ConnectionAddr::Tcp("127.0.0.1".to_owned(), *port),
        Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    let protocol = match protocol {
        Protocol::Resp2 => ProtocolVersion::RESP2,
        Protocol::Resp3 => ProtocolVersion::RESP3,
    };
    let settings = RedisConnectionInfo::default().set_protocol(protocol);
    Ok(Client::open(address.into_connection_info()?.set_redis_settings(settings))?)
}

/// One command of the work: its name, and its keys with their prefixes.
struct Asked {
    command: &'static str,
    keys: Vec<(&'static str, String)>,
    value: String,
}

impl Asked {
    fn any(chance: &mut Chance, spaces: &[(&'static str, String)], mixed: bool) -> Self {
        let any = |chance: &mut Chance| chance.below(spaces.len() as u32) as usize;
        let space = any(chance);
        let key = |space: usize, number: u32| (spaces[space].0, format!("{}{number}", spaces[space].1));
        let (command, keys) = match chance.below(100) {
            0..65 => ("get", vec![key(space, chance.below(200))]),
            65..85 => {
                let count = 1 + chance.below(8);
                let one = |chance: &mut Chance| {
                    let space = if mixed { any(chance) } else { space };
                    key(space, chance.below(200))
                };
                ("mget", (0..count).map(|_| one(chance)).collect())
            }
            // Half of the keys are never written.
            _ => ("set", vec![key(space, chance.below(100))]),
        };
        let length = [1, 20, 300, 3000][chance.below(4) as usize];
        Self { command, keys, value: "v".repeat(length) }
    }

    fn command(&self) -> redis::Cmd {
        let mut command = redis::cmd(&self.command.to_uppercase());
        for (_, key) in &self.keys {
            command.arg(key);
        }
        if self.command == "set" {
            command.arg(&self.value);
        }
        command
    }

    fn count(&self, tally: &mut Tally, reply: &redis::Value) -> anyhow::Result<()> {
        *tally.commands.entry(self.command.to_owned()).or_default() += 1.0;
        let replies = match (self.command, reply) {
            ("set", redis::Value::Okay) => &[][..],
            ("mget", redis::Value::Array(replies)) => replies,
            ("get", reply) => std::slice::from_ref(reply),
            (command, reply) => bail!("{command}: {reply:?}"),
        };
        ensure!(self.command == "set" || replies.len() == self.keys.len(), "{} replies", replies.len());
        for ((prefix, _), reply) in self.keys.iter().zip(replies) {
            let counts = tally.prefixes.entry((*prefix).to_owned()).or_default();
            counts[usize::from(*reply == redis::Value::Nil)] += 1.0;
        }
        Ok(())
    }
}

fn rust(session: &mut Connection, work: Work) -> anyhow::Result<Tally> {
    let mut chance = Chance::new(work.seed);
    let spaces = spaces();
    let mut tally = Tally::default();
    let mut left = work.commands;
    while left > 0 {
        let count = work.depth.min(left);
        left -= count;
        let batch: Vec<Asked> =
            (0..count).map(|_| Asked::any(&mut chance, &spaces, work.depth == 1)).collect();
        let replies = if let [asked] = &batch[..] {
            vec![asked.command().query(session)?]
        } else {
            let mut pipe = redis::pipe();
            for asked in &batch {
                pipe.add_command(asked.command());
            }
            pipe.query::<Vec<redis::Value>>(session).context("a pipeline")?
        };
        for (asked, reply) in batch.iter().zip(&replies) {
            asked.count(&mut tally, reply)?;
        }
    }
    Ok(tally)
}
