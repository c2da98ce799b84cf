//! Routes and authorities are labels of which at most so many are told apart: one that came once gives its place to one
//! that comes all the time. Its own rows go with its place; no other count is lost, and none ever decreases.

// needs: nothing
// takes: 85 s

use std::collections::BTreeMap;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use observer_tests::agent::Agent;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::shown::View;
use observer_tests::http::{Call, letters};
use observer_tests::metrics::Metrics;
use observer_tests::nginx::Nginx;
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, unique_name};

/// How many routes of a process and server are told apart.
const LIMIT: usize = 20;
/// How many authorities are, on the whole host.
const AUTHORITIES: usize = 100;
/// Which part of them may give up its places at once.
const PART: usize = 10;
/// How long a name that was hardly used keeps its place.
const KEPT: Duration = Duration::from_secs(60);
/// How much later one has given it up for sure: the agent looks every ten seconds, and takes a use for as new as the look
/// that finds it.
const LATEST: Duration = Duration::from_secs(30);

/// Requests by a label.
type Rows = BTreeMap<String, f64>;

fn routes(view: &View, metrics: &Metrics) -> Rows {
    view.by(metrics, "http_requests_total", "route")
}

fn sum(rows: &Rows) -> f64 {
    rows.values().sum()
}

/// What comes once, by its number.
fn once(number: usize) -> String {
    format!("once-{}", letters(number))
}

/// What a view showed at each look, which never is less but for rows that are gone.
struct Watched<'a> {
    view: &'a View,
    of: fn(&View, &Metrics) -> Rows,
    before: Rows,
}

impl<'a> Watched<'a> {
    fn new(view: &'a View, of: fn(&View, &Metrics) -> Rows) -> Self {
        Self { view, of, before: Rows::new() }
    }

    fn look(&mut self, metrics: &Metrics) -> anyhow::Result<()> {
        let now = (self.of)(self.view, metrics);
        for (name, count) in &now {
            let before = self.before.get(name).copied().unwrap_or_default();
            ensure!(*count >= before, "{:?}: {name} had {before}, and has {count}", self.view);
        }
        self.before = now;
        Ok(())
    }

    /// Those of these names that have no row any more.
    fn gone(&self, names: &Rows) -> Rows {
        let is_gone = |(name, _): &(&String, &f64)| !self.before.contains_key(*name);
        names.iter().filter(is_gone).map(|(name, count)| (name.clone(), *count)).collect()
    }
}

/// Asks for each of these paths.
fn get(client: &mut Client, nginx: &Nginx, paths: &[String]) -> anyhow::Result<()> {
    let calls: Vec<Call> = paths.iter().map(|path| Call::get(path, "")).collect();
    let answers = client.make(&nginx.url(), &calls)?;
    ensure!(answers.len() == paths.len() && answers.iter().all(|answer| answer.0 == 200), "{answers:?}");
    Ok(())
}

