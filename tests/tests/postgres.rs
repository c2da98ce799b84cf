//! Every session's state is what the server itself says, whoever the client is.

// needs: postgres
// takes: 120 s

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::postgres::Address;
use observer_tests::postgres::clients::{Clients, Library, Mix, State, sessions};
use observer_tests::postgres::pgbouncer::Pgbouncer;
use observer_tests::postgres::server::{Options, Server};
use observer_tests::postgres::shown::{Sessions, View, nothing_lost};
use observer_tests::shown::expect_each;
use observer_tests::websocket::alone;

/// How the server calls itself.
const SERVER: &str = "postgres";

/// Sixty sessions in each.
const MIXES: [&Mix; 4] = [
    &[(State::Idle, 15), (State::Active, 15), (State::InTransaction, 15), (State::Failed, 15)],
    &[(State::Active, 57), (State::Idle, 3)],
    &[(State::Failed, 20), (State::InTransaction, 40)],
    &[(State::Idle, 60)],
];

/// Those that are tried over UNIX sockets, where nothing but the way there is another.
const OVER_UNIX: &[&Mix] = &[MIXES[0], MIXES[2]];

/// Both ends of sessions without a pool between them.
fn both(clients: &Clients, target: &Address) -> [View; 2] {
    let label = target.label();
    [View::client(&clients.process, &label), View::server(SERVER, &label)]
}

/// The server and the agent say of these sessions what a mix is made of.
fn agree(agent: &Agent, server: &Server, views: &[View], expected: Sessions) -> anyhow::Result<()> {
    server.reach(expected)?;
    expect_each(views, agent, &expected, View::sessions)?;
    server.reach(expected)
}

/// Clients of a library, in each mix.
fn observed(library: Library, target: impl Fn(&Server) -> Address, mixes: &[&Mix]) -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let target = target(&server);
    let agent = Agent::shared()?;
    for mix in mixes {
        let mut clients = Clients::start(library, &target)?;
        let views = both(&clients, &target);
        let before = views[0].acquired(&agent.scrape()?);
        clients.login(60)?;
        clients.put(mix)?;
        agree(&agent, &server, &views, sessions(mix))?;
        views[0].expect(&agent, &(before + 60.0), View::acquired)?;
        server.terminate_all()?;
        drop(clients);
        agree(&agent, &server, &views, Sessions::default())?;
    }
    nothing_lost(&agent)
}

#[test]
fn asyncpg() -> anyhow::Result<()> {
    observed(Library::Asyncpg, Server::tcp, &MIXES)
}

#[test]
fn psycopg() -> anyhow::Result<()> {
    observed(Library::Psycopg, Server::tcp, &MIXES)
}

#[test]
fn psql() -> anyhow::Result<()> {
    observed(Library::Psql, Server::tcp, &MIXES)
}

#[test]
fn node() -> anyhow::Result<()> {
    observed(Library::Node, Server::tcp, &MIXES)
}

#[test]
fn rust() -> anyhow::Result<()> {
    observed(Library::Rust, Server::tcp, &MIXES)
}

#[test]
fn asyncpg_over_a_unix_socket() -> anyhow::Result<()> {
    observed(Library::Asyncpg, Server::unix, OVER_UNIX)
}

#[test]
fn psycopg_over_a_unix_socket() -> anyhow::Result<()> {
    observed(Library::Psycopg, Server::unix, OVER_UNIX)
}

#[test]
fn psql_over_a_unix_socket() -> anyhow::Result<()> {
    observed(Library::Psql, Server::unix, OVER_UNIX)
}

#[test]
fn node_over_a_unix_socket() -> anyhow::Result<()> {
    observed(Library::Node, Server::unix, OVER_UNIX)
}

#[test]
fn rust_over_a_unix_socket() -> anyhow::Result<()> {
    observed(Library::Rust, Server::unix, OVER_UNIX)
}

/// The agent starts when the sessions are in their states already. It knows of one as soon as the server has
/// been ready once more. Each mix has a server of its own, so that one agent finds them all.
fn adopted(library: Library, target: impl Fn(&Server) -> Address, mixes: &[&Mix]) -> anyhow::Result<()> {
    let _alone = alone();
    let mut before = Vec::new();
    for &mix in mixes {
        let server = Server::start()?;
        let target = target(&server);
        let mut clients = Clients::start(library, &target)?;
        clients.login(60)?;
        clients.put(mix)?;
        before.push((mix, server, target, clients));
    }
    for (mix, server, ..) in &before {
        server.reach(sessions(mix))?;
    }
    let agent = Agent::start(&[])?;
    for (mix, server, target, mut clients) in before {
        let views = both(&clients, &target);
        let active = f64::from(server.cancel_all()?);
        ensure!(active == sessions(mix).active, "{active} queries were cancelled");
        clients.again(mix)?;
        agree(&agent, &server, &views, sessions(mix))?;
        // How long they took to open, nobody has seen.
        ensure!(views[0].acquired(&agent.scrape()?) == 0.0, "they were opened before the agent");
        server.terminate_all()?;
        drop(clients);
        agree(&agent, &server, &views, Sessions::default())?;
    }
    Ok(())
}

#[test]
fn asyncpg_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Asyncpg, Server::tcp, &MIXES)
}

#[test]
fn psycopg_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Psycopg, Server::tcp, &MIXES)
}

#[test]
fn psql_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Psql, Server::tcp, &MIXES)
}

#[test]
fn node_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Node, Server::tcp, &MIXES)
}

