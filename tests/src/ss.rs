//! What the kernel counts of TCP sockets, as `ss` tells it.

use std::process::Command;

use anyhow::{Context as _, ensure};

/// A TCP connection's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    /// `ADDR:PORT`.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Payload bytes sent, as far as they were acknowledged.
    pub sent: u64,
    /// Payload bytes received, whether or not the process has read them.
    pub received: u64,
    /// Smoothed round-trip time in microseconds.
    pub rtt_us: f64,
    /// Segments sent again.
    pub retransmits: u64,
}

/// Connections of this network namespace, or of another one, that are established at a port.
pub fn sockets(namespace: Option<&str>, port: u16) -> anyhow::Result<Vec<Socket>> {
    let mut command = Command::new("ss");
    if let Some(name) = namespace {
        command.args(["-N", name]);
    }
    command.args(["-tinHO", "state", "established"]);
    command.arg(format!("( sport = :{port} or dport = :{port} )"));
    let output = command.output().context("cannot run ss")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| socket(line, port).with_context(|| format!("ss: {line}"))).collect()
}

fn socket(line: &str, port: u16) -> anyhow::Result<Socket> {
    // Queues, ends, and then what it knows by name. What is 0 it leaves out.
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let value = |name: &str| {
        fields.iter().find_map(|field| field.strip_prefix(name)?.strip_prefix(':')).unwrap_or("0")
    };
    let number = |name: &str| -> anyhow::Result<u64> { Ok(value(name).parse()?) };
    let again = value("retrans").split('/').next_back().unwrap_or("0");
    let remote = (*fields.get(3).context("no remote end")?).to_owned();
    // The end that has connected counts its SYN, which was acknowledged, too.
    let connected = remote.ends_with(&format!(":{port}"));
    let milliseconds: f64 = value("rtt").split('/').next().unwrap_or("0").parse()?;
    Ok(Socket {
        local: (*fields.get(2).context("no local end")?).to_owned(),
        remote,
        sent: number("bytes_acked")?.saturating_sub(u64::from(connected)),
        received: number("bytes_received")?,
        rtt_us: (milliseconds * 1e3).round(),
        retransmits: again.parse()?,
    })
}
