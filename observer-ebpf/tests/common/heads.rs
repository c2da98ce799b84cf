//! Bytes of HTTP/1 that another parser has judged: what is made of them here, as plain data.

use std::collections::{BTreeMap, BTreeSet};

use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::http::layout::{FRAMING, UNTIL_CLOSE};

use super::Observed;
use super::turns::ROLES;

/// Bytes of buffers in which calls lie.
const BUFFERS: [u32; 3] = [1, 7, 1024];
/// The status that answers the first request; each one that follows has the next.
const FIRST_STATUS: u16 = 450;
/// The status of the answer that tells what a connection speaks. It makes no route.
const NO_STATUS: u16 = 405;

/// What was made of a client's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) desync: Option<Desync>,
    /// Requests whose heads are over.
    pub(crate) count: usize,
    /// Route and method of each of them, if nothing was amiss.
    pub(crate) requests: Vec<(String, &'static str)>,
    /// Bytes of their bodies, so far as their heads or the sizes of chunks have told them.
    pub(crate) bodies: Vec<u64>,
}

/// What was made of a server's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) desync: Option<Desync>,
    /// How often each status has answered a request whole, if nothing was amiss.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Bytes of these answers' bodies.
    pub(crate) bodies: Vec<u64>,
    /// The status of an answer that is not over, and if it ends with the connection, bytes of its body so far.
    pub(crate) open: Option<(u16, Option<u64>)>,
}

/// A connection of which it is known that it speaks HTTP, and which has these routes.
fn begin(role: Role, routes: &[String]) -> Observed {
    let mut observed = Observed::new(role);
    observed.client(b"GET /first HTTP/1.1\r\n\r\n");
    observed.server(format!("HTTP/1.1 {NO_STATUS} x\r\nContent-Length: 0\r\n\r\n").as_bytes());
    observed.labels.routes = routes.to_vec();
    observed.labels.done.clear();
    observed
}

/// Has these bytes sent in two calls, the second only if the first left the stream in sync.
fn split_in_two(observed: &mut Observed, server: bool, bytes: &[u8], split: usize) -> Option<Desync> {
    for part in [&bytes[..split], &bytes[split..]] {
        if observed.desyncs.is_empty() {
            observed.by(server, part);
        }
    }
    observed.desyncs.first().copied()
}

fn ask(observed: &mut Observed, bytes: &[u8], split: usize) -> Asked {
    let desync = split_in_two(observed, false, bytes, split);
    let count = observed.connection.http().in_flight() as usize;
    if desync.is_some() {
        return Asked { desync, count, requests: Vec::new(), bodies: Vec::new() };
    }
    for status in (FIRST_STATUS..).take(count) {
        observed.server(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes());
    }
    let mut rows = BTreeMap::new();
    for ((route, method, status), requests) in observed.labels.requests() {
        if status != NO_STATUS {
            assert_eq!((requests, rows.insert(status, (route, method))), (1, None));
        }
    }
    let bodies = observed.labels.done.iter().map(|done| done.request_bytes).collect();
    Asked { desync, count, requests: rows.into_values().collect(), bodies }
}

/// What comes of a client's bytes: the same at both ends, in buffers of any size, and wherever they are cut in two.
#[track_caller]
pub(crate) fn asked(bytes: &[u8], name: &str) -> Asked {
    let mut routes = Vec::new();
    let whole = loop {
        let mut observed = begin(Role::Server, &routes);
        let seen = ask(&mut observed, bytes, 0);
        // A route that waits for its first answer hides the next one: that is known the next time.
        if observed.labels.routes == routes {
            break seen;
        }
        routes = observed.labels.routes;
    };
    everywhere(bytes, |role, buffer, split| {
        let seen = ask(&mut begin(role, &routes).in_buffers_of(buffer), bytes, split);
        assert_eq!(seen, whole, "{name} {role:?} {buffer} {split}");
    });
    if whole.desync.is_some() {
        assert_goes_on(bytes, name);
    }
    whole
}

fn everywhere(bytes: &[u8], mut tried: impl FnMut(Role, u32, usize)) {
    for role in ROLES {
        for buffer in BUFFERS {
            (0..bytes.len()).for_each(|split| tried(role, buffer, split));
        }
    }
}

