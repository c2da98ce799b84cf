//! What servers say of themselves in their replies to `INFO`: seen on the wire, or asked for by the agent
//! (`--redis-info`).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::Connection;
use serde::Serialize;

use super::ask::{Answer, Server};
use crate::labels::{Group, ServerKey};
use crate::process;

/// The least time between two log records about one server.
const LOG_EVERY: Duration = Duration::from_secs(300);

/// A number, and when it was told; what was told later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// What was told.
    pub value: u64,
}

/// What a server said of itself; `None` where it did not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The network namespace in which its address is to be read.
    pub netns: u32,
    /// `used_memory`.
    pub memory_used: Option<Told>,
    /// `maxmemory`; 0 where there is none.
    pub memory_limit: Option<Told>,
    /// `evicted_keys`.
    pub evicted_keys: Option<Told>,
}

impl Info {
    /// What a connection's replies have told.
    pub fn of(connection: &Connection) -> Self {
        let counters = connection.redis();
        let told = |at_ns, value| (at_ns > 0).then_some(Told { at_ns, value });
        Self {
            netns: connection.netns,
            memory_used: told(counters.memory_ns, counters.memory_used),
            memory_limit: told(counters.limit_ns, counters.memory_limit),
            evicted_keys: told(counters.evicted_ns, counters.evicted_keys),
        }
    }

    /// The newest of each that was said, where anything was.
    #[must_use]
    pub fn newest(self, other: Self) -> Self {
        Self {
            netns: if other.has_any() { other.netns } else { self.netns },
            memory_used: self.memory_used.max(other.memory_used),
            memory_limit: self.memory_limit.max(other.memory_limit),
            evicted_keys: self.evicted_keys.max(other.evicted_keys),
        }
    }

    /// Whether anything was said.
    pub const fn has_any(&self) -> bool {
        self.memory_used.is_some() || self.memory_limit.is_some() || self.evicted_keys.is_some()
    }
}

/// Completes what connections were told with what the agent was. Several processes may have asked one server,
/// some of them long ago: each shows the newest that it said to any.
pub fn complete(told: &mut BTreeMap<ServerKey, Info>, polls: &[InfoPoll]) {
    if !polls.is_empty() {
        let (process, container, netns) = process::own();
        let group = Group { process, container, role: Role::Client };
        for (at_ns, answer) in polls.iter().filter_map(InfoPoll::answer) {
            let said = |value| Some(Told { at_ns: *at_ns, value });
            let info = Info {
                netns,
                memory_used: said(answer.memory_used),
                memory_limit: answer.memory_limit.and_then(said),
                evicted_keys: said(answer.evicted_keys),
            };
            let place = told.entry((group.clone(), answer.server.as_str().into())).or_default();
            *place = place.newest(info);
        }
    }
    let mut newest: HashMap<(u32, &str), Info> = HashMap::new();
    for ((_, server), info) in &*told {
        let place = newest.entry((info.netns, server)).or_default();
        *place = place.newest(*info);
    }
    let newest: Vec<Info> = told.iter().map(|((_, server), info)| newest[&(info.netns, &**server)]).collect();
    for (info, newest) in told.values_mut().zip(newest) {
        *info = newest;
    }
}

/// How asking a server goes: what `/status` shows.
#[derive(Debug, Serialize)]
pub struct InfoPoll {
    server: String,
    state: State,
    reason: Option<String>,
    memory_used_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    evicted_keys: Option<u64>,
    #[serde(skip)]
    answer: Option<(u64, Answer)>,
    #[serde(skip)]
    logged: Option<Instant>,
    #[serde(skip)]
    told_down: bool,
}

/// Whether a server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not been asked yet.
    Asking,
    /// It did when it was last asked.
    Up,
    /// It did not.
    Down,
}

impl InfoPoll {
    /// Before it is asked.
    pub fn new(server: &Server) -> Self {
        Self {
            server: server.name(),
            state: State::Asking,
            reason: None,
            memory_used_bytes: None,
            memory_limit_bytes: None,
            evicted_keys: None,
            answer: None,
            logged: None,
            told_down: false,
        }
    }

    /// Its name: what was given.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether it answers; `None` before it was asked.
    pub fn is_up(&self) -> Option<bool> {
        match self.state {
            State::Asking => None,
            State::Up => Some(true),
            State::Down => Some(false),
        }
    }

    /// Its last answer, with the `CLOCK_MONOTONIC` of it.
    pub fn answer(&self) -> Option<&(u64, Answer)> {
        self.answer.as_ref()
    }

