//! Every query, error and login is counted, as the server and the load's generator count them.

// needs: postgres
// takes: 38 s

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::postgres::clients::{Clients, Library, State, expect_codes, python};
use observer_tests::postgres::pgbench::Pgbench;
use observer_tests::postgres::server::{Options, Server};
use observer_tests::postgres::shown::{Sessions, View, nothing_lost, queries};
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, unique_name};

/// How the server calls itself.
const SERVER: &str = "postgres";

/// Statements of every kind; among them some whose kind is not at their very beginning.
const SCRIPT: &str = "\
\\set n random(1, 100000)
SELECT abalance FROM pgbench_accounts WHERE aid = :n;
-- a comment
/* and /* another */ one */ INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :n, 0, now());
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :n;
END;
DELETE FROM pgbench_history WHERE aid = :n;
";

/// A session over the UNIX socket, which stays: the agent forgets what processes of a name did once the last of
/// them is gone, as the server's may be between a run's end and the look at it.
fn kept(server: &Server) -> anyhow::Result<Clients> {
    let mut clients = Clients::start(Library::Psycopg, &server.unix())?;
    clients.login(1)?;
    Ok(clients)
}

/// `pgbench` with its own script and with ours, over TCP: by kind as `pg_stat_statements` has it.
fn counted(mode: &str) -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let target = server.tcp();
    let agent = Agent::shared()?;
    let _kept = kept(&server)?;
    for (script, clients) in [(None, "4"), (Some(SCRIPT), "3")] {
        let bench = Pgbench::new(&target)?;
        bench.prepare()?;
        let views = [View::client(&bench.process, &target.label()), View::server(SERVER, &target.label())];
        let before = views[1].queries(&agent.scrape()?);
        server.reset_statements()?;
        let run = bench.hold(mode, &["-c", clients, "-j", "2", "-t", "100"], script)?;
        let transactions = 100.0 * clients.parse::<f64>()?;
        let mut truth = server.statements()?;
        // BEGIN and END. Of those that are prepared, `pg_stat_statements` (of 15, at least) counts no more than
        // the first execution in each session: it clears what it knows the statement by.
        let ends = truth.insert("other".to_owned(), 2.0 * transactions);
        ensure!(mode == "prepared" || ends == Some(2.0 * transactions), "BEGIN and END: {ends:?}");
        ensure!(truth["update"] >= transactions, "the server has counted too little: {truth:?}");
        views[0].expect(&agent, &truth, View::queries)?;
        let mut both = before;
        for (kind, count) in truth {
            *both.entry(kind).or_default() += count;
        }
        views[1].expect(&agent, &both, View::queries)?;
        let count =
            |view: &View, metrics: &_| view.sum(metrics, "observer_db_transaction_seconds_count", &[]);
        views[0].expect(&agent, &transactions, count)?;
        views[0].expect(&agent, &0.0, View::all_errors)?;
        let report = run.report()?;
        ensure!(report.transactions == transactions, "{report:?}");
    }
    nothing_lost(&agent)
}

#[test]
fn pgbench_in_simple_mode() -> anyhow::Result<()> {
    counted("simple")
}

#[test]
fn pgbench_in_extended_mode() -> anyhow::Result<()> {
    counted("extended")
}

#[test]
fn pgbench_in_prepared_mode() -> anyhow::Result<()> {
    counted("prepared")
}

/// The mean time of a query is what `pgbench` says it is, which has one in each transaction here, but for some
/// of it, and for the time that `pgbench` itself takes to send it and to go on.
fn timed(mode: &str, script: &str, transactions: &str, tolerance: f64) -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let target = server.tcp();
    let bench = Pgbench::new(&target)?;
    bench.prepare()?;
    let agent = Agent::start(&[])?;
    let run = bench.hold(mode, &["-c", "1", "-t", transactions], Some(script))?;
    let view = View::client(&bench.process, &target.label());
    // The first one is about its tables, or its partitions.
    let selects = |view: &View, metrics: &_| {
        view.sum(metrics, "db_query_duration_seconds_count", &[("query_type", "select")])
    };
    let truth = transactions.parse::<f64>()?;
    agent.wait_until("all are counted", |metrics| selects(&view, metrics) >= truth)?;
    let metrics = agent.scrape()?;
    let sum = view.sum(&metrics, "db_query_duration_seconds_sum", &[("query_type", "select")]);
    let mean = sum / selects(&view, &metrics);
    let report = run.report()?;
    println!("{mode}: {mean} s by the agent, {} s by pgbench", report.latency);
    ensure!(
        (mean - report.latency).abs() <= tolerance * report.latency + 50e-6,
        "{mean} s by the agent, {} s by pgbench",
        report.latency
    );
    Ok(())
}

