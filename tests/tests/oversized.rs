//! Oversized messages: counted once, when their size is known, and told of.

// needs: websocket
// makes: messages
// takes: 27 s

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::sides::{Side, nothing_lost, settle};
use observer_tests::websocket::traffic::{Opcode, Traffic};
use observer_tests::websocket::wire::{FIN, REQUEST, RESPONSE, Wire};
use observer_tests::websocket::{alone, own_name};
use serde_json::Value;

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// A client and a server in this process.
fn sides() -> anyhow::Result<[Side; 2]> {
    let name = own_name()?;
    Ok(["client", "server"].map(|role| {
        let mut side = Side::new(&name, std::process::id(), role);
        side.open = 1;
        side
    }))
}

fn shake_hands(pair: &Pair) -> anyhow::Result<()> {
    pair.ask(REQUEST, WRITE, READ)?;
    pair.answer(RESPONSE, WRITE, READ)
}

/// Sends what a client has, and counts it at both ends.
fn ask(pair: &Pair, wire: &Wire, [client, server]: &mut [Side; 2]) -> anyhow::Result<()> {
    pair.ask(&wire.bytes, WRITE, READ)?;
    client.sent.add_all(&wire.traffic, 1);
    server.received.add_all(&wire.traffic, 1);
    Ok(())
}

/// Events of this process.
fn own(events: &Value) -> Vec<&Value> {
    let all = events["events"].as_array().into_iter().flatten();
    all.filter(|event| event["pid"] == std::process::id()).collect()
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_default()
}

