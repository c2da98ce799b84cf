//! What no server and no client should send: nobody is harmed, nothing is counted that was not, and everybody else
//! is counted as before.

// needs: redis
// takes: 18 s

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::noise::{Chance, throw};
use observer_tests::redis::by_hand::{behave, expect, expect_keys, greet, views};
use observer_tests::redis::bystanders::Bystanders;
use observer_tests::redis::shown::{Sessions, View, desyncs, nothing_lost, shared};
use observer_tests::redis::wire::{Ends, NIL, NULL, OK, bulk, command};
use observer_tests::redis::work::Prefixes;
use observer_tests::websocket::{alone, own_name};

const IDLE: Sessions = Sessions { active: 0.0, idle: 1.0, blocked: 0.0 };
const ACTIVE: Sessions = Sessions { active: 1.0, idle: 0.0, blocked: 0.0 };

#[test]
fn a_session_by_hand() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut ends = Ends::connect()?;
    ends.ask(&command(&["GET", "user:1"]))?;
    expect(&agent, &ends, ACTIVE)?;
    ends.answer(&bulk("some"))?;
    expect(&agent, &ends, IDLE)?;
    ends.ask(&command(&["MGET", "user:1", "gone:1", "user:2"]))?;
    ends.answer(&[b"*3\r\n", &bulk("a")[..], NULL, NIL].concat())?;
    // A byte in each call, in both directions.
    for byte in command(&["MGET", "user:1", "gone:1", "plain"]) {
        ends.ask(&[byte])?;
    }
    expect(&agent, &ends, ACTIVE)?;
    for byte in [b"*3\r\n", &bulk("*1\r\n$-1\r\n")[..], NIL, &bulk("")].concat() {
        ends.answer(&[byte])?;
    }
    expect(&agent, &ends, IDLE)?;
    expect_keys(&agent, &ends, &[("user", [3, 1]), ("gone", [0, 2]), ("none", [1, 0])])?;
    before.no_more(&agent)
}

#[test]
fn values_that_look_like_replies() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut bystanders = Bystanders::start()?;
    let mut ends = greet()?;
    let mut hits = 0;
    for content in
        [NIL.to_vec(), command(&["GET", "bad:1"]), b"\r\n-ERR no\r\n*-1\r\n".to_vec(), vec![b'$'; 64]]
    {
        // In calls that begin anywhere inside it.
        for piece in [1, 2, 3, 5, 7, 11, 64, 4_096] {
            let count = if piece < 64 { 20 } else { 3_000 };
            let value = content.repeat(count);
            for part in command(&[&b"SET"[..], b"good:1", &value]).chunks(piece) {
                ends.ask(part)?;
            }
            ends.answer(OK)?;
            ends.ask(&command(&["GET", "good:1"]))?;
            for part in bulk(&value).chunks(piece) {
                ends.answer(part)?;
            }
            hits += 1;
        }
        // As many small ones in one call.
        ends.ask(&command(&["GET", "good:1"]).repeat(200))?;
        ends.answer(&bulk(&content).repeat(200))?;
        hits += 200;
        expect(&agent, &ends, IDLE)?;
        expect_keys(&agent, &ends, &[("good", [hits, 0])])?;
    }
    for view in views(&ends)? {
        view.expect(&agent, &0.0, |view, metrics| view.errors(metrics).values().sum::<f64>())?;
        view.expect(&agent, &32.0, |view, metrics| view.command(metrics, "set"))?;
    }
    bystanders.check(&agent)?;
    before.no_more(&agent)
}

#[test]
fn keys_that_look_like_anything() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut ends = greet()?;
    let long = [&b"long:"[..], &vec![b'x'; 100_000]].concat();
    let longer = vec![b'x'; 4_000];
    let binary: Vec<u8> = (0..=255).collect();
    let keys: [(&[u8], &str); 8] = [
        (b"*3:\r\n$-1\r\n", "*3"),
        (b"", "none"),
        (b"a\r\nb:c", "other"),
        (b"a\0b:c", "other"),
        (b"\xFF\xFE:c", "other"),
        (&long, "long"),
        (&longer, "none"),
        (&binary, "other"),
    ];
    for piece in [usize::MAX, 1_000, 7] {
        for (key, _) in keys {
            for part in command(&[b"GET", key]).chunks(piece) {
                ends.ask(part)?;
            }
            ends.answer(NIL)?;
        }
    }
    let of = |wanted: &str| keys.iter().filter(|(_, prefix)| *prefix == wanted).count() as u32 * 3;
    expect_keys(
        &agent,
        &ends,
        &[
            ("*3", [0, of("*3")]),
            ("none", [0, of("none")]),
            ("other", [0, of("other")]),
            ("long", [0, of("long")]),
        ],
    )?;
    before.no_more(&agent)
}

