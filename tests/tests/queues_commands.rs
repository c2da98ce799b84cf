//! Every command that moves messages, what the agent does not see, and lists that are no queues.

// needs: redis
// takes: 17 s
// at once: 6 tests

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure};
use observer_tests::agent::Agent;
use observer_tests::queues::truth::{Span, Truth, age, interpolated, timed};
use observer_tests::queues::{Lists, Queue, settle};
use observer_tests::redis::server::Server;
use observer_tests::redis::shown::shared;
use observer_tests::redis::wire::{Reply, Session};
use observer_tests::websocket::own_name;

/// So long that what was seen last is settled.
const SETTLED: Duration = Duration::from_millis(200);

/// When a message was put in, if that can be known.
#[derive(Clone, Copy)]
enum Put {
    /// Behind the others: its place among all that were since the list was empty.
    Behind(usize),
    /// Where messages are taken.
    Before(Span),
    Unknown,
}

/// A session that knows when each message of a list was put in, the next to go first, and what was taken.
struct Known {
    session: Session,
    list: VecDeque<Put>,
    behind: Vec<Span>,
    truth: Truth,
}

impl Known {
    fn new(server: &Server) -> anyhow::Result<Self> {
        let session = Session::connect(&server.target())?;
        Ok(Self { session, list: VecDeque::new(), behind: Vec::new(), truth: Truth::default() })
    }

    /// Has the server do something in one call, and tells its last reply.
    fn run(&mut self, commands: &[&str]) -> anyhow::Result<(Span, Reply)> {
        let (span, replies) = timed(|| self.session.pipeline(commands))?;
        for (words, reply) in commands.iter().zip(&replies) {
            ensure!(!matches!(reply, Reply::Error(_)), "{words}: {reply:?}");
        }
        Ok((span, replies.into_iter().next_back().unwrap_or(Reply::Nil)))
    }

    /// Commands that put in so many messages in all, behind all others.
    fn put(&mut self, count: usize, commands: &[&str]) -> anyhow::Result<()> {
        let (span, _) = self.run(commands)?;
        if self.list.is_empty() {
            self.behind.clear();
        }
        for _ in 0..count {
            self.list.push_back(Put::Behind(self.behind.len()));
            self.behind.push(span);
        }
        self.truth.put += count;
        Ok(())
    }

    /// Commands that put in so many where they are taken, the last of which is the next to go.
    fn put_back(&mut self, count: usize, commands: &[&str]) -> anyhow::Result<()> {
        let (span, _) = self.run(commands)?;
        (0..count).for_each(|_| self.list.push_front(Put::Before(span)));
        self.truth.put += count;
        Ok(())
    }

    /// Commands that take out so many.
    fn take(&mut self, count: usize, commands: &[&str]) -> anyhow::Result<()> {
        let (span, reply) = self.run(commands)?;
        ensure!(reply != Reply::Nil, "{commands:?} took nothing");
        for put in self.list.drain(..count) {
            match put {
                Put::Behind(place) => self.truth.ages.push(age(interpolated(&self.behind, place), span)),
                Put::Before(put) => self.truth.ages.push(age(put, span)),
                Put::Unknown => self.truth.unknown += 1,
            }
        }
        Ok(())
    }

    /// Nobody can know any more when what is in it was put in.
    fn forget(&mut self) {
        self.list.iter_mut().for_each(|put| *put = Put::Unknown);
    }

    /// Takes all, one after the other.
    fn take_all(&mut self, command: &str) -> anyhow::Result<()> {
        (0..self.list.len()).try_for_each(|_| self.take(1, &[command]))
    }

    /// The agent says all of it.
    fn check(&self, queue: &Queue, agent: &Agent, lists: &mut Lists) -> anyhow::Result<()> {
        queue.expect(agent, &self.truth)?;
        let length = queue.expect_length(agent, lists)?;
        ensure!(length == self.list.len() as f64, "the server has {length} of {}", self.list.len());
        Ok(())
    }
}

/// `LPUSH q 0 1 2 ...`
fn push(command: &str, queue: &str, count: usize) -> String {
    let values: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    format!("{command} {queue} {}", values.join(" "))
}

