//! Messages that are too large before they are over: told of at each threshold, and counted once, whatever becomes of
//! them.

// needs: websocket
// makes: messages
// takes: 25 s

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::browser::Browser;
use observer_tests::metrics::{Metrics, desyncs};
use observer_tests::programs::Program;
use observer_tests::puppet::{Puppet, connected};
use observer_tests::websocket::peers::{Peer, Runtime};
use observer_tests::websocket::{alone, unique_name};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// A client and a server with a WebSocket: `one` to both.
fn upgraded(names: [&str; 2]) -> anyhow::Result<(Puppet, Puppet)> {
    let (mut client, mut server, _) = connected(names)?;
    client.run("ask_upgrade(one)")?;
    server.run("grant_upgrade(one)")?;
    client.run("finish_upgrade(one)")?;
    Ok((client, server))
}

/// Sends frames of a message that goes on behind them, and receives them.
fn fragments(client: &mut Puppet, server: &mut Puppet, sizes: &[u64], begins: bool) -> anyhow::Result<()> {
    let python = if begins { "True" } else { "False" };
    // Lengths of eight bytes, and masks of four.
    let total: u64 = sizes.iter().map(|size| size + 14).sum();
    ensure!(sizes.iter().all(|&size| size > 0xFFFF), "frames of another form");
    server.tell(&format!("receive([one], {total})"))?;
    let sent = client.number(&format!("send_fragments(one, {sizes:?}, True, {python})"))?;
    ensure!(sent == total as f64, "{sent} bytes went, not {total}");
    server.answer()?;
    Ok(())
}

/// Messages of a process in each category.
fn oversized(metrics: &Metrics, process: &str) -> [f64; 3] {
    ["medium", "large", "huge"].map(|category| {
        metrics.sum("oversized_message_total", &[("process", process), ("size_category", category)])
    })
}

fn unfinished(metrics: &Metrics, process: &str) -> f64 {
    metrics.sum("observer_websocket_unfinished_bytes", &[("process", process)])
}

/// What was told of a process in a direction, in order: sizes, and the thresholds that they reached.
fn told(agent: &Agent, process: &str, direction: &str) -> anyhow::Result<Vec<(u64, String)>> {
    let events = agent.json("/events")?;
    let events = events["events"].as_array().context("no events")?;
    let own = events.iter().filter(|event| event["process"] == process && event["direction"] == direction);
    let told = own.map(|event| -> anyhow::Result<(u64, String)> {
        let size = event["size_bytes"].as_u64().context("no size")?;
        Ok((size, event["size_category"].as_str().context("no category")?.to_owned()))
    });
    // The most recent is the first.
    let mut told = told.collect::<anyhow::Result<Vec<_>>>()?;
    told.reverse();
    Ok(told)
}

/// Waits until just that was told, at `/events` and in the log.
fn expect_told(
    agent: &Agent,
    process: &str,
    direction: &str,
    expected: &[(u64, &str)],
) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let told = told(agent, process, direction)?;
        let is_so = told.len() == expected.len()
            && told.iter().zip(expected).all(|((size, category), of)| (*size, category.as_str()) == *of);
        if is_so {
            break;
        }
        ensure!(start.elapsed() < PATIENCE, "{process} {direction}: {told:?} is told, not {expected:?}");
        thread::sleep(Duration::from_millis(50));
    }
    let log = agent.log();
    for (size, category) in expected {
        let words = [process, direction, category, &format!(" {size} ")];
        let records = log.iter().filter(|line| {
            line.contains("oversized message:") && words.iter().all(|word| line.contains(word))
        });
        ensure!(records.count() == 1, "not one record of {words:?}: {log:#?}");
    }
    Ok(())
}

