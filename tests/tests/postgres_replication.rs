//! Sessions that stream replication, as `pg_stat_replication` tells of them: they are in no pool, and no query.

// needs: postgres
// takes: 20 s

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::postgres::clients::{Clients, Library};
use observer_tests::postgres::server::{Options, Server};
use observer_tests::postgres::shown::{Sessions, View, nothing_lost};
use observer_tests::postgres::{named, printed};
use observer_tests::shown::reach;
use observer_tests::websocket::{alone, unique_name};
use tempfile::TempDir;

/// How the server calls itself.
const SERVER: &str = "postgres";

/// One program that receives what a server's WAL has. Dropping it ends it.
struct Receiver {
    child: Child,
}

impl Receiver {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child })
    }

    /// Has it say that it is done, as Ctrl-C does, and waits for its end.
    fn finish(mut self) -> anyhow::Result<()> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: a child of ours that has not been waited for, so the number is its own.
        ensure!(unsafe { libc::kill(pid, libc::SIGINT) } == 0, "cannot signal it");
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with a slot, and programs that receive from it, under names of their own.
struct Scene {
    server: Server,
    directory: TempDir,
    logical: String,
    physical: String,
}

impl Scene {
    fn start() -> anyhow::Result<Self> {
        let server = Server::start_with(&Options { logical: true, ..Options::default() })?;
        server.ask(
            "SELECT pg_create_logical_replication_slot('decoded', 'test_decoding'); CREATE TABLE t (n int)",
        )?;
        let directory = tempfile::tempdir()?;
        let [logical, physical] = ["rl", "rw"].map(unique_name);
        named(directory.path(), "pg_recvlogical", &logical)?;
        named(directory.path(), "pg_receivewal", &physical)?;
        Ok(Self { server, directory, logical, physical })
    }

    fn command(&self, name: &str) -> Command {
        let target = self.server.tcp();
        let mut command = Command::new(self.directory.path().join(name));
        command.args(["-h", &target.host, "-p", &target.port.to_string(), "-U", "postgres"]);
        command.env("PGSSLMODE", "disable");
        command
    }

    fn receive_logical(&self) -> anyhow::Result<Receiver> {
        let mut command = self.command(&self.logical);
        command.args(["-d", "postgres", "--slot", "decoded", "--start", "-f", "/dev/null", "-s", "1"]);
        Receiver::start(command)
    }

    fn receive_physical(&self, number: usize) -> anyhow::Result<Receiver> {
        let directory = self.directory.path().join(format!("wal-{number}"));
        std::fs::create_dir(&directory)?;
        let mut command = self.command(&self.physical);
        command.arg("-D").arg(directory).args(["-s", "1"]);
        Receiver::start(command)
    }

    /// Waits until the server says that it streams to so many.
    fn reach(&self, count: &str) -> anyhow::Result<()> {
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        reach(&count.to_owned(), || self.server.ask(streaming))
    }

    fn view(&self) -> View {
        View::server(SERVER, &self.server.tcp().label())
    }
}

/// Queries so far, and the seconds that they took.
fn queries(view: &View, metrics: &observer_tests::metrics::Metrics) -> [f64; 2] {
    ["count", "sum"].map(|what| view.sum(metrics, &format!("db_query_duration_seconds_{what}"), &[]))
}

#[test]
fn replication_is_neither_active_nor_idle_nor_a_query() -> anyhow::Result<()> {
    let _alone = alone();
    let scene = Scene::start()?;
    let label = scene.server.tcp().label();
    let agent = Agent::shared()?;
    let receivers = [
        scene.receive_logical()?,
        scene.receive_physical(0)?,
        scene.receive_physical(1)?,
        scene.receive_physical(2)?,
    ];
    scene.reach("4")?;
    // A session like others, beside them.
    let mut clients = Clients::start(Library::Psycopg, &scene.server.tcp())?;
    clients.login(1)?;
    let all = scene.view();
    let views = [
        (&all, 4.0),
        (&View::client(&scene.logical, &label), 1.0),
        (&View::client(&scene.physical, &label), 3.0),
    ];
    for (view, count) in views {
        view.expect(&agent, &count, View::replication)?;
    }
    let one_idle = Sessions { idle: 1.0, ..Sessions::default() };
    scene.server.reach(one_idle)?;
    all.expect(&agent, &one_idle, View::sessions)?;
    for (view, _) in &views[1..] {
        view.expect(&agent, &Sessions::default(), View::sessions)?;
    }

    // They stream, for a while.
    scene.server.ask("INSERT INTO t SELECT generate_series(1, 100000)")?;
    thread::sleep(Duration::from_secs(3));
    scene.reach("4")?;
    let before = agent.scrape()?;
    let [count, took] = queries(&all, &before);
    ensure!(count >= 4.0 && took < 2.0, "{count} queries of {took} s");
    ensure!(all.oldest(&before) == [0.0; 2], "nothing else is in progress: {:?}", all.oldest(&before));
    // The server's processes say nothing of their ends where a signal ends them.
    for receiver in receivers {
        receiver.finish()?;
    }
    scene.reach("0")?;
    all.expect(&agent, &0.0, View::replication)?;
    let after = queries(&all, &agent.scrape()?);
    ensure!(after == [count, took], "{after:?} queries and seconds, and not {count} and {took} as before");
    scene.server.reach(one_idle)?;
    all.expect(&agent, &one_idle, View::sessions)?;
    all.expect(&agent, &0.0, View::all_refused)?;
    nothing_lost(&agent)
}

#[test]
fn replication_from_before_the_agent_is_found() -> anyhow::Result<()> {
    let _alone = alone();
    let scene = Scene::start()?;
    // A server says that it is alive after half of it.
    scene.server.set("wal_sender_timeout", "2s")?;
    let receivers = [scene.receive_logical()?, scene.receive_physical(0)?];
    scene.reach("2")?;
    let agent = Agent::start(&[])?;
    let label = scene.server.tcp().label();
    for (view, count) in [
        (scene.view(), 2.0),
        (View::client(&scene.logical, &label), 1.0),
        (View::client(&scene.physical, &label), 1.0),
    ] {
        view.expect(&agent, &count, View::replication)?;
        view.expect(&agent, &Sessions::default(), View::sessions)?;
    }
    for receiver in receivers {
        receiver.finish()?;
    }
    scene.view().expect(&agent, &0.0, View::replication)?;
    let [count, _] = queries(&scene.view(), &agent.scrape()?);
    ensure!(count == 0.0, "{count} queries of sessions that streamed all the while");
    nothing_lost(&agent)
}

#[test]
fn a_base_backup_is_a_query_and_its_log_is_replication() -> anyhow::Result<()> {
    let _alone = alone();
    let scene = Scene::start()?;
    let agent = Agent::shared()?;
    // The agent forgets what processes of a name did once the last of them is gone.
    let mut kept = Clients::start(Library::Psycopg, &scene.server.unix())?;
    kept.login(1)?;
    named(scene.directory.path(), "pg_basebackup", "pg_basebackup")?;
    let before = queries(&scene.view(), &agent.scrape()?);
    let mut backup = scene.command("pg_basebackup");
    printed(backup.args(["-X", "stream", "-c", "fast", "-D"]).arg(scene.directory.path().join("copy")))?;
    scene.view().expect(&agent, &0.0, View::replication)?;
    scene.view().expect(&agent, &Sessions::default(), View::sessions)?;
    let after = queries(&scene.view(), &agent.scrape()?);
    ensure!(after[0] > before[0], "BASE_BACKUP is one at least: {before:?}, {after:?}");
    nothing_lost(&agent)
}
