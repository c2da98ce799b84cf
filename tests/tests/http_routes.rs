//! Routes stay few by themselves: ids are no part of them, what nobody serves has none, and past their limit they are one.

// needs: nothing
// takes: 10 s

use std::collections::{BTreeMap, BTreeSet};

use observer_tests::agent::Agent;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::shown::View;
use observer_tests::http::wire::Wire;
use observer_tests::http::{Call, Tally, letters};
use observer_tests::nginx::Nginx;
use observer_tests::noise::Chance;
use observer_tests::websocket::alone;

const WHOLE: usize = usize::MAX >> 1;

/// One request, answered with a status and no body.
fn exchange(wire: &mut Wire, target: &str, status: u16) -> anyhow::Result<()> {
    exchange_of(wire, "GET", target, status)
}

/// The same with a method.
fn exchange_of(wire: &mut Wire, method: &str, target: &str, status: u16) -> anyhow::Result<()> {
    wire.ask(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), WHOLE)?;
    wire.answer(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes(), WHOLE)
}

/// Requests by route and status.
fn routes(view: &View, metrics: &observer_tests::metrics::Metrics) -> BTreeMap<[String; 2], f64> {
    let mut routes = BTreeMap::new();
    for ([_, route, status], count) in view.requests(metrics) {
        *routes.entry([route, status]).or_default() += count;
    }
    routes
}

/// What is an id, by the rules of docs/metrics.md.
#[test]
fn ids_are_no_part_of_a_route() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    let long = "a".repeat(33);
    let eight = "/a/b/c/d/e/f/g/h";
    let targets = [
        ("/", "/"),
        ("/users/7", "/users/{id}"),
        ("/users/0012345678901234567890", "/users/{id}"),
        ("/users/7?id=8&x=/9", "/users/{id}"),
        ("/users/7/orders/8/lines/9", "/users/{id}/orders/{id}/lines/{id}"),
        ("/files/1c9dd1a4-5f0b-4c8e-9d83-0b0f7d6a6a52", "/files/{id}"),
        ("/files/1C9DD1A4-5F0B-4C8E-9D83-0B0F7D6A6A52", "/files/{id}"),
        // Hexadecimal digits: eight with a digit among them, or words.
        ("/commits/0badcafe", "/commits/{id}"),
        ("/commits/deadbeef", "/commits/deadbeef"),
        ("/commits/0badcaf", "/commits/0badcaf"),
        ("/objects/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/objects/{id}"),
        // Letters and digits, sixteen of them.
        ("/tokens/g7h8j9k0l1m2n3p4", "/tokens/{id}"),
        ("/tokens/g7h8j9k0l1m2n3p", "/tokens/g7h8j9k0l1m2n3p"),
        ("/mail/someone@example.com", "/mail/{id}"),
        ("/api/v2/oauth2/utf-8", "/api/v2/oauth2/utf-8"),
        ("/named/thirty-two-bytes-of-letters-okay", "/named/thirty-two-bytes-of-letters-okay"),
        ("/static/app.js", "/static/app.js"),
    ];
    let mut expected = BTreeMap::<[String; 2], f64>::new();
    let mut one = |wire: &mut Wire, target: &str, route: &str| -> anyhow::Result<()> {
        exchange(wire, target, 200)?;
        *expected.entry([route, "200"].map(str::to_owned)).or_default() += 1.0;
        for view in &wire.views {
            view.expect(&agent, &expected, routes).map_err(|error| error.context(target.to_owned()))?;
        }
        Ok(())
    };
    for (target, route) in targets {
        one(&mut wire, target, route)?;
    }
    one(&mut wire, &format!("/long/{long}"), "/long/{id}")?;
    one(&mut wire, eight, eight)?;
    // More segments than eight are cut off.
    one(&mut wire, "/a/b/c/d/e/f/g/i/j/k", "/a/b/c/d/e/f/g/i/…")
}

