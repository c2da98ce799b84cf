//! Messages that break the rules, and those that two readers may take for different ones (request smuggling): they are a
//! desync, or are framed as RFC 9112 says; never another number. What comes behind is in sync again.

mod common;

use std::collections::BTreeMap;

use common::Observed;
use common::turns::ROLES;
use observer_ebpf::layout::Role;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::protocols::http::layout::{REQUEST_SIZES, REQUESTS};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Has `request` sent at every split; what went wrong, and how many requests were seen.
#[track_caller]
fn assert_request(request: &str, expected: (&[Desync], u32)) {
    for role in ROLES {
        for split in 0..request.len() {
            let mut observed = Observed::new(role);
            observed.client(b"GET /first HTTP/1.1\r\n\r\n");
            observed.server(OK);
            observed.client(&request.as_bytes()[..split]);
            observed.client(&request.as_bytes()[split..]);
            let asked = observed.connection.http().asked - 1;
            assert_eq!((&observed.desyncs[..], asked), expected, "{request:?} {split}");
            if expected.0.is_empty() {
                continue;
            }
            // The server refuses it, and the connection goes on.
            let client = role.request_direction();
            assert!(observed.is_lost(client));
            observed.server(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad");
            observed.client(b"DELETE /next HTTP/1.1\r\n\r\n");
            assert!(!observed.is_lost(client), "{request:?} {split}");
            observed.server(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\nx");
            let row = (("/next".to_owned(), "DELETE", 202), 1);
            assert!(observed.labels.requests().into_iter().any(|found| found == row), "{request:?} {split}");
            assert_eq!(observed.connection.http().in_flight(), 0);
        }
    }
}

#[test]
fn lengths_that_are_none_are_desyncs() {
    for field in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: 5 6",
        "Content-Length: 5;6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: five",
        "Content-Length:",
        "Content-Length: \r\n 5\r\n 6",
        "Content-Length: 99999999999999999999",
        "Content-Length: 18446744073709551616",
        "content-length: 5\r6",
    ] {
        assert_request(&format!("POST /x HTTP/1.1\r\n{field}\r\n\r\n"), (&[Desync::Length], 0));
    }
    for field in
        ["Transfer-Encoding: gzip", "Transfer-Encoding: chunked, gzip", "Transfer-Encoding: x chunked"]
    {
        assert_request(&format!("POST /x HTTP/1.1\r\n{field}\r\n\r\n"), (&[Desync::Header], 0));
    }
}

#[test]
fn chunks_that_are_none_are_desyncs() {
    for body in
        ["x\r\n", "\r\n", "-1\r\n", "1\r\nab\r\n", "10000000000000000\r\n", "0x1\r\n", "1 2\r\nabc", ";a\r\n"]
    {
        let request = format!("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        assert_request(&request, (&[Desync::Length], 1));
    }
}

#[test]
fn request_lines_that_are_none_are_desyncs() {
    for request in [
        "GET /\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.10\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET / a HTTP/1.1\r\n\r\n",
        "GET\r\n\r\n",
        "ABCDEFGHIJKLMNOPQRSTUVWXY / HTTP/1.1\r\n\r\n",
    ] {
        assert_request(request, (&[Desync::Header], 0));
    }
}

#[test]
fn shapes_of_smuggling_are_framed_as_the_rules_say() {
    // The coding wins over the length, in either order (RFC 9112, section 6.3), also where it is written in odd ways.
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding:chunked\r\nContent-Length: 4",
        "TRANSFER-ENCODING: \t ChUnKeD \r\nContent-Length: 4",
        "Content-Length: 4\r\nTransfer-Encoding:\r\n chunked",
        "Content-Length: 4\r\nTransfer-Encoding: gzip,\r\n\tchunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
    ] {
        let request = format!(
            "POST /x HTTP/1.1\r\n{fields}\r\n\r\n19\r\nDELETE /y HTTP/1.1\r\nX: \r\n\r\n0\r\n\r\nGET /z HTTP/1.1\r\n\r\n"
        );
        assert_request(&request, (&[], 2));
    }
    // What is no such field is none.
    for fields in [
        "Content-Length: 6\r\nX-Transfer-Encoding: chunked",
        "Content-Length: 6\r\nX: y\r\n Transfer-Encoding: chunked",
        "Content-Length: 6\r\nTransfer-Encodin: chunked",
        "Content-Length: 6\r\nX\r\nTransfer: chunked",
    ] {
        let request = format!("POST /x HTTP/1.1\r\n{fields}\r\n\r\n0\r\n\r\nXGET /z HTTP/1.1\r\n\r\n");
        assert_request(&request, (&[], 2));
    }
}

#[test]
fn a_head_without_end_costs_no_more_than_its_bytes() {
    let mut observed = Observed::new(Role::Server);
    observed.client(b"GET / HTTP/1.1\r\n");
    for at in 0..20_000_u32 {
        observed.client(format!("X-{at}: {}\r\n", "y".repeat(at as usize % 50)).as_bytes());
    }
    assert_eq!(observed.connection.http().asked, 0);
    observed.client(b"\r\n");
    observed.server(OK);
    assert_eq!(observed.labels.requests(), BTreeMap::from([(("/".to_owned(), "GET", 200), 1)]));
    assert!(observed.desyncs.is_empty());
}

#[test]
fn a_head_of_64_kib_may_come_a_byte_at_a_time() {
    let head = format!(
        "GET /{} HTTP/1.1\r\nCookie: {}\r\nContent-Length: 3\r\n\r\n",
        "a".repeat(30_000),
        "x".repeat(35_000)
    );
    let mut observed = Observed::new(Role::Client);
    head.as_bytes().chunks(1).for_each(|byte| observed.client(byte));
    observed.client(b"abc");
    observed.server(OK);
    assert_eq!(observed.labels.requests(), BTreeMap::from([(("/{id}".to_owned(), "GET", 200), 1)]));
    assert_eq!(observed.labels.done[0].request_bytes, 3);
}

#[test]
fn chunks_of_a_byte_are_counted_however_many() {
    let mut observed = Observed::new(Role::Server);
    observed.client(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..1000 {
        observed.client(&b"1\r\nx\r\n".repeat(1000));
    }
    observed.client(b"0\r\n\r\n");
    observed.server(OK);
    assert_eq!(observed.labels.done[0].request_bytes, 1_000_000);
    assert!(observed.desyncs.is_empty());
    // More of them in one call than are looked at are a desync, which says so.
    observed.client(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    observed.client(&b"1\r\nx\r\n".repeat(1_000_000));
    assert_eq!(observed.desyncs, [Desync::Bound]);
}

#[test]
fn what_breaks_the_rules_behind_a_request_leaves_nothing_behind() {
    for role in ROLES {
        let mut observed = Observed::new(role);
        observed.client(b"GET / HTTP/1.1\r\n\r\n\0\0");
        observed.server(OK);
        assert_eq!(observed.desyncs, [Desync::Header]);
        observed.client(b"PATCH /next HTTP/1.1\r\n\r\n");
        assert_eq!((&observed.desyncs[..], observed.connection.lost), (&[Desync::Header][..], [0; 2]));
    }
}

#[test]
fn a_body_whose_end_was_not_seen_has_no_size() {
    for (framing, size) in [("Transfer-Encoding: chunked", None), ("Content-Length: 30", Some(30))] {
        for role in ROLES {
            let mut observed = Observed::new(role);
            observed.client(format!("POST /up HTTP/1.1\r\n{framing}\r\n\r\n").as_bytes());
            observed.client(b"5\r\n12345\r\n");
            // Of a body of chunks, what breaks the rules; of one whose length is known, its rest.
            observed.client(b"not a size, but 20 b");
            observed.server(OK);
            let done: Vec<_> =
                observed.labels.done.iter().map(|done| (done.is_sized, done.request_bytes)).collect();
            assert_eq!(done.len(), 1, "{framing}");
            assert_eq!(Some(done[0].1).filter(|_| done[0].0 == 1), size, "{framing}");
            let counted: u64 =
                observed.labels.counts.values().map(|counts| counts.words[REQUEST_SIZES]).sum();
            assert_eq!(counted, size.unwrap_or(0), "{framing}");
            let requests: u64 = observed.labels.counts.values().map(|counts| counts.words[REQUESTS]).sum();
            assert_eq!(requests, 1, "{framing}");
        }
    }
}

#[test]
fn routes_and_rows_are_bounded() {
    let mut observed = Observed::new(Role::Server);
    observed.labels.most_routes = 5;
    for at in 0..100 {
        observed.client(format!("GET /page-{at} HTTP/1.1\r\n\r\n").as_bytes());
        observed.server(OK);
    }
    let rows = observed.labels.requests();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[&("other".to_owned(), "GET", 200)], 95);

    let mut observed = Observed::new(Role::Server);
    observed.labels.most_counts = 3;
    for status in 200..210 {
        observed.client(b"GET / HTTP/1.1\r\n\r\n");
        observed.server(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes());
    }
    assert_eq!(observed.labels.requests().values().sum::<u64>(), 3);
    assert_eq!(observed.connection.http().left_out, 7);
}