#[test]
fn one_that_never_ends_is_counted_before_it_is_reset() -> anyhow::Result<()> {
    const ENDS: [(&str, &str); 2] = [("frag-client", "sent"), ("frag-server", "received")];
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let (mut client, mut server) = upgraded(ENDS.map(|(process, _)| process))?;
    let mut expected = Vec::new();
    for number in 1..=20 {
        fragments(&mut client, &mut server, &[MIB], number == 1)?;
        let category = [(1, "medium"), (5, "large"), (10, "huge")].into_iter().find(|(at, _)| *at == number);
        expected.extend(category.map(|(at, category)| (at * MIB, category)));
        if [1, 4, 5, 9, 10, 20].contains(&number) {
            let metrics = agent.wait_until("what was declared", |metrics| {
                ENDS.iter().all(|(process, _)| unfinished(metrics, process) == (number * MIB) as f64)
            })?;
            for (process, direction) in ENDS {
                let counts = [0.0, 0.0, f64::from(u8::from(number >= 10))];
                ensure!(oversized(&metrics, process) == counts, "{:?}", oversized(&metrics, process));
                expect_told(&agent, process, direction, &expected)?;
            }
        }
    }
    client.run("reset(one)")?;
    server.run("one.close()")?;
    let metrics = agent.wait_until("its end", |metrics| {
        ENDS.iter().all(|(process, _)| unfinished(metrics, process) == 0.0)
            && metrics.sum("observer_websocket_closes_total", &[("process", ENDS[0].0)]) == 1.0
            && metrics.sum("observer_websocket_closes_total", &[("process", ENDS[1].0)]) == 1.0
    })?;
    for (process, direction) in ENDS {
        ensure!(oversized(&metrics, process) == [0.0, 0.0, 1.0], "{:?}", oversized(&metrics, process));
        expect_told(&agent, process, direction, &expected)?;
    }
    Ok(())
}

#[test]
fn one_that_is_reset_counts_in_the_category_that_it_had_reached() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let sizes: [(&[u64], [f64; 3]); 4] = [
        (&[900_000], [0.0; 3]),
        (&[900_000, 900_000], [1.0, 0.0, 0.0]),
        (&[3 * MIB, 3 * MIB], [0.0, 1.0, 0.0]),
        (&[7 * MIB, 7 * MIB], [0.0, 0.0, 1.0]),
    ];
    for (number, (sizes, counts)) in sizes.into_iter().enumerate() {
        let names = [format!("reset-c-{number}"), format!("reset-s-{number}")];
        let (mut client, mut server) = upgraded(names.each_ref().map(String::as_str))?;
        fragments(&mut client, &mut server, sizes, true)?;
        let declared = sizes.iter().sum::<u64>() as f64;
        let metrics = agent.wait_until("what was declared", |metrics| {
            names.iter().all(|process| unfinished(metrics, process) == declared)
        })?;
        for process in &names {
            ensure!(oversized(&metrics, process) == [0.0, 0.0, counts[2]], "{process}: too early");
        }
        client.run("reset(one)")?;
        server.run("one.close()")?;
        let closed = |metrics: &Metrics, process: &String| {
            metrics.sum("observer_websocket_closes_total", &[("process", process)]) == 1.0
        };
        let is_over = |metrics: &Metrics| {
            names.iter().all(|process| closed(metrics, process) && unfinished(metrics, process) == 0.0)
        };
        agent.wait_until("its end", is_over)?;
        agent.wait_until("what it counts as", |metrics| {
            names.iter().all(|process| oversized(metrics, process) == counts)
        })?;
        // And not again.
        thread::sleep(Duration::from_millis(1_500));
        let metrics = agent.scrape()?;
        for process in &names {
            ensure!(oversized(&metrics, process) == counts, "{process}: {:?}", oversized(&metrics, process));
        }
    }
    Ok(())
}

