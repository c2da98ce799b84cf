//! How a session starts.

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
    /// An error and the end.
    Full,
}

impl Start {
    pub(crate) const ALL: [Self; 7] =
        [Self::Trust, Self::Password, Self::Md5, Self::Scram, Self::Refused, Self::Newer, Self::Full];

    pub(crate) fn write(self, script: &mut Script) {
        let mut startup = client(|to| {
            frontend::startup_message([("user", "Z\u{5}"), ("database", "d")], to).expect("no zero bytes");
        });
        match self {
            Self::Trust | Self::Password | Self::Md5 | Self::Scram | Self::Full => {}
            Self::Refused => {
                script.client(&[0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x30]).server(b"N");
                script.client(&client(frontend::ssl_request)).server(b"N");
            }
            Self::Newer => startup[7] = 2,
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
            Self::Full => {
                script.messages(&[server::error("53300")]);
                return;
            }
        }
        script.wait(300_000);
        script.messages(&[
            server::authentication(0, &[]),
            server::parameter("server_version", "15.0"),
            server::notice(),
            server::key(),
            server::ready(b'I'),
        ]);
    }
}
