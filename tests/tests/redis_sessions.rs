//! Sessions are what the server says they are, whoever the client is and whatever it waits for.

// needs: redis
// takes: 28 s

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::redis::clients::{Clients, Library, Protocol};
use observer_tests::redis::one::{One, agree, prefixes, sessions};
use observer_tests::redis::server::{Server, Transport};
use observer_tests::redis::shown::{View, nothing_lost};
use observer_tests::redis::wire::{Reply, Session};
use observer_tests::redis::work::Work;
use observer_tests::websocket::{alone, own_name};

/// Gives those that wait what they wait for.
fn release(server: &Server, clients: &mut Clients, first: usize, last: usize) -> anyhow::Result<()> {
    let mut asking = server.asking()?;
    for index in first..last {
        asking.run(&[&format!("RPUSH waiting:{index} now")])?;
    }
    clients.puppet()?.run("release()")
}

/// Clients some of which wait, seen from their first command or after they have been there for a while.
fn observed(library: Library, protocol: Protocol, transport: Transport, before: bool) -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start_with(transport, &[])?;
    let before = if before { Some(Agent::shared()?) } else { None };
    let exact = before.is_some();
    let mut clients = Clients::start(library, protocol, &server.target())?;
    clients.login(40)?;
    clients.puppet()?.run("hold(0, 15)")?;
    server.reach(sessions(15, 25))?;
    let agent = if let Some(agent) = before {
        agent
    } else {
        let agent = Arc::new(Agent::start(&[])?);
        // It knows of each as soon as it has said something.
        release(&server, &mut clients, 0, 15)?;
        for index in 0..40 {
            clients.run(index, &["PING", "PING"])?;
        }
        clients.puppet()?.run("hold(0, 15)")?;
        agent
    };
    let views = View::both(&clients.process, &server);
    agree(&agent, &server, &views, sessions(15, 25))?;
    // Those that wait took no time for a GET.
    let start = Instant::now();
    let truth = clients.work(20, Work { commands: 1_000, depth: 1, seed: 1 })?;
    let whole = start.elapsed().as_secs_f64();
    agree(&agent, &server, &views, sessions(15, 25))?;
    for view in &views {
        view.expect(&agent, &truth, View::tally)?;
    }
    release(&server, &mut clients, 0, 15)?;
    agree(&agent, &server, &views, sessions(0, 40))?;
    for view in &views {
        let [count, sum] = view.latency(&agent.scrape()?, "get");
        ensure!(count == truth.commands["get"] && sum < whole, "{count} GETs took {sum} s of {whole} s");
    }
    clients.puppet()?.run("hold(0, 7)")?;
    agree(&agent, &server, &views, sessions(7, 33))?;
    // Without a word.
    drop(clients);
    agree(&agent, &server, &views, sessions(0, 0))?;
    if exact { nothing_lost(&agent) } else { Ok(()) }
}

#[test]
fn redis_py() -> anyhow::Result<()> {
    observed(Library::Python, Protocol::Resp2, Transport::Tcp, true)
}

#[test]
fn redis_py_in_resp3() -> anyhow::Result<()> {
    observed(Library::Python, Protocol::Resp3, Transport::Tcp, true)
}

#[test]
fn redis_py_over_a_unix_socket() -> anyhow::Result<()> {
    observed(Library::Python, Protocol::Resp2, Transport::Unix, true)
}

#[test]
fn node_redis() -> anyhow::Result<()> {
    observed(Library::Node, Protocol::Resp2, Transport::Tcp, true)
}

#[test]
fn node_redis_in_resp3_over_a_unix_socket() -> anyhow::Result<()> {
    observed(Library::Node, Protocol::Resp3, Transport::Unix, true)
}

#[test]
fn redis_py_before_the_agent() -> anyhow::Result<()> {
    observed(Library::Python, Protocol::Resp2, Transport::Tcp, false)
}

#[test]
fn node_redis_before_the_agent() -> anyhow::Result<()> {
    observed(Library::Node, Protocol::Resp3, Transport::Tcp, false)
}

#[test]
fn redis_py_over_a_unix_socket_before_the_agent() -> anyhow::Result<()> {
    observed(Library::Python, Protocol::Resp3, Transport::Unix, false)
}

