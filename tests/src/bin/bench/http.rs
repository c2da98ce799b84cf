//! nginx under each observer: as many requests as `wrk` can make, for a small page and for a large one.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use observer_tests::programs::installed;
use tempfile::TempDir;

use crate::compare;
use crate::placement::Placement;

/// Connections that are kept alive.
const CONNECTIONS: &str = "64";
/// Bytes of the page that is cheap to serve, of the one that is not, and the ratio that is to be left of each.
const PAGES: [(&str, usize, f64); 2] = [("small", 200, 0.90), ("large", 1 << 20, 0.98)];

/// Compares the rates of all.
pub(crate) fn http(rounds: usize, seconds: Duration) -> anyhow::Result<()> {
    let server = Server::start()?;
    // The server's process is where it is.
    let placements = [Placement::Any];
    for (page, bytes, goal) in PAGES {
        let title = format!("wrk, {CONNECTIONS} connections, {bytes} bytes, {rounds} rounds of {seconds:?}");
        compare(&title, "requests/s", goal, &placements, rounds, || server.load(page, seconds))?;
    }
    Ok(())
}

/// nginx, with one worker. Dropping it ends it.
struct Server {
    program: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = folder.path().display();
        for (page, bytes, _) in PAGES {
            fs::write(folder.path().join(page), "x".repeat(bytes))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
            .concat();
        let configuration = format!(
            "daemon off;\nmaster_process off;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/errors;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n{temporary}access_log off;\nsendfile on;\nkeepalive_requests 100000000;\n\
             server {{ listen 127.0.0.1:{port}; root {at}; }}\n}}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration)?;
        let program = Command::new(installed("nginx")?)
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nginx")?;
        let server = Self { program, port, _folder: folder };
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(start.elapsed() < Duration::from_secs(10), "nginx does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Requests a second, as `wrk` counts them.
    fn load(&self, page: &str, duration: Duration) -> anyhow::Result<f64> {
        // It takes whole seconds.
        let seconds = duration.as_secs_f64().ceil().max(1.0);
        let output = Command::new(installed("wrk")?)
            .args(["-t", "1", "-c", CONNECTIONS, "-d", &format!("{seconds}s")])
            .arg(format!("http://127.0.0.1:{}/{page}", self.port))
            .output()
            .context("cannot run wrk")?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.success() && !text.contains("Non-2xx"), "wrk failed: {text}");
        let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        Ok(rate.context("wrk tells no rate")?.trim().parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
