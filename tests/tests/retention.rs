//! Rows of a name are counters that outlive its processes, whoever reads them and how often.

// needs: postgres, host
// takes: 25 s
// at once: 3 tests

use std::collections::BTreeMap;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::metrics::{Metrics, bytes};
use observer_tests::postgres::server::Server;
use observer_tests::postgres::{named, printed};
use observer_tests::prometheus::Prometheus;
use observer_tests::puppet::Puppet;
use observer_tests::talk::Talk;
use observer_tests::websocket::unique_name;

/// How often the agent looks at what is kept no longer.
const LOOK: Duration = Duration::from_secs(5);

/// Seconds since 1970.
fn now() -> anyhow::Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// The only value of what a query tells, where it tells one.
fn only(prometheus: &Prometheus, query: &str) -> anyhow::Result<Option<f64>> {
    let found = prometheus.query(query)?;
    ensure!(found.len() < 2, "{query}: {found:?}");
    let Some(first) = found.first() else { return Ok(None) };
    let value = first["value"][1].as_str().with_context(|| format!("{query}: {found:?}"))?;
    Ok(Some(value.parse()?))
}

/// All samples of a scrape that a process of this name has, but for those that tell of now only.
fn of(metrics: &Metrics, process: &str) -> BTreeMap<String, String> {
    let line =
        |line: &str| line.rsplit_once(' ').map(|(series, value)| (series.to_owned(), value.to_owned()));
    let wanted = format!("process=\"{process}\"");
    metrics.text().lines().filter(|line| line.contains(&wanted)).filter_map(line).collect()
}

/// As from cron: a process for each query. Each of two Prometheus servers, and whoever else looks, sees one counter that
/// goes up by one with each.
#[test]
fn short_lived_processes_are_one_counter_to_every_reader() -> anyhow::Result<()> {
    const RUNS: u32 = 12;
    let server = Server::start()?;
    let agent = Agent::start(&[])?;
    let readers = [Prometheus::scraping(agent.address())?, Prometheus::scraping(agent.address())?];
    let name = unique_name("cron");
    let directory = tempfile::tempdir()?;
    let psql = named(directory.path(), "psql", &name)?;
    let address = server.tcp();
    let queries = |metrics: &Metrics| {
        let labels = [("process", &*name), ("role", "client"), ("server", &*address.label())];
        metrics.sum("db_query_duration_seconds_count", &labels)
    };
    server.reset_statements()?;
    let start = now()?;
    let mut first = None;
    for run in 1..=RUNS {
        let port = address.port.to_string();
        let arguments = ["-X", "-q", "-U", "postgres", "-h", &address.host, "-p", &port, "-c", "select 1"];
        printed(Command::new(&psql).args(arguments))?;
        first.get_or_insert(now()?);
        // Some see it at once, others later, and none takes anything from another.
        for _ in 0..run % 3 {
            ensure!(queries(&agent.scrape()?) == f64::from(run), "run {run}: {}", agent.get("/metrics")?);
        }
        sleep(Duration::from_millis(1_200));
    }
    // The agent has looked at which processes have ended meanwhile.
    sleep(LOOK + Duration::from_secs(2));
    let said = server.statements()?["select"];
    ensure!(said == f64::from(RUNS) && queries(&agent.scrape()?) == said, "{said}");
    let labels = format!("{{process=\"{name}\",role=\"client\"}}");
    for prometheus in &readers {
        let ask = |query: &str| only(prometheus, query);
        ensure!(ask(&format!("db_query_duration_seconds_count{labels}"))? == Some(said));
        // From the first sample that it has, whenever that was.
        let least = ask(&format!("min_over_time(db_query_duration_seconds_count{labels}[5m])"))?;
        let increase = ask(&format!("increase(db_query_duration_seconds_count{labels}[5m])"))?;
        ensure!(
            least < Some(said) && increase >= Some(said - least.unwrap_or(said)),
            "{least:?}, {increase:?}"
        );
        ensure!(ask(&format!("resets(db_query_duration_seconds_count{labels}[5m])"))? == Some(0.0));
        // Since when it counts: the first time, and still that.
        let created = ask(&format!("db_query_duration_seconds_created{labels}"))?.context("no time")?;
        ensure!(start <= created && Some(created) <= first, "{start}, {created}, {first:?}");
        ensure!(ask(&format!("changes(db_query_duration_seconds_created{labels}[5m])"))? == Some(0.0));
    }
    let series = |prometheus: &Prometheus| only(prometheus, &format!("count({labels})"));
    let [one, other] = [series(&readers[0])?, series(&readers[1])?];
    ensure!(one == other && one > Some(20.0), "{one:?}, {other:?}");
    Ok(())
}

/// A process that connects to a port, says so many bytes, and ends.
fn say(name: &str, port: u16, count: u32) -> anyhow::Result<()> {
    let mut puppet = Puppet::start(name)?;
    puppet.run(&format!("one = connect(('127.0.0.1', {port})); send([one], {count}); one.close()"))?;
    puppet.finish()
}

/// Since when a name's rows count, as `OpenMetrics` tells it.
fn created(agent: &Agent, name: &str) -> anyhow::Result<f64> {
    let url = format!("{}/metrics", agent.url());
    let accept = "application/openmetrics-text;version=1.0.0";
    let text = ureq::get(url).header("Accept", accept).call()?.body_mut().read_to_string()?;
    let found = Metrics::parse(&text);
    let labels = [("process", name)];
    let times: Vec<f64> =
        found.series("observer_connections_opened_created", &labels).map(|one| one.value).collect();
    ensure!(times.len() == 1, "{times:?}");
    Ok(times[0])
}

