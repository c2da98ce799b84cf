//! llhttp judges what clients send, inside Node.js: by the cases of its own tests, of which a real server answers what it
//! takes. The agent has seen just these requests answered so, at both ends; what is refused has done it no harm.

// Streams that are out of sync are counted for all together.
// needs: host
// takes: 8 s

#[path = "../../observer-ebpf/tests/common/llhttp.rs"]
#[expect(dead_code, reason = "of what its log says, this needs nothing: llhttp itself is asked")]
mod llhttp;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::http::shown::View;
use observer_tests::metrics::Metrics;
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, own_name, unique_name};

/// What llhttp takes, and is no HTTP/1: other protocols, and HTTP/0.9 (see observer-ebpf/tests/http_llhttp.rs).
const OTHER_PROTOCOLS: [&str; 4] =
    ["SOURCE request with ICE", "OPTIONS request with RTSP", "ANNOUNCE request with RTSP", "No HTTP version"];

/// What comes first on each connection, so that it is HTTP's whatever follows.
const FIRST: &[u8] = b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
/// How long Node.js has for an answer.
const PATIENCE: Duration = Duration::from_millis(300);

/// Reads what has been answered so far, and tells whether the server has closed the connection.
fn read_all(stream: &mut TcpStream) -> anyhow::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Has each case sent over a connection of its own, cut at a place; how many the server has closed.
fn send_all(port: u16, cut: impl Fn(usize) -> usize) -> anyhow::Result<usize> {
    let cases = llhttp::cases(false).map(|(_, case)| case);
    let cases: Vec<_> = cases.filter(|case| !OTHER_PROTOCOLS.contains(&case.name.as_str())).collect();
    ensure!(cases.len() == 129, "{} cases", cases.len());
    let mut streams = Vec::new();
    for _ in &cases {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.write_all(FIRST)?;
        streams.push(stream);
    }
    sleep(PATIENCE);
    for stream in &mut streams {
        stream.set_nonblocking(true)?;
        ensure!(!read_all(stream)?, "it has answered the first request");
    }
    for part in [0, 1] {
        for (stream, case) in streams.iter_mut().zip(&cases) {
            let cut = cut(case.bytes.len());
            let bytes = if part == 0 { &case.bytes[..cut] } else { &case.bytes[cut..] };
            // The server may have refused the first part, and have gone.
            match stream.write_all(bytes) {
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
                other => other?,
            }
        }
        sleep(PATIENCE);
    }
    let mut closed = 0;
    for stream in &mut streams {
        closed += usize::from(read_all(stream)?);
    }
    Ok(closed)
}

/// Requests that were answered as a server answers what it takes, by method.
fn taken(view: &View, metrics: &Metrics) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for ([method, _, status], count) in view.requests(metrics) {
        if status == "200" {
            *counts.entry(method).or_default() += count;
        }
    }
    counts
}

#[test]
fn what_llhttp_takes_is_counted_and_nothing_else() -> anyhow::Result<()> {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let _alone = alone();
    let agent = Agent::shared()?;
    let name = unique_name("judge");
    let mut judge = Puppet::start_node("http_judge.js", &name)?;
    let port: u16 = serde_json::from_value(judge.ask("listen()")?)?;
    let label = format!("127.0.0.1:{port}");
    let views = [View::client(&own_name()?, &label), View::server(&name, &label)];
    // Whole, and cut at places that fall into lines, between them, and into bodies.
    let cuts: [fn(usize) -> usize; 4] =
        [|_| 0, |length| length / 2, |length| length - length / 3, |length| length - 1];
    for cut in cuts {
        let closed = send_all(port, cut)?;
        ensure!(closed > 30, "it refuses {closed}");
        let answered: Vec<(String, u64)> = serde_json::from_value(judge.ask("tell()")?)?;
        let mut expected = BTreeMap::<String, f64>::new();
        for (method, _) in &answered {
            let known = METHODS.iter().find(|known| *known == method);
            *expected.entry(known.map_or("other", |known| known).to_owned()).or_default() += 1.0;
        }
        for view in &views {
            view.expect(&agent, &expected, taken)?;
        }
    }
    agent.get("/healthz")?;
    Ok(())
}