#[test]
fn arrays_within_arrays() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    let mut ends = greet()?;
    let mut count = 0;
    let deep = [&b"*1\r\n".repeat(10_000)[..], NIL].concat();
    let wide = [b"*20000\r\n", &b"$-1\r\n".repeat(20_000)[..]].concat();
    let maps =
        [b"%2000\r\n", &[&bulk("key")[..], b"*2\r\n:1\r\n$-1\r\n"].concat().repeat(2_000)[..]].concat();
    let both = [b"*2\r\n", &b"*0\r\n"[..], b"~3\r\n", b"*-1\r\n_\r\n", b"%1\r\n#t\r\n,inf\r\n"].concat();
    let attribute = [&b"|1\r\n+ttl\r\n:3600\r\n"[..], &both].concat();
    for reply in [deep, wide, maps, both, attribute] {
        for piece in [1, 6, 1_000, 16_384] {
            if piece == 1 && reply.len() > 50_000 {
                continue;
            }
            ends.ask(&command(&["LRANGE", "list", "0", "-1"]))?;
            for part in reply.chunks(piece) {
                ends.answer(part)?;
            }
            behave(&mut ends, 1)?;
            count += 1;
        }
        expect(&agent, &ends, IDLE)?;
        expect_keys(&agent, &ends, &[("good", [count, count])])?;
    }
    // In what a client sends there are none; a real server closes the connection.
    for commands in
        [&b"*1\r\n*1\r\n$4\r\nPING\r\n"[..], b"*2\r\n$3\r\nGET\r\n*1\r\n$1\r\na\r\n", b"*1\r\n:1\r\n"]
    {
        let mut ends = greet()?;
        ends.ask(commands)?;
        ends.answer(b"-ERR Protocol error: expected '$', got '*'\r\n")?;
        expect_keys(&agent, &ends, &[])?;
    }
    bystanders.check(&agent)
}

#[test]
fn lengths_that_cannot_be() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    let lengths = [
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "4294967296",
        "-2",
        "-9223372036854775808",
        "99999999999999999999999999999999999999",
        "0x10",
        "1e3",
        "",
        "abc",
    ];
    for length in lengths {
        for kind in ["$", "*", "%", ">", "=", "~"] {
            let what = format!("{kind}{length} from a server");
            let before = desyncs(&agent.scrape()?);
            let mut ends = greet()?;
            ends.ask(&command(&["GET", "bad:1"]))?;
            ends.answer(format!("{kind}{length}\r\nabc\r\n").as_bytes())?;
            agent.wait_until(&what, |metrics| desyncs(metrics) > before)?;
            // It is found again, or left alone; it is not counted wrongly.
            behave(&mut ends, 5)?;
            no_more_than(&agent, &ends, 5).context(what)?;
        }
        for start in [
            format!("*{length}\r\n$3\r\nGET\r\n$5\r\nbad:1\r\n"),
            format!("*2\r\n$3\r\nGET\r\n${length}\r\n"),
        ] {
            let what = format!("{start:?} from a client");
            let mut ends = greet()?;
            ends.ask(start.as_bytes())?;
            ends.answer(b"-ERR Protocol error: invalid bulk length\r\n")?;
            behave(&mut ends, 5)?;
            no_more_than(&agent, &ends, 5).context(what)?;
        }
    }
    bystanders.check(&agent)
}

/// So many good keys found, and as many not, at most; and no others. What counts does so in the call that moves it.
fn no_more_than(agent: &Agent, ends: &Ends, times: u32) -> anyhow::Result<()> {
    thread::sleep(Duration::from_millis(20));
    let metrics = agent.scrape()?;
    for view in views(ends)? {
        let prefixes = view.prefixes(&metrics);
        let most = f64::from(times);
        let right = prefixes
            .iter()
            .all(|(prefix, [hits, misses])| prefix == "good" && *hits <= most && *misses <= most);
        ensure!(right, "of {times} good ones each: {prefixes:?}");
    }
    Ok(())
}

