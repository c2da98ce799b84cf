//! Programs that have OpenSSL put its records into memory and move these themselves, as Node.js and Python's asyncio do: the
//! requests that they make and serve over TLS are counted as exactly as all others, and told apart from what cannot be.

// needs: nothing
// takes: 30 s

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::servers::{Framework, Server};
use observer_tests::http::shown::View;
use observer_tests::http::{Call, Tally, calls};
use observer_tests::losses::Losses;
use observer_tests::plaintext::{
    READ, Site, all_was_read, asyncio, bytes, ends, expect_open, nothing_was_read, open, pages, reading,
    serving, shared_for,
};
use observer_tests::postgres::server::make_certificate;
use observer_tests::puppet::Puppet;
use observer_tests::shown::expect_each;
use observer_tests::websocket::{alone, unique_name};

/// Clients, and the version of TLS that they speak.
const CLIENTS: [(Library, &str); 6] = [
    (Library::Curl, "1.2"),
    (Library::Curl, "1.3"),
    (Library::Requests, "1.3"),
    (Library::Node, "1.2"),
    (Library::Node, "1.3"),
    (Library::Undici, "1.3"),
];

/// Every client makes all calls of a server; what it says came of them is shown at both ends.
fn served_by(framework: Framework) -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let server = Server::start_over_tls(framework, &make_certificate(folder.path())?)?;
    let (agent, losses) = shared_for("http")?;
    let calls = calls();
    let mut all = Tally::default();
    for (library, version) in CLIENTS {
        let mut client = Client::trusting(library, version)?;
        let answers = client.make(&server.url(), &calls)?;
        let mut told = Tally::default();
        told.add_calls(&calls, &answers)?;
        all.add_calls(&calls, &answers)?;
        View::client(&client.process, &server.label).expect(&agent, &told.shown(), View::tally)?;
        View::server(&server.process, &server.label).expect(&agent, &all.clone().shown(), View::tally)?;
        // One that was closed is none that is open.
        let count = if library == Library::Curl { 0.0 } else { 1.0 };
        expect_open(&agent, &client.process, READ, count)?;
        expect_open(&agent, &server.process, READ, count)?;
        all_was_read(&agent, &client.process)?;
    }
    all_was_read(&agent, &server.process)?;
    losses.no_more(&agent)
}

#[test]
fn node() -> anyhow::Result<()> {
    served_by(Framework::Node)
}

/// What nginx logs of a client of Node's is shown at both ends.
#[test]
fn node_asks_nginx() -> anyhow::Result<()> {
    let _alone = alone();
    let mut site = Site::start("")?;
    let name = unique_name("njc");
    let mut node = Puppet::start_node("tls_node.js", &name)?;
    let (agent, losses) = shared_for("http")?;
    for (path, times) in [("/large", 5), ("/page", 10), ("/absent", 3)] {
        node.run(&format!("ask({}, '{path}', {times})", site.nginx.port))?;
    }
    let logged = site.logged(18)?;
    expect_each(&site.views(&name), &agent, &logged, View::tally)?;
    for process in [&name, &site.nginx.name] {
        expect_open(&agent, process, READ, 1.0)?;
        all_was_read(&agent, process)?;
    }
    losses.no_more(&agent)
}

#[test]
fn uvicorn() -> anyhow::Result<()> {
    served_by(Framework::FastApi)
}

/// How the connections of a process that were there before the agent are told of: not as read.
fn expect_not_read(agent: &Agent, process: &str, read: f64) -> anyhow::Result<()> {
    let open = open(&agent.scrape()?, process);
    let count = |is: fn(&[String; 3]) -> bool| -> f64 {
        open.iter().filter(|(labels, _)| is(labels)).map(|(_, count)| count).sum()
    };
    let is_late = |[_, read, reason]: &[String; 3]| read == "no" && reason == "unlinked";
    let counts = [count(is_late), count(|labels| *labels == READ), count(|_| true)];
    ensure!(counts == [1.0, read, 1.0 + read], "{process}: {open:?}");
    Ok(())
}

