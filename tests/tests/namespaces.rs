//! The agent and the processes that it observes in pid and cgroup namespaces that are not the same: the kernel's
//! own `NSpid` and `getpid` say which number is right.

// needs: nothing
// takes: 3 s

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary};
use observer_tests::metrics::Metrics;
use observer_tests::puppet::Puppet;
use serde_json::Value;

fn sum(metrics: &Metrics, family: &str, process: &str) -> f64 {
    metrics.sum(family, &[("process", process)])
}

/// A command that executes its arguments in a pid namespace of their own, below that of whoever executes it.
fn in_new_pid_namespace(mut command: Command) -> Command {
    command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

fn env() -> Command {
    Command::new("env")
}

/// The numbers of a process by its name, from the host's pid namespace inwards (`NSpid` in `proc_pid_status(5)`).
fn numbers(name: &str) -> anyhow::Result<Vec<u64>> {
    for process in fs::read_dir("/proc")? {
        let Ok(status) = fs::read_to_string(process?.path().join("status")) else { continue };
        let line = |start: &str| status.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
        if line("Name:\t") == name {
            let numbers = line("NSpid:\t").split_whitespace().map(str::parse);
            return Ok(numbers.collect::<Result<_, _>>()?);
        }
    }
    anyhow::bail!("no process is named {name}")
}

/// The process that `pid` has forked.
fn child_of(pid: u32) -> anyhow::Result<u32> {
    let start = Instant::now();
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        if let Some(child) = children.split_whitespace().next() {
            return Ok(child.parse()?);
        }
        ensure!(start.elapsed() < Duration::from_secs(5), "it has not forked");
        sleep(Duration::from_millis(10));
    }
}

/// The pids that the flows of a process are shown with, which must be two.
fn shown(agent: &Agent, process: &str) -> anyhow::Result<u64> {
    let flows = agent.json(&format!("/flows?process={process}"))?;
    let rows = flows["flows"].as_array().context("no flows")?;
    let pids: Vec<u64> = rows.iter().filter_map(|flow| flow["pid"].as_u64()).collect();
    ensure!(pids.len() == 2 && pids[0] == pids[1], "{flows}");
    Ok(pids[0])
}

/// Has it connect to itself over TCP, and move so many bytes.
fn talk(puppet: &mut Puppet, bytes: u32) -> anyhow::Result<()> {
    puppet.run("listener = listen(); opened = connect_all(listener.getsockname(), 1); served = accept_all(listener, 1)")?;
    puppet.run(&format!("send(opened, {bytes}); receive(served, {bytes})"))
}

#[test]
fn the_agent_in_a_pid_namespace_of_its_own() -> anyhow::Result<()> {
    let mut before = Puppet::start("before")?;
    before.run("one, other = socket.socketpair(); send([one], 10); receive([other], 10)")?;
    talk(&mut before, 10)?;
    let mut unshare = in_new_pid_namespace(env());
    unshare.arg(binary()?);
    // Nothing is kept of names whose processes have all ended.
    let agent = Agent::start_by(unshare, &["--series-retention", "0"])?;
    let told = &agent.json("/status")?["pid_namespace"];
    assert_eq!(told["host"], false, "{told}");
    assert!(told["effect"].as_str().is_some_and(|effect| effect.contains("pid 0")), "{told}");
    assert!(agent.log().iter().any(|line| line.contains("pid namespace")), "{:?}", agent.log());

    // Outside: names, and all that is counted.
    before.run("send([one], 5000); receive([other], 5000); send(opened, 700); receive(served, 700)")?;
    let mut outside = Puppet::start("outside")?;
    talk(&mut outside, 300)?;
    let metrics = agent.scrape()?;
    assert_eq!(sum(&metrics, "observer_bytes_total", "before"), 2.0 * 5700.0, "{}", metrics.text());
    assert_eq!(sum(&metrics, "observer_bytes_total", "outside"), 2.0 * 300.0);
    assert_eq!(sum(&metrics, "observer_connections_opened_total", "before"), 0.0, "it was there before");
    assert_eq!(sum(&metrics, "observer_connections_opened_total", "outside"), 2.0);
    assert_eq!(shown(&agent, "outside")?, 0);
    // When they end is not known: what they did stays.
    outside.finish()?;
    let closed = |metrics: &Metrics| sum(metrics, "observer_connections_closed_total", "outside") == 2.0;
    agent.wait_until("it is closed", closed)?;
    for _ in 0..2 {
        assert_eq!(sum(&agent.scrape()?, "observer_bytes_total", "outside"), 2.0 * 300.0);
    }
    let mut again = Puppet::start("outside")?;
    talk(&mut again, 1)?;
    assert_eq!(sum(&agent.scrape()?, "observer_bytes_total", "outside"), 2.0 * 301.0);

    // Inside: the numbers that they have there.
    let inner = child_of(agent.pid())?.to_string();
    let enter = || {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &inner, "--pid", "--mount", "--"]);
        enter
    };
    let mut inside = Puppet::start_by(enter(), "inside")?;
    talk(&mut inside, 200)?;
    let mut nested = Puppet::start_by(in_new_pid_namespace(enter()), "nested")?;
    talk(&mut nested, 100)?;
    let metrics = agent.scrape()?;
    assert_eq!(sum(&metrics, "observer_bytes_total", "inside"), 2.0 * 200.0);
    assert_eq!(sum(&metrics, "observer_bytes_total", "nested"), 2.0 * 100.0);
    assert_eq!(shown(&agent, "inside")? as f64, inside.number("os.getpid()")?);
    let [_, in_the_agents, innermost] = numbers("nested")?[..] else { anyhow::bail!("not three namespaces") };
    assert_eq!(innermost as f64, nested.number("os.getpid()")?);
    assert_eq!(shown(&agent, "nested")?, in_the_agents);
    inside.finish()?;
    agent.wait_until("it is known to have ended", |metrics| {
        sum(metrics, "observer_bytes_total", "inside") == 0.0
    })?;
    Ok(())
}