#[test]
fn rust_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Rust, Server::tcp, &MIXES)
}

#[test]
fn asyncpg_over_a_unix_socket_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Asyncpg, Server::unix, OVER_UNIX)
}

#[test]
fn psycopg_over_a_unix_socket_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Psycopg, Server::unix, OVER_UNIX)
}

#[test]
fn psql_over_a_unix_socket_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Psql, Server::unix, OVER_UNIX)
}

#[test]
fn node_over_a_unix_socket_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Node, Server::unix, OVER_UNIX)
}

#[test]
fn rust_over_a_unix_socket_before_the_agent() -> anyhow::Result<()> {
    adopted(Library::Rust, Server::unix, OVER_UNIX)
}

/// Both sides of a pool have the states of a mix, each its own way.
fn pool_agrees(
    agent: &Agent,
    server: &Server,
    pool: &Pgbouncer,
    clients: &Clients,
    target: &Address,
) -> anyhow::Result<()> {
    let expected = sessions(MIXES[0]);
    let label = pool.tcp().label();
    for view in [View::client(&clients.process, &label), View::server("pgbouncer", &label)] {
        view.expect(agent, &expected, View::sessions)?;
    }
    // What is idle is up to the pool.
    let behind = server.sessions()?;
    ensure!(behind.active == 15.0 && behind.in_transaction == 30.0, "behind the pool: {behind:?}");
    let label = target.label();
    let views = [View::client("pgbouncer", &label), View::server(SERVER, &label)];
    agree(agent, server, &views, behind)
}

/// Sixty clients share forty-eight sessions; each side of the pool has its own states.
fn pooled(library: Library, target: impl Fn(&Server) -> Address) -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let target = target(&server);
    let agent = Agent::shared()?;
    let pool = Pgbouncer::start(&target, 48)?;
    let mut clients = Clients::start(library, &pool.tcp())?;
    clients.login(60)?;
    clients.put(MIXES[0])?;
    pool_agrees(&agent, &server, &pool, &clients, &target)?;
    nothing_lost(&agent)
}

/// As `pooled`, with an agent that comes later.
#[test]
fn psql_through_pgbouncer_before_the_agent() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let target = server.tcp();
    let pool = Pgbouncer::start(&target, 48)?;
    let mut clients = Clients::start(Library::Psql, &pool.tcp())?;
    clients.login(60)?;
    clients.put(MIXES[0])?;
    let agent = Agent::start(&[])?;
    let active = f64::from(server.cancel_all()?);
    ensure!(active == sessions(MIXES[0]).active, "{active} queries were cancelled");
    clients.again(MIXES[0])?;
    pool_agrees(&agent, &server, &pool, &clients, &target)
}

#[test]
fn psycopg_through_pgbouncer() -> anyhow::Result<()> {
    pooled(Library::Psycopg, Server::tcp)
}

#[test]
fn psql_through_pgbouncer() -> anyhow::Result<()> {
    pooled(Library::Psql, Server::tcp)
}

#[test]
fn psql_through_pgbouncer_over_a_unix_socket() -> anyhow::Result<()> {
    pooled(Library::Psql, Server::unix)
}

/// Users who are known by a password, and say so with SCRAM.
fn with_password(library: Library) -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start_with(&Options { password: true, ..Options::default() })?;
    let agent = Agent::shared()?;
    let target = server.tcp();
    let mut clients = Clients::start_as(library, &target, "app")?;
    clients.login(20)?;
    let mix = [(State::Idle, 5), (State::Active, 5), (State::InTransaction, 5), (State::Failed, 5)];
    clients.put(&mix)?;
    let views = both(&clients, &target);
    agree(&agent, &server, &views, sessions(&mix))?;
    for view in &views {
        view.expect(&agent, &20.0, View::acquired)?;
        view.expect(&agent, &5.0, View::all_errors)?;
    }
    nothing_lost(&agent)
}

#[test]
fn asyncpg_with_a_password() -> anyhow::Result<()> {
    with_password(Library::Asyncpg)
}

#[test]
fn psycopg_with_a_password() -> anyhow::Result<()> {
    with_password(Library::Psycopg)
}

#[test]
fn node_with_a_password() -> anyhow::Result<()> {
    with_password(Library::Node)
}

#[test]
fn rust_with_a_password() -> anyhow::Result<()> {
    with_password(Library::Rust)
}

#[test]
fn sessions_that_end_leave_nothing() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let target = server.tcp();
    let mut clients = Clients::start(Library::Psycopg, &target)?;
    clients.login(30)?;
    let views = both(&clients, &target);
    let idle = Sessions { idle: 30.0, ..Sessions::default() };
    agree(&agent, &server, &views, idle)?;
    let process = clients.process.clone();
    let labels = [("process", process.as_str()), ("protocol", "postgres"), ("role", "client")];
    let open = agent.scrape()?.sum("observer_connections", &labels);
    ensure!(open == 30.0, "{open} connections of the protocol");
    clients.logout()?;
    agree(&agent, &server, &views, Sessions::default())?;
    agent.wait_until("no connection is left", |metrics| {
        metrics.sum("observer_connections", &labels) == 0.0
            && metrics.sum("observer_connections_closed_total", &labels) == 30.0
    })?;
    // Without `Terminate`, as well.
    clients.login(5)?;
    agree(&agent, &server, &views, Sessions { idle: 5.0, ..Sessions::default() })?;
    drop(clients);
    agree(&agent, &server, &views, Sessions::default())
}
