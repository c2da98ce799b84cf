//! Records of TLS: sessions of rustls with itself, as the crate `tls-parser` reads their records, however calls split them.

mod common;

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use common::Observed;
use observer_ebpf::layout::losses::Desync;
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::tls::layout::{ALERTS, Records};
use proptest::collection::vec;
use proptest::prelude::*;
use tls_parser::{TlsMessage, TlsMessageAlert, TlsMessageHandshake, TlsRecordType};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// Who can speak with whom.
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Configs {
    fn new(
        client: &[&'static SupportedProtocolVersion],
        server: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let certified =
            rcgen::generate_simple_self_signed(vec!["db.example.com".to_owned()]).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).expect("it is one");
        let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
        let provider = Arc::new(default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(client)
            .expect("versions that there are")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(server)
            .expect("versions that there are")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a key that fits");
        Self { client: Arc::new(client), server: Arc::new(server) }
    }
}

/// What one side wrote before the other one answered: whether it is the server, and the bytes.
type Flight = (bool, Vec<u8>);

/// A session, with what is said in it.
struct Recorded {
    flights: Vec<Flight>,
    /// The flight with which the handshake is over, if it is.
    handshake: Option<usize>,
    version: Option<ProtocolVersion>,
}

/// Has both speak, and say this in turn, until the client closes the session.
fn session(configs: &Configs, said: &[(bool, Vec<u8>)]) -> Recorded {
    let name = ServerName::try_from("db.example.com").expect("a name");
    let mut client = ClientConnection::new(Arc::clone(&configs.client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(&configs.server)).expect("a server");
    let mut recorded = Recorded { flights: Vec::new(), handshake: None, version: None };
    let mut said = said.iter();
    let mut is_closed = false;
    loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("there is room");
        }
        let from_client = !bytes.is_empty();
        if from_client {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("it is in memory");
                let _ = server.process_new_packets();
                let _ = server.reader().read_to_end(&mut Vec::new());
            }
            recorded.flights.push((false, bytes));
            let is_new = server.protocol_version() == Some(ProtocolVersion::TLSv1_3);
            if is_new && !server.is_handshaking() {
                recorded.handshake.get_or_insert(recorded.flights.len() - 1);
            }
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("there is room");
        }
        let from_server = !bytes.is_empty();
        if from_server {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("it is in memory");
                let _ = client.process_new_packets();
                let _ = client.reader().read_to_end(&mut Vec::new());
            }
            recorded.flights.push((true, bytes));
        }
        // In TLS 1.2 the server's `Finished` comes last.
        if server.protocol_version() == Some(ProtocolVersion::TLSv1_2) && !server.is_handshaking() {
            let last = recorded.flights.len() - 1;
            recorded.handshake.get_or_insert(last);
        }
        if from_client || from_server {
            continue;
        }
        recorded.version = server.protocol_version();
        if is_closed || client.is_handshaking() || server.is_handshaking() {
            return recorded;
        }
        match said.next() {
            Some((true, text)) => server.writer().write_all(text).expect("there is room"),
            Some((false, text)) => client.writer().write_all(text).expect("there is room"),
            None => {
                is_closed = true;
                client.send_close_notify();
            }
        }
    }
}

/// What `tls-parser` reads in what each side wrote, the client's first: bytes of application records, alerts in the clear,
/// and how many application records there are.
fn read(flights: &[Flight]) -> [(u64, Vec<u8>, u32); 2] {
    [false, true].map(|is_server| {
        let bytes: Vec<u8> = flights
            .iter()
            .filter(|flight| flight.0 == is_server)
            .flat_map(|flight| flight.1.clone())
            .collect();
        let (mut rest, mut application, mut alerts, mut records) = (&bytes[..], 0, Vec::new(), 0);
        while !rest.is_empty() {
            let (behind, record) = tls_parser::parse_tls_raw_record(rest).expect("records are whole");
            rest = behind;
            if record.hdr.record_type == TlsRecordType::ApplicationData {
                application += u64::from(record.hdr.len);
                records += 1;
            }
            if record.hdr.record_type == TlsRecordType::Alert && record.hdr.len == 2 {
                let messages = tls_parser::parse_tls_record_with_header(record.data, &record.hdr);
                for message in messages.expect("an alert").1 {
                    if let TlsMessage::Alert(TlsMessageAlert { code, .. }) = message {
                        alerts.push(code.0);
                    }
                }
            }
        }
        (application, alerts, records)
    })
}

