//! Sessions that are refused: by a server without room or processes, and by a pool. And since when what is open is
//! open, as `pg_stat_activity` has it.

// needs: postgres
// takes: 25 s

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::postgres::clients::{Clients, Library, State, python};
use observer_tests::postgres::pgbouncer::Pgbouncer;
use observer_tests::postgres::server::{Options, Server};
use observer_tests::postgres::shown::{Sessions, View, nothing_lost};
use observer_tests::postgres::wire::{Ends, complete, message, query, ready, row, startup, welcome};
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, own_name, unique_name};

/// How the server calls itself.
const SERVER: &str = "postgres";

/// Tries to open sessions, and tells what each refusal said.
fn refused(client: &mut Puppet, count: usize) -> anyhow::Result<Vec<String>> {
    let told = client.ask(&format!("login({count})"))?;
    serde_json::from_value(told).context("no texts")
}

/// A session over the UNIX socket, which stays: the agent forgets what processes of a name did once the last of them is
/// gone.
fn kept(server: &Server) -> anyhow::Result<Clients> {
    let mut clients = Clients::start(Library::Psycopg, &server.unix())?;
    clients.login(1)?;
    Ok(clients)
}

fn expect(agent: &Agent, views: &[View], class: &str, count: f64, all_errors: f64) -> anyhow::Result<()> {
    for view in views {
        view.expect(agent, &count, |view, metrics| view.refused(metrics, class))?;
        view.expect(agent, &count, View::all_refused)?;
        view.expect(agent, &all_errors, View::all_errors)?;
    }
    Ok(())
}

#[test]
fn a_pool_without_room_refuses_as_a_server_does() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let pool = Pgbouncer::start_for(3, &server.tcp(), 3)?;
    let name = unique_name("full");
    let mut client = python(&name, "psycopg", &pool.tcp(), "postgres", "disable")?;
    client.run("login(3)")?;
    let label = pool.tcp().label();
    let views = [View::client(&name, &label), View::server("pgbouncer", &label)];
    expect(&agent, &views, "08", 0.0, 0.0)?;
    let told = refused(&mut client, 7)?;
    ensure!(
        told.len() == 7 && told.iter().all(|text| text.contains("no more connections allowed")),
        "{told:?}"
    );
    expect(&agent, &views, "08", 7.0, 7.0)?;
    for view in &views {
        view.expect(&agent, &Sessions { idle: 3.0, ..Sessions::default() }, View::sessions)?;
    }
    nothing_lost(&agent)
}

#[test]
fn a_server_that_cannot_fork_refuses_in_plain_text() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let _kept = kept(&server)?;
    let name = unique_name("nofork");
    let mut client = python(&name, "psycopg", &server.tcp(), "postgres", "disable")?;
    client.run("login(1)")?;
    let told = server.while_it_cannot_fork(|| refused(&mut client, 4))?;
    ensure!(told.len() == 4 && told.iter().all(|text| text.contains("could not fork")), "{told:?}");
    let label = server.tcp().label();
    expect(&agent, &[View::client(&name, &label), View::server(SERVER, &label)], "other", 4.0, 4.0)?;
    client.run("login(1)")?;
    let view = View::client(&name, &label);
    view.expect(&agent, &Sessions { idle: 2.0, ..Sessions::default() }, View::sessions)?;
    nothing_lost(&agent)
}

#[test]
fn wrong_passwords_and_databases_are_refusals_of_their_own_class() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start_with(&Options { password: true, ..Options::default() })?;
    let agent = Agent::shared()?;
    let _kept = kept(&server)?;
    let name = unique_name("wrong");
    let mut client = python(&name, "psycopg", &server.tcp(), "absent", "disable")?;
    let told = refused(&mut client, 3)?;
    ensure!(told.len() == 3, "{told:?}");
    let label = server.tcp().label();
    expect(&agent, &[View::client(&name, &label), View::server(SERVER, &label)], "28", 3.0, 3.0)?;
    nothing_lost(&agent)
}

