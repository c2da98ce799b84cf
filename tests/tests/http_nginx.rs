//! What nginx's own log says of requests is what the agent shows: how many, bytes of bodies, and times, of files that it
//! sends with `sendfile`, of ranges, and of slow clients.

// needs: nothing
// takes: 12 s

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::load::{ab, wrk};
use observer_tests::http::log::tally;
use observer_tests::http::servers::{Framework, Server};
use observer_tests::http::shown::View;
use observer_tests::http::{Answer, Call, Tally};
use observer_tests::nginx::Nginx;
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, unique_name};

/// Files, and what nginx answers by itself.
fn files() -> anyhow::Result<Nginx> {
    let nginx = Nginx::logging(
        "if_modified_since before; location = /fails { return 503 sorry; } location = /slow { limit_rate 100k; }",
    )?;
    for (name, bytes) in [("page", 200), ("large", 1_000_000), ("empty", 0), ("slow", 150_000)] {
        nginx.write(name, bytes)?;
    }
    Ok(nginx)
}

#[test]
fn files_and_ranges() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let nginx = files()?;
    let client = Client::start(Library::Curl)?;
    let mut all = Tally::default();
    let calls = [
        Call::get("/page", "/page"),
        Call::get("/large", "/large"),
        Call::get("/large", "/large").by("HEAD"),
        Call::get("/empty", "/empty"),
        Call::get("/page?of=7", "/page"),
        Call::get("/fails", "/fails").answered(503),
        Call::get("/absent", "unmatched").answered(404),
        Call::get("/", "/"),
    ];
    for options in ["", "http1.0"] {
        all.add_calls(&calls, &client.curl(&nginx.url(), &calls, options)?)?;
    }
    let ranges =
        ["/large", "/page"].map(|path| Call::get(path, if path == "/page" { "/page" } else { "/large" }));
    let ranges = ranges.map(|call| call.answered(206));
    let answers = client.curl(&nginx.url(), &ranges, "range = 10-109")?;
    assert_eq!(answers, [Answer(206, 100); 2]);
    all.add_calls(&ranges, &answers)?;
    // Two ranges in one body, with their own headers between them.
    all.add_calls(&ranges, &client.curl(&nginx.url(), &ranges, "range = 0-9,100-109")?)?;
    let known = ranges.map(|call| call.answered(304));
    let later = "header = \"If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\"";
    all.add_calls(&known, &client.curl(&nginx.url(), &known, later)?)?;

    let log = nginx.logged(2 * calls.len() + 6)?;
    let told = tally(&log, |path| if path == "/absent" { "unmatched".to_owned() } else { path.to_owned() });
    assert_eq!(told, all, "nginx and curl agree");
    for view in [View::server(&nginx.name, &nginx.label()), View::client(&client.process, &nginx.label())] {
        view.expect(&agent, &all.clone().shown(), View::tally)?;
    }
    Ok(())
}

/// The seconds of a route's requests, once there are so many.
fn seconds(agent: &Agent, view: &View, route: &str, count: f64) -> anyhow::Result<f64> {
    let start = Instant::now();
    loop {
        let durations = view.durations(&agent.scrape()?);
        let found = durations.iter().find(|([_, of], _)| of == route).map(|(_, durations)| *durations);
        if let Some([timed, seconds]) = found
            && timed == count
        {
            return Ok(seconds);
        }
        ensure!(start.elapsed() < Duration::from_secs(5), "{count} of {route} are not in {durations:?}");
        sleep(Duration::from_millis(20));
    }
}

/// Fails unless a time lies between another that is within it and one that it is within: where a process waits for its
/// processor, that is a part of the longer ones only. nginx and node have whole milliseconds, cut off.
fn between(within: f64, shown: f64, whole: f64, what: &str) -> anyhow::Result<()> {
    // A server may be told that it has sent what the client has already read.
    let range = within.mul_add(0.95, -0.002).max(within - 0.01)..=whole.mul_add(1.05, 0.002_5);
    ensure!(range.contains(&shown), "{what}: {shown} s, and not from {within} s to {whole} s");
    Ok(())
}