#[test]
fn a_pool_that_leaks_shows_before_anybody_asks() -> anyhow::Result<()> {
    let _alone = alone();
    // Twenty for users like this one, beside the session that stays and those for superusers.
    let server = Server::start_with(&Options { max_connections: 24, ..Options::default() })?;
    let agent = Agent::shared()?;
    for library in ["asyncpg", "psycopg"] {
        let name = unique_name("leak");
        let mut client = python(&name, library, &server.tcp(), "app", "disable")?;
        let label = server.tcp().label();
        let view = View::client(&name, &label);
        let all = View::server(SERVER, &label);
        let _kept = kept(&server)?;
        let before = agent.scrape()?;
        let [acquired, refused] = [all.acquired(&before), all.errors(&before, "53")];
        client.run("login(20)")?;
        client.run("put(0, 20, 'active')")?;
        let full = Sessions { active: 20.0, ..Sessions::default() };
        server.reach(Sessions { idle: 1.0, ..full })?;
        expect_codes(&client.ask("login(25)")?, "53300", 25)?;
        for (view, acquired, refused) in [(&view, 0.0, 0.0), (&all, acquired, refused)] {
            view.expect(&agent, &full, View::sessions)?;
            view.expect(&agent, &(refused + 25.0), |view, metrics| view.errors(metrics, "53"))?;
            view.expect(&agent, &(refused + 25.0), |view, metrics| view.refused(metrics, "53"))?;
            view.expect(&agent, &(refused + 25.0), View::all_refused)?;
            view.expect(&agent, &(acquired + 20.0), View::acquired)?;
            view.expect(&agent, &0.0, |view, metrics| {
                view.all_errors(metrics) - view.errors(metrics, "53") - view.errors(metrics, "57")
            })?;
        }
        let Sessions { active, idle, .. } = view.sessions(&agent.scrape()?);
        ensure!(active / (active + idle) > 0.95, "{active} active, {idle} idle");
        server.terminate_all()?;
        view.expect(&agent, &Sessions::default(), View::sessions)?;
    }
    nothing_lost(&agent)
}

#[test]
fn a_server_that_takes_its_time_keeps_clients_waiting() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    for library in ["asyncpg", "psycopg"] {
        let name = unique_name("slow");
        let mut client = python(&name, library, &server.tcp(), "app", "disable")?;
        let view = View::client(&name, &server.tcp().label());
        client.run("login(3)")?;
        view.expect(&agent, &3.0, View::acquired)?;

        server.set("pre_auth_delay", "2")?;
        client.run("login_together(10)")?;
        let waiting = Sessions { idle: 3.0, waiting: 10.0, ..Sessions::default() };
        view.expect(&agent, &waiting, View::sessions)?;
        client.run("logged_in()")?;
        let idle = Sessions { idle: 13.0, ..Sessions::default() };
        view.expect(&agent, &idle, View::sessions)?;
        view.expect(&agent, &13.0, View::acquired)?;
        let slow = |view: &View, metrics: &_| view.acquired(metrics) - view.acquired_within(metrics, "1");
        view.expect(&agent, &10.0, slow)?;
        server.set("pre_auth_delay", "0")?;

        // Nobody accepts them: the kernel has.
        server.pause()?;
        client.run("login_together(7)")?;
        let waiting = Sessions { idle: 13.0, waiting: 7.0, ..Sessions::default() };
        let shown = view.expect(&agent, &waiting, View::sessions);
        thread::sleep(Duration::from_millis(1_100));
        server.resume()?;
        shown?;
        client.run("logged_in()")?;
        view.expect(&agent, &Sessions { idle: 20.0, ..Sessions::default() }, View::sessions)?;
        view.expect(&agent, &17.0, slow)?;
        client.run("logout()")?;
    }
    nothing_lost(&agent)
}

/// Where not even the kernel accepts them, nothing tells what they would speak but the server's port.
#[test]
fn clients_wait_for_a_listener_whose_queue_is_full() -> anyhow::Result<()> {
    let _alone = alone();
    let mut server = Puppet::start("full-server")?;
    // It holds one more than it is told, and two have come.
    server.run("listener = listen(backlog=1)")?;
    let port = server.number("port(listener)")?;
    server.run(&format!("early = [connect(('127.0.0.1', {port})) for _ in range(2)]"))?;
    let agent = Agent::start(&["--protocol-ports", &format!("postgres={port}")])?;
    let mut client = Puppet::start("full-client")?;
    client.run(&format!("target = ('127.0.0.1', {port}); late = [new_socket(target) for _ in range(5)]"))?;
    client.run("[one.setblocking(False) for one in late]; [one.connect_ex(target) for one in late]")?;
    let view = View::client("full-client", &format!("127.0.0.1:{port}"));
    view.expect(&agent, &Sessions { waiting: 5.0, ..Sessions::default() }, View::sessions)?;
    client.run("[one.close() for one in late]")?;
    view.expect(&agent, &Sessions::default(), View::sessions)
}