/// The version that the server's first message tells, as `tls-parser` reads it.
fn version(flights: &[Flight]) -> Option<u16> {
    let bytes = &flights.iter().find(|flight| flight.0)?.1;
    let (_, record) = tls_parser::parse_tls_plaintext(bytes).ok()?;
    let TlsMessage::Handshake(TlsMessageHandshake::ServerHello(hello)) = record.msg.first()? else {
        return None;
    };
    let extensions = tls_parser::parse_tls_server_hello_extensions(hello.ext.unwrap_or_default()).ok()?.1;
    let chosen = extensions.iter().find_map(|extension| match extension {
        tls_parser::TlsExtension::SupportedVersions(versions) => versions.first().map(|version| version.0),
        _ => None,
    });
    Some(chosen.unwrap_or(hello.version.0))
}

/// When a flight begins.
const fn time(flight: usize) -> u64 {
    1_000_000 * (flight as u64 + 1)
}

/// Sees a session, each flight in calls of these lengths.
fn see(role: Role, recorded: &Recorded, cuts: &[(u8, u8)], passing: bool) -> Observed {
    let mut observed = Observed::new(role);
    observed.passing = passing;
    let mut cuts = cuts.iter().cycle();
    for (at, (is_server, bytes)) in recorded.flights.iter().enumerate() {
        observed.now_ns = time(at);
        if cuts.clone().next().is_none() {
            observed.by(*is_server, bytes);
        } else {
            observed.by_cuts(*is_server, bytes, &mut cuts);
        }
    }
    observed
}

/// What it should show.
fn expected(role: Role, recorded: &Recorded) -> Records {
    let sides = read(&recorded.flights);
    let by_direction = |direction: Direction| {
        let is_client = direction == role.request_direction();
        &sides[usize::from(!is_client)]
    };
    let (sent, received) = (by_direction(Direction::Sent), by_direction(Direction::Received));
    let first = |alerts: &[u8]| {
        let mut told = [0; ALERTS];
        told.iter_mut().zip(alerts).for_each(|(told, code)| *told = code.saturating_add(1));
        told
    };
    Records {
        hello_ns: time(0),
        handshake_ns: recorded.handshake.map_or(0, |flight| time(flight) - time(0)),
        application: [sent.0, received.0],
        alerts: [first(&sent.1), first(&received.1)],
        alerts_seen: [sent.1.len() as u16, received.1.len() as u16],
        version: version(&recorded.flights).unwrap_or(0),
        records: [sent.2, received.2],
        handshake_bytes: recorded.handshake.map_or(0, |flight| {
            let [client, server] = read(&recorded.flights[..=flight]);
            (client.0 + server.0) as u32
        }),
        ..Records::default()
    }
}

/// Where the random begins in the flight of a client's hello: behind a record's header, a message's, and a version (RFC 8446,
/// sections 4 and 5.1).
const RANDOM: usize = 5 + 4 + 2;

fn check(observed: &mut Observed, role: Role, recorded: &Recorded) {
    let random = &recorded.flights[0].1[RANDOM..][..16];
    let kept = observed.session.client_random().map(|kept| kept.map(u64::to_le_bytes).concat());
    assert_eq!(kept.as_deref(), Some(random));
    assert_eq!(observed.desyncs, []);
    assert_eq!((observed.protocol(), observed.connection.tls.lost), (Protocol::Tls, [0; 2]));
    assert_eq!(observed.connection.tls, expected(role, recorded));
}