/// Requests as fast as they can be made, over kept connections and one for each, small ones and large ones.
#[test]
fn loads() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let nginx = files()?;
    let server = View::server(&nginx.name, &nginx.label());
    let mut expected = Tally::default();
    let mut count = 0;
    for (path, requests, at_once, kept) in
        [("/page", 10_000, 32, true), ("/page", 1_000, 8, false), ("/large", 500, 8, true)]
    {
        let load = ab(&format!("{}{path}", nginx.url()), requests, at_once, kept)?;
        let bodies = load.bodies.unwrap_or(0.0);
        assert_eq!([load.requests, load.failed], [f64::from(requests), 0.0], "{load:?}");
        let mut tally = Tally::default();
        tally.requests.insert(["GET", path, "200"].map(str::to_owned), load.requests);
        tally.bodies.insert(path.to_owned(), [0.0, bodies]);
        View::client(&load.process, &nginx.label()).expect(&agent, &tally, View::tally)?;
        count += requests as usize;
        expected = tally_of(&nginx, count)?;
        server.expect(&agent, &expected, View::tally)?;
    }
    assert_eq!(expected.bodies["/large"][1], 500e6);

    for path in ["/page", "/large"] {
        let load = wrk(&format!("{}{path}", nginx.url()), 1, 64)?;
        assert_eq!(load.failed, 0.0, "{load:?}");
        // What was under way at the end is answered by nginx, or ended with its connection.
        let log = settled(&nginx)?;
        let made = (log - count) as f64;
        assert!((load.requests..=load.requests + 64.0).contains(&made), "{load:?}, and {made} by the log");
        count = log;
        server.expect(&agent, &(count as f64), View::count)?;
        let client = View::client(&load.process, &nginx.label());
        let shown = client.count(&agent.scrape()?);
        // It counts those that were under way when it closed its connections as well: they are over.
        assert!((load.requests..=load.requests + 64.0).contains(&shown), "{load:?}, and {shown}");
        let whole = client.sum(&agent.scrape()?, "http_request_duration_seconds_count", &[("route", path)]);
        assert!((load.requests..=load.requests + 64.0).contains(&whole), "{load:?}, and {whole} timed");
    }
    Ok(())
}

/// What the log says, once so many requests are over.
fn tally_of(nginx: &Nginx, count: usize) -> anyhow::Result<Tally> {
    Ok(tally(&nginx.logged(count)?, str::to_owned))
}

/// How many requests are in the log, once it does not grow any more.
fn settled(nginx: &Nginx) -> anyhow::Result<usize> {
    let mut before = 0;
    loop {
        let now = nginx.log()?.len();
        if now == before {
            return Ok(now);
        }
        before = now;
        sleep(Duration::from_millis(200));
    }
}

/// What nginx speaks to PHP and Python is told by its name, at both ends; its requests are not read.
#[test]
fn fastcgi_and_scgi() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    for (protocol, answer) in [
        // A record of the type FCGI_STDOUT and one of the type FCGI_END_REQUEST (FastCGI, section 8).
        (
            "fastcgi",
            "struct.pack('>BBHHBx', 1, 6, 1, 20, 0) + b'Status: 200 OK\\r\\n\\r\\nhi' + struct.pack('>BBHHBxI4x', 1, 3, 1, 8, 0, 0)",
        ),
        ("scgi", "b'Status: 200 OK\\r\\n\\r\\nhi'"),
    ] {
        let name = unique_name("gate");
        let mut gateway = Puppet::start(&name)?;
        let port = gateway.listen()?;
        let parameters = format!(
            "{protocol}_param REQUEST_METHOD $request_method; {protocol}_param REQUEST_URI $request_uri;"
        );
        let length = if protocol == "scgi" { "scgi_param CONTENT_LENGTH 0; scgi_param SCGI 1;" } else { "" };
        let nginx = Nginx::logging(&format!(
            "location / {{ {protocol}_pass 127.0.0.1:{port}; {length} {parameters} }}"
        ))?;
        let client = Client::start(Library::Curl)?;
        gateway.tell(&format!(
            "one = listener.accept()[0]; one.recv(65536); one.sendall({answer}); one.close()"
        ))?;
        assert_eq!(client.curl(&nginx.url(), &[Call::get("/", "/")], "")?, [Answer(200, 2)]);
        gateway.answer()?;
        for (process, role) in [(&nginx.name, "client"), (&name, "server")] {
            let labels = [("process", process.as_str()), ("role", role), ("protocol", protocol)];
            agent.wait_until(&format!("{process} speaks {protocol}"), |metrics| {
                metrics.sum("observer_connections_opened_total", &labels) == 1.0
            })?;
        }
        // The request itself is HTTP.
        View::server(&nginx.name, &nginx.label()).expect(&agent, &1.0, View::count)?;
        View::client(&nginx.name, &format!("127.0.0.1:{port}")).expect(&agent, &0.0, View::count)?;
    }
    Ok(())
}

