//! How a session starts.

use observer_ebpf::protocols::postgres::layout::OTHER_CLASSES;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::frontend;

use super::{Script, client, server};

/// How a connection starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Trust,
    Password,
    Md5,
    Scram,
    /// `GSSENCRequest` and `SSLRequest`, both answered no.
    Refused,
    /// Version 3.2, answered with an older one.
    Newer,
    /// Version 3.9999, answered with an older one, and a long key to cancel with.
    Newest,
    /// An error and the end.
    Full,
    /// The same without a SQLSTATE.
    Untold,
    /// The same in plain text.
    CannotFork,
}

impl Start {
    pub(crate) const ALL: [Self; 10] = [
        Self::Trust,
        Self::Password,
        Self::Md5,
        Self::Scram,
        Self::Refused,
        Self::Newer,
        Self::Newest,
        Self::Full,
        Self::Untold,
        Self::CannotFork,
    ];

    /// The class of the error that is all there is, if there is no session.
    pub(crate) const fn error(self) -> Option<[u8; 2]> {
        match self {
            Self::Full => Some(*b"53"),
            Self::Untold | Self::CannotFork => Some(OTHER_CLASSES),
            _ => None,
        }
    }

    pub(crate) fn write(self, script: &mut Script) {
        let mut startup = client(|to| {
            frontend::startup_message([("user", "Z\u{5}"), ("database", "d")], to).expect("no zero bytes");
        });
        match self {
            Self::Trust
            | Self::Password
            | Self::Md5
            | Self::Scram
            | Self::Full
            | Self::Untold
            | Self::CannotFork => {}
            Self::Refused => {
                script.client(&[0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x30]).server(b"N");
                script.client(&client(frontend::ssl_request)).server(b"N");
            }
            Self::Newer => startup[7] = 2,
            Self::Newest => startup[6..8].copy_from_slice(&9999_u16.to_be_bytes()),
        }
        script.client(&startup);
        match self {
            Self::Trust | Self::Refused => {}
            Self::Password | Self::Md5 => {
                let asked = if self == Self::Md5 {
                    server::authentication(5, b"salt")
                } else {
                    server::authentication(3, &[])
                };
                script.messages(&[asked]);
                script.client(&client(|to| frontend::password_message(b"Q\x04secret", to).expect("fine")));
            }
            Self::Scram => {
                let mut scram = ScramSha256::new(b"secret", ChannelBinding::unsupported());
                script.messages(&[server::authentication(10, b"SCRAM-SHA-256\0\0")]);
                let first = scram.message().to_vec();
                script.client(&client(|to| {
                    frontend::sasl_initial_response("SCRAM-SHA-256", &first, to).expect("fine");
                }));
                let first = String::from_utf8(first).expect("a text");
                let nonce = first.split_once("r=").expect("a nonce").1;
                let challenge = format!("r={nonce}x,s=tTW3DrR8PZU0tK9XlMInYQ==,i=2");
                script.messages(&[server::authentication(11, challenge.as_bytes())]);
                scram.update(challenge.as_bytes()).expect("a challenge");
                let proof = scram.message().to_vec();
                script.client(&client(|to| frontend::sasl_response(&proof, to).expect("fine")));
                script.messages(&[server::authentication(12, b"v=AAAA")]);
            }
            Self::Newer => {
                script.messages(&[server::message(b'v', &[0, 3, 0, 0, 0, 0, 0, 0])]);
            }
            Self::Newest => {
                script.messages(&[server::message(
                    b'v',
                    b"\0\x03\0\x02\0\0\0\x01_pq_.test_protocol_negotiation\0",
                )]);
            }
            Self::Full => {
                script.messages(&[server::error("53300")]);
                return;
            }
            Self::Untold => {
                script.messages(&[server::message(b'E', b"SFATAL\0Mno\0\0")]);
                return;
            }
            Self::CannotFork => {
                script.server(b"Ecould not fork new process for connection: Cannot allocate memory\n\0");
                return;
            }
        }
        script.wait(300_000);
        script.messages(&[
            server::authentication(0, &[]),
            server::parameter("server_version", "15.0"),
            server::notice(),
            if self == Self::Newest { server::message(b'K', &[0x5A; 4 + 256]) } else { server::key() },
            server::ready(b'I'),
        ]);
    }
}
