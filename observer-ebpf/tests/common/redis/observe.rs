//! Sessions as calls, fed whole or in parts.

use observer_ebpf::layout::Role;
use observer_ebpf::protocols::redis::layout::Counters;

pub(crate) use crate::common::caches::fresh as observed;
use crate::common::{Observed, caches};

/// A command as clients write it.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// The same of words of text.
pub(crate) fn ask(words: &[&str]) -> Vec<u8> {
    command(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
}

/// A connection that has said what it must to be known.
pub(crate) fn session(role: Role) -> Observed {
    let mut session = observed(role);
    session.client(&command(&[b"PING"]));
    session.server(b"+PONG\r\n");
    session
}

/// All that is known of a session.
pub(crate) type Outcome = caches::Outcome<Counters>;

pub(crate) fn outcome(observed: &Observed) -> Outcome {
    Outcome::new(observed, *observed.connection.redis())
}
