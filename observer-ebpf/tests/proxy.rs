//! Headers of the PROXY protocol are stepped over however they are split, and what is behind them is told.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::proxy::{REQUEST, SIGNATURE, client, mapped};
use common::turns::ROLES;
use common::{Handshake, Observed, Wire};
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::websocket::layout::MessageType;

const STARTUP: &[u8] = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const SET: &[u8] = b"set a 0 0 1\r\nx\r\n";
/// Kafka's `ApiVersions` of a client `c`, and its response.
const VERSIONS: &[u8] = b"\0\0\0\x0B\0\x12\0\0\0\0\0\x01\0\x01c";
const VERSIONS_REPLY: &[u8] = b"\0\0\0\x0A\0\0\0\x01\0\0\0\0\0\0";
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// A header of version 2: its command, its family, and what is behind its length.
fn binary(command: u8, family: u8, behind: &[u8]) -> Vec<u8> {
    let length = u16::try_from(behind.len()).expect("it fits").to_be_bytes();
    [SIGNATURE, &[command, family], &length, behind].concat()
}

fn addresses(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let octets = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    [octets(source), octets(destination), ports].concat()
}

fn v4(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port)
}

fn v6(last: u16, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xab, last)), port)
}

/// Headers, with the client that each declares.
fn headers() -> Vec<(Vec<u8>, Option<SocketAddr>)> {
    let (four, six) = (addresses(v4(1, 51_000), v4(2, 443)), addresses(v6(1, 51_000), v6(2, 443)));
    let tlvs = [&b"\x01\0\x02h2\x05\0\x80"[..], &[7; 128]].concat();
    let unix = [7; 216];
    let most = vec![4; usize::from(u16::MAX) - six.len()];
    let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    vec![
        (line("TCP4 192.0.2.1 192.0.2.2 51000 443"), Some(v4(1, 51_000))),
        (line("TCP4 255.255.255.255 255.255.255.255 65535 65535"), "255.255.255.255:65535".parse().ok()),
        (line("TCP6 2001:db8::ab:1 2001:db8::ab:2 51000 443"), Some(v6(1, 51_000))),
        (line("TCP6 ::1 ::ffff:192.0.2.2 1 443"), "[::1]:1".parse().ok()),
        (line("TCP6 ::ffff:192.0.2.2 1:2:3:4:5:6:7:8 1 443"), "[::ffff:192.0.2.2]:1".parse().ok()),
        (line("TCP6 1:2:3:4:5:6:7:8 1:: 9 443"), "[1:2:3:4:5:6:7:8]:9".parse().ok()),
        (line("UNKNOWN"), None),
        // As long as it may be.
        (line(&format!("UNKNOWN {0} {0} 65535 65535", ["ffff"; 8].join(":"))), None),
        (binary(0x21, 0x11, &four), Some(v4(1, 51_000))),
        (binary(0x21, 0x11, &[&four[..], &tlvs].concat()), Some(v4(1, 51_000))),
        (binary(0x21, 0x21, &six), Some(v6(1, 51_000))),
        (binary(0x21, 0x21, &[&six[..], &tlvs].concat()), Some(v6(1, 51_000))),
        (binary(0x21, 0x12, &four), Some(v4(1, 51_000))),
        (binary(0x21, 0x31, &unix), None),
        (binary(0x21, 0x31, &[&unix[..], &tlvs].concat()), None),
        (binary(0x21, 0x00, b""), None),
        (binary(0x21, 0x00, &tlvs), None),
        (binary(0x20, 0x00, b""), None),
        (binary(0x20, 0x00, &tlvs), None),
        (binary(0x20, 0x11, &four), None),
        (binary(0x20, 0x21, &[&six[..], &tlvs].concat()), None),
        (binary(0x20, 0xFF, b"?"), None),
        (binary(0x21, 0x21, &[&six[..], &most].concat()), Some(v6(1, 51_000))),
    ]
}

