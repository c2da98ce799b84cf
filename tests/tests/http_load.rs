//! A hundred thousand connections of one request each, as of HTTP/1.0: the agent counts each of them, and keeps nothing of
//! those that are gone.

// The agent's memory must not grow.
// needs: host
// takes: 45 s

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::http::load::ab;
use observer_tests::http::shown::View;
use observer_tests::nginx::Nginx;
use observer_tests::websocket::alone;

/// Requests, each over a connection of its own, of each of the rounds.
const REQUESTS: u32 = 20_000;
const ROUNDS: u32 = 5;
/// What the agent may have more of its own after the last round than after the first: the rows of as many processes as
/// there are rounds, and what its allocator has cut in pieces. A connection's slot alone has some 1,400 bytes.
const MORE: u64 = 1 << 20;

#[test]
fn connections_that_are_gone_take_no_memory() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let nginx = Nginx::logging("")?;
    nginx.write("page", 200)?;
    let server = View::server(&nginx.name, &nginx.label());
    let tracked = agent.scrape()?.sum("observer_tracked_connections", &[]);
    let mut own = Vec::new();
    for round in 1..=ROUNDS {
        let load = ab(&format!("{}/page", nginx.url()), REQUESTS, 50, false)?;
        ensure!(load.requests == f64::from(REQUESTS) && load.failed == 0.0, "{load:?}");
        View::client(&load.process, &nginx.label()).expect(&agent, &load.requests, View::count)?;
        server.expect(&agent, &(load.requests * f64::from(round)), View::count)?;
        server.expect(&agent, &0.0, View::in_flight)?;
        own.push(agent.own_bytes()?);
    }
    nginx.logged((REQUESTS * ROUNDS) as usize)?;
    eprintln!("the agent's own memory after each round: {own:?}");
    let metrics = agent.scrape()?;
    let opened =
        metrics.sum("observer_connections_opened_total", &[("process", &nginx.name), ("protocol", "http")]);
    ensure!(opened == f64::from(REQUESTS * ROUNDS), "{opened} connections");
    // Others may come and go on the host meanwhile.
    let now = metrics.sum("observer_tracked_connections", &[]);
    ensure!(now < tracked + 100.0, "{now} connections are tracked, and {tracked} were");
    let growth = own[own.len() - 1].saturating_sub(own[0]);
    ensure!(growth < MORE, "{growth} bytes more are the agent's own: {own:?}");
    Ok(())
}
