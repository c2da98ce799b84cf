//! Servers and clients of every kind that speak TLS by OpenSSL: what they say inside is counted exactly, however they use
//! the library: in threads, in children, in calls of one byte and of a megabyte.

// needs: nothing
// takes: 15 s

use std::process::Command;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::haproxy::Haproxy;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::log::tally;
use observer_tests::http::shown::View;
use observer_tests::http::{Call, Tally};
use observer_tests::nginx::Nginx;
use observer_tests::plaintext::{
    Site, all_was_read, client, directives, expect_open, open, route, shared_for,
};
use observer_tests::postgres::server::make_certificate;
use observer_tests::programs::{installed, named};
use observer_tests::puppet::Puppet;
use observer_tests::websocket::peers::{Peer, Runtime, Step, closed, exchanged};
use observer_tests::websocket::sides::{Side, settle};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::{alone, unique_name};
use serde_json::Value;

/// What a log says is shown at a server's end, and at its client's.
fn expect(agent: &Agent, views: &[View], told: &Tally) -> anyhow::Result<()> {
    views.iter().try_for_each(|view| view.expect(agent, told, View::tally))
}

/// A server, and a client of it called `process` that has no connection yet.
fn served(version: Option<&str>) -> anyhow::Result<(Site, Puppet, String)> {
    let site = Site::start("")?;
    let process = unique_name("tlc");
    let mut client = client(&process, site.nginx.port)?;
    if let Some(version) = version {
        client.run(&format!("use({}, '{version}')", site.nginx.port))?;
    }
    Ok((site, client, process))
}

/// Events of oversized messages that a process has sent or received.
fn oversized<'a>(events: &'a Value, process: &str, direction: &str) -> Vec<&'a Value> {
    let all = events["events"].as_array().into_iter().flatten();
    all.filter(|event| event["process"] == process && event["direction"] == direction).collect()
}

#[test]
fn requests_of_python_libraries() -> anyhow::Result<()> {
    let _alone = alone();
    let mut site = Site::start("")?;
    let mut clients = [Client::trusting(Library::Requests, "1.3")?, Client::trusting(Library::Httpx, "1.3")?];
    let (agent, losses) = shared_for("http")?;
    let calls = [
        Call::get("/page", "/page"),
        Call::get("/large", "/large"),
        Call::get("/large", "/large").by("HEAD"),
        Call::get("/page?of=7", "/page"),
        Call::post("/takes", "/takes", 10),
        Call::post("/takes", "/takes", 300_000),
        Call::get("/fails", "/fails").answered(503),
        Call::get("/absent", "unmatched").answered(404),
    ];
    let many: Vec<Call> = calls.iter().cycle().take(10 * calls.len()).cloned().collect();
    for client in &mut clients {
        let answers = client.make(&site.url(), &many)?;
        let mut told = Tally::default();
        told.add_calls(&many, &answers)?;
        ensure!(site.logged(many.len())? == told.clone().shown(), "nginx and its client do not agree");
        expect(&agent, &site.views(&client.process)[1..], &told.shown())?;
        expect_open(&agent, &client.process, ["openssl", "yes", ""], 1.0)?;
        all_was_read(&agent, &client.process)?;
    }
    expect(&agent, &site.views("")[..1], &site.all()?)?;
    all_was_read(&agent, &site.nginx.name)?;
    losses.no_more(&agent)
}

#[test]
fn requests_through_haproxy() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let [certificate, key] = make_certificate(folder.path())?;
    let both = folder.path().join("both");
    std::fs::write(&both, std::fs::read_to_string(&certificate)? + &std::fs::read_to_string(&key)?)?;
    let both = both.to_str().context("a path")?;
    let nginx = Nginx::logging("location = /takes { return 201 taken; }")?;
    nginx.write("page", 200)?;
    nginx.write("large", 1_000_000)?;
    let proxies = [
        Haproxy::speaking_https(&nginx.label(), both)?,
        Haproxy::start(&nginx.label(), &format!("ssl crt {both}"), "")?,
    ];
    let process = unique_name("tlc");
    let mut client = client(&process, 0)?;
    let (agent, losses) = shared_for("http")?;
    for (number, proxy) in (1..).zip(&proxies) {
        client.run(&format!("use({}); login(2)", proxy.port))?;
        for at in 0..2 {
            ensure!(client.number(&format!("ask(sessions[{at}], '/page', 20)"))? == 20.0, "/page");
            ensure!(client.number(&format!("ask(sessions[{at}], '/large', 3)"))? == 3.0, "/large");
            ensure!(client.number(&format!("put(sessions[{at}], 100_000, 30_000)"))? == 201.0, "/takes");
        }
        let log = nginx.logged(number * 48)?;
        let told = tally(&log[(number - 1) * 48..], route).shown();
        let label = format!("127.0.0.1:{}", proxy.port);
        let views = [
            View::client(&process, &label),
            View::server(&proxy.name, &label),
            View::client(&proxy.name, &nginx.label()),
        ];
        expect(&agent, &views, &told)?;
        expect_open(&agent, &proxy.name, ["openssl", "yes", ""], 2.0)?;
        client.run("logout()")?;
        all_was_read(&agent, &proxy.name)?;
    }
    all_was_read(&agent, &process)?;
    losses.no_more(&agent)
}

