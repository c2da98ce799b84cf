//! What processes say through a TLS library is measured as what is said in the clear, where the agent is told to read it:
//! servers and clients with Debian's OpenSSL and with a client library's own copy of it, and those that cannot be read.

// needs: postgres, redis, websocket
// makes: messages
// takes: 40 s

use std::process::Command;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::http;
use observer_tests::http::Tally;
use observer_tests::http::log::tally;
use observer_tests::losses::Losses;
use observer_tests::metrics::Metrics;
use observer_tests::nginx::Nginx;
use observer_tests::postgres;
use observer_tests::postgres::clients::python;
use observer_tests::postgres::pgbench::Pgbench;
use observer_tests::postgres::server::{Options, make_certificate};
use observer_tests::postgres::shown::Sessions;
use observer_tests::programs::{free_port, installed, named};
use observer_tests::puppet::Puppet;
use observer_tests::redis;
use observer_tests::redis::clients::{Clients, Library, Protocol};
use observer_tests::redis::server::{Server, Transport};
use observer_tests::redis::work::Work;
use observer_tests::shown::expect_each;
use observer_tests::websocket::{alone, unique_name};

/// An agent that reads what is mapped when it starts.
fn reading() -> anyhow::Result<Agent> {
    Agent::start(&["--tls", "start"])
}

/// Open connections of a process by how they are read: the library, whether, and why not.
fn open(metrics: &Metrics, process: &str) -> Vec<([String; 3], f64)> {
    let samples = metrics.samples("observer_tls_connections", &[("process", process)]);
    let counted = samples.iter().filter(|sample| sample.value != 0.0);
    let named = counted.map(|sample| {
        let labels = ["library", "read", "reason"].map(|name| sample.labels[name].clone());
        (labels, sample.value)
    });
    named.collect()
}

/// So many connections of a process are open, and all are read to this extent.
fn expect_open(agent: &Agent, process: &str, how: [&str; 3], count: f64) -> anyhow::Result<()> {
    let how = how.map(str::to_owned);
    let is_so = |metrics: &Metrics| {
        let open = open(metrics, process);
        open.iter().all(|(labels, _)| *labels == how)
            && open.iter().map(|(_, count)| count).sum::<f64>() == count
    };
    let outcome = agent.wait_until(&format!("{count} of {process}: {how:?}"), is_so);
    outcome.with_context(|| format!("{:?}", agent.scrape().map(|metrics| open(&metrics, process)))).map(drop)
}

/// All bytes of a process's records were read, and there were some.
fn all_was_read(agent: &Agent, process: &str) -> anyhow::Result<()> {
    let metrics = agent.scrape()?;
    let [yes, no] = ["yes", "no"]
        .map(|read| metrics.sum("observer_tls_bytes_total", &[("process", process), ("read", read)]));
    ensure!(yes > 0.0 && no == 0.0, "{process}: {yes} bytes read, and {no} not");
    Ok(())
}

#[test]
fn sessions_of_postgres() -> anyhow::Result<()> {
    let _alone = alone();
    let server = postgres::server::Server::start_with(&Options { tls: true, ..Options::default() })?;
    let label = server.tcp().label();
    // The one has a library of its own, and moves its records itself; the other one has them moved through memory.
    let (read, not_read) = (unique_name("read"), unique_name("unread"));
    let mut psycopg = python(&read, "psycopg", &server.tcp(), "postgres", "require")?;
    let mut asyncpg = python(&not_read, "asyncpg", &server.tcp(), "postgres", "require")?;
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

    asyncpg.run("login(2)")?;
    expect_open(&agent, &not_read, ["unknown", "no", "unlinked"], 2.0)?;
    expect_open(&agent, "postgres", ["openssl", "yes", ""], 6.0)?;
    let unread = postgres::shown::View::client(&not_read, &label);
    unread.expect(&agent, &Sessions::default(), postgres::shown::View::sessions)?;
    asyncpg.run("logout()")?;
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

#[test]
fn commands_of_redis() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let [certificate, key] = make_certificate(folder.path())?;
    let port = free_port()?;
    let tls_port = port.to_string();
    let server = Server::start_with(
        Transport::Tcp,
        &[
            "--tls-port",
            &tls_port,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &certificate,
            "--tls-auth-clients",
            "no",
        ],
    )?;
    let label = format!("127.0.0.1:{port}");
    let mut clients = Clients::start(Library::Python, Protocol::Resp2, &redis::Address::Tcp(port))?;
    clients.puppet()?.run("target.update(ssl=True, ssl_cert_reqs='none', ssl_check_hostname=False)")?;
    let agent = reading()?;
    let losses = Losses::none("redis");
    clients.login(2)?;
    server.reset()?;
    let mut truth = redis::work::Tally::default();
    let views = [
        redis::shown::View::client(&clients.process, &label),
        redis::shown::View::server(&server.process, &label),
    ];
    for (session, depth) in [(0, 1), (1, 10), (0, 50)] {
        truth.add(&clients.work(session, Work { commands: 5_000, depth, seed: depth })?);
        let keyspace = server.keyspace()?;
        ensure!(keyspace == truth.keys(), "the server has {keyspace:?}, its client {:?}", truth.keys());
        expect_each(&views, &agent, &truth, redis::shown::View::tally)?;
    }
    for process in [&clients.process, &server.process] {
        expect_open(&agent, process, ["openssl", "yes", ""], 2.0)?;
        all_was_read(&agent, process)?;
    }

    // Many at once.
    server.reset()?;
    let process = unique_name("rbench");
    let output = Command::new(named(&installed("redis-benchmark")?, folder.path(), &process)?)
        .args([
            "--tls",
            "--insecure",
            "-p",
            &tls_port,
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
    redis::shown::View::client(&process, &label).expect(&agent, &of_bench, redis::shown::View::tally)?;
    truth.add(&of_bench);
    views[1].expect(&agent, &truth, redis::shown::View::tally)?;
    all_was_read(&agent, &server.process)?;
    losses.no_more(&agent)
}

#[test]
fn requests_of_nginx_and_curl() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let [certificate, key] = make_certificate(folder.path())?;
    let nginx = Nginx::logging_as(
        "ssl",
        &format!("ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"),
        "location = /fails { return 503 sorry; }",
    )?;
    nginx.write("page", 200)?;
    nginx.write("large", 1_000_000)?;
    let mut somebody = Puppet::start(&unique_name("ssl"))?;
    somebody.run("import ssl")?;
    let agent = reading()?;
    let losses = Losses::none("http");
    let process = unique_name("curl");
    let curl = named(&installed("curl")?, folder.path(), &process)?;
    let mut count = 0;
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let mut command = Command::new(&curl);
        let paths = ["/page", "/large", "/fails", "/page", "/absent"];
        for (at, path) in paths.iter().enumerate() {
            if at > 0 {
                command.arg("--next");
            }
            command.args(["--silent", "--insecure", "--http1.1", "--output", "/dev/null"]).args(version);
            command.arg(format!("https://{}{path}", nginx.label()));
        }
        let status = command.status()?;
        ensure!(status.success(), "curl: {status}");
        count += paths.len();
    }
    let told: Tally = tally(&nginx.logged(count)?, |path| {
        if path == "/absent" { "unmatched".to_owned() } else { path.to_owned() }
    });
    for view in [
        http::shown::View::server(&nginx.name, &nginx.label()),
        http::shown::View::client(&process, &nginx.label()),
    ] {
        view.expect(&agent, &told.clone().shown(), http::shown::View::tally)?;
    }
    for process in [&nginx.name, &process] {
        all_was_read(&agent, process)?;
    }
    losses.no_more(&agent)
}