/// The bytes of a call that nothing can read hold headers: there the stream ends, as far as it can be told.
#[test]
fn one_that_falls_out_of_step_counts_in_the_category_that_it_had_reached() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let before = desyncs(&agent.scrape()?, "websocket");
    let (mut client, mut server) = upgraded(["step-client", "step-server"])?;
    fragments(&mut client, &mut server, &[2 * MIB], true)?;
    server.tell(&format!("splice_from(one, {})", 2 * (70_000 + 14)))?;
    client.run("send_fragments(one, [70000, 70000], True, False)")?;
    server.answer()?;
    let declared = 2 * MIB + 140_000;
    let metrics = agent.wait_until("that the server's stream is lost", |metrics| {
        desyncs(metrics, "websocket") > before
            && unfinished(metrics, "step-server") == 0.0
            && unfinished(metrics, "step-client") == declared as f64
    })?;
    ensure!(
        oversized(&metrics, "step-server") == [1.0, 0.0, 0.0],
        "{:?}",
        oversized(&metrics, "step-server")
    );
    ensure!(oversized(&metrics, "step-client") == [0.0; 3], "{:?}", oversized(&metrics, "step-client"));
    client.run("one.close()")?;
    server.run("one.close()")?;
    agent.wait_until("its end", |metrics| {
        ["step-client", "step-server"].iter().all(|process| oversized(metrics, process) == [1.0, 0.0, 0.0])
    })?;
    Ok(())
}

#[test]
fn one_that_goes_on_in_another_process_counts_there() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let (mut client, mut giver) = upgraded(["pass-client", "pass-giver"])?;
    let mut taker = Puppet::start("pass-taker")?;
    let path = format!("'@observer-fragments-{}'", std::process::id());
    taker.run(&format!("waiting = listen({path})"))?;
    giver.run(&format!("channel = connect({path})"))?;
    taker.run("channel = waiting.accept()[0]")?;
    fragments(&mut client, &mut giver, &[2 * MIB], true)?;
    giver.run("give(channel, one)")?;
    taker.run("one = take(channel)")?;
    fragments(&mut client, &mut taker, &[4 * MIB], false)?;
    let metrics = agent.wait_until("what was declared", |metrics| {
        unfinished(metrics, "pass-taker") == (6 * MIB) as f64 && unfinished(metrics, "pass-giver") == 0.0
    })?;
    for process in ["pass-client", "pass-giver", "pass-taker"] {
        ensure!(oversized(&metrics, process) == [0.0; 3], "{process}: {:?}", oversized(&metrics, process));
    }
    expect_told(&agent, "pass-giver", "received", &[(2 * MIB, "medium")])?;
    expect_told(&agent, "pass-taker", "received", &[(6 * MIB, "large")])?;
    expect_told(&agent, "pass-client", "sent", &[(2 * MIB, "medium"), (6 * MIB, "large")])?;
    // Its last frame, of which no more is known here than that it is.
    taker.tell("receive([one], 14)")?;
    client.run("one.sendall(frame(8, True, 0))")?;
    taker.answer()?;
    let metrics = agent.wait_until("its end", |metrics| unfinished(metrics, "pass-taker") == 0.0)?;
    for (process, counts) in
        [("pass-client", [0.0, 1.0, 0.0]), ("pass-taker", [0.0, 1.0, 0.0]), ("pass-giver", [0.0; 3])]
    {
        ensure!(oversized(&metrics, process) == counts, "{process}: {:?}", oversized(&metrics, process));
    }
    let sizes = |process| metrics.sum("message_size_bytes_sum", &[("process", process)]);
    ensure!(sizes("pass-taker") == (6 * MIB + 8) as f64, "{}", sizes("pass-taker"));
    ensure!(sizes("pass-giver") == 0.0, "{}", sizes("pass-giver"));
    Ok(())
}

/// An empty page to any who ask, for a browser to be on.
fn page() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // A browser that has seen enough is no concern of a server's.
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            );
        }
    });
    Ok(format!("http://{address}/"))
}

