//! Where the data comes from: a thread that asks an agent once a second, over HTTP or in this process.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Event;
use crate::client::{Client, Error};
use crate::flows::{Flows, Sort};
use crate::processes::Overview;
use crate::queues::shown::Queues;
use crate::routes::Routes;

/// How often.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// What to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// At most so many processes.
    pub(super) processes: usize,
    /// What else is.
    pub(super) wanted: Wanted,
}

/// What is shown besides processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing.
    Nothing,
    /// At most so many flows, in this order.
    Flows(usize, Sort),
    /// At most so many routes.
    Routes(usize),
    /// At most so many queues.
    Queues(usize),
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) overview: Overview,
    pub(super) flows: Option<Flows>,
    pub(super) routes: Option<Routes>,
    pub(super) queues: Option<Queues>,
}

/// Where samples come from: a running agent, or programs of its own.
pub(super) trait Source: Send + 'static {
    /// Asks, and waits for the answer. An error is one line, and may be over at the next try.
    fn ask(&mut self, query: Query) -> Result<Sample, String>;
}

impl Source for Client {
    fn ask(&mut self, query: Query) -> Result<Sample, String> {
        let ask = || {
            let mut sample = Sample { overview: self.overview(query.processes)?, ..Sample::default() };
            match query.wanted {
                Wanted::Nothing => {}
                Wanted::Flows(limit, sort) => sample.flows = Some(self.flows(limit, sort)?),
                Wanted::Routes(limit) => sample.routes = Some(self.routes(limit)?),
                Wanted::Queues(limit) => sample.queues = Some(self.queues(limit)?),
            }
            Ok(sample)
        };
        ask().map_err(|error: Error| error.to_string())
    }
}

/// The thread that asks. It ends once this is dropped and it has its answer.
#[derive(Debug)]
pub(super) struct Asking {
    queries: Sender<Query>,
    asked: Query,
    thread: JoinHandle<()>,
}

impl Asking {
    /// Asks at once, and then once a second; answers go to `events`.
    pub(super) fn start(
        mut source: impl Source,
        first: Query,
        events: Sender<Event>,
    ) -> std::io::Result<Self> {
        let (queries, changes) = channel();
        let ask = move || {
            let mut query = first;
            loop {
                let start = Instant::now();
                if events.send(Event::Answer(source.ask(query).map(Box::new))).is_err() {
                    return;
                }
                match changed(&changes, start + EVERY) {
                    Ok(other) => query = other.unwrap_or(query),
                    Err(()) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("asking".to_owned()).spawn(ask)?;
        Ok(Self { queries, asked: first, thread })
    }

    /// Asks for something else from now on, if it is something else.
    pub(super) fn change(&mut self, query: Query) {
        if query != self.asked {
            self.asked = query;
            // Whoever does not ask any more is noticed elsewhere.
            let _ = self.queries.send(query);
        }
    }

    /// Whether it has ended before it should.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Waits until the next question is due. A changed one is due at once; an error says that nobody wants answers.
fn changed(changes: &Receiver<Query>, due: Instant) -> Result<Option<Query>, ()> {
    match changes.recv_timeout(due.saturating_duration_since(Instant::now())) {
        // If there were several changes, the last one holds.
        Ok(query) => Ok(Some(changes.try_iter().last().unwrap_or(query))),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counted(f64);

    impl Source for Counted {
        fn ask(&mut self, query: Query) -> Result<Sample, String> {
            self.0 += 1.0;
            if self.0 == 1.0 {
                return Err("not yet".to_owned());
            }
            let overview = Overview { time: self.0, ..Overview::default() };
            let flows = matches!(query.wanted, Wanted::Flows(..)).then(Flows::default);
            Ok(Sample { overview, flows, ..Sample::default() })
        }
    }

    #[test]
    fn a_failure_is_told_and_tried_again_and_a_change_is_asked_at_once() {
        let (sender, events) = channel();
        let first = Query { processes: 1, wanted: Wanted::Nothing };
        let mut asking = Asking::start(Counted(0.0), first, sender).expect("a thread starts");
        let next = || match events.recv_timeout(Duration::from_secs(5)) {
            Ok(Event::Answer(answer)) => answer.map(|sample| *sample),
            other => panic!("no answer: {other:?}"),
        };
        assert_eq!(next().expect_err("the first fails"), "not yet");
        asking.change(first);
        let start = Instant::now();
        assert!(next().expect("an answer").flows.is_none());
        assert!(start.elapsed() > EVERY / 2, "{:?}", start.elapsed());
        asking.change(Query { wanted: Wanted::Flows(1, Sort::Age), ..first });
        let start = Instant::now();
        assert!(next().expect("an answer").flows.is_some());
        assert!(start.elapsed() < EVERY / 2, "{:?}", start.elapsed());
        let Asking { queries, thread, .. } = asking;
        drop(queries);
        thread.join().expect("it ends");
    }
}
