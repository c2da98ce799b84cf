//! Names are labels of which at most so many are told apart: a name that hardly anybody uses gives its place to one that
//! everybody does. Its own rows go with its place; no other count is lost, and none counts twice.

// needs: redis
// takes: 80 s

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::metrics::Metrics;
use observer_tests::redis::server::Server;
use observer_tests::redis::shown::{View, nothing_lost};
use observer_tests::redis::wire::Session;
use observer_tests::redis::work::Prefixes;
use observer_tests::websocket::{alone, own_name};

/// How many prefixes are told apart.
const LIMIT: usize = 20;
/// How many of them give up their places at once: a tenth.
const AT_ONCE: usize = LIMIT / 10;
/// How long a prefix that was hardly used keeps its place.
const KEPT: Duration = Duration::from_secs(60);
/// How much later it has given it up for sure: the agent looks every ten seconds, and takes a use for as new as the look
/// that finds it.
const LATEST: Duration = Duration::from_secs(30);

/// The server and the agent count the same keys found and not found, over all prefixes. Rows of a prefix go with its
/// place: `gone` is what those had counted.
fn expect_all(agent: &Agent, server: &Server, views: &[View], gone: [f64; 2]) -> anyhow::Result<()> {
    let [hits, misses] = server.keyspace()?;
    for view in views {
        view.expect(agent, &[hits - gone[0], misses - gone[1]], View::keys)?;
        view.expect(agent, &server.commands()?, View::commands)?;
    }
    Ok(())
}

/// Keys found and not found that are said to have been counted without their prefix.
fn folded(metrics: &Metrics) -> [f64; 2] {
    ["redis_cache_hits_total", "redis_cache_misses_total"]
        .map(|family| metrics.sum("observer_series_folded_total", &[("family", family)]))
}

/// Looks up a key that is there, and one that is not, so often, in one call.
fn use_often(session: &mut Session, prefix: &str, times: usize) -> anyhow::Result<()> {
    let [present, absent] =
        ["GET PREFIX:present", "GET PREFIX:absent"].map(|get| get.replace("PREFIX", prefix));
    let commands = [present.as_str(), absent.as_str()].repeat(times);
    session.pipeline(&commands)?;
    Ok(())
}

#[test]
fn a_prefix_that_is_used_all_the_time_gets_the_place_of_one_that_came_once() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::start(&["--redis-max-prefixes", &LIMIT.to_string()])?;
    let mut session = Session::connect(&server.target())?;
    let views = View::both(&own_name()?, &server);
    session.run(&["SET early:present x", "SET late:present x"])?;

    // The table fills with prefixes of which all but one come once. One more finds no place.
    use_often(&mut session, "early", 50)?;
    let once: Vec<String> = (1..LIMIT).map(|number| format!("once-{number}")).collect();
    for prefix in &once {
        session.run(&[&format!("GET {prefix}:key")])?;
    }
    let filled = Instant::now();
    session.run(&["GET crowded:key"])?;
    let mut first: Prefixes = once.iter().map(|prefix| (prefix.clone(), [0.0, 1.0])).collect();
    first.insert("early".to_owned(), [50.0, 50.0]);
    let mut shown = first.clone();
    shown.insert("other".to_owned(), [0.0, 1.0]);
    for view in &views {
        view.expect(&agent, &shown, View::prefixes)?;
    }
    expect_all(&agent, &server, &views, [0.0; 2])?;
    // The one key that found no place is said to, at both ends.
    ensure!(folded(&agent.scrape()?) == [0.0, 2.0], "{:?}", folded(&agent.scrape()?));

    // One comes that is used all the time: without a place at first, and then with one.
    let has_place = |metrics: &Metrics, view: &View| view.prefixes(metrics).contains_key("late");
    loop {
        use_often(&mut session, "late", 10)?;
        let metrics = agent.scrape()?;
        if views.iter().all(|view| has_place(&metrics, view)) {
            break;
        }
        ensure!(filled.elapsed() < KEPT + LATEST, "no place for it: {:?}", views[0].prefixes(&metrics));
        thread::sleep(Duration::from_millis(200));
    }
    ensure!(filled.elapsed() >= KEPT, "too early, after {:?}", filled.elapsed());

    // Some that came once have made way, and nothing else has changed: both sides tell the same prefixes.
    let metrics = agent.scrape()?;
    let now = views[0].prefixes(&metrics);
    let gone: Vec<&String> = first.keys().filter(|prefix| !now.contains_key(*prefix)).collect();
    ensure!(gone.len() == AT_ONCE && gone.iter().all(|prefix| once.contains(prefix)), "{gone:?} are gone");
    let mut kept = first.clone();
    kept.retain(|prefix, _| !gone.contains(&prefix));
    for view in &views {
        let among_kept = |view: &View, metrics: &Metrics| {
            let mut prefixes = view.prefixes(metrics);
            prefixes.retain(|prefix, _| prefix != "other" && prefix != "late");
            prefixes
        };
        view.expect(&agent, &kept, among_kept)?;
    }
    expect_all(&agent, &server, &views, [0.0, AT_ONCE as f64])?;

    // From here on each of its keys counts under its own name, and the others without a place as before.
    let metrics = agent.scrape()?;
    let before: Vec<Prefixes> = views.iter().map(|view| view.prefixes(&metrics)).collect();
    use_often(&mut session, "late", 200)?;
    // A prefix that comes again gets the place that is left, and starts at nothing; there is none for the next.
    let (again, too_late) = (gone[0], gone[1]);
    session.run(&[&format!("GET {again}:key"), &format!("GET {too_late}:key"), "GET crowded:key"])?;
    for (view, mut expected) in views.iter().zip(before) {
        let late = expected.get_mut("late").context("it has a place")?;
        *late = late.map(|count| count + 200.0);
        expected.insert(again.clone(), [0.0, 1.0]);
        expected.get_mut("other").context("others have none")?[1] += 2.0;
        view.expect(&agent, &expected, View::prefixes)?;
    }
    expect_all(&agent, &server, &views, [0.0, AT_ONCE as f64])?;
    // Every key has a prefix: only those without a place are others.
    let metrics = agent.scrape()?;
    let others = views.iter().map(|view| view.prefixes(&metrics)["other"]);
    let others = others.fold([0.0; 2], |sum, more| [sum[0] + more[0], sum[1] + more[1]]);
    ensure!(folded(&metrics) == others, "{:?} of {others:?}", folded(&metrics));
    nothing_lost(&agent)
}
