//! HTTP is followed until a handshake is complete, and no further than it takes.

mod common;

use common::{Handshake, Observed, PING, Wire};
use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::websocket::layout::{MessageType, StreamCounters, Violation};
use proptest::prelude::*;

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const BUFFERS: [u32; 6] = [1, 2, 3, 7, 16, 1024];

/// Runs of bytes, and whether the client sends them.
type Turns = Vec<(bool, Vec<u8>)>;

/// Three ordinary exchanges.
fn exchanges(body: &[u8]) -> Turns {
    let mut turns = Turns::new();
    let requests: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: upgrade: websocket\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\nuser=anna&next=GET /secret",
        b"GET /b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    ];
    for request in requests {
        turns.push((true, request.to_vec()));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nServer: x\r\n\r\n", body.len());
        turns.push((false, [head.as_bytes(), body].concat()));
    }
    turns
}

/// Frames of both ends.
fn frames() -> [Wire; 2] {
    let mut client = Wire::from_client();
    client.message(MessageType::Text, 12).control(PING, 0).fragments(
        MessageType::Binary,
        false,
        &[5, 300],
        &[],
    );
    let mut server = Wire::from_server();
    server.message(MessageType::Binary, 1).message(MessageType::Text, 126).close(Some(1000), 2);
    [client, server]
}

/// A handshake, the server's first frames in the same run as its response.
fn handshake(handshake: Handshake, client: &Wire, server: &Wire) -> Turns {
    let response = [&handshake.response[..], &server.bytes[..]].concat();
    vec![(true, handshake.request), (false, response), (true, client.bytes.clone())]
}

fn feed(observed: &mut Observed, turns: &Turns, split: usize) {
    let mut start = 0;
    for (by_client, bytes) in turns {
        let cut = split.saturating_sub(start).min(bytes.len());
        for part in [&bytes[..cut], &bytes[cut..]] {
            if *by_client { observed.client(part) } else { observed.server(part) }
        }
        start += bytes.len();
    }
}

fn length(turns: &Turns) -> usize {
    turns.iter().map(|(_, bytes)| bytes.len()).sum()
}

#[track_caller]
fn assert_counted(observed: &Observed, [client, server]: &[Wire; 2], how: impl core::fmt::Debug) {
    assert_eq!(observed.protocol(), Protocol::WebSocket, "{how:?}");
    assert_eq!(observed.by_client(), client.expected, "client's frames, {how:?}");
    assert_eq!(observed.by_server(), server.expected, "server's frames, {how:?}");
    assert!(observed.desyncs.is_empty(), "{how:?}");
}

#[track_caller]
fn assert_http(observed: &Observed) {
    assert_eq!(observed.protocol(), Protocol::Http);
    assert_eq!(observed.connection.websocket().streams, [StreamCounters::ZERO; 2]);
    assert!(observed.desyncs.is_empty());
}

#[test]
fn a_kept_alive_connection_may_be_upgraded_late_however_it_is_split() {
    let wires = frames();
    let mut turns = exchanges(b"<p>It works</p>");
    turns.extend(handshake(Handshake::new(false), &wires[0], &wires[1]));
    for role in ROLES {
        for buffer in BUFFERS {
            for split in 0..length(&turns) {
                let mut observed = Observed::new(role).in_buffers_of(buffer);
                feed(&mut observed, &turns, split);
                assert_counted(&observed, &wires, (role, buffer, split));
            }
        }
    }
}

#[test]
fn a_kept_alive_connection_may_be_upgraded_late_in_calls_of_a_few_bytes() {
    let wires = frames();
    let mut turns = exchanges(b"<p>It works</p>");
    turns.extend(handshake(Handshake::new(true), &wires[0], &wires[1]));
    for role in ROLES {
        for size in 1..40 {
            let mut observed = Observed::new(role);
            for (by_client, bytes) in &turns {
                for part in bytes.chunks(size) {
                    if *by_client { observed.client(part) } else { observed.server(part) }
                }
            }
            assert_counted(&observed, &wires, (role, size));
        }
    }
}

