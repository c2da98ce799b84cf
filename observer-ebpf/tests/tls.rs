//! A `ClientHello` tells what it asks for inside, however it is split: as rustls writes and reads it.

mod common;

use std::sync::Arc;

use common::Observed;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// What a client starts with, which asks for these protocols.
fn hello(server: &str, protocols: &[Vec<u8>], is_old: bool) -> Vec<u8> {
    let versions = if is_old { vec![&TLS12] } else { vec![&TLS13, &TLS12] };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&versions)
        .expect("versions that there are");
    let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = protocols.to_vec();
    let server = ServerName::try_from(server.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), server).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("there is room");
    bytes
}

/// Whether it asks for Postgres, as rustls reads it.
fn asks_for_postgres(bytes: &[u8]) -> bool {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    acceptor.read_tls(&mut rest).expect("it is in memory");
    let accepted = acceptor.accept().ok().flatten().expect("it is whole");
    accepted.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == b"postgresql"))
}

/// Feeds it in parts of these lengths, and then the rest.
fn feed(observed: &mut Observed, bytes: &[u8], lengths: &[usize]) {
    let mut rest = bytes;
    for &length in lengths.iter().chain([&usize::MAX]) {
        let (part, behind) = rest.split_at(length.min(rest.len()));
        observed.client(part);
        rest = behind;
    }
}

/// What is seen of a connection: its protocol, whether it is settled, and whether it is encrypted.
fn seen(observed: &Observed) -> (Protocol, u8, bool) {
    assert!(observed.desyncs.is_empty());
    assert_eq!(observed.connection.lost, [0; 2]);
    (observed.protocol(), observed.connection.pending, observed.connection.is_encrypted())
}

