//! Requests that go wrong: answers of 500 and above, and connections that end before an answer is whole, by how they end.

// needs: nothing
// takes: 6 s

use std::collections::BTreeMap;

use observer_tests::agent::Agent;
use observer_tests::http::shown::View;
use observer_tests::http::wire::Wire;
use observer_tests::websocket::alone;

const WHOLE: usize = usize::MAX >> 1;

/// Errors by route and kind.
type Errors = BTreeMap<[String; 2], f64>;

fn errors(of: &[(&str, &str, f64)]) -> Errors {
    of.iter().map(|(route, kind, count)| ([*route, *kind].map(str::to_owned), *count)).collect()
}

/// How many requests of a status there have been, whatever their route.
fn statuses(view: &View, metrics: &observer_tests::metrics::Metrics) -> BTreeMap<String, f64> {
    view.by(metrics, "http_requests_total", "status")
}

#[test]
fn answers_of_500_and_above() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    for (route, status) in [
        ("bad", 500),
        ("away", 503),
        ("late", 504),
        ("odd", 599),
        ("fine", 200),
        ("mine", 400),
        ("many", 429),
    ] {
        wire.ask(format!("GET /{route} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(), WHOLE)?;
        wire.answer(format!("HTTP/1.1 {status} x\r\nContent-Length: 1\r\n\r\nx").as_bytes(), WHOLE)?;
    }
    let expected =
        errors(&[("/bad", "5xx", 1.0), ("/away", "5xx", 1.0), ("/late", "5xx", 1.0), ("/odd", "5xx", 1.0)]);
    let statuses_expected =
        ["200", "400", "429", "500", "503", "504", "599"].map(|status| (status.to_owned(), 1.0));
    for view in &wire.views {
        view.expect(&agent, &expected, View::errors)?;
        view.expect(&agent, &BTreeMap::from(statuses_expected.clone()), statuses)?;
        // They have been answered, and so their time was taken.
        view.expect(&agent, &7.0, |view, metrics| {
            view.sum(metrics, "http_request_duration_seconds_count", &[])
        })?;
    }
    Ok(())
}

/// How a connection ends in the middle of an answer, or before it, and what each side must say: the client's kind, and
/// the server's.
#[test]
fn connections_that_end_too_soon() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let in_chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let head = "HTTP/1.1 2";
    let close_server = ("server", "one.close()");
    let close_client = ("client", "one.close()");
    let reset_server = ("server", "reset(one)");
    let reset_client = ("client", "reset(one)");
    let mut wire = Wire::open()?;
    // A route that there is: what is not answered would have none else.
    wire.ask(b"GET /here HTTP/1.1\r\nHost: a\r\n\r\n", WHOLE)?;
    wire.answer(b"HTTP/1.1 204 No Content\r\n\r\n", WHOLE)?;
    let mut expected = [Errors::new(), Errors::new()];
    let mut counts = BTreeMap::from([("204".to_owned(), 1.0)]);
    for (answered, status) in [("", "none"), (head, "none"), (half, "200"), (in_chunks, "200")] {
        for (who, how) in [close_server, close_client, reset_server, reset_client] {
            wire.connect()?;
            wire.ask(b"GET /here HTTP/1.1\r\nHost: a\r\n\r\n", WHOLE)?;
            wire.answer(answered.as_bytes(), WHOLE)?;
            let (first, second) = if who == "server" {
                (&mut wire.server, &mut wire.client)
            } else {
                (&mut wire.client, &mut wire.server)
            };
            first.run(how)?;
            second.run("try_receive(one); one.close()")?;
            for (side, errors) in ["client", "server"].iter().zip(&mut expected) {
                // It has been reset by the other end; whoever does so has closed it.
                let is_reset = how.starts_with("reset") && *side != who;
                let kind = if is_reset { "reset" } else { "closed" };
                *errors.entry(["/here", kind].map(str::to_owned)).or_default() += 1.0;
            }
            *counts.entry(status.to_owned()).or_default() += 1.0;
            for (view, errors) in wire.views.iter().zip(&expected) {
                let case = || format!("{who} does {how} after {answered:?}");
                view.expect(&agent, &(errors.clone(), counts.clone(), 0.0), |view, metrics| {
                    (view.errors(metrics), statuses(view, metrics), view.in_flight(metrics))
                })
                .map_err(|error| error.context(case()))?;
            }
        }
    }
    // None of them was whole: only the first has had its time taken.
    for view in &wire.views {
        view.expect(&agent, &1.0, |view, metrics| {
            view.sum(metrics, "http_request_duration_seconds_count", &[])
        })?;
    }
    Ok(())
}

/// Several requests are in flight when the connection ends, and each of them has failed; none is, and nothing has.
#[test]
fn connections_that_end_with_several_requests_or_none() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    wire.ask(b"GET /here HTTP/1.1\r\nHost: a\r\n\r\n", WHOLE)?;
    wire.answer(b"HTTP/1.1 204 No Content\r\n\r\n", WHOLE)?;
    wire.close()?;
    for view in &wire.views {
        view.expect(&agent, &1.0, View::count)?;
        view.expect(&agent, &Errors::new(), View::errors)?;
    }
    wire.connect()?;
    wire.ask("GET /here HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5).as_bytes(), WHOLE)?;
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", WHOLE)?;
    wire.close()?;
    for view in &wire.views {
        view.expect(&agent, &errors(&[("/here", "closed", 4.0)]), View::errors)?;
        let expected = BTreeMap::from(
            [("200", 1.0), ("204", 1.0), ("none", 4.0)].map(|(status, count)| (status.to_owned(), count)),
        );
        view.expect(&agent, &expected, statuses)?;
    }
    Ok(())
}
