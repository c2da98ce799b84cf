//! What records of TLS tell without a key: versions, bytes, handshakes, alerts, as those say who see every byte of both ends.

// needs: nothing
// takes: 8 s

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::process::Command;

use anyhow::{Context as _, ensure};
use observer_tests::agent::Agent;
use observer_tests::losses::shared;
use observer_tests::metrics::Metrics;
use observer_tests::nginx::Nginx;
use observer_tests::postgres::server::make_certificate;
use observer_tests::puppet::Puppet;
use observer_tests::websocket::{alone, unique_name};
use serde::Deserialize;

/// What an end tells: bytes of application records that it sent, alerts in the clear that it did, and the same that it
/// received.
#[derive(Debug, Deserialize, PartialEq)]
struct Told(f64, Vec<u8>, f64, Vec<u8>);

/// A server and a client with a certificate that only one of the client's contexts trusts.
struct Pair {
    server: Puppet,
    client: Puppet,
    names: [String; 2],
    port: u16,
    sessions: usize,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let [certificate, key] = make_certificate(folder.path())?;
        let names = [unique_name("tlsd"), unique_name("tlsc")];
        let (mut server, mut client) = (Puppet::start(&names[0])?, Puppet::start(&names[1])?);
        let port = server.listen()?;
        for puppet in [&mut server, &mut client] {
            puppet.run("from tls_peer import *")?;
            puppet.run("sessions = []")?;
            puppet.run(&format!(
                "by_version = {{version: contexts(version, '{certificate}', '{key}') for version in ('TLSv1_2', 'TLSv1_3')}}"
            ))?;
        }
        Ok(Self { server, client, names, port, sessions: 0, _folder: folder })
    }

    /// Connects, and has both ends be of a version. `context` is the client's: 1 of one that trusts the server, or 2.
    fn connect(&mut self, versions: [&str; 2], context: usize, pause: f64) -> anyhow::Result<()> {
        let [of_server, of_client] = versions;
        self.client.run(&format!("one = connect(('127.0.0.1', {}))", self.port))?;
        self.client
            .run(&format!("sessions.append(Peer(one, by_version['{of_client}'][{context}], False))"))?;
        self.server.run(&format!(
            "sessions.append(Peer(listener.accept()[0], by_version['{of_server}'][0], True, {pause}))"
        ))?;
        self.sessions += 1;
        Ok(())
    }

    /// Has both do something with the newest session at once.
    fn both(&mut self, [server, client]: [&str; 2]) -> anyhow::Result<[serde_json::Value; 2]> {
        self.server.tell(&format!("sessions[-1].{server}"))?;
        self.client.tell(&format!("sessions[-1].{client}"))?;
        Ok([self.server.answer()?, self.client.answer()?])
    }

    /// The sum of what all sessions of both ends have told.
    fn told(&mut self) -> anyhow::Result<[Told; 2]> {
        let of = |puppet: &mut Puppet| -> anyhow::Result<Told> {
            let all: Vec<Told> = serde_json::from_value(puppet.ask("[one.told() for one in sessions]")?)?;
            ensure!(all.len() == self.sessions, "{all:?}");
            Ok(all.into_iter().fold(Told(0.0, vec![], 0.0, vec![]), |mut sum, one| {
                sum.1.extend(one.1);
                sum.3.extend(one.3);
                Told(sum.0 + one.0, sum.1, sum.2 + one.2, sum.3)
            }))
        };
        Ok([of(&mut self.server)?, of(&mut self.client)?])
    }

    /// Waits until the agent shows at both ends what they tell.
    fn expect(&mut self, agent: &Agent) -> anyhow::Result<()> {
        let told = self.told()?;
        ensure!(told[0].0 == told[1].2 && told[0].1 == told[1].3, "both ends say the same: {told:?}");
        for ((told, name), role) in told.iter().zip(&self.names).zip(["server", "client"]) {
            agent.wait_until(&format!("{told:?} of {name}"), |metrics| {
                let labels = [("process", name.as_str()), ("role", role), ("read", "no")];
                metrics.sum("observer_tls_bytes_total", &labels) == told.0 + told.2
                    && alerts(metrics, name, "sent") == by_name(&told.1)
                    && alerts(metrics, name, "received") == by_name(&told.3)
            })?;
        }
        Ok(())
    }
}