#[test]
fn many_short_connections() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, losses) = shared_for("http")?;
    let (mut site, mut client, process) = served(None)?;
    let mut told = Tally::default();
    for version in ["TLSv1_2", "TLSv1_3"] {
        client.run(&format!("use({}, '{version}')", site.nginx.port))?;
        for (resumed, expected) in [("False", 0.0), ("True", 49.0)] {
            let reused = client.number(&format!("briefly(50, {resumed})"))?;
            ensure!(reused == expected, "{version}: {reused} sessions went on, and not {expected}");
            site.logged(50)?;
            told = site.all()?;
            expect(&agent, &site.views(&process), &told)?;
        }
    }
    // And a process for each.
    let name = unique_name("curl");
    let curl = named(&installed("curl")?, site.folder(), &name)?;
    for _ in 0..20 {
        let output = Command::new(&curl)
            .args(["--silent", "--insecure", "--http1.1", "--output", "/dev/null"])
            .arg(format!("{}/page", site.url()))
            .output()?;
        ensure!(output.status.success(), "{output:?}");
    }
    let of_curl = site.logged(20)?;
    expect(&agent, &site.views(&name)[1..], &of_curl)?;
    expect(&agent, &site.views(&process)[1..], &told)?;
    expect(&agent, &site.views("")[..1], &site.all()?)?;
    for process in [&process, &name, &site.nginx.name] {
        all_was_read(&agent, process)?;
    }
    losses.no_more(&agent)
}

#[test]
fn threads_of_a_process() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, losses) = shared_for("http")?;
    let (mut site, mut client, process) = served(None)?;
    ensure!(client.number("in_threads(12, 100)")? == 1200.0, "not all were right");
    let told = site.logged(1200)?;
    expect(&agent, &site.views(&process), &told)?;

    client.run("login(1)")?;
    ensure!(client.number("in_turns(sessions[0], 200)")? == 401.0, "not all were right");
    site.logged(401)?;
    let told = site.all()?;
    expect(&agent, &site.views(&process), &told)?;
    expect_open(&agent, &process, ["openssl", "yes", ""], 1.0)?;
    client.run("logout()")?;
    all_was_read(&agent, &process)?;
    all_was_read(&agent, &site.nginx.name)?;
    losses.no_more(&agent)
}

/// A child has the same session at the same address, and its parent does not use it any more.
#[test]
fn a_session_that_a_child_goes_on_with() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, losses) = shared_for("http")?;
    for version in ["TLSv1_2", "TLSv1_3"] {
        let (mut site, mut client, process) = served(Some(version))?;
        client.run("login(2)")?;
        ensure!(client.number("ask(sessions[0], '/page', 5)")? == 5.0, "the parent");
        let before = site.logged(5)?;
        expect(&agent, &site.views(&process), &before)?;
        ensure!(client.number("in_child(sessions[0], 7)")? == 7.0, "the child");
        // A session that no call has moved anything of but the handshake.
        ensure!(client.number("in_child(sessions[1], 3)")? == 3.0, "the other child");
        site.logged(10)?;
        let all = site.all()?;
        // The server does not know of any children.
        expect(&agent, &site.views("")[..1], &all)?;
        let [_, of_client] = site.views(&process);
        let metrics = agent.scrape()?;
        let (shown, truth) = (of_client.count(&metrics), 15.0);
        let how = open(&metrics, &process);
        ensure!((5.0..=truth).contains(&shown), "{shown} requests, and not {truth}");
        // Either all of it is shown, or it is said that not all was read.
        let is_partly = how.iter().all(|([_, read, _], _)| read != "yes");
        ensure!(shown == truth || is_partly, "{version}: {shown} requests of {truth}, read as {how:?}");
        // What comes after is right again.
        client.run("login(1)")?;
        ensure!(client.number("ask(sessions[2], '/page', 4)")? == 4.0, "the parent again");
        site.logged(4)?;
        let metrics = agent.wait_until("four more", |metrics| of_client.count(metrics) >= shown + 4.0)?;
        ensure!(of_client.count(&metrics) == shown + 4.0, "{} requests", of_client.count(&metrics));
    }
    losses.no_more(&agent)
}