#[test]
fn every_command_that_puts_in_or_takes_out() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let own = own_name()?;
    let queue = Queue::new("every", &server, &[&own]);
    let mut lists = Lists::of(&server, 0)?;
    let mut known = Known::new(&server)?;
    for hello in ["HELLO 2", "HELLO 3"] {
        known.run(&[hello])?;
        // Several in one command, and in a transaction; and what is not taken.
        known.put(5, &["LPUSH every 1 2 3 4 5"])?;
        known.put(1, &["lpush every x"])?;
        known.put(300, &[&push("LPUSH", "every", 300)])?;
        known.put(4, &["MULTI", "SADD names every", "LPUSH every 1", "LPUSH every 2 3 4", "EXEC"])?;
        known.run(&["SET text x"])?;
        ensure!(known.session.ask("LPUSH text 1")?.is_error("WRONGTYPE"), "no error");
        ensure!(known.session.ask("RPOP text")?.is_error("WRONGTYPE"), "no error");
        thread::sleep(Duration::from_millis(150));
        known.take(1, &["RPOP every"])?;
        known.take(3, &["RPOP every 3"])?;
        known.take(1, &["BRPOP none every 1"])?;
        known.check(&queue, &agent, &mut lists)?;
        known.take(2, &["LMPOP 2 none every RIGHT COUNT 2"])?;
        known.take(1, &["LMPOP 1 every RIGHT"])?;
        known.take(4, &["BLMPOP 1 2 every none RIGHT COUNT 4"])?;
        known.take(5, &["RPOP every", "RPOP every 2", "LLEN every", "RPOP every", "BRPOP every 1"])?;
        known.take(2, &["MULTI", "RPOP every", "RPOP every", "EXEC"])?;
        known.check(&queue, &agent, &mut lists)?;
        // What comes back goes first.
        known.put_back(3, &["RPUSH every a b c"])?;
        known.put_back(1, &["RPUSH every d"])?;
        thread::sleep(Duration::from_millis(120));
        known.take(2, &["RPOP every 2"])?;
        known.check(&queue, &agent, &mut lists)?;
        // To a list of what is being worked at, as reliable queues do.
        for command in ["RPOPLPUSH every doing", "BRPOPLPUSH every doing 1", "LMOVE every doing RIGHT LEFT"] {
            known.take(1, &[command])?;
        }
        known.take(1, &["BLMOVE every doing RIGHT LEFT 1"])?;
        let Reply::Array(doing) = known.session.ask("LRANGE doing 0 -1")? else { bail!("no list") };
        for one in doing {
            known.run(&[&format!("LREM doing 1 {}", one.text()?)])?;
        }
        known.check(&queue, &agent, &mut lists)?;
        // Nothing there, in many words.
        known.take_all("RPOP every")?;
        for nothing in ["RPOP every", "RPOP every 3", "RPOPLPUSH every doing", "LMOVE every doing RIGHT LEFT"]
        {
            ensure!(known.session.ask(nothing)? == known.session.ask("GET absent")?, "{nothing}");
        }
        ensure!(known.session.ask("BRPOP every 0.01")? != Reply::simple("OK"), "something is there");
        known.check(&queue, &agent, &mut lists)?;
    }
    // Of the others nothing was taken, but by moving and removing.
    let metrics = agent.scrape()?;
    for name in ["doing", "text", "none"] {
        Queue::new(name, &server, &[&own]).expect_nothing(&metrics)?;
    }
    losses.no_more(&agent)
}

