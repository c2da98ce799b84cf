//! How much of what is encrypted was read is told as it is: of what cannot be read, of what goes past the probes, of what
//! was there before the agent, and of libraries and processes that go away.

// needs: nothing
// takes: 50 s

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary};
use observer_tests::bpf::{Kind, Objects};
use observer_tests::credentials::Credentials;
use observer_tests::http::shown::View;
use observer_tests::losses::Losses;
use observer_tests::plaintext::{
    Cache, Site, all_was_read, bytes, client, client_of, copy_library, expect_open, library_of,
    nothing_was_read, open, reading, shared,
};
use observer_tests::postgres;
use observer_tests::postgres::clients::python;
use observer_tests::postgres::server::Options;
use observer_tests::programs::{Program, free_port, named};
use observer_tests::puppet::Puppet;
use observer_tests::redis;
use observer_tests::redis::work::{Tally, Work};
use observer_tests::shown::expect_each;
use observer_tests::websocket::{alone, unique_name};

/// The library of a Python process, as metrics have it.
const OPENSSL: &str = "openssl";

/// What a tally has more than another.
fn since(before: &Tally, now: Tally) -> Tally {
    let mut more = now;
    for (prefix, counts) in &mut more.prefixes {
        let earlier = before.prefixes.get(prefix).copied().unwrap_or_default();
        *counts = [counts[0] - earlier[0], counts[1] - earlier[1]];
    }
    for (command, count) in &mut more.commands {
        *count -= before.commands.get(command).copied().unwrap_or_default();
    }
    more.prefixes.retain(|_, counts| *counts != [0.0; 2]);
    more.commands.retain(|_, count| *count != 0.0);
    more
}

/// What the agent says of views by now.
fn told(agent: &Agent, views: &[redis::shown::View; 2]) -> anyhow::Result<[Tally; 2]> {
    // What was asked before is over for the one who asked, but perhaps not yet for the one who answered.
    sleep(Duration::from_millis(100));
    let metrics = agent.scrape()?;
    Ok([views[0].tally(&metrics), views[1].tally(&metrics)])
}

/// Has a client run statements, none of which may fail.
fn done(client: &mut Puppet, statements: &str) -> anyhow::Result<()> {
    let errors = client.ask(statements)?;
    ensure!(errors == serde_json::json!([]), "{statements}: {errors}");
    Ok(())
}

/// How a process's open connections are read must be one of these.
fn expect_any(agent: &Agent, process: &str, ways: &[[&str; 3]]) -> anyhow::Result<()> {
    let open = open(&agent.scrape()?, process);
    let is_fine = |labels: &[String; 3]| ways.iter().any(|way| labels == way);
    ensure!(!open.is_empty() && open.iter().all(|(labels, _)| is_fine(labels)), "{process}: {open:?}");
    Ok(())
}

/// A server of rustls, as the agent itself is one: there are no functions to be read at.
#[test]
fn rustls_has_no_functions_to_read_at() -> anyhow::Result<()> {
    let _alone = alone();
    let credentials = Credentials::new()?;
    credentials.sign("server", "DNS:localhost")?;
    let config = credentials.web_config(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS12\n",
        &[],
    )?;
    let folder = tempfile::tempdir()?;
    let (name, port) = (unique_name("rtls"), free_port()?);
    let mut command = Command::new(named(&binary()?, folder.path(), &name)?);
    command.args(["run", "--listen", &format!("127.0.0.1:{port}"), "--web-config", &config]);
    let _server = Program::start(command.stderr(Stdio::null()))?;
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(start.elapsed() < Duration::from_secs(20), "it does not serve");
        sleep(Duration::from_millis(50));
    }
    let process = unique_name("tlc");
    let mut python = client(&process, port)?;
    let (agent, _) = shared()?;
    python.run("login(1)")?;
    ensure!(python.number("ask(sessions[0], '/readyz', 20)")? == 20.0, "answers");
    let label = format!("127.0.0.1:{port}");
    View::client(&process, &label).expect(&agent, &20.0, View::count)?;
    expect_open(&agent, &process, [OPENSSL, "yes", ""], 1.0)?;
    expect_open(&agent, &name, ["unknown", "no", "no_symbols"], 1.0)?;
    nothing_was_read(&agent, &name, 20.0 * 30.0)?;
    ensure!(View::server(&name, &label).count(&agent.scrape()?) == 0.0, "nothing can be known of them");
    all_was_read(&agent, &process)
}

