//! The log as JSON, whatever strangers put into it.

// Messages from 1000 bytes on are told of, whoever sends them.
// needs: messages
// takes: 12 s

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary};
use observer_tests::credentials::python;
use observer_tests::puppet::Puppet;
use serde_json::Value;

/// Reads lines as JSON by Python, strictly, with its timestamps; fails where one is none.
fn records(lines: &[String]) -> anyhow::Result<Vec<Value>> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), lines.join("\n"))?;
    let read = "import datetime, json, sys\n\
        for line in sys.stdin.buffer.read().decode('utf-8', 'strict').splitlines():\n \
        record = json.loads(line)\n \
        time = datetime.datetime.strptime(record['timestamp'], '%Y-%m-%dT%H:%M:%S.%fZ')\n \
        record['age'] = (datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - time).total_seconds()\n \
        print(json.dumps(record))";
    let text = python(read, &[], file.path())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn every_line_is_a_record_whatever_names_hold() -> anyhow::Result<()> {
    const MESSAGES: u64 = 30;
    let agent = Agent::start(&[
        "--log-format",
        "json",
        "--oversized",
        "medium=1000,large=2000,huge=3000",
        "--message-rate-limit",
        "5",
    ])?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a\nb\"\\\u{9b}2J\u{2028}\u{85}").to_string_lossy().into_owned();
    let path_in_python = serde_json::to_string(&path)?;
    let (mut client, mut server) = (Puppet::start("log-client")?, Puppet::start("log-server")?);
    server.run(&format!("listener = listen({path_in_python})"))?;
    // Two records in one, bytes that are no UTF-8, and what terminals act on.
    for (puppet, name) in [
        (&mut client, "b'a\\n{\"x\":1}\\xff'"),
        (&mut server, "b'\\x1b[2J\\xc2\\x85\\xe2\\x80\\xa8\\\"\\\\'"),
    ] {
        puppet.run(&format!("libc.prctl(15, {name}, 0, 0, 0)"))?;
    }
    client.run(&format!("one = connect({path_in_python}); ask_upgrade(one)"))?;
    server.run("one = listener.accept()[0]; grant_upgrade(one)")?;
    client.run("finish_upgrade(one)")?;
    for _ in 0..MESSAGES {
        client.run("one.sendall(frame(1500, True))")?;
        server.run("receive([one], 1508)")?;
    }
    // Both ends tell of each, one by one or together.
    let told = |records: &[Value]| -> u64 {
        let oversized = records.iter().filter(|one| {
            one["kind"] == "oversized"
                || (one["held_back"].is_u64() && one["message"].to_string().contains("oversized"))
        });
        oversized.map(|one| one["held_back"].as_u64().unwrap_or(1)).sum()
    };
    let start = Instant::now();
    let records = loop {
        let records = records(&agent.log())?;
        if told(&records) >= 2 * MESSAGES {
            break records;
        }
        ensure!(start.elapsed() < Duration::from_secs(20), "not all are told of: {records:#?}");
        sleep(Duration::from_millis(500));
    };
    assert_eq!(told(&records), 2 * MESSAGES, "{records:#?}");
    for record in &records {
        for name in ["timestamp", "level", "target", "message"] {
            assert!(record[name].is_string(), "{name}: {record}");
        }
        assert!(record["age"].as_f64().is_some_and(|age| (0.0..60.0).contains(&age)), "{record}");
        assert!(["info", "warn"].iter().any(|&level| record["level"] == level), "{record}");
    }
    let of = |kind: &str| records.iter().filter(|one| one["kind"] == kind).collect::<Vec<_>>();
    let (oversized, high_rate) = (of("oversized"), of("high_rate"));
    assert!((1..=20).contains(&oversized.len()), "{records:#?}");
    assert!(!high_rate.is_empty(), "{records:#?}");
    for one in &oversized {
        assert_eq!((&one["size_bytes"], &one["size_category"]), (&1500.into(), &"medium".into()), "{one}");
    }
    for one in oversized.iter().chain(&high_rate) {
        let (puppet, end) = if one["direction"] == "sent" { (&client, "remote") } else { (&server, "local") };
        assert_eq!((&one["pid"], &one["container"]), (&puppet.pid().into(), &"".into()), "{one}");
        // As it is at /events and in the labels of metrics.
        assert!(one[end].as_str().is_some_and(|shown| shown.contains("/a")), "{one}");
        assert!(one["process"].is_string() && one["role"].is_string(), "{one}");
    }
    let named = |name: &str| oversized.iter().any(|one| one["process"] == name);
    assert!(named("a\n{\"x\":1}\u{fffd}"), "{oversized:#?}");
    Ok(())
}

#[test]
fn a_refusal_is_a_record_where_records_are_read() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("observer.toml");
    fs::write(&file, "log-format = 'json'\nlisten = ['192.0.2.1:9941']\n")?;
    let file = file.to_string_lossy();
    for (arguments, told) in [
        (&["--log-format", "json", "--listen", "192.0.2.1:9941"][..], "192.0.2.1:9941"),
        (&["--config", &file], "192.0.2.1:9941"),
        (&["--log-format", "json", "--config", "/nowhere"], "/nowhere"),
    ] {
        let output = Command::new(binary()?).arg("run").args(arguments).output()?;
        assert_eq!(output.status.code(), Some(1));
        let lines: Vec<String> = String::from_utf8(output.stderr)?.lines().map(str::to_owned).collect();
        let records = records(&lines)?;
        let [record] = &records[..] else { anyhow::bail!("not one record: {lines:#?}") };
        let message = record["message"].as_str().context("no message")?;
        assert!(record["level"] == "error" && message.contains(told), "{record}");
    }
    assert!(Path::new(&*file).exists());
    Ok(())
}
