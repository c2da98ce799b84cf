//! Processes that do on their sockets exactly what a test tells them (`tests/scripts/puppet.py`).

use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::namespace::Namespace;
use crate::programs::{Program, environment, scripts};

/// Such a process. Dropping it ends it.
#[derive(Debug)]
pub struct Puppet {
    program: Program,
}

impl Puppet {
    /// Starts one with this name (at most 15 bytes), which no socket has been used under yet.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let python = environment()?.join("venv/bin/python");
        Self::run_with(Command::new(python), name)
    }

    /// Starts one in a network namespace.
    pub fn start_in(namespace: &Namespace, name: &str) -> anyhow::Result<Self> {
        Self::start_by(namespace.command(), name)
    }

    /// Starts one by a command that executes its arguments.
    pub fn start_by(mut command: Command, name: &str) -> anyhow::Result<Self> {
        command.arg(environment()?.join("venv/bin/python"));
        Self::run_with(command, name)
    }

    /// Starts another script that does as it is told, with Node.js.
    pub fn start_node(script: &str, name: &str) -> anyhow::Result<Self> {
        Self::named(Program::node(script, &[name])?)
    }

    fn run_with(mut python: Command, name: &str) -> anyhow::Result<Self> {
        Self::named(Program::start(python.arg("-u").arg(scripts().join("puppet.py")).arg(name))?)
    }

    fn named(program: Program) -> anyhow::Result<Self> {
        let mut puppet = Self { program };
        // Once it answers, it has its name.
        puppet.run("None")?;
        Ok(puppet)
    }

    /// Its process id, and that of the program it becomes.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Tells it what to do, and does not wait.
    pub fn tell(&mut self, statement: &str) -> anyhow::Result<()> {
        self.program.tell(statement)
    }

    /// What came of the oldest statement that it has not answered.
    pub fn answer(&mut self) -> anyhow::Result<Value> {
        let line = self.program.line()?;
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("no answer: {line}"))?;
        if let Some(error) = answer.get("error") {
            bail!("the puppet failed: {error}");
        }
        Ok(answer.get("ok").cloned().unwrap_or(Value::Null))
    }

    /// Has it do something.
    pub fn run(&mut self, statement: &str) -> anyhow::Result<()> {
        self.ask(statement).map(drop)
    }

    /// Has it evaluate something.
    pub fn ask(&mut self, expression: &str) -> anyhow::Result<Value> {
        self.tell(expression)?;
        self.answer().with_context(|| format!("told: {expression}"))
    }

    /// Has it evaluate something that is a number.
    pub fn number(&mut self, expression: &str) -> anyhow::Result<f64> {
        let value = self.ask(expression)?;
        value.as_f64().with_context(|| format!("{expression} is {value}"))
    }

    /// Has it evaluate something that is two numbers.
    pub fn pair(&mut self, expression: &str) -> anyhow::Result<[f64; 2]> {
        let value = self.ask(expression)?;
        serde_json::from_value(value).with_context(|| format!("{expression} is no pair"))
    }

    /// Has it listen on a port of its own as `listener`, and tells the port.
    pub fn listen(&mut self) -> anyhow::Result<u16> {
        self.run("listener = listen()")?;
        let port = self.ask("port(listener)")?;
        serde_json::from_value(port).context("the port it listens on")
    }

    /// Ends it, and waits until nothing is left of it.
    pub fn finish(self) -> anyhow::Result<()> {
        let status = self.program.finish()?;
        anyhow::ensure!(status.success(), "the puppet ended with {status}");
        Ok(())
    }
}

/// A client and a server with one connection: `one` to both; and the port that it was made to.
pub fn connected(names: [&str; 2]) -> anyhow::Result<(Puppet, Puppet, u16)> {
    let (mut client, mut server) = (Puppet::start(names[0])?, Puppet::start(names[1])?);
    let port = server.listen()?;
    client.run(&format!("one = connect(('127.0.0.1', {port}))"))?;
    server.run("one = listener.accept()[0]")?;
    Ok((client, server, port))
}
