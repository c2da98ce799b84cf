//! Sessions are what the server says they are, and what is no command and its reply is not taken for one.

// needs: redis
// takes: 49 s

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::redis::clients::{Clients, Library, Protocol};
use observer_tests::redis::server::{Server, Transport};
use observer_tests::redis::shown::{Sessions, View, nothing_lost};
use observer_tests::redis::wire::{Reply, Session, command};
use observer_tests::redis::work::{Prefixes, Work};
use observer_tests::websocket::{alone, own_name};

const fn sessions(active: u32, idle: u32) -> Sessions {
    Sessions { active: active as f64, idle: idle as f64 }
}

/// The server and the agent say of these sessions what they are.
fn agree(agent: &Agent, server: &Server, views: &[View], expected: Sessions) -> anyhow::Result<()> {
    server.reach(expected)?;
    views.iter().try_for_each(|view| view.expect(agent, &expected, View::sessions))
}

fn prefixes(counts: &[(&str, [u32; 2])]) -> Prefixes {
    counts.iter().map(|&(prefix, counts)| (prefix.to_owned(), counts.map(f64::from))).collect()
}

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
    let before = if before { Some(Agent::start(&[])?) } else { None };
    let exact = before.is_some();
    let mut clients = Clients::start(library, protocol, &server.target())?;
    clients.login(40)?;
    clients.puppet()?.run("hold(0, 15)")?;
    server.reach(sessions(15, 25))?;
    let agent = if let Some(agent) = before {
        agent
    } else {
        let agent = Agent::start(&[])?;
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
    let truth = clients.work(20, Work { commands: 1_000, depth: 1, seed: 1 })?;
    agree(&agent, &server, &views, sessions(15, 25))?;
    for view in &views {
        view.expect(&agent, &truth, View::tally)?;
    }
    release(&server, &mut clients, 0, 15)?;
    agree(&agent, &server, &views, sessions(0, 40))?;
    for view in &views {
        let [count, sum] = view.latency(&agent.scrape()?, "get");
        ensure!(count == truth.commands["get"] && sum < 5.0, "{count} GETs took {sum} s");
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

/// A server, an agent, one session of this process's, and both of its sides.
struct One {
    server: Server,
    agent: Agent,
    session: Session,
    views: [View; 2],
}

impl One {
    fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let server = Server::start_with(Transport::Tcp, settings)?;
        let agent = Agent::start(&[])?;
        let session = Session::connect(&server.target())?;
        let views = View::both(&own_name()?, &server);
        Ok(Self { server, agent, session, views })
    }

    /// So many keys found and not found so far, and all commands and errors.
    fn expect(&self, keys: &Prefixes) -> anyhow::Result<()> {
        for view in &self.views {
            view.expect(&self.agent, keys, View::prefixes)?;
            // Those of whoever makes something happen meanwhile included.
            let view = view.anywhere();
            view.expect(&self.agent, &self.server.commands()?, View::commands)?;
            view.expect(&self.agent, &self.server.errors()?, View::errors)?;
        }
        nothing_lost(&self.agent)
    }

    fn expect_sessions(&self, expected: Sessions) -> anyhow::Result<()> {
        self.views.iter().try_for_each(|view| view.expect(&self.agent, &expected, View::sessions))
    }
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
    let agent = Agent::start(&[])?;
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
    one.session.run(&["SET user:1 a", "GET user:1"])?;
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
        one.session.run(&["GET user:1"])?;
    }
    // One that waits in vain, and one that waits behind another.
    ensure!(one.session.ask("BLPOP waiting 0.3")? == Reply::Nil, "it came");
    one.session.tell("BLPOP waiting 0")?;
    one.session.tell("GET user:1")?;
    thread::sleep(Duration::from_millis(500));
    one.server.asking()?.run(&["RPUSH waiting a"])?;
    one.session.replies(2)?;
    let gets = waits.len() as u32 + 2;
    for view in &one.views {
        let counts = |view: &View, metrics: &_| view.latency(metrics, "get")[0];
        view.expect(&one.agent, &f64::from(gets), counts)?;
        let metrics = one.agent.scrape()?;
        let [_, sum] = view.latency(&metrics, "get");
        // The one that was behind another waited for it.
        ensure!(sum < 1.5, "GETs took {sum} s");
        ensure!(view.within(&metrics, "get", "0.01") >= f64::from(gets) - 2.0, "not all were short");
        view.expect(&one.agent, &prefixes(&[("user", [gets, 0])]), View::prefixes)?;
    }
    nothing_lost(&one.agent)
}

