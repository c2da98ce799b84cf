//! The formats that metrics come in, and compressed answers.

// Two scrapes have the same series only if no process comes or goes between them.
// needs: host
// takes: 3 s

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use observer_tests::agent::Agent;
use observer_tests::credentials::Credentials;
use observer_tests::programs::{environment, scripts};
use observer_tests::puppet::Puppet;

/// Provokes families with names that have to be escaped.
fn traffic() -> anyhow::Result<[Puppet; 2]> {
    let (mut client, mut server) = (Puppet::start("format-client")?, Puppet::start("format-server")?);
    let port = server.listen()?;
    client.run(&format!("one = connect(('127.0.0.1', {port})); ask_upgrade(one)"))?;
    server.run("one = listener.accept()[0]; grant_upgrade(one)")?;
    client.run("finish_upgrade(one); one.sendall(frame(5, True) + frame(5000, True))")?;
    server.run("receive([one], 11 + 5008)")?;
    client.run("left, right = socket.socketpair(); send([left], 5); receive([right], 5)")?;
    client.run("run_child(lambda: (name_process('a\"b\\\\c\\nd'), send([left], 5)))")?;
    // A name of 15 bytes, the last of which is the first half of a character.
    client.run("run_child(lambda: (name_process('cut\\r\\t in half.\\xfc'), send([left], 5)))")?;
    Ok([client, server])
}

/// Values by name and labels.
type Values = BTreeMap<String, String>;

/// Seconds since 1970.
fn now() -> anyhow::Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

#[test]
fn both_formats_hold_the_same_and_so_do_compressed_answers() -> anyhow::Result<()> {
    // The agent's clock and this one may differ by how long it takes to look at them.
    let begun = now()? - 0.1;
    let agent = Agent::start(&[])?;
    let met = now()?;
    let _traffic = traffic()?;
    sleep(Duration::from_millis(1_500));
    let folder = Credentials::new()?;
    let url = |path: &str| format!("{}{path}", agent.url());
    let fetch = |name: &str, arguments: &[&str]| -> anyhow::Result<String> {
        let headers = folder.path("headers");
        let path = folder.path(name);
        let (status, said) =
            folder.curl(&[&["--dump-header", &headers, "--output", &path][..], arguments].concat())?;
        ensure!(status == 200, "{said}");
        Ok(fs::read_to_string(headers)?.to_ascii_lowercase())
    };
    // As Prometheus asks, of version 2.42.
    let accept = "Accept: application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
        q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    // The first is without what whoever asks does by it.
    fetch("first", &[&url("/metrics")])?;
    let headers = fetch("text", &[&url("/metrics")])?;
    assert!(headers.contains("content-type: text/plain; version=0.0.4"), "{headers}");
    assert!(headers.contains("vary: accept\r") && !headers.contains("content-encoding"), "{headers}");
    let headers = fetch(
        "openmetrics",
        &["-H", accept, "-H", "Accept-Encoding: gzip", "--compressed", &url("/metrics")],
    )?;
    assert!(
        headers.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{headers}"
    );
    assert!(headers.contains("content-encoding: gzip"), "{headers}");
    assert!(fs::read_to_string(folder.path("openmetrics"))?.ends_with("\n# EOF\n"));

    let output = Command::new(environment()?.join("venv/bin/python"))
        .arg(scripts().join("expositions.py"))
        .args([folder.path("text"), folder.path("openmetrics")])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (text, openmetrics, created): (Values, Values, BTreeMap<String, f64>) =
        serde_json::from_slice(&output.stdout)?;
    let names: [Vec<&String>; 2] = [text.keys().collect(), openmetrics.keys().collect()];
    assert!(names[0].len() > 100, "{names:?}");
    assert_eq!(names[0], names[1]);
    // As JSON has them, whose escapes are the same as both formats' for these.
    for process in [r#"a\"b\\c\nd"#, r"cut\r\t in half.\ufffd"] {
        let wanted =
            format!(r#"observer_bytes_total{{"container": "", "direction": "sent", "process": "{process}""#);
        assert!(names[0].iter().any(|name| name.starts_with(&wanted)), "{wanted}: {names:?}");
    }
    // Each counter and histogram says since when it counts, and nothing else does.
    let during = begun..=now()?;
    assert!(created.len() > 30, "{created:?}");
    assert!(created.values().all(|time| during.contains(time)), "{during:?}: {created:?}");
    let of_puppets = created.iter().filter(|(name, _)| name.contains("\"format-"));
    assert!(of_puppets.clone().count() > 10, "{created:?}");
    assert!(of_puppets.into_iter().all(|(_, &time)| time >= met - 0.1), "{met}: {created:?}");
    let of_puppets: Vec<&String> = text.keys().filter(|name| name.contains("\"format-")).collect();
    assert!(of_puppets.len() > 40, "{of_puppets:?}");
    for name in of_puppets {
        // Rates go on.
        if !name.contains("per_second") {
            assert_eq!(text[name], openmetrics[name], "{name}");
        }
    }

    // What does not change is the same, byte by byte, whoever unpacks it.
    fetch("plain", &[&url("/page.js")])?;
    fetch("packed", &["-H", "Accept-Encoding: gzip;q=0.5, identity;q=0.1", &url("/page.js")])?;
    let (plain, packed) = (fs::read(folder.path("plain"))?, fs::read(folder.path("packed"))?);
    assert!(packed.len() * 2 < plain.len(), "{} of {}", packed.len(), plain.len());
    let unpacked = Command::new("gzip")
        .args(["--decompress", "--stdout"])
        .stdin(fs::File::open(folder.path("packed"))?)
        .output()?;
    assert_eq!(unpacked.stdout, plain);
    let headers = fetch("plain", &["-H", "Accept-Encoding: gzip;q=0", &url("/page.js")])?;
    assert!(!headers.contains("content-encoding"), "{headers}");
    Ok(())
}
