//! Real servers and clients, and what they put on the wire.

use anyhow::ensure;
use serde_json::{Value, json};

use super::sides::Side;
use super::traffic::{Opcode, Traffic};
use super::unique_name;
use crate::nginx::Nginx;
use crate::programs::Program;

/// What a script is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Python, `websockets`.
    Python,
    /// Node.js, `ws`.
    Node,
}

/// A server or client, and what the agent must say of it.
#[derive(Debug)]
pub struct Peer {
    /// The program.
    pub program: Program,
    /// What it has done.
    pub side: Side,
    runtime: Runtime,
}

/// What a client does, before it waits for the echo, if there is one.
#[derive(Clone, Debug)]
pub enum Step {
    /// A ping of so many bytes.
    Ping(u64),
    /// A message in fragments of these sizes (or in one frame), with pings between them.
    Message(Opcode, Vec<u64>, Option<u64>),
}

impl Step {
    /// A message in one frame.
    pub fn message(opcode: Opcode, size: u64) -> Self {
        Self::Message(opcode, vec![size], None)
    }

    fn json(&self) -> Value {
        match self {
            Self::Ping(size) => json!({ "ping": size }),
            Self::Message(opcode, sizes, pings) => {
                let kind = if *opcode == Opcode::Text { "text" } else { "binary" };
                json!({ "kind": kind, "sizes": sizes, "pings": pings })
            }
        }
    }
}

impl Peer {
    /// A server that echoes, on a free port or a UNIX socket. Returns it with where clients connect to.
    pub fn server(runtime: Runtime, listen: &str, compression: &str) -> anyhow::Result<(Self, String)> {
        let mut server = Self::start(runtime, "server", &[listen, compression])?;
        let line = server.program.line()?;
        let address = if listen == "tcp" { format!("ws://127.0.0.1:{line}/") } else { listen.to_owned() };
        Ok((server, address))
    }

    /// The same over TLS, on a free port.
    pub fn secure_server(runtime: Runtime, certificate: &[String; 2]) -> anyhow::Result<(Self, String)> {
        let [certificate, key] = certificate;
        let mut server = Self::start(runtime, "server", &["tcp", "plain", certificate, key])?;
        let port = server.program.line()?;
        Ok((server, format!("wss://127.0.0.1:{port}/")))
    }

    /// A client of Node's that has opened its connections, over TLS, to a server in its own process: what the agent must
    /// say of that comes second.
    pub fn with_itself(certificate: &[String; 2], connections: u32) -> anyhow::Result<(Self, Side)> {
        let [certificate, key] = certificate;
        let arguments = ["itself", "plain", &connections.to_string(), certificate, key];
        let mut client = Self::start(Runtime::Node, "client", &arguments)?;
        ensure!(client.program.line()? == "open", "the client did not connect");
        client.side.open = connections;
        let mut server = Side::new(&client.side.process, client.side.pid, "server");
        server.open = connections;
        Ok((client, server))
    }

    /// A client that has opened its connections.
    pub fn client(
        runtime: Runtime,
        address: &str,
        compression: &str,
        connections: u32,
    ) -> anyhow::Result<Self> {
        let mut client = Self::start(runtime, "client", &[address, compression, &connections.to_string()])?;
        ensure!(client.program.line()? == "open", "the client did not connect");
        client.side.open = connections;
        Ok(client)
    }

    /// A client of Python's whose sockets block, which comes over TLS, too. It has opened no connection yet.
    pub fn blocking_client(address: &str, connections: u32) -> anyhow::Result<Self> {
        let name = unique_name("pyb");
        let arguments = [name.as_str(), address, "plain", &connections.to_string()];
        let mut program = Program::python("websocket_sync_client.py", &arguments)?;
        ensure!(program.line()? == "ready", "the client is not ready");
        let side = Side::new(&name, program.pid(), "client");
        Ok(Self { program, side, runtime: Runtime::Python })
    }

    /// Has it open them.
    pub fn connect(&mut self, connections: u32) -> anyhow::Result<()> {
        self.program.tell("")?;
        ensure!(self.program.line()? == "open", "the client did not connect");
        self.side.open = connections;
        Ok(())
    }