#[test]
fn messages_of_subscriptions_are_no_replies() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    one.session.run(&["SET user:1 a", "GET user:1"])?;
    let publish = |one: &One, count: usize| -> anyhow::Result<()> {
        let mut asking = one.server.asking()?;
        (0..count).try_for_each(|_| asking.run(&["PUBLISH news $-1", "PUBLISH olds *3"]))
    };
    // In RESP2 nothing else may be said meanwhile.
    one.session.tell("SUBSCRIBE news olds")?;
    one.session.tell("PSUBSCRIBE n*")?;
    one.session.replies(3)?;
    publish(&one, 50)?;
    let told = one.session.replies(150)?;
    ensure!(told.iter().all(|reply| matches!(reply, Reply::Array(_))), "messages were no arrays");
    ensure!(
        one.session.ask("PING")? == Reply::Array(vec![Reply::Bulk(b"pong".to_vec()), Reply::Bulk(vec![])]),
        "PING"
    );
    one.expect_sessions(sessions(0, 1))?;
    one.session.tell("UNSUBSCRIBE")?;
    one.session.replies(2)?;
    one.session.tell("PUNSUBSCRIBE n*")?;
    one.session.replies(1)?;
    one.session.run(&["GET user:1", "GET gone:1"])?;
    one.expect(&prefixes(&[("user", [2, 0]), ("gone", [0, 1])]))?;
    // Another way out of it.
    one.session.tell("SUBSCRIBE news")?;
    one.session.replies(1)?;
    publish(&one, 3)?;
    one.session.replies(3)?;
    ensure!(one.session.ask("RESET")? == Reply::simple("RESET"), "RESET");
    one.session.run(&["GET user:1", "HELLO 3"])?;
    one.expect(&prefixes(&[("user", [3, 0]), ("gone", [0, 1])]))?;
    // In RESP3 messages come between replies.
    one.session.tell("SUBSCRIBE news olds")?;
    one.session.replies(2)?;
    for _ in 0..20 {
        publish(&one, 2)?;
        let told = one.session.replies(4)?;
        ensure!(told.iter().all(|reply| matches!(reply, Reply::Push(_))), "{told:?}");
        one.session.run(&["GET user:1", "GET gone:1", "SET user:2 b"])?;
    }
    one.session.tell("UNSUBSCRIBE")?;
    one.session.replies(2)?;
    one.session.run(&["GET user:1"])?;
    one.expect(&prefixes(&[("user", [24, 0]), ("gone", [0, 21])]))?;
    one.expect_sessions(sessions(0, 1))
}

#[test]
fn subscribers_of_a_library() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::start(&[])?;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let mut clients = Clients::start(Library::Python, protocol, &server.target())?;
        clients.login(1)?;
        clients.puppet()?.run("listen_to(['news'], 3000)")?;
        let views = View::both(&clients.process, &server);
        let view = &views[0];
        agree(&agent, &server, &views, sessions(0, 2))?;
        clients.puppet()?.tell(
            "[sessions[0].publish('news', '*1 $-1 -ERR :0') and sessions[0].get('user:1') for _ in range(3000)][0]",
        )?;
        clients.puppet()?.answer()?;
        let heard = clients.puppet()?.ask("heard()")?;
        ensure!(heard == serde_json::json!([3000]), "{heard}");
        view.expect(&agent, &prefixes(&[("user", [0, 3000])]), View::prefixes)?;
        view.expect(&agent, &3000.0, |view, metrics| view.command(metrics, "publish"))?;
        agree(&agent, &server, &views, sessions(0, 2))?;
        drop(clients);
        agree(&agent, &server, &views, sessions(0, 0))?;
    }
    nothing_lost(&agent)
}

