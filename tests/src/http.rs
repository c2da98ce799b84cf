//! HTTP/1 (RFC 9110 and 9112): real servers and clients, what they count themselves, and what the agent shows.

pub mod clients;
pub mod hyper;
pub mod load;
pub mod log;
pub mod servers;
pub mod shop;
pub mod shown;
pub mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A request that a client is told to make, and what must come of it.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// The method.
    pub method: &'static str,
    /// The target's path, with a query if there is one.
    pub path: String,
    /// The route that the path is of.
    #[serde(skip)]
    pub route: &'static str,
    /// The status that it is answered with.
    #[serde(skip)]
    pub status: u16,
    /// How many bytes of body it has, if it has one.
    pub sends: Option<u64>,
    /// Whether the body is sent in chunks, instead of its length.
    pub chunked: bool,
}

impl Call {
    /// A GET request that is answered with 200.
    pub fn get(path: &str, route: &'static str) -> Self {
        Self { method: "GET", path: path.to_owned(), route, status: 200, sends: None, chunked: false }
    }

    /// A POST request with a body that is answered with 201.
    pub fn post(path: &str, route: &'static str, bytes: u64) -> Self {
        Self { method: "POST", status: 201, sends: Some(bytes), ..Self::get(path, route) }
    }

    /// The same with another method.
    #[must_use]
    pub fn by(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    /// The same that is answered with another status.
    #[must_use]
    pub fn answered(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same with its body in chunks.
    #[must_use]
    pub fn in_chunks(self) -> Self {
        Self { chunked: true, ..self }
    }
}

/// What a client says came of a call: the status, and how many bytes of body the answer had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Answer(pub u16, pub u64);

/// Requests that are over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// How many, by method, route and status.
    pub requests: BTreeMap<[String; 3], f64>,
    /// Bytes of the bodies of requests and of responses, by route.
    pub bodies: BTreeMap<String, [f64; 2]>,
}

impl Tally {
    /// Takes in one more.
    pub fn add(&mut self, method: &str, route: &str, status: &str, bodies: [f64; 2]) {
        *self.requests.entry([method, route, status].map(str::to_owned)).or_default() += 1.0;
        let sums = self.bodies.entry(route.to_owned()).or_default();
        for (sum, bytes) in sums.iter_mut().zip(bodies) {
            *sum += bytes;
        }
    }

    /// Takes in calls and what a client says came of them; fails if that is not what must.
    pub fn add_calls(&mut self, calls: &[Call], answers: &[Answer]) -> anyhow::Result<()> {
        anyhow::ensure!(calls.len() == answers.len(), "{} answers to {} calls", answers.len(), calls.len());
        for (call, Answer(status, length)) in calls.iter().zip(answers) {
            anyhow::ensure!(*status == call.status, "{call:?} was answered with {status}");
            let bodies = [call.sends.unwrap_or(0) as f64, *length as f64];
            self.add(call.method, call.route, &status.to_string(), bodies);
        }
        Ok(())
    }
}

/// Calls of every kind that the servers in [`servers`] answer.
pub fn calls() -> Vec<Call> {
    const ITEM: &str = "/items/{id}";
    vec![
        // Nothing has been answered here yet.
        Call::get("/nowhere", "unmatched").answered(404),
        Call::get("/items/12000", ITEM),
        Call::get("/items/0?page=2&q=%2Fitems%2F7", ITEM),
        Call::get("/items/1", ITEM),
        Call::get("/items/12000", ITEM).by("HEAD"),
        Call::post("/items", "/items", 10),
        Call::post("/items", "/items", 0),
        Call::post("/items", "/items", 300_000),
        Call::post("/items", "/items", 70_000).in_chunks(),
        Call::post("/items/7", ITEM, 25).by("PUT").answered(204),
        Call::get("/items/7", ITEM).by("DELETE").answered(204),
        Call::get("/items/300/parts", "/items/{id}/parts"),
        Call::get("/users/1c9dd1a4-5f0b-4c8e-9d83-0b0f7d6a6a52", "/users/{id}"),
        Call::get("/users/someone@example.com", "/users/{id}"),
        Call::get("/cached", "/cached").answered(304),
        Call::get("/old", "/old").answered(302),
        Call::get("/broken", "/broken").answered(500),
        // A route that there is, and one that has only been asked for.
        Call::get("/items/999999999", ITEM).answered(404),
        Call::get("/wp-login.php", "unmatched").answered(404),
        Call::get("/wait/30", "/wait/{id}"),
        Call::get("/items/250000", ITEM),
    ]
}

/// A number as two letters, of which there are 676: in a path, digits would be an id.
pub fn letters(number: usize) -> String {
    [number / 26, number].map(|digit| char::from(b'a' + (digit % 26) as u8)).iter().collect()
}
