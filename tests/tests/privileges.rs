//! The agent needs two capabilities to load its programs, and none to go on: as the kernel tells it of each of its
//! threads, and by what it still counts.

// needs: nothing
// takes: 12 s

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary, binary_for_anybody};
use observer_tests::bpf::{Kind, Objects};
use observer_tests::metrics::bytes;
use observer_tests::puppet::Puppet;
use observer_tests::service::{USER, Unit};

/// By their bit (`include/uapi/linux/capability.h`).
const BITS: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_SYS_PTRACE", 19)];

fn mask(capabilities: &[&str]) -> u64 {
    capabilities
        .iter()
        .map(|&name| BITS.iter().find(|known| known.0 == name).map_or(0, |known| 1 << known.1))
        .sum()
}

/// What the kernel says of a thread.
fn status(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path.join("status"))?;
    Ok(text.lines().filter_map(|line| line.split_once(":\t")).map(|(k, v)| (k.into(), v.into())).collect())
}

/// Waits until a process has more threads than its first.
fn await_thread(pid: u32) -> anyhow::Result<()> {
    let start = Instant::now();
    while fs::read_dir(format!("/proc/{pid}/task"))?.count() < 2 {
        ensure!(start.elapsed() < Duration::from_secs(15), "there is but one thread");
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Fails unless every thread of a process has these permitted, and is bounded by those.
fn expect_capabilities(pid: u32, permitted: u64, bounding: u64) -> anyhow::Result<()> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = status(&thread?.path())?;
        let set = |name: &str| -> anyhow::Result<u64> {
            Ok(u64::from_str_radix(thread.get(name).context("no such line")?, 16)?)
        };
        ensure!(set("CapPrm")? == permitted && set("CapEff")? == permitted, "{thread:?}");
        ensure!(set("CapInh")? == 0 && set("CapAmb")? == 0, "{thread:?}");
        ensure!(set("CapBnd")? == bounding, "{thread:?}");
        ensure!(thread.get("NoNewPrivs").is_some_and(|set| set == "1"), "{thread:?}");
    }
    Ok(())
}

/// A process of a user that is neither the agent's nor root.
fn stranger(name: &str) -> anyhow::Result<Puppet> {
    let mut puppet = Puppet::start(name)?;
    puppet.run("os.setgroups([]); os.setgid(12345); os.setuid(12345)")?;
    Ok(puppet)
}

/// What the agent counts of processes that were there before it, and of those that come, while they come and go.
fn expect_counts(agent: &Agent, before: &mut Puppet) -> anyhow::Result<()> {
    agent.wait_until("the connection that was there is found, idle as it is", |metrics| {
        metrics.sum("observer_connections", &[("process", "priv-before"), ("role", "client")]) == 1.0
    })?;
    before.run("send(opened, 5000); receive(served, 5000)")?;
    let mut after = stranger("priv-after")?;
    after.run("listener = listen(); opened = connect_all(listener.getsockname(), 3)")?;
    after.run("served = accept_all(listener, 3); send(opened[:2], 700); receive(served[:2], 700)")?;
    let metrics = agent.scrape()?;
    for direction in ["sent", "received"] {
        assert_eq!(bytes(&metrics, "priv-before", direction), 5000.0, "{}", metrics.text());
        assert_eq!(bytes(&metrics, "priv-after", direction), 1400.0, "{}", metrics.text());
    }
    // The third that it accepted has never been used: only a look at its descriptors tells whose it is.
    agent.wait_until("whose the unused connection is", |metrics| {
        metrics.sum("observer_connections", &[("process", "priv-after"), ("role", "server")]) == 3.0
    })?;
    let flows = agent.json("/flows?process=priv-after")?;
    let pids: Vec<_> =
        flows["flows"].as_array().into_iter().flatten().map(|flow| flow["pid"].clone()).collect();
    assert_eq!(pids, vec![serde_json::json!(after.pid()); 6], "{flows}");

    // It is known to live while it lives, with or without connections, and to be gone once it is.
    after.run("close_all(opened + served)")?;
    agent.wait_until("its connections are closed", |metrics| {
        metrics.sum("observer_connections_closed_total", &[("process", "priv-after")]) == 6.0
    })?;
    for _ in 0..2 {
        let metrics = agent.scrape()?;
        assert_eq!(bytes(&metrics, "priv-after", "sent"), 1400.0, "{}", metrics.text());
    }
    after.finish()?;
    agent.wait_until("what has ended is forgotten", |metrics| bytes(metrics, "priv-after", "sent") == 0.0)?;
    Ok(())
}

/// A process with one connection to itself.
fn connected_before() -> anyhow::Result<Puppet> {
    let mut before = stranger("priv-before")?;
    before.run("listener = listen(); opened = connect_all(listener.getsockname(), 1); served = accept_all(listener, 1)")?;
    Ok(before)
}

fn stop(agent: Agent) -> anyhow::Result<()> {
    let held = Objects::of(agent.pid())?;
    assert!(held.count(Kind::Program) >= 6 && held.count(Kind::Map) >= 6, "{held:?}");
    assert_eq!(agent.stop()?.code(), Some(0));
    held.expect_gone()
}

/// Asks a server for its memory by name, which is looked up on a thread of its own, after the programs are attached. And
/// keeps nothing of names whose processes have all ended.
const WITH_A_THREAD: [&str; 4] = ["--redis-info", "redis://localhost:1", "--series-retention", "0"];