#[test]
fn empty_commands_are_none() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut ends = greet()?;
    // A real server says nothing to these.
    ends.ask(b"*0\r\n")?;
    ends.ask(b"*-1\r\n")?;
    ends.ask(b"\r\n")?;
    behave(&mut ends, 3)?;
    expect(&agent, &ends, IDLE)?;
    expect_keys(&agent, &ends, &[("good", [3, 3])])?;
    before.no_more(&agent)
}

/// So many bytes that look like replies and commands.
fn stream(from: &mut TcpStream, to: &mut TcpStream, length: usize) -> anyhow::Result<()> {
    let piece = b"$-1\r\n*2\r\n$3\r\nGET\r\n$5\r\nbad:1\r\n--".repeat(1 << 15);
    thread::scope(|scope| {
        let reader = scope.spawn(move || -> anyhow::Result<()> {
            let mut left = length;
            let mut bytes = vec![0; 1 << 20];
            while left > 0 {
                let most = left.min(bytes.len());
                let read = to.read(&mut bytes[..most])?;
                ensure!(read > 0, "the other end closed");
                left -= read;
            }
            Ok(())
        });
        for start in (0..length).step_by(piece.len()) {
            from.write_all(&piece[..piece.len().min(length - start)])?;
        }
        reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })
}

#[test]
fn ends_in_the_middle() -> anyhow::Result<()> {
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut bystanders = Bystanders::start()?;
    for sent in [1, 2, 4, 5, 8, 1_000, 90_000] {
        let mut ends = greet()?;
        ends.ask(&command(&["GET", "user:1"]))?;
        ends.answer(&bulk(vec![b'$'; 100_000])[..sent])?;
        // A reply is there once its header is.
        expect(&agent, &ends, if sent < 9 { ACTIVE } else { IDLE })?;
        let both = views(&ends)?;
        drop(ends);
        for view in both {
            view.expect(&agent, &Sessions::default(), View::sessions)?;
        }
    }
    for sent in [1, 3, 5, 9, 12, 20] {
        let mut ends = greet()?;
        ends.ask(&command(&["GET", "user:1", "user:2"])[..sent])?;
        let both = views(&ends)?;
        drop(ends);
        for view in both {
            view.expect(&agent, &Sessions::default(), View::sessions)?;
            view.expect(&agent, &Prefixes::new(), View::prefixes)?;
        }
    }
    bystanders.check(&agent)?;
    before.no_more(&agent)
}

#[test]
fn replies_that_nobody_asked_for() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    for replies in [NIL.to_vec(), bulk("some"), OK.repeat(50), [&b"*2\r\n"[..], NIL, NIL].concat()] {
        let before = desyncs(&agent.scrape()?);
        let mut ends = greet()?;
        ends.answer(&replies)?;
        agent.wait_until("a desync is counted", |metrics| desyncs(metrics) > before)?;
        behave(&mut ends, 5)?;
        no_more_than(&agent, &ends, 5)?;
    }
    bystanders.check(&agent)
}

#[test]
fn http_at_a_redis_port_is_http() -> anyhow::Result<()> {
    const REQUESTS: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost/user:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\nSET user:1 some\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
    ];
    let _alone = alone();
    let (agent, before) = shared()?;
    let mut bystanders = Bystanders::start()?;
    let server = bystanders.server.target().label();
    for request in REQUESTS {
        for piece in [1, 5, usize::MAX] {
            throw(&server, &request.chunks(piece).collect::<Vec<_>>())?;
        }
    }
    bystanders.check(&agent)?;
    let own = View::client(&own_name()?, &bystanders.server.target().label());
    own.expect(&agent, &Prefixes::new(), View::prefixes)?;
    own.expect(&agent, &Sessions::default(), View::sessions)?;
    own.expect(&agent, &0.0, |view, metrics| view.command(metrics, "set"))?;
    // And what is HTTP on both sides stays that.
    let mut ends = Ends::connect()?;
    for _ in 0..3 {
        ends.ask(b"GET /user:1 HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        ends.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n+OK\n")?;
    }
    expect(&agent, &ends, Sessions::default())?;
    expect_keys(&agent, &ends, &[])?;
    before.no_more(&agent)
}

#[test]
fn noise_between_two_that_agree_on_it() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystanders = Bystanders::start()?;
    let mut chance = Chance::new(2);
    for piece in [1, 100, 16_384] {
        let mut ends = greet()?;
        let length = if piece == 1 { 3_000 } else { 500_000 };
        for part in chance.bytes(length).chunks(piece) {
            ends.ask(part)?;
        }
        for part in chance.bytes(length).chunks(piece) {
            ends.answer(part)?;
        }
        expect_keys(&agent, &ends, &[])?;
    }
    bystanders.check(&agent)
}