/// Sessions of each version, and one in which both sides have none in common.
fn sessions() -> Vec<Recorded> {
    let said = [(false, b"SELECT 1".to_vec()), (true, vec![7; 40_000]), (false, vec![b'x'; 20_000])];
    let sets: [(&[_], &[_]); 4] = [
        (&[&TLS13], &[&TLS13, &TLS12]),
        (&[&TLS12], &[&TLS13, &TLS12]),
        (&[&TLS12], &[&TLS13]),
        (&[&TLS13], &[&TLS12]),
    ];
    sets.iter().map(|(client, server)| session(&Configs::new(client, server), &said)).collect()
}

#[test]
fn what_both_versions_say() {
    let all = sessions();
    let versions: Vec<_> = all.iter().map(|recorded| recorded.version).collect();
    let [tls13, tls12] = [Some(ProtocolVersion::TLSv1_3), Some(ProtocolVersion::TLSv1_2)];
    assert_eq!(versions[..2], [tls13, tls12]);
    let shown: Vec<_> = all.iter().map(|recorded| expected(Role::Client, recorded)).collect();
    assert_eq!([shown[0].version, shown[1].version], [0x0304, 0x0303]);
    assert!(shown[..2].iter().all(|records| records.handshake_ns != 0 && records.application[1] > 40_000));
    assert!(shown[2..].iter().all(|records| records.alerts_seen == [0, 1] && records.handshake_ns == 0));
    for recorded in &all {
        for role in ROLES {
            for passing in [true, false] {
                check(&mut see(role, recorded, &[], passing), role, recorded);
            }
        }
    }
}

#[test]
fn a_byte_at_a_time() {
    for recorded in &sessions() {
        for role in ROLES {
            check(&mut see(role, recorded, &[(0, 1)], true), role, recorded);
        }
    }
}

/// As OpenSSL reads: a header, and what it is the header of.
#[test]
fn headers_are_read_on_their_own() {
    for recorded in &sessions() {
        for role in ROLES {
            let mut observed = Observed::new(role);
            for (at, (is_server, bytes)) in recorded.flights.iter().enumerate() {
                observed.now_ns = time(at);
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (header, behind) = rest.split_at(5);
                    let length = usize::from(header[3]) << 8 | usize::from(header[4]);
                    let (record, behind) = behind.split_at(length);
                    observed.by(*is_server, header);
                    observed.by(*is_server, record);
                    rest = behind;
                }
            }
            check(&mut observed, role, recorded);
        }
    }
}

/// Sessions of OpenSSL with itself, in two parts at every byte.
#[test]
fn recorded_sessions_at_every_split() {
    for (text, handshake) in
        [(include_str!("recorded/tls-1.2.txt"), 3), (include_str!("recorded/tls-1.3.txt"), 2)]
    {
        let flights: Vec<Flight> = common::recording::calls(text).collect();
        let recorded = Recorded { flights, handshake: Some(handshake), version: None };
        for role in ROLES {
            let expected = expected(role, &recorded);
            assert_ne!((expected.version, expected.application[0]), (0, 0));
            let length: usize = recorded.flights.iter().map(|flight| flight.1.len()).sum();
            for cut in 0..length {
                let mut observed = Observed::new(role);
                let mut before = 0;
                for (at, (is_server, bytes)) in recorded.flights.iter().enumerate() {
                    observed.now_ns = time(at);
                    let (first, rest) = bytes.split_at(cut.saturating_sub(before).min(bytes.len()));
                    observed.by(*is_server, first);
                    observed.by(*is_server, rest);
                    before += bytes.len();
                }
                check(&mut observed, role, &recorded);
            }
        }
    }
}

#[test]
fn first_seen_in_the_middle() {
    let recorded = &sessions()[0];
    for role in ROLES {
        let mut observed = Observed::adopted(role);
        // In the midst of a record.
        observed.server(&recorded.flights[1].1[40..]);
        assert_eq!(observed.protocol(), Protocol::Unknown);
        let behind = &recorded.flights[2..];
        for (is_server, bytes) in behind {
            observed.by(*is_server, bytes);
        }
        assert_eq!((observed.protocol(), observed.connection.tls.lost), (Protocol::Tls, [0; 2]));
        let sides = read(behind);
        let client = role.request_direction() as usize;
        assert_eq!(observed.connection.tls.application[client], sides[0].0);
        assert_eq!(observed.connection.tls.application[1 - client], sides[1].0);
        assert_eq!((observed.connection.tls.handshake_ns, observed.connection.tls.version), (0, 0));
        assert!(observed.connection.is_encrypted());
    }
}