#[test]
fn a_body_that_quotes_a_handshake_is_none() {
    let wires = frames();
    let body = [b"As in RFC 6455: ", &Handshake::new(true).response[..], b" and so on\r\n\r\n"].concat();
    let mut turns = exchanges(&body);
    let exchanged = turns.clone();
    turns.extend(handshake(Handshake::new(false), &wires[0], &wires[1]));
    for role in ROLES {
        let mut start = 0;
        for (_, bytes) in &turns {
            for cut in 0..bytes.len() {
                // A call that starts with the quotation cannot be told from the real one.
                if cut > 0 && bytes[cut..].starts_with(b"HTTP/1.1 101") {
                    continue;
                }
                let mut observed = Observed::new(role);
                if start + cut < length(&exchanged) {
                    feed(&mut observed, &exchanged, start + cut);
                    assert_http(&observed);
                }
                let mut observed = Observed::new(role);
                feed(&mut observed, &turns, start + cut);
                assert_counted(&observed, &wires, start + cut);
            }
            start += bytes.len();
        }
    }
}

#[test]
fn a_connection_is_pending_from_its_first_request_to_its_first_response() {
    for role in ROLES {
        let turns = exchanges(b"body");
        let mut observed = Observed::new(role);
        observed.client(&turns[0].1);
        assert_eq!((observed.protocol(), observed.connection.pending), (Protocol::Http, 1));
        observed.server(&turns[1].1);
        assert_eq!((observed.protocol(), observed.connection.pending), (Protocol::Http, 0));

        let Handshake { request, response } = Handshake::new(false);
        let mut observed = Observed::new(role);
        observed.client(&request);
        assert_eq!(observed.connection.pending, 1);
        observed.server(&response[..response.len() - 1]);
        assert_eq!((observed.protocol(), observed.connection.pending), (Protocol::Http, 1));
        observed.server(&response[response.len() - 1..]);
        assert_eq!((observed.protocol(), observed.connection.pending), (Protocol::WebSocket, 0));
    }
}

#[test]
fn a_response_other_than_101_upgrades_nothing() {
    let [client, server] = frames();
    let statuses =
        ["200 OK", "403 Forbidden", "426 Upgrade Required", "100 Continue", "102 Processing", "301 x"];
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        for status in statuses {
            let response = format!("{version} {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
            for role in ROLES {
                for split in 0..response.len() {
                    let mut observed = Observed::new(role);
                    observed.client(&Handshake::new(false).request);
                    observed.server(&response.as_bytes()[..split]);
                    observed.server(&response.as_bytes()[split..]);
                    observed.server(&server.bytes);
                    assert_http(&observed);
                    // What a client says next is the body of nothing, but may look like one.
                    observed.client(&client.bytes);
                    observed.server(response.as_bytes());
                    assert_http(&observed);
                }
            }
        }
    }
}

#[test]
fn a_101_for_another_protocol_is_http_for_good() {
    let [client, server] = frames();
    let response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    for role in ROLES {
        for buffer in BUFFERS {
            for split in 0..response.len() {
                let mut observed = Observed::new(role).in_buffers_of(buffer);
                observed.client(&Handshake::new(false).request);
                observed.server(&response[..split]);
                observed.server(&response[split..]);
                for _ in 0..3 {
                    observed.client(&client.bytes);
                    observed.server(&server.bytes);
                }
                assert_http(&observed);
                observed.client(&Handshake::new(false).request);
                observed.server(&Handshake::new(false).response);
                assert_http(&observed);
            }
        }
    }
}

#[test]
fn a_response_split_in_its_start_line_upgrades() {
    let wires = frames();
    let Handshake { request, response } = Handshake::new(false);
    for role in ROLES {
        for first in 0..14 {
            for second in first..15 {
                let mut observed = Observed::new(role);
                observed.client(&request);
                for part in [&response[..first], &response[first..second], &response[second..]] {
                    observed.server(part);
                }
                observed.server(&wires[1].bytes);
                observed.client(&wires[0].bytes);
                assert_counted(&observed, &wires, (first, second));
            }
        }
    }
}