#[test]
fn a_program_that_goes_past_the_functions() -> anyhow::Result<()> {
    let _alone = alone();
    let mut site = Site::start("")?;
    let process = unique_name("past");
    let mut python = client(&process, site.nginx.port)?;
    let (agent, _) = shared()?;
    ensure!(python.number("past_the_functions(['/large'] * 5 + ['/page'])")? == 6.0, "answers");
    let logged = site.logged(6)?;
    let [server, client] = site.views(&process);
    server.expect(&agent, &logged, View::tally)?;
    all_was_read(&agent, &site.nginx.name)?;
    let ways = [
        [OPENSSL, "partly", "bypassed"],
        [OPENSSL, "partly", "joined_late"],
        [OPENSSL, "no", "unlinked"],
        ["unknown", "no", "unlinked"],
        ["unknown", "no", "no_symbols"],
    ];
    expect_any(&agent, &process, &ways)?;
    let metrics = agent.scrape()?;
    ensure!(client.count(&metrics) == 0.0, "requests: {}", client.count(&metrics));
    let [_, no] = bytes(&metrics, &process);
    ensure!(no >= 5_000_000.0, "{no} bytes were not read, and that is too few");

    // The same process by the functions: that is read.
    python.run("login(1)")?;
    ensure!(python.number("ask(sessions[0], '/page', 7)")? == 7.0, "answers");
    let logged = site.logged(7)?;
    client.expect(&agent, &logged, View::tally)?;
    server.expect(&agent, &site.all()?, View::tally)
}

/// A client of a site that has a copy of the library, which it puts into a folder first.
fn copied(site: &Site, folder: &Path, name: &str) -> anyhow::Result<Puppet> {
    copy_library(folder)?;
    let mut puppet = client_of(folder, name, site.nginx.port)?;
    let library = library_of(&mut puppet)?;
    ensure!(library == folder.join("libssl.so.3"), "it has {}", library.display());
    Ok(puppet)
}

