//! Asking servers for `INFO` (`--redis-info`), each in a task of its own: nothing waits for an answer.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{ConnectionAddr, InfoDict, IntoConnectionInfo as _, RedisConnectionInfo};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How often a server is asked.
const EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer, connecting included.
const LIMIT: Duration = Duration::from_secs(3);

/// A server to ask.
#[derive(Clone)]
pub struct Server {
    address: Address,
    settings: RedisConnectionInfo,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Server {
    /// Asks for nothing but `INFO`: servers before 7.2 take the library's name for an error, which would count.
    fn new(address: Address, settings: RedisConnectionInfo) -> Self {
        Self { address, settings: settings.set_skip_set_lib_name() }
    }

    /// `HOST:PORT` or the path, as given: nothing that is secret.
    pub fn name(&self) -> String {
        match &self.address {
            Address::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Address::Tcp(host, port) => format!("{host}:{port}"),
            Address::Unix(path) => path.display().to_string(),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Server").field(&self.name()).finish()
    }
}

impl FromStr for Server {
    type Err = String;

    /// Reads `redis://[[USER]:PASSWORD@]HOST[:PORT]`, `unix:///PATH[?user=…&pass=…]` or a path. What is wrong
    /// is told without the text itself, which may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            let address = Address::Unix(Path::new(text).to_owned());
            return Ok(Self::new(address, RedisConnectionInfo::default()));
        }
        let wrong = || "it is not redis://[:PASSWORD@]HOST:PORT, nor a UNIX socket's path".to_owned();
        let url = ::redis::parse_redis_url(text).ok_or_else(wrong)?;
        if matches!(url.scheme(), "rediss" | "valkeys") {
            return Err("TLS is not supported".to_owned());
        }
        let connection = url.into_connection_info().map_err(|error| {
            error.detail().map_or_else(wrong, |detail| format!("{}: {detail}", error.category()))
        })?;
        let address = match connection.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(wrong()),
        };
        Ok(Self::new(address, connection.redis_settings().clone()))
    }
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's end, as connections to it are labelled.
    pub server: String,
    /// `used_memory`; 0 where it did not say.
    pub memory_used: u64,
    /// `maxmemory`: 0 where there is none, `None` where it did not say.
    pub memory_limit: Option<u64>,
    /// `evicted_keys`.
    pub evicted_keys: u64,
}

/// An open connection to a server.
struct Session {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    server: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Asks a server again and again, and passes on what comes of it, until dropped.
pub async fn watch(server: &Server, mut note: impl FnMut(Result<Answer, String>)) {
    let mut session = None;
    let mut due = tokio::time::interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        note(ask_within(LIMIT, server, &mut session).await);
    }
}

async fn ask_within(
    limit: Duration,
    server: &Server,
    session: &mut Option<Session>,
) -> Result<Answer, String> {
    let outcome = tokio::time::timeout(limit, ask(server, session)).await;
    let outcome = outcome.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs_f64())));
    if outcome.is_err() {
        *session = None;
    }
    outcome
}

async fn ask(server: &Server, session: &mut Option<Session>) -> Result<Answer, String> {
    // One that was open may have been closed since, by a server that was started again.
    if let Some(open) = session
        && let Ok(answer) = question(open).await
    {
        return Ok(answer);
    }
    let open = session.insert(connect(server).await?);
    question(open).await
}

async fn question(session: &mut Session) -> Result<Answer, String> {
    let info: InfoDict =
        ::redis::cmd("INFO").query_async(&mut session.connection).await.map_err(|error| error.to_string())?;
    let memory_used = info.get("used_memory").ok_or("its answer to INFO tells no used_memory")?;
    Ok(Answer {
        server: session.server.clone(),
        memory_used,
        memory_limit: info.get("maxmemory"),
        evicted_keys: info.get("evicted_keys").unwrap_or_default(),
    })
}

async fn connect(server: &Server) -> Result<Session, String> {
    let text = |error: std::io::Error| error.to_string();
    match &server.address {
        Address::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(text)?;
            let peer = stream.peer_addr().map_err(text)?;
            let label = SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string();
            start(server, stream, label).await
        }
        Address::Unix(path) => {
            start(server, UnixStream::connect(path).await.map_err(text)?, server.name()).await
        }
    }
}

