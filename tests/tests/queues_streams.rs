//! Streams of Redis as queues: how old entries are when they are delivered and acknowledged, by the ids that the server has
//! given them.

// needs: redis
// takes: 5 s
// at once: 2 tests

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use observer_tests::agent::Agent;
use observer_tests::queues::Queue;
use observer_tests::queues::truth::{Age, Truth, age, wall_clock};
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

/// When an entry of this id was added, in nanoseconds since 1970: anywhere in that millisecond, as far as the id tells.
fn added(id: &str) -> anyhow::Result<u64> {
    let milliseconds: u64 = id.split('-').next().context("an id")?.parse()?;
    Ok(milliseconds * 1_000_000)
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
        for id in ids.iter().filter(|_| is_new) {
            let added = added(id)?;
            // By the id it was at the start of that millisecond.
            self.delivered.push(age([added, added], span));
        }
        Ok(ids)
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
    // What is pending is read anew, and delivered to another consumer; neither is new.
    let pending = one.read(&read("one", "STREAMS orders 0"), false)?;
    ensure!(pending.len() == 5, "{} of 5", pending.len());
    one.session.ask("XAUTOCLAIM orders billing other 0 0")?;
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
