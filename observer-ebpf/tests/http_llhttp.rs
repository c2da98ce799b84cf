//! HTTP/1 held against llhttp, the parser of Node.js, in its strict mode: by the cases of its own tests, and by what those
//! say that it makes of them. What it takes has the same messages here. What it refuses is a desync, but for what is
//! listed: most of that breaks rules that do not tell where a message ends, and some servers take it.

mod common;

use std::collections::BTreeMap;

use common::heads::{answered, asked, assert_listed, method, route};
use common::llhttp::cases;

/// How many cases of requests and of responses these are, so that none gets lost.
const CASES: [usize; 2] = [133, 76];

/// What llhttp refuses, and is no desync.
const LENIENT: &[(&str, &[&str])] = &[
    (
        "A line may end with LF alone (RFC 9112, section 2.2): nginx, Apache and Go take it.",
        &[
            "request/invalid: Headers separated by LF",
            "request/invalid: Empty headers separated by LF",
            "request/invalid: Missing CR between headers",
            "request/sample: Line folding in header value with LF",
            "response/invalid: Only LFs present",
            "response/invalid: Only LFs present and no body",
            "response/sample: No carriage ret",
        ],
    ),
    (
        "A CR in a line is a part of it, as a space would be (RFC 9112, section 2.2). Where nothing follows, the line is not \
         over.",
        &[
            "request/connection: Not treating `\\r` as `-`",
            "request/content-length: `Content-Length` with CR instead of dash",
            "request/content-length: Missing CRLF-CRLF before body",
            "request/invalid: Headers separated by CR",
            "request/invalid: Headers separated by dummy characters",
            "request/invalid: Corrupted Connection header",
            "request/invalid: Corrupted header name",
            "response/invalid: Headers separated by CR",
            "response/invalid: Bare CR after response line",
            "response/invalid: Bare CR followed by CR after response line",
        ],
    ),
    (
        "Of fields, only those are read that tell how long a message is or what it is. A name with a blank behind it is none \
         of theirs.",
        &[
            "request/connection: Invalid whitespace token with `Connection` header field",
            "request/content-length: Invalid whitespace token with `Content-Length` header field",
            "request/invalid: Invalid header token #1",
            "request/invalid: Invalid header token #2",
            "request/invalid: Invalid header token #3",
            "request/invalid: Illegal header field name line folding",
            "request/lenient-header-value-relaxed: Control char in header value (strict)",
            "request/lenient-headers: Header value",
            "response/sample: Spaces in header name",
        ],
    ),
    (
        "A line that begins with a blank goes on with the one before it (RFC 9112, section 5.2).",
        &[
            "request/invalid: Invalid space after start line",
            "request/invalid: Spaces before headers",
            "response/invalid: Invalid space after start line",
        ],
    ),
    (
        "Which end closes the connection, and when, is the kernel's to tell: until then what comes is read.",
        &[
            "request/connection: No restart when keep-alive is off (1.0)",
            "request/connection: CRLF between requests, explicit `close`",
            "request/connection: CRLF between requests, explicit `close` followed by tab",
            "response/connection: HTTP/1.1 with keep-alive disabled and 204 status",
        ],
    ),
    (
        "A method is any word of at most 24 letters (RFC 9110, section 9.1): which of them a server knows is its own affair.",
        &["request/invalid: HTTP protocol and ANNOUNCE method", "request/invalid: Invalid method"],
    ),
    (
        "Nobody asks what is behind a chunk's size, up to the end of the line (RFC 9112, section 7.1.1).",
        &[
            "request/transfer-encoding: No semicolon before chunk extensions",
            "request/transfer-encoding: No extension after semicolon",
            "request/transfer-encoding: Unbalanced chunk extensions quoting",
            "request/transfer-encoding: Space after chunk header",
            "response/transfer-encoding: Trailing space on chunked body",
            "response/transfer-encoding: No semicolon before chunk extensions",
            "response/transfer-encoding: No extension after semicolon",
            "response/transfer-encoding: Unbalanced chunk extensions quoting",
        ],
    ),
    (
        "A target may have any bytes; with others than printable ASCII its route is `other`.",
        &["request/uri: Disallow UTF-8 in URI path in strict mode"],
    ),
    (
        "A version is looked at when its line is over, and here that is not.",
        &["request/invalid: Invalid HTTP version"],
    ),
];