#[test]
fn what_chromium_sends_is_told_of_while_it_sends() -> anyhow::Result<()> {
    const SIZE: u64 = 5_000_000;
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let (server, address) = Peer::server(Runtime::Python, "tcp", "plain")?;
    let mut browser = Browser::open(&page()?, &json!({}))?;
    let echoed = browser.evaluate(&format!(
        "new Promise((done, fail) => {{
           const socket = new WebSocket('{address}');
           socket.onopen = () => socket.send('x'.repeat({SIZE}));
           socket.onmessage = (event) => {{ socket.close(); done(event.data.length); }};
           socket.onerror = () => fail(new Error('no WebSocket'));
         }})"
    ))?;
    ensure!(echoed == SIZE, "the echo is {echoed}");
    let process = server.side.process.as_str();
    let of = |metrics: &Metrics, family: &str, direction: &str| {
        metrics.sum(family, &[("process", process), ("direction", direction)])
    };
    let metrics = agent.wait_until("both messages", |metrics| {
        ["received", "sent"].iter().all(|way| of(metrics, "message_size_bytes_sum", way) == SIZE as f64)
    })?;
    for direction in ["received", "sent"] {
        ensure!(of(&metrics, "message_size_bytes_count", direction) == 1.0, "not one message {direction}");
        let labels = [("process", process), ("direction", direction), ("size_category", "large")];
        ensure!(metrics.sum("oversized_message_total", &labels) == 1.0, "not one large {direction}");
        ensure!(of(&metrics, "oversized_message_total", direction) == 1.0, "more than one {direction}");
    }
    // The server echoes in one frame, and the browser sent fragments.
    let continuations = [("process", process), ("direction", "received"), ("opcode", "continuation")];
    let continuations = metrics.sum("observer_websocket_frame_size_bytes_count", &continuations);
    ensure!(continuations > 10.0, "{continuations} fragments");
    expect_told(&agent, process, "sent", &[(SIZE, "large")])?;
    let told = told(&agent, process, "received")?;
    let [(medium, first), (large, second)] = &told[..] else { anyhow::bail!("not two events: {told:?}") };
    ensure!((first.as_str(), second.as_str()) == ("medium", "large"), "{told:?}");
    ensure!((1_000_000..2_000_000).contains(medium) && *large == SIZE, "{told:?}");
    Ok(())
}

/// `aiohttp` takes frames without a mask, which RFC 6455 says it must not.
#[test]
fn what_a_client_sends_unmasked_counts_as_everything_else() -> anyhow::Result<()> {
    const SIZE: u64 = 12_000_000;
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let process = unique_name("aio");
    let mut server = Program::python("websocket_aiohttp.py", &[&process])?;
    let port = server.line()?;
    let mut client = Puppet::start("unmasked")?;
    client.run(&format!("one = connect(('127.0.0.1', {port})); ask_upgrade(one); finish_upgrade(one)"))?;
    client.run(&format!("one.sendall(frame({SIZE}, False)); one.sendall(frame(5, False, 2))"))?;
    for size in [SIZE, 5] {
        let taken: Value = serde_json::from_str(&server.line()?)?;
        ensure!(taken == json!(["binary", size]), "the server took {taken}");
    }
    for (process, direction) in [("unmasked", "sent"), (process.as_str(), "received")] {
        let labels = [("process", process), ("direction", direction)];
        let metrics = agent.wait_until("both messages", |metrics| {
            metrics.sum("message_size_bytes_sum", &labels) == (SIZE + 5) as f64
        })?;
        ensure!(metrics.sum("observer_websocket_messages_total", &labels) == 2.0, "not two messages");
        let violations =
            |kind| metrics.sum("observer_websocket_violations_total", &[labels[0], ("kind", kind)]);
        ensure!(violations("mask") == 2.0, "{} frames", violations("mask"));
        ensure!(oversized(&metrics, process) == [0.0, 0.0, 1.0], "{:?}", oversized(&metrics, process));
        expect_told(&agent, process, direction, &[(SIZE, "huge")])?;
    }
    Ok(())
}
