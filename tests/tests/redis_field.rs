//! What goes wrong with Redis in the field: a server that is full, users who may not, keys as frameworks write them,
//! pipelines of unlike commands.

// needs: redis
// takes: 12 s

use std::io::Read as _;
use std::net::TcpStream;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::puppet::Puppet;
use observer_tests::redis::one::{One, prefixes, sessions};
use observer_tests::redis::server::{Server, Transport};
use observer_tests::redis::shown::{View, nothing_lost};
use observer_tests::redis::wire::{Reply, Session, command};
use observer_tests::websocket::{alone, own_name, unique_name};

#[test]
fn a_server_that_is_full_refuses() -> anyhow::Result<()> {
    let _alone = alone();
    let one = One::start(&[])?;
    let mut session = one.session;
    session.run(&["CONFIG SET maxclients 1"])?;
    for _ in 0..5 {
        let mut said = String::new();
        TcpStream::connect(("127.0.0.1", one.server.port()))?.read_to_string(&mut said)?;
        ensure!(said == "-ERR max number of clients reached\r\n", "it said {said:?}");
    }
    // One that asks before it hears.
    let mut asking = Session::connect(&one.server.target())?;
    let _ = asking.tell("GET user:1");
    ensure!(asking.reply()?.is_error("ERR"), "it was let in");
    session.run(&["CONFIG SET maxclients 500"])?;
    ensure!(one.server.info("stats")?["rejected_connections"] == "6", "another number was refused");
    for view in &one.views {
        let refused = |view: &View, metrics: &_| view.errors(metrics).get("ERR").copied().unwrap_or_default();
        view.expect(&one.agent, &6.0, refused)?;
        view.expect(&one.agent, &sessions(0, 1), View::sessions)?;
    }
    drop(asking);
    nothing_lost(&one.agent)
}

#[test]
fn a_server_in_protected_mode_refuses() -> anyhow::Result<()> {
    // From another address than the host's own, which takes a namespace: raw bytes stand in for it.
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut ends = observer_tests::redis::wire::Ends::connect()?;
    ends.answer(b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n")?;
    for view in observer_tests::redis::by_hand::views(&ends)? {
        let refused = |view: &View, metrics: &_| view.errors(metrics).into_iter().collect::<Vec<_>>();
        view.expect(&agent, &vec![("DENIED".to_owned(), 1.0)], refused)?;
    }
    nothing_lost(&agent)
}

#[test]
fn what_a_user_may_not_do_changes_nothing() -> anyhow::Result<()> {
    let _alone = alone();
    for hello in ["HELLO 2 AUTH limited secret", "HELLO 3 AUTH limited secret"] {
        let one = One::start(&[])?;
        let user = "ACL SETUSER limited on >secret ~* &* +@all -monitor -sync -psync -subscribe -psubscribe -ssubscribe";
        one.server.asking()?.run(&[user])?;
        let mut session = one.session;
        session.run(&[hello, "SET user:1 a"])?;
        let refused = ["MONITOR", "SUBSCRIBE a b", "PSUBSCRIBE a*", "SSUBSCRIBE a", "SYNC", "PSYNC ? -1"];
        for words in refused {
            ensure!(session.ask(words)?.is_error("NOPERM"), "{words} was let in");
            // Behind it in one call, too.
            let replies = session.pipeline(&[words, "GET user:1", "GET gone:1"])?;
            ensure!(replies[0].is_error("NOPERM") && replies[2] == Reply::Nil, "{replies:?}");
        }
        // In a transaction, which is given up then.
        session.run(&["MULTI"])?;
        ensure!(session.ask("MONITOR")?.is_error("NOPERM"), "MONITOR in MULTI");
        ensure!(session.ask("EXEC")?.is_error("EXECABORT"), "EXEC");
        session.run(&["GET user:1"])?;
        let times = refused.len() as u32;
        let keys = prefixes(&[("user", [times + 1, 0]), ("gone", [0, times])]);
        for view in &one.views {
            view.expect(&one.agent, &keys, View::prefixes)?;
            view.expect(&one.agent, &one.server.errors()?, View::errors)?;
            view.expect(&one.agent, &sessions(0, 1), View::sessions)?;
        }
        nothing_lost(&one.agent)?;
    }
    Ok(())
}

#[test]
fn one_that_waits_for_replicas_or_a_stream_is_blocked() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    one.session.run(&["XGROUP CREATE stream mine $ MKSTREAM"])?;
    for words in ["WAIT 3 1500", "XREADGROUP GROUP mine me COUNT 1 BLOCK 1500 STREAMS stream >"] {
        one.session.tell(words)?;
        one.server.reach(sessions(1, 0))?;
        one.expect_sessions(sessions(1, 0))?;
        one.session.reply()?;
        one.expect_sessions(sessions(0, 1))?;
    }
    nothing_lost(&one.agent)
}

