//! A kernel whose structures have other members than the programs read: this one, with its type information shown
//! to the agent in a changed copy.

// needs: websocket
// makes: messages
// takes: 9 s

use std::fs;
use std::process::Command;

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary};
use observer_tests::metrics::unparsed;
use observer_tests::ring::By;
use observer_tests::talk::Talk;
use observer_tests::websocket::bench::Bench;
use observer_tests::websocket::calls::{Pair, Receiving, Sending};
use observer_tests::websocket::traffic::Opcode;
use observer_tests::websocket::wire::Wire;
use serde_json::Value;
use tempfile::NamedTempFile;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The kernel's type information in which a name is another one of the same length.
fn without(name: &str) -> anyhow::Result<NamedTempFile> {
    let mut types = fs::read(VMLINUX)?;
    let whole = [&b"\0"[..], name.as_bytes(), b"\0"].concat();
    let mut found = 0;
    while let Some(at) = types.windows(whole.len()).position(|bytes| bytes == whole) {
        types[at + 1] = b'_';
        found += 1;
    }
    ensure!(found == 1, "{name} is {found} times in {VMLINUX}");
    let file = NamedTempFile::new()?;
    fs::write(file.path(), types)?;
    Ok(file)
}

/// A command that executes the agent, with its arguments behind, where the kernel seems to tell this of itself.
fn with(types: &NamedTempFile) -> anyhow::Result<Command> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c"]);
    command.arg(format!("mount --bind {} {VMLINUX} && exec \"$0\" \"$@\"", types.path().display()));
    command.arg(binary()?);
    Ok(command)
}

/// What `observer check` says, and whether it succeeds.
fn check(types: &NamedTempFile) -> anyhow::Result<(bool, Value)> {
    let output = with(types)?.args(["check", "--json"]).output()?;
    let said = serde_json::from_slice(&output.stdout);
    Ok((output.status.success(), said.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?))
}

/// The programs that are down, by what a report says, and why.
fn down(report: &Value) -> anyhow::Result<Vec<(&str, &str)>> {
    let probes = report["probes"].as_array().context("no probes")?;
    let down = probes.iter().filter(|probe| probe["state"] != "up");
    Ok(down
        .map(|probe| (probe["name"].as_str().unwrap_or(""), probe["reason"].as_str().unwrap_or("")))
        .collect())
}

/// A WebSocket session over TCP and one over a UNIX socket, from their handshake until their end is found.
fn sessions(agent: Agent) -> anyhow::Result<()> {
    let mut bench = Bench::new(agent)?;
    let (mut asked, mut answered) = (Wire::client(), Wire::server());
    for size in [5, 200, 70_000] {
        asked.message(Opcode::Text, size);
        answered.message(Opcode::Binary, size);
    }
    asked.close(1000);
    answered.close(1000);
    for pair in [Pair::tcp("127.0.0.1")?, Pair::unix()?] {
        let (sending, receiving) = (Sending::Write(usize::MAX), Receiving::Read(1 << 16));
        bench.session(pair, &asked, &answered, sending, receiving)?;
    }
    Ok(())
}

/// What `observer check` says, and an agent, where a member is missing that both name and no program needs.
fn without_need(types: &NamedTempFile, named: &str) -> anyhow::Result<(Value, Agent)> {
    let (ok, report) = check(types)?;
    let features = report["features"].as_array().context("no features")?;
    assert!(ok && features.iter().any(|one| one["ok"] == false && one["detail"] == named), "{report}");
    assert_eq!(down(&report)?, []);

    let agent = Agent::start_by(with(types)?, &[])?;
    let status = agent.json("/status")?;
    assert_eq!((down(&status)?, &status["missing_members"][0]), (vec![], &named.into()), "{status}");
    Ok((report, agent))
}

#[test]
fn a_member_for_show_only_is_named_and_everything_else_is_known() -> anyhow::Result<()> {
    let types = without("srtt_us")?;
    let (_, agent) = without_need(&types, "no tcp_sock.srtt_us: round-trip times are not known")?;
    let talk = Talk::steady(["members-c", "members-s"], 30)?;
    agent.wait_until("two seconds of it", |metrics| {
        metrics.sum("observer_bytes_total", &[("process", "members-c"), ("direction", "sent")]) > 50_000.0
    })?;
    let flows = agent.json("/flows?process=members-c")?;
    let flow = &flows["flows"][0];
    assert!(flow["pid"] == talk.client.pid() && flow["rtt_seconds"].is_null(), "{flows}");
    drop(talk);
    sessions(agent)
}

#[test]
fn programs_that_lack_a_member_are_down_and_the_others_count() -> anyhow::Result<()> {
    let types = without("sk_shutdown")?;
    let reason = "this kernel has no sock.sk_shutdown, which it reads";
    let expected = [("inet_sock_set_state", reason), ("tcp_destroy_sock", reason)];
    let (ok, report) = check(&types)?;
    assert!(ok && report["ok"] == true, "{report}");
    assert_eq!(down(&report)?, expected);

    let agent = Agent::start_by(with(&types)?, &[])?;
    assert_eq!(down(&agent.json("/status")?)?, expected);
    let metrics = agent.scrape()?;
    let up = |probe: &str| metrics.sum("observer_probe_up", &[("probe", probe)]);
    assert_eq!((up("tcp_destroy_sock"), up("sock_send_length")), (0.0, 1.0));
    sessions(agent)
}

/// The programs that only keep requests of `io_uring` are left out then, and sends and receives do without.
#[test]
fn requests_that_cannot_be_followed_are_counted_as_bytes() -> anyhow::Result<()> {
    let types = without("async_data")?;
    let named = "no io_kiocb.async_data: what io_uring sends and receives is counted, not parsed";
    let (report, agent) = without_need(&types, named)?;
    assert!(!report.to_string().contains("io_uring_submit_req"), "{report}");
    let pair = Pair::tcp("127.0.0.1")?;
    let bytes = [0; 1_000];
    pair.ask(&bytes, Sending::Ring(By::Thread, bytes.len()), Receiving::Ring(By::Thread, bytes.len()))?;
    assert_eq!(unparsed(&agent.scrape()?, "io_uring"), 2_000.0);
    sessions(agent)
}

/// Whose process a connection is, all need to know.
#[test]
fn what_nothing_can_be_seen_without_is_named() -> anyhow::Result<()> {
    let types = without("start_boottime")?;
    let (ok, report) = check(&types)?;
    let reason = report["reason"].as_str().unwrap_or("");
    assert!(!ok && reason.contains("task_struct.start_boottime") && !reason.contains('\n'), "{report}");
    let output = with(&types)?.args(["run", "--listen", "127.0.0.1:0"]).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("task_struct.start_boottime"), "{said}");
    Ok(())
}
