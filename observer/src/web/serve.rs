//! The server: a thread of its own, so that strangers hold up neither what the agent observes nor each other.
//!
//! Bounded are connections, their time and what waits to be taken ([`Clients`]), the size of a request (here), and
//! passwords looked at ([`Gate`]). Whatever is turned away is counted.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::auth::{Gate, Users, Verdict};
use super::clients::{Client, Clients};
use super::counts::{Counts, Reason};
use super::gzip::compressed;
use super::negotiate;
use super::reload::{Loaded, Source, may_follow};
use super::routes::{Shared, router};
use super::web_config::{RateLimit, WebConfig};

/// The largest head of a request, in bytes: browsers send cookies of other services on the same host.
const LARGEST_HEAD: usize = 16 << 10;
/// The most that is kept of what a client has sent or is sent, in bytes.
const BUFFER: usize = 32 << 10;
/// How often is looked for who takes too long.
const SWEEP: Duration = Duration::from_secs(1);
/// How long nobody is let in after that has failed: descriptors may have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves what the agent answers, until `stopping` says so and everybody has been answered.
pub fn serve(
    listeners: Vec<TcpListener>,
    web_config: Option<(Source, Loaded)>,
    shared: Shared,
    stopping: watch::Receiver<bool>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // One looks at passwords, one at files.
            .max_blocking_threads(2)
            .thread_name("http-work")
            .build()?;
        runtime.block_on(tokio::task::LocalSet::new().run_until(run(listeners, web_config, shared, stopping)))
    };
    std::thread::Builder::new().name("http".to_owned()).spawn(work)
}