#[test]
fn keys_of_django() -> anyhow::Result<()> {
    let _alone = alone();
    let server = Server::start()?;
    let agent = Agent::shared()?;
    let other = Agent::start(&["--redis-prefix-skip", "shop,app", "--redis-prefix-segments", "2"])?;
    let process = unique_name("django");
    let mut puppet = Puppet::start(&process)?;
    puppet.run("from django_cache import *")?;
    puppet.run(&format!("use({})", server.port()))?;
    for (name, prefix) in [("default", "user"), ("default", "page:front"), ("app", "cart")] {
        puppet.run(&format!("fill('{name}', '{prefix}', 20)"))?;
    }
    server.reset()?;
    for (name, prefix) in [("default", "user"), ("default", "page:front"), ("app", "cart")] {
        let found = puppet.ask(&format!("look('{name}', '{prefix}', 10, 30)"))?;
        ensure!(found == serde_json::json!([10, 10]), "{found}");
    }
    ensure!(server.keyspace()? == [60.0, 60.0], "{:?}", server.keyspace()?);
    for view in View::both(&process, &server) {
        let keys = prefixes(&[("user", [20, 20]), ("page", [20, 20]), ("app", [20, 20])]);
        view.expect(&agent, &keys, View::prefixes)?;
        let keys = prefixes(&[("user", [20, 20]), ("page:front", [20, 20]), ("cart", [20, 20])]);
        view.expect(&other, &keys, View::prefixes)?;
    }
    nothing_lost(&agent)
}

#[test]
fn hash_tags_of_a_cluster() -> anyhow::Result<()> {
    let _alone = alone();
    let mut one = One::start(&[])?;
    one.session.run(&["SET {42}:cart a", "SET {42}:stock:7 b", "SET {user:1000}:cart:1 c"])?;
    let asked = ["GET {42}:cart", "MGET {42}:cart {42}:stock:7 {42}:gone", "GET {user:1000}:cart:1"];
    one.session.pipeline(&asked)?;
    one.session.run(&["GET {43}:cart", "GET {42}"])?;
    ensure!(one.server.keyspace()? == [4.0, 3.0], "{:?}", one.server.keyspace()?);
    one.expect(&prefixes(&[("cart", [3, 1]), ("stock", [1, 0]), ("gone", [0, 1]), ("none", [0, 1])]))
}

/// Pipelines of unlike commands, of which the server says how many it has executed, found and not found.
#[test]
fn pipelines_of_unlike_commands_are_exact() -> anyhow::Result<()> {
    const PAIRS: u32 = 500;
    let _alone = alone();
    for (hello, transport) in [("HELLO 2", Transport::Tcp), ("HELLO 3", Transport::Unix)] {
        let server = Server::start_with(transport, &[])?;
        let agent = Agent::shared()?;
        let mut session = Session::connect(&server.target())?;
        session.run(&[hello, "SET user:1 a", "HSET hash:1 f v"])?;
        let mut rounds = 0;
        for _ in 0..4 {
            // In one call; and in many, as a client does that writes each command on its own.
            for at_once in [true, false] {
                rounds += 1;
                let mut bytes = Vec::new();
                for number in 0..PAIRS {
                    bytes.extend(command(&["GET", if number % 4 == 0 { "gone:1" } else { "user:1" }]));
                    bytes.extend(command(&["HGETALL", "hash:1"]));
                    if !at_once {
                        session.send(&core::mem::take(&mut bytes))?;
                    }
                }
                session.send(&bytes)?;
                session.replies(2 * PAIRS as usize)?;
            }
        }
        let gets = rounds * PAIRS;
        // It counts what HGETALL finds as well.
        let [hits, misses] = server.keyspace()?;
        ensure!(
            [hits - f64::from(gets), misses] == [f64::from(gets / 4 * 3), f64::from(gets / 4)],
            "{hits} {misses}"
        );
        for view in View::both(&own_name()?, &server) {
            let keys = prefixes(&[("user", [gets / 4 * 3, 0]), ("gone", [0, gets / 4])]);
            view.expect(&agent, &keys, View::prefixes)?;
            view.expect(&agent, &server.commands()?, View::commands)?;
            let timed = |view: &View, metrics: &_| view.latency(metrics, "get")[0];
            view.expect(&agent, &f64::from(gets), timed)?;
            let unmatched = view.sum(&agent.scrape()?, "observer_redis_unmatched_replies_total", &[]);
            ensure!(unmatched == 0.0, "{unmatched} replies were not matched");
        }
        nothing_lost(&agent)?;
    }
    Ok(())
}
