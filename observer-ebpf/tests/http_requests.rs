//! Requests and answers as RFC 9112 frames them: counted by route, method and status, with the sizes of their bodies,
//! however they are split.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::turns::{BUFFERS, ROLES, Turns, feed, length};
use common::{Observed, Row};
use observer_ebpf::layout::{Protocol, Role};

fn request(text: &str) -> (bool, Vec<u8>) {
    (true, text.as_bytes().to_vec())
}

fn response(text: &str) -> (bool, Vec<u8>) {
    (false, text.as_bytes().to_vec())
}

/// What each request was, and how long its body and its answer's were.
type Expected<'a> = &'a [(&'a str, &'static str, u16, u64, u64)];

#[track_caller]
fn assert_requests(observed: &Observed, expected: Expected<'_>, how: impl core::fmt::Debug) {
    let mut rows: BTreeMap<Row, u64> = BTreeMap::new();
    for &(route, method, status, ..) in expected {
        *rows.entry((route.to_owned(), method, status)).or_default() += 1;
    }
    assert_eq!(observed.labels.requests(), rows, "{how:?}");
    let sizes: Vec<(u64, u64)> =
        observed.labels.done.iter().map(|done| (done.request_bytes, done.response_bytes)).collect();
    let expected: Vec<(u64, u64)> = expected.iter().map(|&(.., sent, received)| (sent, received)).collect();
    assert_eq!(sizes, expected, "{how:?}");
    assert!(observed.desyncs.is_empty(), "{how:?}: {:?}", observed.desyncs);
    assert_eq!(observed.connection.http().unmatched, 0, "{how:?}");
    assert_eq!(observed.connection.http().in_flight(), 0, "{how:?}");
}

/// At every split, in both roles and several buffers, and in calls of a few bytes.
fn assert_everywhere(turns: &Turns, expected: Expected<'_>) {
    for role in ROLES {
        for buffer in BUFFERS {
            for split in 0..length(turns) {
                let mut observed = Observed::new(role).in_buffers_of(buffer);
                feed(&mut observed, turns, split);
                assert_requests(&observed, expected, (role, buffer, split));
            }
        }
        for size in [1, 2, 3, 5, 7, 11, 16, 17] {
            let mut observed = Observed::new(role);
            for (by_client, bytes) in turns {
                for part in bytes.chunks(size) {
                    if *by_client { observed.client(part) } else { observed.server(part) }
                }
            }
            assert_requests(&observed, expected, (role, size));
        }
    }
}

