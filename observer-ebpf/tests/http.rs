//! The handshake that makes a WebSocket of an HTTP connection, and what comes before it.

mod common;

use common::turns::{BUFFERS, ROLES, Turns, assert_counted, assert_http, feed, frames, handshake, length};
use common::{Handshake, Observed};
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};

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
    let statuses = ["200 OK", "403 Forbidden", "426 Upgrade Required", "301 x"];
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
fn a_status_that_is_none_upgrades_nothing_and_is_a_desync() {
    let [client, server] = frames();
    for status in ["1x1 odd", "10", "1010 x", "", "099 x"] {
        let response = format!("HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        for role in ROLES {
            for split in 0..response.len() {
                let mut observed = Observed::new(role);
                observed.client(&Handshake::new(false).request);
                observed.server(&response.as_bytes()[..split]);
                observed.server(&response.as_bytes()[split..]);
                assert_eq!(observed.desyncs, [Desync::Header], "{status} {split}");
                observed.server(&server.bytes);
                observed.client(&client.bytes);
                assert_eq!(observed.protocol(), Protocol::Http);
                assert_eq!(observed.connection.http().unmatched, 1);
            }
        }
    }
}

#[test]
fn a_101_for_http_2_is_that() {
    let response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    for role in ROLES {
        for split in 0..response.len() {
            let mut observed = Observed::new(role);
            observed.client(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n");
            observed.server(&response[..split]);
            observed.server(&response[split..]);
            observed.client(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            observed.server(b"\0\0\0\x04\0\0\0\0\0");
            assert_eq!(observed.protocol(), Protocol::Http2);
            assert!(observed.desyncs.is_empty());
        }
    }
}

#[test]
fn a_101_for_another_protocol_is_http_for_good() {
    let [client, server] = frames();
    let response = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n";
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
fn what_follows_a_request_for_an_upgrade_is_the_same_wherever_the_calls_end() {
    let Handshake { request, .. } = Handshake::new(false);
    for (behind, is_lost) in
        [(&b"GET /next HTTP/1.1\r\n\r\n"[..], false), (b"\x81\xFF\xFF\xFF a frame of 2^63 bytes", true)]
    {
        let bytes = [&request[..], behind].concat();
        for split in 0..=bytes.len() {
            let mut observed = Observed::new(Role::Server);
            observed.client(&bytes[..split]);
            observed.client(&bytes[split..]);
            assert_eq!(observed.is_lost(Direction::Received), is_lost, "{split}");
            assert_eq!(observed.desyncs.len(), usize::from(is_lost), "{split}");
            assert_eq!(observed.connection.http().asked, if is_lost { 1 } else { 2 }, "{split}");
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
