//! Where the agent cannot run, it says why in one line, at once; and how it is configured.

// needs: nothing
// takes: 5 s

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use observer_tests::agent::{Agent, binary, binary_for_anybody};
use observer_tests::credentials::Credentials;
use observer_tests::programs::free_port;
use serde_json::Value;
use tempfile::TempDir;

/// How long a refusal may take.
const LIMIT: Duration = Duration::from_secs(2);

fn observer(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    Ok(command)
}

/// Runs the agent, which must end on its own within the limit.
fn ends(mut command: Command) -> anyhow::Result<Output> {
    let start = Instant::now();
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    while child.try_wait()?.is_none() {
        if start.elapsed() > LIMIT {
            child.kill()?;
            anyhow::bail!("{command:?} did not end within two seconds: {:?}", child.wait_with_output()?);
        }
        sleep(Duration::from_millis(5));
    }
    Ok(child.wait_with_output()?)
}

/// What a refusal says, which must be one line.
fn refusal(command: Command) -> anyhow::Result<String> {
    let output = ends(command)?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
    Ok(said)
}

/// What clap says of wrong arguments.
fn usage(command: Command) -> anyhow::Result<String> {
    let output = ends(command)?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    Ok(said)
}

fn file(text: &str) -> anyhow::Result<(TempDir, String)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("observer.toml");
    fs::File::create(&path)?.write_all(text.as_bytes())?;
    let path = path.to_string_lossy().into_owned();
    Ok((directory, path))
}

fn as_nobody(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program).args(arguments);
    command
}

#[test]
fn a_port_in_use() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let said = refusal(observer(&["run", "--listen", &address])?)?;
    assert!(said.contains(&address) && said.contains("in use") && said.contains("--listen"), "{said}");
    Ok(())
}

#[test]
fn an_address_that_is_not_here() -> anyhow::Result<()> {
    let said = refusal(observer(&["run", "--listen", "192.0.2.1:9941"])?)?;
    assert!(said.contains("192.0.2.1:9941"), "{said}");
    Ok(())
}

#[test]
fn no_privileges() -> anyhow::Result<()> {
    let (_directory, program) = binary_for_anybody()?;
    let said = refusal(as_nobody(&program, &["run", "--listen", "127.0.0.1:0"]))?;
    assert!(said.contains("root") || said.contains("CAP_BPF"), "{said}");
    Ok(())
}

#[test]
fn wrong_flags() -> anyhow::Result<()> {
    let said = usage(observer(&["run", "--listne", "127.0.0.1:0"])?)?;
    assert!(said.contains("--listne"), "{said}");
    for value in ["medium=3,large=2,huge=1", "medium=0", "huge=1", "tiny=5", "medium"] {
        let said = usage(observer(&["run", "--oversized", value])?)?;
        assert!(said.contains("--oversized"), "{said}");
    }
    for arguments in [
        &["run", "--listen", "here"][..],
        &["run", "--max-connections", "0"],
        &["run", "--max-connections", "many"],
        &["run", "--log-level", "loud"],
        &["run", "--log-format", "xml"],
        &["run", "--protocol-ports", "mysql=1"],
        &["walk"],
        &[],
    ] {
        usage(observer(arguments)?)?;
    }
    Ok(())
}

#[test]
fn a_wrong_configuration() -> anyhow::Result<()> {
    for (text, named) in [
        ("max-series = 5\nmax-serious = 7\n", "max-serious"),
        ("oversized = 'medium=3,large=2,huge=1'\n", "ascend"),
        ("max-connections = 0\n", "max-connections"),
        ("max-connections = 'many'\n", "line 1"),
        ("listen = ['here']\n", "line 1"),
        ("\n\nlisten = [\n", "line 3"),
        ("web-config = '/etc/web.yml'\n", "--web-config"),
    ] {
        let (_directory, path) = file(text)?;
        let said = refusal(observer(&["run", "--listen", "127.0.0.1:0", "--config", &path])?)?;
        assert!(said.contains(named), "{text}: {said}");
    }
    let said = refusal(observer(&["run", "--config", "/nowhere/observer.toml"])?)?;
    assert!(said.contains("/nowhere/observer.toml") && said.contains("No such file"), "{said}");
    let said = refusal(observer(&["run", "--config", "/"])?)?;
    assert!(said.contains("directory"), "{said}");
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("binary.toml");
    fs::write(&path, [0xFF, 0xFE, 0])?;
    refusal(observer(&["run", "--config", &path.to_string_lossy()])?)?;
    Ok(())
}