#[test]
fn calls_of_every_length() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, losses) = shared_for("http")?;
    let (mut site, mut client, process) = served(None)?;
    for version in ["TLSv1_2", "TLSv1_3"] {
        client.run(&format!("use({}, '{version}'); login(1)", site.nginx.port))?;
        for (length, step) in [(2_000, 1), (200_000, 16_384), (100_000, 16_385), (3_000_000, 1 << 20)] {
            let status = client.number(&format!("put(sessions[-1], {length}, {step})"))?;
            ensure!(status == 201.0, "{length} bytes in calls of {step}: {status}");
        }
        // The head in calls of one byte, and all else.
        for (path, step) in [("/page", 1), ("/large", 16_384), ("/large", 1 << 20)] {
            let right = client.number(&format!("ask(sessions[-1], '{path}', 2, {step})"))?;
            ensure!(right == 2.0, "{path} in calls of {step}");
        }
        site.logged(10)?;
        expect(&agent, &site.views(&process), &site.all()?)?;
    }
    // A call that has to be made again has moved nothing before.
    let again = client.number("put_without_waiting(sessions[-1], 2_000_000)")?;
    ensure!(again > 0.0, "no call had to be made again");
    site.logged(1)?;
    expect(&agent, &site.views(&process), &site.all()?)?;
    expect_open(&agent, &process, ["openssl", "yes", ""], 2.0)?;
    client.run("logout()")?;
    all_was_read(&agent, &process)?;
    all_was_read(&agent, &site.nginx.name)?;
    losses.no_more(&agent)
}

/// Messages of WebSocket.
// needs: websocket
// makes: messages
// takes: 6 s
mod of_websockets {
    use super::*;

    #[test]
    fn websockets_through_nginx() -> anyhow::Result<()> {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let certificate = make_certificate(folder.path())?;
        let (mut server, upstream) = Peer::server(Runtime::Python, "tcp", "plain")?;
        let upstream = upstream.trim_start_matches("ws://").trim_end_matches('/');
        let nginx = Nginx::with(
            &format!("access_log off; {}", directives(&certificate)),
            "ssl",
            &format!(
                "location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1;
                 proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}"
            ),
            true,
        )?;
        let mut client = Peer::blocking_client(&format!("wss://127.0.0.1:{}/", nginx.port), 2)?;
        let (agent, losses) = shared_for("websocket")?;
        client.connect(2)?;
        let mut front = Side::new(&nginx.name, nginx.pid()?, "server");
        let mut back = Side::new(&nginx.name, nginx.pid()?, "client");
        for side in [&mut server.side, &mut front, &mut back] {
            side.open = 2;
        }
        settle(&agent, &[&client.side, &front, &back, &server.side])?;

        let mut steps = Vec::new();
        for opcode in [Opcode::Text, Opcode::Binary] {
            steps.extend([0, 1, 125, 126, 65_535, 65_536, 1_000_000].map(|size| Step::message(opcode, size)));
            steps.push(Step::Ping(4));
            steps.push(Step::Message(opcode, vec![1, 126, 65_536], None));
        }
        steps.push(Step::message(Opcode::Binary, 12_000_000));
        let traffic = client.take(&steps)?;
        exchanged(&mut client.side, &mut front, &traffic);
        exchanged(&mut back, &mut server.side, &traffic);
        settle(&agent, &[&client.side, &front, &back, &server.side])?;
        expect_open(&agent, &client.side.process, ["openssl", "yes", ""], 2.0)?;
        expect_open(&agent, &nginx.name, ["openssl", "yes", ""], 2.0)?;

        // It is told of by name on each encrypted connection, each way.
        let events = agent.json("/events")?;
        for (process, role) in [(&client.side.process, "client"), (&nginx.name, "server")] {
            for direction in ["sent", "received"] {
                let told = oversized(&events, process, direction);
                let huge =
                    told.iter().filter(|event| event["role"] == role && event["size_bytes"] == 12_000_000);
                ensure!(huge.count() == 2, "{process} {direction}: {told:#?}");
            }
        }

        client.close(1000)?;
        for _ in 0..2 {
            closed(&mut client.side, &mut front, "1000");
            closed(&mut back, &mut server.side, "1000");
        }
        losses.no_more_in(&agent, &settle(&agent, &[&client.side, &front, &back, &server.side])?)?;
        all_was_read(&agent, &client.side.process)?;
        all_was_read(&agent, &nginx.name)
    }
}
