//! The agent as a service: what the unit asks of systemd is valid and enough, and what the agent tells it comes when
//! it should. Pid 1 of a machine that tests are run on need not be systemd: what the unit forbids is compared with what
//! the agent asks of the kernel, by strace.

// needs: nothing
// takes: 10 s

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::agent::{Agent, binary, binary_for_anybody};
use observer_tests::deployed::deploy;
use observer_tests::programs::environment;
use observer_tests::puppet::Puppet;
use observer_tests::service::{Unit, only};
use serde_json::Value;

/// What a program prints, which must succeed.
fn printed(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("{command:?}"))?;
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    Ok(stdout)
}

/// The most that `systemd-analyze security` may find exposed, of 100; 18 when this was written, most of it the network
/// that metrics are served to and the processes that are observed.
const EXPOSED: u32 = 20;

#[test]
fn the_unit_is_valid_and_exposes_little() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("observer.service");
    // It is verified that the program is there, which where the tests run is another place.
    let unit = fs::read_to_string(deploy().join("systemd/observer.service"))?;
    let binary = binary()?.canonicalize()?;
    fs::write(&path, unit.replace("/usr/local/bin/observer", &binary.to_string_lossy()))?;
    let said = Command::new("systemd-analyze").arg("verify").arg(&path).output()?;
    assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
    let threshold = format!("--threshold={EXPOSED}");
    printed(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", &threshold])
            .arg(path),
    )?;
    Ok(())
}

/// System calls of a filter's set, those of sets in it included.
fn calls(set: &str) -> anyhow::Result<BTreeSet<String>> {
    if !set.starts_with('@') {
        return Ok([set.to_owned()].into());
    }
    let text = printed(Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]))?;
    let mut all = BTreeSet::new();
    for line in text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        all.extend(calls(line)?);
    }
    Ok(all)
}

/// What the unit's filter lets through.
fn allowed(unit: &Unit) -> anyhow::Result<BTreeSet<String>> {
    let mut allowed = BTreeSet::new();
    for filter in unit.values("SystemCallFilter") {
        let (removes, sets) = filter.strip_prefix('~').map_or((false, filter), |sets| (true, sets));
        for set in sets.split_whitespace() {
            let calls = calls(set)?;
            if removes {
                allowed.retain(|call| !calls.contains(call));
            } else {
                allowed.extend(calls);
            }
        }
    }
    Ok(allowed)
}

/// What strace has written once what it traced has ended.
fn finished(trace: &Path) -> anyhow::Result<String> {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(trace)?;
        if text.trim_end().ends_with("+++ exited with 0 +++") {
            return Ok(text);
        }
        ensure!(start.elapsed() < Duration::from_secs(10), "strace does not end");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_unit_forbids_nothing_that_the_agent_does() -> anyhow::Result<()> {
    let unit = Unit::read()?;
    let (directory, program) = binary_for_anybody()?;
    let trace = directory.path().join("trace");
    let inner = unit.command(&program, &unit.capabilities()?)?;
    let mut command = Command::new("strace");
    // As a process aside, so that the agent is this one's child.
    command.args(["-D", "--follow-forks", "--output"]).arg(&trace);
    command.arg(inner.get_program()).args(inner.get_args());
    let agent = Agent::start_by(command, &["--redis-info", "redis://localhost:1"])?;
    let mut puppet = Puppet::start("traced")?;
    puppet.run("listener = listen(); opened = connect_all(listener.getsockname(), 2); send(opened, 100)")?;
    for path in ["/", "/metrics", "/status", "/flows", "/processes", "/events", "/readyz"] {
        agent.get(path)?;
    }
    // It looks for sockets and their owners after some seconds, and asks the server that is not there.
    sleep(Duration::from_secs(3));
    assert_eq!(agent.stop()?.code(), Some(0));
    let text = finished(&trace)?;
    let started = text.find(&format!("execve(\"{}\"", program.display())).context("it was not executed")?;
    let lines: Vec<&str> = text[started..].lines().skip(1).collect();
    let call = |line: &&str| -> Option<String> {
        let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then(|| name.to_owned())
    };
    let made: BTreeSet<String> = lines.iter().filter_map(call).collect();
    for expected in ["bpf", "capset", "prctl", "epoll_wait", "accept4"] {
        ensure!(made.contains(expected), "the trace has no {expected}: {made:?}");
    }
    let allowed = allowed(&unit)?;
    let forbidden: Vec<&String> = made.difference(&allowed).collect();
    assert_eq!(forbidden, [""; 0], "system calls");
    let families: Vec<&str> = unit.value("RestrictAddressFamilies")?.split(' ').collect();
    for line in lines.iter().filter(|line| line.contains(" socket(")) {
        let family = line.split_once("socket(").and_then(|(_, rest)| rest.split_once(','));
        assert!(family.is_some_and(|(family, _)| families.contains(&family)), "{line}");
    }
    let executable: Vec<_> =
        lines.iter().filter(|line| line.contains("PROT_WRITE") && line.contains("PROT_EXEC")).collect();
    assert_eq!(executable, [&""; 0], "MemoryDenyWriteExecute");
    Ok(())
}

/// What the agent tells its service manager next.
fn told(socket: &UnixDatagram) -> anyhow::Result<String> {
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).context("the agent tells nothing")?;
    Ok(String::from_utf8(message[..length].to_vec())?)
}

