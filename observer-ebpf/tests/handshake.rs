//! What the heads of a handshake say, however they are written and split, and what may come before its answer.

mod common;

use common::turns::{ROLES, assert_counted, assert_http, feed, frames, handshake, length};
use common::{Extension, Handshake, Observed, Wire};
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::websocket::layout::{MessageType, StreamCounters, Violation};
use proptest::prelude::*;

/// Responses that come before the one that answers (RFC 9110, section 15.2; RFC 8297).
const INTERIM: [&str; 3] = [
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 199 Whatever\nSec-WebSocket-Extensions: permessage-deflate\n\n",
];

#[test]
fn interim_responses_come_before_the_answer_however_they_are_split() {
    let [client, server] = frames();
    let Handshake { request, response } = Handshake::new(false);
    for interim in [&INTERIM[..1], &INTERIM[1..2], &INTERIM[..], &INTERIM.repeat(3)[..]] {
        let answer = [interim.concat().as_bytes(), &response[..], &server.bytes[..]].concat();
        // Frames before the answer wait for it, and not for the interim ones.
        let turns = vec![(true, request.clone()), (false, answer.clone()), (true, client.bytes.clone())];
        let early = vec![(true, [&request[..], &client.bytes[..]].concat()), (false, answer)];
        for (turns, role) in [(&turns, Role::Client), (&turns, Role::Server), (&early, Role::Server)] {
            for split in 0..length(turns) {
                let mut observed = Observed::new(role);
                feed(&mut observed, turns, split);
                assert_counted(&observed, &[client.clone(), server.clone()], (interim, role, split));
            }
            for size in [1, 2, 9, 10, 11, 12, 13, 40] {
                let mut observed = Observed::new(role);
                for (by_client, bytes) in turns {
                    for part in bytes.chunks(size) {
                        if *by_client { observed.client(part) } else { observed.server(part) }
                    }
                }
                assert_counted(&observed, &[client.clone(), server.clone()], (interim, role, size));
            }
        }
    }
}

#[test]
fn an_interim_response_decides_nothing() {
    let [client, server] = frames();
    for interim in INTERIM {
        for (answer, refused) in
            [("HTTP/1.1 200 OK\r\n\r\n", 0), ("HTTP/1.1 429 Too Many Requests\r\n\r\n", 1)]
        {
            let both = [interim, answer].concat();
            for split in 0..=both.len() {
                let mut observed = Observed::new(Role::Server);
                observed.client(&[&Handshake::new(false).request[..], &client.bytes[..]].concat());
                observed.server(interim.as_bytes());
                assert_eq!((observed.protocol(), observed.connection.pending), (Protocol::Http, 1));
                observed.server(&both.as_bytes()[..split]);
                observed.server(&both.as_bytes()[split..]);
                assert_eq!(observed.connection.pending, 0);
                assert_eq!(observed.connection.http().too_many_requests, refused, "{split}");
                observed.server(&server.bytes);
                assert_eq!(observed.protocol(), Protocol::Http);
                assert_eq!(observed.by_client(), StreamCounters::ZERO);
                assert!(observed.desyncs.is_empty());
            }
        }
    }
}

#[test]
fn what_the_server_accepts_tells_whether_rsv1_has_a_meaning() {
    for (offered, accepted) in [(true, true), (true, false), (false, false)] {
        let mut observed = Observed::new(Role::Server);
        observed.client(&Handshake::new(offered).request);
        observed.server(&Handshake::new(accepted).response);
        let mut wire = Wire::from_client();
        if accepted {
            wire.fragments(MessageType::Text, true, &[5], &[]);
        } else {
            wire.violate(Violation::Reserved, 0xC1, common::Form::Shortest, 5);
        }
        observed.client(&wire.bytes);
        assert_eq!(observed.by_client(), wire.expected, "{offered}, {accepted}");
    }
}

#[test]
fn heads_may_end_their_lines_in_bare_line_feeds() {
    let wires = frames();
    let bare = |head: Vec<u8>| head.into_iter().filter(|&byte| byte != b'\r').collect::<Vec<_>>();
    let Handshake { request, response } = Handshake::new(true);
    let turns =
        handshake(Handshake { request: bare(request), response: bare(response) }, &wires[0], &wires[1]);
    for split in 0..length(&turns) {
        let mut observed = Observed::new(Role::Client);
        feed(&mut observed, &turns, split);
        assert_counted(&observed, &wires, split);
    }
}

