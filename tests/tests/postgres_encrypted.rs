//! Encrypted sessions are sessions of Postgres still, and all that is known of them is that they are open.

// needs: postgres
// takes: 12 s

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::metrics::Metrics;
use observer_tests::postgres::Address;
use observer_tests::postgres::clients::python;
use observer_tests::postgres::server::{Options, Server, make_certificate};
use observer_tests::postgres::shown::{Sessions, View, nothing_lost};
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, unique_name};

/// How the server calls itself.
const SERVER: &str = "postgres";

/// So many connections of a process in a role are encrypted ones of Postgres, and no others of it are of TLS, or, but for
/// those who ask the server, of Postgres.
fn expect(agent: &Agent, process: &str, role: &str, count: f64) -> anyhow::Result<()> {
    let are_there = |metrics: &Metrics| {
        let of = |protocol, tls| {
            let labels = [("process", process), ("role", role), ("protocol", protocol), ("tls", tls)];
            metrics.sum("observer_connections", &labels)
        };
        of("postgres", "true") == count
            && of("tls", "true") == 0.0
            && (role == "server" || of("postgres", "false") == 0.0)
    };
    agent.wait_until(&format!("{count} encrypted sessions as {role}"), are_there).map(drop)
}

/// Bytes of a process's encrypted sessions, sent and received.
fn moved(agent: &Agent, process: &str, tls: &str) -> anyhow::Result<f64> {
    let labels = [("process", process), ("protocol", "postgres"), ("tls", tls)];
    Ok(agent.scrape()?.sum("observer_bytes_total", &labels))
}

#[test]
fn what_is_encrypted_once_the_server_agrees() -> anyhow::Result<()> {
    let server = Server::start_with(&Options { tls: true, ..Options::default() })?;
    let agent = Agent::shared()?;
    for library in ["asyncpg", "psycopg"] {
        let name = unique_name("tls");
        let mut client = python(&name, library, &server.tcp(), "postgres", "require")?;
        client.run("login(4)")?;
        client.run("put(0, 4, 'in transaction')")?;
        let encrypted = server.ask("SELECT count(*) FROM pg_stat_ssl WHERE ssl")?;
        ensure!(encrypted == "4", "{encrypted} encrypted sessions");
        expect(&agent, &name, "client", 4.0)?;
        expect(&agent, SERVER, "server", 4.0)?;
        for view in [View::client(&name, &server.tcp().label()), View::server(SERVER, &server.tcp().label())]
        {
            view.expect(&agent, &Sessions::default(), View::sessions)?;
            view.expect(&agent, &0.0, View::acquired)?;
        }
        let [clear, encrypted] = [moved(&agent, &name, "false")?, moved(&agent, &name, "true")?];
        ensure!(clear == 0.0 && encrypted > 4_000.0, "{clear} and {encrypted} bytes");
        client.run("logout()")?;
        server.reach(Sessions::default())?;
    }
    nothing_lost(&agent)
}

/// As `sslnegotiation=direct` has it, with the client library of `PostgreSQL` 18.
#[test]
fn what_is_encrypted_from_its_first_byte_on() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let directory = tempfile::tempdir()?;
    let [certificate, key] = make_certificate(directory.path())?;
    let (name, server_name) = (unique_name("direct"), unique_name("pgtls"));
    let mut server = Puppet::start(&server_name)?;
    let port = server.listen()?;
    server.run("from postgres_tls_server import *")?;
    let target = Address { host: "127.0.0.1".to_owned(), port };
    let mut client = python(&name, "psycopg", &target, "postgres", "require")?;
    client.run("target.update(more={'sslnegotiation': 'direct'})")?;
    client.run("login_together(3)")?;
    server.run(&format!("held = [greet(listener, '{certificate}', '{key}') for _ in range(3)]"))?;
    client.run("logged_in()")?;
    expect(&agent, &name, "client", 3.0)?;
    expect(&agent, &server_name, "server", 3.0)?;
    for view in [View::client(&name, &target.label()), View::server(&server_name, &target.label())] {
        view.expect(&agent, &Sessions::default(), View::sessions)?;
        view.expect(&agent, &0.0, View::acquired)?;
    }
    for process in [&name, &server_name] {
        let [clear, encrypted] = [moved(&agent, process, "false")?, moved(&agent, process, "true")?];
        ensure!(clear == 0.0 && encrypted > 3_000.0, "{process}: {clear} and {encrypted} bytes");
    }
    nothing_lost(&agent)
}

/// The client library of `PostgreSQL` 18 asks for 3.2, which the server does not speak.
#[test]
fn a_client_of_a_newer_version_is_a_session() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let name = unique_name("newer");
    let mut client = python(&name, "psycopg", &server.tcp(), "postgres", "disable")?;
    client.run("target.update(more={'max_protocol_version': 'latest'})")?;
    client.run("login(3)")?;
    client.run("put(0, 2, 'in transaction')")?;
    let expected = Sessions { idle: 1.0, in_transaction: 2.0, ..Sessions::default() };
    server.reach(expected)?;
    let label = server.tcp().label();
    for view in [View::client(&name, &label), View::server(SERVER, &label)] {
        view.expect(&agent, &expected, View::sessions)?;
        view.expect(&agent, &0.0, View::all_errors)?;
    }
    View::client(&name, &label).expect(&agent, &3.0, View::acquired)?;
    nothing_lost(&agent)
}
