//! What the protocol can do beside a query and its rows: encryption, cancellation, COPY, pipelines, bulk, notices.

// needs: postgres
// takes: 40 s

use std::sync::Arc;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::postgres::clients::{Clients, Library, State, expect_codes, python, sessions};
use observer_tests::postgres::server::Server;
use observer_tests::postgres::shown::{Sessions, View, nothing_lost, queries};
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, unique_name};
use serde_json::{Value, json};

/// How the server calls itself.
const SERVER: &str = "postgres";

/// One session of `psycopg` with a server, and what is known of it on both sides.
struct Session {
    server: Server,
    agent: Arc<Agent>,
    client: Puppet,
    views: [View; 2],
}

impl Session {
    fn start() -> anyhow::Result<Self> {
        let server = Server::start()?;
        server.ask("CREATE TABLE piped (n int); CREATE TABLE bulk (n int, t text)")?;
        let agent = Agent::shared()?;
        let name = unique_name("one");
        let mut client = python(&name, "psycopg", &server.tcp(), "postgres", "disable")?;
        client.run("login(1)")?;
        let label = server.tcp().label();
        let views = [View::client(&name, &label), View::server(SERVER, &label)];
        Ok(Self { server, agent, client, views })
    }

    /// So many queries and errors so far, and the sessions are in these states.
    fn expect(&self, counts: &[(&str, u32)], errors: u32, states: Sessions) -> anyhow::Result<()> {
        self.server.reach(states)?;
        for view in &self.views {
            view.expect(&self.agent, &queries(counts), View::queries)?;
            view.expect(&self.agent, &f64::from(errors), View::all_errors)?;
            view.expect(&self.agent, &states, View::sessions)?;
        }
        nothing_lost(&self.agent)
    }

    fn pipeline(&mut self, groups: &[&[&str]]) -> anyhow::Result<Value> {
        self.client.ask(&format!("pipeline({})", serde_json::to_string(groups)?))
    }
}

const IDLE: Sessions = Sessions { active: 0.0, idle: 1.0, in_transaction: 0.0, waiting: 0.0 };
const TWO_IDLE: Sessions = Sessions { idle: 2.0, ..IDLE };

#[test]
fn a_server_without_tls_goes_on_in_the_clear() -> anyhow::Result<()> {
    let server = Server::start()?;
    let agent = Agent::shared()?;
    for library in ["asyncpg", "psycopg"] {
        let name = unique_name("clear");
        let mut client = python(&name, library, &server.tcp(), "postgres", "prefer")?;
        client.run("login(4)")?;
        client.run("put(0, 4, 'in transaction')")?;
        let expected = Sessions { in_transaction: 4.0, ..Sessions::default() };
        server.reach(expected)?;
        for view in [View::client(&name, &server.tcp().label()), View::server(SERVER, &server.tcp().label())]
        {
            view.expect(&agent, &expected, View::sessions)?;
        }
        let view = View::client(&name, &server.tcp().label());
        view.expect(&agent, &4.0, View::acquired)?;
        client.run("logout()")?;
        server.reach(Sessions::default())?;
    }
    nothing_lost(&agent)
}

#[test]
fn a_request_to_cancel_is_no_session() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    for _ in 0..5 {
        let code = session.client.ask("cancel_after(0, 0.3)")?;
        ensure!(code == "57014", "the query ended with {code}");
    }
    session.expect(&[("select", 5)], 5, IDLE)?;
    for view in &session.views {
        view.expect(&session.agent, &1.0, View::acquired)?;
        view.expect(&session.agent, &5.0, |view, metrics| view.errors(metrics, "57"))?;
    }
    Ok(())
}

#[test]
fn copy_is_one_query_whatever_it_moves() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    // Rows with what looks like the end of it.
    let row = r"'1\tZ\\x01\\x01\\x01\\x05I some text\n'";
    session.client.run(&format!("copied = copy_in(0, 'COPY bulk FROM STDIN', 300000, {row})"))?;
    ensure!(session.server.ask("SELECT count(*) FROM bulk")? == "300000", "not all rows have come");
    session.expect(&[("other", 1)], 0, IDLE)?;
    let bytes = session.client.number("copy_out(0, 'COPY bulk TO STDOUT')")?;
    ensure!(bytes > 5e6, "{bytes} bytes were copied");
    session.expect(&[("other", 2)], 0, IDLE)?;
    let code = session.client.ask("copy_fails(0, 'COPY bulk (n) FROM STDIN')")?;
    println!("a COPY that is broken off: {code}");
    session.expect(&[("other", 3)], 1, IDLE)?;
    session.client.run("run(0, 'SELECT 1')")?;
    session.expect(&[("other", 3), ("select", 1)], 1, IDLE)
}

#[test]
fn copy_that_fails_in_the_middle_ends() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    // No number in the first column: the server says so while rows still come.
    let failed = session.client.ask("copy_in(0, 'COPY bulk FROM STDIN', 200000, 'x\\ty\\n')");
    ensure!(failed.is_err(), "the server has taken it");
    session.expect(&[("other", 1)], 1, IDLE)?;
    session.client.run("run(0, 'SELECT 1')")?;
    session.expect(&[("other", 1), ("select", 1)], 1, IDLE)
}

#[test]
fn a_million_rows_are_one_query() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    let told = session.client.ask("fetch_count(0, 'SELECT generate_series(1, 1000000)')")?;
    ensure!(told == json!([1_000_000, 1]), "it was {told}");
    session.expect(&[("select", 1)], 0, IDLE)
}

