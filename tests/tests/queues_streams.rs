//! Streams of Redis as queues: how old entries are when they are delivered and acknowledged, by the ids that the server has
//! given them, and how far groups are behind, as the server says.

// needs: redis
// takes: 15 s
// at once: 6 tests

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use observer_tests::agent::Agent;
use observer_tests::queues::truth::{Age, Truth, added, age, wall_clock};
use observer_tests::queues::{Queue, settle};
use observer_tests::redis::server::Server;
use observer_tests::redis::shown::shared;
use observer_tests::redis::wire::{Reply, Session};
use observer_tests::websocket::own_name;

/// A session, and the ages that are to be told of what it has been delivered and has acknowledged.
struct Reader {
    session: Session,
    delivered: Vec<Age>,
    acknowledged: Vec<Age>,
}

/// The entries of a reply, by stream.
fn ids(reply: &Reply) -> anyhow::Result<Vec<String>> {
    let Reply::Array(streams) = reply else { bail!("no streams: {reply:?}") };
    let mut ids = Vec::new();
    // RESP2 has an array for each stream, and RESP3 keys and entries in turn.
    let streams = streams.iter().flat_map(|part| match part {
        Reply::Array(pair) if matches!(pair.first(), Some(Reply::Bulk(_))) => pair.clone(),
        part => vec![part.clone()],
    });
    for entries in streams {
        let Reply::Array(entries) = entries else { continue };
        for entry in entries {
            let Reply::Array(entry) = entry else { bail!("no entry: {entry:?}") };
            ids.push(entry.first().context("an entry without id")?.text()?);
        }
    }
    Ok(ids)
}

impl Reader {
    fn new(server: &Server, protocol: u32) -> anyhow::Result<Self> {
        let mut session = Session::connect(&server.target())?;
        if protocol == 3 {
            session.ask("HELLO 3")?;
        }
        Ok(Self { session, delivered: Vec::new(), acknowledged: Vec::new() })
    }

    /// Reads entries, which are delivered for the first time or not.
    fn read(&mut self, words: &str, is_new: bool) -> anyhow::Result<Vec<String>> {
        let begun = wall_clock();
        let reply = self.session.ask(words)?;
        let span = [begun, wall_clock()];
        let ids = ids(&reply)?;
        self.deliver(if is_new { &ids } else { &[] }, span)?;
        Ok(ids)
    }

    /// Some were delivered meanwhile.
    fn deliver(&mut self, ids: &[String], span: [u64; 2]) -> anyhow::Result<()> {
        for id in ids {
            let added = added(id)?;
            // By the id it was at the start of that millisecond.
            self.delivered.push(age([added, added], span));
        }
        Ok(())
    }

    /// Claims entries, so many of which are delivered anew.
    fn claim(&mut self, words: &str, count: usize) -> anyhow::Result<()> {
        let begun = wall_clock();
        let reply = self.session.ask(words)?;
        let span = [begun, wall_clock()];
        let Reply::Array(parts) = reply else { bail!("nothing is claimed: {reply:?}") };
        let ids = ids(&Reply::Array(parts[1..2].to_vec()))?;
        ensure!(ids.len() == count, "{} of {count}", ids.len());
        self.deliver(&ids, span)
    }

    /// Acknowledges some, of which so many are pending.
    fn acknowledge(&mut self, ids: &[String], pending: i64) -> anyhow::Result<()> {
        let begun = wall_clock();
        let reply = self.session.ask(&format!("XACK orders billing {}", ids.join(" ")))?;
        let span = [begun, wall_clock()];
        ensure!(reply == Reply::Number(pending), "{pending} of {} were pending: {reply:?}", ids.len());
        for id in &ids[..usize::try_from(pending)?] {
            let added = added(id)?;
            self.acknowledged.push(age([added, added], span));
        }
        Ok(())
    }
}

/// Both ends show what a group was delivered and has acknowledged.
fn check(agent: &Agent, group: &Queue, readers: &[&Reader]) -> anyhow::Result<()> {
    let all = |of: fn(&Reader) -> &Vec<Age>| Truth {
        ages: readers.iter().flat_map(|reader| of(reader).clone()).collect(),
        ..Truth::default()
    };
    let (delivered, acknowledged) = (all(|reader| &reader.delivered), all(|reader| &reader.acknowledged));
    group.expect(agent, &delivered)?;
    group.expect_acknowledged(agent, &acknowledged)
}

