//! Connections of WebSocket, and sessions of Postgres and Redis, of programs that have OpenSSL put its records into memory: all
//! is counted as the servers, or the ends themselves, count it, also where both ends are in one process.

// needs: postgres
// takes: 10 s

use anyhow::ensure;
use observer_tests::plaintext::{Cache, READ, all_was_read, expect_open, shared_for};
use observer_tests::postgres::clients::python;
use observer_tests::postgres::server::{Options, PASSWORD, Server, make_certificate};
use observer_tests::postgres::shown::{Sessions, View};
use observer_tests::puppet::Puppet;
use observer_tests::redis;
use observer_tests::redis::clients::Library;
use observer_tests::redis::work::{Tally, Work};
use observer_tests::shown::expect_each;
use observer_tests::websocket::peers::{Peer, Runtime, Step, closed, exchanged};
use observer_tests::websocket::sides::{Side, settle};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::{alone, unique_name};
use serde_json::json;

/// Messages of every kind of length, in one frame and in several, and what is between them.
fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for opcode in [Opcode::Text, Opcode::Binary] {
        steps.extend([1, 126, 70_000, 1 << 20].map(|size| Step::message(opcode, size)));
        steps.push(Step::Ping(4));
        steps.push(Step::Message(opcode, vec![1, 126, 70_000], Some(9)));
    }
    steps
}

/// A client of a server exchanges with it what there is, and closes.
fn exchange(client: &mut Peer, server: &mut Side) -> anyhow::Result<()> {
    let (agent, losses) = shared_for("websocket")?;
    let count = client.side.open;
    server.open = count;
    settle(&agent, &[&client.side, server])?;
    let traffic = client.take(&steps())?;
    exchanged(&mut client.side, server, &traffic);
    settle(&agent, &[&client.side, server])?;
    // In one process there are both ends of each.
    let ends = if client.side.process == server.process { 2 } else { 1 };
    for process in [&client.side.process, &server.process] {
        expect_open(&agent, process, READ, f64::from(ends * count))?;
    }
    client.close(1000)?;
    for _ in 0..count {
        closed(&mut client.side, server, "1000");
    }
    let metrics = settle(&agent, &[&client.side, server])?;
    for process in [&client.side.process, &server.process] {
        all_was_read(&agent, process)?;
        expect_open(&agent, process, READ, 0.0)?;
    }
    losses.no_more_in(&agent, &metrics)
}

/// What clients have a server do, which counts it itself: sessions by `pg_stat_activity`, queries by `pg_stat_statements`.
fn asks(server: &Server, mut client: Puppet, process: &str) -> anyhow::Result<()> {
    let (agent, losses) = shared_for("postgres")?;
    let label = server.tcp().label();
    let views = [View::client(process, &label), View::server("postgres", &label)];
    let before = views[1].queries(&agent.scrape()?);
    ensure!(client.ask("login(4)")? == json!([]), "refused");
    server.reset_statements()?;
    for (statement, times) in [
        ("SELECT 1", 50),
        ("CREATE TEMPORARY TABLE few (a int)", 1),
        ("BEGIN", 1),
        ("INSERT INTO few VALUES (1)", 30),
        ("COMMIT", 1),
        ("UPDATE few SET a = a + 1", 10),
        ("SELECT repeat(chr(120), 100000)", 20),
        ("DELETE FROM few", 1),
    ] {
        let errors = client.ask(&format!("run(0, '{statement}', {times})"))?;
        ensure!(errors == json!([]), "{statement}: {errors}");
    }
    let truth = server.statements()?;
    ensure!(truth.get("insert") == Some(&30.0), "the server has counted {truth:?}");
    views[0].expect(&agent, &truth, View::queries)?;
    let mut of_server = truth;
    for (kind, count) in before {
        *of_server.entry(kind).or_default() += count;
    }
    views[1].expect(&agent, &of_server, View::queries)?;
    ensure!(client.ask("put(1, 4, 'in transaction')")? == json!([]), "not in transactions");
    let expected = Sessions { idle: 1.0, in_transaction: 3.0, ..Sessions::default() };
    server.reach(expected)?;
    expect_each(&views, &agent, &expected, View::sessions)?;
    for process in [process, "postgres"] {
        expect_open(&agent, process, READ, 4.0)?;
    }
    client.run("logout()")?;
    server.reach(Sessions::default())?;
    expect_each(&views, &agent, &Sessions::default(), View::sessions)?;
    for process in [process, "postgres"] {
        expect_open(&agent, process, READ, 0.0)?;
    }
    all_was_read(&agent, process)?;
    losses.no_more(&agent)
}

