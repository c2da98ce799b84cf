//! Where no agent runs: the programs in this process, on a thread of their own, without HTTP.

use std::sync::mpsc::{SendError, Sender, channel};
use std::thread::JoinHandle;

use anyhow::Context as _;

use super::source::{Query, Sample, Source, Wanted};
use crate::config::Config;
use crate::flows::{self, Flows};
use crate::run::Observing;
use crate::web::Shared;

/// An agent in this process. Dropping it takes its programs down.
#[derive(Debug)]
pub(super) struct Programs {
    shared: Option<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Programs {
    /// Loads and attaches them.
    pub(super) fn start(config: Config) -> anyhow::Result<Self> {
        let (started, outcome) = channel();
        let observe = move || {
            // Who waits for the start hears of what goes wrong before it; after it, who reads the log.
            if let Err(error) = observe(&config, &started)
                && let Err(SendError(Err(error))) = started.send(Err(error))
            {
                log::error!("the programs have stopped: {error:#}");
            }
        };
        let thread = std::thread::Builder::new()
            .name("programs".to_owned())
            .spawn(observe)
            .context("cannot start a thread")?;
        let shared = outcome.recv().context("the programs did not start")??;
        Ok(Self { shared: Some(shared), thread: Some(thread) })
    }
}

fn observe(config: &Config, started: &Sender<anyhow::Result<Shared>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        let observing = Observing::start(config)?;
        let (shared, mut questions) = Shared::new();
        if started.send(Ok(shared)).is_err() {
            return Ok(());
        }
        observing.answer_until(&mut questions, std::future::pending()).await
    }))
}

impl Source for Programs {
    fn ask(&mut self, query: Query) -> Result<Sample, String> {
        let answer = self.shared.as_ref().and_then(|shared| {
            shared.ask_and_wait(move |agent| -> std::io::Result<Sample> {
                // What is shown is what is there now.
                agent.collect_all()?;
                let mut sample = Sample { overview: agent.overview(query.processes), ..Sample::default() };
                match query.wanted {
                    Wanted::Nothing => {}
                    Wanted::Flows(limit, sort) => {
                        let asked = flows::Query { limit: Some(limit), sort, ..flows::Query::default() };
                        sample.flows = Some(Flows { flows: agent.flows(&asked).collect() });
                    }
                    Wanted::Routes(limit) => sample.routes = Some(agent.routes(limit)),
                    Wanted::Queues(limit) => sample.queues = Some(agent.queues(limit)),
                }
                Ok(sample)
            })
        });
        match answer {
            Some(answer) => answer.map_err(|error| format!("cannot read the maps: {error}")),
            None => Err("the programs in this process have stopped".to_owned()),
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // Once nobody can ask, the thread ends.
        self.shared = None;
        if let Some(thread) = self.thread.take() {
            // What it panicked with has been told.
            let _ = thread.join();
        }
    }
}