async fn start<S>(server: &Server, stream: S, label: String) -> Result<Session, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    // The limit is on the whole question.
    let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, driver) = MultiplexedConnection::new_with_config(&server.settings, stream, config)
        .await
        .map_err(|error| error.to_string())?;
    Ok(Session { connection, driver: tokio::task::spawn_local(driver), server: label })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::{Answer, Server, ask_within};

    fn block_on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be started");
        runtime.block_on(tokio::task::LocalSet::new().run_until(test));
    }

    fn server(text: &str) -> Server {
        text.parse().expect("it names a server")
    }

    /// Answers the commands of as many clients, one after the other, as there are `lives`: each command with
    /// the first of `replies` whose word it holds, or else with OK. All but the last client are left after INFO.
    fn serve(listener: TcpListener, lives: usize, replies: &'static [(&'static str, &'static str)]) {
        std::thread::spawn(move || {
            for life in 1..=lives {
                let (mut stream, _) = listener.accept().expect("a client comes");
                let mut bytes = [0; 4096];
                // One command, or several in one segment, whose end is that of the segment.
                while let Ok(count @ 1..) = stream.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                    for command in text.split('*').skip(1) {
                        let reply = replies.iter().find(|(word, _)| command.contains(word));
                        let reply = reply.map_or("+OK\r\n", |(_, reply)| reply);
                        stream.write_all(reply.as_bytes()).expect("the client listens");
                    }
                    if life < lives && text.contains("\r\nINFO\r\n") {
                        break;
                    }
                }
            }
        });
    }

    fn listen() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has one").to_string();
        (listener, address)
    }

    const INFO: &str =
        "$70\r\n# Memory\r\nused_memory:1234\r\nmaxmemory:4096\r\n# Stats\r\nevicted_keys:56\r\n\r\n";

    #[test]
    fn urls_and_paths_name_servers() {
        for (text, name) in [
            ("redis://127.0.0.1:6380", "127.0.0.1:6380"),
            ("redis://localhost", "localhost:6379"),
            ("redis://:secret@[::1]:7", "[::1]:7"),
            ("redis://user:secret@cache.internal:6379/2", "cache.internal:6379"),
            ("unix:///run/redis.sock?pass=secret", "/run/redis.sock"),
            ("/run/redis/a b.sock", "/run/redis/a b.sock"),
        ] {
            assert_eq!(server(text).name(), name);
            assert!(!format!("{:?}", server(text)).contains("secret"), "{text}");
        }
        for text in [
            "redis://:secret@",
            "http://:secret@h:1",
            "h:6379",
            "",
            "rediss://:secret@h:1",
            "redis://h:secret",
        ] {
            let error = text.parse::<Server>().expect_err("it names none");
            assert!(!error.contains("secret") && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn a_server_is_asked_again_on_the_same_connection_and_on_a_new_one() {
        block_on(async {
            let (listener, address) = listen();
            let asked = server(&format!("redis://:secret@{address}"));
            serve(listener, 3, &[("\r\nINFO\r\n", INFO)]);
            let expected =
                Answer { server: address, memory_used: 1234, memory_limit: Some(4096), evicted_keys: 56 };
            let mut session = None;
            for _ in 0..3 {
                let answer = ask_within(Duration::from_secs(5), &asked, &mut session).await;
                assert_eq!(answer.as_ref(), Ok(&expected));
            }
        });
    }

    #[test]
    fn a_server_that_does_not_answer_or_refuses_is_told() {
        block_on(async {
            let (listener, address) = listen();
            let asked = server(&format!("redis://{address}"));
            let mut session = None;
            let answer = ask_within(Duration::from_millis(50), &asked, &mut session).await;
            assert_eq!(answer, Err("no answer within 0.05 s".to_owned()));
            drop(listener);
            let answer = ask_within(Duration::from_secs(5), &asked, &mut session).await;
            assert!(answer.as_ref().is_err_and(|error| error.contains("refused")), "{answer:?}");

            let (listener, address) = listen();
            let asked = server(&format!("redis://{address}"));
            serve(listener, 1, &[("INFO", "-NOAUTH Authentication required.\r\n")]);
            let answer = ask_within(Duration::from_secs(5), &asked, &mut session).await;
            assert!(answer.as_ref().is_err_and(|error| error.contains("NOAUTH")), "{answer:?}");
        });
    }
}
