//! Reads and writes the protocol by hand ("Redis serialization protocol specification" in the Redis
//! documentation).

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::Address;
pub use crate::ends::Ends;

/// A command: an array of bulk strings.
pub fn command<T: AsRef<[u8]>>(words: &[T]) -> Vec<u8> {
    let mut all = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        all.extend(bulk(word));
    }
    all
}

/// A bulk string.
pub fn bulk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// What a server says to a `SET`.
pub const OK: &[u8] = b"+OK\r\n";
/// What a server says of a key that it does not have.
pub const NIL: &[u8] = b"$-1\r\n";
/// The same in RESP3.
pub const NULL: &[u8] = b"_\r\n";

/// What a server says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `+`
    Simple(String),
    /// `-` or `!`
    Error(String),
    /// `:`
    Number(i64),
    /// `$`, or `=` with its type
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Nil,
    /// `*` or `~`; `%` as its keys and values in turn
    Array(Vec<Reply>),
    /// `>`
    Push(Vec<Reply>),
    /// `,`, `#` or `(`
    Other(String),
}

impl Reply {
    /// The text of a bulk string; a verbatim string's is behind its type (`txt:`).
    pub fn text(&self) -> anyhow::Result<String> {
        let Self::Bulk(bytes) = self else { bail!("no bulk string: {self:?}") };
        let text = String::from_utf8(bytes.clone())?;
        Ok(text.strip_prefix("txt:").map(str::to_owned).unwrap_or(text))
    }

    /// A simple string.
    pub fn simple(text: &str) -> Self {
        Self::Simple(text.to_owned())
    }

    /// Whether it is an error of a kind, which is its first word.
    pub fn is_error(&self, kind: &str) -> bool {
        matches!(self, Self::Error(text) if text.split(' ').next() == Some(kind))
    }
}

/// A session with a real server, of this process.
pub struct Session {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: Read + Write + Send {}

impl Stream for TcpStream {}
impl Stream for UnixStream {}

impl Session {
    /// Connects.
    pub fn connect(target: &Address) -> anyhow::Result<Self> {
        let patience = Some(Duration::from_secs(20));
        let stream: Box<dyn Stream> = match target {
            Address::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(patience)?;
                Box::new(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(patience)?;
                Box::new(stream)
            }
        };
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends bytes, and does not wait.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Sends a command, and does not wait: words between spaces.
    pub fn tell(&mut self, words: &str) -> anyhow::Result<()> {
        self.send(&command(&words.split(' ').collect::<Vec<_>>()))
    }

    /// What the server says to a command.
    pub fn ask(&mut self, words: &str) -> anyhow::Result<Reply> {
        self.tell(words)?;
        self.reply().with_context(|| format!("the reply to {words}"))
    }

    /// Has it execute commands, none of which may fail.
    pub fn run(&mut self, commands: &[&str]) -> anyhow::Result<()> {
        for words in commands {
            let reply = self.ask(words)?;
            ensure!(!matches!(reply, Reply::Error(_)), "{words}: {reply:?}");
        }
        Ok(())
    }

    /// Sends commands in one call, and tells all of their replies.
    pub fn pipeline(&mut self, commands: &[&str]) -> anyhow::Result<Vec<Reply>> {
        let words = commands.iter().map(|words| command(&words.split(' ').collect::<Vec<_>>()));
        self.send(&words.collect::<Vec<_>>().concat())?;
        self.replies(commands.len())
    }

    /// So many replies.
    pub fn replies(&mut self, count: usize) -> anyhow::Result<Vec<Reply>> {
        (0..count).map(|_| self.reply()).collect()
    }

    /// The next reply, or push.
    pub fn reply(&mut self) -> anyhow::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        Ok(match kind {
            "+" => Reply::Simple(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(rest.parse()?),
            "_" => Reply::Nil,
            "$" | "*" if rest == "-1" => Reply::Nil,
            "$" | "=" => Reply::Bulk(self.payload(rest)?),
            "!" => Reply::Error(String::from_utf8(self.payload(rest)?)?),
            "*" | "~" => Reply::Array(self.replies(rest.parse()?)?),
            "%" => Reply::Array(self.replies(2 * rest.parse::<usize>()?)?),
            ">" => Reply::Push(self.replies(rest.parse()?)?),
            "," | "#" | "(" => Reply::Other(line),
            _ => bail!("no reply: {line}"),
        })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.stream.read_line(&mut line)?;
        ensure!(length > 0 && line.ends_with("\r\n"), "the server closed; it said: {line}");
        line.truncate(line.len() - 2);
        Ok(line)
    }

    fn payload(&mut self, length: &str) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; length.parse::<usize>()? + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(bytes.len() - 2);
        Ok(bytes)
    }
}