/// A scanner asks for a lot that nobody serves, and makes no route; what is served keeps its own.
#[test]
fn what_nobody_serves_has_no_route() -> anyhow::Result<()> {
    const SCANNED: usize = 500;
    let _alone = alone();
    let agent = Agent::shared()?;
    let nginx = Nginx::logging("location /api/ { return 200 ok; } location /none/ { return 405; }")?;
    let mut noise = Chance::new(7);
    let mut word = || (0..6).map(|_| char::from(b'a' + noise.below(26) as u8)).collect::<String>();
    let mut calls: Vec<Call> = Vec::new();
    for number in 0..SCANNED {
        calls.push(match number % 3 {
            0 => Call::get(&format!("/{}.php?{}", word(), word()), "unmatched").answered(404),
            1 => Call::get(&format!("/none/{}", word()), "unmatched").answered(405),
            _ => Call::get("/api/items", "/api/items"),
        });
    }
    let mut client = Client::start(Library::Undici)?;
    let mut expected = Tally::default();
    expected.add_calls(&calls, &client.make(&nginx.url(), &calls)?)?;
    nginx.logged(SCANNED)?;
    for view in [View::server(&nginx.name, &nginx.label()), View::client(&client.process, &nginx.label())] {
        view.expect(&agent, &expected.requests, View::requests)?;
    }
    // A route that is served, and does not have everything.
    let mut wire = Wire::open()?;
    for (target, status) in [("/things/1", 404), ("/things/2", 200), ("/things/3", 404), ("/other/4", 400)] {
        exchange(&mut wire, target, status)?;
    }
    let expected =
        [("unmatched", "404"), ("/things/{id}", "200"), ("/things/{id}", "404"), ("unmatched", "400")];
    let expected = expected.map(|(route, status)| ([route, status].map(str::to_owned), 1.0));
    for view in &wire.views {
        view.expect(&agent, &BTreeMap::from(expected.clone()), routes)?;
    }
    Ok(())
}

/// As many routes as there may be; the others are one, and no request is missing.
#[test]
fn routes_past_their_limit() -> anyhow::Result<()> {
    const LIMIT: usize = 5;
    const SERVED: usize = 20;
    let _alone = alone();
    let agent = Agent::start(&["--http-max-routes", &LIMIT.to_string()])?;
    let mut wire = Wire::open()?;
    for number in 0..SERVED {
        let name: String =
            format!("{number:02}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
        for _ in 0..3 {
            exchange(&mut wire, &format!("/{name}"), 200)?;
        }
    }
    for view in &wire.views {
        view.expect(&agent, &((3 * SERVED) as f64), View::count)?;
        let shown = view.requests(&agent.scrape()?);
        let names: BTreeSet<&str> = shown.keys().map(|[_, route, _]| route.as_str()).collect();
        let own = names.iter().filter(|name| name.starts_with('/')).count();
        assert!(own <= LIMIT && own > 0, "{names:?}");
        assert!(names.contains("other"), "{names:?}");
        for name in names.iter().filter(|name| name.starts_with('/')) {
            let count = shown[&["GET", name, "200"].map(str::to_owned)];
            assert_eq!(count, 3.0, "{name}: whoever has a place has all of it");
        }
    }
    Ok(())
}

/// Templates of the configuration come first.
#[test]
fn routes_that_are_given() -> anyhow::Result<()> {
    let _alone = alone();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("observer.toml");
    std::fs::write(&file, "http-routes = [\"/shops/{shop}/items\", \"/shops/{shop}\", \"/files/{name}\"]\n")?;
    let agent = Agent::start(&["--config", &file.display().to_string()])?;
    let mut wire = Wire::open()?;
    let targets = [
        ("/shops/corner/items?x", "/shops/{shop}/items"),
        ("/shops/other/items", "/shops/{shop}/items"),
        ("/shops/corner", "/shops/{shop}"),
        ("/files/report.pdf", "/files/{name}"),
        // None of them: by the rules.
        ("/shops/corner/items/7", "/shops/corner/items/{id}"),
        ("/users/7", "/users/{id}"),
    ];
    let mut expected = BTreeMap::<[String; 2], f64>::new();
    for (target, route) in targets {
        exchange(&mut wire, target, 200)?;
        *expected.entry([route, "200"].map(str::to_owned)).or_default() += 1.0;
    }
    for view in &wire.views {
        view.expect(&agent, &expected, routes)?;
    }
    Ok(())
}

// The numbers of so many routes, and so many series, are handed out while requests come as fast as they can.
// needs: host
// takes: 5 s
mod on_a_quiet_host {
    use super::*;

    /// Each request is the first of its route, method and status, and they come as fast as they can.
    #[test]
    fn rows_that_all_begin_at_once_are_all_counted() -> anyhow::Result<()> {
        const ROUTES: usize = 200;
        let _alone = alone();
        let agent = Agent::start(&["--max-series", "100000"])?;
        let mut wire = Wire::open()?;
        let mut expected = BTreeMap::<[String; 3], f64>::new();
        for number in 0..ROUTES {
            let route = format!("/route-{}", letters(number));
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                for status in [200, 201, 302, 403, 500] {
                    exchange_of(&mut wire, method, &route, status)?;
                    expected.insert([method, &route, &status.to_string()].map(str::to_owned), 1.0);
                }
            }
        }
        for view in &wire.views {
            view.expect(&agent, &expected, View::requests)?;
        }
        let left_out = agent.scrape()?.sum("observer_http_uncounted_requests_total", &[]);
        anyhow::ensure!(left_out == 0.0, "{left_out} requests were not counted");
        Ok(())
    }
}