/// The agent's memory must not grow.
// needs: host
// takes: 6 s
mod on_a_quiet_host {
    use super::{
        ACTIVE, Agent, Bystanders, Chance, IDLE, OK, Sessions, View, alone, behave, command, ensure, expect,
        expect_keys, greet, nothing_lost, own_name, stream, throw, views,
    };

    #[test]
    fn a_bulk_of_512_megabytes() -> anyhow::Result<()> {
        const LENGTH: usize = 512 << 20;
        let _alone = alone();
        let agent = Agent::start(&[])?;
        let mut bystanders = Bystanders::start()?;
        bystanders.check(&agent)?;
        let resident = agent.resident_bytes()?;
        let mut ends = greet()?;
        ends.ask(format!("*3\r\n$3\r\nSET\r\n$5\r\nbig:1\r\n${LENGTH}\r\n").as_bytes())?;
        stream(&mut ends.client, &mut ends.server, LENGTH)?;
        ends.ask(b"\r\n")?;
        expect(&agent, &ends, ACTIVE)?;
        ends.answer(OK)?;
        expect(&agent, &ends, IDLE)?;
        ends.ask(&command(&["GET", "big:1"]))?;
        ends.answer(format!("${LENGTH}\r\n").as_bytes())?;
        stream(&mut ends.server, &mut ends.client, LENGTH)?;
        ends.answer(b"\r\n")?;
        expect(&agent, &ends, IDLE)?;
        behave(&mut ends, 2)?;
        expect_keys(&agent, &ends, &[("big", [1, 0]), ("good", [2, 2])])?;
        for view in views(&ends)? {
            let sizes =
                |view: &View, metrics: &_| view.histogram(metrics, "redis_key_size_bytes", &[1_048_576.0]);
            view.expect(&agent, &vec![0.0, 1.0, LENGTH as f64], sizes)?;
        }
        bystanders.check(&agent)?;
        let growth = agent.resident_bytes()?.saturating_sub(resident);
        ensure!(growth < 4 << 20, "{growth} bytes more are resident");
        nothing_lost(&agent)
    }

    #[test]
    fn a_real_server_is_thrown_noise() -> anyhow::Result<()> {
        let _alone = alone();
        let agent = Agent::start(&[])?;
        let mut bystanders = Bystanders::start()?;
        let server = bystanders.server.target().label();
        let mut chance = Chance::new(1);
        let ping = command(&["PING"]);
        let mut resident = Vec::new();
        for _ in 0..2 {
            for length in [1, 4, 5, 8, 100, 9_000, 100_000] {
                for _ in 0..5 {
                    let bytes = chance.bytes(length);
                    let words: Vec<u8> = bytes.iter().map(|byte| b' ' + byte % 95).collect();
                    let line = [&words[..], b"\r\n"].concat();
                    let unsure: Vec<u8> =
                        bytes.iter().map(|byte| b"*$:+-_%\r\n0123456789"[*byte as usize % 19]).collect();
                    throw(&server, &[&bytes])?;
                    throw(&server, &[&line, &line])?;
                    throw(&server, &[b"PING ", &line, &line])?;
                    throw(&server, &[&unsure])?;
                    throw(&server, &[&ping, &bytes])?;
                    throw(&server, &[&ping, &unsure])?;
                    throw(&server, &[b"*2\r\n$3\r\nGET\r\n", format!("${length}\r\n").as_bytes(), &bytes])?;
                }
            }
            bystanders.check(&agent)?;
            resident.push(agent.resident_bytes()?);
        }
        let growth = resident[1].saturating_sub(resident[0]);
        ensure!(growth < 2 << 20, "{growth} bytes more are resident after another round");
        let own = View::client(&own_name()?, &bystanders.server.target().label());
        own.expect(&agent, &Sessions::default(), View::sessions)?;
        // What the server has found, it has found for its bystanders, but for a key that was noise.
        let [hits, misses] = own.keys(&agent.scrape()?);
        let [all_hits, all_misses] = bystanders.server.keyspace()?;
        let [their_hits, their_misses] = bystanders.truth.keys();
        ensure!(hits <= all_hits - their_hits, "{hits} hits of {}", all_hits - their_hits);
        ensure!(misses <= all_misses - their_misses, "{misses} misses of {}", all_misses - their_misses);
        Ok(())
    }
}