#[test]
fn processes_in_a_pid_namespace_of_their_own() -> anyhow::Result<()> {
    let agent = Agent::start(&[])?;
    let status = agent.json("/status")?;
    assert_eq!(status["pid_namespace"], serde_json::json!({ "host": true, "effect": null }));
    let mut contained = Puppet::start_by(in_new_pid_namespace(env()), "contained")?;
    talk(&mut contained, 100)?;
    assert_eq!(sum(&agent.scrape()?, "observer_bytes_total", "contained"), 2.0 * 100.0);
    let [on_the_host, inside] = numbers("contained")?[..] else { anyhow::bail!("not two namespaces") };
    assert_ne!(on_the_host, inside);
    assert_eq!(shown(&agent, "contained")?, on_the_host);
    Ok(())
}

/// A control group, of version 2. Dropping it removes it, once its processes have ended.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> anyhow::Result<Self> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists());
        let path = root.context("no control groups of version 2")?.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let start = Instant::now();
        // What was in it may not be gone yet.
        while fs::remove_dir(&self.0).is_err() && start.elapsed() < Duration::from_secs(2) {
            sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn the_agent_in_a_cgroup_namespace_of_its_own() -> anyhow::Result<()> {
    let [one, other] = ["3b", "7c"].map(|start| format!("{start}{:062x}", std::process::id()));
    let group = Group::new(&format!("docker-{one}.scope"))?;
    let agents = Group::new(&format!("docker-{other}.scope"))?;
    let mut contained = Puppet::start("contained")?;
    fs::write(group.procs(), contained.pid().to_string())?;
    talk(&mut contained, 100)?;

    let mut command = Command::new("sh");
    let enter = format!("echo $$ > '{}' && exec unshare --cgroup -- \"$@\"", agents.procs().display());
    command.args(["-c", &enter, "sh"]).arg(binary()?);
    let agent = Agent::start_by(command, &[])?;
    // Seen from here, the other's path leads out of the namespace.
    let seen = fs::read_link(format!("/proc/{}/ns/cgroup", agent.pid()))?;
    assert_ne!(seen, fs::read_link("/proc/self/ns/cgroup")?);
    let status: Value = agent.json("/status")?;
    assert_eq!(status["cgroup_namespace"]["host"], false, "{status}");
    assert_eq!(status["pid_namespace"]["host"], true, "{status}");
    contained.run("send(opened, 100); receive(served, 100)")?;
    let labels = [("process", "contained"), ("container", &one[..12])];
    assert_eq!(agent.scrape()?.sum("observer_bytes_total", &labels), 200.0);
    // They go once what is in them is gone.
    drop((agent, contained));
    Ok(())
}