#[test]
fn bodies_end_where_their_heads_say() {
    let turns = vec![
        request("GET /a?x=/b HTTP/1.1\r\nHost: h\r\n\r\n"),
        response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        request("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"),
        response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        request("POST /a/b HTTP/1.1\r\nHost: h\r\ncontent-LENGTH:3\r\n\r\nGET"),
        response("HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n"),
        request(
            "PUT /a/b HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n00a\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
        ),
        response("HTTP/1.1 304\r\nTransfer-Encoding: chunked\r\n\r\n"),
        request("GET /a HTTP/1.1\r\nIf-Match: x\r\n\r\n"),
        response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\nB\r\nHTTP/1.1 40\r\n0\r\n\r\n"),
        request("DELETE /a/42 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        response("HTTP/1.1 500 Oh no\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nno"),
        request("OPTIONS * HTTP/1.1\r\n\r\n"),
        response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        request("BREW /pot HTTP/1.1\r\n\r\n"),
        response("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 1\r\n\r\nx"),
    ];
    assert_everywhere(
        &turns,
        &[
            ("/a", "GET", 200, 0, 5),
            ("/a", "HEAD", 200, 0, 0),
            ("/a/b", "POST", 204, 3, 0),
            ("/a/b", "PUT", 304, 13, 0),
            ("/a", "GET", 200, 0, 11),
            ("/a/{id}", "DELETE", 500, 0, 2),
            ("*", "OPTIONS", 200, 0, 0),
            ("/pot", "other", 418, 0, 1),
        ],
    );
}

#[test]
fn requests_in_a_pipeline_are_answered_in_order() {
    let turns = vec![
        request(
            "GET /1 HTTP/1.1\r\n\r\nHEAD /a HTTP/1.1\r\n\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /c HTTP/1.1\n\n",
        ),
        response(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        ),
        response(
            "HTTP/1.1 201 Created\nContent-Length: 3\n\nabcHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ];
    assert_everywhere(
        &turns,
        &[
            ("/{id}", "GET", 200, 0, 1),
            // Another route was waiting for its first answer.
            ("unmatched", "HEAD", 200, 0, 0),
            ("unmatched", "POST", 201, 2, 3),
            ("unmatched", "GET", 404, 0, 0),
        ],
    );
    // More of the same route wait with it.
    let turns = vec![
        request("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n"),
        response(&"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".repeat(3)),
    ];
    assert_everywhere(&turns, &[("/{id}", "GET", 200, 0, 1); 3]);
}

#[test]
fn past_the_bound_of_requests_in_flight_only_times_are_left_out() {
    for count in [15, 16, 17, 40, 1000] {
        let mut observed = Observed::new(Role::Client);
        observed.client(b"GET /a HTTP/1.1\r\n\r\n");
        observed.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        observed.client(&b"GET /a HTTP/1.1\r\n\r\n".repeat(count));
        assert_eq!(observed.connection.http().in_flight() as usize, count);
        observed.server(&b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".repeat(count));
        observed.client(b"HEAD /a HTTP/1.1\r\n\r\n");
        observed.server(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
        let rows = BTreeMap::from([
            (("/a".to_owned(), "GET", 200), count as u64 + 1),
            (("/a".to_owned(), "HEAD", 200), 1),
        ]);
        assert_eq!(observed.labels.requests(), rows);
        let untimed = count.saturating_sub(16);
        assert_eq!(observed.connection.http().untimed as usize, untimed);
        assert_eq!(observed.labels.done.iter().filter(|done| done.is_timed == 0).count(), untimed);
        assert!(observed.desyncs.is_empty());
    }
}

#[test]
fn times_are_from_the_first_byte_to_the_first_and_the_last() {
    let mut observed = Observed::new(Role::Server);
    let mut at = |ms: u64, by_client: bool, bytes: &[u8]| {
        observed.now_ns = ms * 1_000_000;
        if by_client { observed.client(bytes) } else { observed.server(bytes) }
    };
    at(1000, true, b"POST /a HTTP/1.1\r\nContent-Le");
    at(1007, true, b"ngth: 4\r\n\r\nab");
    at(1010, false, b"HTTP/1.1 100 Continue\r\n\r\n");
    at(1020, true, b"cd");
    at(1030, false, b"HTTP");
    at(1040, false, b"/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    // Passed unread.
    at(1050, false, b"ab");
    at(1060, false, b"cd");
    at(2000, true, b"GET /a HTTP/1.1\r\n\r\n");
    at(2003, false, b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    let times: Vec<[u64; 3]> = observed
        .labels
        .done
        .iter()
        .map(|done| [done.first_byte_ns, done.duration_ns, done.response_ns].map(|ns| ns / 1_000_000))
        .collect();
    assert_eq!(times, [[30, 60, 30], [3, 3, 0]]);
}

#[test]
fn events_of_a_stream_end_with_empty_lines_and_comments_are_none() {
    let events = ": hello\n\ndata: 1\n\nid: 2\ndata: 2\n\n: ping\r\n\r\ndata: 3\r\n\r\ndata: 4\r\rdata:5\rid:5\r\r\n\n\n\ndata: 6\n\n";
    let mut chunked = String::new();
    for part in events.as_bytes().chunks(5) {
        let part = core::str::from_utf8(part).expect("ASCII");
        write!(chunked, "{:x}\r\n{part}\r\n", part.len()).expect("a string takes all");
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream;charset=utf-8\r\n";
    let bodies = [
        format!("{head}\r\n{events}"),
        format!("{head}Content-Length: {}\r\n\r\n{events}", events.len()),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"),
    ];
    for (at, body) in bodies.iter().enumerate() {
        let turns = vec![request("GET /events HTTP/1.1\r\nHost: h\r\n\r\n"), response(body)];
        for role in ROLES {
            for buffer in BUFFERS {
                for split in 0..length(&turns) {
                    let mut observed = Observed::new(role).in_buffers_of(buffer);
                    feed(&mut observed, &turns, split);
                    assert_eq!(observed.labels.events(), 6, "{at} {role:?} {buffer} {split}");
                    assert!(observed.desyncs.is_empty());
                    // The first ends with the connection.
                    assert_eq!(observed.connection.http().in_flight(), u32::from(at == 0));
                    assert!(observed.labels.done.iter().all(|done| done.is_stream == 1));
                }
            }
        }
    }
}

#[test]
fn an_answer_without_length_that_takes_long_is_a_stream() {
    for (head, is_stream) in [("Transfer-Encoding: chunked", 1), ("Content-Length: 11", 0)] {
        let mut observed = Observed::new(Role::Server);
        observed.client(b"GET /slow HTTP/1.1\r\n\r\n");
        observed.now_ns = 5_000_000_000;
        observed.server(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes());
        observed.now_ns = 15_000_000_000;
        observed.server(b"1\r\nx\r\n0\r\n\r\n");
        let done: Vec<(u64, u64)> =
            observed.labels.done.iter().map(|done| (done.is_stream, done.response_ns)).collect();
        assert_eq!(done, [(is_stream, 10_000_000_000)]);
    }
}

#[test]
fn a_client_tells_whom_it_asks() {
    for (head, authority) in [
        ("GET / HTTP/1.1\r\nHost: API.Example.com\r\n\r\n", "api.example.com"),
        ("GET / HTTP/1.1\r\nHost:api.example.com:80 \r\n\r\n", "api.example.com"),
        ("GET / HTTP/1.1\r\nX: y\r\nhost:\t[::1]:8080\r\n\r\n", "[::1]:8080"),
        ("GET http://a.b:80/c HTTP/1.1\r\nHost: other\r\n\r\n", "a.b"),
        ("GET http://a.b HTTP/1.1\r\nHost: other\r\n\r\n", "a.b"),
        ("GET http://user:secret@a.b/ HTTP/1.1\r\n\r\n", "other"),
        ("CONNECT a.b:443 HTTP/1.1\r\nHost: x\r\n\r\n", "a.b:443"),
        ("GET / HTTP/1.0\r\n\r\n", ""),
        (
            "GET / HTTP/1.1\r\nHost: 0123456789.0123456789.0123456789\r\n\r\n",
            "0123456789.0123456789.0123456789",
        ),
        ("GET / HTTP/1.1\r\nHost: 0123456789.0123456789.0123456789x\r\n\r\n", "other"),
    ] {
        for role in ROLES {
            for split in 0..head.len() {
                let mut observed = Observed::new(role);
                observed.client(&head.as_bytes()[..split]);
                observed.client(&head.as_bytes()[split..]);
                observed.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                let expected = if role == Role::Client { authority } else { "" };
                let counted = observed.labels.by_authority();
                assert_eq!(counted, BTreeMap::from([(expected.to_owned(), 1)]), "{head} {split}");
            }
        }
    }
}

#[test]
fn routes_leave_out_what_is_particular_to_a_request() {
    for (target, route) in [
        ("/", "/"),
        ("/?q=1", "/"),
        ("/users/42", "/users/{id}"),
        ("/users/42/", "/users/{id}/"),
        ("/v1/users", "/v1/users"),
        ("/4x", "/4x"),
        ("/0b6c3f5e", "/{id}"),
        ("/deadbeef", "/deadbeef"),
        ("/DEADBEE1", "/{id}"),
        ("/dead123", "/dead123"),
        ("/550e8400-e29b-41d4-a716-446655440000/x", "/{id}/x"),
        ("/abcdefghijklmno1", "/{id}"),
        ("/abcdefghijklmn1", "/abcdefghijklmn1"),
        ("/abcdefghijklmnop", "/abcdefghijklmnop"),
        ("/abcdefghi-jklmno1", "/abcdefghi-jklmno1"),
        ("/anna@example.com/mail", "/{id}/mail"),
        ("/anna%40example.com", "/{id}"),
        ("/@types/node", "/@types/node"),
        ("/abcdefghijklmnopqrstuvwxyz.abcde", "/abcdefghijklmnopqrstuvwxyz.abcde"),
        ("/abcdefghijklmnopqrstuvwxyz.abcdef", "/{id}"),
        ("/a//b", "/a//b"),
        ("/1/2/3/4/5/6/7/8", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}"),
        ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/…"),
        (
            "/abcdefghijklmnopqrstuvwxyz.abcd/abcdefghijklmnopqrstuvwxyz.abcd/abcdefghijklmnopqrstuvwxyz.abcd",
            "/abcdefghijklmnopqrstuvwxyz.abcd/abcdefghijklmnopqrstuvwxyz.abcd/abcdefghijklmnopqrstuvwxyz.abcd",
        ),
        (
            "/abcdefghijklmnopqrstuvwxyz.abcd/abcdefghijklmnopqrstuvwxyz.abcd/abcdefghijklmnopqrstuvwxyz.abcde",
            "/abcdefghijklmnopqrstuvwxyz.abcd/abcdefghijklmnopqrstuvwxyz.abcd/…",
        ),
        ("http://host/a/7", "/a/{id}"),
        ("http://host", "/"),
        ("http://host?x", "/"),
        ("*", "*"),
        ("a/b", "other"),
        ("/\u{e9}", "other"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\n\r\n");
        for role in ROLES {
            for buffer in BUFFERS {
                for split in 8..head.len() {
                    let mut observed = Observed::new(role).in_buffers_of(buffer);
                    // What comes first tells that it is HTTP.
                    observed.client(b"GET /{first} HTTP/1.1\r\n\r\n");
                    observed.server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                    observed.client(&head.as_bytes()[..split]);
                    observed.client(&head.as_bytes()[split..]);
                    observed.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                    let rows = BTreeMap::from([
                        ((route.to_owned(), "GET", 200), 1),
                        (("unmatched".to_owned(), "GET", 404), 1),
                    ]);
                    assert_eq!(observed.labels.requests(), rows, "{target} {role:?} {buffer} {split}");
                }
            }
        }
    }
}

#[test]
fn a_route_is_one_once_something_has_answered() {
    let mut observed = Observed::new(Role::Server);
    let mut ask = |path: &str, status: u16| {
        observed.client(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
        observed.server(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes());
    };
    for path in ["/wp-login.php", "/.env", "/admin", "/a"] {
        for status in [400, 404, 405] {
            ask(path, status);
        }
    }
    ask("/a", 500);
    ask("/a", 404);
    let rows: Vec<(String, u16, u64)> = observed
        .labels
        .requests()
        .into_iter()
        .map(|((route, _, status), count)| (route, status, count))
        .collect();
    let row = |route: &str, status, count| (route.to_owned(), status, count);
    assert_eq!(
        rows,
        [
            row("/a", 404, 1),
            row("/a", 500, 1),
            row("unmatched", 400, 4),
            row("unmatched", 404, 4),
            row("unmatched", 405, 4),
        ]
    );
    assert_eq!(observed.labels.routes, ["/a"]);
}

#[test]
fn a_tunnel_is_not_looked_at() {
    for split in 0..2 {
        let mut observed = Observed::new(Role::Client);
        observed.client(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
        observed.server(&b"HTTP/1.1 200 Connection established\r\n\r\n\x16\x03"[..39 + split]);
        for _ in 0..3 {
            observed.client(b"\x16\x03\x01\x00\x01x");
            observed.server(b"HTTP/1.1 500 Oh no\r\n\r\n");
        }
        assert_eq!(observed.protocol(), Protocol::Http);
        assert_requests(&observed, &[("*", "CONNECT", 200, 0, 0)], split);
    }
}

#[test]
fn a_connection_first_seen_in_the_middle_counts_from_its_next_request() {
    for role in ROLES {
        let mut observed = Observed::adopted(role);
        observed.server(b"the rest of a body that was under way");
        observed.server(b"and more of it\r\n");
        observed.client(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(observed.protocol(), Protocol::Http);
        observed.server(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        assert_requests(&observed, &[("/a", "GET", 200, 0, 1)], role);
        assert_eq!(observed.connection.lost, [0; 2]);
        // One that was being answered.
        let mut observed = Observed::adopted(role);
        observed.server(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(observed.connection.http().unmatched, 1);
        observed.client(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
        observed.server(b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nxy");
        assert_eq!(observed.labels.requests(), BTreeMap::from([(("unmatched".to_owned(), "GET", 404), 1)]));
    }
}

#[test]
fn an_answer_that_is_seen_before_its_request_belongs_to_it() {
    // Where two threads are at work, the one that has read the answer may be quicker than the one that has asked.
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for cut in [38, 40, 43] {
        let mut observed = Observed::new(Role::Client);
        for path in ["/a", "/b", "/a", "/b"] {
            observed.client(format!("HEAD {path} HTTP/1.1\r\n\r\n").as_bytes());
            observed.server(b"HTTP/1.1 204 No Content\r\n\r\n");
            observed.server(&answer[..cut]);
            observed.client(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
            observed.server(&answer[cut..]);
        }
        let row = |path: &str, method, status| ((path.to_owned(), method, status), 2);
        let rows =
            [row("/a", "GET", 200), row("/a", "HEAD", 204), row("/b", "GET", 200), row("/b", "HEAD", 204)];
        assert_eq!(observed.labels.requests(), BTreeMap::from(rows), "{cut}");
        assert_eq!(observed.connection.http().in_flight(), 0);
        assert_eq!(observed.connection.http().unmatched, 0);
    }
}

#[test]
fn routes_that_are_given_come_first() {
    let name = |text: &str| Some(text.as_bytes().to_vec());
    // `/shops/{shop}/items` and `/shops/{shop}`.
    let tree = BTreeMap::from([((1, name("shops")), 2), ((2, None), 3), ((3, name("items")), 4)]);
    let templates = BTreeMap::from([(3, "/shops/{shop}".to_owned()), (4, "/shops/{shop}/items".to_owned())]);
    for (target, route) in [
        ("/shops/corner/items?x", "/shops/{shop}/items"),
        ("/shops/0123456789012345678901234567890123456789", "/shops/{shop}"),
        ("/shops/corner/items/7", "/shops/corner/items/{id}"),
        ("/shops", "/shops"),
        ("/shops/", "/shops/"),
        ("/other/7", "/other/{id}"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\n\r\n");
        for split in 0..head.len() {
            let mut observed = Observed::new(Role::Server);
            observed.labels.tree = tree.clone();
            observed.labels.templates = templates.clone();
            observed.client(&head.as_bytes()[..split]);
            observed.client(&head.as_bytes()[split..]);
            observed.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            let rows = BTreeMap::from([((route.to_owned(), "GET", 200), 1)]);
            assert_eq!(observed.labels.requests(), rows, "{target} {split}");
        }
    }
}
