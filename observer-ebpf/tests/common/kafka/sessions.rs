//! Connections, and calls that are fed to them.

use observer_ebpf::layout::{Protocol, Role};

use super::{Outcome, request_of, response_of};
pub(crate) use crate::common::caches::fresh as observed;
use crate::common::turns::ROLES;
use crate::common::{Call, Observed, parts};

/// When the tests are: milliseconds since 1970.
pub(crate) const NOW_MS: u64 = 1_790_000_000_000;
pub(crate) const MS: u64 = 1_000_000;

/// What clients in the tests call themselves.
pub(crate) const CLIENT: &str = "tester";

/// A connection whose first request has been answered.
pub(crate) fn session(role: Role) -> Observed {
    let mut observed = observed(role);
    observed.wall_ns = NOW_MS * MS;
    observed.client(&request_of(18, 0, -1, Some(CLIENT), &[]));
    observed.server(&response_of(-1, &[0; 6]));
    assert_eq!((observed.protocol(), observed.connection.pending), (Protocol::Kafka, 0));
    observed
}

/// What calls come to, each in parts of these lengths and the rest.
pub(crate) fn outcome(role: Role, buffer: u32, calls: &[Call], lengths: &[usize]) -> Outcome {
    let mut observed = observed(role).in_buffers_of(buffer);
    observed.wall_ns = NOW_MS * MS;
    for call in calls {
        parts(&mut observed, call, lengths);
    }
    Outcome::of(&observed)
}

/// Feeds what is asked and what is answered in turn, cut anywhere, at both ends, and has each looked at.
pub(crate) fn each_way(turns: &[(bool, Vec<u8>)], look: impl Fn(&Outcome, &str)) {
    let longest = turns.iter().map(|(_, bytes)| bytes.len()).max().expect("some");
    for role in ROLES {
        for buffer in [1, 16, 1024] {
            for cut in 0..=longest {
                let mut session = session(role).in_buffers_of(buffer);
                for (server, bytes) in turns {
                    let (part, behind) = bytes.split_at(cut.min(bytes.len()));
                    session.by(*server, part);
                    session.by(*server, behind);
                }
                look(&Outcome::of(&session), &format!("cut at {cut} in buffers of {buffer}, as {role:?}"));
            }
        }
    }
}
