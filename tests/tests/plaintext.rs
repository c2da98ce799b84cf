//! What processes say through a TLS library is measured as what is said in the clear, where the agent is told to read it:
//! servers and clients with Debian's OpenSSL and with a client library's own copy of it, and those that cannot be read.

// needs: nothing
// takes: 15 s

use std::process::Command;

use anyhow::ensure;
use observer_tests::http;
use observer_tests::losses::Losses;
use observer_tests::plaintext::{Cache, Site, all_was_read, expect_open, reading};
use observer_tests::postgres;
use observer_tests::postgres::clients::python;
use observer_tests::postgres::pgbench::Pgbench;
use observer_tests::postgres::server::Options;
use observer_tests::postgres::shown::Sessions;
use observer_tests::programs::{installed, named};
use observer_tests::puppet::Puppet;
use observer_tests::redis;
use observer_tests::redis::work::Work;
use observer_tests::shown::expect_each;
use observer_tests::websocket::{alone, unique_name};

#[test]
fn requests_of_nginx_and_curl() -> anyhow::Result<()> {
    let _alone = alone();
    let mut site = Site::start("")?;
    let mut somebody = Puppet::start(&unique_name("ssl"))?;
    somebody.run("import ssl")?;
    let agent = reading()?;
    let losses = Losses::none("http");
    let process = unique_name("curl");
    let curl = named(&installed("curl")?, site.folder(), &process)?;
    let mut count = 0;
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let mut command = Command::new(&curl);
        let paths = ["/page", "/large", "/fails", "/page", "/absent"];
        for (at, path) in paths.iter().enumerate() {
            if at > 0 {
                command.arg("--next");
            }
            command.args(["--silent", "--insecure", "--http1.1", "--output", "/dev/null"]).args(version);
            command.arg(format!("{}{path}", site.url()));
        }
        let status = command.status()?;
        ensure!(status.success(), "curl: {status}");
        count += paths.len();
    }
    let told = site.logged(count)?;
    for view in site.views(&process) {
        view.expect(&agent, &told, http::shown::View::tally)?;
    }
    for process in [&site.nginx.name, &process] {
        all_was_read(&agent, process)?;
    }
    losses.no_more(&agent)
}

/// Sessions of Postgres.
// needs: postgres
// takes: 12 s
mod of_postgres {
    use super::*;

    #[test]
    fn sessions_of_postgres() -> anyhow::Result<()> {
        let _alone = alone();
        let server = postgres::server::Server::start_with(&Options { tls: true, ..Options::default() })?;
        let label = server.tcp().label();
        let read = unique_name("read");
        let mut psycopg = python(&read, "psycopg", &server.tcp(), "postgres", "require")?;
        let agent = reading()?;
        let losses = Losses::none("postgres");
        psycopg.run("login(4)")?;
        psycopg.run("put(0, 3, 'in transaction')")?;
        let expected = Sessions { idle: 1.0, in_transaction: 3.0, ..Sessions::default() };
        server.reach(expected)?;
        let server_view = postgres::shown::View::server("postgres", &label);
        let client_view = postgres::shown::View::client(&read, &label);
        for view in [&client_view, &server_view] {
            view.expect(&agent, &expected, postgres::shown::View::sessions)?;
            view.expect(&agent, &4.0, postgres::shown::View::acquired)?;
        }
        expect_open(&agent, &read, ["openssl", "yes", ""], 4.0)?;
        expect_open(&agent, "postgres", ["openssl", "yes", ""], 4.0)?;
        all_was_read(&agent, &read)?;

        psycopg.run("logout()")?;
        server.reach(Sessions::default())?;
        server_view.expect(&agent, &Sessions::default(), postgres::shown::View::sessions)?;

        // A load, in each mode of the protocol.
        let bench = Pgbench::new(&server.tcp())?.encrypted();
        bench.prepare()?;
        let before = server_view.queries(&agent.scrape()?);
        server.reset_statements()?;
        for mode in ["simple", "extended", "prepared"] {
            bench.run(mode, &["-S", "-c", "4", "-t", "500"], None)?;
        }
        let truth = server.statements()?;
        let client = postgres::shown::View::client(&bench.process, &label);
        client.expect(&agent, &truth, postgres::shown::View::queries)?;
        let mut of_server = truth;
        for (kind, count) in before {
            *of_server.entry(kind).or_default() += count;
        }
        server_view.expect(&agent, &of_server, postgres::shown::View::queries)?;
        all_was_read(&agent, &bench.process)?;
        losses.no_more(&agent)
    }
}

/// Commands of Redis.
// needs: redis
// takes: 10 s
mod of_redis {
    use super::*;

    #[test]
    fn commands_of_redis() -> anyhow::Result<()> {
        let _alone = alone();
        let mut cache = Cache::start()?;
        let agent = reading()?;
        let losses = Losses::none("redis");
        cache.clients.login(2)?;
        cache.server.reset()?;
        let mut truth = redis::work::Tally::default();
        let views = cache.views();
        for (session, depth) in [(0, 1), (1, 10), (0, 50)] {
            truth.add(&cache.clients.work(session, Work { commands: 5_000, depth, seed: depth })?);
            let keyspace = cache.server.keyspace()?;
            ensure!(keyspace == truth.keys(), "the server has {keyspace:?}, its client {:?}", truth.keys());
            expect_each(&views, &agent, &truth, redis::shown::View::tally)?;
        }
        let Cache { server, clients, port, .. } = &cache;
        for process in [&clients.process, &server.process] {
            expect_open(&agent, process, ["openssl", "yes", ""], 2.0)?;
            all_was_read(&agent, process)?;
        }

        // Many at once.
        server.reset()?;
        let process = unique_name("rbench");
        let output = Command::new(named(&installed("redis-benchmark")?, cache.folder(), &process)?)
            .args([
                "--tls",
                "--insecure",
                "-p",
                &port.to_string(),
                "-n",
                "40000",
                "-c",
                "20",
                "-P",
                "4",
                "-r",
                "1000",
                "-q",
            ])
            .args(["GET", "user:__rand_int__"])
            .output()?;
        ensure!(output.status.success(), "{output:?}");
        let sent = server.commands()?;
        let prefixes = [("user".to_owned(), server.keyspace()?)].into();
        let of_bench = redis::work::Tally { prefixes, commands: sent };
        redis::shown::View::client(&process, &cache.label).expect(
            &agent,
            &of_bench,
            redis::shown::View::tally,
        )?;
        truth.add(&of_bench);
        views[1].expect(&agent, &truth, redis::shown::View::tally)?;
        all_was_read(&agent, &server.process)?;
        losses.no_more(&agent)
    }
}
