//! nginx as a server that keeps a log of its own kind, which says of each request what the agent must.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Tally;
use crate::nginx::Nginx;

/// How long it may take until what is over is in the log.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fields of a line, as <https://nginx.org/en/docs/varindex.html> has them; a tab lies between two.
const FIELDS: [&str; 9] = [
    "$request_method",
    "$status",
    "$request_time",
    "$body_bytes_sent",
    "$content_length",
    "$request_uri",
    "$upstream_status",
    "$upstream_response_time",
    "$upstream_response_length",
];

/// A request that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// The method.
    pub method: String,
    /// The status.
    pub status: String,
    /// From its first byte to the response's last, in whole milliseconds.
    pub seconds: f64,
    /// What followed the response's head: its body, with the framing of chunks if there are any.
    pub response: f64,
    /// The length that the request declared for its body.
    pub request: f64,
    /// The target, with its query.
    pub target: String,
    /// What another server has answered, if one was asked: status, seconds, and bytes of body.
    pub passed_on: Option<(String, f64, f64)>,
}

impl Logged {
    fn read(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [method, status, seconds, response, request, target, passed @ ..] = &fields[..] else {
            return None;
        };
        let [passed_status, passed_seconds, passed_length] = passed else { return None };
        let number = |text: &str| if text == "-" { Some(0.0) } else { text.parse().ok() };
        let passed_on = match *passed_status {
            "-" => None,
            status => Some((status.to_owned(), number(passed_seconds)?, number(passed_length)?)),
        };
        Some(Self {
            method: (*method).to_owned(),
            status: (*status).to_owned(),
            seconds: number(seconds)?,
            response: number(response)?,
            request: number(request)?,
            target: (*target).to_owned(),
            passed_on,
        })
    }

    /// The target's path.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Nginx {
    /// Starts one that logs, with directives inside its server.
    pub fn logging(inside: &str) -> anyhow::Result<Self> {
        Self::logging_with("", inside)
    }

    /// The same with directives around its server, too.
    pub fn logging_with(around: &str, inside: &str) -> anyhow::Result<Self> {
        Self::logging_as("", around, inside)
    }

    /// The same with more words for where it listens.
    pub fn logging_as(listening: &str, around: &str, inside: &str) -> anyhow::Result<Self> {
        let fields = FIELDS.join("\t");
        let around = format!(
            "log_format told '{fields}'; access_log requests told; sendfile on; keepalive_requests 1000000;
             client_max_body_size 0; {around}"
        );
        Self::with(&around, listening, inside, true)
    }

    /// Starts one that logs and passes all on to a server, over kept connections or one for each request.
    pub fn passing_on(server: &str, kept: bool) -> anyhow::Result<Self> {
        let around =
            format!("upstream behind {{ server {server}; keepalive {}; }}", if kept { 8 } else { 1 });
        let version = if kept { "proxy_http_version 1.1; proxy_set_header Connection \"\";" } else { "" };
        Self::logging_with(
            &around,
            &format!("location / {{ proxy_pass http://behind; proxy_buffering off; {version} }}"),
        )
    }

    /// What the agent calls it as a server's end.
    pub fn label(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("http://{}", self.label())
    }

    /// Puts a file where it serves it.
    pub fn write(&self, name: &str, bytes: usize) -> anyhow::Result<()> {
        Ok(fs::write(self.folder().join(name), "x".repeat(bytes))?)
    }

    /// All that is in the log so far.
    pub fn log(&self) -> anyhow::Result<Vec<Logged>> {
        let log = fs::read_to_string(self.folder().join("requests"))?;
        // The last line may be half written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let read = |line| Logged::read(line).with_context(|| format!("not as it was told to log: {line}"));
        whole.lines().map(read).collect()
    }

    /// The log, once so many requests are over.
    pub fn logged(&self, count: usize) -> anyhow::Result<Vec<Logged>> {
        let start = Instant::now();
        loop {
            let log = self.log()?;
            if log.len() >= count {
                ensure!(log.len() == count, "{} requests, and not {count}: {log:#?}", log.len());
                return Ok(log);
            }
            ensure!(start.elapsed() < PATIENCE, "{} requests, and not {count}", log.len());
            sleep(Duration::from_millis(20));
        }
    }
}

/// What a log says, given the routes of paths.
pub fn tally(log: &[Logged], route: impl Fn(&str) -> String) -> Tally {
    let mut tally = Tally::default();
    for one in log {
        tally.add(&one.method, &route(one.path()), &one.status, [one.request, one.response]);
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::Logged;

    #[test]
    fn lines_are_read() {
        let line = "GET\t200\t0.012\t1000\t-\t/a?b=c\t-\t-\t-";
        let expected = Logged {
            method: "GET".to_owned(),
            status: "200".to_owned(),
            seconds: 0.012,
            response: 1000.0,
            request: 0.0,
            target: "/a?b=c".to_owned(),
            passed_on: None,
        };
        assert_eq!(Logged::read(line), Some(expected.clone()));
        assert_eq!(expected.path(), "/a");
        let passed = Logged::read("PUT\t502\t1.000\t9\t7\t/\t500\t0.900\t3");
        let passed_on = Some(("500".to_owned(), 0.9, 3.0));
        assert_eq!(passed.map(|one| (one.request, one.passed_on)), Some((7.0, passed_on)));
        assert_eq!(Logged::read("GET\t200"), None);
        assert_eq!(Logged::read("GET\t200\tsoon\t1000\t-\t/\t-\t-\t-"), None);
    }
}