/// What a connection has said before the agent is there, it does not know, nor whose session it is.
#[test]
fn a_connection_that_was_there_before() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let server = Server::start_over_tls(Framework::Node, &make_certificate(folder.path())?)?;
    let mut client = Client::trusting(Library::Node, "1.3")?;
    let call = Call::get("/items/100000", "/items/{id}");
    client.make(&server.url(), std::slice::from_ref(&call))?;

    let agent = reading()?;
    let losses = Losses::none("http");
    let many = vec![call; 20];
    client.make(&server.url(), &many)?;
    let views = [View::client(&client.process, &server.label), View::server(&server.process, &server.label)];
    for (process, view) in [&client.process, &server.process].into_iter().zip(&views) {
        expect_not_read(&agent, process, 0.0)?;
        nothing_was_read(&agent, process, 20.0 * 100_000.0)?;
        ensure!(view.count(&agent.scrape()?) == 0.0, "nothing can be known of what {process} does");
    }

    // One that begins later is read, in the same processes.
    client.puppet()?.run("speak('TLSv1.3')")?;
    let before = [client.process.clone(), server.process.clone()].map(|process| (process, agent.scrape()));
    let answers = client.make(&server.url(), &many)?;
    let mut told = Tally::default();
    told.add_calls(&many, &answers)?;
    expect_each(&views, &agent, &told.shown(), View::tally)?;
    for (process, before) in before {
        expect_not_read(&agent, &process, 1.0)?;
        let [[_, no_before], [yes, no]] = [before?, agent.scrape()?].map(|metrics| bytes(&metrics, &process));
        ensure!(yes > 2_000_000.0 && no == no_before, "{process}: {yes} bytes read, {no} not");
    }
    losses.no_more(&agent)
}

/// Two hundred connections at once, and again: each is read, and nothing is left of any once it is closed.
fn many_at_once(uvloop: bool) -> anyhow::Result<()> {
    let _alone = alone();
    let names = ["many", "serves"].map(unique_name);
    let mut client = asyncio(&names[0], uvloop)?;
    let (mut server, port) = serving(&names[1], uvloop)?;
    let (agent, losses) = shared_for("http")?;
    let views = ends([&names[0], &names[1]], port);
    for round in [1.0, 2.0] {
        let right = client.number(&format!("together({port}, 200, 5)"))?;
        let answered = server.number("counts['requests']")?;
        ensure!(right == 1000.0 && answered == 1000.0 * round, "{right} right answers, {answered} answered");
        expect_each(&views, &agent, &pages(answered, 1000.0), View::tally)?;
        for process in &names {
            expect_open(&agent, process, READ, 200.0)?;
        }
        ensure!(client.number("leave()")? == 200.0, "not all were open");
        for process in &names {
            expect_open(&agent, process, READ, 0.0)?;
            all_was_read(&agent, process)?;
        }
    }
    losses.no_more(&agent)
}

#[test]
fn many_connections_of_asyncio() -> anyhow::Result<()> {
    many_at_once(false)
}

#[test]
fn many_connections_of_uvloop() -> anyhow::Result<()> {
    many_at_once(true)
}

/// Both ends of each connection are in one process, and in one thread.
#[test]
fn asyncio_asks_itself() -> anyhow::Result<()> {
    let _alone = alone();
    let name = unique_name("itself");
    let (mut both, port) = serving(&name, false)?;
    let (agent, losses) = shared_for("http")?;
    ensure!(both.number(&format!("together({port}, 50, 7)"))? == 350.0, "not all were right");
    expect_each(&ends([&name, &name], port), &agent, &pages(350.0, 1000.0), View::tally)?;
    expect_open(&agent, &name, READ, 100.0)?;
    both.run("leave()")?;
    expect_open(&agent, &name, READ, 0.0)?;
    all_was_read(&agent, &name)?;
    losses.no_more(&agent)
}

/// Many that say hello and go leave nothing that would be in the way of those who stay.
#[test]
fn clients_that_leave_after_their_hello() -> anyhow::Result<()> {
    let _alone = alone();
    let names = ["leaves", "serves"].map(unique_name);
    let mut client = asyncio(&names[0], false)?;
    let (mut server, port) = serving(&names[1], false)?;
    let (agent, losses) = shared_for("http")?;
    client.run(&format!("only_hello({port}, 500)"))?;
    for name in &names {
        expect_open(&agent, name, READ, 0.0)?;
    }
    ensure!(client.number(&format!("in_threads({port}, 8, 20)"))? == 160.0, "not all were right");
    ensure!(client.number(&format!("together({port}, 20, 5)"))? == 100.0, "not all were right");
    let answered = server.number("counts['requests']")?;
    ensure!(answered == 260.0, "{answered} answered");
    expect_each(&ends([&names[0], &names[1]], port), &agent, &pages(answered, 1000.0), View::tally)?;
    for name in &names {
        expect_open(&agent, name, READ, 20.0)?;
        all_was_read(&agent, name)?;
    }
    losses.no_more(&agent)
}