#[test]
fn files_that_are_replaced_and_processes_that_are_killed() -> anyhow::Result<()> {
    let _alone = alone();
    let mut site = Site::start("")?;
    let folders = [tempfile::tempdir()?, tempfile::tempdir()?];
    let names = ["older", "newer", "deleted", "killed"].map(unique_name);
    // The file of the first one is replaced by that of the second, and that of the third is deleted.
    let mut older = copied(&site, folders[0].path(), &names[0])?;
    let mut newer = copied(&site, folders[0].path(), &names[1])?;
    let mut deleted = copied(&site, folders[1].path(), &names[2])?;
    fs::remove_file(folders[1].path().join("libssl.so.3"))?;
    let mut blocked = client(&names[3], site.nginx.port)?;
    blocked.run("login(1)")?;
    blocked.tell("sessions[0].recv(1)")?;

    let agent = reading()?;
    let losses = Losses::none("http");
    // It waits in a call that had begun before.
    drop(blocked);
    let ask = |site: &mut Site, puppet: &mut Puppet, name: &str, times: usize| -> anyhow::Result<()> {
        let right = puppet.number(&format!("ask(sessions[0], '/page', {times})"))?;
        ensure!(right == times as f64, "{name}: {right} answers");
        site.logged(times)?;
        Ok(())
    };
    for (puppet, name) in [(&mut older, &names[0]), (&mut newer, &names[1]), (&mut deleted, &names[2])] {
        puppet.run("login(1)")?;
        let before = site.count;
        ask(&mut site, puppet, name, 30)?;
        ensure!(site.count == before + 30, "{}", site.count);
        let [_, client] = site.views(name);
        client.expect(&agent, &30.0, View::count)?;
        expect_open(&agent, name, [OPENSSL, "yes", ""], 1.0)?;
        all_was_read(&agent, name)?;
    }

    // While it is read, a file is replaced and then deleted, and a process is killed in a call that is being read.
    let _newest = copied(&site, folders[0].path(), "newest")?;
    fs::remove_file(folders[0].path().join("libssl.so.3"))?;
    for round in 1..=3 {
        let name = unique_name("killed");
        let mut blocked = client(&name, site.nginx.port)?;
        blocked.run("login(2)")?;
        ask(&mut site, &mut blocked, &name, 3)?;
        blocked.tell("sessions[0].recv(1)")?;
        sleep(Duration::from_millis(20));
        drop(blocked);
        for (puppet, name) in [(&mut older, &names[0]), (&mut newer, &names[1]), (&mut deleted, &names[2])] {
            ask(&mut site, puppet, name, 2)?;
            let [_, client] = site.views(name);
            client.expect(&agent, &f64::from(30 + 2 * round), View::count)?;
        }
        let [server, client] = site.views(&name);
        client.expect(&agent, &3.0, View::count)?;
        server.expect(&agent, &site.all()?, View::tally)?;
        agent.wait_until("it is gone", |metrics| open(metrics, &name).is_empty())?;
    }
    agent.get("/healthz")?;
    losses.no_more(&agent)
}

#[test]
fn status_lists_libraries() -> anyhow::Result<()> {
    let _alone = alone();
    let mut python = client("usual", 0)?;
    let usual = fs::canonicalize(library_of(&mut python)?)?;
    let (agent, [of_python, of_node]) = shared()?;
    let status = agent.json("/status")?;
    let listed = status["tls_libraries"].as_array().context("no list")?;
    for (path, pid) in [(usual, of_python), (fs::read_link(format!("/proc/{of_node}/exe"))?, of_node)] {
        let inode = fs::metadata(&path)?.ino();
        let mut found = listed.iter().filter(|one| one["inode"] == inode);
        let one = found.next().with_context(|| format!("{} is not listed: {listed:#?}", path.display()))?;
        ensure!(found.next().is_none(), "it is listed twice: {listed:#?}");
        let is_named =
            one["path"].as_str().is_some_and(|told| fs::canonicalize(told).ok() == Some(path.clone()));
        let processes = one["processes"].as_array().context("no processes")?;
        ensure!(is_named && one["library"] == OPENSSL, "{one:#}");
        // What is linked into a program does not tell its version.
        ensure!(one["version"] == "3" || pid == of_node, "{one:#}");
        ensure!(processes.iter().any(|one| *one == pid), "{pid} is not of {one:#}");
        // A probe on each of the functions at least.
        ensure!(one["probes"].as_u64().is_some_and(|probes| probes >= 5), "{one:#}");
        ensure!(one["stepped"].is_u64() && one["reason"].is_null(), "{one:#}");
    }
    // Files that are no such library are not listed.
    for one in listed {
        let path = one["path"].as_str().unwrap_or_default();
        ensure!(!path.contains("libc.so") && !path.contains("libcrypto"), "{one:#}");
    }
    Ok(())
}

