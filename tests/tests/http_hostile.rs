//! What nobody should say in HTTP: the agent lives and stays small, and a connection beside it is counted exactly.

// The agent's memory must not grow.
// needs: host
// takes: 20 s

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::http::clients::{Client, Library};
use observer_tests::http::servers::{Framework, Server};
use observer_tests::http::shown::View;
use observer_tests::http::wire::Wire;
use observer_tests::http::{Tally, calls};
use observer_tests::metrics::desyncs;
use observer_tests::nginx::Nginx;
use observer_tests::noise::{Chance, throw};
use observer_tests::websocket::alone;

const WHOLE: usize = usize::MAX >> 1;

/// A client and a server that keep the rules all the while, and what must have been counted of them.
struct Bystander {
    client: Client,
    server: Server,
    expected: Tally,
}

impl Bystander {
    fn start() -> anyhow::Result<Self> {
        let (client, server) = (Client::start(Library::Node)?, Server::start(Framework::FastApi)?);
        Ok(Self { client, server, expected: Tally::default() })
    }

    /// More requests, and everything so far is counted.
    fn check(&mut self, agent: &Agent) -> anyhow::Result<()> {
        let calls = calls();
        self.expected.add_calls(&calls, &self.client.make(&self.server.url(), &calls)?)?;
        let label = self.server.label.clone();
        for view in [View::client(&self.client.process, &label), View::server(&self.server.process, &label)] {
            view.expect(agent, &self.expected.clone().shown(), View::tally)?;
        }
        agent.get("/healthz")?;
        agent.get("/readyz")?;
        agent.json("/status")?;
        agent.json("/flows")?;
        Ok(())
    }
}

/// Requests whose end two readers may see in two places (RFC 9112, section 11.2), and fields that no parser should trust.
fn requests() -> Vec<Vec<u8>> {
    let fields = [
        "Content-Length: 5\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\nTransfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: chunked, gzip",
        "Content-Length: 5\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 18446744073709551615",
        "Content-Length: 18446744073709551616",
        "Content-Length: 9223372036854775808",
        "Content-Length: 99999999999999999999999999999999999999999999999999",
        "Content-Length: 5\n Content-Length: 6",
        " Content-Length: 5",
        "X: y\0z",
        ": no name",
        "no colon",
    ];
    let targets =
        ["/", "//", "/%", "/%zz", "/\u{fffd}", "*", "x", "http://", "http://a:b:c/", "/\x01", "/ x", ""];
    let mut requests = Vec::new();
    for field in fields {
        let head = format!("POST /smuggled HTTP/1.1\nHost: a\n{field}\n\n").replace('\n', "\r\n");
        for body in ["0\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "hello"] {
            requests.push([head.as_bytes(), body.as_bytes()].concat());
        }
    }
    for target in targets {
        requests.push(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes());
    }
    for size in [
        "ffffffffffffffff",
        "10000000000000000",
        "7fffffffffffffff",
        "fffffffffffffffffffffffffffff",
        "-1",
        "",
        "g",
        "0x1",
    ] {
        let chunks =
            format!("POST /sizes HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nabc\r\n0\r\n\r\n");
        requests.push(chunks.into_bytes());
    }
    for line in
        ["GET / HTTP/1.2", "GET / HTTP/9.9", "GET /", "GET  / HTTP/1.1", "\r\r\n", "GET / HTTP/1.1\rX: y"]
    {
        requests.push(format!("{line}\r\nHost: a\r\n\r\n").into_bytes());
    }
    requests
}

/// Real servers are sent all of that, whole and in pieces, and noise.
fn throw_everything(target: &str, noise: &mut Chance) -> anyhow::Result<()> {
    for request in requests() {
        throw(target, &[&request])?;
        let cut = noise.below(request.len() as u32) as usize;
        throw(target, &[&request[..cut], &request[cut..]])?;
    }
    for length in [1, 100, 5_000, 100_000] {
        let noise = noise.bytes(length);
        throw(target, &[b"GET /noise HTTP/1.1\r\nHost: a\r\nX: ", &noise])?;
        throw(target, &[b"POST /noise HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", &noise])?;
        throw(target, &[&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50), &noise])?;
    }
    Ok(())
}