    fn start(runtime: Runtime, role: &'static str, arguments: &[&str]) -> anyhow::Result<Self> {
        let (name, script) = match (runtime, role) {
            (Runtime::Python, "server") => ("pys", "websocket_server.py"),
            (Runtime::Python, _) => ("pyc", "websocket_client.py"),
            (Runtime::Node, "server") => ("njs", "websocket_server.js"),
            (Runtime::Node, _) => ("njc", "websocket_client.js"),
        };
        let name = unique_name(name);
        let arguments: Vec<&str> = [name.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        let program = match runtime {
            Runtime::Python => Program::python(script, &arguments)?,
            Runtime::Node => Program::node(script, &arguments)?,
        };
        let side = Side::new(&name, program.pid(), role);
        Ok(Self { program, side, runtime })
    }

    /// Has a client take steps on each of its connections. Returns what one connection sent and received.
    pub fn take(&mut self, steps: &[Step]) -> anyhow::Result<[Traffic; 2]> {
        let all: Vec<Value> = steps.iter().map(Step::json).collect();
        self.program.tell(&json!({ "steps": all }).to_string())?;
        let messages = steps.iter().filter(|step| matches!(step, Step::Message(..))).count();
        let echoes: usize = self.program.line()?.parse()?;
        let connections = usize::try_from(self.side.open)?;
        ensure!(
            echoes == messages * connections,
            "{echoes} echoes to {messages} messages on {connections} connections"
        );
        Ok(expected(steps, self.runtime))
    }

    /// Has a client close its connections.
    pub fn close(&mut self, code: u16) -> anyhow::Result<()> {
        self.program.tell(&json!({ "close": code }).to_string())?;
        ensure!(self.program.line()? == "closed", "the client did not close");
        Ok(())
    }
}

/// What a client sends, and what it gets from a server that echoes.
fn expected(steps: &[Step], client: Runtime) -> [Traffic; 2] {
    let [mut sent, mut received] = [Traffic::default(), Traffic::default()];
    let mut ping = |sent: &mut Traffic, size| {
        sent.frame(Opcode::Ping, size);
        received.frame(Opcode::Pong, size);
    };
    for step in steps {
        match step {
            Step::Ping(size) => ping(&mut sent, *size),
            Step::Message(opcode, sizes, pings) => {
                let mut sizes = sizes.clone();
                for _ in 1..sizes.len() {
                    if let Some(size) = pings {
                        ping(&mut sent, *size);
                    }
                }
                if client == Runtime::Python && sizes.len() > 1 {
                    // `websockets` learns that a fragment was the last one from the end of the iterator.
                    sizes.push(0);
                }
                sent.fragments(*opcode, &sizes);
            }
        }
    }
    for step in steps {
        if let Step::Message(opcode, sizes, _) = step {
            received.fragments(*opcode, &[sizes.iter().sum()]);
        }
    }
    [sent, received]
}

/// A connection closed with a code in two bytes each way, as both ends saw it.
pub fn closed(client: &mut Side, server: &mut Side, code: &'static str) {
    for side in [client, server] {
        side.close(code);
        side.sent.frame(Opcode::Close, 2);
        side.received.frame(Opcode::Close, 2);
    }
}

/// What one connection of a client's sent and received, on as many as are open, at both ends.
pub fn exchanged(client: &mut Side, server: &mut Side, [sent, received]: &[Traffic; 2]) {
    let times = client.open;
    client.sent.add_all(sent, times);
    client.received.add_all(received, times);
    server.received.add_all(sent, times);
    server.sent.add_all(received, times);
}

impl Nginx {
    /// Starts one in front of a server, with a worker or as one process.
    pub fn start(server: &str, worker: bool) -> anyhow::Result<Self> {
        let upstream = server.trim_start_matches("ws://").trim_end_matches('/');
        let location = format!(
            "location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1;
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}"
        );
        Self::with("access_log off;", "", &location, worker)
    }

    /// Starts one in front of a server, whose own clients put a header of the PROXY protocol in front; it answers `/here`
    /// itself. [`Nginx::clients`] tells whom they declare.
    pub fn behind_a_proxy(server: &str) -> anyhow::Result<Self> {
        let format = "access_log off; log_format declared $proxy_protocol_addr:$proxy_protocol_port;";
        let location = format!(
            "location / {{ access_log clients declared; proxy_pass http://{server}; proxy_http_version 1.1;
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
             if ($uri = /here) {{ return 200 here; }} }}"
        );
        Self::with(format, "proxy_protocol", &location, false)
    }

    /// Whom the headers of requests that are over have declared to be the client: addresses and ports.
    pub fn clients(&self) -> anyhow::Result<Vec<String>> {
        let log = std::fs::read_to_string(self.folder().join("clients"))?;
        Ok(log.lines().map(str::to_owned).collect())
    }

    /// Starts one that serves a file, and turns clients away with status 429 after so many requests.
    pub fn limiting(requests: u32) -> anyhow::Result<Self> {
        let burst = requests - 1;
        let zone = "access_log off; limit_req_zone $server_port zone=few:1m rate=1r/m;";
        let limit =
            format!("location / {{ limit_req zone=few burst={burst} nodelay; limit_req_status 429; }}");
        Self::with(zone, "", &limit, false)
    }
}