#[test]
fn transactions() -> anyhow::Result<()> {
    let _alone = alone();
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut one = One::start(&[])?;
        let session = &mut one.session;
        session.run(&[
            hello,
            "SET user:1 a",
            "MULTI",
            "GET user:1",
            "GET user:2",
            "MGET user:1 gone:1",
            "PING",
        ])?;
        let reply = session.ask("EXEC")?;
        ensure!(matches!(&reply, Reply::Array(replies) if replies.len() == 4), "{reply:?}");
        let keys = prefixes(&[("user", [2, 1]), ("gone", [0, 1])]);
        ensure!(one.server.keyspace()? == [2.0, 2.0], "{:?}", one.server.keyspace()?);
        one.expect(&keys)?;
        // In one call; and replies within replies.
        let session = &mut one.session;
        session.run(&["RPUSH list 1 2 3", "HSET hash a 1"])?;
        let commands =
            ["MULTI", "LRANGE list 0 -1", "GET user:1", "HGETALL hash", "GET gone:1", "EXEC", "GET user:1"];
        session.pipeline(&commands)?;
        let keys = prefixes(&[("user", [4, 1]), ("gone", [0, 2])]);
        one.expect(&keys)?;
        // One that is given up, one that a change undoes, and one that cannot be.
        let session = &mut one.session;
        session.run(&["MULTI", "GET user:1", "DISCARD", "WATCH user:1"])?;
        one.server.asking()?.run(&["SET user:1 b"])?;
        let session = &mut one.session;
        session.run(&["MULTI", "GET user:1", "GET user:2"])?;
        ensure!(session.ask("EXEC")? == Reply::Nil, "EXEC after a change");
        session.run(&["MULTI", "GET user:1"])?;
        ensure!(session.ask("GET")?.is_error("ERR"), "a GET of nothing");
        ensure!(session.ask("EXEC")?.is_error("EXECABORT"), "an EXEC that cannot be");
        // What fails inside.
        session.run(&["MULTI", "GET list", "GET user:2"])?;
        let reply = session.ask("EXEC")?;
        let failed = matches!(&reply, Reply::Array(all) if all.len() == 2 && all[0].is_error("WRONGTYPE"));
        ensure!(failed, "{reply:?}");
        session.run(&["GET user:1"])?;
        let keys = prefixes(&[("user", [5, 2]), ("gone", [0, 2])]);
        // Those that were never executed are no calls to the server, and were sent all the same.
        for view in &one.views {
            view.expect(&one.agent, &keys, View::prefixes)?;
            view.expect(&one.agent, &one.server.errors()?, View::errors)?;
            let gets = |view: &View, metrics: &_| view.command(metrics, "get");
            view.expect(&one.agent, &13.0, gets)?;
            // No GET inside was timed.
            let [count, _] = view.latency(&one.agent.scrape()?, "get");
            ensure!(count == 2.0, "{count} GETs were timed");
        }
        one.expect_sessions(sessions(0, 1))?;
        nothing_lost(&one.agent)?;
    }
    Ok(())
}

#[test]
fn transactions_of_a_library() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        server.reset()?;
        let mut clients = Clients::start(Library::Python, protocol, &server.target())?;
        clients.login(1)?;
        for _ in 0..200 {
            let told = clients.puppet()?.ask(
                "transaction(0, [['SET', 'user:1', 'a'], ['GET', 'user:1'], ['GET', 'gone:1'], ['GET', 'user:1']])",
            )?;
            ensure!(told == serde_json::json!([true, "a", null, "a"]), "{told}");
        }
        let view = View::client(&clients.process, &server.target().label());
        view.expect(&agent, &prefixes(&[("user", [400, 0]), ("gone", [0, 200])]), View::prefixes)?;
        view.expect(&agent, &server.commands()?, View::commands)?;
        view.expect(&agent, &sessions(0, 1), View::sessions)?;
    }
    nothing_lost(&agent)
}

