//! Requests and responses in every framing that RFC 9112 allows, between two processes that say exactly what they are told:
//! in one call, a byte in each, and cut anywhere.

// needs: nothing
// makes: messages
// takes: 16 s

use std::collections::BTreeMap;

use observer_tests::agent::Agent;
use observer_tests::http::shown::View;
use observer_tests::http::wire::Wire;
use observer_tests::http::{Call, Tally};
use observer_tests::websocket::alone;

/// Bytes in a call: all, one, and two odd numbers.
const STEPS: [usize; 4] = [usize::MAX >> 1, 1, 7, 1000];

/// What is said on one connection, and what must be counted.
struct Case {
    asks: Vec<u8>,
    answers: Vec<u8>,
    /// The calls that this is, and the bytes of the responses' bodies.
    calls: Vec<(Call, u64)>,
}

fn case(asks: &str, answers: &str, calls: &[(Call, u64)]) -> Case {
    let bytes = |text: &str| text.replace('\n', "\r\n").into_bytes();
    Case { asks: bytes(asks), answers: bytes(answers), calls: calls.to_vec() }
}

/// Framings, each with a route of its own.
fn framings() -> Vec<Case> {
    let get = |route: &'static str| Call::get(route, route);
    let post = |route: &'static str, bytes| Call::post(route, route, bytes).answered(200);
    let mut cases = vec![
        // Several requests in a call, and several answers.
        case(
            "GET /several HTTP/1.1\nHost: a\n\nHEAD /several HTTP/1.1\nHost: a\n\nGET /several?b HTTP/1.1\nHost: a\n\n",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\nhelloHTTP/1.1 200 OK\nContent-Length: 5\n\n\
             HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            &[(get("/several"), 5), (get("/several").by("HEAD"), 0), (get("/several"), 0)],
        ),
        // Chunks with extensions and trailers, both ways (section 7.1).
        case(
            "POST /chunks HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n4;name=value\nabcd\n0A ; x=\"y\"\n0123456789\n0\n\
             Trailer: one\nContent-Length: 7\n\n",
            "HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n\n1\nx\n00b\n0123456789a\n000\nX: y\n\n",
            &[(post("/chunks", 14), 12)],
        ),
        // A field's value over several lines (section 5.2), and others that look like it.
        case(
            "POST /folded HTTP/1.1\nHost: a\nX: one\n two\n\tContent-Length: 9\nContent-Length:\n 3\n\nabc",
            "HTTP/1.1 200 OK\nX-Content-Length: 7\nContent-Length: 2\n\nok",
            &[(post("/folded", 3), 2)],
        ),
        // A whole URI as the target, and none (section 3.2).
        case(
            "GET http://Example.com:8080/absolute?x=http://y/z HTTP/1.1\nHost: other\n\n",
            "HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
            &[(get("/absolute"), 1)],
        ),
        case(
            "OPTIONS * HTTP/1.1\nHost: a\n\n",
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            &[(get("*").by("OPTIONS"), 0)],
        ),
        // Interim responses (RFC 9110, section 15.2).
        case(
            "PUT /interim HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 4\n\nbody",
            "HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nLink: </a>\nContent-Length: 9\n\n\
             HTTP/1.1 200 OK\nContent-Length: 3\n\nyes",
            &[(post("/interim", 4).by("PUT"), 3)],
        ),
        // Without a body, whatever the length says (section 6.3).
        case(
            "GET /without HTTP/1.1\nHost: a\n\nGET /without HTTP/1.1\nHost: a\n\nGET /without HTTP/1.1\nHost: a\n\n",
            "HTTP/1.1 304 Not Modified\nContent-Length: 1000\n\nHTTP/1.1 204 No Content\nContent-Length: 0\n\n\
             HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
            &[(get("/without").answered(304), 0), (get("/without").answered(204), 0), (get("/without"), 2)],
        ),
        // To the end of the connection.
        case(
            "GET /to-the-end HTTP/1.0\n\n",
            "HTTP/1.0 200 OK\nContent-Type: text/plain\n\nas much as there is",
            &[(get("/to-the-end"), 19)],
        ),
        // Chunks win over a length (section 6.1).
        case(
            "POST /both HTTP/1.1\nHost: a\nContent-Length: 3\nTransfer-Encoding: chunked\n\n5\nabcde\n0\n\n",
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 100\n\n0\n\n",
            &[(post("/both", 5), 0)],
        ),
        // Methods of RFC 9110 and 5789, and one that is not; any case in fields.
        case(
            "PATCH /methods HTTP/1.1\nHOST: a\ncOnTeNt-LeNgTh: 2\n\n{}TRACE /methods HTTP/1.1\nhost:a\n\n\
             PROPFIND /methods HTTP/1.1\nhost:a\n\n",
            "HTTP/1.1 200 OK\ncontent-length:0\n\nHTTP/1.1 200 OK\nCONTENT-LENGTH: 0   \n\n\
             HTTP/1.1 200 OK\nContent-Length:\t0\n\n",
            &[
                (post("/methods", 2).by("PATCH"), 0),
                (get("/methods").by("TRACE"), 0),
                (get("/methods").by("other"), 0),
            ],
        ),
        // An empty line in front of a request (section 2.2), and a status without a reason.
        case(
            "GET /empty-lines HTTP/1.1\nHost: a\n\n\nGET /empty-lines HTTP/1.1\nHost: a\n\n",
            "HTTP/1.1 200 OK\nContent-Length: 1\n\n1HTTP/1.1 200 \nContent-Length: 1\n\n2",
            &[(get("/empty-lines"), 1), (get("/empty-lines"), 1)],
        ),
    ];
    // A line may end with LF alone (section 2.2).
    cases.push(Case {
        asks: b"POST /bare HTTP/1.1\nHost: a\nContent-Length: 2\n\nabGET /bare HTTP/1.1\r\nHost: a\n\r\n"
            .to_vec(),
        answers: b"HTTP/1.1 200 OK\nContent-Length: 3\n\nxyzHTTP/1.1 200 OK\nContent-Length: 0\r\n\n"
            .to_vec(),
        calls: vec![(post("/bare", 2), 3), (get("/bare"), 0)],
    });
    // A head of 60 KiB, and what matters at its end.
    let cookies = format!("Cookie: {}\n", "c".repeat(4_000)).repeat(15);
    cases.push(case(
        &format!("POST /long HTTP/1.1\nHost: a\n{cookies}Content-Length: 6\n\nlength"),
        &format!("HTTP/1.1 200 OK\n{}Content-Length: 1\n\n!", cookies.replace("Cookie", "Set-Cookie")),
        &[(post("/long", 6), 1)],
    ));
    cases
}

