//! Servers of every kind that serve the same application, whose calls are in [`super::calls`].

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::hyper::Hyper;
use crate::programs::{environment, free_port, scripts};
use crate::websocket::{own_name, unique_name};

/// How long one may take to start.
const START: Duration = Duration::from_secs(30);

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framework {
    /// Python: Django, in a worker of gunicorn with two threads.
    Django,
    /// Python: `FastAPI`, in uvicorn.
    FastApi,
    /// Node.js: its own `http`.
    Node,
    /// Rust, in this process: hyper.
    Hyper,
}

impl Framework {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Django, Self::FastApi, Self::Node, Self::Hyper];
}

/// Such a server. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    _kind: Kind,
    /// What the agent calls the process that serves.
    pub process: String,
    /// What the agent calls it as a server's end: an address of 127.0.0.1, or a UNIX socket's path.
    pub label: String,
    scheme: &'static str,
}

#[derive(Debug)]
#[expect(dead_code, reason = "kept until the server is dropped, and never looked at")]
enum Kind {
    Program(Running),
    Here(Hyper),
}

/// A program that has begun a process group of its own, which ends with it.
#[derive(Debug)]
struct Running {
    child: Child,
    folder: TempDir,
}

impl Server {
    /// Starts one, and waits until it listens.
    pub fn start(framework: Framework) -> anyhow::Result<Self> {
        if framework == Framework::Hyper {
            let server = Hyper::start()?;
            let label = format!("127.0.0.1:{}", server.port);
            return Ok(Self { _kind: Kind::Here(server), process: own_name()?, label, scheme: "http" });
        }
        let port = free_port()?;
        Self::start_at(framework, &format!("127.0.0.1:{port}"), port, None)
    }

    /// Starts one of Node.js' or of uvicorn's that speaks TLS, with a certificate and its key.
    pub fn start_over_tls(framework: Framework, certificate: &[String; 2]) -> anyhow::Result<Self> {
        let port = free_port()?;
        Self::start_at(framework, &format!("127.0.0.1:{port}"), port, Some(certificate))
    }

    /// Starts Django in gunicorn at a UNIX socket in a folder.
    pub fn at_unix_socket(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("gunicorn");
        Self::start_at(Framework::Django, &format!("unix:{}", path.display()), 0, None)
    }

    fn start_at(
        framework: Framework,
        address: &str,
        port: u16,
        certificate: Option<&[String; 2]>,
    ) -> anyhow::Result<Self> {
        let process = unique_name("hs");
        let environment = environment()?;
        let python = environment.join("venv/bin/python");
        let mut command = match framework {
            Framework::Django => {
                let mut command = Command::new(python);
                let words = ["-m", "gunicorn", "--bind", address, "--workers", "1", "--threads", "2"];
                command.args(words).args(["--keep-alive", "60", "--no-control-socket", "http_django"]);
                command
            }
            Framework::FastApi => {
                let mut command = Command::new(python);
                let port = port.to_string();
                command.args(["-m", "uvicorn", "--host", "127.0.0.1", "--port", &port]);
                command.args([
                    "--loop",
                    "asyncio",
                    "--timeout-keep-alive",
                    "60",
                    "--no-access-log",
                    "http_fastapi:application",
                ]);
                if let Some([certificate, key]) = certificate {
                    command.args(["--ssl-certfile", certificate, "--ssl-keyfile", key]);
                }
                command
            }
            Framework::Node | Framework::Hyper => {
                let mut command = Command::new("node");
                command.arg(scripts().join("http_server.js")).arg(port.to_string());
                command.args(certificate.into_iter().flatten());
                command
            }
        };
        command.current_dir(scripts()).env("PYTHONDONTWRITEBYTECODE", "1").env("PROCESS_NAME", &process);
        let label = address.trim_start_matches("unix:").to_owned();
        let running = Running::start(command, &label)?;
        Ok(Self {
            _kind: Kind::Program(running),
            process,
            label,
            scheme: if certificate.is_some() { "https" } else { "http" },
        })
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.label)
    }
}

impl Running {
    /// Starts one, and waits until it listens at an address or a path. It is asked nothing: every request counts.
    fn start(mut command: Command, label: &str) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let folder = tempfile::tempdir()?;
        let log = File::create(folder.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let running = Self { child, folder };
        let start = Instant::now();
        while !listens(label) {
            let log = std::fs::read_to_string(running.folder.path().join("log"))?;
            ensure!(start.elapsed() < START, "nobody listens at {label}: {log}");
            sleep(Duration::from_millis(50));
        }
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(group) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: the group of a child of ours that has not been waited for, so the number is its own.
            unsafe { libc::killpg(group, libc::SIGKILL) };
        }
        let _ = self.child.wait();
    }
}

/// Whether anybody listens at an address or a path.
fn listens(label: &str) -> bool {
    let path = Path::new(label);
    if path.is_absolute() { UnixStream::connect(path).is_ok() } else { TcpStream::connect(label).is_ok() }
}
