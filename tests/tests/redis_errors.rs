//! Errors by their kind, as the server counts them.

// needs: redis
// takes: 3 s

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::programs::free_port;
use observer_tests::redis::server::{Server, Transport};
use observer_tests::redis::shown::{View, nothing_lost};
use observer_tests::redis::wire::{Ends, Reply, Session, bulk, command};
use observer_tests::redis::work::{Counts, Prefixes};
use observer_tests::websocket::{alone, own_name};

#[test]
fn errors_are_told_by_kind() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let views = View::both(&own_name()?, &server);
    let mut asking = server.asking()?;
    let mut session = Session::connect(&server.target())?;
    session.run(&["RPUSH list 1", "SET user:1 a", "SET user:2 b", "XADD stream 1-1 a 1"])?;
    let Reply::Bulk(dump) = session.ask("DUMP user:1")? else { anyhow::bail!("no dump") };
    let fails = |session: &mut Session, kind: &str, words: &str| -> anyhow::Result<()> {
        let reply = session.ask(words)?;
        ensure!(reply.is_error(kind), "{words}: {reply:?}, and not {kind}");
        Ok(())
    };
    for _ in 0..3 {
        fails(&mut session, "WRONGTYPE", "GET list")?;
    }
    fails(&mut session, "WRONGTYPE", "INCRBY list 1")?;
    fails(&mut session, "ERR", "INCR user:1")?;
    fails(&mut session, "ERR", "ABSENT 1")?;
    fails(&mut session, "ERR", "GET")?;
    fails(&mut session, "NOSCRIPT", &format!("EVALSHA {} 0", "a".repeat(40)))?;
    fails(&mut session, "ERR", "EXEC")?;
    session.run(&["MULTI"])?;
    fails(&mut session, "ERR", "GET")?;
    fails(&mut session, "EXECABORT", "EXEC")?;
    fails(&mut session, "NOGROUP", "XREADGROUP GROUP none me STREAMS stream >")?;
    session.run(&["XGROUP CREATE stream some $"])?;
    fails(&mut session, "BUSYGROUP", "XGROUP CREATE stream some $")?;
    session.send(&command(&[&b"RESTORE"[..], b"user:2", b"0", &dump]))?;
    ensure!(session.reply()?.is_error("BUSYKEY"), "RESTORE of what is there");
    asking.run(&["CONFIG SET maxmemory 1"])?;
    fails(&mut session, "OOM", "SET user:1 c")?;
    fails(&mut session, "OOM", "SET user:1 c")?;
    asking.run(&["CONFIG SET maxmemory 0", "CONFIG SET min-replicas-to-write 1"])?;
    fails(&mut session, "NOREPLICAS", "SET user:1 c")?;
    asking.run(&["CONFIG SET min-replicas-to-write 0", "ACL SETUSER limited on >secret ~user:* +get"])?;
    fails(&mut session, "WRONGPASS", "AUTH limited wrong")?;
    session.run(&["AUTH limited secret"])?;
    fails(&mut session, "NOPERM", "SET user:1 c")?;
    fails(&mut session, "NOPERM", "GET list")?;
    asking.run(&["CONFIG SET requirepass secret"])?;
    let mut another = Session::connect(&server.target())?;
    fails(&mut another, "NOAUTH", "GET user:1")?;
    fails(&mut another, "NOPROTO", "HELLO 4")?;
    fails(&mut another, "WRONGPASS", "HELLO 3 AUTH default wrong")?;
    // Who asks for the numbers has none to tell.
    asking.run(&["CONFIG SET requirepass "])?;
    let errors = server.errors()?;
    ensure!(errors.len() >= 12, "too few kinds: {errors:?}");
    for view in &views {
        view.expect(&agent, &errors, View::errors)?;
        // A key that is of another type was neither found nor not.
        view.expect(&agent, &Prefixes::new(), View::prefixes)?;
    }
    nothing_lost(&agent)
}

#[test]
fn errors_of_a_cluster() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    // It also listens to other nodes: of itself ten thousand ports further on, where the kernel may have given the port to
    // some client, and then the server does not start. And one that has had no slots for two seconds takes this time to
    // answer once it has some, or five seconds of itself.
    let bus = free_port()?.to_string();
    let settings =
        ["--cluster-enabled", "yes", "--cluster-port", bus.as_str(), "--cluster-node-timeout", "500"];
    let server = Server::start_with(Transport::Tcp, &settings)?;
    let views = View::both(&own_name()?, &server);
    let mut session = Session::connect(&server.target())?;
    ensure!(session.ask("GET user:1")?.is_error("CLUSTERDOWN"), "a cluster without slots");
    server.asking()?.run(&["CLUSTER ADDSLOTSRANGE 0 16383"])?;
    for _ in 0..100 {
        if server.ask("CLUSTER INFO")?.text()?.contains("cluster_state:ok") {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    ensure!(session.ask("GET user:1")? == Reply::Nil, "a cluster of one");
    ensure!(session.ask("MGET user:1 user:2")?.is_error("CROSSSLOT"), "keys of different slots");
    // What only a cluster of several says, as it says it.
    let mut ends = Ends::connect()?;
    let name = own_name()?;
    for error in [
        "-MOVED 3999 127.0.0.1:6381",
        "-ASK 3999 127.0.0.1:6381",
        "-TRYAGAIN Multiple keys request during rehashing of slot",
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "-BUSY Redis is busy running a script.",
        "-UNKILLABLE Sorry the script already executed write commands",
        "-MINE of some module's",
    ] {
        ends.ask(&command(&["GET", "user:1"]))?;
        ends.answer(format!("{error}\r\n").as_bytes())?;
    }
    // RESP3's other form.
    ends.ask(&command(&["GET", "user:1"]))?;
    ends.answer(b"!21\r\nSYNTAX invalid syntax\r\n")?;
    ends.ask(&command(&["GET", "user:1"]))?;
    ends.answer(b"!10\r\nMOVED 1 :2\r\n")?;
    let expected: Counts = [
        ("MOVED", 2.0),
        ("ASK", 1.0),
        ("TRYAGAIN", 1.0),
        ("LOADING", 1.0),
        ("MASTERDOWN", 1.0),
        ("MISCONF", 1.0),
        ("BUSY", 1.0),
        ("UNKILLABLE", 1.0),
        ("other", 2.0),
    ]
    .map(|(kind, count)| (kind.to_owned(), count))
    .into();
    for view in [View::client(&name, &ends.label), View::server(&name, &ends.label)] {
        view.expect(&agent, &expected, View::errors)?;
        view.expect(&agent, &Prefixes::new(), View::prefixes)?;
    }
    for view in &views {
        view.expect(&agent, &server.errors()?, View::errors)?;
    }
    // A value that looks like an error is none.
    ends.ask(&command(&["GET", "user:1"]))?;
    ends.answer(&bulk("-MOVED 1 2\r\n-ERR\r\n"))?;
    let view = View::client(&name, &ends.label);
    view.expect(&agent, &expected, View::errors)?;
    view.expect(&agent, &Prefixes::from([("user".to_owned(), [1.0, 0.0])]), View::prefixes)?;
    nothing_lost(&agent)
}