// What waits for a processor takes longer at one end than at the other.
// needs: host
// takes: 6 s
mod on_a_quiet_host {
    use super::*;

    /// Each request of its own: nginx's time of it and of the server behind it, curl's own, and the agent's of all.
    #[test]
    fn times_are_those_of_the_log() -> anyhow::Result<()> {
        let _alone = alone();
        // A time that is told wrong is so each time.
        compare_times().or_else(|_| compare_times()).or_else(|_| compare_times())
    }

    fn compare_times() -> anyhow::Result<()> {
        let agent = Agent::shared()?;
        let server = Server::start(Framework::Node)?;
        let nginx = Nginx::passing_on(&server.label, true)?;
        let client = Client::start(Library::Curl)?;
        let views = [
            View::server(&nginx.name, &nginx.label()),
            View::client(&client.process, &nginx.label()),
            View::client(&nginx.name, &server.label),
            View::server(&server.process, &server.label),
        ];
        let route = "/wait/{id}";
        let mut before = [0.0; 4];
        for (number, milliseconds) in [2, 20, 70, 300, 1200].into_iter().enumerate() {
            let call = [Call::get(&format!("/wait/{milliseconds}"), route)];
            let (answer, by_curl) = client.curl_timed(&nginx.url(), &call, "")?[0];
            assert_eq!(answer, Answer(200, 6));
            let log = nginx.logged(number + 1)?;
            let waited = f64::from(milliseconds) / 1e3;
            assert!(log[number].seconds >= waited - 0.002, "{:?}", log[number]);
            let mut shown = [0.0; 4];
            for ((view, before), shown) in views.iter().zip(&mut before).zip(&mut shown) {
                let now = seconds(&agent, view, route, (number + 1) as f64)?;
                *shown = now - *before;
                *before = now;
                let [count, first] = view.first_bytes(&agent.scrape()?)[route];
                assert_eq!(count, (number + 1) as f64);
                assert!(first <= now, "{first} to the first byte, {now} to the last");
            }
            for (shown, what) in shown.into_iter().zip(["nginx", "curl", "nginx of the server", "the server"])
            {
                between(waited, shown, by_curl, what)?;
            }
        }
        Ok(())
    }

    /// A client that takes its time to send a body or to read one.
    #[test]
    fn times_of_long_bodies() -> anyhow::Result<()> {
        let _alone = alone();
        let agent = Agent::shared()?;
        let nginx = files()?;
        let client = Client::start(Library::Curl)?;
        // nginx sends 100 KiB, and the rest when that is what a second allows.
        let (_, by_curl) = client.curl_timed(&nginx.url(), &[Call::get("/slow", "/slow")], "")?[0];
        let log = nginx.logged(1)?;
        assert!(log[0].seconds > 0.2, "{log:?}");
        for view in [View::server(&nginx.name, &nginx.label()), View::client(&client.process, &nginx.label())]
        {
            between(log[0].seconds, seconds(&agent, &view, "/slow", 1.0)?, by_curl, &format!("{view:?}"))?;
            let [_, waited] = view.first_bytes(&agent.scrape()?)["/slow"];
            assert!(waited < 0.1, "{waited} s to the first byte");
        }

        let server = Server::start(Framework::Node)?;
        let nginx = Nginx::passing_on(&server.label, true)?;
        let post = [Call::post("/items", "/items", 200_000)];
        let (_, by_curl) = client.curl_timed(&nginx.url(), &post, "limit-rate = 400k")?[0];
        let log = nginx.logged(1)?;
        assert!(log[0].seconds > 0.2, "{log:?}");
        for view in [View::server(&nginx.name, &nginx.label()), View::client(&client.process, &nginx.label())]
        {
            between(log[0].seconds, seconds(&agent, &view, "/items", 1.0)?, by_curl, &format!("{view:?}"))?;
        }
        Ok(())
    }
}
