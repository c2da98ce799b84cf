//! What each endpoint answers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::counts::Counts;
use super::{negotiate, page};
use crate::agent::Agent;
use crate::flows;

/// What an endpoint asks of the agent, which lives on one thread and answers one after the other.
type Ask = Box<dyn FnOnce(&mut Agent) + Send>;

/// How requests reach the agent.
#[derive(Clone, Debug)]
pub struct Shared {
    questions: mpsc::Sender<Ask>,
    counts: Arc<Counts>,
}

/// Questions that may wait at once; more clients wait to ask.
const WAITING: usize = 16;

impl Shared {
    /// A way to ask, and the end at which the agent answers.
    pub fn new() -> (Self, Questions) {
        let (questions, asked) = mpsc::channel(WAITING);
        (Self { questions, counts: Arc::default() }, Questions(asked))
    }

    /// What the server counts of itself.
    pub(super) const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Has the agent answer; `None` while it does not run.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Agent) -> T + Send + 'static,
    ) -> Option<T> {
        let (ask, answered) = envelope(question);
        self.questions.send(ask).await.ok()?;
        answered.await.ok()
    }

    /// The same, from a thread that may wait.
    pub(crate) fn ask_and_wait<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Agent) -> T + Send + 'static,
    ) -> Option<T> {
        let (ask, answered) = envelope(question);
        self.questions.blocking_send(ask).ok()?;
        answered.blocking_recv().ok()
    }
}

/// A question, and where its answer arrives.
fn envelope<T: Send + 'static>(
    question: impl FnOnce(&mut Agent) -> T + Send + 'static,
) -> (Ask, oneshot::Receiver<T>) {
    let (answer, answered) = oneshot::channel();
    let ask: Ask = Box::new(move |agent| {
        // A client that has left wants no answer.
        let _ = answer.send(question(agent));
    });
    (ask, answered)
}

/// Questions for the agent.
pub struct Questions(mpsc::Receiver<Ask>);

impl std::fmt::Debug for Questions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Questions").finish_non_exhaustive()
    }
}

impl Questions {
    /// Answers the next question; false once nobody can ask any more.
    pub async fn answer(&mut self, agent: &Rc<RefCell<Agent>>) -> bool {
        let Some(ask) = self.0.recv().await else { return false };
        ask(&mut agent.borrow_mut());
        true
    }
}

/// All endpoints.
pub(super) fn router(shared: Shared) -> Router {
    let page = page::routes().fold(Router::new(), |router, (path, part)| router.route(path, part));
    page.route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/flows", get(flows))
        .route("/processes", get(processes))
        .route("/routes", get(routes))
        .route("/queues", get(queues))
        .route("/events", get(events))
        .with_state(shared)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    // The agent answers once it has attached its programs and collected.
    match shared.ask(|_| ()).await {
        Some(()) => "ready\n".into_response(),
        None => unavailable(),
    }
}

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping\n").into_response()
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let format = negotiate::format(&headers);
    let counts = Arc::clone(&shared.counts);
    match shared.ask(move |agent| agent.scrape(format, &counts)).await {
        Some(Ok(text)) => {
            let headers = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept")];
            (headers, Bytes::from(text)).into_response()
        }
        Some(Err(error)) => {
            log::error!("cannot collect: {error:#}");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot collect: {error:#}\n")).into_response()
        }
        None => unavailable(),
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    json_or_unavailable(shared.ask(|agent| serde_json::to_value(agent.status())).await)
}

/// A query's names and values.
type Pairs = Query<Vec<(String, String)>>;

async fn flows(State(shared): State<Shared>, Query(pairs): Pairs) -> Response {
    let query = match flows::Query::parse(&pairs) {
        Ok(query) => query,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    let answer = shared.ask(move |agent| {
        // What is asked for is what is there now.
        if let Err(error) = agent.collect() {
            log::error!("cannot collect: {error}");
        }
        list(agent.flows(&query))
    });
    encoded_or_unavailable(answer.await)
}

/// `{"flows":[…]}`, row by row: all of them at once, as data, would take several times the room of the text.
fn list(rows: impl Iterator<Item = flows::Row>) -> serde_json::Result<Vec<u8>> {
    let mut text = b"{\"flows\":[".to_vec();
    for (place, row) in rows.enumerate() {
        if place > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &row)?;
    }
    text.extend_from_slice(b"]}");
    Ok(text)
}

/// What `/processes`, `/routes` and `/queues` may be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    /// How many are listed at most.
    #[serde(default = "few")]
    limit: usize,
}

/// How many are listed unless asked for otherwise.
const fn few() -> usize {
    100
}

async fn processes(State(shared): State<Shared>, Query(Limit { limit }): Query<Limit>) -> Response {
    collected(&shared, move |agent| serde_json::to_vec(&agent.overview(limit))).await
}

async fn routes(State(shared): State<Shared>, Query(Limit { limit }): Query<Limit>) -> Response {
    collected(&shared, move |agent| serde_json::to_vec(&agent.routes(limit))).await
}

async fn queues(State(shared): State<Shared>, Query(Limit { limit }): Query<Limit>) -> Response {
    collected(&shared, move |agent| serde_json::to_vec(&agent.queues(limit))).await
}

/// What an agent answers that has collected everything.
async fn collected(
    shared: &Shared,
    question: impl FnOnce(&Agent) -> serde_json::Result<Vec<u8>> + Send + 'static,
) -> Response {
    let answer = shared.ask(move |agent| {
        if let Err(error) = agent.collect_all() {
            log::error!("cannot collect: {error}");
        }
        question(agent)
    });
    encoded_or_unavailable(answer.await)
}

async fn events(State(shared): State<Shared>) -> Response {
    let answer = shared.ask(|agent| {
        agent.drain_events();
        serde_json::to_value(agent.events()).map(|events| json!({ "events": events }))
    });
    json_or_unavailable(answer.await)
}

fn json_or_unavailable(answer: Option<serde_json::Result<serde_json::Value>>) -> Response {
    match answer {
        Some(Ok(value)) => Json(value).into_response(),
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        None => unavailable(),
    }
}

fn encoded_or_unavailable(answer: Option<serde_json::Result<Vec<u8>>>) -> Response {
    match answer {
        Some(Ok(text)) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        None => unavailable(),
    }
}