/// Of a transaction that another client's command has come before, and of one that is given up, nothing is done.
#[test]
fn transactions_that_are_not_done() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let own = own_name()?;
    let queue = Queue::new("undone", &server, &[&own]);
    let mut lists = Lists::of(&server, 0)?;
    let mut known = Known::new(&server)?;
    known.put(20, &[&push("LPUSH", "undone", 20)])?;
    known.take(1, &["RPOP undone"])?;
    known.run(&["MULTI", "LPUSH undone 1 2 3", "RPOP undone", "DISCARD"])?;
    known.check(&queue, &agent, &mut lists)?;
    known.run(&["WATCH mark"])?;
    server.asking()?.run(&["SET mark 1"])?;
    let (_, reply) = known.run(&["MULTI", "RPUSH undone 1", "LPUSH undone 1 2 3", "RPOP undone", "EXEC"])?;
    ensure!(reply == Reply::Nil, "it was done: {reply:?}");
    known.check(&queue, &agent, &mut lists)?;
    known.put(2, &["LPUSH undone 1 2"])?;
    thread::sleep(SETTLED);
    known.take_all("RPOP undone")?;
    known.check(&queue, &agent, &mut lists)?;
    losses.no_more(&agent)
}

#[test]
fn the_other_way_round_and_as_a_stack() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let own = own_name()?;
    let queue = Queue::new("round", &server, &[&own]);
    let mut lists = Lists::of(&server, 0)?;
    let mut known = Known::new(&server)?;
    known.put(20, &[&push("RPUSH", "round", 20)])?;
    thread::sleep(Duration::from_millis(150));
    known.put(200, &["RPUSH round x"; 200])?;
    known.take(7, &["LPOP round 7"])?;
    known.take(6, &["LPOP round", "LPOP round", "LPOP round 4"])?;
    known.take(1, &["BLPOP round 1"])?;
    known.take(2, &["LMPOP 1 round LEFT COUNT 2"])?;
    known.check(&queue, &agent, &mut lists)?;
    thread::sleep(Duration::from_millis(400));
    known.take(50, &["LPOP round"; 50])?;
    known.take_all("LPOP round")?;
    known.check(&queue, &agent, &mut lists)?;
    // Where they are put in, as for what is due at once.
    let stack = Queue::new("stack", &server, &[&own]);
    let mut known = Known::new(&server)?;
    known.put(10, &[&push("LPUSH", "stack", 10)])?;
    thread::sleep(Duration::from_millis(150));
    known.put(10, &["LPUSH stack x"; 10])?;
    known.list.make_contiguous().reverse();
    known.take(12, &["LPOP stack"; 12])?;
    known.check(&stack, &agent, &mut lists)?;
    known.take_all("LPOP stack")?;
    known.check(&stack, &agent, &mut lists)?;
    losses.no_more(&agent)
}

/// Connections that were there before the agent, in a database that it did not see them choose.
#[test]
fn in_the_middle() -> anyhow::Result<()> {
    let server = Server::start()?;
    let own = own_name()?;
    let queue = Queue::new("middle", &server, &[&own]);
    let mut lists = Lists::of(&server, 3)?;
    let mut known = Known::new(&server)?;
    let mut worker = Session::connect(&server.target())?;
    worker.run(&["SELECT 3", "PING"])?;
    known.run(&["SELECT 3"])?;
    known.put(50, &["LPUSH middle x"; 50])?;
    known.take(5, &["RPOP middle"; 5])?;
    known.forget();
    known.truth = Truth::default();
    let agent = Agent::start(&[])?;

    known.put(10, &["LPUSH middle x"; 10])?;
    std::mem::swap(&mut known.session, &mut worker);
    known.take(1, &["BRPOP middle 1"])?;
    known.check(&queue, &agent, &mut lists)?;
    let shown = queue.shown(&queue.server, &agent.scrape()?);
    ensure!(shown.oldest.is_some_and(|oldest| oldest > 0.2), "it has been there for longer: {shown:?}");
    // One that begins now and chooses it as well.
    let mut third = Known::new(&server)?;
    third.run(&["SELECT 3"])?;
    std::mem::swap(&mut known.session, &mut third.session);
    known.put(7, &["LPUSH middle 1 2 3", "LPUSH middle 1 2 3 4"])?;
    thread::sleep(Duration::from_millis(150));
    known.take(49, &["RPOP middle 49"])?;
    std::mem::swap(&mut known.session, &mut worker);
    known.take(3, &["RPOP middle"; 3])?;
    known.check(&queue, &agent, &mut lists)?;
    known.put(3, &["LPUSH middle x"; 3])?;
    known.take_all("RPOP middle")?;
    known.check(&queue, &agent, &mut lists)?;
    ensure!(known.truth.unknown == 45 && known.truth.ages.len() == 20, "{:?}", known.truth);
    Ok(())
}

