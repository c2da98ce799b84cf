//! HTTP/1 held against `httparse` by the cases of its own tests, most of which are targets. What it takes whole is a message
//! here, of the same route and method; of what it takes in part the head is not over; what it refuses is a desync, but for
//! what is listed.

mod common;

use common::heads::{answered, asked, assert_listed, method, route};
use common::recording::unescaped;
use httparse::{EMPTY_HEADER, Request, Response, Status};

const CASES: &str = include_str!("recorded/httparse/cases.txt");

/// What `httparse` refuses, and is no desync.
const LENIENT: &[(&str, &[&str])] = &[
    (
        "Of fields, only those are read that tell how long a message is or what it is; a line without a colon is none.",
        &[
            "request src/lib.rs:1863",
            "request src/lib.rs:2290",
            "request src/lib.rs:2308",
            "request src/lib.rs:2354",
            "request src/lib.rs:2397",
            "request src/lib.rs:2442",
            "request src/lib.rs:2478",
            "request src/lib.rs:2511",
            "request src/lib.rs:2546",
            "request src/lib.rs:2575",
            "request src/lib.rs:2615",
            "request src/lib.rs:2662",
            "response src/lib.rs:1815",
            "response src/lib.rs:2264",
            "response src/lib.rs:2328",
            "response src/lib.rs:2372",
            "response src/lib.rs:2415",
            "response src/lib.rs:2460",
            "response src/lib.rs:2496",
            "response src/lib.rs:2529",
            "response src/lib.rs:2560",
            "response src/lib.rs:2593",
            "response src/lib.rs:2640",
        ],
    ),
    (
        "A line that begins with a blank goes on with the one before it (RFC 9112, section 5.2).",
        &[
            "response src/lib.rs:1886",
            "response src/lib.rs:1915",
            "response src/lib.rs:1944",
            "response src/lib.rs:1973",
            "response src/lib.rs:2704",
        ],
    ),
    (
        "A method is any word of at most 24 bytes, which is `other`; and so is the route of a target that is no label.",
        &["request src/lib.rs:2768", "request src/lib.rs:2794"],
    ),
    ("The reason is for people, and is not read.", &["response src/lib.rs:1744"]),
    ("A version is looked at when its line is over, and here that is not.", &["request src/lib.rs:1625"]),
];

/// What `httparse` makes of the bytes.
#[derive(Debug)]
enum Judged {
    Refused,
    Unfinished,
    /// Method and target, or status.
    Request(String, String),
    Response(u16),
}

fn judge(kind: &str, bytes: &[u8]) -> Judged {
    let mut headers = [EMPTY_HEADER; 64];
    let (status, judged) = if kind == "request" {
        let mut request = Request::new(&mut headers);
        let status = request.parse(bytes);
        let [method, target] = [request.method, request.path].map(|text| text.unwrap_or_default().to_owned());
        (status, Judged::Request(method, target))
    } else {
        let mut response = Response::new(&mut headers);
        let status = response.parse(bytes);
        (status, Judged::Response(response.code.unwrap_or_default()))
    };
    match status {
        Err(_) => Judged::Refused,
        Ok(Status::Partial) => Judged::Unfinished,
        Ok(Status::Complete(_)) => judged,
    }
}

#[test]
fn heads_are_those_that_httparse_takes() {
    let (mut lenient, mut count) = (Vec::new(), 0);
    for line in CASES.lines().filter(|line| !line.starts_with('#')) {
        let (kind, rest) = line.split_once(' ').expect("what it is");
        let (place, text) = rest.split_once(' ').expect("where it stands");
        let (name, bytes) = (format!("{kind} {place}"), unescaped(text));
        count += 1;
        let (desync, heads) = if kind == "request" {
            let seen = asked(&bytes, &name);
            if let Judged::Request(verb, target) = judge(kind, &bytes) {
                assert_eq!(seen.desync, None, "{name}");
                assert_eq!(seen.requests[0], (route(&target, &verb), method(&verb)), "{name}");
            }
            (seen.desync, seen.count)
        } else {
            let seen = answered(&bytes, "GET", 1, &name);
            if let Judged::Response(status) = judge(kind, &bytes) {
                let open = seen.open.map(|(status, _)| status);
                assert_eq!(open.or(seen.statuses.keys().next().copied()), Some(status), "{name}: {seen:?}");
            }
            (seen.desync, seen.statuses.len() + usize::from(seen.open.is_some()))
        };
        match judge(kind, &bytes) {
            Judged::Refused if desync.is_none() => lenient.push(name),
            Judged::Unfinished => assert_eq!((desync, heads), (None, 0), "{name}"),
            _ => {}
        }
    }
    assert_eq!(count, 254);
    assert_listed(&lenient, LENIENT);
}
