//! Sessions as calls, fed whole or in parts.

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

/// All that is known of a session.
pub(crate) type Outcome = caches::Outcome<Counters>;

pub(crate) fn outcome(observed: &Observed) -> Outcome {
    Outcome::new(observed, *observed.connection.redis())
}