#[test]
fn frames_sent_before_the_answer_count_if_the_answer_is_yes() {
    let wires = frames();
    let Handshake { request, response } = Handshake::new(false);
    let early = [&request[..], &wires[0].bytes[..]].concat();
    for role in ROLES {
        for split in 0..early.len() {
            let mut observed = Observed::new(role);
            observed.client(&early[..split]);
            observed.client(&early[split..]);
            assert_eq!(observed.protocol(), Protocol::Http);
            let mut refused = observed.clone();
            observed.server(&response);
            observed.server(&wires[1].bytes);
            assert_counted(&observed, &wires, split);
            refused.server(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            assert_http(&refused);
        }
    }
}

#[test]
fn a_body_of_frames_counts_for_nothing() {
    let [client, _] = frames();
    for role in ROLES {
        for size in [client.bytes.len(), 18, 7, 1] {
            let mut observed = Observed::new(role);
            observed.client(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n");
            for part in client.bytes.chunks(size) {
                observed.client(part);
            }
            assert_eq!(observed.protocol(), Protocol::Http);
            observed.server(b"HTTP/1.1 204 No Content\r\n\r\n");
            assert_http(&observed);
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
    for (line, accepted) in [
        ("Sec-WebSocket-Extensions: x-webkit-deflate-frame", false),
        ("Sec-WebSocket-Extension: permessage-deflate", false),
        ("Sec-WebSocket-Accept: permessage-deflate", false),
        ("Sec-WebSocket-Extensions:permessage-deflate", true),
        ("Sec-WebSocket-Extensions: permessage-permessage-deflate", true),
    ] {
        let mut observed = Observed::new(Role::Client);
        observed.client(&Handshake::new(true).request);
        let head = format!("HTTP/1.1 101 x\r\nUpgrade: wwebsocket\r\n{line}\r\n\r\n");
        observed.server(head.as_bytes());
        assert_eq!(observed.protocol(), Protocol::WebSocket);
        observed.server(&[0xC1, 0x00]);
        assert_eq!(
            observed.by_server().violations[Violation::Reserved as usize],
            u32::from(!accepted),
            "{line}"
        );
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

#[test]
fn responses_that_turn_requests_away_count_however_they_are_split() {
    let wires = frames();
    let request = b"GET /chat HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let responses = [
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 420 Enhance\r\nContent-Length: 13\r\n\r\nHTTP/1.1 429 ",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n 429",
        "HTTP/1.1 429 \r\nContent-Length: 2\r\n\r\nno",
    ];
    let mut turns = Turns::new();
    for response in responses {
        turns.push((true, request.clone()));
        turns.push((false, response.as_bytes().to_vec()));
    }
    // Behind a split, a body that says so would be a response.
    let quotes = |bytes: &[u8], cut: usize| cut > 0 && bytes[cut..].starts_with(b"HTTP/1.1 429");
    turns.extend(handshake(Handshake::new(false), &wires[0], &wires[1]));
    for role in ROLES {
        for buffer in BUFFERS {
            for split in 0..length(&turns) {
                let mut start = 0;
                let is_quoted = turns.iter().any(|(_, bytes)| {
                    let cut = split.saturating_sub(start).min(bytes.len());
                    start += bytes.len();
                    quotes(bytes, cut)
                });
                if is_quoted {
                    continue;
                }
                let mut observed = Observed::new(role).in_buffers_of(buffer);
                feed(&mut observed, &turns, split);
                assert_eq!(observed.connection.http().too_many_requests, 2, "{role:?} {buffer} {split}");
                assert_counted(&observed, &wires, (role, buffer, split));
            }
        }
    }
}

#[test]
fn no_other_start_of_a_response_is_a_refusal() {
    for text in ["HTTP/1.0 429 Too Many Requests\r\n\r\n", "HTTP/1.1 429 Too Many Requests\r\n\r\n"] {
        let mut observed = Observed::new(Role::Client);
        observed.client(b"GET / HTTP/1.1\r\n\r\n");
        observed.server(text.as_bytes());
        assert_eq!(observed.connection.http().too_many_requests, 1, "{text}");
    }
    for at in 0..12 {
        for byte in (0..=u8::MAX).filter(|byte| byte != &b"HTTP/1.1 429"[at]) {
            let mut response = b"HTTP/1.1 429 Too Many Requests\r\n\r\n".to_vec();
            response[at] = byte;
            // The version's last digit is not looked at where it is whole.
            if at == 7 {
                continue;
            }
            for size in [1, 5, 10, 11, 12, 40] {
                let mut observed = Observed::new(Role::Server);
                observed.client(b"GET / HTTP/1.1\r\n\r\n");
                response.chunks(size).for_each(|part| observed.server(part));
                assert_eq!(observed.connection.http().too_many_requests, 0, "{at} {byte} {size}");
            }
        }
    }
}