/// How many alerts of each name are shown of a process.
fn alerts(metrics: &Metrics, process: &str, direction: &str) -> BTreeMap<String, f64> {
    let labels = [("process", process), ("direction", direction)];
    let samples = metrics.samples("observer_tls_alerts_total", &labels);
    samples.iter().map(|sample| (sample.labels["description"].clone(), sample.value)).collect()
}

/// How many there are of each name, of those that these tests see (RFC 8446, section 6).
fn by_name(codes: &[u8]) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for code in codes {
        let name = match code {
            48 => "unknown_ca".to_owned(),
            70 => "protocol_version".to_owned(),
            code => code.to_string(),
        };
        *counts.entry(name).or_default() += 1.0;
    }
    counts
}

/// Open sessions of a process by version.
fn open(metrics: &Metrics, process: &str, version: &str) -> f64 {
    let labels = [
        ("process", process),
        ("version", version),
        ("library", "unknown"),
        ("read", "no"),
        ("reason", "off"),
    ];
    metrics.sum("observer_tls_connections", &labels)
}

#[test]
fn sessions_of_both_versions() -> anyhow::Result<()> {
    let (agent, losses) = shared("tls")?;
    let mut pair = Pair::start()?;
    // How long each handshake took at least and at most, by the clocks of the server and of the client.
    let mut spans: [Vec<[f64; 2]>; 2] = Default::default();
    for (pause, version) in [(0.12, "TLSv1_3"), (0.03, "TLSv1_2"), (0.0, "TLSv1_3"), (0.0, "TLSv1_2")] {
        pair.connect([version; 2], 1, pause)?;
        let took = pair.both(["handshake()"; 2])?;
        let waited = pair.server.number("sessions[-1].waited")?;
        for (spans, took) in spans.iter_mut().zip(took) {
            spans.push([waited, took.as_f64().context("seconds")?]);
        }
        for (length, times) in [(1, 3), (1_000, 1), (16_384, 2), (100_000, 3)] {
            let (say, hear) = (format!("say({length}, {times})"), format!("hear({})", length * times));
            pair.both([&say, &hear])?;
            pair.both([&hear, &say])?;
        }
        pair.expect(&agent)?;
    }
    // The server's end sees the hello later than its process begins to wait for it, so its span is wide.
    let metrics = agent.scrape()?;
    let label = format!("127.0.0.1:{}", pair.port);
    for ((name, role), spans) in pair.names.iter().zip(["server", "client"]).zip(spans) {
        let labels = [("process", name.as_str()), ("role", role), ("server", &label)];
        let of = |what: &str| metrics.sum(&format!("observer_tls_handshake_seconds_{what}"), &labels);
        ensure!(of("count") == 4.0, "{} handshakes of {name}", of("count"));
        let [least, most] = [0, 1].map(|at| spans.iter().map(|span| span[at]).sum::<f64>());
        ensure!((least..=most).contains(&of("sum")), "{} s, and not {least} to {most}: {name}", of("sum"));
        let quick = metrics.sum(
            "observer_tls_handshake_seconds_bucket",
            &[("process", name), ("server", &label), ("le", "0.1")],
        );
        // The first one takes longer anywhere, as its server paused for longer; on a loaded machine others may, too.
        ensure!(spans[0][0] > 0.1, "its server was to pause: {spans:?}");
        let within = |at: usize| spans.iter().filter(|span| span[at] <= 0.1).count() as f64;
        let [surely, perhaps] = [within(1), within(0)];
        ensure!((surely..=perhaps).contains(&quick), "{quick} of {name} were below 0.1 s: {spans:?}");
        ensure!(["1.2", "1.3"].map(|version| open(&metrics, name, version)) == [2.0; 2], "{name}");
    }
    for puppet in [&mut pair.client, &mut pair.server] {
        puppet.run("[one.one.close() for one in sessions]")?;
    }
    for name in &pair.names {
        agent.wait_until("none is open", |metrics| {
            ["1.2", "1.3"].map(|version| open(metrics, name, version)) == [0.0; 2]
        })?;
    }
    pair.expect(&agent)?;
    losses.no_more(&agent)
}