#[test]
fn every_framing_however_it_is_cut() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    let mut expected = Tally::default();
    for (number, case) in framings().iter().enumerate() {
        for step in STEPS {
            if number > 0 || step != STEPS[0] {
                wire.connect()?;
            }
            if step == STEPS[0] && case.calls.len() > 1 {
                // From its first answer on a route is known, and all of a pipeline are of it.
                let (first, _) = &case.calls[0];
                wire.ask(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", first.route).as_bytes(), step)?;
                wire.answer(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", step)?;
                expected.add("GET", first.route, "202", [0.0; 2]);
            }
            wire.ask(&case.asks, step)?;
            wire.answer(&case.answers, step)?;
            wire.close()?;
            for (call, answer) in &case.calls {
                let bodies = [call.sends.unwrap_or(0) as f64, *answer as f64];
                expected.add(call.method, call.route, &call.status.to_string(), bodies);
            }
            for view in &wire.views {
                let nothing_wrong = BTreeMap::new();
                view.expect(&agent, &(expected.clone().shown(), nothing_wrong), |view, metrics| {
                    (view.tally(metrics), view.errors(metrics))
                })
                .map_err(|error| error.context(format!("{:?}, {step} a call", case.calls)))?;
            }
        }
    }
    // A client's rows say whom it has asked; of a whole URI, that.
    let authorities = wire.views[0].authorities(&agent.scrape()?);
    assert_eq!(authorities.get("example.com:8080"), Some(&(STEPS.len() as f64)), "{authorities:?}");
    Ok(())
}

/// More requests in a call than there is room for: each of them is counted, and the first ones timed.
#[test]
fn hundreds_in_a_call() -> anyhow::Result<()> {
    const COUNT: usize = 300;
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    let asks = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n".repeat(COUNT);
    let answers = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc".repeat(COUNT);
    // From its first answer on a route is known.
    wire.ask(&asks.as_bytes()[..asks.len() / COUNT], STEPS[0])?;
    wire.answer(&answers.as_bytes()[..answers.len() / COUNT], STEPS[0])?;
    for times in 1..=3 {
        let all = times * COUNT + 1;
        wire.ask(asks.as_bytes(), STEPS[0])?;
        for view in &wire.views {
            view.expect(&agent, &(COUNT as f64), View::in_flight)?;
        }
        wire.answer(answers.as_bytes(), STEPS[0])?;
        let mut expected = Tally::default();
        expected.requests.insert(["GET", "/page", "200"].map(str::to_owned), all as f64);
        expected.bodies.insert("/page".to_owned(), [0.0, (all * 3) as f64]);
        for view in &wire.views {
            view.expect(&agent, &expected, View::tally)?;
            view.expect(&agent, &0.0, View::in_flight)?;
            // Each is timed, or counted as one that is not.
            let metrics = agent.scrape()?;
            let timed: f64 = view.durations(&metrics).values().map(|[count, _]| count).sum();
            let untimed = view.sum(&metrics, "observer_http_untimed_requests_total", &[]);
            assert_eq!(timed + untimed, all as f64, "{timed} timed, {untimed} not");
            assert!(timed >= (times * 16) as f64, "{timed} timed");
        }
    }
    Ok(())
}

/// What is not answered is in flight, however far the request or the answer is.
#[test]
fn in_flight() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    let whole = STEPS[0];
    let expect = |wire: &Wire, count: f64, over: f64| -> anyhow::Result<()> {
        for view in &wire.views {
            view.expect(&agent, &[count, over], |view, metrics| {
                [view.in_flight(metrics), view.count(metrics)]
            })?;
        }
        Ok(())
    };
    wire.ask(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234", whole)?;
    expect(&wire, 1.0, 0.0)?;
    wire.ask(b"56789", whole)?;
    expect(&wire, 1.0, 0.0)?;
    wire.ask(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\n\r\n", whole)?;
    expect(&wire, 3.0, 0.0)?;
    wire.answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", whole)?;
    expect(&wire, 3.0, 0.0)?;
    wire.answer(b"cd", whole)?;
    expect(&wire, 2.0, 1.0)?;
    wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", whole)?;
    expect(&wire, 2.0, 1.0)?;
    wire.answer(b"\r\nHTTP/1.1 204 No Content\r\n\r\n", whole)?;
    expect(&wire, 0.0, 3.0)
}

/// Bodies that are sent and received without anybody reading them here: a length is stepped over.
#[test]
fn bodies_by_sendfile_and_splice() -> anyhow::Result<()> {
    const SIZE: usize = 3_000_000;
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    for times in 1..=3 {
        wire.ask(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n", STEPS[0])?;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
        wire.answer(head.as_bytes(), STEPS[0])?;
        wire.server.tell(&format!("send_file(one, {SIZE})"))?;
        wire.client.run(&format!("splice_from(one, {SIZE})"))?;
        wire.server.answer()?;
        // The next one on the connection shows that both ends are where they should be.
        wire.ask(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", STEPS[0])?;
        wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", STEPS[0])?;
        let mut expected = Tally::default();
        for (route, bytes) in [("/file", SIZE), ("/next", 2)] {
            expected.requests.insert(["GET", route, "200"].map(str::to_owned), f64::from(times));
            expected.bodies.insert(route.to_owned(), [0.0, bytes as f64 * f64::from(times)]);
        }
        for view in &wire.views {
            view.expect(&agent, &expected, View::tally)?;
        }
    }
    Ok(())
}

/// What a connection becomes: WebSocket, HTTP/2 by an upgrade, a tunnel. The request that led there is over.
#[test]
fn connections_that_become_something_else() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    let protocols = |wire: &Wire| -> anyhow::Result<[BTreeMap<String, f64>; 2]> {
        let metrics = agent.scrape()?;
        Ok([0, 1].map(|at| wire.views[at].anywhere().by(&metrics, "observer_connections", "protocol")))
    };
    let one = |protocol: &str| [0, 1].map(|_| BTreeMap::from([(protocol.to_owned(), 1.0)]));
    let requests = |wire: &Wire, route: &str, method: &str, status: &str| -> anyhow::Result<()> {
        for view in &wire.views {
            view.expect(&agent, &Some(1.0), |view, metrics| {
                view.requests(metrics).get(&[method, route, status].map(str::to_owned)).copied()
            })?;
            view.expect(&agent, &0.0, View::in_flight)?;
        }
        Ok(())
    };

    wire.client.run("ask_upgrade(one)")?;
    wire.server.run("grant_upgrade(one)")?;
    wire.client.run("finish_upgrade(one); one.sendall(frame(100, True) * 3)")?;
    wire.server.run("receive([one], 3 * 106)")?;
    requests(&wire, "/socket", "GET", "101")?;
    assert_eq!(protocols(&wire)?, one("websocket"));
    for view in &wire.views {
        view.expect(&agent, &3.0, |view, metrics| {
            view.sum(metrics, "observer_websocket_messages_total", &[])
        })?;
    }
    wire.close()?;

    wire.connect()?;
    wire.ask(
        b"GET /upgraded HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
          HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        STEPS[0],
    )?;
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    wire.answer(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        STEPS[0],
    )?;
    wire.answer(settings, STEPS[0])?;
    wire.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", STEPS[0])?;
    wire.ask(settings, STEPS[0])?;
    requests(&wire, "/upgraded", "GET", "101")?;
    assert_eq!(protocols(&wire)?, one("http2"));
    wire.close()?;

    // By its preface alone (RFC 9113, section 3.4).
    wire.connect()?;
    wire.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", STEPS[0])?;
    wire.answer(settings, STEPS[0])?;
    assert_eq!(protocols(&wire)?, one("http2"));
    wire.close()?;

    // What moves through a tunnel is none of HTTP, whatever it looks like.
    wire.connect()?;
    wire.ask(b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n", STEPS[0])?;
    wire.answer(b"HTTP/1.1 200 Connection established\r\n\r\n", STEPS[0])?;
    wire.ask(b"GET /inside HTTP/1.1\r\nHost: a\r\n\r\n", STEPS[0])?;
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", STEPS[0])?;
    requests(&wire, "*", "CONNECT", "200")?;
    for view in &wire.views {
        let inside = view.sum(&agent.scrape()?, "http_requests_total", &[("route", "/inside")]);
        assert_eq!(inside, 0.0, "{view:?}");
    }
    wire.close()
}

/// A connection that is older than the agent counts from the next head that begins a call.
#[test]
fn connections_older_than_the_agent() -> anyhow::Result<()> {
    let _alone = alone();
    let mut wire = Wire::open()?;
    let exchange = |wire: &mut Wire| -> anyhow::Result<()> {
        wire.ask(b"POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", STEPS[0])?;
        wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", STEPS[0])
    };
    exchange(&mut wire)?;
    // The agent begins inside a body.
    wire.ask(b"POST /old HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n0123456789", STEPS[0])?;
    let agent = Agent::start(&[])?;
    wire.ask(b"01234567890123456789", STEPS[0])?;
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", STEPS[0])?;
    for _ in 0..5 {
        exchange(&mut wire)?;
    }
    let mut expected = Tally::default();
    for _ in 0..5 {
        expected.add("POST", "/old", "200", [3.0, 2.0]);
    }
    for view in &wire.views {
        let found = |view: &View, metrics: &_| view.requests(metrics);
        view.expect(&agent, &expected.requests, found)?;
    }
    Ok(())
}