#[test]
fn invalidations_are_no_replies() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    one.session.run(&["HELLO 3", "CLIENT TRACKING ON", "SET user:1 a"])?;
    for number in 1..=50_u32 {
        one.session.run(&["GET user:1", "GET gone:1"])?;
        one.server.asking()?.run(&["SET user:1 b"])?;
        ensure!(matches!(one.session.reply()?, Reply::Push(_)), "no invalidation");
        if number % 10 == 0 {
            let keys = prefixes(&[("user", [number, 0]), ("gone", [0, number])]);
            one.views.iter().try_for_each(|view| view.expect(&one.agent, &keys, View::prefixes))?;
            one.expect_sessions(sessions(0, 1))?;
        }
    }
    nothing_lost(&one.agent)
}

#[test]
fn replies_that_are_asked_not_to_come() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    one.session.run(&["SET user:1 a", "GET user:1"])?;
    for words in ["CLIENT REPLY OFF", "GET user:1", "SET user:2 b", "GET gone:1", "PING"] {
        one.session.tell(words)?;
    }
    ensure!(one.session.ask("CLIENT REPLY ON")? == Reply::simple("OK"), "CLIENT REPLY ON");
    one.session.run(&["GET user:1", "GET gone:1"])?;
    one.expect(&prefixes(&[("user", [2, 0]), ("gone", [0, 1])]))?;
    one.session.tell("CLIENT REPLY SKIP")?;
    one.session.tell("GET gone:1")?;
    one.session.run(&["GET user:2"])?;
    one.expect(&prefixes(&[("user", [3, 0]), ("gone", [0, 1])]))?;
    // All in one call.
    one.session.send(
        &[
            "CLIENT REPLY SKIP",
            "GET gone:1",
            "GET user:1",
            "CLIENT REPLY OFF",
            "GET user:1",
            "CLIENT REPLY ON",
            "GET user:1",
        ]
        .map(|words| command(&words.split(' ').collect::<Vec<_>>()))
        .concat(),
    )?;
    one.session.replies(3)?;
    one.expect(&prefixes(&[("user", [5, 0]), ("gone", [0, 1])]))?;
    one.expect_sessions(sessions(0, 1))
}

#[test]
fn a_monitor_is_left_alone() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    let mut clients = Clients::start(Library::Python, Protocol::Resp2, &one.server.target())?;
    clients.login(1)?;
    one.session.run(&["MONITOR"])?;
    let truth = clients.work(0, Work { commands: 5_000, depth: 5, seed: 1 })?;
    one.session.replies(5_000)?;
    View::client(&clients.process, &one.server.target().label()).expect(&one.agent, &truth, View::tally)?;
    let monitor = &one.views[0];
    monitor.expect(&one.agent, &Prefixes::new(), View::prefixes)?;
    monitor.expect(&one.agent, &0.0, |view, metrics| view.sessions(metrics).active)?;
    one.views[1].expect(&one.agent, &truth, View::tally)?;
    one.views[1].expect(&one.agent, &0.0, |view, metrics| view.sessions(metrics).active)?;
    nothing_lost(&one.agent)
}