#[test]
fn every_protocol_is_told_behind_every_header() {
    // Where only the response tells, with that.
    let starts: [(&[u8], Protocol, &[u8]); 7] = [
        (REQUEST, Protocol::Http, b""),
        (STARTUP, Protocol::Postgres, b""),
        (PING, Protocol::Redis, b""),
        (SET, Protocol::Memcached, b"STORED\r\n"),
        (VERSIONS, Protocol::Kafka, VERSIONS_REPLY),
        (HELLO, Protocol::Tls, b""),
        (b"SSH-2.0-x\r\n", Protocol::Unknown, b""),
    ];
    for role in ROLES {
        for (header, declared) in headers() {
            for (start, protocol, reply) in starts {
                for in_one_call in [true, false] {
                    let mut observed = Observed::new(role);
                    if in_one_call {
                        observed.client(&[&header[..], start].concat());
                    } else {
                        observed.client(&header);
                        assert_eq!(observed.protocol(), Protocol::Unknown);
                        observed.client(start);
                    }
                    observed.server(reply);
                    let what = || format!("{}: {}", header.escape_ascii(), start.escape_ascii());
                    assert_eq!(observed.protocol(), protocol, "{}", what());
                    assert_eq!(client(&observed), mapped(declared), "{}", what());
                    assert_eq!(observed.desyncs, [], "{}", what());
                }
            }
        }
    }
}

/// What a connection has been told to be, after the same calls with a header in front and without one.
fn assert_as_without(header: &[u8], calls: &[(bool, &[u8])], cut: usize, buffer: u32) {
    let mut plain = Observed::new(Role::Server);
    let mut observed = Observed::new(Role::Server).in_buffers_of(buffer);
    let (first, rest) = calls.split_first().expect("there is one");
    let opening = [header, first.1].concat();
    observed.client(&opening[..cut]);
    observed.client(&opening[cut..]);
    plain.client(first.1);
    for &(server, bytes) in rest {
        plain.by(server, bytes);
        observed.by(server, bytes);
    }
    let what = || format!("{} cut at {cut}, in buffers of {buffer}", header.escape_ascii());
    assert_eq!(observed.protocol(), plain.protocol(), "{}", what());
    assert_eq!(observed.connection.lost, plain.connection.lost, "{}", what());
    assert_eq!(observed.connection.pending, plain.connection.pending, "{}", what());
    assert_eq!(observed.desyncs, plain.desyncs, "{}", what());
    match plain.protocol() {
        Protocol::WebSocket => {
            assert_eq!(observed.connection.websocket(), plain.connection.websocket(), "{}", what());
        }
        Protocol::Postgres => {
            assert_eq!(observed.connection.postgres(), plain.connection.postgres(), "{}", what());
        }
        Protocol::Redis => assert_eq!(observed.connection.redis(), plain.connection.redis(), "{}", what()),
        Protocol::Memcached => {
            assert_eq!(observed.connection.memcached(), plain.connection.memcached(), "{}", what());
        }
        Protocol::Kafka => assert_eq!(observed.connection.kafka(), plain.connection.kafka(), "{}", what()),
        Protocol::Http => assert_eq!(observed.connection.http(), plain.connection.http(), "{}", what()),
        Protocol::Tls | Protocol::Http2 | Protocol::Fastcgi | Protocol::Scgi | Protocol::Unknown => {}
    }
}

