//! The application in Rust: a server of hyper's, on a thread of this process.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

type Body = BoxBody<Bytes, Infallible>;

/// The server. Dropping it ends it, and its connections.
#[derive(Debug)]
pub struct Hyper {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hyper {
    /// Starts it.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let port = listener.local_addr()?.port();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.spawn(serve(listener));
            // Until whoever started it drops the other end; with the runtime go all that it runs.
            let _ = runtime.block_on(stopped);
        });
        Ok(Self { port, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Hyper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            // A client that goes away is no failure of ours.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, anyhow::Error> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    // All of it is read before it is answered.
    let length = request.into_body().collect().await?.to_bytes().len();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    Ok(match (method, &parts[..]) {
        (Method::POST, ["items"]) => text(StatusCode::CREATED, length.to_string())?,
        (Method::PUT | Method::DELETE, ["items", _]) => empty(StatusCode::NO_CONTENT)?,
        (Method::GET, ["items", count]) => match count.parse::<usize>()? {
            count if count <= 1_000_000 => text(StatusCode::OK, "x".repeat(count))?,
            _ => text(StatusCode::NOT_FOUND, "no such item".to_owned())?,
        },
        // hyper sends no body in answer to HEAD, and a length only if it is given one.
        (Method::HEAD, ["items", count]) => {
            Response::builder().header(CONTENT_LENGTH, *count).body(Empty::new().boxed())?
        }
        (Method::GET, ["items", count, "parts"]) => in_parts(count.parse()?),
        (Method::GET, ["users", user]) => text(StatusCode::OK, (*user).to_owned())?,
        (Method::GET, ["cached"]) => empty(StatusCode::NOT_MODIFIED)?,
        (Method::GET, ["old"]) => {
            let found = Response::builder().status(StatusCode::FOUND).header(LOCATION, "/items/1");
            found.body(Full::from("moved").boxed())?
        }
        (Method::GET, ["broken"]) => text(StatusCode::INTERNAL_SERVER_ERROR, "broken".to_owned())?,
        (Method::GET, ["wait", milliseconds]) => {
            tokio::time::sleep(Duration::from_millis(milliseconds.parse()?)).await;
            text(StatusCode::OK, "waited".to_owned())?
        }
        _ => text(StatusCode::NOT_FOUND, "nothing here".to_owned())?,
    })
}

fn text(status: StatusCode, text: String) -> anyhow::Result<Response<Body>> {
    Response::builder().status(status).body(Full::from(text).boxed()).context("no response")
}

fn empty(status: StatusCode) -> anyhow::Result<Response<Body>> {
    Response::builder().status(status).body(Empty::new().boxed()).context("no response")
}

/// Parts of ten bytes, each a chunk: hyper does not know how many will come.
fn in_parts(count: usize) -> Response<Body> {
    let parts = (0..count).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"0123456789"))));
    Response::new(BoxBody::new(StreamBody::new(futures_util::stream::iter(parts))))
}