fn exchange(protocol: u32) -> anyhow::Result<()> {
    let server = Server::start()?;
    let (agent, losses) = shared()?;
    let me = own_name()?;
    let stream = Queue::stream("orders", "", &server, &[&me]);
    let group = Queue::stream("orders", "billing", &server, &[&me]);
    let mut writer = Session::connect(&server.target())?;
    writer.run(&["XGROUP CREATE orders billing $ MKSTREAM", "XGROUP CREATE orders audit $"])?;
    let [mut one, mut other] = [Reader::new(&server, protocol)?, Reader::new(&server, protocol)?];
    writer.run(&["XADD orders * order 1 text some-words"; 60])?;
    thread::sleep(Duration::from_millis(300));
    let read = |consumer: &str, rest: &str| format!("XREADGROUP GROUP billing {consumer} {rest}");
    let first = one.read(&read("one", "COUNT 20 STREAMS orders >"), true)?;
    ensure!(first.len() == 20, "{} of 20", first.len());
    one.acknowledge(&first[..1], 1)?;
    thread::sleep(Duration::from_millis(900));
    let rest = other.read(&read("other", "COUNT 100 BLOCK 1000 STREAMS orders >"), true)?;
    ensure!(rest.len() == 40, "{} of 40", rest.len());
    // Some of which have been acknowledged before, and none at all.
    one.acknowledge(&first[1..15], 14)?;
    one.acknowledge(&first[..15], 0)?;
    other.acknowledge(&rest, 40)?;
    // What is pending is read anew, which is nothing new; and it is delivered to another consumer.
    let pending = one.read(&read("one", "STREAMS orders 0"), false)?;
    ensure!(pending.len() == 5, "{} of 5", pending.len());
    other.claim("XAUTOCLAIM orders billing other 0 0", 5)?;
    // A reader that waits gets an entry as soon as it is there.
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| other.read(&read("other", "BLOCK 5000 COUNT 1 STREAMS orders >"), true));
        thread::sleep(Duration::from_millis(200));
        let added = writer.run(&["XADD orders * order 2"]);
        let waiting = waiting.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        added.and(waiting)
    })?;
    other.acknowledge(&waiting, 1)?;
    // Without a group, all of them, and by a transaction; and none.
    let mut all = Reader::new(&server, protocol)?;
    let everything = all.read("XREAD COUNT 1000 STREAMS orders 0", true)?;
    ensure!(everything.len() == 61, "{} of 61", everything.len());
    ensure!(all.session.ask("XREAD BLOCK 1 STREAMS orders $")? == Reply::Nil, "nothing is new");
    writer.run(&["XADD made-up 5-1 a b", "XADD orders NOMKSTREAM * a b", "XADD nowhere NOMKSTREAM * a b"])?;
    let made_up = Queue::stream("made-up", "", &server, &[&me]);
    writer.ask("XREAD STREAMS made-up 0")?;

    check(&agent, &group, &[&one, &other])?;
    stream.expect(&agent, &Truth { put: 62, ages: all.delivered, unknown: 0 })?;
    made_up.expect(&agent, &Truth { put: 1, unknown: 1, ages: Vec::new() })?;
    Queue::stream("nowhere", "", &server, &[&me]).ends().into_iter().try_for_each(|end| {
        let shown = Queue::stream("nowhere", "", &server, &[&me]).shown(end, &agent.scrape()?);
        ensure!(shown.put == 0.0 && shown.taken == 0.0, "nothing was added: {shown:?}");
        Ok(())
    })?;
    losses.no_more(&agent)
}

#[test]
fn streams_and_their_groups() -> anyhow::Result<()> {
    exchange(2)
}

#[test]
fn streams_and_their_groups_in_resp3() -> anyhow::Result<()> {
    exchange(3)
}

/// A stream at a server, and what is asked of it in words from which the agent learns nothing.
struct Stream {
    server: Server,
    writer: Session,
    asking: Session,
}

impl Stream {
    /// One with a group.
    fn new() -> anyhow::Result<Self> {
        let server = Server::start()?;
        let (mut writer, asking) = (Session::connect(&server.target())?, server.asking()?);
        writer.run(&["XGROUP CREATE orders billing $ MKSTREAM"])?;
        Ok(Self { server, writer, asking })
    }