/// What llhttp takes, and is a desync.
const STRICT: &[(&str, &[&str])] = &[
    (
        "RTSP and ICE are other protocols.",
        &[
            "request/method: SOURCE request with ICE",
            "request/method: OPTIONS request with RTSP",
            "request/method: ANNOUNCE request with RTSP",
            "response/sample: RTSP response",
            "response/sample: ICE response",
        ],
    ),
    (
        "HTTP/0.9 has neither heads nor versions.",
        &["request/sample: No HTTP version", "response/sample: HTTP version 0.9"],
    ),
    ("HTTP/2 begins with a connection, not behind a request.", &["request/method: PRI request HTTP2"]),
];

/// Whose bodies have another length to llhttp.
const BODIES: &[(&str, &[&str])] = &[(
    "What follows a CONNECT is the tunnel's to llhttp. Here its length counts (RFC 9112, section 6.3): there is a tunnel once \
     the server has said so.",
    &["request/method: CONNECT with body"],
)];

/// What differs from llhttp.
#[derive(Debug, Default)]
struct Differences {
    count: usize,
    lenient: Vec<String>,
    strict: Vec<String>,
    bodies: Vec<String>,
}

/// Fails unless just what is listed differs, of these files.
fn assert_all_listed(found: &Differences, files: &str) {
    let of = |listed: &[(&'static str, &'static [&'static str])]| {
        listed
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .filter(|name| name.starts_with(files))
            .collect()
    };
    let lists: [Vec<&str>; 3] = [LENIENT, STRICT, BODIES].map(of);
    for (found, listed) in [&found.lenient, &found.strict, &found.bodies].into_iter().zip(&lists) {
        assert_listed(found, &[("", listed)]);
    }
}

#[test]
fn requests_are_those_that_llhttp_takes() {
    let mut differences = Differences::default();
    for (file, case) in cases(false) {
        differences.count += 1;
        let name = format!("{file}: {}", case.name);
        let seen = asked(&case.bytes, &name);
        match (&case.refused, seen.desync) {
            (None, Some(_)) => {
                differences.strict.push(name);
                continue;
            }
            (Some(_), Some(_)) => {
                // What is whole has counted; and perhaps what it refuses only at the end of its head.
                let whole = case.messages.iter().filter(|message| message.is_over).count();
                assert!((whole..=case.messages.len() + 1).contains(&seen.count), "{name}: {seen:?}");
                continue;
            }
            (Some(_), None) => differences.lenient.push(name.clone()),
            (None, None) => assert_eq!(seen.count, case.messages.len(), "{name}"),
        }
        for (at, message) in case.messages.iter().enumerate() {
            let expected = (route(&message.target, &message.method), method(&message.method));
            assert_eq!(seen.requests[at], expected, "{name}");
            if message.is_over && seen.bodies[at] != message.body {
                differences.bodies.push(name.clone());
            }
        }
    }
    assert_eq!(differences.count, CASES[0]);
    assert_all_listed(&differences, "request/");
}

#[test]
fn responses_are_those_that_llhttp_takes() {
    let mut differences = Differences::default();
    for (file, case) in cases(true) {
        differences.count += 1;
        let name = format!("{file}: {}", case.name);
        // To one request more than there are messages: nobody may take a stray one for an answer.
        let method = if case.skips_body { "HEAD" } else { "GET" };
        let seen = answered(&case.bytes, method, case.messages.len() + 1, &name);
        match (&case.refused, seen.desync) {
            (None, Some(_)) => {
                differences.strict.push(name);
                continue;
            }
            (Some(_), Some(_)) => continue,
            (Some(_), None) => {
                // What it has taken before is all that can be compared.
                differences.lenient.push(name);
                let whole = case.messages.iter().filter(|message| message.is_over);
                let bodies: Vec<u64> = whole.map(|message| message.body).collect();
                assert!(seen.bodies.starts_with(&bodies), "{seen:?}");
                continue;
            }
            (None, None) => {}
        }
        // Interim responses answer nothing (RFC 9110, section 15.2).
        let is_final = |status: u16| status == 101 || status >= 200;
        let (whole, rest): (Vec<_>, Vec<_>) = case
            .messages
            .iter()
            .filter(|message| is_final(message.status))
            .partition(|message| message.is_over);
        let mut statuses = BTreeMap::new();
        for message in &whole {
            *statuses.entry(message.status).or_default() += 1;
        }
        assert_eq!(seen.statuses, statuses, "{name}");
        assert_eq!(seen.bodies, whole.iter().map(|message| message.body).collect::<Vec<_>>(), "{name}");
        let (open, length) = seen.open.unzip();
        assert_eq!(open, rest.first().map(|message| message.status), "{name}");
        if let Some(length) = length.flatten() {
            assert_eq!(length, rest[0].body, "{name}");
        }
    }
    assert_eq!(differences.count, CASES[1]);
    assert_all_listed(&differences, "response/");
}