#[test]
fn the_service_manager_is_told() -> anyhow::Result<()> {
    let unit = Unit::read()?;
    assert_eq!(unit.value("Type")?, "notify");
    let (directory, program) = binary_for_anybody()?;
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut puppet = Puppet::start("noted")?;
    puppet.run("listener = listen(); opened = connect_all(listener.getsockname(), 1)")?;

    let mut command = unit.command(&program, &unit.capabilities()?)?;
    let watched = Duration::from_secs(unit.value("WatchdogSec")?.parse()?);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", watched.as_micros().to_string());
    let agent = Agent::start_by(command, &[])?;
    let ready = told(&socket)?;
    assert!(ready.lines().any(|line| line == "READY=1"), "{ready}");
    assert!(ready.lines().any(|line| line == "STATUS=8 of 8 programs attached"), "{ready}");
    // What was there before is known by then.
    assert_eq!(agent.scrape()?.sum("observer_connections", &[("process", "noted"), ("role", "client")]), 1.0);
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(told(&socket)?, "WATCHDOG=1\n");
    }
    assert!(start.elapsed() < watched / 2, "{:?}", start.elapsed());
    assert_eq!(agent.stop()?.code(), Some(0));
    let mut last = told(&socket)?;
    while last == "WATCHDOG=1\n" {
        last = told(&socket)?;
    }
    assert_eq!(last, "STOPPING=1\n");
    Ok(())
}

#[test]
fn a_service_manager_that_is_gone_changes_nothing() -> anyhow::Result<()> {
    let mut command = Command::new(binary()?);
    command.env("NOTIFY_SOCKET", "/nowhere/notify");
    let agent = Agent::start_by(command, &[])?;
    agent.get("/metrics")?;
    assert!(
        agent.log().iter().any(|line| line.contains("cannot tell the service manager")),
        "{:?}",
        agent.log()
    );
    assert_eq!(agent.stop()?.code(), Some(0));
    Ok(())
}

/// The objects of a file of manifests.
fn manifests(file: &Path) -> anyhow::Result<Vec<Value>> {
    let script = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let text = printed(Command::new(environment()?.join("venv/bin/python")).args(["-c", script]).arg(file))?;
    Ok(serde_json::from_str(&text)?)
}

#[test]
fn the_manifests_are_valid_and_agree_with_the_agent() -> anyhow::Result<()> {
    let file = deploy().join("kubernetes/daemonset.yaml");
    // Every schema that Kubernetes publishes is strict: a field that is not known is an error.
    printed(Command::new(environment()?.join("venv/bin/kubernetes-validate")).arg("--strict").arg(&file))?;
    let objects = manifests(&file)?;
    let set = objects.iter().find(|object| object["kind"] == "DaemonSet").context("no DaemonSet")?;
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["hostPID"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    let unit = Unit::read()?;
    let given: Vec<String> =
        unit.capabilities()?.iter().map(|name| name.trim_start_matches("CAP_").to_owned()).collect();
    assert_eq!(context["capabilities"], serde_json::json!({ "drop": ["ALL"], "add": given }));

    // The arguments are the agent's, and what is probed is there.
    let arguments: Vec<&str> =
        container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let [run, listen, rest @ ..] = &arguments[..] else { anyhow::bail!("{arguments:?}") };
    assert_eq!((*run, *listen), ("run", "--listen=$(POD_IP):9941"));
    let (_directory, program) = binary_for_anybody()?;
    let capabilities: Vec<&str> = unit.capabilities()?;
    let agent = Agent::start_by(root_with(&program, &capabilities), rest)?;
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        agent.get(container[probe]["httpGet"]["path"].as_str().with_context(|| probe.to_owned())?)?;
        assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"], "{probe}");
    }

    let monitor = &manifests(&deploy().join("kubernetes/podmonitor.yaml"))?[0];
    assert_eq!(monitor["spec"]["selector"], set["spec"]["selector"]);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], container["ports"][0]["name"]);
    assert_eq!(monitor["metadata"]["namespace"], set["metadata"]["namespace"]);
    Ok(())
}

/// What it is built of is there: the image's build sees what `.dockerignore` lets through, and cargo wants every
/// member of the workspace.
#[test]
fn the_image_is_built_of_the_whole_workspace() -> anyhow::Result<()> {
    let root = deploy().join("..");
    let dockerfile = fs::read_to_string(deploy().join("docker/Dockerfile"))?;
    let lines = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.contains("--from"));
    let copied: BTreeSet<&str> = lines
        .flat_map(|copy| copy.split(' ').rev().skip(1))
        .inspect(|source| assert!(root.join(source).exists(), "{source}"))
        .collect();
    let ignored = fs::read_to_string(root.join(".dockerignore"))?;
    let seen: BTreeSet<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(copied, seen);
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).context("no members")?;
    let members: Vec<String> = serde_json::from_str(members)?;
    assert!(members.iter().all(|member| copied.contains(&**member)), "{members:?}: {copied:?}");
    // What the unit executes is where the image has it, and is started the same way.
    let unit = Unit::read()?;
    let command = unit.value("ExecStart")?;
    let program = command.split(' ').next().unwrap_or_default();
    assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{program}\"]\n")), "{dockerfile}");
    assert!(dockerfile.ends_with("CMD [\"run\"]\n"), "{dockerfile}");
    Ok(())
}

/// Root with these capabilities only and without new privileges, as a container engine starts it.
fn root_with(program: &Path, capabilities: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--inh-caps=-all", &format!("--bounding-set={}", only(capabilities)), "--no-new-privs", "--"])
        .arg(program);
    command
}
