//! The hello by which a session in memory is known to be a connection's: in parts, with a second one after it, and of a session
//! that goes on with an earlier one.

// needs: nothing
// takes: 10 s

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::http::Tally;
use observer_tests::http::shown::View;
use observer_tests::parted::Parted;
use observer_tests::plaintext::{
    READ, all_was_read, asyncio, client, ends, expect_open, pages, port, serving, shared_for,
};
use observer_tests::postgres::server::make_certificate;
use observer_tests::puppet::Puppet;
use observer_tests::shown::expect_each;
use observer_tests::websocket::{alone, own_name, unique_name};

/// How many bytes of a `ClientHello` come first: a part of the record's header, and of what is before the random, a part of
/// this, all of it, and some of what follows.
const FIRST: [usize; 6] = [1, 5, 9, 25, 43, 150];

/// What goes through a proxy that has no session of its own is not taken for the proxy's.
fn expect_through(
    agent: &Agent,
    proxy: &Parted,
    server: u16,
    names: [&str; 2],
    told: &Tally,
) -> anyhow::Result<()> {
    let label = format!("127.0.0.1:{server}");
    let [client, server] = [View::client(names[0], &proxy.label()), View::server(names[1], &label)];
    client.expect(agent, told, View::tally)?;
    let ours = own_name()?;
    let passed_on = [View::server(&ours, &proxy.label()), View::client(&ours, &label)];
    let metrics = agent.scrape()?;
    let shown = passed_on.map(|view| view.count(&metrics));
    ensure!(shown == [0.0; 2], "{shown:?} requests of a proxy that reads none");
    ensure!(server.count(&metrics) > 0.0, "none of the server");
    Ok(())
}

#[test]
fn a_hello_that_comes_in_two_parts() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let [certificate, key] = make_certificate(folder.path())?;
    let names = ["pn", "py", "node", "tlc"].map(unique_name);
    let mut node_server = Puppet::start_node("tls_node.js", &names[0])?;
    let of_node = port(node_server.ask(&format!("listen('{certificate}', '{key}')"))?)?;
    let (_python_server, of_python) = serving(&names[1], false)?;
    let mut node = Puppet::start_node("tls_node.js", &names[2])?;
    let mut python = client(&names[3], of_node)?;
    let (agent, losses) = shared_for("http")?;
    for first in FIRST {
        let proxy = Parted::start(of_node, first)?;
        python.run(&format!("use({}); login(1)", proxy.port))?;
        ensure!(python.number("ask(sessions[-1], '/page', 5)")? == 5.0, "{first}: answers");
        let told = pages(5.0, 100_000.0);
        expect_through(&agent, &proxy, of_node, [&names[3], &names[0]], &told)
            .with_context(|| format!("{first} bytes to Node"))?;

        let proxy = Parted::start(of_python, first)?;
        let bodies = node.number(&format!("ask({}, '/page', 5)", proxy.port))?;
        ensure!(bodies == 5000.0, "{first}: {bodies} bytes");
        expect_through(&agent, &proxy, of_python, [&names[2], &names[1]], &pages(5.0, 1000.0))
            .with_context(|| format!("{first} bytes to asyncio"))?;
    }
    let count = FIRST.len() as f64;
    for (name, port, length) in [(&names[0], of_node, 100_000.0), (&names[1], of_python, 1000.0)] {
        let view = View::server(name, &format!("127.0.0.1:{port}"));
        view.expect(&agent, &pages(5.0 * count, length), View::tally)?;
    }
    for name in &names {
        expect_open(&agent, name, READ, count)?;
        all_was_read(&agent, name)?;
    }
    losses.no_more(&agent)
}

/// The client itself sends it so, from memory, without asyncio.
#[test]
fn a_hello_that_goes_in_two_calls() -> anyhow::Result<()> {
    let _alone = alone();
    let names = ["hand", "serves"].map(unique_name);
    let mut client = asyncio(&names[0], false)?;
    let (mut server, port) = serving(&names[1], false)?;
    let (agent, losses) = shared_for("http")?;
    let views = ends([&names[0], &names[1]], port);
    for first in FIRST {
        ensure!(client.number(&format!("by_hand({port}, {first}, 7)"))? == 7.0, "{first}: answers");
        let answered = server.number("counts['requests']")?;
        expect_each(&views, &agent, &pages(answered, 1000.0), View::tally)
            .with_context(|| format!("{first} bytes"))?;
    }
    for name in &names {
        all_was_read(&agent, name)?;
    }
    losses.no_more(&agent)
}

/// Sessions that go on with what was agreed on before, by an id, by a ticket, and by a ticket of TLS 1.3; and those whose
/// clients have to say hello twice, as the server wants a key of another curve.
#[test]
fn sessions_that_are_resumed_and_hellos_that_are_said_again() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let [certificate, key] = make_certificate(folder.path())?;
    let names = ["again", "serves"].map(unique_name);
    let mut client = Puppet::start_node("tls_node.js", &names[0])?;
    let mut server = Puppet::start_node("tls_node.js", &names[1])?;
    let (agent, losses) = shared_for("http")?;
    let mut before = [0.0; 2];
    for (version, options) in [
        ("1.2", "{ secureOptions: constants.SSL_OP_NO_TICKET }"),
        ("1.2", "{}"),
        ("1.3", "{}"),
        ("1.3", "{ ecdhCurve: 'secp384r1' }"),
    ] {
        let port = port(server.ask(&format!("listen('{certificate}', '{key}', {options})"))?)?;
        let resumed = client.number(&format!("briefly({port}, 30, 'TLSv{version}')"))?;
        let now = server.pair("[counts.requests, counts.resumed]")?;
        let answered = [now[0] - before[0], now[1] - before[1]];
        before = now;
        ensure!(resumed == 29.0 && answered == [30.0, 29.0], "{version} {options}: {resumed}, {answered:?}");
        expect_each(&ends([&names[0], &names[1]], port), &agent, &pages(30.0, 100_000.0), View::tally)
            .with_context(|| format!("TLS {version}, {options}"))?;
    }
    for name in &names {
        expect_open(&agent, name, READ, 0.0)?;
        all_was_read(&agent, name)?;
    }
    losses.no_more(&agent)
}