#[test]
fn alerts_in_the_clear() -> anyhow::Result<()> {
    let (agent, losses) = shared("tls")?;
    let mut pair = Pair::start()?;
    for (versions, context) in [(["TLSv1_3", "TLSv1_2"], 1), (["TLSv1_2", "TLSv1_3"], 1), (["TLSv1_2"; 2], 2)]
    {
        pair.connect(versions, context, 0.0)?;
        let failed = pair.both(["fails()"; 2])?;
        ensure!(
            failed == [serde_json::Value::Bool(true), serde_json::Value::Bool(true)],
            "{versions:?}: {failed:?}"
        );
    }
    let told = pair.told()?;
    ensure!(told[0].1 == [70, 70] && told[1].1 == [48], "what was to be seen: {told:?}");
    pair.expect(&agent)?;
    for name in &pair.names {
        let labels = [("process", name.as_str())];
        ensure!(agent.scrape()?.sum("observer_tls_handshake_seconds_count", &labels) == 0.0, "none was over");
    }
    losses.no_more(&agent)
}

#[test]
fn an_agent_that_starts_later() -> anyhow::Result<()> {
    let _alone = alone();
    let mut pair = Pair::start()?;
    for version in ["TLSv1_3", "TLSv1_2"] {
        pair.connect([version; 2], 1, 0.0)?;
        pair.both(["handshake()"; 2])?;
        pair.both(["say(1000, 3)", "hear(3000)"])?;
    }
    let before = pair.told()?;
    let agent = Agent::start(&[])?;
    for at in 0..2 {
        pair.server.tell(&format!("sessions[{at}].say(5000, 4)"))?;
        pair.client.run(&format!("sessions[{at}].hear(20000)"))?;
        pair.server.answer()?;
        pair.client.tell(&format!("sessions[{at}].say(300, 2)"))?;
        pair.server.run(&format!("sessions[{at}].hear(600)"))?;
        pair.client.answer()?;
    }
    let after = pair.told()?;
    for ((before, after), name) in before.iter().zip(&after).zip(&pair.names) {
        let bytes = after.0 + after.2 - before.0 - before.2;
        agent.wait_until(&format!("{bytes} bytes of {name}"), |metrics| {
            let lost = metrics.sum("observer_unsynchronised_connections", &[("protocol", "tls")]);
            metrics.sum("observer_tls_bytes_total", &[("process", name)]) == bytes
                && open(metrics, name, "unknown") == 2.0
                && lost == 0.0
        })?;
    }
    Ok(())
}

#[test]
fn nginx_and_curl() -> anyhow::Result<()> {
    let (agent, losses) = shared("tls")?;
    let folder = tempfile::tempdir()?;
    let [certificate, key] = make_certificate(folder.path())?;
    let around = format!(
        "log_format told '$ssl_protocol $bytes_sent'; access_log log told;
         ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;"
    );
    let nginx = Nginx::with(&around, "ssl", "", false)?;
    std::fs::write(nginx.folder().join("file"), vec![b'x'; 1_000_000])?;
    let label = format!("127.0.0.1:{}", nginx.port);
    for versions in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let (file, url) = (folder.path().join("got"), format!("https://{label}/file"));
        let status = Command::new(observer_tests::programs::installed("curl")?)
            .args(["--silent", "--insecure", "--output"])
            .arg(&file)
            .args(versions)
            .args([&url, "--next", "--silent", "--insecure", "--output"])
            .arg(&file)
            .args(versions)
            .arg(&url)
            .status()?;
        ensure!(status.success() && std::fs::metadata(&file)?.len() == 1_000_000, "curl: {status}");
    }
    let log = read_to_string(nginx.folder().join("log"))?;
    let lines: Vec<(&str, f64)> = log
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(version, bytes)| Ok((version, bytes.parse()?)))
        .collect::<anyhow::Result<_>>()?;
    ensure!(lines.iter().map(|line| line.0).eq(["TLSv1.2", "TLSv1.2", "TLSv1.3", "TLSv1.3"]), "{log}");
    let sent: f64 = lines.iter().map(|line| line.1).sum();
    agent.wait_until("all of it", |metrics| {
        let of = |name: &str| metrics.sum(name, &[("process", nginx.name.as_str()), ("role", "server")]);
        // Each record of at most 16 KiB adds some bytes, and handshakes and requests have a few.
        let bytes = of("observer_tls_bytes_total");
        bytes > sent && bytes < sent * 1.003 + 20_000.0 && of("observer_tls_handshake_seconds_count") >= 2.0
    })?;
    losses.no_more(&agent)
}