#[test]
fn a_value_of_two_hundred_megabytes_is_one_query() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    // Full of what begins like the message that ends a query.
    let told = session
        .client
        .ask("fetch_count(0, \"SELECT repeat(E'Z\\\\x01\\\\x01\\\\x01\\\\x05I', 8334000)\")")?;
    ensure!(told == json!([1, 50_004_000]), "it was {told}");
    session.expect(&[("select", 1)], 0, IDLE)?;
    // And in the other direction.
    session.client.run("run(0, \"SELECT length('\" + 'Q' * 50000000 + \"')\")")?;
    session.expect(&[("select", 2)], 0, IDLE)
}

#[test]
fn each_sync_of_a_pipeline_is_a_query() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    let told = session.pipeline(&[
        &["SELECT 1"],
        &["INSERT INTO piped VALUES (1)", "INSERT INTO piped VALUES (2)", "INSERT INTO piped VALUES (3)"],
        &["UPDATE piped SET n = n + 1"],
        &["SELECT pg_sleep(0.05)"],
        &["DELETE FROM piped"],
        &["SELECT 2", "SELECT 3"],
    ])?;
    ensure!(told == json!([[], [], [], [], [], []]), "it was {told}");
    session.expect(&[("select", 3), ("insert", 1), ("update", 1), ("delete", 1)], 0, TWO_IDLE)?;
    // More at once than anybody keeps apart.
    let groups: Vec<&[&str]> = vec![&["INSERT INTO piped VALUES (1)"]; 300];
    session.pipeline(&groups)?;
    ensure!(session.server.ask("SELECT count(*) FROM piped")? == "300", "not all were executed");
    session.expect(&[("select", 3), ("insert", 301), ("update", 1), ("delete", 1)], 0, TWO_IDLE)
}

#[test]
fn an_error_in_a_pipeline_skips_to_its_sync() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    let told = session.pipeline(&[
        &["INSERT INTO piped VALUES (1)", "SELECT 1/0", "INSERT INTO piped VALUES (2)"],
        &["SELECT 1"],
        &["SELECT absent", "SELECT 1/0"],
        &["UPDATE piped SET n = 1"],
    ])?;
    ensure!(told == json!([["22012", "skip"], [], ["42703", "skip"], []]), "it was {told}");
    session.expect(&[("insert", 1), ("select", 2), ("update", 1)], 2, TWO_IDLE)?;
    for view in &session.views {
        view.expect(&session.agent, &1.0, |view, metrics| view.errors(metrics, "22"))?;
        view.expect(&session.agent, &1.0, |view, metrics| view.errors(metrics, "42"))?;
    }
    Ok(())
}

#[test]
fn a_transaction_that_fails_in_a_pipeline_stays_open() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    let told = session.pipeline(&[&["BEGIN"], &["SELECT 1"], &["SELECT 1/0"], &["SELECT 1"]])?;
    ensure!(told == json!([[], [], ["22012"], ["25P02"]]), "it was {told}");
    let failed = Sessions { idle: 1.0, in_transaction: 1.0, ..Sessions::default() };
    session.expect(&[("other", 1), ("select", 3)], 2, failed)?;
    let told = session.pipeline(&[&["ROLLBACK"], &["BEGIN"], &["SELECT 1"]])?;
    ensure!(told == json!([[], [], []]), "it was {told}");
    session.expect(&[("other", 3), ("select", 4)], 2, failed)?;
    session.pipeline(&[&["COMMIT"]])?;
    session.expect(&[("other", 4), ("select", 4)], 2, TWO_IDLE)
}

#[test]
fn the_pipeline_mode_of_psycopg() -> anyhow::Result<()> {
    let mut session = Session::start()?;
    session.client.run("pipeline_psycopg(0, 100)")?;
    ensure!(session.server.ask("SELECT count(*) FROM piped")? == "100", "not all were executed");
    session.server.reach(IDLE)?;
    for view in &session.views {
        view.expect(&session.agent, &IDLE, View::sessions)?;
        let inserts = |view: &View, metrics: &_| view.queries(metrics).get("insert").copied();
        view.expect(&session.agent, &Some(10.0), inserts)?;
    }
    nothing_lost(&session.agent)
}

#[test]
fn notices_and_notifications_disturb_nobody() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let mut clients = Clients::start(Library::Asyncpg, &server.tcp())?;
    clients.login(4)?;
    clients.puppet()?.run("listen_to(0, 'news'); listen_to(1, 'news')")?;
    let mix = [(State::Idle, 1), (State::InTransaction, 1), (State::Active, 1), (State::Idle, 1)];
    clients.put(&mix)?;
    let view = View::client(&clients.process, &server.tcp().label());
    server.reach(sessions(&mix))?;
    view.expect(&agent, &sessions(&mix), View::sessions)?;
    let before = view.queries(&agent.scrape()?);
    // Only the one outside a transaction is told at once.
    for _ in 0..20 {
        server.ask("SELECT pg_notify('news', repeat('Z', 7000)); NOTIFY news, 'I'")?;
    }
    ensure!(clients.puppet()?.number("wait_heard(40)")? == 40.0, "not all was heard");
    view.expect(&agent, &sessions(&mix), View::sessions)?;
    view.expect(&agent, &before, View::queries)?;
    let notices = "DO $$ BEGIN FOR i IN 1..500 LOOP RAISE NOTICE 'Z %', repeat('I', i); END LOOP; END $$";
    expect_codes(&clients.puppet()?.ask(&format!("run(3, {notices:?}, 2)"))?, "", 0)?;
    expect_codes(&clients.puppet()?.ask("run(3, \"SET timezone = 'Asia/Tokyo'\", 1)")?, "", 0)?;
    view.expect(&agent, &sessions(&mix), View::sessions)?;
    view.expect(&agent, &0.0, View::all_errors)?;
    nothing_lost(&agent)
}
