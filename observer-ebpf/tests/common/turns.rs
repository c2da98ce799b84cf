//! Handshakes and what comes around them, as runs of bytes that may be cut anywhere.

use observer_ebpf::layout::{Protocol, Role};
use observer_ebpf::protocols::websocket::layout::{MessageType, StreamCounters};

use super::{Handshake, Observed, PING, Wire};

pub(crate) const ROLES: [Role; 2] = [Role::Client, Role::Server];
pub(crate) const BUFFERS: [u32; 6] = [1, 2, 3, 7, 16, 1024];

/// Runs of bytes, and whether the client sends them.
pub(crate) type Turns = Vec<(bool, Vec<u8>)>;

/// Frames of both ends.
pub(crate) fn frames() -> [Wire; 2] {
    let mut client = Wire::from_client();
    client.message(MessageType::Text, 12).control(PING, 0).fragments(
        MessageType::Binary,
        false,
        &[5, 300],
        &[],
    );
    let mut server = Wire::from_server();
    server.message(MessageType::Binary, 1).message(MessageType::Text, 126).close(Some(1000), 2);
    [client, server]
}

/// A handshake, the server's first frames in the same run as its response.
pub(crate) fn handshake(handshake: Handshake, client: &Wire, server: &Wire) -> Turns {
    let response = [&handshake.response[..], &server.bytes[..]].concat();
    vec![(true, handshake.request), (false, response), (true, client.bytes.clone())]
}

pub(crate) fn feed(observed: &mut Observed, turns: &Turns, split: usize) {
    let mut start = 0;
    for (by_client, bytes) in turns {
        let cut = split.saturating_sub(start).min(bytes.len());
        for part in [&bytes[..cut], &bytes[cut..]] {
            if *by_client { observed.client(part) } else { observed.server(part) }
        }
        start += bytes.len();
    }
}

pub(crate) fn length(turns: &Turns) -> usize {
    turns.iter().map(|(_, bytes)| bytes.len()).sum()
}

#[track_caller]
pub(crate) fn assert_counted(observed: &Observed, [client, server]: &[Wire; 2], how: impl core::fmt::Debug) {
    assert_eq!(observed.protocol(), Protocol::WebSocket, "{how:?}");
    assert_eq!(observed.by_client(), client.expected, "client's frames, {how:?}");
    assert_eq!(observed.by_server(), server.expected, "server's frames, {how:?}");
    assert!(observed.desyncs.is_empty(), "{how:?}");
}

#[track_caller]
pub(crate) fn assert_http(observed: &Observed) {
    assert_eq!(observed.protocol(), Protocol::Http);
    assert_eq!(observed.connection.websocket().streams, [StreamCounters::ZERO; 2]);
    assert!(observed.desyncs.is_empty());
}
