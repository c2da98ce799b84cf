//! Requests of HTTP as people look at them: `/routes`, `/processes`, `/flows`, `observer top` and the page at `/`, beside what
//! nginx's log and the load itself say.

// needs: nothing
// takes: 60 s

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary};
use observer_tests::browser::Browser;
use observer_tests::http::log::Logged;
use observer_tests::nginx::Nginx;
use observer_tests::puppet::Puppet;
use observer_tests::terminal::Terminal;
use observer_tests::websocket::{alone, unique_name};
use serde_json::{Value, json};

/// Bounds of the buckets of `http_request_duration_seconds`.
const BOUNDS: [f64; 12] = [0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0];

/// A page, one whose 230 kB take a second and a half, and one that fails.
fn site() -> anyhow::Result<Nginx> {
    let nginx =
        Nginx::logging("location = /fails { return 503 sorry; } location = /slow { limit_rate 100k; }")?;
    nginx.write("page", 200)?;
    nginx.write("slow", 230_000)?;
    Ok(nginx)
}

fn number(value: &Value, name: &str) -> anyhow::Result<f64> {
    value[name].as_f64().with_context(|| format!("no number {name}: {value}"))
}

/// The rows of a list that are of a process.
fn of_process<'a>(answer: &'a Value, list: &str, process: &str) -> anyhow::Result<Vec<&'a Value>> {
    let rows = answer[list].as_array().with_context(|| format!("no {list}: {answer}"))?;
    Ok(rows.iter().filter(|row| row["process"] == process).collect())
}

/// What is known of a request's time otherwise.
struct Timed<'a> {
    by_nginx: &'a Logged,
    /// From before it was sent to after its answer was read, in seconds.
    by_client: f64,
}

/// The bucket in which the time lies that 95 % of requests did not exceed.
fn bucket(seconds: impl Iterator<Item = f64>) -> anyhow::Result<[f64; 2]> {
    let mut seconds: Vec<f64> = seconds.collect();
    seconds.sort_by(f64::total_cmp);
    let rank = (seconds.len() * 95).div_ceil(100);
    let found = seconds[rank - 1];
    let above = BOUNDS.iter().position(|&bound| bound >= found && bound > 0.0).context("it is above all")?;
    Ok([BOUNDS[above - 1], BOUNDS[above]])
}

/// Fails unless what is told of these requests is a p95 of the bucket in which it lies, by nginx's clock and by the
/// client's. Where the two differ, because one of them waited for a processor, it may be between them.
fn expect_p95(told: &Value, requests: &[&Timed<'_>]) -> anyhow::Result<()> {
    // nginx has whole milliseconds, cut off.
    let [lower, _] = bucket(requests.iter().map(|one| one.by_nginx.seconds - 0.001))?;
    // A server may be told that it has sent what the client has already read.
    let [_, upper] = bucket(requests.iter().map(|one| one.by_client + 0.005))?;
    let p95 = number(told, "p95_seconds")?;
    ensure!(lower <= p95 && p95 <= upper, "{p95} is not between {lower} and {upper}: {told:#}");
    Ok(())
}

/// A process that has a connection to nginx, `one`.
fn connected(name: &str, nginx: &Nginx) -> anyhow::Result<Puppet> {
    let mut client = Puppet::start(name)?;
    client.run(&format!("one = connect(('127.0.0.1', {}))", nginx.port))?;
    Ok(client)
}

#[test]
fn a_burst_is_told_exactly() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let nginx = site()?;
    let name = unique_name("ask");
    let mut client = connected(&name, &nginx)?;
    // 27 requests, of which 3 are slow and 4 fail, in some five seconds.
    let paths = [vec!["/slow"; 3], vec!["/fails"; 4], vec!["/page?of=7"; 20]].concat();
    let (_, seconds): (Vec<u16>, Vec<f64>) =
        serde_json::from_value(client.ask(&format!("http_time(one, {})", json!(paths)))?)?;
    let log = nginx.logged(paths.len())?;
    let timed: Vec<Timed<'_>> =
        log.iter().zip(seconds).map(|(by_nginx, by_client)| Timed { by_nginx, by_client }).collect();

    let answer = agent.json("/routes?limit=10000")?;
    let seconds = number(&answer, "seconds")?;
    for (process, role, authority) in [(&nginx.name, "server", ""), (&name, "client", "test")] {
        let rows = of_process(&answer, "routes", process)?;
        assert_eq!(rows.len(), 3, "{rows:#?}");
        for row in rows {
            let route = row["route"].as_str().unwrap_or_default();
            let logged: Vec<&Timed<'_>> = timed.iter().filter(|one| one.by_nginx.path() == route).collect();
            let failed = logged.iter().filter(|one| one.by_nginx.status.starts_with('5')).count() as f64;
            let labels =
                ["role", "server", "authority", "method", "container"].map(|label| row[label].clone());
            assert_eq!(labels, [role, &nginx.label(), authority, "GET", ""].map(Value::from));
            for (counted, expected) in [("requests", logged.len() as f64), ("errors", failed)] {
                assert_eq!(number(row, counted)?, expected, "{row:#}");
                let lately = number(row, &format!("{counted}_per_second"))? * seconds;
                assert!((lately - expected).abs() < 1e-6, "{lately} {counted}, and not {expected}: {row:#}");
            }
            expect_p95(row, &logged)?;
        }
    }

    // The process has all of them, and the slow ones are among the slowest twentieth.
    let all: Vec<&Timed<'_>> = timed.iter().collect();
    let failed = log.iter().filter(|one| one.status.starts_with('5')).count() as f64;
    let answer = agent.json("/processes?limit=10000")?;
    for (process, role, pid) in [(&nginx.name, "server", nginx.pid()?), (&name, "client", client.pid())] {
        let rows = of_process(&answer, "processes", process)?;
        let row =
            rows.iter().find(|row| row["pid"] == pid).with_context(|| format!("no {pid}: {rows:#?}"))?;
        let recent = &row["requests"][role];
        let [requests, errors] =
            [number(recent, "requests_per_second")?, number(recent, "errors_per_second")?];
        assert!((errors / requests - failed / all.len() as f64).abs() < 1e-9, "{row:#}");
        expect_p95(recent, &all)?;
        assert_eq!(row["requests"].as_object().map(serde_json::Map::len), Some(1), "one role: {row:#}");
    }

    // Once it is long ago, there is nothing that took any time; what there was in all stays.
    sleep(Duration::from_secs(21));
    let answer = agent.json("/routes?limit=10000")?;
    for row in of_process(&answer, "routes", &nginx.name)? {
        let lately = [number(row, "requests_per_second")?, number(row, "errors_per_second")?];
        assert_eq!((lately, &row["p95_seconds"]), ([0.0, 0.0], &Value::Null), "{row:#}");
        assert!(number(row, "requests")? > 0.0);
    }
    // At most as many as are asked for.
    assert_eq!(agent.json("/routes?limit=2")?["routes"].as_array().map(Vec::len), Some(2));
    assert!(agent.get("/routes?limit=all").is_err() && agent.get("/routes?sort=name").is_err());
    Ok(())
}