fn names(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

#[test]
fn postgres_is_told_at_every_split() {
    for (protocols, expected) in [
        (&["postgresql"][..], Protocol::Postgres),
        (&["h2", "http/1.1"], Protocol::Tls),
        (&["h2", "postgresql"], Protocol::Postgres),
        (&["h2"], Protocol::Http2),
        (&["h3"], Protocol::Tls),
        (&["postgresqk", "ostgresql", "postgresqlx"], Protocol::Tls),
        (&[], Protocol::Tls),
    ] {
        for is_old in [true, false] {
            let bytes = hello("db.example.com", &names(protocols), is_old);
            assert_eq!(asks_for_postgres(&bytes), expected == Protocol::Postgres);
            for role in ROLES {
                for passing in [true, false] {
                    for cut in 0..bytes.len() {
                        let mut observed = Observed::new(role);
                        observed.passing = passing;
                        observed.connection.pending = 1;
                        feed(&mut observed, &bytes, &[cut, 3]);
                        assert_eq!(seen(&observed), (expected, 0, true), "{protocols:?} at {cut}");
                    }
                }
                let mut observed = Observed::new(role);
                for byte in bytes.chunks(1) {
                    observed.client(byte);
                }
                assert_eq!(seen(&observed), (expected, 0, true), "{protocols:?}, a byte a call");
                // Nothing of what is inside is looked at.
                observed.server(b"\x17\x03\x03\0\x06Z\0\0\0\x05I");
                observed.client(b"\x17\x03\x03\0\x0EQ\0\0\0\x0Dselect 1\0");
                assert_eq!(seen(&observed), (expected, 0, true));
                assert_eq!(observed.connection.details.postgres().asked, 0);
                assert_eq!(observed.connection.details.postgres().state, 0);
            }
        }
    }
}

#[test]
fn a_hello_that_does_not_end_is_tls_once_the_server_speaks() {
    let bytes = hello("db.example.com", &names(&["postgresql"]), false);
    let at = bytes.windows(10).position(|name| name == b"postgresql").expect("it is there");
    for cut in [6, 20, 43, 44, 60, at, at + 9] {
        for role in ROLES {
            let mut observed = Observed::new(role);
            observed.connection.pending = 1;
            observed.client(&bytes[..cut]);
            assert_eq!(seen(&observed), (Protocol::Tls, 1, false), "{cut}");
            observed.server(b"\x15\x03\x03\x00\x02\x02\x28");
            assert_eq!(seen(&observed), (Protocol::Tls, 0, true), "{cut}");
            observed.client(&bytes[cut..]);
            assert_eq!(seen(&observed), (Protocol::Tls, 0, true), "{cut}");
        }
    }
}

#[test]
fn what_is_missed_of_a_hello_leaves_it_tls() {
    let bytes = hello("db.example.com", &names(&["postgresql"]), false);
    let at = bytes.windows(10).position(|name| name == b"postgresql").expect("it is there");
    // Behind what is kept of the random, inside what is stepped over, and past it; and in what is kept.
    for (before, missed, expected) in
        [(27, 10, Protocol::Postgres), (27, at, Protocol::Tls), (11, 10, Protocol::Tls)]
    {
        let mut observed = Observed::new(Role::Client);
        observed.client(&bytes[..before]);
        assert_eq!(observed.miss(Direction::Sent, missed as u64, Desync::Gap), None);
        observed.client(&bytes[before + missed..]);
        assert_eq!(seen(&observed), (expected, 0, true), "{before} {missed}");
        assert_eq!(observed.session.client_random().is_some(), before == 27);
    }
    let mut observed = Observed::new(Role::Client);
    observed.client(&bytes[..8]);
    observed.call_readable(Direction::Sent, &bytes[8..], 0);
    assert_eq!(observed.desyncs, [Desync::Unread]);
    assert_eq!((observed.protocol(), observed.connection.pending), (Protocol::Tls, 0));
}

/// Names of protocols, among them Postgres and what is like it.
fn protocols() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let known =
        names(&["h2", "http/1.1", "postgresql", "postgresqL", "postgres", "xpostgresql", "ten-bytes!"]);
    vec(prop_oneof![3 => select(known), 1 => vec(any::<u8>(), 1..40)], 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_hello_tells_what_rustls_reads(
        server in "[a-z]{1,40}([.][a-z]{1,20}){0,3}",
        protocols in protocols(),
        is_old: bool,
        lengths in vec(1..80usize, 0..40),
        buffer in 1..600u32,
        is_server: bool,
        passing: bool,
        poison: u8,
    ) {
        let bytes = hello(&server, &protocols, is_old);
        let expected = if asks_for_postgres(&bytes) {
            Protocol::Postgres
        } else if !protocols.is_empty() && protocols.iter().all(|name| name == b"h2") {
            Protocol::Http2
        } else {
            Protocol::Tls
        };
        let role = if is_server { Role::Server } else { Role::Client };
        let mut observed = Observed::new(role).in_buffers_of(buffer);
        (observed.passing, observed.poison) = (passing, poison);
        feed(&mut observed, &bytes, &lengths);
        prop_assert_eq!(seen(&observed), (expected, 0, true));
    }

    /// Whatever follows on the first bytes.
    #[test]
    fn no_bytes_panic_or_go_on_for_ever(
        mut bytes in vec(any::<u8>(), 0..600),
        zeroes in 0..40usize,
        lengths in vec(1..80usize, 0..20),
        buffer in 1..40u32,
    ) {
        let at = zeroes.min(bytes.len());
        bytes[..at].fill(0);
        let length = u16::try_from(38 + bytes.len()).expect("it is short").to_be_bytes();
        let start = [&b"\x16\x03\x01"[..], &length, b"\x01\x00\x01\xFC\x03\x03"].concat();
        let all = [&start[..], &[0; 32], &bytes].concat();
        let mut whole = Observed::new(Role::Client);
        whole.client(&all);
        let mut split = Observed::new(Role::Client).in_buffers_of(buffer);
        feed(&mut split, &all, &lengths);
        prop_assert_eq!(seen(&whole), seen(&split));
        for observed in [&mut whole, &mut split] {
            observed.server(&[&b"\x16"[..], &bytes].concat());
            prop_assert_eq!(observed.connection.pending, 0);
        }
    }
}