    fn add(&mut self, count: usize) -> anyhow::Result<()> {
        let replies = self.writer.pipeline(&vec!["XADD orders * order 1 text some-words"; count])?;
        ensure!(replies.iter().all(|reply| matches!(reply, Reply::Bulk(_))), "{replies:?}");
        Ok(())
    }

    /// A group reads, and is delivered so many.
    fn read(&mut self, group: &str, options: &str, count: usize) -> anyhow::Result<()> {
        let reply = self.writer.ask(&read(group, options))?;
        let delivered = if reply == Reply::Nil { 0 } else { ids(&reply)?.len() };
        ensure!(delivered == count, "{delivered} of {count}");
        Ok(())
    }

    /// A field of what the server tells of a group.
    fn told(&mut self, group: &str, field: &str) -> anyhow::Result<Reply> {
        let Reply::Array(groups) = self.asking.ask("XINFO GROUPS orders")? else { bail!("no groups") };
        for fields in groups {
            let Reply::Array(fields) = fields else { bail!("no group: {fields:?}") };
            let named = |pair: &[Reply], name: &str| pair[0] == Reply::Bulk(name.into());
            let of = |name: &str| fields.chunks(2).find(|pair| named(pair, name)).map(|pair| pair[1].clone());
            if of("name") == Some(Reply::Bulk(group.into())) {
                return of(field).context("no such field");
            }
        }
        bail!("no such group: {group}")
    }

    fn lag(&mut self, group: &str) -> anyhow::Result<f64> {
        match self.told(group, "lag")? {
            Reply::Number(lag) => Ok(lag as f64),
            other => bail!("no lag: {other:?}"),
        }
    }

    /// The entries that a group has not been delivered.
    fn undelivered(&mut self, group: &str) -> anyhow::Result<Vec<String>> {
        let last = self.told(group, "last-delivered-id")?.text()?;
        let entries = self.asking.ask(&format!("XRANGE orders ({last} +"))?;
        ids(&Reply::Array(vec![entries]))
    }

    /// The agent shows that a group is so far behind, or nothing of that; and at the server's end only.
    fn shows(&self, agent: &Agent, group: &str, lag: Option<f64>) -> anyhow::Result<()> {
        let queue = Queue::stream("orders", group, &self.server, &[&own_name()?]);
        settle(agent, |metrics| {
            let [server, clients] = queue.ends().map(|end| queue.shown(end, metrics));
            ensure!(server.length == lag, "{group}: not {lag:?}: {server:?}");
            ensure!(server.oldest.is_some() == lag.is_some(), "{group}: {server:?}");
            ensure!(lag != Some(0.0) || server.oldest == Some(0.0), "none is old in {group}: {server:?}");
            ensure!(clients.length.is_none() && clients.oldest.is_none(), "{group}: {clients:?}");
            Ok(())
        })
    }

    /// It shows what the server says, which is so much.
    fn agree(&mut self, agent: &Agent, lags: &[(&str, f64)]) -> anyhow::Result<()> {
        for &(group, lag) in lags {
            let told = self.lag(group)?;
            ensure!(told == lag, "{group}: {told} and not {lag}");
            self.shows(agent, group, Some(lag)).with_context(|| format!("{lags:?}"))?;
        }
        Ok(())
    }
}

fn read(group: &str, options: &str) -> String {
    format!("XREADGROUP GROUP {group} worker {options} STREAMS orders >").replace("  ", " ")
}