async fn run(
    listeners: Vec<TcpListener>,
    web_config: Option<(Source, Loaded)>,
    shared: Shared,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    let counts = Arc::clone(shared.counts());
    let (source, loaded) = web_config.map_or((None, None), |(source, loaded)| (Some(source), Some(loaded)));
    if loaded.is_some() {
        counts.set_web_config(true);
    }
    let server = Rc::new(Server {
        router: router(shared),
        clients: Clients::new(Arc::clone(&counts)),
        gate: Gate::new()?,
        rules: RefCell::new(Rc::new(Rules::new(loaded))),
        counts,
        stopping: stopping.clone(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tasks.spawn_local(Rc::clone(&server).let_in(listener));
    }
    let sweeping = Rc::clone(&server);
    tasks.spawn_local(async move {
        loop {
            tokio::time::sleep(SWEEP).await;
            sweeping.clients.sweep(Instant::now());
        }
    });
    if let Some(source) = source {
        tasks.spawn_local(Rc::clone(&server).follow(source));
    }
    // An error means that the sender is gone, which is a stop as well.
    let _ = stopping.wait_for(|&stop| stop).await;
    tasks.shutdown().await;
    server.clients.end_unasked();
    server.clients.gone().await;
    Ok(())
}

/// What is demanded of clients, and told to them.
struct Rules {
    /// What it was made of.
    config: WebConfig,
    tls: Option<TlsAcceptor>,
    users: Users,
    bucket: Option<RefCell<Bucket>>,
}

impl Rules {
    fn new(loaded: Option<Loaded>) -> Self {
        let (config, tls) = loaded.map_or_else(Default::default, |loaded| (loaded.config, loaded.tls));
        Self {
            tls: tls.map(TlsAcceptor::from),
            users: Users::new(config.users.clone()),
            bucket: config.rate_limit.map(|limit| RefCell::new(Bucket::new(limit))),
            config,
        }
    }

    fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.config.headers
    }
}

/// Tokens for requests.
struct Bucket {
    limit: RateLimit,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(limit: RateLimit) -> Self {
        Self { limit, tokens: f64::from(limit.burst), at: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at);
        self.at = now;
        let more = since.as_secs_f64() / self.limit.interval.as_secs_f64();
        self.tokens = (self.tokens + more).min(f64::from(self.limit.burst));
        let is_there = self.tokens >= 1.0;
        if is_there {
            self.tokens -= 1.0;
        }
        is_there
    }
}

struct Server {
    router: Router,
    clients: Clients,
    gate: Gate,
    rules: RefCell<Rc<Rules>>,
    counts: Arc<Counts>,
    stopping: watch::Receiver<bool>,
}

impl Server {
    fn rules(&self) -> Rc<Rules> {
        Rc::clone(&self.rules.borrow())
    }

    /// Lets clients in.
    async fn let_in(self: Rc<Self>, listener: tokio::net::TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let peer = peer.ip();
                    let client = self.clients.admit(peer);
                    tokio::task::spawn_local(Rc::clone(&self).converse(stream, peer, client));
                }
                Err(error) => {
                    log::warn!("cannot let a client in: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Puts what the files say in force when they change.
    async fn follow(self: Rc<Self>, mut source: Source) {
        loop {
            let (same, loaded) = source.changed().await;
            source = same;
            let checked = loaded.and_then(|loaded| {
                let old = self.rules();
                may_follow(&old.config, &loaded.config)?;
                Ok(loaded)
            });
            self.counts.set_web_config(checked.is_ok());
            match checked {
                Ok(loaded) => {
                    let rules = Rc::new(Rules::new(Some(loaded)));
                    self.gate.forget_all_but(&rules.users);
                    *self.rules.borrow_mut() = rules;
                    log::info!("what --web-config says has changed and is in force");
                }
                Err(problem) => {
                    log::error!(
                        "--web-config has changed and is not in force, what it said before is: {problem}"
                    );
                }
            }
        }
    }

    /// Speaks with a client until one of both, or the lack of room or time, ends it.
    async fn converse(self: Rc<Self>, stream: TcpStream, peer: IpAddr, client: Rc<Client>) {
        // Answers are written whole; none waits for a packet to fill.
        let _ = stream.set_nodelay(true);
        tokio::select! {
            () = client.ended() => {}
            () = self.speak(stream, peer, &client) => {}
        }
        self.clients.leave(&client);
    }

    async fn speak(&self, stream: TcpStream, peer: IpAddr, client: &Rc<Client>) {
        let tls = self.rules().tls.clone();
        let Some(acceptor) = tls else { return self.speak_http(stream, peer, client).await };
        match acceptor.accept(stream).await {
            Ok(stream) => self.speak_http(stream, peer, client).await,
            Err(error) => {
                // One that leaves before it has said anything only looked whether somebody is here.
                if error.kind() == io::ErrorKind::InvalidData {
                    self.counts.turn_away(Reason::Tls);
                    log::debug!("no TLS with {peer}: {error}");
                }
            }
        }
    }

    async fn speak_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: IpAddr,
        client: &Rc<Client>,
    ) {
        let answer = service_fn(|request| async move {
            client.note_request();
            let answer = self.answer(request, peer).await;
            let bytes = answer.body().size_hint().lower();
            self.clients.hold(client, usize::try_from(bytes).unwrap_or(usize::MAX));
            Ok::<_, Infallible>(answer.map(|body| Held { body, client: Rc::clone(client) }))
        });
        let io = TokioIo::new(Watched { stream, client });
        let connection = http1::Builder::new()
            .max_header_size(LARGEST_HEAD)
            .max_buf_size(BUFFER)
            .serve_connection(io, answer);
        let mut connection = std::pin::pin!(connection);
        let mut stopping = self.stopping.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopping.wait_for(|&stop| stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        match ended {
            Err(error) if error.is_parse_too_large() => self.counts.turn_away(Reason::TooLarge),
            Err(error) if error.is_parse() => self.counts.turn_away(Reason::Malformed),
            // Clients come and go.
            Ok(()) | Err(_) => {}
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response {
        let rules = self.rules();
        let gzip = negotiate::gzip(request.headers());
        let mut answer = self.admitted(request, peer, &rules).await;
        if gzip {
            answer = compressed(answer).await;
        }
        answer.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
        for (name, value) in rules.headers() {
            answer.headers_mut().insert(name, value.clone());
        }
        answer
    }

    /// The answer to a request, if it is allowed to be one.
    async fn admitted(&self, request: Request<Incoming>, peer: IpAddr, rules: &Rules) -> Response {
        let refuse = |reason, status: StatusCode| {
            self.counts.turn_away(reason);
            (status, format!("{}\n", status.canonical_reason().unwrap_or_default()))
        };
        if rules.bucket.as_ref().is_some_and(|bucket| !bucket.borrow_mut().take(Instant::now())) {
            return refuse(Reason::RateLimit, StatusCode::TOO_MANY_REQUESTS).into_response();
        }
        if !rules.users.is_empty() {
            match self.gate.check(&rules.users, peer, request.headers()).await {
                Verdict::Known => {}
                Verdict::Unknown => {
                    let demand = [(header::WWW_AUTHENTICATE, "Basic realm=\"observer\", charset=\"UTF-8\"")];
                    return (demand, refuse(Reason::Unauthorized, StatusCode::UNAUTHORIZED)).into_response();
                }
                Verdict::Busy => {
                    let later = [(header::RETRY_AFTER, "1")];
                    return (later, refuse(Reason::Busy, StatusCode::TOO_MANY_REQUESTS)).into_response();
                }
            }
        }
        if !request.body().is_end_stream() {
            let close = [(header::CONNECTION, "close")];
            return (close, refuse(Reason::TooLarge, StatusCode::PAYLOAD_TOO_LARGE)).into_response();
        }
        match TowerToHyperService::new(self.router.clone()).call(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }
}

/// A connection whose client is noted to read and write.
struct Watched<'a, S> {
    stream: S,
    client: &'a Client,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if into.filled().len() > before {
            self.client.note_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever flushes has written all that it had.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.client.note_flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// An answer's body, whose end is noted.
struct Held {
    body: Body,
    client: Rc<Client>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.client.note_answered();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Bucket, RateLimit};

    #[test]
    fn a_bucket_fills_up_to_its_burst() {
        let mut bucket = Bucket::new(RateLimit { interval: Duration::from_secs(1), burst: 3 });
        let start = Instant::now();
        let mut taken = |seconds: f64, wanted: u32| {
            let now = start + Duration::from_secs_f64(seconds);
            (0..wanted).filter(|_| bucket.take(now)).count()
        };
        assert_eq!(taken(0.0, 5), 3);
        assert_eq!(taken(0.9, 5), 0);
        assert_eq!(taken(2.1, 5), 2);
        assert_eq!(taken(100.0, 5), 3);
    }
}
