//! Headers of the PROXY protocol, and whom a connection has for its client.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Observed;

/// What a header of version 2 begins with.
pub(crate) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What comes behind one.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Whom the slot has.
pub(crate) fn client(observed: &Observed) -> Option<SocketAddr> {
    let (address, port) = (observed.connection.client, observed.connection.client_port);
    (address != [0; 16] || port != 0).then(|| SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port))
}

/// The same as a slot has it.
pub(crate) fn mapped(address: Option<SocketAddr>) -> Option<SocketAddr> {
    address.map(|address| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), address.port()),
        IpAddr::V6(_) => address,
    })
}