#[test]
fn a_statement_counts_as_what_it_does() -> anyhow::Result<()> {
    const STATEMENTS: [(&str, &str); 16] = [
        ("select", "  \n\t select 1"),
        ("select", "-- insert\nSELECT 1"),
        ("select", "/* update /* delete */ */SELECT 1"),
        ("select", "WITH one AS (SELECT 1) SELECT * FROM one"),
        ("select", "WITH gone AS (DELETE FROM told RETURNING 1) SELECT count(*) FROM gone"),
        ("insert", "INSERT INTO told VALUES (1), (2)"),
        ("insert", "WITH one AS (SELECT 1) INSERT INTO told SELECT * FROM one"),
        ("insert", "insert into told values (3) returning n"),
        ("update", "UPDATE told SET n = 2"),
        ("update", "WITH one AS (SELECT 1) UPDATE told SET n = 5"),
        ("delete", "Delete From told"),
        ("delete", "WITH one AS (SELECT 1) DELETE FROM told"),
        ("other", "SET application_name = 'select'"),
        ("other", "DO $$ BEGIN PERFORM 1; END $$"),
        ("other", "CREATE TABLE IF NOT EXISTS made (n int)"),
        ("other", "DROP TABLE IF EXISTS made"),
    ];
    let _alone = alone();
    let server = Server::start()?;
    server.ask("CREATE TABLE told (n int)")?;
    let agent = Agent::shared()?;
    let target = server.tcp();
    for library in [Library::Psycopg, Library::Node] {
        let mut clients = Clients::start(library, &target)?;
        clients.login(1)?;
        for (_, statement) in STATEMENTS {
            let line = format!("run(0, {}, 3)", serde_json::to_string(statement)?);
            expect_codes(&clients.puppet()?.ask(&line)?, "", 0)?;
        }
        let expected = queries(&[("select", 15), ("insert", 9), ("update", 6), ("delete", 6), ("other", 12)]);
        let view = View::client(&clients.process, &target.label());
        view.expect(&agent, &expected, View::queries)?;
        // One that fails tells what it would have done.
        expect_codes(&clients.puppet()?.ask("run(0, 'INSERT INTO absent VALUES (1)', 4)")?, "42P01", 4)?;
        let expected =
            queries(&[("select", 15), ("insert", 13), ("update", 6), ("delete", 6), ("other", 12)]);
        view.expect(&agent, &expected, View::queries)?;
        view.expect(&agent, &4.0, |view, metrics| view.errors(metrics, "42"))?;
        view.expect(&agent, &4.0, View::all_errors)?;
        clients.logout()?;
    }
    nothing_lost(&agent)
}

#[test]
fn a_transaction_takes_from_its_begin_to_its_end() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let mut clients = Clients::start(Library::Asyncpg, &server.tcp())?;
    clients.login(3)?;
    let view = View::client(&clients.process, &server.tcp().label());
    clients.put(&[(State::InTransaction, 1), (State::Failed, 1), (State::Idle, 1)])?;
    thread::sleep(Duration::from_millis(600));
    let count = |view: &View, metrics: &_| view.sum(metrics, "observer_db_transaction_seconds_count", &[]);
    view.expect(&agent, &0.0, count)?;
    clients.puppet()?.run("run(0, 'COMMIT'); run(1, 'ROLLBACK')")?;
    view.expect(&agent, &2.0, count)?;
    let within = |bound| {
        move |view: &View, metrics: &_| {
            view.sum(metrics, "observer_db_transaction_seconds_bucket", &[("le", bound)])
        }
    };
    view.expect(&agent, &0.0, within("0.5"))?;
    view.expect(&agent, &2.0, within("5"))?;
    let idle = Sessions { idle: 3.0, ..Sessions::default() };
    view.expect(&agent, &idle, View::sessions)
}

/// `pgbench` takes its own times as the agent does, a processor away.
// needs: host
// takes: 13 s
mod on_idle_processors {
    use super::timed;

    #[test]
    fn short_queries_take_as_long_as_pgbench_says() -> anyhow::Result<()> {
        for mode in ["simple", "extended", "prepared"] {
            timed(
                mode,
                "\\set n random(1, 100000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :n;\n",
                "3000",
                0.1,
            )?;
        }
        Ok(())
    }

    #[test]
    fn long_queries_take_as_long_as_pgbench_says() -> anyhow::Result<()> {
        timed("prepared", "SELECT pg_sleep(0.02);\n", "100", 0.03)
    }
}