#[test]
fn sessions_of_postgres() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start_with(&Options { tls: true, ..Options::default() })?;
    shared_for("postgres")?;
    for uvloop in [false, true] {
        let process = unique_name("asyncpg");
        let mut client = python(&process, "asyncpg", &server.tcp(), "postgres", "require")?;
        if uvloop {
            client.run("use_uvloop()")?;
        }
        asks(&server, client, &process)?;
    }
    let process = unique_name("pg");
    let mut client = Puppet::start_node("postgres_client.js", &process)?;
    let port = server.tcp().port;
    client.run(&format!("use('pg', '127.0.0.1', {port}, 'postgres', '{PASSWORD}', 'require')"))?;
    asks(&server, client, &process)
}

/// Messages of WebSocket.
// needs: websocket
// makes: messages
// takes: 8 s
mod of_websockets {
    use super::*;

    /// Whoever would take the client's session for the server's would have them the wrong way round: only the client pings, and
    /// what it sends is masked.
    #[test]
    fn both_ends_of_websockets_in_one_process() -> anyhow::Result<()> {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let certificate = make_certificate(folder.path())?;
        shared_for("websocket")?;
        let (mut client, mut server) = Peer::with_itself(&certificate, 3)?;
        exchange(&mut client, &mut server)
    }

    #[test]
    fn websockets_between_processes() -> anyhow::Result<()> {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let certificate = make_certificate(folder.path())?;
        shared_for("websocket")?;
        for of_server in [Runtime::Python, Runtime::Node] {
            for of_client in [Runtime::Python, Runtime::Node] {
                let (mut server, address) = Peer::secure_server(of_server, &certificate)?;
                let mut client = Peer::client(of_client, &address, "plain", 2)?;
                exchange(&mut client, &mut server.side)?;
            }
        }
        Ok(())
    }
}

/// Commands of Redis.
// needs: redis
// takes: 6 s
mod of_redis {
    use super::*;

    /// What clients ask a server, which counts it itself: commands by `INFO commandstats`, and keys by `INFO stats`.
    #[test]
    fn commands_of_redis() -> anyhow::Result<()> {
        let _alone = alone();
        let (agent, losses) = shared_for("redis")?;
        for library in [Library::Node, Library::Asyncio] {
            let mut cache = Cache::with(library)?;
            cache.server.reset()?;
            cache.clients.login(2)?;
            let mut truth = Tally::default();
            for (session, depth) in [(0, 1), (1, 10), (0, 50)] {
                truth.add(&cache.clients.work(session, Work { commands: 1_500, depth, seed: depth })?);
            }
            let keyspace = cache.server.keyspace()?;
            ensure!(keyspace == truth.keys(), "the server has {keyspace:?}, its client {:?}", truth.keys());
            let views = cache.views();
            expect_each(&views, &agent, &truth, redis::shown::View::tally)?;
            expect_each(&views, &agent, &cache.server.commands()?, redis::shown::View::commands)?;
            let processes = [cache.clients.process.clone(), cache.server.process.clone()];
            for process in &processes {
                expect_open(&agent, process, READ, 2.0)?;
                all_was_read(&agent, process)?;
            }
            cache.clients.logout()?;
            for process in &processes {
                expect_open(&agent, process, READ, 0.0)?;
            }
        }
        losses.no_more(&agent)
    }
}
