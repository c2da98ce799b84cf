//! The loads: two processes that talk WebSocket over loopback, with nothing else between them than system
//! calls.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// What two processes do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// One message at a time, there and back: two sends and two receives at least.
    Echo {
        /// Bytes of the message.
        payload: u32,
    },
    /// Many frames in one call, one way.
    Burst {
        /// Bytes of each.
        payload: u32,
        /// How many.
        frames: u32,
    },
    /// So many messages a second, one way, each in a call of its own.
    Paced {
        /// Bytes of each.
        payload: u32,
        /// How many.
        per_second: u32,
    },
}

/// How a run went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Round trips, calls or messages a second.
    pub(crate) per_second: f64,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo { payload } => write!(formatter, "echo of one {payload}-byte message"),
            Self::Burst { payload, frames } => {
                write!(formatter, "{frames} frames of {payload} bytes in a call")
            }
            Self::Paced { payload, per_second } => {
                write!(formatter, "{per_second} {payload}-byte messages/s")
            }
        }
    }
}

impl Load {
    /// Runs it between two new processes.
    pub(crate) fn run(self, duration: Duration) -> anyhow::Result<Outcome> {
        let own = std::env::current_exe()?;
        let (kind, payload, more) = match self {
            Self::Echo { payload } => ("echo", payload, 0),
            Self::Burst { payload, frames } => ("burst", payload, frames),
            Self::Paced { payload, per_second } => ("paced", payload, per_second),
        };
        let numbers = [payload.to_string(), more.to_string(), duration.as_secs_f64().to_string()];
        let mut server = Command::new(&own)
            .args(["--end", kind, "server"])
            .args(&numbers)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let mut address = String::new();
        io::BufRead::read_line(
            &mut io::BufReader::new(server.stdout.take().context("no stdout")?),
            &mut address,
        )?;
        let client = Command::new(&own)
            .args(["--end", kind, "client"])
            .args(&numbers)
            .arg(address.trim())
            .output()
            .context("cannot start a client")?;
        ensure!(server.wait()?.success() && client.status.success(), "the load {self} failed");
        let text = String::from_utf8(client.stdout)?;
        let mut numbers = text.split_whitespace().map(str::parse::<f64>);
        let mut next =
            || numbers.next().context("the client told too little")?.context("the client told no number");
        let (count, seconds) = (next()?, next()?);
        Ok(Outcome { per_second: count / seconds, seconds })
    }
}

/// One end of a load, in its own process: `KIND client|server PAYLOAD MORE SECONDS [ADDRESS]`.
pub(crate) fn run_end(arguments: &[String]) -> anyhow::Result<()> {
    let [kind, side, payload, more, seconds, rest @ ..] = arguments else { bail!("too few arguments") };
    let (payload, more): (usize, usize) = (payload.parse()?, more.parse()?);
    if side == "server" {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        println!("{}", listener.local_addr()?);
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        read_head(&mut stream)?;
        stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        )?;
        return if kind == "echo" { echo(&mut stream, payload) } else { sink(&mut stream) };
    }
    let mut stream = TcpStream::connect(rest.first().context("no address")?)?;
    stream.set_nodelay(true)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
    read_head(&mut stream)?;
    let duration = Duration::from_secs_f64(seconds.parse()?);
    let start = Instant::now();
    let count = match kind.as_str() {
        "echo" => call_and_answer(&mut stream, payload, duration)?,
        "burst" => burst(&mut stream, payload, more, duration)?,
        _ => paced(&mut stream, payload, more, duration)?,
    };
    println!("{count} {}", start.elapsed().as_secs_f64());
    Ok(())
}

fn read_head(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut head = Vec::new();
    let mut bytes = [0; 512];
    while !head.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut bytes)?;
        ensure!(length > 0, "the other end closed");
        head.extend_from_slice(&bytes[..length]);
    }
    Ok(())
}

/// A binary frame of zeroes: with a key of zeroes, masked ones are the same.
fn frame(payload: usize, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut frame = vec![0x82];
    match payload {
        0..126 => frame.push(mask | payload as u8),
        126..65_536 => {
            frame.push(mask | 0x7E);
            frame.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            frame.push(mask | 0x7F);
            frame.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend_from_slice(&[0; 4]);
    }
    frame.resize(frame.len() + payload, 0);
    frame
}

fn echo(stream: &mut TcpStream, payload: usize) -> anyhow::Result<()> {
    let answer = frame(payload, false);
    let mut call = vec![0; frame(payload, true).len()];
    while read_all(stream, &mut call)? {
        stream.write_all(&answer)?;
    }
    Ok(())
}

fn call_and_answer(stream: &mut TcpStream, payload: usize, duration: Duration) -> anyhow::Result<u64> {
    let call = frame(payload, true);
    let mut answer = vec![0; frame(payload, false).len()];
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < duration {
        stream.write_all(&call)?;
        ensure!(read_all(stream, &mut answer)?, "the server closed");
        count += 1;
    }
    Ok(count)
}

/// Fills `bytes`; false at the end of the stream.
fn read_all(stream: &mut TcpStream, bytes: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < bytes.len() {
        match stream.read(&mut bytes[filled..])? {
            0 => return Ok(false),
            length => filled += length,
        }
    }
    Ok(true)
}

fn sink(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    while stream.read(&mut bytes)? > 0 {}
    Ok(())
}

fn burst(stream: &mut TcpStream, payload: usize, frames: usize, duration: Duration) -> anyhow::Result<u64> {
    let call = frame(payload, true).repeat(frames);
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < duration {
        stream.write_all(&call)?;
        count += 1;
    }
    Ok(count)
}

fn paced(
    stream: &mut TcpStream,
    payload: usize,
    per_second: usize,
    duration: Duration,
) -> anyhow::Result<u64> {
    let call = frame(payload, true);
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < duration {
        let due = start.elapsed().as_secs_f64() * per_second as f64;
        while (count as f64) < due {
            stream.write_all(&call)?;
            count += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(count)
}