    /// Takes note of an answer, or of why there is none.
    pub fn note(&mut self, outcome: Result<Answer, String>, now_ns: u64) {
        match outcome {
            Ok(answer) => {
                if self.told_down {
                    log::info!("{} answers INFO again", self.server);
                    self.told_down = false;
                }
                self.state = State::Up;
                self.reason = None;
                self.memory_used_bytes = Some(answer.memory_used);
                self.memory_limit_bytes = answer.memory_limit;
                self.evicted_keys = Some(answer.evicted_keys);
                self.answer = Some((now_ns, answer));
            }
            Err(reason) => {
                let now = Instant::now();
                if self.may_log(now) {
                    // A server's words, which must not start a line of their own.
                    log::warn!("{} does not answer INFO: {}", self.server, reason.escape_debug());
                    self.logged = Some(now);
                    self.told_down = true;
                }
                self.state = State::Down;
                self.reason = Some(reason);
            }
        }
    }

    /// A server that comes and goes is not told of each time, and one that stays away is once.
    fn may_log(&self, now: Instant) -> bool {
        !self.told_down && self.logged.is_none_or(|last| now.duration_since(last) >= LOG_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use observer_ebpf::layout::Role;

    use super::{Info, InfoPoll, Told, complete};
    use crate::labels::Group;
    use crate::protocols::redis::ask::{Answer, Server};

    fn server(text: &str) -> Server {
        text.parse().expect("it names a server")
    }

    fn answer(server: &str, [memory_used, memory_limit, evicted_keys]: [u64; 3]) -> Answer {
        Answer { server: server.to_owned(), memory_used, memory_limit: Some(memory_limit), evicted_keys }
    }

    #[test]
    fn how_it_goes_is_told_and_logged_once() {
        let mut asked = InfoPoll::new(&server("redis://:secret@127.0.0.1:1"));
        assert_eq!((asked.is_up(), asked.server()), (None, "127.0.0.1:1"));
        asked.note(Err("refused".to_owned()), 1);
        assert_eq!(asked.is_up(), Some(false));
        let now = std::time::Instant::now();
        assert!(!asked.may_log(now + super::LOG_EVERY), "it was told");
        let answer = answer("127.0.0.1:1", [2, 9, 3]);
        asked.note(Ok(answer), 4);
        assert_eq!((asked.is_up(), asked.answer().map(|(at, _)| *at)), (Some(true), Some(4)));
        assert!(!asked.may_log(now), "it was told of a moment ago");
        let status = serde_json::to_value(&asked).expect("it is plain data");
        assert_eq!((&status["state"], &status["memory_used_bytes"]), (&"up".into(), &2.into()));
        assert_eq!(status["memory_limit_bytes"], 9);
        asked.note(Err("refused".to_owned()), 5);
        assert!(asked.may_log(now + 2 * super::LOG_EVERY), "it is down again, which was not told");
    }

    #[test]
    fn every_process_that_asked_a_server_shows_the_newest_answer() {
        let served = |process: &str, server: &str| {
            let group = Group { process: process.to_owned(), container: String::new(), role: Role::Client };
            (group, server.into())
        };
        let info =
            |at_ns, netns, value| Info { netns, memory_used: Some(Told { at_ns, value }), ..Info::default() };
        let mut told = BTreeMap::from([
            (served("a", "127.0.0.1:1"), info(1, 7, 10)),
            (served("b", "127.0.0.1:1"), info(2, 7, 20)),
            (served("c", "127.0.0.1:1"), info(3, 8, 30)),
            (served("d", "127.0.0.1:2"), info(4, 7, 40)),
        ]);
        complete(&mut told, &[]);
        let memory: Vec<u64> = told.values().filter_map(|info| Some(info.memory_used?.value)).collect();
        assert_eq!(memory, [20, 20, 30, 40], "elsewhere, the same address is another server");

        let mut asked = InfoPoll::new(&server("redis://127.0.0.1:9"));
        asked.note(Ok(answer("127.0.0.1:9", [50, 60, 6])), 5);
        complete(&mut told, &[asked]);
        let own: Vec<&Info> =
            told.iter().filter(|((_, to), _)| &**to == "127.0.0.1:9").map(|(_, i)| i).collect();
        let said = |value| Some(Told { at_ns: 5, value });
        let own_told = own.iter().map(|info| [info.memory_used, info.memory_limit, info.evicted_keys]);
        assert!(own_told.eq([[said(50), said(60), said(6)]]), "{own:?}");
    }

    #[test]
    fn the_newer_of_two_is_taken() {
        let told = |at_ns, value| Some(Told { at_ns, value });
        let memory = |at_ns| Info { netns: 1, memory_used: told(at_ns, 9 - at_ns), ..Info::default() };
        let none = Info { netns: 1, ..Info::default() };
        assert_eq!(memory(2).newest(memory(1)), memory(2));
        assert_eq!(memory(1).newest(memory(2)), memory(2));
        assert_eq!(none.newest(memory(1)), memory(1));
        assert!(!none.newest(none).has_any());
        // Each from the reply that told it.
        let stats = Info { netns: 1, evicted_keys: told(3, 4), ..Info::default() };
        let both = Info { memory_used: told(2, 7), ..stats };
        assert_eq!(memory(2).newest(stats), both);
    }
}