#[test]
fn a_replica_is_left_alone() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start_with(Transport::Tcp, &["--repl-diskless-sync-delay", "0"])?;
    let agent = Agent::start(&[])?;
    let port = server.port().to_string();
    let mut clients = Clients::start(Library::Python, Protocol::Resp2, &server.target())?;
    clients.login(1)?;
    // What is copied at first, and what then comes as it is written.
    let mut truth = clients.work(0, Work { commands: 20_000, depth: 10, seed: 1 })?;
    let replica = Server::start_with(Transport::Tcp, &["--replicaof", "127.0.0.1", &port])?;
    let linked = |field: &str, value: &str| -> anyhow::Result<()> {
        for _ in 0..200 {
            if replica.info("replication")?.get(field).is_some_and(|is| is == value) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("{field} of the replica is not {value}")
    };
    linked("master_link_status", "up")?;
    truth.add(&clients.work(0, Work { commands: 50_000, depth: 10, seed: 2 })?);
    let offset = server.info("replication")?["master_repl_offset"].clone();
    linked("master_repl_offset", &offset).or_else(|_| {
        // It pings its replicas now and then.
        linked("master_repl_offset", &server.info("replication")?["master_repl_offset"].clone())
    })?;
    let views = View::both(&clients.process, &server);
    for view in &views {
        view.expect(&agent, &truth, View::tally)?;
        view.expect(&agent, &0.0, |view, metrics| view.sessions(metrics).active)?;
    }
    // Nothing comes of the link on the replica's side, which is that of a client.
    let link = View::client(&replica.process, &server.target().label());
    link.expect(&agent, &Prefixes::new(), View::prefixes)?;
    link.expect(&agent, &0.0, |view, metrics| view.sessions(metrics).active)?;
    link.expect(&agent, &0.0, |view, metrics| view.command(metrics, "set"))?;
    // The replica's own clients are as any other's.
    let mut reader = Session::connect(&replica.target())?;
    reader.run(&["GET user:1", "GET gone:1"])?;
    ensure!(reader.ask("SET user:1 a")?.is_error("READONLY"), "a replica that is written to");
    let reads = View::server(&replica.process, &replica.target().label());
    reads.expect(&agent, &prefixes(&[("user", [1, 0]), ("gone", [0, 1])]), View::prefixes)?;
    reads.expect(&agent, &replica.errors()?, View::errors)?;
    nothing_lost(&agent)
}

#[test]
fn scripts_are_one_command() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    let session = &mut one.session;
    session.run(&["SET user:1 a"])?;
    let scripts: [&[&str]; 3] = [
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", "gone:1"],
        &["EVAL", "return {1, {2, {'$-1', false}}, redis.call('GET', 'user:1')}", "0"],
        &["EVAL", "return redis.error_reply('MINE it is')", "0"],
    ];
    for words in scripts {
        session.send(&command(words))?;
        session.reply()?;
    }
    session.run(&["GET user:1", "GET gone:2"])?;
    for view in &one.views {
        view.expect(&one.agent, &prefixes(&[("user", [1, 0]), ("gone", [0, 1])]), View::prefixes)?;
        view.expect(&one.agent, &3.0, |view, metrics| view.command(metrics, "eval"))?;
        view.expect(&one.agent, &2.0, |view, metrics| view.command(metrics, "get"))?;
        view.expect(&one.agent, &1.0, |view, metrics| view.errors(metrics).values().sum::<f64>())?;
    }
    nothing_lost(&one.agent)
}

#[test]
fn inline_commands() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    let mut say = |line: &str| -> anyhow::Result<Reply> {
        one.session.send(line.as_bytes())?;
        one.session.reply()
    };
    ensure!(say("PING\r\n")? == Reply::simple("PONG"), "PING");
    ensure!(say("set user:1 some\r\n")? == Reply::simple("OK"), "SET");
    say("GET user:1\r\n")?;
    say("GET gone:1\n")?;
    say("  get   user:1  \r\n")?;
    say("MGET user:1 user:2 gone:1\r\n")?;
    // In pieces, and several at once.
    one.session.send(b"GE")?;
    thread::sleep(Duration::from_millis(20));
    one.session.send(b"T user:1\r\nGET gone:1\r\n\r\nGET user:1\r\n")?;
    one.session.replies(3)?;
    // Both ways in turn.
    one.session.run(&["GET user:1", "GET gone:1"])?;
    one.expect(&prefixes(&[("user", [6, 1]), ("gone", [0, 4])]))?;
    one.expect_sessions(sessions(0, 1))
}

#[test]
fn a_password_and_another_database() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::start(&[])?;
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
    let agent = Agent::start(&[])?;
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