#[test]
fn groups_are_as_far_behind_as_the_server_says() -> anyhow::Result<()> {
    let (agent, losses) = shared()?;
    let mut stream = Stream::new()?;
    stream.writer.run(&["XGROUP CREATE orders audit $", "XGROUP CREATE orders late 0"])?;
    stream.agree(&agent, &[("billing", 0.0), ("audit", 0.0)])?;
    stream.add(60)?;
    stream.agree(&agent, &[("billing", 60.0), ("audit", 60.0)])?;
    stream.read("billing", "COUNT 20", 20)?;
    stream.read("audit", "COUNT 100 BLOCK 1000", 60)?;
    stream.read("late", "COUNT 10", 10)?;
    stream.agree(&agent, &[("billing", 40.0), ("audit", 0.0)])?;
    stream.shows(&agent, "late", None)?;
    stream.read("late", "", 50)?;
    stream.agree(&agent, &[("late", 0.0), ("billing", 40.0)])?;
    stream.read("billing", "COUNT 40 NOACK", 40)?;
    stream.read("billing", "COUNT 1", 0)?;
    stream.agree(&agent, &[("billing", 0.0)])?;
    // In transactions, one of which does nothing; and what the server does not add.
    let add = "XADD orders * order 2";
    stream.writer.pipeline(&["MULTI", add, add, add, &read("late", "COUNT 2"), "EXEC"])?;
    stream.writer.pipeline(&["MULTI", add, add, "DISCARD"])?;
    stream.writer.pipeline(&[
        "XADD orders 1-1 a b",
        "XADD orders NOMKSTREAM * a b",
        "XADD nowhere NOMKSTREAM * a b",
    ])?;
    stream.agree(&agent, &[("billing", 4.0), ("audit", 4.0), ("late", 2.0)])?;
    // Three wait for what comes; one has to be content with one entry.
    let readers = ["billing", "billing", "audit"];
    stream.read("billing", "COUNT 5", 4)?;
    stream.read("audit", "COUNT 5", 4)?;
    let mut sessions = readers.map(|_| Session::connect(&stream.server.target()).expect("it listens"));
    for (session, group) in sessions.iter_mut().zip(readers) {
        session.tell(&read(group, "COUNT 1 BLOCK 5000"))?;
        thread::sleep(Duration::from_millis(50));
    }
    stream.writer.pipeline(&["MULTI", add, add, add, "EXEC"])?;
    let delivered: Vec<Reply> = sessions.iter_mut().map(Session::reply).collect::<anyhow::Result<_>>()?;
    ensure!(delivered.iter().all(|reply| ids(reply).is_ok_and(|ids| ids.len() == 1)), "{delivered:?}");
    stream.agree(&agent, &[("billing", 1.0), ("audit", 2.0), ("late", 5.0)])?;
    // Groups that begin elsewhere.
    stream.writer.run(&["XGROUP SETID orders audit 0", "XGROUP SETID orders late $"])?;
    stream.shows(&agent, "audit", None)?;
    stream.agree(&agent, &[("late", 0.0)])?;
    stream.read("audit", "COUNT 1000", 67)?;
    stream.agree(&agent, &[("audit", 0.0)])?;
    stream.writer.run(&["XGROUP DESTROY orders audit"])?;
    stream.shows(&agent, "audit", None)?;
    losses.no_more(&agent)
}

#[test]
fn what_was_trimmed_or_deleted_is_right_again_once_a_group_has_caught_up() -> anyhow::Result<()> {
    let (agent, losses) = shared()?;
    let mut stream = Stream::new()?;
    stream.add(50)?;
    stream.writer.run(&["XTRIM orders MAXLEN 20", "XADD orders MAXLEN 10 * order 2"])?;
    stream.read("billing", "COUNT 4", 4)?;
    stream.read("billing", "COUNT 100", 6)?;
    stream.shows(&agent, "billing", Some(0.0))?;
    stream.add(5)?;
    ensure!(stream.undelivered("billing")?.len() == 5, "five are to be delivered");
    stream.shows(&agent, "billing", Some(5.0))?;
    let ids = stream.undelivered("billing")?;
    stream.writer.run(&[&format!("XDEL orders {} {}", ids[1], ids[4])])?;
    stream.read("billing", "", 3)?;
    stream.shows(&agent, "billing", Some(0.0))?;
    stream.add(1)?;
    stream.shows(&agent, "billing", Some(1.0))?;
    // Nobody is behind in a stream that is not there.
    stream.writer.run(&["DEL orders"])?;
    let reply = stream.writer.ask(&read("billing", ""))?;
    ensure!(reply.is_error("NOGROUP"), "{reply:?}");
    stream.shows(&agent, "billing", None)?;
    stream.writer.run(&["XGROUP CREATE orders billing $ MKSTREAM"])?;
    stream.add(2)?;
    stream.agree(&agent, &[("billing", 2.0)])?;
    losses.no_more(&agent)
}

#[test]
fn what_scripts_add_hides_how_far_groups_are_behind() -> anyhow::Result<()> {
    let (agent, losses) = shared()?;
    let mut stream = Stream::new()?;
    for _ in 0..3 {
        stream.writer.run(&["EVAL redis.call('XADD','orders','*','a','b') 0"])?;
    }
    stream.read("billing", "", 3)?;
    stream.shows(&agent, "billing", None)?;
    stream.add(24)?;
    stream.read("billing", "", 24)?;
    stream.add(2)?;
    stream.agree(&agent, &[("billing", 2.0)])?;
    losses.no_more(&agent)
}