#[test]
fn commands_that_block_are_no_slow_gets() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    // How long each GET took at most, as its client has it.
    let mut took = Vec::new();
    let mut get = |one: &mut One| -> anyhow::Result<()> {
        let start = Instant::now();
        one.session.run(&["GET user:1"])?;
        took.push(start.elapsed().as_secs_f64());
        Ok(())
    };
    one.session.run(&["SET user:1 a"])?;
    get(&mut one)?;
    let waits = [
        "BLPOP waiting 0",
        "BRPOP waiting 0",
        "BLMOVE waiting moved LEFT RIGHT 0",
        "BLMPOP 0 1 waiting LEFT",
        "BRPOPLPUSH waiting moved 0",
        "BZPOPMIN scores 0",
        "BZMPOP 0 1 scores MAX",
        "XREAD BLOCK 0 STREAMS stream $",
    ];
    for words in waits {
        one.session.tell(words)?;
        one.server.reach(sessions(1, 0))?;
        one.expect_sessions(sessions(1, 0))?;
        one.server.asking()?.run(&["RPUSH waiting a", "ZADD scores 1 a", "XADD stream * a 1"])?;
        let reply = one.session.reply()?;
        ensure!(!matches!(reply, Reply::Error(_) | Reply::Nil), "{words}: {reply:?}");
        one.server.asking()?.run(&["DEL waiting scores stream moved"])?;
        one.expect_sessions(sessions(0, 1))?;
        get(&mut one)?;
    }
    // One that waits in vain, and one that waits behind another.
    ensure!(one.session.ask("BLPOP waiting 0.3")? == Reply::Nil, "it came");
    one.session.tell("BLPOP waiting 0")?;
    let start = Instant::now();
    one.session.tell("GET user:1")?;
    thread::sleep(Duration::from_millis(500));
    one.server.asking()?.run(&["RPUSH waiting a"])?;
    one.session.replies(2)?;
    took.push(start.elapsed().as_secs_f64());
    let whole: f64 = took.iter().sum();
    let short = took.iter().filter(|took| **took <= 0.01).count();
    let gets = waits.len() as u32 + 2;
    for view in &one.views {
        let counts = |view: &View, metrics: &_| view.latency(metrics, "get")[0];
        view.expect(&one.agent, &f64::from(gets), counts)?;
        let metrics = one.agent.scrape()?;
        let [_, sum] = view.latency(&metrics, "get");
        // The one that was behind another waited for it; no other one's time has any of a wait.
        ensure!(sum <= whole, "GETs took {sum} s, and their client waited {whole} s");
        let within = view.within(&metrics, "get", "0.01");
        ensure!(within >= short as f64, "{within} were short: {took:?}");
        view.expect(&one.agent, &prefixes(&[("user", [gets, 0])]), View::prefixes)?;
    }
    nothing_lost(&one.agent)
}

#[test]
fn a_password_and_another_database() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    server.asking()?.run(&["CONFIG SET requirepass secret"])?;
    let mut session = Session::connect(&server.target())?;
    ensure!(session.ask("GET user:1")?.is_error("NOAUTH"), "no password");
    ensure!(session.ask("AUTH wrong")?.is_error("WRONGPASS"), "the wrong password");
    session.run(&["AUTH secret", "SELECT 3", "SET user:1 a", "GET user:1"])?;
    session.run(&["HELLO 3 AUTH default secret SETNAME mine", "GET user:1", "GET gone:1"])?;
    for view in View::both(&own_name()?, &server) {
        view.expect(&agent, &prefixes(&[("user", [2, 0]), ("gone", [0, 1])]), View::prefixes)?;
        let errors =
            |view: &View, metrics: &_| -> Vec<(String, f64)> { view.errors(metrics).into_iter().collect() };
        let expected = [("NOAUTH", 1.0), ("WRONGPASS", 1.0)].map(|(kind, count)| (kind.to_owned(), count));
        view.expect(&agent, &expected.to_vec(), errors)?;
        view.expect(&agent, &sessions(0, 1), View::sessions)?;
        // Nothing of what is secret, or of a user's.
        let told = agent.get("/metrics")?;
        ensure!(!told.contains("secret") && !told.contains("user:1"), "{told}");
    }
    nothing_lost(&agent)
}

#[test]
fn sessions_that_end_leave_nothing() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let mut clients = Clients::start(Library::Node, Protocol::Resp3, &server.target())?;
    clients.login(30)?;
    let views = View::both(&clients.process, &server);
    agree(&agent, &server, &views, sessions(0, 30))?;
    let process = clients.process.clone();
    let labels = [("process", process.as_str()), ("protocol", "redis"), ("role", "client")];
    let open = agent.scrape()?.sum("observer_connections", &labels);
    ensure!(open == 30.0, "{open} connections of the protocol");
    let truth = clients.work(3, Work { commands: 1_000, depth: 10, seed: 1 })?;
    clients.logout()?;
    agree(&agent, &server, &views, sessions(0, 0))?;
    agent.wait_until("no connection is left", |metrics| {
        metrics.sum("observer_connections", &labels) == 0.0
            && metrics.sum("observer_connections_closed_total", &labels) == 30.0
    })?;
    // What they have done stays.
    views.iter().try_for_each(|view| view.expect(&agent, &truth, View::tally))?;
    nothing_lost(&agent)
}
