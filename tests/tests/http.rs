//! Requests by method, route and status, and bytes of their bodies, of real servers and clients: exactly as each client
//! counts them itself.

// needs: nothing
// takes: 42 s

use std::collections::BTreeMap;

use observer_tests::agent::Agent;
use observer_tests::haproxy::Haproxy;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::log::tally;
use observer_tests::http::servers::{Framework, Server};
use observer_tests::http::shown::View;
use observer_tests::http::{Call, Tally, calls};
use observer_tests::nginx::Nginx;
use observer_tests::websocket::alone;

/// The routes of the calls' paths.
fn routes(calls: &[Call]) -> impl Fn(&str) -> String {
    let path = |call: &Call| call.path.split('?').next().unwrap_or_default().to_owned();
    let routes: BTreeMap<String, &str> = calls.iter().map(|call| (path(call), call.route)).collect();
    move |path| routes.get(path).map_or_else(|| path.to_owned(), |&route| route.to_owned())
}

/// What one side shows of requests, none of which is a stream.
fn expect(agent: &Agent, view: &View, tally: &Tally) -> anyhow::Result<()> {
    // Each of them has had its time taken.
    let mut timed = BTreeMap::<[String; 2], f64>::new();
    for ([method, route, _], count) in &tally.requests {
        *timed.entry([method.clone(), route.clone()]).or_default() += count;
    }
    view.expect(agent, &(tally.clone().shown(), timed, 0.0), |view, metrics| {
        let durations = view.durations(metrics).into_iter();
        let timed = durations.map(|(labels, [count, _])| (labels, count)).collect();
        (view.tally(metrics), timed, view.in_flight(metrics))
    })
}

/// Every client makes all calls to a server.
fn served_by(framework: Framework) -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let server = Server::start(framework)?;
    let label = server.label.clone();
    let calls = calls();
    let mut all = Tally::default();
    for library in Library::ALL {
        let mut client = Client::start(library)?;
        let answers = client.make(&server.url(), &calls)?;
        let mut tally = Tally::default();
        tally.add_calls(&calls, &answers)?;
        all.add_calls(&calls, &answers)?;
        let view = View::client(&client.process, &label);
        expect(&agent, &view, &tally)?;
        let asked = BTreeMap::from([(label.clone(), calls.len() as f64)]);
        assert_eq!(view.authorities(&agent.scrape()?), asked);
    }
    let view = View::server(&server.process, &label);
    expect(&agent, &view, &all)?;
    let count = (Library::ALL.len() * calls.len()) as f64;
    let metrics = agent.scrape()?;
    assert_eq!(view.authorities(&metrics), BTreeMap::from([(String::new(), count)]));
    let failed = Library::ALL.len() as f64;
    assert_eq!(view.errors(&metrics), BTreeMap::from([(["/broken", "5xx"].map(str::to_owned), failed)]));
    Ok(())
}

#[test]
fn django_in_gunicorn() -> anyhow::Result<()> {
    served_by(Framework::Django)
}

#[test]
fn fastapi_in_uvicorn() -> anyhow::Result<()> {
    served_by(Framework::FastApi)
}

#[test]
fn node() -> anyhow::Result<()> {
    served_by(Framework::Node)
}

#[test]
fn hyper() -> anyhow::Result<()> {
    served_by(Framework::Hyper)
}

/// Through nginx, over kept connections to the server behind it and over one for each request: what nginx logs is what
/// its clients see, and what it says of the server is what that serves.
#[test]
fn nginx_in_front() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let calls = calls();
    for kept in [true, false] {
        let server = Server::start(Framework::Node)?;
        let nginx = Nginx::passing_on(&server.label, kept)?;
        let mut all = Tally::default();
        for library in [Library::Undici, Library::Requests, Library::Curl] {
            let mut client = Client::start(library)?;
            let answers = client.make(&nginx.url(), &calls)?;
            let mut tally = Tally::default();
            tally.add_calls(&calls, &answers)?;
            all.add_calls(&calls, &answers)?;
            expect(&agent, &View::client(&client.process, &nginx.label()), &tally)?;
        }
        let log = nginx.logged(3 * calls.len())?;
        let told = tally(&log, routes(&calls));
        assert_eq!(told.requests, all.requests, "nginx has seen what its clients have");
        expect(&agent, &View::server(&nginx.name, &nginx.label()), &all)?;
        for (logged, call) in log.iter().zip(calls.iter().cycle()) {
            let passed = logged.passed_on.as_ref().map(|(status, ..)| status.clone());
            assert_eq!(passed, Some(call.status.to_string()), "{logged:?}");
        }
        for view in [View::client(&nginx.name, &server.label), View::server(&server.process, &server.label)] {
            expect(&agent, &view, &all)?;
        }
    }
    Ok(())
}

/// As Django is mostly deployed: behind nginx, at a UNIX socket.
#[test]
fn gunicorn_at_a_unix_socket() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let calls = calls();
    let folder = tempfile::tempdir()?;
    let server = Server::at_unix_socket(folder.path())?;
    let nginx = Nginx::passing_on(&format!("unix:{}", server.label), true)?;
    let mut client = Client::start(Library::Requests)?;
    let mut tally = Tally::default();
    tally.add_calls(&calls, &client.make(&nginx.url(), &calls)?)?;
    for view in [
        View::client(&client.process, &nginx.label()),
        View::server(&nginx.name, &nginx.label()),
        View::client(&nginx.name, &server.label),
        View::server(&server.process, &server.label),
    ] {
        expect(&agent, &view, &tally)?;
    }
    Ok(())
}

#[test]
fn haproxy_in_front() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let calls = calls();
    let server = Server::start(Framework::FastApi)?;
    let haproxy = Haproxy::speaking_http(&server.label)?;
    let label = format!("127.0.0.1:{}", haproxy.port);
    let mut client = Client::start(Library::Httpx)?;
    let answers = client.make(&format!("http://{label}"), &calls)?;
    let mut tally = Tally::default();
    tally.add_calls(&calls, &answers)?;
    for view in [
        View::client(&client.process, &label),
        View::server(&haproxy.name, &label),
        View::client(&haproxy.name, &server.label),
        View::server(&server.process, &server.label),
    ] {
        expect(&agent, &view, &tally)?;
    }
    Ok(())
}

/// What only curl does: HTTP/1.0, `Expect: 100-continue`, ranges.
#[test]
fn curl_in_other_ways() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let calls = calls();
    for framework in [Framework::Django, Framework::FastApi, Framework::Node, Framework::Hyper] {
        let server = Server::start(framework)?;
        let mut all = Tally::default();
        let client = Client::start(Library::Curl)?;
        // HTTP/1.0 knows no chunks.
        let of_1_0: Vec<Call> = calls.iter().filter(|call| !call.chunked).cloned().collect();
        let answers = client.curl(&server.url(), &of_1_0, "http1.0")?;
        all.add_calls(&of_1_0, &answers)?;
        let with_body = [
            Call::post("/items", "/items", 50_000),
            Call::post("/items", "/items", 60_000).in_chunks(),
            Call::post("/items/5", "/items/{id}", 70_000).by("PUT").answered(204),
        ];
        let answers = client.curl(&server.url(), &with_body, "header = \"Expect: 100-continue\"")?;
        all.add_calls(&with_body, &answers)?;
        for view in
            [View::client(&client.process, &server.label), View::server(&server.process, &server.label)]
        {
            expect(&agent, &view, &all)?;
        }
    }
    Ok(())
}