/// While a consumer does nothing, the first entry that it was not delivered gets older.
#[test]
fn the_oldest_entry_is_as_old_as_it_is() -> anyhow::Result<()> {
    let (agent, losses) = shared()?;
    let mut stream = Stream::new()?;
    let group = Queue::stream("orders", "billing", &stream.server, &[]);
    for step in 0..30 {
        stream.add(20)?;
        thread::sleep(Duration::from_millis(100));
        if step % 10 == 9 {
            stream.read("billing", "COUNT 110", 110)?;
        }
        let first = stream.undelivered("billing")?.into_iter().next().context("some are left")?;
        let (begun, metrics) = (wall_clock(), agent.scrape()?);
        let first = added(&first)?;
        let [least, most] = [begun, wall_clock()].map(|at| at.saturating_sub(first) as f64 / 1e9);
        let shown = group.shown(&group.server, &metrics);
        let oldest = shown.oldest.with_context(|| format!("{shown:?}"))?;
        let is_between = least - 0.1 <= oldest && oldest <= most + 0.1;
        ensure!(is_between, "{oldest} s and not {least} to {most} s: {shown:?}");
    }
    stream.agree(&agent, &[("billing", 270.0)])?;
    losses.no_more(&agent)
}

/// Where everybody reads and writes at once, all agree once that is over.
#[test]
fn groups_are_followed_where_all_read_and_write_at_once() -> anyhow::Result<()> {
    let (agent, losses) = shared()?;
    let mut stream = Stream::new()?;
    stream.writer.run(&["XGROUP CREATE orders audit $", "XGROUP CREATE orders late 0"])?;
    let (target, is_over) = (stream.server.target(), AtomicBool::new(false));
    let reads = [
        read("billing", "COUNT 3 BLOCK 20"),
        read("billing", "COUNT 50"),
        read("billing", "BLOCK 20"),
        read("audit", "COUNT 2"),
        read("late", "COUNT 7 BLOCK 10"),
        read("late", "COUNT 1 BLOCK 10"),
    ];
    let add = "XADD orders * order 2";
    let (several, transaction) = ([add; 7], ["MULTI", add, add, "EXEC"]);
    let writes = [(&several[..], 3), (&several[..1], 1), (&transaction[..], 5)];
    let work = |words: &[&str], pause: Duration| -> anyhow::Result<()> {
        let mut session = Session::connect(&target)?;
        while !is_over.load(Ordering::Relaxed) {
            session.pipeline(words)?;
            thread::sleep(pause);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let mut all: Vec<_> =
            reads.iter().map(|words| scope.spawn(|| work(&[words], Duration::from_micros(200)))).collect();
        for (words, pause) in writes {
            all.push(scope.spawn(move || work(words, Duration::from_millis(pause))));
        }
        thread::sleep(Duration::from_secs(3));
        is_over.store(true, Ordering::Relaxed);
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("one panicked"))?)
    })?;
    for group in ["billing", "audit", "late"] {
        let lag = stream.lag(group)?;
        stream.shows(&agent, group, Some(lag))?;
    }
    losses.no_more(&agent)
}

#[test]
fn an_agent_that_starts_later_knows_of_a_group_once_that_has_caught_up() -> anyhow::Result<()> {
    let mut stream = Stream::new()?;
    stream.writer.run(&["XGROUP CREATE orders audit $"])?;
    stream.add(30)?;
    stream.read("billing", "COUNT 10", 10)?;
    stream.read("audit", "", 30)?;
    let mut waiting = Session::connect(&stream.server.target())?;
    waiting.tell(&read("audit", "COUNT 1 BLOCK 20000"))?;
    let agent = Agent::start(&[])?;
    stream.read("billing", "COUNT 10", 10)?;
    stream.add(2)?;
    ensure!(ids(&waiting.reply()?)?.len() == 1, "one waits");
    stream.shows(&agent, "billing", None)?;
    stream.read("billing", "COUNT 100", 12)?;
    let start = Instant::now();
    ensure!(waiting.ask(&read("audit", "COUNT 5 BLOCK 10000"))? != Reply::Nil, "one is left");
    ensure!(start.elapsed() < Duration::from_secs(9), "it is there");
    stream.agree(&agent, &[("billing", 0.0), ("audit", 0.0)])?;
    stream.add(3)?;
    stream.agree(&agent, &[("billing", 3.0), ("audit", 3.0)])
}
