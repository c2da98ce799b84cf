//! What is no command and its reply is not taken for one.

// needs: redis
// takes: 14 s

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::redis::clients::{Clients, Library, Protocol};
use observer_tests::redis::one::{One, agree, prefixes, sessions};
use observer_tests::redis::server::{Server, Transport};
use observer_tests::redis::shown::{View, nothing_lost};
use observer_tests::redis::wire::{Reply, Session, command};
use observer_tests::redis::work::{Prefixes, Work};
use observer_tests::websocket::alone;

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
    let agent = Agent::shared()?;
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
    let agent = Agent::shared()?;
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