/// The server refuses what has put the client's stream out of sync, and the connection goes on.
#[track_caller]
fn assert_goes_on(bytes: &[u8], name: &str) {
    for role in ROLES {
        let mut observed = begin(role, &[]);
        observed.client(bytes);
        assert!(observed.is_lost(role.request_direction()), "{name}");
        observed.server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad");
        observed.client(b"DELETE /next HTTP/1.1\r\n\r\n");
        assert!(!observed.is_lost(role.request_direction()), "{name}");
        observed.server(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\nx");
        let row = (("/next".to_owned(), "DELETE", 202), 1);
        assert!(observed.labels.requests().into_iter().any(|found| found == row), "{name}");
        assert_eq!(observed.connection.http().in_flight(), 0, "{name}");
    }
}

fn answer(observed: &mut Observed, bytes: &[u8], method: &str, count: usize, split: usize) -> Answered {
    for _ in 0..count {
        observed.client(format!("{method} / HTTP/1.1\r\n\r\n").as_bytes());
    }
    let desync = split_in_two(observed, true, bytes, split);
    let mut statuses = BTreeMap::new();
    if desync.is_some() {
        return Answered { desync, statuses, bodies: Vec::new(), open: None };
    }
    for ((.., status), requests) in observed.labels.requests() {
        if status != NO_STATUS {
            *statuses.entry(status).or_default() += requests;
        }
    }
    let bodies = observed.labels.done.iter().map(|done| done.response_bytes).collect();
    let is_http = observed.protocol() == Protocol::Http;
    let current = observed.connection.details.http().current;
    let length = (current.kind & FRAMING == UNTIL_CLOSE).then_some(current.response_bytes);
    let open = (is_http && current.status != 0).then_some((current.status, length));
    Answered { desync, statuses, bodies, open }
}

/// What comes of a server's bytes that answer so many requests of a method: the same as above.
#[track_caller]
pub(crate) fn answered(bytes: &[u8], method: &str, count: usize, name: &str) -> Answered {
    let whole = answer(&mut begin(Role::Server, &[]), bytes, method, count, 0);
    everywhere(bytes, |role, buffer, split| {
        let mut observed = begin(role, &[]).in_buffers_of(buffer);
        let seen = answer(&mut observed, bytes, method, count, split);
        assert_eq!(seen, whole, "{name} {role:?} {buffer} {split}");
    });
    whole
}

/// The route of a target, by the rules of docs/metrics.md as far as such tests need them.
pub(crate) fn route(target: &str, method: &str) -> String {
    if method == "CONNECT" || target == "*" {
        return "*".to_owned();
    }
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?', ':']) && !scheme.is_empty() => {
            // Without a path it is the root (RFC 9112, section 3.2.1).
            rest.find(['/', '?'])
                .map_or("/", |at| if rest[at..].starts_with('?') { "/" } else { &rest[at..] })
        }
        _ => target,
    };
    let path = path.split('?').next().unwrap_or_default();
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return "other".to_owned();
    }
    let is_id = |segment: &str| {
        let is_number = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        // Somebody at some place.
        let is_address = segment.len() > 2 && segment.find('@').is_some_and(|at| at > 0);
        segment.len() > 32 || is_number || is_address
    };
    let mut segments: Vec<&str> =
        path.split('/').map(|segment| if is_id(segment) { "{id}" } else { segment }).collect();
    // Eight of them, behind the first slash.
    if segments.len() > 9 {
        segments.splice(9.., ["…"]);
    }
    segments.join("/")
}

/// A method of RFC 9110, or PATCH; or neither.
pub(crate) fn method(name: &str) -> &str {
    const METHODS: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    METHODS.into_iter().find(|known| *known == name).unwrap_or("other")
}

/// Fails unless these are just the names that are listed, each under why it is there.
#[track_caller]
pub(crate) fn assert_listed(found: &[String], listed: &[(&str, &[&str])]) {
    let listed: BTreeSet<&str> = listed.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let new: Vec<&&str> = found.difference(&listed).collect();
    let stale: Vec<&&str> = listed.difference(&found).collect();
    assert!(new.is_empty() && stale.is_empty(), "not listed: {new:#?}\nlisted, and not so: {stale:#?}");
}
