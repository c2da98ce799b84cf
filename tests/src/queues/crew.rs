//! Processes that put messages in and take them out, as a test tells them: Python.

use std::fs;

use anyhow::Context as _;
use serde_json::Value;

use super::truth::{Age, Puts};
use crate::puppet::Puppet;
use crate::redis::clients::{Protocol, used};
use crate::redis::server::Server;

/// Some processes of one name. Dropping them ends them.
#[derive(Debug)]
pub struct Crew {
    puppets: Vec<Puppet>,
}

impl Crew {
    /// So many, each a session of redis-py.
    pub fn start(process: &str, count: usize, protocol: Protocol, server: &Server) -> anyhow::Result<Self> {
        let crew = Self::of("queue_client", process, count)?;
        crew.told(&used(protocol, &server.target()))
    }

    /// So many, with what a script defines.
    pub fn of(script: &str, process: &str, count: usize) -> anyhow::Result<Self> {
        let puppets = (0..count).map(|_| Puppet::start(process)).collect::<Result<Vec<_>, _>>()?;
        Self { puppets }.told(&format!("from {script} import *"))
    }

    fn told(mut self, statement: &str) -> anyhow::Result<Self> {
        self.puppets.iter_mut().try_for_each(|puppet| puppet.run(statement))?;
        Ok(self)
    }

    /// Has each do something, and does not wait.
    pub fn tell(&mut self, statement: &str) -> anyhow::Result<()> {
        self.puppets.iter_mut().try_for_each(|puppet| puppet.tell(statement))
    }

    /// What came of that, of each.
    pub fn answers(&mut self) -> anyhow::Result<Vec<Value>> {
        self.puppets.iter_mut().map(Puppet::answer).collect()
    }

    /// Has each do the same at once, and tells what came of it.
    pub fn ask(&mut self, statement: &str) -> anyhow::Result<Vec<Value>> {
        self.tell(statement)?;
        self.answers()
    }

    /// Has the first do something.
    pub fn one(&mut self, statement: &str) -> anyhow::Result<Value> {
        self.puppets.first_mut().context("nobody")?.ask(statement)
    }

    /// Has the first put messages in.
    pub fn put(&mut self, statement: &str, puts: &mut Puts) -> anyhow::Result<usize> {
        puts.add(&self.one(statement)?)
    }

    /// Has each take messages out at the same time.
    pub fn take(&mut self, statement: &str, puts: &mut Puts) -> anyhow::Result<Vec<Age>> {
        let answers = self.ask(statement)?;
        let ages = answers.iter().map(|told| puts.ages(told)).collect::<Result<Vec<_>, _>>()?;
        Ok(ages.concat())
    }

    /// Sends each a signal.
    pub fn signal(&self, signal: libc::c_int) -> anyhow::Result<()> {
        for puppet in &self.puppets {
            let pid = libc::pid_t::try_from(puppet.pid())?;
            // SAFETY: a child of ours that has not been waited for, so the number is its own.
            anyhow::ensure!(unsafe { libc::kill(pid, signal) } == 0, "cannot signal {pid}");
        }
        Ok(())
    }

    /// Waits until each is stopped.
    pub fn wait_until_stopped(&self) -> anyhow::Result<()> {
        for puppet in &self.puppets {
            while !fs::read_to_string(format!("/proc/{}/stat", puppet.pid()))?.contains(") T ") {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        Ok(())
    }
}
