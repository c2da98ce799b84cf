//! `observer top`: processes, flows and routes on a terminal, live.
//!
//! ```text
//!  source (an agent over HTTP, or in this process) ──► state ──► draw ──► terminal
//!                                             keys ──►
//! ```

mod draw;
mod filter;
mod history;
mod programs;
mod signals;
mod source;
mod state;
pub mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io::{IsTerminal as _, Write, stdout};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ratatui::crossterm::event::{self, KeyEventKind};

use self::programs::Programs;
use self::signals::Signals;
use self::source::{Asking, EVERY, Query, Sample, Source, Wanted};
use self::state::{Outcome, State};
use self::terminal::Screen;
use crate::cli::Access;
use crate::client::{Client, Error};
use crate::config::{Config, Flags, LogFormat};
use crate::table::plain;
use crate::{list, logging};

/// How long a signal or an answer may wait to be looked at.
const WAIT: Duration = Duration::from_millis(100);
/// Processes in the plain table.
const PLAIN: usize = 1_000;

/// What happens besides keys.
#[derive(Debug)]
enum Event {
    /// Somebody has answered, or has not.
    Answer(Result<Box<Sample>, String>),
    /// Something was logged.
    Notice(String),
}

/// Shows what an agent sees: the one that is named, else the one at the default address, else one in this process.
/// Without a terminal, prints one table.
pub fn run(access: &Access) -> anyhow::Result<()> {
    let client = Client::new(access)?;
    let on_terminal = stdout().is_terminal();
    let (events, happened) = channel();
    if access.url.is_none()
        && let Err(Error::Nobody { .. }) = client.text("/healthz")
    {
        if on_terminal {
            let lines = Notices { events: events.clone(), line: Vec::new() };
            logging::start_into(Box::new(lines), log::LevelFilter::Warn);
        } else {
            logging::start(LogFormat::Text, log::LevelFilter::Warn);
        }
        let programs = Programs::start(Config::resolve(Flags::default())?)
            .with_context(|| format!("no agent answers at {}, and none can run in here", client.url()))?;
        if on_terminal {
            return show(programs, "in this process", events, &happened);
        }
        return print(programs, true);
    }
    if on_terminal {
        let url = client.url().to_owned();
        return show(client, &url, events, &happened);
    }
    print(client, false)
}

/// One table, of processes. An agent that has only begun knows rates once it has seen two moments.
fn print(mut source: impl Source, has_only_begun: bool) -> anyhow::Result<()> {
    if has_only_begun {
        sleep(2 * EVERY + WAIT);
    }
    let sample =
        source.ask(Query { processes: PLAIN, wanted: Wanted::Nothing }).map_err(anyhow::Error::msg)?;
    list::print(&plain(&sample.overview.processes, None)).context("cannot write the table")
}

fn show(
    source: impl Source,
    name: &str,
    events: Sender<Event>,
    happened: &Receiver<Event>,
) -> anyhow::Result<()> {
    let signals = Signals::watch().context("cannot watch for signals")?;
    signals::end_with_terminal().context("cannot start a thread")?;
    let mut state = State::new(name);
    let mut asking = Asking::start(source, state.query(), events).context("cannot start a thread")?;
    let mut screen = Screen::enter().context("cannot use the terminal")?;
    let shown = follow(&mut screen, &mut state, &mut asking, happened, &signals);
    drop(screen);
    if let Some(panic) = terminal::take_panic() {
        bail!("{panic}");
    }
    // Its answer may take seconds; programs in this process go with it.
    drop(asking);
    if let Some(signal) = signals.came() {
        signals::end_by(signal).context("cannot end by the signal")?;
    }
    shown
}

/// Draws, and handles what happens, until the user ends it.
fn follow(
    screen: &mut Screen,
    state: &mut State,
    asking: &mut Asking,
    happened: &Receiver<Event>,
    signals: &Signals,
) -> anyhow::Result<()> {
    let mut drawn = Instant::now();
    let mut changed = true;
    loop {
        // How long nobody has answered changes by itself.
        if changed || (state.lost_for(drawn).is_some() && drawn.elapsed() >= EVERY) {
            drawn = Instant::now();
            screen.draw(|frame| draw::draw(frame, state, drawn)).context("cannot draw")?;
        }
        changed = false;
        if event::poll(WAIT).context("cannot read the terminal")? {
            match event::read().context("cannot read the terminal")? {
                event::Event::Key(key) if key.kind != KeyEventKind::Release => match state.on_key(key) {
                    Outcome::Continue => {}
                    Outcome::Quit => return Ok(()),
                    Outcome::Suspend => screen.lend(signals::stop).context("cannot use the terminal")?,
                },
                _ => {}
            }
            changed = true;
            asking.change(state.query());
        }
        if signals.came().is_some() {
            return Ok(());
        }
        while let Ok(event) = happened.try_recv() {
            match event {
                Event::Answer(answer) => state.on_answer(answer.map(|sample| *sample), Instant::now()),
                Event::Notice(line) => state.on_notice(&line),
            }
            changed = true;
        }
        if asking.has_ended() {
            bail!("the thread that asks the agent has ended");
        }
    }
}

/// Turns what is logged into events, line by line.
struct Notices {
    events: Sender<Event>,
    line: Vec<u8>,
}

impl Write for Notices {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            // Once nobody listens, the screen is gone.
            let _ = self.events.send(Event::Notice(String::from_utf8_lossy(&line).into_owned()));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