/// Two ends that agree to do what no library would.
fn conspire(noise: &mut Chance) -> anyhow::Result<()> {
    let mut wire = Wire::open()?;
    let mut exchange = |asks: &[u8], answers: &[u8], step: usize| -> anyhow::Result<()> {
        wire.connect()?;
        wire.ask(asks, step)?;
        wire.answer(answers, step)?;
        wire.close()
    };
    for request in requests() {
        exchange(&request, &request, WHOLE)?;
        exchange(&request, b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nx", 3)?;
    }
    let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    // Heads without an end, in one line and in many.
    exchange(&[b"GET /".to_vec(), vec![b'a'; 2_000_000]].concat(), b"", WHOLE)?;
    exchange(&[&b"GET / HTTP/1.1\r\n"[..], &b"X: y\r\n".repeat(300_000)].concat(), b"", WHOLE)?;
    exchange(get, &[&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(300_000)].concat(), 60_000)?;
    // Interim responses without an end, answers that nobody asked for, and questions that nobody answers.
    exchange(get, &b"HTTP/1.1 100 Continue\r\n\r\n".repeat(50_000), WHOLE)?;
    exchange(b"", &b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(50_000), WHOLE)?;
    exchange(&get.repeat(50_000), b"", WHOLE)?;
    // A byte a call, of noise behind a head.
    exchange(
        get,
        &[&b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &noise.bytes(3_000)].concat(),
        1,
    )
}

/// A million chunks of one byte are a body like any other. Sent in one call they may be more than is looked at: then the
/// connection is out of sync, and no size is told that is not whole.
#[test]
fn a_million_chunks() -> anyhow::Result<()> {
    const CHUNKS: usize = 1_000_000;
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut wire = Wire::open()?;
    let head = "POST /chunks HTTP/1.1\\r\\nHost: a\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n";
    wire.client.run(&format!("data = b'{head}' + b'1\\r\\nx\\r\\n' * {CHUNKS} + b'0\\r\\n\\r\\n'"))?;
    let length = wire.client.number("len(data)")?;
    let send = |wire: &mut Wire, how: &str| -> anyhow::Result<()> {
        wire.client.tell(how)?;
        wire.server.run(&format!("receive([one], {length:.0})"))?;
        wire.client.answer()?;
        wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", WHOLE)
    };
    send(&mut wire, "[one.sendall(data[at:at + 50_000]) for at in range(0, len(data), 50_000)] and None")?;
    let mut expected = Tally::default();
    expected.add("POST", "/chunks", "200", [CHUNKS as f64, 2.0]);
    for view in &wire.views {
        view.expect(&agent, &expected, View::tally)?;
    }

    send(&mut wire, "one.sendall(data)")?;
    expected.add("POST", "/chunks", "200", [CHUNKS as f64, 2.0]);
    // Who reads 64 KiB in a call sees all of it.
    wire.views[1].expect(&agent, &expected, View::tally)?;
    let metrics = agent.scrape()?;
    let [sizes, _] = wire.views[0].bodies(&metrics)["/chunks"];
    let is_whole = sizes == 2.0 * CHUNKS as f64;
    ensure!(is_whole || sizes == CHUNKS as f64, "{sizes} bytes of two bodies of {CHUNKS}");
    ensure!(is_whole || desyncs(&metrics, "http") >= 1.0, "it is told that one could not be followed");
    Ok(())
}

#[test]
fn nothing_hostile_harms() -> anyhow::Result<()> {
    let _alone = alone();
    let agent = Agent::start(&[])?;
    let mut bystander = Bystander::start()?;
    let nginx = Nginx::logging("")?;
    let servers = [Server::start(Framework::Node)?, Server::start(Framework::Django)?];
    let mut noise = Chance::new(16);
    let mut own = Vec::new();
    for round in 1..=2 {
        for target in [&nginx.label(), &servers[0].label, &servers[1].label] {
            throw_everything(target, &mut noise)?;
            bystander.check(&agent)?;
        }
        conspire(&mut noise)?;
        bystander.check(&agent)?;
        own.push(agent.own_bytes()?);
        eprintln!("the agent's own memory after round {round}: {own:?}");
    }
    let growth = own[1].saturating_sub(own[0]);
    ensure!(growth < 2 << 20, "{growth} bytes more are the agent's own after another round");
    let resident = agent.resident_bytes()?;
    ensure!(resident < 60 << 20, "{resident} bytes are resident");
    Ok(())
}

/// Two hundred clients that send a byte of a head now and then: they are in flight, and no more than that.
#[test]
fn slow_heads() -> anyhow::Result<()> {
    const SLOW: usize = 200;
    let _alone = alone();
    let agent = Agent::shared()?;
    let mut bystander = Bystander::start()?;
    let nginx = Nginx::logging("")?;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = TcpStream::connect(("127.0.0.1", nginx.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n")?;
        slow.push(stream);
    }
    for byte in b"X: slow" {
        for stream in &mut slow {
            stream.write_all(&[*byte])?;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bystander.check(&agent)?;
    let view = View::server(&nginx.name, &nginx.label());
    view.expect(&agent, &0.0, View::count)?;
    // They say the rest, and are answered as any other.
    for stream in &mut slow {
        stream.write_all(b"\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        ensure!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", answer.escape_ascii());
    }
    view.expect(&agent, &(SLOW as f64), View::count)?;
    let [count, seconds] = view.durations(&agent.scrape()?)[&["GET", "/"].map(str::to_owned)];
    let logged: f64 = nginx.logged(SLOW)?.iter().map(|one| one.seconds).sum();
    ensure!(
        count == SLOW as f64 && (seconds - logged).abs() < 0.05 * logged,
        "{seconds} s, and {logged} by the log"
    );
    Ok(())
}