#[test]
fn a_configuration_file_is_honoured_and_a_flag_wins() -> anyhow::Result<()> {
    let port = free_port()?;
    let (_directory, path) = file(&format!(
        "listen = ['127.0.0.1:{port}']\nlog-format = 'json'\nmax-series = 2\nflow-series = 0\noversized = 'medium=10,large=20,huge=30'\n"
    ))?;
    // The harness gives --listen, which wins over the file's.
    let agent = Agent::start(&["--config", &path, "--max-series", "1000"])?;
    assert_ne!(agent.address(), format!("127.0.0.1:{port}"));
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    let log = agent.log();
    let json: Result<Vec<Value>, _> = log.iter().map(|line| serde_json::from_str(line)).collect();
    assert!(json.is_ok_and(|lines| !lines.is_empty()), "{log:#?}");
    drop(agent);

    // Without the flag, the file's.
    let mut child = observer(&["run", "--config", &path])?.stderr(Stdio::null()).spawn()?;
    let start = Instant::now();
    let answer = loop {
        let answer = ureq::get(format!("http://127.0.0.1:{port}/readyz")).call();
        if answer.is_ok() || start.elapsed() > Duration::from_secs(15) {
            break answer;
        }
        sleep(Duration::from_millis(50));
    };
    child.kill()?;
    child.wait()?;
    assert!(answer.is_ok(), "{answer:?}");
    Ok(())
}

#[test]
fn a_web_configuration_that_is_wrong() -> anyhow::Result<()> {
    let credentials = Credentials::new()?;
    credentials.sign("server", "IP:127.0.0.1")?;
    credentials.sign("other", "IP:127.0.0.1")?;
    credentials.write("empty.crt", "")?;
    let tls = |certificate: &str, key: &str| {
        format!("tls_server_config:\n  cert_file: {certificate}\n  key_file: {key}\n")
    };
    for (text, named) in [
        ("tls_config: {}\n".to_owned(), "tls_config"),
        ("basic_auth_users: {me: secret}\n".to_owned(), "basic_auth_users.me"),
        ("http_server_config: {http2: true}\n".to_owned(), "http2"),
        (tls("server.crt", "nowhere.key"), "nowhere.key"),
        (tls("empty.crt", "server.key"), "empty.crt"),
        (tls("server.key", "server.key"), "cert_file"),
        (tls("server.crt", "server.crt"), "key_file"),
        (tls("server.crt", "other.key"), "other.key"),
        (tls("server.crt", "server.key") + "  min_version: TLS10\n", "min_version"),
        ("\t{".to_owned(), "line 1"),
    ] {
        credentials.write("web.yml", &text)?;
        let path = credentials.path("web.yml");
        let said = refusal(observer(&["run", "--listen", "127.0.0.1:0", "--web-config", &path])?)?;
        assert!(said.contains("web.yml") && said.contains(named) && !said.contains("secret"), "{said}");
    }
    let said = refusal(observer(&["run", "--web-config", "/nowhere/web.yml"])?)?;
    assert!(said.contains("--web-config") && said.contains("/nowhere/web.yml"), "{said}");
    Ok(())
}

#[test]
fn several_addresses() -> anyhow::Result<()> {
    let other = format!("[::1]:{}", free_port()?);
    let agent = Agent::start(&["--listen", &other])?;
    assert!(agent.address().starts_with("127.0.0.1:"), "{}", agent.address());
    for address in [agent.address(), &other] {
        let text = ureq::get(format!("http://{address}/metrics")).call()?.body_mut().read_to_string()?;
        assert!(text.contains("observer_build_info"), "{address}: {text}");
    }
    Ok(())
}

const PROBES: [&str; 11] = [
    "sock_send_length",
    "sock_recv_length",
    "io_uring_submit_req",
    "io_uring_poll_arm",
    "inet_sock_set_state",
    "tcp_destroy_sock",
    "adopt",
    "refresh",
    "library_enter",
    "library_result",
    "library_end",
];

#[test]
fn check() -> anyhow::Result<()> {
    let output = observer(&["check"])?.output()?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{text}");
    for probe in PROBES {
        let told = |line: &str| line.contains(&format!("ok   {probe} "));
        assert!(text.lines().any(told), "{probe}: {text}");
    }
    let output = observer(&["check", "--json"])?.output()?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["ok"], true);
    let names: Vec<&str> = report["probes"]
        .as_array()
        .map(|probes| probes.iter().filter_map(|probe| probe["name"].as_str()).collect())
        .unwrap_or_default();
    assert_eq!(names, PROBES, "{report}");
    Ok(())
}

#[test]
fn check_without_privileges() -> anyhow::Result<()> {
    let (_directory, program) = binary_for_anybody()?;
    let output = ends(as_nobody(&program, &["check"]))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot run here") && !text.contains("panicked"), "{text}");
    let output = ends(as_nobody(&program, &["check", "--json"]))?;
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report["ok"], false, "{report}");
    assert!(report["reason"].is_string(), "{report}");
    Ok(())
}