#[test]
fn a_header_is_enough() -> anyhow::Result<()> {
    const SIZE: u64 = 100_000_000;
    let _alone = alone();
    for address in ["127.0.0.1", "::1"] {
        let agent = Agent::start(&[])?;
        let listener = TcpListener::bind((address, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let server = listener.accept()?.0;
        let ends = [client.local_addr()?.to_string(), server.local_addr()?.to_string()];
        let pair = Pair::new(client, server);
        let mut sides = sides()?;
        shake_hands(&pair)?;
        let mut wire = Wire::client();
        wire.message(Opcode::Text, 5);
        ask(&pair, &wire, &mut sides)?;
        settle(&agent, &[&sides[0], &sides[1]])?;

        let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
        let sent = Instant::now();
        let mut header = Wire::client();
        header.header(FIN | Opcode::Binary.number(), SIZE);
        header.traffic.oversized(SIZE);
        header.traffic.unfinished(SIZE);
        ask(&pair, &header, &mut sides)?;
        agent.wait_until("both ends count it", |metrics| {
            metrics
                .sum("oversized_message_total", &[("size_category", "huge"), ("process", &sides[0].process)])
                >= 2.0
        })?;
        let took = sent.elapsed();
        ensure!(took < Duration::from_secs(1), "counted after {took:?}");
        nothing_lost(&agent, &settle(&agent, &[&sides[0], &sides[1]])?)?;

        let events = agent.json("/events")?;
        let events = own(&events);
        ensure!(events.len() == 2, "not two events: {events:#?}");
        for (direction, local, remote) in [("sent", &ends[0], &ends[1]), ("received", &ends[1], &ends[0])] {
            let event = events.iter().find(|event| text(event, "direction") == direction);
            let event = event.with_context(|| format!("no event {direction}: {events:#?}"))?;
            ensure!(text(event, "process") == sides[0].process, "another process: {event:#?}");
            ensure!(
                text(event, "local") == local && text(event, "remote") == remote,
                "other ends: {event:#?}"
            );
            ensure!(event["size_bytes"] == SIZE, "another size: {event:#?}");
            ensure!(text(event, "size_category") == "huge", "another category: {event:#?}");
            ensure!(event["container"].is_string(), "no container: {event:#?}");
            let time = event["time"].as_f64().context("no time")?;
            ensure!(
                time >= before && time <= before + took.as_secs_f64() + 1.0,
                "{time} is not just after {before}"
            );

            let told = [&std::process::id().to_string(), local, remote, direction, &SIZE.to_string(), "huge"];
            let records = agent.log();
            let records: Vec<&String> =
                records.iter().filter(|line| told.iter().all(|word| line.contains(*word))).collect();
            ensure!(matches!(records[..], [_]), "not one record of {told:?}: {:#?}", agent.log());
        }

        // It never arrives: it is no message, whatever becomes of the connection.
        drop(pair);
        let [client, server] = &mut sides;
        client.sent.unfinished(0);
        server.received.unfinished(0);
        for side in &mut sides {
            side.close("none");
        }
        settle(&agent, &[&sides[0], &sides[1]])?;
    }
    Ok(())
}

/// A send that takes longer than the agent's passes, as its receiver takes its time, is one call all the same.
#[test]
fn a_slow_receiver() -> anyhow::Result<()> {
    const SIZE: usize = 40_000_000;
    let _alone = alone();
    let mut bench = Bench::start()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let server = listener.accept()?.0;
    shake_hands(&Pair::new(client.try_clone()?, server.try_clone()?))?;
    bench.count(REQUEST.len(), RESPONSE.len());
    bench.open(1);
    let mut wire = Wire::client();
    wire.message(Opcode::Binary, SIZE);
    let before = Instant::now();
    thread::scope(|scope| -> anyhow::Result<()> {
        let receiver = scope.spawn(|| -> anyhow::Result<()> {
            // It has taken a little, and then nothing for three seconds, and so once more.
            let mut left = wire.bytes.len();
            for part in [1_000, 10_000_000, usize::MAX] {
                thread::sleep(Duration::from_secs(3));
                let part = part.min(left);
                std::io::copy(&mut (&server).take(part as u64), &mut std::io::sink())?;
                left -= part;
            }
            Ok(())
        });
        client.write_all(&wire.bytes)?;
        receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?
    })?;
    ensure!(before.elapsed() > Duration::from_secs(8), "the call did not wait");
    bench.exchange(&wire, &Wire::server());
    bench.settle()
}

#[test]
fn each_message_counts_in_the_category_of_its_size() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&["--oversized", "medium=100,large=1000,huge=20000"])?;
    let mut sides = sides()?;
    let pair = Pair::tcp("127.0.0.1")?;
    shake_hands(&pair)?;
    for side in &mut sides {
        side.sent = Traffic::with_limits(100, 1_000, 20_000);
        side.received = Traffic::with_limits(100, 1_000, 20_000);
    }
    for size in [0, 99, 100, 101, 999, 1_000, 1_001, 19_999, 20_000, 20_001, 1_000_000] {
        for opcode in [Opcode::Text, Opcode::Binary] {
            let mut wire = Wire::client().with_limits(100, 1_000, 20_000);
            wire.message(opcode, size);
            wire.fragments(opcode, &[size / 2, size - size / 2], 125);
            wire.fragments(opcode, &[size, 0], 0);
            wire.fragments(opcode, &[0, size], 0);
            ask(&pair, &wire, &mut sides)?;
            settle(&agent, &[&sides[0], &sides[1]])?;
        }
    }
    Ok(())
}