#[test]
fn rows_of_a_name_stay_for_the_retention_and_go_on_if_it_comes_again() -> anyhow::Result<()> {
    const RETENTION: Duration = Duration::from_secs(6);
    let agent = Agent::start(&["--series-retention", &RETENTION.as_secs().to_string()])?;
    let (name, listening) = (unique_name("kept"), unique_name("rest"));
    let mut server = Puppet::start(&listening)?;
    let port = server.listen()?;
    let take = |server: &mut Puppet, count: u32| {
        server.run(&format!("other = listener.accept()[0]; receive([other], {count}); other.close()"))
    };
    say(&name, port, 100)?;
    take(&mut server, 100)?;
    // It is gone, and looked at again and again; then it comes again.
    let first = created(&agent, &name)?;
    for _ in 0..5 {
        ensure!(bytes(&agent.scrape()?, &name, "sent") == 100.0);
        sleep(Duration::from_millis(500));
    }
    say(&name, port, 23)?;
    let ended = Instant::now();
    take(&mut server, 23)?;
    let is_over = |metrics: &Metrics| {
        metrics.sum("observer_connections_closed_total", &[("process", &name)]) == 2.0
            && bytes(metrics, &name, "sent") == 123.0
    };
    agent.wait_until("both connections are over", is_over)?;
    ensure!(created(&agent, &name)? == first, "they are the same rows");
    // All of them stay for so long, and are gone soon after.
    let rows = of(&agent.scrape()?, &name);
    while ended.elapsed() + Duration::from_secs(1) < RETENTION {
        ensure!(of(&agent.scrape()?, &name) == rows, "after {:?}", ended.elapsed());
        sleep(Duration::from_millis(200));
    }
    while !of(&agent.scrape()?, &name).is_empty() {
        ensure!(ended.elapsed() < RETENTION + 2 * LOOK + Duration::from_secs(3), "they do not go");
        sleep(Duration::from_millis(200));
    }
    // Who lives stays, used or not; and the name begins anew, and says so.
    ensure!(agent.scrape()?.text().contains(&listening));
    let before = now()?;
    say(&name, port, 7)?;
    ensure!(bytes(&agent.scrape()?, &name, "sent") == 7.0);
    let second = created(&agent, &name)?;
    ensure!(second >= before - 0.1 && second > first, "{first}, {before}, {second}");
    Ok(())
}

#[test]
fn rows_with_a_pid_stay_when_those_of_the_name_are_gone() -> anyhow::Result<()> {
    let agent = Agent::start(&["--series-retention", "0"])?;
    let names = [unique_name("pc"), unique_name("ps")];
    let Talk { mut client, mut server } = Talk::open([&names[0], &names[1]])?;
    client.run("one.sendall(frame(500, True))")?;
    server.run("receive([one], 508)")?;
    let pid = client.pid().to_string();
    client.finish()?;
    server.finish()?;
    let start = Instant::now();
    let messages = |metrics: &Metrics| {
        metrics
            .sum("message_size_bytes_count", &[("process", &names[0]), ("pid", &pid), ("direction", "sent")])
    };
    while agent.scrape()?.series("observer_websocket_messages_total", &[("process", &names[0])]).count() > 0 {
        ensure!(start.elapsed() < 2 * LOOK + Duration::from_secs(3), "rows of the name do not go");
        sleep(Duration::from_millis(200));
    }
    for _ in 0..3 {
        ensure!(messages(&agent.scrape()?) == 1.0);
    }
    Ok(())
}

/// The rows of everybody on the host are below one limit.
// needs: host
// takes: 10 s
mod of_all_processes {
    use super::{Agent, Metrics, Puppet, bytes, ensure, say, unique_name};

    #[test]
    fn past_the_limit_the_longest_unused_rows_make_way() -> anyhow::Result<()> {
        const LIMIT: usize = 40;
        const PROCESSES: u32 = 60;
        let agent = Agent::start(&["--max-series", &LIMIT.to_string()])?;
        let mut server = Puppet::start(&unique_name("full"))?;
        let port = server.listen()?;
        let names: Vec<String> = (0..PROCESSES).map(|_| unique_name("job")).collect();
        let sent = |metrics: &Metrics, name: &str| bytes(metrics, name, "sent");
        for (number, name) in (0..).zip(&names) {
            say(name, port, 1_000 + number)?;
            let metrics = agent.scrape()?;
            ensure!(sent(&metrics, name) == f64::from(1_000 + number), "{name}: {}", metrics.text());
            server.run("other = listener.accept()[0]; receive_to_end(other); other.close()")?;
            for family in ["observer_bytes_total", "observer_connections_opened_total"] {
                let shown =
                    metrics.series(family, &[]).filter(|one| one.labels["process"] != "other").count();
                ensure!(shown <= LIMIT, "{shown} rows of {family}");
            }
        }
        let metrics = agent.scrape()?;
        ensure!(sent(&metrics, &names[0]) == 0.0, "it was unused longest");
        let folded = |family| metrics.sum("observer_series_folded_total", &[("family", family)]);
        let least = f64::from(PROCESSES) - LIMIT as f64;
        ensure!(folded("observer_bytes_total") >= least, "{}", folded("observer_bytes_total"));
        // What has made way was not in use: it was added to nothing.
        let labels =
            [("process", "other"), ("role", "client"), ("direction", "sent"), ("protocol", "unknown")];
        ensure!(metrics.sum("observer_bytes_total", &labels) < 1_000.0, "{}", metrics.text());
        Ok(())
    }
}
