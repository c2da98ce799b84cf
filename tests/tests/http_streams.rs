//! Streams are no slow requests: how many are open, how long they lasted and how many events they had, as their readers
//! count them; and in no duration of requests.

// needs: nothing
// takes: 17 s

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::http::Call;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::servers::{Framework, Server};
use observer_tests::http::shown::View;
use observer_tests::http::wire::Wire;
use observer_tests::nginx::Nginx;
use observer_tests::programs;
use observer_tests::websocket::{alone, unique_name};

const ROUTE: &str = "/events/{id}";

/// Processes of curl, all of one name, each with a stream of its own.
struct Readers {
    name: String,
    children: Vec<Child>,
    _folder: tempfile::TempDir,
}

impl Readers {
    fn start(url: &str, count: usize) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let name = unique_name("sse");
        let program = programs::named(&programs::installed("curl")?, folder.path(), &name)?;
        let mut readers = Self { name, children: Vec::new(), _folder: folder };
        for _ in 0..count {
            let mut curl = Command::new(&program);
            curl.args(["--silent", "--no-buffer", url]).stdin(Stdio::null()).stdout(Stdio::piped());
            readers.children.push(curl.spawn()?);
        }
        Ok(readers)
    }

    /// What they have read to the end: events, which end with an empty line.
    fn read(mut self) -> anyhow::Result<usize> {
        let mut events = 0;
        for child in self.children.drain(..) {
            let output = child.wait_with_output()?;
            ensure!(output.status.success(), "curl ended with {}", output.status);
            events += String::from_utf8(output.stdout)?.matches("\n\n").count();
        }
        Ok(events)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nothing of a route is among the requests whose time was taken.
fn untimed(agent: &Agent, view: &View, route: &str) -> anyhow::Result<()> {
    let durations = view.durations(&agent.scrape()?);
    ensure!(!durations.keys().any(|[_, of]| of == route), "{durations:?}");
    Ok(())
}

/// Five streams of 30 events in 1.5 s, while other requests are answered, of three servers, and one through nginx.
#[test]
fn server_sent_events() -> anyhow::Result<()> {
    const STREAMS: usize = 5;
    const EVENTS: usize = 30;
    let _alone = alone();
    let agent = Agent::shared()?;
    for framework in [Framework::FastApi, Framework::Node] {
        let server = Server::start(framework)?;
        let nginx = Nginx::passing_on(&server.label, true)?;
        for (url, label, through) in
            [(server.url(), server.label.clone(), false), (nginx.url(), nginx.label(), true)]
        {
            let start = Instant::now();
            let readers = Readers::start(&format!("{url}/events/{EVENTS}"), STREAMS)?;
            let mut views = vec![View::client(&readers.name, &label)];
            if through {
                views.push(View::server(&nginx.name, &nginx.label()));
                views.push(View::client(&nginx.name, &server.label));
            }
            views.push(View::server(&server.process, &server.label));
            // The server has had those that came to it directly.
            let earlier = if through { STREAMS as f64 } else { 0.0 };
            let mut before = vec![0.0; views.len() - 1];
            before.push(earlier);
            let open = BTreeMap::from([(ROUTE.to_owned(), STREAMS as f64)]);
            for view in &views {
                view.expect(&agent, &open, View::streams)?;
            }
            // Beside them.
            let mut client = Client::start(Library::Undici)?;
            let asked = Instant::now();
            client.make(&url, &vec![Call::get("/items/10", "/items/{id}"); 20])?;
            let made = asked.elapsed().as_secs_f64();
            let opened = start.elapsed().as_secs_f64();
            let name = readers.name.clone();
            assert_eq!(readers.read()?, STREAMS * EVENTS, "curl has read all events");
            let longest = start.elapsed().as_secs_f64();
            for (view, before) in views.iter().zip(before) {
                view.expect(&agent, &BTreeMap::new(), View::streams)?;
                let count = before + STREAMS as f64;
                view.expect(&agent, &Some(count), |view, metrics| {
                    view.lasted(metrics).get(ROUTE).map(|[count, _]| *count)
                })?;
                let events = view.events(&agent.scrape()?)[ROUTE];
                assert_eq!(events, count * EVENTS as f64, "{view:?}");
                let requests = view.requests(&agent.scrape()?);
                assert_eq!(requests[&["GET", ROUTE, "200"].map(str::to_owned)], count, "{view:?}");
                untimed(&agent, view, ROUTE)?;
                assert_eq!(view.errors(&agent.scrape()?), BTreeMap::new(), "{view:?}");
            }
            let lasted = View::client(&name, &label).lasted(&agent.scrape()?)[ROUTE][1] / STREAMS as f64;
            assert!(
                (longest - opened - 0.5..=longest).contains(&lasted),
                "{lasted} s, of {longest} s in all"
            );
            // A request beside them has its time, and that of no stream.
            let beside = View::client(&client.process, &label);
            let durations = beside.durations(&agent.scrape()?);
            let [count, seconds] = durations[&["GET", "/items/{id}"].map(str::to_owned)];
            assert_eq!(count, 20.0);
            assert!(seconds < made, "{seconds} s for 20 small requests, of {made} s");
        }
    }
    Ok(())
}

/// Events however they are cut, and streams that a reader leaves, as most do: they last until then, and nothing has failed.
#[test]
fn events_by_hand() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    // Lines end with LF or CRLF (HTML, section 9.2.5); comments and empty lines are no events.
    let events =
        b"data: one\n\nid: 2\r\ndata: two\r\n\r\ndata: three\ndata: more\n\n: nothing\n\n\n\ndata: four\n\n";
    let expected = 4.0;
    for (times, step) in [usize::MAX >> 1, 1, 3].into_iter().enumerate() {
        if times > 0 {
            wire.connect()?;
        }
        let times = (times + 1) as f64;
        wire.ask(b"GET /news HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n", step)?;
        wire.answer(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\r\n", step)?;
        wire.answer(events, step)?;
        let news = |count: f64| BTreeMap::from([("/news".to_owned(), count)]);
        for view in &wire.views {
            view.expect(&agent, &news(1.0), View::streams)?;
            view.expect(&agent, &news(times * expected), View::events)?;
        }
        sleep(Duration::from_millis(300));
        wire.client.run("one.close()")?;
        wire.server.run("receive_to_end(one); one.close()")?;
        for view in &wire.views {
            view.expect(&agent, &BTreeMap::new(), View::streams)?;
            view.expect(&agent, &times, |view, metrics| {
                view.lasted(metrics).get("/news").map_or(0.0, |[count, _]| *count)
            })?;
            let [_, seconds] = view.lasted(&agent.scrape()?)["/news"];
            assert!(seconds >= times * 0.3, "{seconds} s for {times} of 0.3 s and more");
            assert_eq!(view.count(&agent.scrape()?), times);
            untimed(&agent, view, "/news")?;
            assert_eq!(view.errors(&agent.scrape()?), BTreeMap::new(), "whoever has read enough leaves");
        }
    }
    Ok(())
}

/// What has no length and is open for long is a stream, whatever its type; what has one is a slow request.
#[test]
fn long_answers() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&["--http-stream-after", "1"])?;
    let whole = usize::MAX >> 1;
    let mut wire = Wire::open()?;
    wire.ask(b"GET /long-poll HTTP/1.1\r\nHost: a\r\n\r\n", whole)?;
    wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", whole)?;
    let start = Instant::now();
    let metrics = agent.scrape()?;
    assert!(wire.views.iter().all(|view| view.streams(&metrics).is_empty()), "it has only begun");
    for view in &wire.views {
        let open = BTreeMap::from([("/long-poll".to_owned(), 1.0)]);
        view.expect(&agent, &open, View::streams)?;
    }
    ensure!(start.elapsed() > Duration::from_millis(900), "it is a stream after {:?}", start.elapsed());
    wire.answer(b"0\r\n\r\n", whole)?;
    wire.ask(b"GET /download HTTP/1.1\r\nHost: a\r\n\r\n", whole)?;
    wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc", whole)?;
    sleep(Duration::from_millis(1_500));
    for view in &wire.views {
        assert_eq!(view.streams(&agent.scrape()?), BTreeMap::new());
    }
    wire.answer(b"def", whole)?;
    // Without a length, and over soon.
    wire.ask(b"GET /short HTTP/1.1\r\nHost: a\r\n\r\n", whole)?;
    wire.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", whole)?;
    for view in &wire.views {
        view.expect(&agent, &3.0, View::count)?;
        untimed(&agent, view, "/long-poll")?;
        let metrics = agent.scrape()?;
        assert_eq!(view.lasted(&metrics)["/long-poll"][0], 1.0);
        assert_eq!(view.events(&metrics), BTreeMap::new());
        let durations = view.durations(&metrics);
        let [count, seconds] = durations[&["GET", "/download"].map(str::to_owned)];
        assert!(count == 1.0 && seconds > 1.4, "{durations:?}");
        assert_eq!(durations[&["GET", "/short"].map(str::to_owned)][0], 1.0);
    }
    Ok(())
}