/// The ages of a server's oldest transaction and query among those of clients, in seconds. It counts a query of its own
/// as a transaction, too, which the agent does not.
fn ages(server: &Server) -> anyhow::Result<[f64; 2]> {
    let told = server.ask(
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0), \
         coalesce(extract(epoch FROM clock_timestamp() - min(query_start) FILTER (WHERE state = 'active')), 0) \
         FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )?;
    let ages: Vec<f64> = told.split('|').map(str::parse).collect::<Result<_, _>>()?;
    ages.try_into().ok().context("not two ages")
}

/// What the agent tells lies between what the server tells before and after that, but for the time on the way there.
fn agree(agent: &Agent, server: &Server, views: &[View]) -> anyhow::Result<[f64; 2]> {
    let before = ages(server)?;
    let metrics = agent.scrape()?;
    let after = ages(server)?;
    for view in views {
        for (at, shown) in view.oldest(&metrics).into_iter().enumerate() {
            ensure!(
                before[at] - 0.1 <= shown && shown <= after[at] + 0.1,
                "{view:?}: {shown} s, and not {} to {} s",
                before[at],
                after[at]
            );
        }
    }
    Ok(before)
}

#[test]
fn the_oldest_of_what_is_open_is_as_old_as_the_server_says() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    for library in [Library::Asyncpg, Library::Psycopg, Library::Psql] {
        let mut clients = Clients::start(library, &server.tcp())?;
        clients.login(4)?;
        let label = server.tcp().label();
        let views = [View::client(&clients.process, &label), View::server(SERVER, &label)];
        server.reach(Sessions { idle: 4.0, ..Sessions::default() })?;
        for view in &views {
            view.expect(&agent, &[0.0; 2], View::oldest)?;
        }
        clients.put_some(State::InTransaction, 0, 1)?;
        thread::sleep(Duration::from_millis(1_200));
        let second = Instant::now();
        clients.put_some(State::InTransaction, 1, 2)?;
        let [transaction, query] = agree(&agent, &server, &views)?;
        ensure!(
            transaction >= 1.2 && query == 0.0,
            "{library:?}: {transaction} s and {query} s by the server"
        );
        if library != Library::Psql {
            // The first one ends; the other is the oldest then.
            clients.puppet()?.run("run(0, 'COMMIT')")?;
            let [transaction, _] = agree(&agent, &server, &views)?;
            let most = second.elapsed().as_secs_f64();
            ensure!(
                transaction > 0.0 && transaction < most,
                "{library:?}: {transaction} s of {most} s by the server"
            );
            clients.puppet()?.run("run(1, 'ROLLBACK')")?;
            for view in &views {
                view.expect(&agent, &[0.0; 2], View::oldest)?;
            }
        }
        server.terminate_all()?;
        drop(clients);

        // Queries that are in progress, of which the server says that they are transactions, too.
        let mut clients = Clients::start(library, &server.tcp())?;
        clients.login(2)?;
        let views = [View::client(&clients.process, &label), View::server(SERVER, &label)];
        clients.put_some(State::Active, 0, 1)?;
        thread::sleep(Duration::from_millis(1_100));
        clients.put_some(State::Active, 1, 2)?;
        server.reach(Sessions { active: 2.0, ..Sessions::default() })?;
        let before = ages(&server)?[1];
        let metrics = agent.scrape()?;
        let after = ages(&server)?[1];
        for view in &views {
            let [transaction, query] = view.oldest(&metrics);
            ensure!(
                transaction == 0.0,
                "{library:?}: no transaction was begun, and one is {transaction} s old"
            );
            ensure!(
                before - 0.1 <= query && query <= after + 0.1,
                "{query} s, and not {before} to {after} s"
            );
        }
        ensure!(before >= 1.1, "{library:?}: {before} s by the server");
        server.terminate_all()?;
        drop(clients);
        View::server(SERVER, &label).expect(&agent, &[0.0; 2], View::oldest)?;
    }
    nothing_lost(&agent)
}

