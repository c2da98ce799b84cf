//! What the tests of memcached share: connections, and what is known of them.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unused_imports, reason = "each test binary uses a part of it")]

mod sessions;

use std::collections::BTreeMap;

use observer_ebpf::layout::Role;
use observer_ebpf::protocols::memcached::layout::{Command, Counters};

pub(crate) use self::sessions::SESSIONS;
pub(crate) use crate::common::caches::fresh as observed;
use crate::common::{Call, Observed, caches, parts};

/// All that is known of a session.
pub(crate) type Outcome = caches::Outcome<Counters>;

impl Outcome {
    pub(crate) fn of(observed: &Observed) -> Self {
        Self::new(observed, *observed.connection.memcached())
    }

    /// Commands sent, by name.
    pub(crate) fn commands(&self) -> BTreeMap<String, u32> {
        let counts = Command::ALL.into_iter().zip(self.counters.commands);
        counts
            .filter(|&(_, count)| count > 0)
            .map(|(command, count)| (command.name().to_owned(), count))
            .collect()
    }
}

/// Calls of a session, 1,000 ns apart: what a client writes, and what the server answers.
pub(crate) fn calls(script: &[(&str, &str)]) -> Vec<Call> {
    let texts = script.iter().flat_map(|(asked, answered)| [(false, asked), (true, answered)]);
    let texts = texts.filter(|(_, text)| !text.is_empty());
    texts
        .zip(1..)
        .map(|((server, text), number)| Call {
            server,
            bytes: text.as_bytes().to_vec(),
            now_ns: 1_000 * number,
        })
        .collect()
}

/// What calls come to, each in parts of these lengths and the rest.
pub(crate) fn outcome(role: Role, buffer: u32, calls: &[Call], lengths: &[usize]) -> Outcome {
    let mut observed = observed(role).in_buffers_of(buffer);
    for call in calls {
        parts(&mut observed, call, lengths);
    }
    Outcome::of(&observed)
}
