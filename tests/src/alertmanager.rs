//! An Alertmanager of a test's own, and the channel that it tells.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::deployed::{deploy, files};
use crate::served::Served;
use crate::sooner::sooner;

/// Nothing waits less.
const LEAST: Duration = Duration::from_millis(200);

/// Debian's name for it.
const PROGRAM: &str = "prometheus-alertmanager";

/// One with the configuration of `deploy/`, that has told nobody anything yet. Dropping it ends it.
#[derive(Debug)]
pub struct Alertmanager(Served);

impl Alertmanager {
    /// Starts one for which everything takes `divisor` times less time.
    pub fn start(channel: &Channel, divisor: u32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        fs::create_dir(path.join("templates"))?;
        for file in files("alertmanager/templates", "tmpl")? {
            let name = file.file_name().context("a file without a name")?;
            fs::copy(&file, path.join("templates").join(name))?;
        }
        let secret = path.join("slack-webhook-url");
        fs::write(&secret, format!("http://127.0.0.1:{}/services/a/secret", channel.port))?;
        let text =
            sooner(&fs::read_to_string(deploy().join("alertmanager/alertmanager.yml"))?, divisor, LEAST)?;
        let place = "/etc/alertmanager/slack-webhook-url";
        ensure!(text.matches(place).count() == 1, "{place} is not in alertmanager.yml");
        fs::write(path.join("alertmanager.yml"), text.replace(place, &secret.display().to_string()))?;
        let arguments = [
            format!("--config.file={}", path.join("alertmanager.yml").display()),
            format!("--storage.path={}", path.join("data").display()),
            // It has no others to agree with.
            "--cluster.listen-address=".to_owned(),
        ];
        Served::start(PROGRAM, directory, &arguments).map(Self)
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// What it has logged.
    pub fn log(&self) -> anyhow::Result<String> {
        self.0.log()
    }
}

/// What has been posted to a channel: when, and the message.
pub type Posts = Vec<(Instant, Value)>;

/// A channel that takes messages as Slack's incoming webhooks do.
#[derive(Debug)]
pub struct Channel {
    port: u16,
    posts: Arc<Mutex<Posts>>,
}

impl Channel {
    /// Opens one.
    pub fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let posts = Arc::default();
        let taken = Arc::clone(&posts);
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let taken = Arc::clone(&taken);
                // A thread each, for as long as it is kept open.
                thread::spawn(move || take(&stream, &taken));
            }
        });
        Ok(Self { port, posts })
    }

    /// What has come so far.
    pub fn posts(&self) -> Posts {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes messages until the client leaves, or says something else.
fn take(stream: &TcpStream, posts: &Mutex<Posts>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let mut length = 0;
        let mut first = String::new();
        ensure!(lines.read_line(&mut first)? > 0, "it has left");
        loop {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            if let Some((name, value)) = line.trim_end().split_once(':') {
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse()?;
                }
            } else {
                break;
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body)?;
        ensure!(first.starts_with("POST /services/a/secret "), "{first}");
        let message = serde_json::from_slice(&body)?;
        posts.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), message));
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")?;
    }
}