#[test]
fn a_session_behind_a_header_is_as_one_without_wherever_it_is_cut() {
    let Handshake { request, response } = Handshake::new(true);
    let mut frames = Wire::from_client();
    frames.message(MessageType::Text, 20).message(MessageType::Binary, 300);
    let ready = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
    let sessions: [&[(bool, &[u8])]; 6] = [
        &[(false, &request), (true, &response), (false, &frames.bytes)],
        &[(false, REQUEST), (true, b"HTTP/1.1 429 Too Many Requests\r\n\r\n")],
        &[(false, STARTUP), (true, ready), (false, b"Q\0\0\0\x0dselect 1\0")],
        &[(false, PING), (true, b"+PONG\r\n")],
        &[(false, SET), (true, b"STORED\r\n")],
        &[(false, VERSIONS), (true, VERSIONS_REPLY)],
    ];
    for (header, _) in headers().into_iter().filter(|(header, _)| header.len() < 300) {
        for calls in sessions {
            for cut in 0..=header.len() + calls[0].1.len() {
                assert_as_without(&header, calls, cut, 1024);
            }
            for buffer in [1, 2, 7, 16, 30] {
                assert_as_without(&header, calls, 0, buffer);
            }
        }
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    for role in ROLES {
        for (header, declared) in headers() {
            let mut observed = Observed::new(role);
            for byte in header.chunks(1) {
                observed.client(byte);
                assert_eq!(observed.protocol(), Protocol::Unknown);
            }
            assert_eq!(client(&observed), mapped(declared), "{}", header.escape_ascii());
            for byte in REQUEST.chunks(1) {
                observed.client(byte);
            }
            assert_eq!(observed.protocol(), Protocol::Http, "{}", header.escape_ascii());
        }
    }
}

#[test]
fn what_is_no_header_is_nothing_known() {
    let (four, six) = (addresses(v4(1, 51_000), v4(2, 443)), addresses(v6(1, 51_000), v6(2, 443)));
    let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    let wrong = [
        line("TCP5 192.0.2.1 192.0.2.2 51000 443"),
        line("TCP4  192.0.2.1 192.0.2.2 51000 443"),
        line("TCP4 192.0.2.1 192.0.2.2 51000"),
        line("TCP4 192.0.2.1 192.0.2.2 51000 65536"),
        line("TCP4 192.0.2.1 192.0.2.2 051000 443"),
        line("TCP4 192.0.2.1 192.0.2.2 51000 0443"),
        line("TCP4 192.0.2.256 192.0.2.2 1 443"),
        line("TCP4 192.0.2 192.0.2.2 1 443"),
        line("TCP4 192.0.2.1.1 192.0.2.2 1 443"),
        line("TCP4 192.0..1 192.0.2.2 1 443"),
        line("TCP4 192.0.02.1 192.0.2.2 1 443"),
        line("TCP4 ::1 ::2 1 443"),
        line("TCP6 192.0.2.1 192.0.2.2 1 443"),
        line("TCP6 ::1::2 ::2 1 443"),
        line("TCP6 :1 ::2 1 443"),
        line("TCP6 1: ::2 1 443"),
        line("TCP6 ::: ::2 1 443"),
        line("TCP6 1:2:3:4:5:6:7:8:9 ::2 1 443"),
        line("TCP6 1:2:3:4:5:6:7 ::2 1 443"),
        line("TCP6 1:2:3:4::5:6:7:8 ::2 1 443"),
        line("TCP6 12345:: ::2 1 443"),
        line("TCP6 ::1.2.3 ::2 1 443"),
        line("TCP6 ::1.2.3.4:5 ::2 1 443"),
        line("TCP6 ::a.2.3.4 ::2 1 443"),
        line("TCP6 fe80::1%eth0 ::2 1 443"),
        line(&format!("UNKNOWN {}", "x".repeat(92))),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT!\x21\x11\0\x0c".to_vec(),
        binary(0x11, 0x11, &four),
        binary(0x22, 0x11, &four),
        binary(0x21, 0x41, &four),
        binary(0x21, 0x13, &four),
        binary(0x21, 0x11, &four[..11]),
        binary(0x21, 0x21, &six[..35]),
        binary(0x21, 0x31, &six),
    ];
    for role in ROLES {
        for header in &wrong {
            for cut in 0..header.len() {
                let mut observed = Observed::new(role);
                observed.client(&header[..cut]);
                observed.client(&[&header[cut..], REQUEST].concat());
                assert_eq!(observed.protocol(), Protocol::Unknown, "{}", header.escape_ascii());
                assert_eq!(client(&observed), None, "{}", header.escape_ascii());
                assert_eq!((observed.connection.pending, observed.connection.lost), (0, [0; 2]));
            }
        }
    }
}

#[test]
fn a_header_comes_once_and_from_the_client() {
    let (header, declared) = headers().swap_remove(0);
    for role in ROLES {
        for in_one_call in [true, false] {
            let mut observed = Observed::new(role);
            if in_one_call {
                observed.client(&[&header[..], &header, REQUEST].concat());
            } else {
                observed.client(&header);
                observed.client(&header);
                observed.client(REQUEST);
            }
            assert_eq!(observed.protocol(), Protocol::Unknown);
            assert_eq!(client(&observed), mapped(declared));
        }
        let mut observed = Observed::new(role);
        observed.server(&header);
        observed.client(REQUEST);
        assert_eq!((observed.protocol(), client(&observed)), (Protocol::Unknown, None));
    }
}

#[test]
fn a_server_may_answer_before_the_header_is_over() {
    let (header, _) = headers().swap_remove(0);
    for cut in 0..=header.len() {
        let mut observed = Observed::new(Role::Server);
        observed.client(&header[..cut]);
        observed.server(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert_eq!(observed.protocol(), Protocol::Http, "{cut}");
    }
}

#[test]
fn a_header_of_which_bytes_were_missed_leaves_the_connection_as_in_the_middle() {
    for (header, _) in headers().into_iter().filter(|(header, _)| header.len() < 300) {
        for cut in 0..header.len() {
            let mut observed = Observed::new(Role::Server);
            observed.client(&header[..cut]);
            assert_eq!(observed.miss(Direction::Received, 1, Desync::Unread), None);
            assert_eq!(observed.connection.lost, [1; 2]);
            observed.client(REQUEST);
            assert_eq!(observed.protocol(), Protocol::Http);
        }
    }
}
