//! Sessions of which a test says both sides itself.

use super::shown::{Sessions, View};
use super::wire::{Ends, NIL, bulk, command};
use super::work::Prefixes;
use crate::agent::Agent;
use crate::shown::expect_each;
use crate::websocket::own_name;

/// The two ends of one session, as the agent sees them.
pub fn views(ends: &Ends) -> anyhow::Result<[View; 2]> {
    let name = own_name()?;
    Ok([View::client(&name, &ends.label), View::server(&name, &ends.label)])
}

/// Waits until the agent says of both ends that their session is in this state.
pub fn expect(agent: &Agent, ends: &Ends, states: Sessions) -> anyhow::Result<()> {
    expect_each(&views(ends)?, agent, &states, View::sessions)
}

/// Waits until it says of both ends that so many keys were found and not found, by prefix.
pub fn expect_keys(agent: &Agent, ends: &Ends, keys: &[(&str, [u32; 2])]) -> anyhow::Result<()> {
    let keys: Prefixes =
        keys.iter().map(|&(prefix, counts)| (prefix.to_owned(), counts.map(f64::from))).collect();
    expect_each(&views(ends)?, agent, &keys, View::prefixes)
}

/// A session that has begun.
pub fn greet() -> anyhow::Result<Ends> {
    let mut ends = Ends::connect()?;
    ends.ask(&command(&["PING"]))?;
    ends.answer(b"+PONG\r\n")?;
    Ok(ends)
}

/// A few commands that keep the rules, each in calls of its own: so many hits and as many misses.
pub fn behave(ends: &mut Ends, times: usize) -> anyhow::Result<()> {
    for _ in 0..times {
        ends.ask(&command(&["GET", "good:1"]))?;
        ends.answer(&bulk("some"))?;
        ends.ask(&command(&["GET", "good:2"]))?;
        ends.answer(NIL)?;
    }
    Ok(())
}