#[test]
fn what_is_missed_is_found_again() {
    let recorded = &sessions()[0];
    let mut observed = see(Role::Client, recorded, &[], true);
    let record = |length: u16| {
        let header = [&[23, 3, 3][..], &length.to_be_bytes()].concat();
        [header, vec![0xEE; usize::from(length)]].concat()
    };
    let before = observed.connection.tls.application[0];
    // Inside a record.
    observed.client(&record(300)[..100]);
    assert_eq!(observed.miss(Direction::Sent, 205, Desync::Gap), None);
    observed.client(&record(50));
    assert_eq!(observed.connection.tls.application[0] - before, 350);
    // Past its end.
    observed.client(&record(300)[..100]);
    assert_eq!(observed.miss(Direction::Sent, 206, Desync::Gap), Some(Desync::Gap));
    assert_eq!(observed.connection.tls.lost, [1, 0]);
    observed.client(b"what is not the start of a record");
    assert_eq!(observed.connection.tls.lost, [1, 0]);
    observed.client(&[record(60), record(70)].concat());
    assert_eq!(observed.connection.tls.lost, [0, 0]);
    assert_eq!(observed.connection.tls.application[0] - before, 350 + 300 + 130);
    // What only looks like one.
    assert_eq!(observed.miss(Direction::Sent, 1, Desync::Gap), Some(Desync::Gap));
    observed.client(&[&record(6)[..], b"and then no other"].concat());
    assert_eq!((observed.connection.tls.lost, observed.desyncs.len()), ([1, 0], 0));
}

#[test]
fn a_server_that_answers_in_the_clear() {
    let recorded = &sessions()[0];
    for role in ROLES {
        let mut observed = Observed::new(role);
        observed.client(&recorded.flights[0].1);
        for _ in 0..3 {
            observed.server(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
        assert_eq!((observed.protocol(), observed.connection.tls.lost), (Protocol::Tls, [0; 2]));
        assert_eq!(observed.desyncs, []);
    }
}

fn said() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    vec((any::<bool>(), vec(any::<u8>(), 0..3_000)), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_however_they_are_split(
        said in said(),
        cuts in vec((any::<u8>(), 1..=u8::MAX), 1..40),
        is_old: bool,
        is_server: bool,
        passing: bool,
    ) {
        let versions: &[_] = if is_old { &[&TLS12] } else { &[&TLS13] };
        let recorded = session(&Configs::new(versions, versions), &said);
        let role = if is_server { Role::Server } else { Role::Client };
        check(&mut see(role, &recorded, &cuts, passing), role, &recorded);
    }

    /// Whatever is in records, or breaks them: it is the same however it is split.
    #[test]
    fn noise(
        parts in vec((any::<bool>(), 18..26_u8, 0..300_u16, vec(any::<u8>(), 0..300)), 0..12),
        cuts in vec((any::<u8>(), 1..=u8::MAX), 1..20),
    ) {
        let hello = &session(&Configs::new(&[&TLS13], &[&TLS13]), &[]).flights[0].1;
        let mut whole = Observed::new(Role::Client);
        let mut split = Observed::new(Role::Client);
        let mut cuts = cuts.iter().cycle();
        for observed in [&mut whole, &mut split] {
            observed.client(hello);
        }
        for (is_server, kind, length, bytes) in parts {
            let record = [&[kind, 3, 3][..], &length.to_be_bytes(), &bytes].concat();
            whole.by(is_server, &record);
            split.by_cuts(is_server, &record, &mut cuts);
            if !whole.desyncs.is_empty() || whole.connection.tls.lost != [0; 2] {
                // From where on they may be found again at different calls.
                break;
            }
            prop_assert_eq!(whole.connection.tls, split.connection.tls);
        }
    }
}
