//! Clients of every kind, and what they say came of their calls.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::{Answer, Call};
use crate::programs;
use crate::puppet::Puppet;
use crate::websocket::{own_name, unique_name};

/// What a client is written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Python: requests.
    Requests,
    /// Python: httpx.
    Httpx,
    /// Node.js: its own `http`, with an agent that keeps connections.
    Node,
    /// Node.js: undici.
    Undici,
    /// Rust, in this process: reqwest.
    Reqwest,
    /// curl, which makes all calls of a time over one connection.
    Curl,
}

impl Library {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Requests, Self::Httpx, Self::Node, Self::Undici, Self::Reqwest, Self::Curl];
}

/// A client. Dropping it ends it.
#[derive(Debug)]
pub struct Client {
    /// What the agent calls its process.
    pub process: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Told(Puppet),
    Rust(reqwest::blocking::Client),
    Curl { folder: tempfile::TempDir, program: PathBuf, options: String },
}

impl Client {
    /// One without any connection yet.
    pub fn start(library: Library) -> anyhow::Result<Self> {
        let process = unique_name("hc");
        let kind = match library {
            Library::Requests | Library::Httpx => {
                let mut puppet = Puppet::start(&process)?;
                puppet.run("from http_client import *")?;
                puppet.run(if library == Library::Httpx { "use('httpx')" } else { "use('requests')" })?;
                Kind::Told(puppet)
            }
            Library::Node | Library::Undici => {
                let mut puppet = Puppet::start_node("http_client.js", &process)?;
                puppet.run(if library == Library::Undici { "use('undici')" } else { "use('http')" })?;
                Kind::Told(puppet)
            }
            Library::Reqwest => {
                let builder = reqwest::blocking::Client::builder().timeout(Duration::from_secs(60));
                let client = builder.redirect(reqwest::redirect::Policy::none()).build()?;
                return Ok(Self { process: own_name()?, kind: Kind::Rust(client) });
            }
            Library::Curl => {
                let folder = tempfile::tempdir()?;
                let program = programs::named(&programs::installed("curl")?, folder.path(), &process)?;
                Kind::Curl { folder, program, options: String::new() }
            }
        };
        Ok(Self { process, kind })
    }

    /// One that speaks TLS, too, with whoever the server is: of this version (such as `1.2`), if it is curl or Node's, and
    /// otherwise of the newest that the server speaks.
    pub fn trusting(library: Library, version: &str) -> anyhow::Result<Self> {
        let mut client = Self::start(library)?;
        match &mut client.kind {
            // What is in its environment would go before what it is told.
            Kind::Told(puppet) if library == Library::Requests => puppet.run(
                "import http_client, urllib3; urllib3.disable_warnings(); http_client.session.trust_env = False; http_client.session.verify = False",
            )?,
            Kind::Told(puppet) if library == Library::Httpx => puppet.run(
                "import http_client, httpx; http_client.session = httpx.Client(timeout=60, verify=False, trust_env=False)",
            )?,
            Kind::Told(puppet) => puppet.run(&format!("speak('TLSv{version}')"))?,
            Kind::Curl { options, .. } => {
                *options = format!("insecure\nhttp1.1\ntlsv{version}\ntls-max = {version}\n");
            }
            Kind::Rust(_) => bail!("the client in this process has no OpenSSL"),
        }
        Ok(client)
    }

    /// Makes calls to a server, one after the other.
    pub fn make(&mut self, url: &str, calls: &[Call]) -> anyhow::Result<Vec<Answer>> {
        match &mut self.kind {
            Kind::Told(puppet) => {
                // Of ASCII, and so the same string in Rust, Python and JavaScript.
                let calls = json!(calls).to_string();
                Ok(serde_json::from_value(puppet.ask(&format!("make('{url}', {calls:?})"))?)?)
            }
            Kind::Rust(client) => calls.iter().map(|call| reqwest(client, url, call)).collect(),
            Kind::Curl { options, .. } => {
                let options = options.clone();
                self.curl(url, calls, &options)
            }
        }
    }

    /// Makes calls with curl, and more options for each of them, as its configuration has them.
    pub fn curl(&self, url: &str, calls: &[Call], options: &str) -> anyhow::Result<Vec<Answer>> {
        Ok(self.curl_timed(url, calls, options)?.into_iter().map(|(answer, _)| answer).collect())
    }

    /// The same with the seconds that curl takes each of them to have needed, from when it begins to send.
    pub fn curl_timed(&self, url: &str, calls: &[Call], options: &str) -> anyhow::Result<Vec<(Answer, f64)>> {
        let Kind::Curl { folder, program, .. } = &self.kind else { bail!("{} is not curl", self.process) };
        let mut parts = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            let mut part = format!(
                "url = \"{url}{}\"\nsilent\nshow-error\noutput = /dev/null\n\
                 write-out = \"%{{http_code}} %{{size_download}} %{{time_pretransfer}} %{{time_total}}\\n\"\n{options}\n",
                call.path
            );
            match call.method {
                "GET" => {}
                "HEAD" => part.push_str("head\n"),
                method => writeln!(part, "request = {method}")?,
            }
            if let Some(bytes) = call.sends {
                let file = folder.path().join(format!("body-{number}"));
                std::fs::write(&file, "x".repeat(usize::try_from(bytes)?))?;
                writeln!(part, "data-binary = \"@{}\"", file.display())?;
            }
            if call.chunked {
                part.push_str("header = \"Transfer-Encoding: chunked\"\n");
            }
            parts.push(part);
        }
        let file = folder.path().join("calls");
        std::fs::write(&file, parts.join("next\n"))?;
        let output = Command::new(program).arg("--config").arg(file).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "curl failed: {errors}");
        let said = String::from_utf8(output.stdout)?;
        let answer = |line: &str| {
            let fields: Vec<&str> = line.split(' ').collect();
            let [status, length, begin, end] = fields[..] else { return None };
            let answer = Answer(status.parse().ok()?, length.parse().ok()?);
            Some((answer, end.parse::<f64>().ok()? - begin.parse::<f64>().ok()?))
        };
        said.lines().map(|line| answer(line).with_context(|| format!("curl says {line}"))).collect()
    }

    /// The script, for what only it can do.
    pub fn puppet(&mut self) -> anyhow::Result<&mut Puppet> {
        match &mut self.kind {
            Kind::Told(puppet) => Ok(puppet),
            Kind::Rust(_) | Kind::Curl { .. } => bail!("{} is not told by lines", self.process),
        }
    }
}

fn reqwest(client: &reqwest::blocking::Client, url: &str, call: &Call) -> anyhow::Result<Answer> {
    let method = reqwest::Method::from_bytes(call.method.as_bytes())?;
    let mut request = client.request(method, format!("{url}{}", call.path));
    if let Some(bytes) = call.sends {
        let body = "x".repeat(usize::try_from(bytes)?);
        request = if call.chunked {
            // Of something whose length it does not know.
            request.body(reqwest::blocking::Body::new(std::io::Cursor::new(body)))
        } else {
            request.body(body)
        };
    }
    let answer = request.send().with_context(|| format!("{call:?}"))?;
    let status = answer.status().as_u16();
    Ok(Answer(status, answer.bytes()?.len() as u64))
}