#[test]
fn nothing_is_read_that_is_not_asked_for() -> anyhow::Result<()> {
    let _alone = alone();
    let mut site = Site::start("")?;
    let folder = tempfile::tempdir()?;
    let mut own = copied(&site, folder.path(), "own")?;
    let name = unique_name("tlc");
    let mut python = client(&name, site.nginx.port)?;
    let agent = Agent::start(&[])?;
    ensure!(own.number("breakpoints()")? == 0.0, "there are probes");
    ensure!(agent.json("/status")?["tls_libraries"] == serde_json::json!([]), "libraries are listed");
    python.run("login(1)")?;
    ensure!(python.number("ask(sessions[0], '/large', 3)")? == 3.0, "answers");
    site.logged(3)?;
    for process in [&name, &site.nginx.name] {
        expect_open(&agent, process, ["unknown", "no", "off"], 1.0)?;
        nothing_was_read(&agent, process, 3_000_000.0)?;
    }
    let metrics = agent.scrape()?;
    let told: f64 = site.views(&name).iter().map(|view| view.count(&metrics)).sum();
    ensure!(told == 0.0, "{told} requests are told of");
    // That it could be read is said for as long as it is so, and once in the log, which may take ten seconds.
    let is_said = |text: &str| text.contains("encrypted: --tls follow reads");
    let hint = agent.json("/processes")?["tls_hint"].clone();
    ensure!(hint.as_str().is_some_and(is_said), "{hint}");
    let said = || agent.log().iter().filter(|line| is_said(line)).count();
    let start = Instant::now();
    while said() == 0 {
        ensure!(start.elapsed() < Duration::from_secs(30), "{:#?}", agent.log());
        sleep(Duration::from_millis(100));
    }
    ensure!(agent.json("/processes")?["tls_hint"].is_string(), "it is said no more");
    ensure!(said() == 1, "{:#?}", agent.log());
    Ok(())
}

/// Of Postgres, too.
// needs: postgres
// takes: 12 s
mod with_postgres {
    use super::*;

    #[test]
    fn sessions_that_were_there_before() -> anyhow::Result<()> {
        let _alone = alone();
        let mut cache = Cache::start()?;
        cache.clients.login(2)?;
        cache.work(&[0, 1], 300)?;
        let database = postgres::server::Server::start_with(&Options { tls: true, ..Options::default() })?;
        let process = unique_name("late");
        let mut psycopg = python(&process, "psycopg", &database.tcp(), "postgres", "require")?;
        psycopg.run("login(2)")?;
        psycopg.run("run(0, 'SELECT 1', 5)")?;

        let agent = reading()?;
        // A little, by which it gets to know what is spoken.
        cache.work(&[0, 1], 20)?;
        let views = cache.views();
        let before = told(&agent, &views)?;
        let truth = cache.work(&[0, 1, 0, 1], 500)?;
        for (view, before) in views.iter().zip(&before) {
            view.expect(&agent, &truth, |view, metrics| since(before, view.tally(metrics)))?;
        }
        for process in [&cache.clients.process, &cache.server.process] {
            expect_open(&agent, process, [OPENSSL, "partly", "joined_late"], 2.0)?;
        }
        // One that begins later is read whole.
        cache.clients.login(1)?;
        let before = told(&agent, &views)?;
        let truth = cache.work(&[2], 500)?;
        for (view, before) in views.iter().zip(&before) {
            view.expect(&agent, &truth, |view, metrics| since(before, view.tally(metrics)))?;
        }
        for process in [&cache.clients.process, &cache.server.process] {
            let open: BTreeMap<[String; 3], f64> = open(&agent.scrape()?, process).into_iter().collect();
            let expected = [([OPENSSL, "partly", "joined_late"], 2.0), ([OPENSSL, "yes", ""], 1.0)];
            let expected = expected.map(|(labels, count)| (labels.map(str::to_owned), count));
            ensure!(open == BTreeMap::from(expected), "{process}: {open:?}");
        }

        // Postgres likewise.
        for session in 0..2 {
            psycopg.run(&format!("run({session}, 'SELECT 1', 3)"))?;
        }
        let label = database.tcp().label();
        let views = [
            postgres::shown::View::client(&process, &label),
            postgres::shown::View::server("postgres", &label),
        ];
        sleep(Duration::from_millis(100));
        let metrics = agent.scrape()?;
        let before = views.each_ref().map(|view| view.queries(&metrics));
        database.reset_statements()?;
        for (session, statement) in
            [(0, "SELECT 1"), (1, "SELECT 2, 3"), (0, "CREATE TEMPORARY TABLE few (a int)")]
        {
            done(&mut psycopg, &format!("run({session}, '{statement}', 1)"))?;
        }
        done(&mut psycopg, "run(0, 'INSERT INTO few VALUES (1)', 100)")?;
        done(&mut psycopg, "run(1, 'SELECT repeat(chr(120), 100000)', 20)")?;
        let truth = database.statements()?;
        for (view, before) in views.iter().zip(&before) {
            view.expect(&agent, &truth, |view, metrics| {
                let mut more = view.queries(metrics);
                for (kind, count) in before {
                    *more.entry(kind.clone()).or_default() -= count;
                }
                more.retain(|_, count| *count != 0.0);
                more
            })?;
        }
        expect_open(&agent, &process, [OPENSSL, "partly", "joined_late"], 2.0)?;
        expect_open(&agent, "postgres", [OPENSSL, "partly", "joined_late"], 2.0)
    }
}

