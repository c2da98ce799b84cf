//! Ends of connections as operators write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use observer_ebpf::layout::connection::{AF_INET, AF_INET6, AF_UNIX, Connection, UnixPath};
use observer_ebpf::layout::{Protocol, Role};

/// `ADDR:PORT` of an address as the kernel half stores it; an IPv4 address mapped into IPv6 is shown as the
/// IPv4 address it is.
pub fn socket_address(family: u16, address: [u8; 16], port: u16) -> String {
    let ip = if family == AF_INET {
        let [a, b, c, d, ..] = address;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        Ipv6Addr::from(address).to_canonical()
    };
    SocketAddr::new(ip, port).to_string()
}

/// An address as the kernel half stores it, and a port.
#[derive(Clone, Copy, Debug)]
pub struct Address(pub [u8; 16], pub u16);

/// The local and the remote end of a connection. A UNIX connection's server end is its path, and the other
/// has none.
pub fn ends(
    family: u16,
    role: Role,
    [local, remote]: [Address; 2],
    path: Option<&UnixPath>,
) -> (String, String) {
    if family == AF_UNIX {
        let path = path.map(unix_path).unwrap_or_default();
        return match role {
            Role::Client => (String::new(), path),
            Role::Server => (path, String::new()),
        };
    }
    let text = |Address(address, port)| socket_address(family, address, port);
    (text(local), text(remote))
}

/// The same of a slot.
pub fn ends_of(connection: &Connection, path: Option<&UnixPath>) -> (String, String) {
    let local = Address(connection.local, connection.local_port);
    let remote = Address(connection.remote, connection.remote_port);
    ends(connection.family, Role::from_u8(connection.role), [local, remote], path)
}

/// Whom a proxy has declared to be the client, or nothing where none has: as a slot has its address and port.
pub fn client(address: [u8; 16], port: u16) -> String {
    if address == [0; 16] { String::new() } else { socket_address(AF_INET6, address, port) }
}

/// The server's end.
pub fn server(connection: &Connection, path: Option<&UnixPath>) -> String {
    let (local, remote) = ends_of(connection, path);
    match Role::from_u8(connection.role) {
        Role::Client => remote,
        Role::Server => local,
    }
}

/// A UNIX socket's path; an abstract name starts with `@`, as `ss` shows it.
pub fn unix_path(path: &UnixPath) -> String {
    let bytes = path.path.get(..path.length as usize).unwrap_or(&path.path);
    match bytes {
        [0, name @ ..] => format!("@{}", String::from_utf8_lossy(name)),
        name => {
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
            String::from_utf8_lossy(&name[..end]).into_owned()
        }
    }
}

/// The port of the server's end; 0 on a UNIX socket.
pub fn server_port(connection: &Connection) -> u16 {
    match Role::from_u8(connection.role) {
        Role::Client => connection.remote_port,
        Role::Server => connection.local_port,
    }
}

/// What is spoken on a port, for connections first seen in the middle (`--protocol-ports`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints(pub Vec<(Protocol, u16)>);

impl Hints {
    /// The protocol of a server's port.
    pub fn protocol(&self, port: u16) -> Option<Protocol> {
        self.0.iter().find(|&&(_, hinted)| hinted == port && port != 0).map(|&(protocol, _)| protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::{client, socket_address, unix_path};
    use observer_ebpf::layout::connection::{AF_INET, AF_INET6, UNIX_PATH_MAX, UnixPath};

    #[test]
    fn addresses_are_written_as_usual() {
        let mut v4 = [0; 16];
        v4[..4].copy_from_slice(&[127, 0, 0, 1]);
        assert_eq!(socket_address(AF_INET, v4, 80), "127.0.0.1:80");
        let mut v6 = [0; 16];
        v6[15] = 1;
        assert_eq!(socket_address(AF_INET6, v6, 80), "[::1]:80");
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xFF, 0xFF, 10, 0, 0, 7]);
        assert_eq!(socket_address(AF_INET6, mapped, 443), "10.0.0.7:443");
        assert_eq!([client(mapped, 80), client(v6, 80)], ["10.0.0.7:80", "[::1]:80"]);
        assert_eq!(client([0; 16], 0), "", "nobody was declared");
    }

    #[test]
    fn unix_paths_end_at_their_zero_unless_they_start_with_one() {
        let path = |bytes: &[u8]| {
            let mut path = UnixPath { length: bytes.len() as u32, path: [0; UNIX_PATH_MAX] };
            path.path[..bytes.len()].copy_from_slice(bytes);
            unix_path(&path)
        };
        assert_eq!(path(b"/run/x.sock\0"), "/run/x.sock");
        assert_eq!(path(b"\0abstract"), "@abstract");
        assert_eq!(path(b""), "");
    }
}