#[test]
fn fragments_count_once_they_have_reached_the_highest_category() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&["--oversized", "medium=100,large=1000,huge=20000"])?;
    let mut sides = sides()?;
    let pair = Pair::tcp("127.0.0.1")?;
    shake_hands(&pair)?;
    let mut size = 0;
    for (opcode, length) in
        [(Opcode::Binary, 99), (Opcode::Continuation, 500), (Opcode::Continuation, 30_000)]
    {
        let mut wire = Wire::client().with_limits(100, 1_000, 20_000);
        wire.frame(opcode, 0, length);
        size += length as u64;
        if size >= 20_000 {
            wire.traffic.oversized(size);
        }
        // What is added to what was declared before.
        wire.traffic.unfinished(length as u64);
        ask(&pair, &wire, &mut sides)?;
        settle(&agent, &[&sides[0], &sides[1]])?;
    }
    // The last header changes nothing but what is declared.
    let mut header = Wire::client();
    header.header(FIN, 3);
    header.traffic.unfinished(3);
    size += 3;
    ask(&pair, &header, &mut sides)?;
    settle(&agent, &[&sides[0], &sides[1]])?;
    // Its payload makes it a message.
    let mut rest = Wire::client().with_limits(u64::MAX, u64::MAX, u64::MAX);
    rest.bytes.extend([1, 2, 3]);
    rest.traffic.frame(Opcode::Continuation, 3);
    rest.traffic.message(Opcode::Binary, false, size);
    ask(&pair, &rest, &mut sides)?;
    let [client, server] = &mut sides;
    client.sent.unfinished(0);
    server.received.unfinished(0);
    nothing_lost(&agent, &settle(&agent, &[&sides[0], &sides[1]])?)?;
    let events = agent.json("/events")?;
    let mut told: Vec<String> = own(&events)
        .into_iter()
        .map(|event| {
            format!(
                "{} {} of {}",
                text(event, "direction"),
                text(event, "size_category"),
                event["size_bytes"]
            )
        })
        .collect();
    told.sort_unstable();
    let expected = ["huge of 30599", "large of 30599", "medium of 599"];
    let expected: Vec<String> =
        ["received", "sent"].iter().flat_map(|way| expected.map(|what| format!("{way} {what}"))).collect();
    ensure!(told == expected, "other events: {told:#?}");
    Ok(())
}

/// How many messages a log tells of, each on its own, and all together.
fn told(log: &[String]) -> (usize, usize) {
    let (all, singles): (Vec<&String>, Vec<&String>) = log
        .iter()
        .filter(|line| line.contains("oversized message:"))
        .partition(|line| line.contains("were not logged"));
    let held_back = all.iter().filter_map(|line| {
        let (before, _) = line.split_once(" more in the last")?;
        before.rsplit(' ').next()?.parse::<usize>().ok()
    });
    (singles.len(), singles.len() + held_back.sum::<usize>())
}

/// So large that nothing else on the machine sends any.
#[test]
fn logging_is_limited_and_counting_is_not() -> anyhow::Result<()> {
    const MESSAGES: usize = 100;
    const SIZE: u64 = 1 << 40;
    let limits = [SIZE, SIZE + 1, SIZE + 2];
    let _alone = alone();
    let [medium, large, huge] = limits;
    let agent = Agent::start(&["--oversized", &format!("medium={medium},large={large},huge={huge}")])?;
    let mut sides = sides()?;
    let mut pairs = Vec::new();
    for _ in 0..MESSAGES {
        let pair = Pair::tcp("127.0.0.1")?;
        shake_hands(&pair)?;
        let mut header = Wire::client().with_limits(medium, large, huge);
        header.header(FIN | Opcode::Text.number(), SIZE);
        header.traffic.oversized(SIZE);
        header.traffic.unfinished(SIZE);
        ask(&pair, &header, &mut sides)?;
        pairs.push(pair);
    }
    for side in &mut sides {
        side.open = u32::try_from(MESSAGES)?;
    }
    nothing_lost(&agent, &settle(&agent, &[&sides[0], &sides[1]])?)?;
    let events = agent.json("/events")?;
    ensure!(own(&events).len() == 2 * MESSAGES, "not {} events", 2 * MESSAGES);

    let start = Instant::now();
    while told(&agent.log()).1 < 2 * MESSAGES {
        ensure!(start.elapsed() < Duration::from_secs(15), "not all are told of: {:#?}", agent.log());
        thread::sleep(Duration::from_millis(100));
    }
    let (singles, all) = told(&agent.log());
    ensure!(all == 2 * MESSAGES, "{all} are told of");
    ensure!((1..MESSAGES).contains(&singles), "{singles} records are not few");
    Ok(())
}