fn both(ends: &Ends) -> anyhow::Result<[View; 2]> {
    let name = own_name()?;
    Ok([View::client(&name, &ends.label), View::server(&name, &ends.label)])
}

/// Messages of versions that no software here speaks.
#[test]
fn clients_of_newer_minor_versions_are_sessions() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let key = [&[0, 0, 0, 7][..], &[0x5A; 256]].concat();
    for minor in [2_u16, 16, 9_999] {
        let mut ends = Ends::connect()?;
        let mut start = startup();
        start[6..8].copy_from_slice(&minor.to_be_bytes());
        ends.ask(&start)?;
        // NegotiateProtocolVersion: 3.2, and an option that it does not know.
        ends.answer(&message(b'v', b"\0\x03\0\x02\0\0\0\x01_pq_.test_protocol_negotiation\0"))?;
        let mut greeting = message(b'R', &[0; 4]);
        greeting.extend(message(b'K', &key));
        greeting.extend(ready(b'I'));
        ends.answer(&greeting)?;
        ends.ask(&query("SELECT 1"))?;
        ends.answer(&[row(b"1"), complete("SELECT 1"), ready(b'I')].concat())?;
        // A request to cancel, on a connection of its own.
        let mut cancel = Ends::connect()?;
        let payload = [&[0x04, 0xD2, 0x16, 0x2E][..], &key].concat();
        cancel.ask(&[&(payload.len() as u32 + 4).to_be_bytes()[..], &payload].concat())?;
        for view in both(&ends)? {
            view.expect(&agent, &Sessions { idle: 1.0, ..Sessions::default() }, View::sessions)?;
            view.expect(&agent, &1.0, View::acquired)?;
            let selects = |view: &View, metrics: &_| view.queries(metrics).get("select").copied();
            view.expect(&agent, &Some(1.0), selects)?;
        }
        for view in both(&cancel)? {
            view.expect(&agent, &Sessions::default(), View::sessions)?;
        }
        let name = own_name()?;
        agent.wait_until("all four ends are of Postgres", |metrics| {
            let labels = [("process", name.as_str()), ("protocol", "postgres")];
            metrics.sum("observer_connections", &labels) == 4.0
        })?;
        drop((ends, cancel));
        agent.wait_until("they are over", |metrics| {
            let labels = [("process", name.as_str()), ("protocol", "postgres")];
            metrics.sum("observer_connections", &labels) == 0.0
        })?;
    }
    nothing_lost(&agent)
}

#[test]
fn an_old_server_answers_in_plain_text_at_once_or_to_a_request_for_encryption() -> anyhow::Result<()> {
    const TLS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F];
    let text = b"Ecould not fork new process for connection: Cannot allocate memory\n\0";
    let _alone = alone();
    let agent = Agent::start(&[])?;
    for asked in [Some(startup()), Some(TLS.to_vec()), None] {
        for cut in [1, 5, 6, 20, text.len()] {
            let mut ends = Ends::connect()?;
            if let Some(asked) = &asked {
                ends.ask(asked)?;
            }
            // Where it comes first, what comes at once must tell.
            let cut = if asked.is_some() { cut } else { cut.max(20) };
            ends.answer(&text[..cut])?;
            ends.answer(&text[cut..])?;
            expect(&agent, &both(&ends)?, "other", 1.0, 1.0).with_context(|| format!("{asked:?}, {cut}"))?;
        }
    }
    // One that was not refused.
    let mut ends = Ends::connect()?;
    ends.ask(&startup())?;
    ends.answer(&welcome())?;
    expect(&agent, &both(&ends)?, "other", 0.0, 0.0)?;
    nothing_lost(&agent)
}