#[test]
fn names_that_only_start_alike_are_others() {
    for line in [
        "X-Upgrade: websocket",
        "Upgrade-Insecure-Requests: websocket",
        "Upgraded: websocket",
        "Upgrade: web-socket",
        "Upgrade: websocke t",
        "Server: Upgrade: websocket",
        "Sec-WebSocket-Protocol: websocket",
    ] {
        let mut observed = Observed::new(Role::Client);
        observed.client(&Handshake::new(false).request);
        observed.server(format!("HTTP/1.1 101 Switching Protocols\r\n{line}\r\n\r\n").as_bytes());
        assert_http(&observed);
    }
    for (line, agreed) in [
        ("Sec-WebSocket-Extension: permessage-deflate", Extension::None),
        ("Sec-WebSocket-Accept: permessage-deflate", Extension::None),
        ("Sec-WebSocket-Extensions: ", Extension::None),
        ("Sec-WebSocket-Extensions:, ,", Extension::None),
        ("Sec-WebSocket-Extensions:permessage-deflate", Extension::Deflate),
        ("sec-websocket-extensions: Permessage-Deflate; client_max_window_bits=15", Extension::Deflate),
        ("Sec-WebSocket-Extensions: permessage-bzip2; server_max_compress_level=9", Extension::Deflate),
        ("Sec-WebSocket-Extensions: , permessage-snappy ,permessage-deflate", Extension::Deflate),
        ("Sec-WebSocket-Extensions: x-webkit-deflate-frame", Extension::Vendor),
        ("Sec-WebSocket-Extensions: permessage", Extension::Vendor),
        ("Sec-WebSocket-Extensions: permessage, permessage-deflate", Extension::Vendor),
        ("Sec-WebSocket-Extensions: permessage-deflate; a=b,x", Extension::Vendor),
        ("Sec-WebSocket-Extensions: p", Extension::Vendor),
        (
            "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Extensions: foo;bar",
            Extension::Vendor,
        ),
    ] {
        let head = format!("HTTP/1.1 101 x\r\nUpgrade: web, websocket\r\n{line}\r\n\r\n");
        for split in 0..head.len() {
            let mut observed = Observed::new(Role::Client);
            observed.client(&Handshake::new(true).request);
            observed.server(&head.as_bytes()[..split]);
            observed.server(&head.as_bytes()[split..]);
            assert_eq!(observed.protocol(), Protocol::WebSocket);
            observed.server(&[0xC1, 0x00, 0x91, 0x00]);
            let (violations, messages) = match agreed {
                Extension::None => (2, [0, 0]),
                Extension::Deflate => (1, [0, 1]),
                Extension::Vendor => (0, [0, 2]),
            };
            let counted = observed.by_server();
            assert_eq!(counted.violations[Violation::Reserved as usize], violations, "{line:?}");
            assert_eq!(counted.messages[0], messages, "{line:?}");
        }
    }
}

/// Writes the letters of header names and tokens in any case, and the space before values in any amount.
fn recase(head: &[u8], cases: u64, space: &str) -> Vec<u8> {
    let text = core::str::from_utf8(head).expect("a head is text");
    let (start, rest) = text.split_once("\r\n").expect("a start line");
    let mut places = 0..;
    let rest: String = rest
        .chars()
        .map(|letter| {
            let place = places.next().unwrap_or(0) % 64;
            if cases >> place & 1 == 1 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
        })
        .collect();
    format!("{start}\r\n{}", rest.replace(": ", &format!(":{space}"))).into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn header_names_and_tokens_may_be_in_any_case(
        cases: u64,
        space in "[ \t]{0,3}",
        split in 0..700usize,
        buffer in 1..40u32,
        server: bool,
    ) {
        let wires = frames();
        let Handshake { request, response } = Handshake::new(true);
        let recased = Handshake { request: recase(&request, cases, &space), response: recase(&response, cases, &space) };
        let turns = handshake(recased, &wires[0], &wires[1]);
        let mut observed = Observed::new(ROLES[usize::from(server)]).in_buffers_of(buffer);
        feed(&mut observed, &turns, split);
        assert_counted(&observed, &wires, split);
    }
}