#[test]
fn the_service_has_what_it_needs_and_keeps_nothing() -> anyhow::Result<()> {
    let unit = Unit::read()?;
    let capabilities = unit.capabilities()?;
    let (_directory, program) = binary_for_anybody()?;
    let mut before = connected_before()?;
    let agent = Agent::start_by(unit.command(&program, &capabilities)?, &WITH_A_THREAD)?;
    let told = status(Path::new(&format!("/proc/{}", agent.pid())))?;
    assert_eq!(told.get("Uid"), Some(&[USER; 4].map(|id| id.to_string()).join("\t")), "{told:?}");
    await_thread(agent.pid())?;
    expect_capabilities(agent.pid(), 0, mask(&capabilities))?;
    let privileges = &agent.json("/status")?["privileges"];
    assert_eq!(privileges, &serde_json::json!({ "capabilities": [], "no_new_privileges": true }));
    let down: Vec<String> = agent.log().into_iter().filter(|line| line.contains(" is down")).collect();
    assert_eq!(down, [""; 0]);
    expect_counts(&agent, &mut before)?;
    stop(agent)
}

#[test]
fn root_keeps_nothing() -> anyhow::Result<()> {
    let mut before = connected_before()?;
    let agent = Agent::start(&WITH_A_THREAD)?;
    await_thread(agent.pid())?;
    expect_capabilities(agent.pid(), 0, 0)?;
    expect_counts(&agent, &mut before)?;
    stop(agent)
}

/// The rows of the table in `docs/privileges.md`, with what they say of start and afterwards.
fn documented() -> anyhow::Result<Vec<[String; 3]>> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/privileges.md"))?;
    let rows = text.lines().filter(|line| line.starts_with("| `CAP_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        ensure!(cells.len() == 6, "{row}");
        Ok([cells[1].trim_matches('`').to_owned(), cells[2].to_owned(), cells[3].to_owned()])
    })
    .collect()
}

#[test]
fn the_documentation_names_those_of_the_service() -> anyhow::Result<()> {
    let rows = documented()?;
    let always: Vec<&str> = rows.iter().filter(|row| row[1] == "yes").map(|row| row[0].as_str()).collect();
    assert_eq!(always, Unit::read()?.capabilities()?);
    // Which the tests here find in the kernel's own words.
    let kept: Vec<&str> = rows.iter().filter(|row| row[2] != "no").map(|row| row[0].as_str()).collect();
    assert_eq!(kept, ["CAP_SYS_PTRACE"]);
    Ok(())
}

/// What a start says that does not work, in its one line.
fn refusal(mut command: Command) -> anyhow::Result<String> {
    let start = Instant::now();
    let output = command.args(["run", "--listen", "127.0.0.1:0"]).output()?;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let said = String::from_utf8(output.stderr)?;
    assert!(output.status.code() == Some(1) && said.lines().count() == 1, "{}: {said}", output.status);
    Ok(said)
}

#[test]
fn without_any_one_it_is_refused_and_named() -> anyhow::Result<()> {
    let unit = Unit::read()?;
    let capabilities = unit.capabilities()?;
    let (_directory, program) = binary_for_anybody()?;
    for missing in &capabilities {
        let rest: Vec<&str> = capabilities.iter().copied().filter(|one| one != missing).collect();
        let said = refusal(unit.command(&program, &rest)?)?;
        assert!(said.contains(missing), "{missing}: {said}");
        assert!(rest.iter().all(|there| !said.contains(there)), "{missing}: {said}");
    }
    Ok(())
}

/// A command that sees a `/proc` which hides the processes of others.
fn hidden(command: &Command) -> Command {
    let mut hidden = Command::new("unshare");
    hidden.args(["--mount", "sh", "-c", "mount -t proc -o hidepid=2 proc /proc && exec \"$@\"", "sh"]);
    hidden.arg(command.get_program()).args(command.get_args());
    hidden
}

#[test]
fn where_proc_hides_processes_one_more_is_needed_and_kept() -> anyhow::Result<()> {
    let unit = Unit::read()?;
    let mut capabilities = unit.capabilities()?;
    let (_directory, program) = binary_for_anybody()?;
    let said = refusal(hidden(&unit.command(&program, &capabilities)?))?;
    assert!(said.contains("CAP_SYS_PTRACE") && said.contains("/proc"), "{said}");

    capabilities.push("CAP_SYS_PTRACE");
    let mut before = connected_before()?;
    let agent = Agent::start_by(hidden(&unit.command(&program, &capabilities)?), &WITH_A_THREAD)?;
    expect_capabilities(agent.pid(), mask(&["CAP_SYS_PTRACE"]), mask(&capabilities))?;
    assert_eq!(agent.json("/status")?["privileges"]["capabilities"], serde_json::json!(["CAP_SYS_PTRACE"]));
    expect_counts(&agent, &mut before)?;
    stop(agent)
}

/// In a user namespace a process may have every capability, and the kernel hears of none.
#[test]
fn root_of_a_user_namespace_is_told_so() -> anyhow::Result<()> {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--"]).arg(binary()?);
    let said = refusal(command)?;
    assert!(said.contains("user namespace"), "{said}");
    Ok(())
}