/// What scripts do, and what has no reply that tells how many messages are left: with the next push it is noticed, and of
/// what is there then no age is known.
#[test]
fn what_happens_unseen() -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let own = own_name()?;
    let mut lists = Lists::of(&server, 0)?;
    let script = ["EVAL", "for i = 1, 40 do redis.call('RPOP', KEYS[1]) end", "1", "unseen"];
    let more = ["EVAL", "for i = 1, 40 do redis.call('LPUSH', KEYS[1], 'x') end", "1", "unseen"];
    let cases: [(&str, &[&str], usize); 5] = [
        ("script", &script, 60),
        ("more", &more, 140),
        ("trim", &["LTRIM", "unseen", "0", "29"], 30),
        ("delete", &["DEL", "unseen"], 0),
        ("rename", &["RENAME", "unseen", "elsewhere"], 0),
    ];
    for (name, words, left) in cases {
        let queue = Queue::new(&format!("unseen-{name}"), &server, &[&own]);
        let mut known = Known::new(&server)?;
        let [put, take] = ["LPUSH", "RPOP"].map(|command| format!("{command} {}", queue.name));
        let put = format!("{put} x");
        known.put(1, &[&put])?;
        known.take(1, &[&take])?;
        known.put(100, &[put.as_str(); 100])?;
        known.check(&queue, &agent, &mut lists)?;

        let words: Vec<&str> =
            words.iter().map(|word| if *word == "unseen" { queue.name.as_str() } else { word }).collect();
        known.session.send(&observer_tests::redis::wire::command(&words))?;
        let reply = known.session.reply()?;
        ensure!(!matches!(reply, Reply::Error(_)), "{name}: {reply:?}");
        known.list = vec![Put::Unknown; left].into();
        known.put(1, &[&put])?;
        thread::sleep(SETTLED);
        known.forget();
        known.check(&queue, &agent, &mut lists)?;
        // What comes from here on is known again.
        known.put(20, &[put.as_str(); 20])?;
        thread::sleep(Duration::from_millis(150));
        known.take_all(&take)?;
        known.put(20, &[put.as_str(); 20])?;
        known.take_all(&take)?;
        known.check(&queue, &agent, &mut lists)?;
        ensure!(known.truth.ages.len() == 41, "{:?}", known.truth);
    }
    losses.no_more(&agent)
}

#[test]
fn a_server_that_starts_again_with_nothing() -> anyhow::Result<()> {
    let mut server = Server::start()?;
    let (agent, losses) = shared()?;
    let own = own_name()?;
    let queue = Queue::new("again", &server, &[&own]);
    let mut lists = Lists::of(&server, 0)?;
    let mut known = Known::new(&server)?;
    known.put(2, &["LPUSH again 1 2"])?;
    known.take(1, &["RPOP again"])?;
    known.put(5_000, &vec!["LPUSH again x"; 5_000])?;
    known.check(&queue, &agent, &mut lists)?;
    let truth = known.truth;
    drop((known.session, lists));
    server.restart()?;
    let mut lists = Lists::of(&server, 0)?;
    let mut known = Known { truth, ..Known::new(&server)? };
    known.put(3, &["LPUSH again x"; 3])?;
    thread::sleep(SETTLED);
    // To the server these are the first; to its clients, it has lost some.
    let at_server = known.behind.clone();
    known.forget();
    known.put(30, &["LPUSH again x"; 30])?;
    thread::sleep(Duration::from_millis(150));
    let (spans, ()) = timed(|| known.take_all("RPOP again"))?;
    queue.expect_at(&queue.clients, &agent, &known.truth)?;
    let mut server_truth = known.truth.clone();
    server_truth.unknown -= at_server.len();
    server_truth.ages.extend(at_server.into_iter().map(|put| age(put, spans)));
    queue.expect_at(&queue.server, &agent, &server_truth)?;
    // What the process had that has ended is over once the agent has noticed that.
    let is_empty = |end, metrics: &_| queue.shown(end, metrics).length == Some(0.0);
    settle(&agent, |metrics| {
        let empty = queue.ends().into_iter().all(|end| is_empty(end, metrics));
        ensure!(empty, "{:?}", queue.ends().map(|end| queue.shown(end, metrics)));
        Ok(())
    })?;
    ensure!(queue.expect_length(&agent, &mut lists)? == 0.0, "some are left");
    losses.no_more(&agent)
}