/// The cells of the line of a screen that has all of these words in it.
fn cells<'a>(screen: &'a str, words: &[&str]) -> Option<Vec<&'a str>> {
    let mut lines = screen.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>());
    lines.find(|cells| words.iter().all(|word| cells.contains(word)))
}

#[test]
fn a_steady_load_is_shown_to_people() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let nginx = site()?;
    let name = unique_name("pace");
    let mut client = connected(&name, &nginx)?;
    let paths = ["/page", "/page", "/page", "/fails"];
    client.tell(&format!("http_pace(one, {}, 40, 40)", json!(paths)))?;
    // What is compared with now is ten seconds ago, or up to twenty.
    sleep(Duration::from_secs(21));

    let mut shown: Vec<(&str, f64)> = Vec::new();
    for row in of_process(&agent.json("/routes")?, "routes", &nginx.name)? {
        let path = if row["route"] == "/fails" { "/fails" } else { "/page" };
        shown.push((path, number(row, "requests_per_second")?));
    }
    // The route with the most requests a second comes first.
    ensure!(shown.iter().map(|(path, _)| *path).eq(["/page", "/fails"]), "{shown:?}");

    let terminal = Terminal::open(160, 30)?;
    terminal.command(&format!("{} top --url {}", binary()?.display(), agent.address()))?;
    terminal.wait_for("the screen", |screen| screen.contains("● live"))?;
    terminal.write("3/")?;
    terminal.write(&nginx.name)?;
    let screen = terminal.wait_for("both routes of nginx", |screen| {
        ["/page", "/fails"].iter().all(|route| cells(screen, &[&nginx.name, route]).is_some())
    })?;
    for route in ["/page", "/fails"] {
        let row = cells(&screen, &[&nginx.name, route]).unwrap_or_default();
        // PROCESS, ROLE, TO, METHOD, ROUTE, REQ/s, ERR%, P95, and what is in all; no container.
        let share = if route == "/fails" { "100.0" } else { "0.0" };
        assert_eq!([row[1], row[2], row[3], row[6]], ["server", &nginx.label(), "GET", share], "{screen}");
        assert!(row[7].ends_with("ms") || row[7].ends_with("µs"), "{screen}");
        shown.push((route, row[5].parse().with_context(|| screen.clone())?));
    }
    terminal.press(&["Enter"])?;
    terminal.write("1")?;
    let worker = nginx.pid()?.to_string();
    let screen = terminal
        .wait_for("the process of nginx", |screen| cells(screen, &[&worker, &nginx.name]).is_some())?;
    assert!(screen.contains("CONNS REQ/s  ERR%    P95"), "{screen}");
    let row = cells(&screen, &[&worker, &nginx.name]).unwrap_or_default();
    let share = |cell: &str| cell.trim_end_matches(" %").parse::<f64>().with_context(|| cell.to_owned());
    // One request in four fails; which ones are in the ten seconds is a matter of one or two.
    let mut shares = vec![share(row[4])?];
    terminal.write("q")?;

    let mut browser = Browser::open(&format!("http://{}/", agent.address()), &json!({}))?;
    browser.wait_for("document.getElementById('state').textContent === 'live'")?;
    browser.run(&format!("await page.fill('#filter', '{}')", nginx.name))?;
    assert_eq!(browser.column("routes", "route")?, ["/page", "/fails"]);
    assert_eq!(browser.column("routes", "errors")?, ["0.0 %", "100.0 %"]);
    for (path, rate) in ["/page", "/fails"].iter().zip(browser.column("routes", "requests/s")?) {
        shown.push((path, rate.parse().with_context(|| rate.clone())?));
    }
    let pids = browser.column("processes", "pid")?;
    let at = pids.iter().position(|pid| *pid == worker).with_context(|| format!("{pids:?}"))?;
    shares.push(share(&browser.column("processes", "errors")?[at])?);
    ensure!(shares.iter().all(|share| (24.0..=26.0).contains(share)), "{shares:?}");
    for time in browser.column("routes", "p95")? {
        assert!(time.ends_with("ms") || time.ends_with("µs"), "{time}");
    }
    browser.run("await page.selectOption('#protocol', 'http')")?;
    assert_eq!(browser.column("routes", "method")?, ["GET", "GET"]);

    let (count, seconds) = serde_json::from_value::<(usize, f64)>(client.answer()?)?;
    assert_eq!(nginx.logged(count)?.len(), count, "nginx and the load agree");
    assert_eq!(shown.len(), 6);
    for (path, rate) in shown {
        let part = if path == "/fails" { 0.25 } else { 0.75 };
        let expected = count as f64 / seconds * part;
        // The load has a pace of its own, which it keeps less well beside other work.
        assert!((rate - expected).abs() < expected * 0.1, "{path}: {rate} a second, and not {expected}");
    }
    Ok(())
}

