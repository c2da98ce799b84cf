//! The client that a header of the PROXY protocol declares is who another implementation says it is.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::Observed;
use common::proxy::{REQUEST, SIGNATURE, client, mapped};
use observer_ebpf::layout::{Protocol, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proxy_header::{ParseConfig, ProxyHeader};

/// What another implementation makes of a call's bytes: the header's length and the client, or that there is none.
fn reference(bytes: &[u8]) -> Result<(usize, Option<SocketAddr>), proxy_header::Error> {
    let (header, length) = ProxyHeader::parse(bytes, ParseConfig::default())?;
    let source = header.proxied_address().map(|address| address.source);
    // Zeroes stand for nobody.
    Ok((
        length,
        source.filter(|source| mapped(Some(*source)) != mapped(Some(SocketAddr::from(([0u16; 8], 0))))),
    ))
}

fn address() -> impl Strategy<Value = IpAddr> {
    let word = prop_oneof![Just(0u16), 0..=9u16, any::<u16>()];
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        proptest::array::uniform8(word).prop_map(|words| IpAddr::V6(Ipv6Addr::from(words))),
        any::<[u8; 4]>().prop_map(|octets| IpAddr::V6(Ipv4Addr::from(octets).to_ipv6_mapped())),
    ]
}

/// A header as that implementation writes it.
fn written() -> impl Strategy<Value = Vec<u8>> {
    (address(), address(), any::<[u16; 2]>(), 0..4u8, vec((any::<u8>(), vec(any::<u8>(), 0..40)), 0..4))
        .prop_map(|(source, destination, [from, to], kind, tlvs)| {
            let same = match (source, destination) {
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => source,
                _ => destination,
            };
            let proxied = proxy_header::ProxiedAddress::stream(
                SocketAddr::new(source, from),
                SocketAddr::new(same, to),
            );
            let header =
                if kind == 0 { ProxyHeader::with_local() } else { ProxyHeader::with_address(proxied) };
            let mut bytes = Vec::new();
            if kind == 3 {
                header.encode_v1(&mut bytes).expect("it can be written");
            } else {
                header.encode_v2(&mut bytes).expect("it can be written");
                let behind: Vec<u8> = tlvs
                    .iter()
                    .flat_map(|(kind, value)| [&[*kind, 0, value.len() as u8][..], value].concat())
                    .collect();
                let length = u16::from_be_bytes([bytes[14], bytes[15]]) + behind.len() as u16;
                bytes[14..16].copy_from_slice(&length.to_be_bytes());
                bytes.extend(behind);
            }
            bytes
        })
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}",
        "[0-9a-f:]{1,8}",
        "([0-9a-fA-F]{1,4}:){0,4}:?(:[0-9a-f]{1,4}){0,4}",
        "::(ffff:)?[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}",
    ];
    (any::<bool>(), part.clone(), part, "[1-9][0-9]{0,5}|0", "[1-9][0-9]{0,5}|0").prop_map(
        |(six, from, to, one, other)| {
            let family = if six { "TCP6" } else { "TCP4" };
            format!("PROXY {family} {from} {to} {one} {other}\r\n").into_bytes()
        },
    )
}

const BEGINNINGS: &[&[u8]] = &[
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"PROXY UNKNOWN",
    b"PROXY ",
    SIGNATURE,
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10",
];

/// The same calls with other poison behind what may be looked at, in other cuts: each must tell the same.
fn feed(bytes: &[u8], cuts: &[(u8, u8)], poison: u8) -> Observed {
    let mut observed = Observed::new(Role::Server);
    observed.poison = poison;
    observed.by_cuts(false, bytes, &mut cuts.iter().cycle());
    observed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_header_is_read_as_another_implementation_reads_it(
        header in prop_oneof![written(), lines()],
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cuts in vec(any::<(u8, u8)>(), 1..8),
    ) {
        let mut header = header;
        if let Some((place, byte)) = change {
            let place = place.index(header.len());
            header[place] = byte;
        }
        let bytes = [&header[..], REQUEST].concat();
        let observed = feed(&bytes, &cuts, 0);
        let again = feed(&bytes, &cuts, 0xFF);
        prop_assert_eq!(observed.protocol(), again.protocol());
        prop_assert_eq!(client(&observed), client(&again));
        if let Some((length, source)) = reference(&bytes).ok().filter(|_| !is_refused(&header)) {
            // Where a changed length reaches past the request or into it, its own bytes are to be what follows.
            if length == header.len() {
                prop_assert_eq!(observed.protocol(), Protocol::Http, "{}", header.escape_ascii());
            }
            prop_assert_eq!(client(&observed), mapped(source), "{}", header.escape_ascii());
        } else {
            let is_none = client(&observed).is_none();
            // The other one refuses TLVs that are not well formed, and wants bytes behind a header of version 2.
            prop_assert!(is_none || header.starts_with(b"\r\n"), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn any_bytes_behind_a_header_s_start_do_no_harm(
        start in prop::sample::select(BEGINNINGS),
        bytes in vec(any::<u8>(), 0..300),
        cuts in vec(any::<(u8, u8)>(), 1..8),
    ) {
        let bytes = [start, &bytes].concat();
        let observed = feed(&bytes, &cuts, 0);
        let again = feed(&bytes, &cuts, 0xFF);
        prop_assert_eq!(observed.protocol(), again.protocol());
        prop_assert_eq!(client(&observed), client(&again));
        prop_assert_eq!(observed.connection.lost, again.connection.lost);
    }
}

/// Whether it is what the other implementation takes for a line of version 1, and the specification does not: another byte
/// than a blank behind the first word, signs and zeroes in front of ports.
fn is_refused(header: &[u8]) -> bool {
    let ports = header.split(|byte| *byte == b' ').skip(4);
    let is_odd = |port: &[u8]| matches!(port, [b'+', ..] | [b'0', b'0'..=b'9', ..]);
    header.starts_with(b"PROXY") && (header.get(5) != Some(&b' ') || ports.into_iter().any(is_odd))
}
