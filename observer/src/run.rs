//! `observer run`: binds, attaches, collects once a second, answers, and stops on a signal.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::agent::Agent;
use crate::config::Config;
use crate::kernel::{namespaces, privileges};
use crate::logging;
use crate::probes::{self, Settings, State};
use crate::protocols::redis::ask;
use crate::service;
use crate::web::{Questions, Shared, Source, serve};

/// How often the maps are collected, and rates sampled.
const TICK: Duration = Duration::from_secs(1);

/// How long answers in progress may take once the agent stops.
const STOP: Duration = Duration::from_secs(2);

/// Runs the agent until SIGINT or SIGTERM.
pub fn run(config: &Config) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(tokio::task::LocalSet::new().run_until(observe(config)))
}

async fn observe(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    // What is quick to tell first: nothing is attached in vain.
    let web_config = config.web_config.as_deref().map(Source::open).transpose();
    let web_config = web_config.map_err(|problem| anyhow!("--web-config {problem}"))?;
    let scheme =
        if web_config.as_ref().is_some_and(|(_, loaded)| loaded.has_tls()) { "https" } else { "http" };
    let mut listeners = Vec::new();
    for address in &config.listen {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            anyhow!(
                "cannot listen on {address}: {error}; is another agent running? choose another with --listen"
            )
        })?;
        listeners.push(listener.into_std().context("cannot listen")?);
    }
    let observing = Observing::start(config)?;
    if let Some(effect) = namespaces::pid().effect {
        log::warn!("the pid namespace is {effect}");
    }
    // Before anything that may start a thread.
    let left = privileges::give_up().context("cannot give up privileges that are needed no more")?;
    log::debug!("left of all privileges: {}", left.capabilities.join(", "));

    let (stop, stopping) = watch::channel(false);
    let (shared, mut questions) = Shared::new();
    for listener in &listeners {
        let address = listener.local_addr().context("cannot tell the port")?;
        log::info!("serving {scheme}://{address}/metrics");
    }
    let server = serve(listeners, web_config, shared, stopping).context("cannot start a thread")?;

    for (index, server) in config.redis_info.iter().cloned().enumerate() {
        let agent = Rc::clone(&observing.agent);
        tokio::task::spawn_local(async move {
            ask::watch(&server, |outcome| agent.borrow_mut().note_redis_info(index, outcome)).await;
        });
    }
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    service::ready(&observing.agent.borrow().summary());
    observing.answer_until(&mut questions, told).await?;
    if server.is_finished() {
        // It ends before it is told to only if it cannot go on.
        let ended = server.join().map_err(|_| anyhow!("the HTTP server has panicked"))?;
        return ended.context("the HTTP server has ended");
    }
    log::info!("stopping");
    service::stopping();
    let _ = stop.send(true);
    // Once nobody can ask any more, everybody has been answered.
    let answering = async { while questions.answer(&observing.agent).await {} };
    if tokio::time::timeout(STOP, answering).await.is_err() {
        log::warn!("clients that were still being answered were cut off");
    }
    Ok(())
}

/// An agent that observes, and what wakes it.
pub(crate) struct Observing {
    agent: Rc<RefCell<Agent>>,
    wakeups: Wakeups,
    _program_log: Option<tokio::task::JoinHandle<()>>,
}

impl Observing {
    /// Loads and attaches everything, inside a runtime with a local set.
    pub(crate) fn start(config: &Config) -> anyhow::Result<Self> {
        let settings = Settings {
            max_connections: config.max_connections,
            thresholds: config.thresholds,
            key_separator: config.redis_separator,
            key_segments: config.redis_prefix_segments,
            key_skips: config.redis_prefix_skip.0.clone(),
            max_prefixes: config.redis_max_prefixes,
            http_max_routes: config.http_max_routes,
            http_stream_after_ns: config.http_stream_after_ns,
            http_routes: config.http_routes.clone(),
            queues: config.queues.clone(),
            tls: config.tls,
        };
        let mut loaded = probes::load(&settings)?;
        let program_log = start_program_log(&mut loaded);
        for probe in loaded.probes.iter().filter(|probe| probe.state == State::Down) {
            log::warn!(
                "{} is down, so there is no {}: {}",
                probe.name,
                probe.gives,
                probe.reason.as_deref().unwrap_or("")
            );
        }
        if loaded.unreadable_processes > 0 {
            log::warn!(
                "processes in which no TLS library is looked for, as it may not be read what they have mapped: {}; \
                 that takes CAP_SYS_PTRACE",
                loaded.unreadable_processes
            );
        }
        let agent = Agent::new(loaded, config).context("cannot read the maps")?;
        return_memory();
        let wakeups = Wakeups::new(&agent)?;
        Ok(Self { agent: Rc::new(RefCell::new(agent)), wakeups, _program_log: program_log })
    }

    /// Collects once a second and whenever the kernel half says so, and answers, until `stop` comes or nobody
    /// can ask any more.
    pub(crate) async fn answer_until(
        &self,
        questions: &mut Questions,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let mut stop = std::pin::pin!(stop);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                _ = ticks.tick() => {
                    self.agent.borrow_mut().tick().context("cannot read the maps")?;
                    service::alive();
                    logging::tell_held_back();
                }
                woken = self.wakeups.wait() => {
                    woken.context("cannot wait for the kernel half")?;
                    self.agent.borrow_mut().collect().context("cannot read the maps")?;
                }
                answered = questions.answer(&self.agent) => if !answered { return Ok(()) },
            }
        }
    }
}

/// The two rings by which the kernel half wakes the agent.
struct Wakeups {
    events: AsyncFd<std::os::fd::OwnedFd>,
    retired: AsyncFd<std::os::fd::OwnedFd>,
}

impl Wakeups {
    fn new(agent: &Agent) -> anyhow::Result<Self> {
        let [events, retired] = agent.rings();
        let wait = |ring: std::os::fd::BorrowedFd<'_>| {
            // SAFETY: a descriptor of its own, open as long as it is waited for.
            unsafe {
                AsyncFd::register_with_interest(ring.try_clone_to_owned()?, tokio::io::Interest::READABLE)
            }
            .map_err(std::io::Error::from)
        };
        Ok(Self {
            events: wait(events).context("cannot wait for events")?,
            retired: wait(retired).context("cannot wait for closed connections")?,
        })
    }

    async fn wait(&self) -> std::io::Result<()> {
        tokio::select! {
            ready = self.events.readable() => ready?.clear_ready(),
            ready = self.retired.readable() => ready?.clear_ready(),
        }
        Ok(())
    }
}

/// Passes on what the program logs, which is nothing on its data path.
fn start_program_log(loaded: &mut probes::Probes) -> Option<tokio::task::JoinHandle<()>> {
    let logger = match loaded.take_log()? {
        Ok(logger) => logger,
        Err(error) => {
            log::debug!("the program does not log: {error}");
            return None;
        }
    };
    // SAFETY: the logger keeps its ring's descriptor open as long as it lives.
    let registered = unsafe { AsyncFd::register_with_interest(logger, tokio::io::Interest::READABLE) };
    let mut logger = match registered {
        Ok(logger) => logger,
        Err(error) => {
            log::warn!("cannot wait for the program's log: {error}");
            return None;
        }
    };
    Some(tokio::task::spawn_local(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }))
}

/// Returns what loading took to the system: the kernel's type information is large, and needed once.
fn return_memory() {
    // SAFETY: it only gives back memory that is free.
    unsafe { libc::malloc_trim(0) };
}