/// Waits until a name that is used all the time has a place in each of these, which it has no sooner than others lose theirs.
fn wait(
    agent: &Agent,
    watched: &mut [Watched<'_>],
    late: &str,
    mut use_it: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let filled = Instant::now();
    loop {
        use_it()?;
        let metrics = agent.scrape()?;
        for watched in &mut *watched {
            watched.look(&metrics)?;
        }
        let count = watched.iter().filter(|watched| watched.before.contains_key(late)).count();
        ensure!(count == 0 || filled.elapsed() >= KEPT, "too early, after {:?}", filled.elapsed());
        if count == watched.len() {
            return Ok(());
        }
        ensure!(filled.elapsed() < KEPT + LATEST, "{count} have a place: {:?}", watched[0].before);
        sleep(Duration::from_millis(200));
    }
}

/// As many routes as have a place, of which all but the first one will come once.
fn first_routes() -> Vec<String> {
    let once = (1..LIMIT).map(|number| format!("/{}", once(number)));
    ["/early".to_owned()].into_iter().chain(once).collect()
}

fn serving() -> anyhow::Result<Nginx> {
    Nginx::logging("location / { return 200 here; }")
}

/// Of one process, at both ends.
fn routes_of_a_process(agent: &Agent) -> anyhow::Result<()> {
    let [nginx, other] = [serving()?, serving()?];
    let first = first_routes();
    // Another server has the same routes, and ends: its rows are others.
    let mut client = Client::start(Library::Node)?;
    get(&mut client, &other, &first)?;
    let ended_view = View::server(&other.name, &other.label());
    drop(other);
    let kept: Rows = first.iter().map(|route| (route.clone(), 1.0)).collect();
    ended_view.expect(agent, &kept, routes).context("of a process that has ended")?;

    // The table fills. One more finds no place.
    get(&mut client, &nginx, &first)?;
    get(&mut client, &nginx, &vec!["/early".to_owned(); 49])?;
    get(&mut client, &nginx, &["/crowded".to_owned()])?;
    let mut shown = kept.clone();
    shown.insert("/early".to_owned(), 50.0);
    shown.insert("other".to_owned(), 1.0);
    let views = [View::client(&client.process, &nginx.label()), View::server(&nginx.name, &nginx.label())];
    for view in &views {
        view.expect(agent, &shown, routes)?;
    }

    let mut watched = [0, 1].map(|at| Watched::new(&views[at], routes));
    wait(agent, &mut watched, "/late", || get(&mut client, &nginx, &vec!["/late".to_owned(); 10]))?;
    let logged = nginx.log()?.len() as f64;
    let mut expected = Vec::new();
    for watched in &watched {
        // Some that came once have made way, and nothing else has changed.
        let gone = watched.gone(&shown);
        let were_once = gone.keys().all(|route| route.starts_with("/once-"));
        ensure!(gone.len() == LIMIT / PART && were_once, "{gone:?}");
        let is_kept = |(route, count): (&String, &f64)| {
            gone.contains_key(route) || route == "other" || watched.before[route] == *count
        };
        ensure!(shown.iter().all(is_kept), "{:?}", watched.before);
        let all = |view: &View, metrics: &Metrics| sum(&routes(view, metrics));
        watched.view.expect(agent, &(logged - sum(&gone)), all)?;
        expected.push(watched.before.clone());
    }
    ended_view.expect(agent, &kept, routes).context("once others have given up the same names")?;

    // From here on each of its requests counts under its own name. A new one gets the place that is left, and there is none
    // for the next.
    get(&mut client, &nginx, &vec!["/late".to_owned(); 200])?;
    get(&mut client, &nginx, &["/new".to_owned(), "/crowded".to_owned()])?;
    for (view, mut expected) in views.iter().zip(expected) {
        *expected.get_mut("/late").context("it has a place")? += 200.0;
        *expected.get_mut("other").context("others have none")? += 1.0;
        expected.insert("/new".to_owned(), 1.0);
        view.expect(agent, &expected, routes)?;
    }
    Ok(())
}

/// Processes of one name have rows in common, and each has its own places. What one of them gives up still counts while
/// another one has it.
fn routes_of_processes_alike(agent: &Agent) -> anyhow::Result<()> {
    let nginx = serving()?;
    let name = unique_name("hn");
    let mut both =
        [Puppet::start_node("http_client.js", &name)?, Puppet::start_node("http_client.js", &name)?];
    let mut ask = |at: usize, paths: &[String]| -> anyhow::Result<()> {
        let calls: Vec<Call> = paths.iter().map(|path| Call::get(path, "")).collect();
        let calls = serde_json::to_string(&calls)?;
        both[at].run(&format!("use('http'); make('{}', {calls:?})", nginx.url()))
    };
    let first = first_routes();
    ask(0, &first)?;
    ask(1, &first)?;
    let view = View::client(&name, &nginx.label());
    let shown: Rows = first.iter().map(|route| (route.clone(), 2.0)).collect();
    view.expect(agent, &shown, routes)?;
    let mut watched = [Watched::new(&view, routes)];
    wait(agent, &mut watched, "/late", || ask(0, &vec!["/late".to_owned(); 10]))?;
    let [watched] = watched;
    ensure!(
        shown.iter().all(|(route, count)| watched.before.get(route) == Some(count)),
        "{:?}",
        watched.before
    );
    let logged = nginx.log()?.len() as f64;
    view.expect(agent, &logged, |view, metrics| sum(&routes(view, metrics)))
}

/// Of which other programs on the host may have some as well.
fn authorities(agent: &Agent) -> anyhow::Result<()> {
    let nginx = serving()?;
    let name = unique_name("hn");
    let mut client = Puppet::start_node("http_client.js", &name)?;
    let mut ask = |hosts: &[String]| -> anyhow::Result<()> {
        let hosts = serde_json::to_string(hosts)?;
        let asked = client.ask(&format!("askAs({}, '/', {hosts})", nginx.port))?;
        let statuses: Vec<u16> = serde_json::from_value(asked)?;
        ensure!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        Ok(())
    };
    let hosts: Vec<String> =
        (0..AUTHORITIES + 20).map(|number| format!("{}.example", once(number))).collect();
    ask(&hosts)?;
    let view = View::client(&name, &nginx.label());
    let all = |view: &View, metrics: &Metrics| sum(&view.authorities(metrics));
    view.expect(agent, &(hosts.len() as f64), all)?;
    let shown = view.authorities(&agent.scrape()?);
    ensure!(shown.len() <= AUTHORITIES + 1 && shown["other"] >= 20.0, "{shown:?}");

    // Processes that are soon gone, of one name, ask in another one's.
    let curl = Client::start(Library::Curl)?;
    let late = View::client(&curl.process, &nginx.label());
    let calls = vec![Call::get("/", "/"); 20];
    let mut before = Watched::new(&view, View::authorities);
    let mut watched = [Watched::new(&late, View::authorities)];
    wait(agent, &mut watched, "late.example", || {
        before.look(&agent.scrape()?)?;
        curl.curl(&nginx.url(), &calls, "header = \"Host: Late.example\"").map(drop)
    })?;
    before.look(&agent.scrape()?)?;
    let gone = before.gone(&shown);
    let were_once = gone.keys().all(|authority| authority.starts_with("once-"));
    ensure!(gone.len() <= AUTHORITIES / PART && were_once, "{gone:?}");
    view.expect(agent, &(hosts.len() as f64 - sum(&gone)), all)?;
    let logged = nginx.log()?.len() - hosts.len();
    late.expect(agent, &(logged as f64), all)
}

#[test]
fn a_name_that_comes_all_the_time_gets_the_place_of_one_that_came_once() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&["--http-max-routes", &LIMIT.to_string()])?;
    // Each of them waits most of the time.
    let agent = &agent;
    let errors: Vec<String> = scope(|scope| {
        let parts = [routes_of_a_process, routes_of_processes_alike, authorities];
        let parts = parts.map(|part| scope.spawn(move || part(agent)));
        let ended = parts.map(|part| part.join().unwrap_or_else(|_| bail!("it panicked")));
        ended.into_iter().filter_map(|ended| Some(format!("{:#}", ended.err()?))).collect()
    });
    ensure!(errors.is_empty(), "{}", errors.join("\n\n"));
    Ok(())
}
