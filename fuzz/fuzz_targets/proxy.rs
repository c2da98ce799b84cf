//! Headers of the PROXY protocol, cut in any way: what one tells of the client is what another implementation reads, and
//! nothing is read that is out of reach.
#![no_main]

#[path = "../../observer-ebpf/tests/common/mod.rs"]
mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use arbitrary::Arbitrary;
use common::Observed;
use libfuzzer_sys::fuzz_target;
use observer_ebpf::layout::{Protocol, Role};
use proxy_header::{ParseConfig, ProxyHeader};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

#[derive(Arbitrary, Debug)]
struct Input {
    server: bool,
    header: Vec<u8>,
    cuts: [(u8, u8); 4],
}

fn run(input: &Input, bytes: &[u8], poison: u8) -> Observed {
    let mut observed = Observed::new(if input.server { Role::Server } else { Role::Client });
    observed.poison = poison;
    observed.by_cuts(false, bytes, &mut input.cuts.iter().cycle());
    observed
}

fn client(observed: &Observed) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(observed.connection.client)), observed.connection.client_port)
}

fuzz_target!(|input: Input| {
    let bytes = [&input.header[..], REQUEST].concat();
    let (zeros, ones) = (run(&input, &bytes, 0), run(&input, &bytes, 0xFF));
    assert_eq!(zeros.protocol(), ones.protocol());
    assert_eq!(client(&zeros), client(&ones));
    assert_eq!(zeros.connection.lost, ones.connection.lost);
    let Ok((header, length)) = ProxyHeader::parse(&bytes, ParseConfig::default()) else { return };
    if length == input.header.len() {
        assert_eq!(zeros.protocol(), Protocol::Http);
    }
    if let Some(address) = header.proxied_address() {
        let ip = match address.source.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        assert_eq!(client(&zeros), SocketAddr::new(IpAddr::V6(ip), address.source.port()));
    }
});