/// There may be any number of lists that are pushed into, of which some have places that other tests' lists need.
// needs: redis
// takes: 26 s
mod lists_that_are_no_queues {
    use super::{Agent, Duration, Known, Lists, Queue, Server, Session, ensure, own_name, thread};

    #[test]
    fn feeds_are_not_shown_and_take_no_place_from_queues() -> anyhow::Result<()> {
        let server = Server::start()?;
        let agent = Agent::start(&[])?;
        let own = own_name()?;
        let queue = Queue::new("orders", &server, &[&own]);
        let mut lists = Lists::of(&server, 0)?;
        let mut known = Known::new(&server)?;
        known.put(2, &["LPUSH orders 1 2"])?;
        known.take(1, &["RPOP orders"])?;
        let mut feeds = Session::connect(&server.target())?;
        for number in 0..1_000 {
            let [push, trim] = [format!("LPUSH feed:{number} x"), format!("LTRIM feed:{number} 0 9")];
            feeds.pipeline(&[&push, &trim, &push, &trim])?;
            if number % 50 == 0 {
                known.put(2, &["LPUSH orders 1", "LPUSH orders 2"])?;
                thread::sleep(Duration::from_millis(120));
                known.take(1, &["RPOP orders"])?;
                known.check(&queue, &agent, &mut lists)?;
            }
        }
        known.check(&queue, &agent, &mut lists)?;
        // No rows but those of the queue.
        let metrics = agent.scrape()?;
        let port = format!(":{}\"", server.port());
        let others =
            |line: &&str| line.contains(&port) && line.contains("queue=\"") && !line.contains("\"orders\"");
        let others: Vec<&str> = metrics.text().lines().filter(others).collect();
        ensure!(others.is_empty(), "{}", others.join("\n"));
        // A queue that nobody has heard of finds a place all the same, once something is taken out.
        let late = Queue::new("late", &server, &[&own]);
        let mut known = Known::new(&server)?;
        known.put(1, &["LPUSH late 1"])?;
        known.take(1, &["RPOP late"])?;
        thread::sleep(Duration::from_millis(1_500));
        let before = late.shown(&late.server, &agent.scrape()?);
        ensure!(before.taken == 1.0, "{before:?}");
        known.put(10, &["LPUSH late x"; 10])?;
        late.expect_length(&agent, &mut lists)?;
        known.take_all("RPOP late")?;
        late.expect_length(&agent, &mut lists)?;
        let after = late.shown(&late.server, &agent.scrape()?);
        ensure!([after.taken, after.unknown] == [11.0, before.unknown], "{before:?} {after:?}");
        Ok(())
    }

    #[test]
    fn lists_that_somebody_names_are_shown() -> anyhow::Result<()> {
        let server = Server::start()?;
        let agent = Agent::start(&["--queues", "feed:*,quiet"])?;
        let own = own_name()?;
        let mut lists = Lists::of(&server, 0)?;
        let mut known = Known::new(&server)?;
        for name in ["feed:1", "feed:2", "quiet", "quieter", "a-feed:3"] {
            let queue = Queue::new(name, &server, &[&own]);
            known.truth.put = 0;
            known.list.clear();
            known.put(3, &[&format!("LPUSH {name} 1 2 3")[..]])?;
            if name.starts_with("feed:") || name == "quiet" {
                known.check(&queue, &agent, &mut lists)?;
                let oldest = queue.shown(&queue.server, &agent.scrape()?).oldest;
                ensure!(oldest.is_some_and(|oldest| oldest > 0.2), "{name}: {oldest:?}");
            } else {
                thread::sleep(Duration::from_millis(300));
                queue.expect_nothing(&agent.scrape()?)?;
            }
        }
        Ok(())
    }
}
