//! A session that is idle, what is sent to it, and a request that shows whether it is as it should be.

use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::postgres::layout::State;
use postgres_protocol::message::frontend;

use super::{Script, Start, client, observed, outcome, server};
use crate::common::{Observed, observe};

/// The types that a client's messages have.
pub(crate) const CLIENT_TYPES: &[u8] = b"BCDEFHPQSXcdfp";
/// Those that a server's have.
pub(crate) const SERVER_TYPES: &[u8] = b"123ACDEGHIKNRSTVWZcdnstv";

/// A client's session that is idle.
pub(crate) fn idle() -> Observed {
    let mut script = Script::new();
    Start::Trust.write(&mut script);
    let mut observed = observed(Role::Client);
    observe(&mut observed, &script.calls);
    observed.now_ns = script.now_ns;
    observed
}

/// A simple query.
pub(crate) fn query(text: &str) -> Vec<u8> {
    client(|to| frontend::query(text, to).expect("no zero bytes"))
}

/// The head of a message, whose length is what it says.
pub(crate) fn header(kind: u8, length: u32) -> Vec<u8> {
    [&[kind], &length.to_be_bytes()[..]].concat()
}

/// One request and its answer, each a call.
pub(crate) fn cycle(observed: &mut Observed, status: u8) {
    observed.buffer = 1024;
    observed.client(&query("select 1"));
    observed.server(&[server::columns(), server::complete("SELECT 0"), server::ready(status)].concat());
}

/// Nothing is lost, no request is open, and the session is in this state.
pub(crate) fn assert_right(observed: &Observed, state: State) {
    let found = outcome(observed);
    assert_eq!(found.protocol, Protocol::Postgres);
    assert_eq!(found.lost, [0; 2]);
    assert_eq!(State::from_u8(found.counters.state), state);
    assert!(!found.counters.is_active());
}
