//! Requests over IPv6 and over UNIX sockets: those of nginx's own log, at both ends.

// needs: nothing
// takes: 8 s

use std::collections::BTreeMap;

use observer_tests::agent::Agent;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::load::ab;
use observer_tests::http::log::tally;
use observer_tests::http::shown::View;
use observer_tests::http::{Call, Tally};
use observer_tests::nginx::Nginx;
use observer_tests::programs::free_port;
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, unique_name};

/// What nginx answers by itself, and files.
const LOCATIONS: &str = "location = /fails { return 503 sorry; } location /api/ { return 200 here; }";

/// Calls of what there is.
fn calls() -> Vec<Call> {
    vec![
        Call::get("/page", "/page"),
        Call::get("/large?x=1", "/large"),
        Call::get("/large", "/large").by("HEAD"),
        Call::get("/api/items/12", "/api/items/{id}"),
        Call::post("/api/items", "/api/items", 70_000).answered(200),
        Call::get("/fails", "/fails").answered(503),
        Call::get("/absent", "unmatched").answered(404),
        Call::get("/page", "/page"),
    ]
}

/// One that also listens elsewhere.
fn listening(address: &str) -> anyhow::Result<Nginx> {
    let nginx = Nginx::logging(&format!("listen {address}; {LOCATIONS}"))?;
    nginx.write("page", 200)?;
    nginx.write("large", 500_000)?;
    Ok(nginx)
}

/// nginx's log of all requests, as the agent would show it.
fn logged(nginx: &Nginx, count: usize) -> anyhow::Result<Tally> {
    let route = |path: &str| {
        match path {
            "/absent" => "unmatched",
            "/api/items/12" => "/api/items/{id}",
            path => path,
        }
        .to_owned()
    };
    Ok(tally(&nginx.logged(count)?, route).shown())
}

/// A client's own count, and whom it has asked.
fn expect_client(agent: &Agent, view: &View, tally: Tally, authority: &str) -> anyhow::Result<()> {
    let count: f64 = tally.requests.values().sum();
    let asked = BTreeMap::from([(authority.to_owned(), count)]);
    view.expect(agent, &(tally.shown(), asked), |view, metrics| {
        (view.tally(metrics), view.authorities(metrics))
    })
}

#[test]
fn ipv6() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let label = format!("[::1]:{}", free_port()?);
    let nginx = listening(&label)?;
    let calls = calls();
    let mut count = 0;
    for library in Library::ALL {
        let mut client = Client::start(library)?;
        let mut tally = Tally::default();
        tally.add_calls(&calls, &client.make(&format!("http://{label}"), &calls)?)?;
        count += calls.len();
        expect_client(&agent, &View::client(&client.process, &label), tally, &label)?;
    }
    // Many connections of one request, and few of many.
    for kept in [false, true] {
        let load = ab(&format!("http://{label}/page"), 500, 10, kept)?;
        count += 500;
        let mut expected = Tally::default();
        expected.requests.insert(["GET", "/page", "200"].map(str::to_owned), load.requests);
        expected.bodies.insert("/page".to_owned(), [0.0, load.requests * 200.0]);
        expect_client(&agent, &View::client(&load.process, &label), expected, &label)?;
    }
    View::server(&nginx.name, &label).expect(&agent, &logged(&nginx, count)?, View::tally)
}

#[test]
fn unix_sockets() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("nginx").display().to_string();
    let nginx = listening(&format!("unix:{path}"))?;
    let calls = calls();
    let client = Client::start(Library::Curl)?;
    let mut tally = Tally::default();
    let mut count = 0;
    for options in ["", "http1.0"] {
        let options = format!("unix-socket = \"{path}\"\n{options}");
        tally.add_calls(&calls, &client.curl("http://service.example", &calls, &options)?)?;
        count += calls.len();
    }
    expect_client(&agent, &View::client(&client.process, &path), tally, "service.example")?;

    // Node.js, over kept connections; its library says whom it asks by default.
    let name = unique_name("hu");
    let mut node = Puppet::start_node("http_client.js", &name)?;
    let asked = node.ask(&format!("askPath('{path}', '/api/items/12', 300)"))?;
    assert_eq!(asked, serde_json::json!(vec![200; 300]));
    count += 300;
    let mut expected = Tally::default();
    expected.requests.insert(["GET", "/api/items/{id}", "200"].map(str::to_owned), 300.0);
    expected.bodies.insert("/api/items/{id}".to_owned(), [0.0, 1200.0]);
    expect_client(&agent, &View::client(&name, &path), expected, "localhost")?;

    // nginx in front of it.
    let front = Nginx::passing_on(&format!("unix:{path}"), true)?;
    let mut client = Client::start(Library::Curl)?;
    let answers = client.make(&front.url(), &calls)?;
    count += calls.len();
    let mut tally = Tally::default();
    tally.add_calls(&calls, &answers)?;
    assert_eq!(logged(&front, calls.len())?.requests, tally.requests);
    expect_client(&agent, &View::client(&front.name, &path), tally, "behind")?;
    View::server(&nginx.name, &path).expect(&agent, &logged(&nginx, count)?, View::tally)
}