#[test]
fn a_flow_says_what_it_waits_for() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let nginx = Nginx::logging("location = /crawls { limit_rate 1k; }")?;
    nginx.write("page", 200)?;
    nginx.write("crawls", 100_000)?;
    let name = unique_name("wait");
    let mut client = connected(&name, &nginx)?;
    client.run("http_ask(one, ['/page'] * 4)")?;
    let flows = |process: &str| -> anyhow::Result<Value> {
        let answer = agent.json(&format!("/flows?process={process}&sort=waiting"))?;
        Ok(of_process(&answer, "flows", process)?.first().context("no flow")?["http"].clone())
    };
    for process in [&name, &nginx.name] {
        assert_eq!(flows(process)?, json!({ "requests": 4, "in_flight": 0, "current": null }));
    }
    let asked = std::time::Instant::now();
    client.run("one.sendall(b'GET /crawls HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n')")?;
    client.run("receive_until(one, b'\\r\\n\\r\\n')")?;
    let begun = std::time::Instant::now();
    sleep(Duration::from_secs(2));
    for (process, authority) in [(&name, "test"), (&nginx.name, "")] {
        let least = begun.elapsed().as_secs_f64();
        let http = flows(process)?;
        let most = asked.elapsed().as_secs_f64();
        assert_eq!([&http["requests"], &http["in_flight"]], [5, 1], "{http:#}");
        let current = &http["current"];
        let seconds = number(current, "seconds")?;
        assert!(seconds <= most && seconds > least - 0.5, "{seconds} and not {least} to {most}: {http:#}");
        let names = ["method", "authority", "route"].map(|name| &current[name]);
        assert_eq!(names, ["GET", authority, "/crawls"], "{http:#}");
        assert_eq!((&current["status"], &current["is_stream"]), (&json!(200), &json!(false)), "{http:#}");
    }
    // `observer flows` has a column of it.
    let output =
        Command::new(binary()?).args(["flows", "--limit", "10000", "--url", agent.address()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let row = cells(&text, &[&name]).with_context(|| text.clone())?;
    let heads: Vec<&str> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split("  ")
        .filter(|one| !one.is_empty())
        .map(str::trim)
        .collect();
    let cell = |title: &str| heads.iter().position(|one| *one == title).and_then(|at| row.get(at).copied());
    assert_eq!(cell("REQS"), Some("5"), "{text}");
    assert!(cell("WAIT").is_some_and(|time| time.ends_with('s') && time != "-"), "{text}");
    Ok(())
}