/// Of Redis, too.
// needs: redis
// takes: 15 s
mod with_redis {
    use super::*;

    #[test]
    fn an_agent_that_is_killed_and_started_again() -> anyhow::Result<()> {
        let _alone = alone();
        let mut cache = Cache::start()?;
        let site = Site::start("")?;
        // A copy of the library that nobody else has.
        let folder = tempfile::tempdir()?;
        let mut python = copied(&site, folder.path(), "own")?;
        ensure!(python.number("breakpoints()")? == 0.0, "somebody else reads here");
        let agent = reading()?;
        ensure!(python.number("breakpoints()")? > 0.0, "the agent does not read");
        let held = Objects::of(agent.pid())?;
        ensure!(held.count(Kind::Program) > 0 && held.count(Kind::Map) > 0, "{held:?}");
        cache.clients.login(2)?;
        let truth = cache.work(&[0, 1], 400)?;
        expect_each(&cache.views(), &agent, &truth, redis::shown::View::tally)?;

        // Killed while both ends are at work.
        let work = Work { commands: 3_000, depth: 1, seed: 9 };
        cache.server.reset()?;
        cache.clients.begin(0, work)?;
        sleep(Duration::from_millis(200));
        agent.signal(libc::SIGKILL)?;
        let status = agent.stop()?;
        ensure!(status.signal() == Some(libc::SIGKILL), "{status}");
        let done = cache.clients.finish()?;
        ensure!(cache.server.keyspace()? == done.keys(), "work went wrong");
        held.expect_gone()?;
        let start = Instant::now();
        while python.number("breakpoints()")? > 0.0 {
            ensure!(start.elapsed() < Duration::from_secs(10), "breakpoints are left in the library");
            sleep(Duration::from_millis(50));
        }
        cache.work(&[0, 1], 100)?;

        let agent = reading()?;
        ensure!(python.number("breakpoints()")? > 0.0, "the agent does not read again");
        cache.work(&[0, 1], 20)?;
        cache.clients.login(1)?;
        let views = cache.views();
        let before = told(&agent, &views)?;
        let truth = cache.work(&[0, 1, 2], 400)?;
        for (view, before) in views.iter().zip(&before) {
            view.expect(&agent, &truth, |view, metrics| since(before, view.tally(metrics)))?;
        }
        // And one that ends as it is told to leaves nothing either.
        let held = Objects::of(agent.pid())?;
        ensure!(agent.stop()?.code() == Some(0), "it did not end well");
        held.expect_gone()?;
        ensure!(python.number("breakpoints()")? == 0.0, "breakpoints are left in the library");
        Ok(())
    }
}
