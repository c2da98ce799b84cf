//! Whole sessions count the same however their bytes are cut into calls and buffers.

mod common;

use common::{Buffers, CLOSE, Form, Handshake, Observed, PING, PONG, Wire};
use observer_ebpf::layout::{Direction, Protocol, Role};
use observer_ebpf::protocols::websocket::layout::{MessageType, Opcode, StreamCounters};
use observer_ebpf::stream::session::Session;

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const BUFFERS: [u32; 6] = [1, 2, 3, 7, 16, 1024];

/// A session: what the ends send one after the other, and what the frames of each must count to.
#[derive(Clone)]
struct Conversation {
    /// Whether the client sends it, and the bytes.
    turns: Vec<(bool, Vec<u8>)>,
    client: Wire,
    server: Wire,
}

impl Conversation {
    /// The response and the server's first frames in one run, the rest of the frames after it.
    fn new(deflate: bool, client: Wire, server: Wire) -> Self {
        let Handshake { request, mut response } = Handshake::new(deflate);
        let half = server.edges[server.edges.len() / 4 * 2];
        response.extend(&server.bytes[..half]);
        let turns = vec![
            (true, request),
            (false, response),
            (true, client.bytes.clone()),
            (false, server.bytes[half..].to_vec()),
        ];
        Self { turns, client, server }
    }

    fn length(&self) -> usize {
        self.turns.iter().map(|(_, bytes)| bytes.len()).sum()
    }

    /// Every place where a header of a frame or the handshake starts, ends, or has its middle.
    fn places_of_interest(&self) -> Vec<usize> {
        let mut places = Vec::new();
        let mut start = 0;
        let [request, response, sent, rest] = [0, 1, 2, 3].map(|turn| {
            let here = start;
            start += self.turns[turn].1.len();
            here
        });
        let half = self.server.bytes.len() - (start - rest);
        let head = sent - half;
        places.extend(request..head.min(response + 400));
        for &edge in &self.server.edges {
            places.push(if edge < half { head + edge } else { rest + edge - half });
        }
        places.extend(self.client.edges.iter().map(|edge| sent + edge));
        let around = places.iter().flat_map(|&place| place.saturating_sub(17)..place + 17);
        let mut places: Vec<_> = around.chain((0..start).step_by(4_999)).filter(|&at| at < start).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Feeds it all, with a cut at byte `split` of the session, and wherever the other end goes on.
    fn feed_split(&self, observed: &mut Observed, split: usize) {
        let mut start = 0;
        for (by_client, bytes) in &self.turns {
            let cut = split.saturating_sub(start).min(bytes.len());
            for part in [&bytes[..cut], &bytes[cut..]] {
                if *by_client { observed.client(part) } else { observed.server(part) }
            }
            start += bytes.len();
        }
    }

    #[track_caller]
    fn assert_counted(&self, observed: &Observed, how: impl core::fmt::Debug) {
        assert_eq!(observed.protocol(), Protocol::WebSocket, "{how:?}");
        assert_eq!(observed.by_client(), self.client.expected, "client's frames, {how:?}");
        assert_eq!(observed.by_server(), self.server.expected, "server's frames, {how:?}");
        assert!(observed.desyncs.is_empty(), "{how:?}");
        assert_eq!(observed.connection.lost, [0; 2], "{how:?}");
    }
}

/// Small frames of every kind, in one direction.
fn small(mut wire: Wire, deflate: bool) -> Wire {
    use MessageType::{Binary, Text};
    for size in [0, 1, 125, 126, 127] {
        wire.message(Text, size).message(Binary, size);
    }
    wire.control(PING, 0).control(PONG, 125);
    wire.fragments(Text, false, &[3, 0, 130], &[(PING, 4), (PONG, 0)]);
    wire.fragments(Binary, deflate, &[126, 1], &[]);
    wire.fragments(Text, deflate, &[40], &[]);
    wire.fragments(Binary, false, &[0, 0], &[(PING, 0)]);
    wire.fragments(Text, deflate, &[0, 7, 0], &[(PONG, 125)]);
    wire
}

/// Frames around the sizes where the length's form changes.
fn large(mut wire: Wire, deflate: bool) -> Wire {
    use MessageType::{Binary, Text};
    for size in [65_535, 65_536, 70_000] {
        wire.message(Binary, size).control(PING, 1);
    }
    wire.fragments(Text, deflate, &[65_536, 2, 65_535], &[(PING, 125)]);
    wire
}

fn conversations(fill: fn(Wire, bool) -> Wire) -> Vec<Conversation> {
    [false, true]
        .map(|deflate| {
            let mut client = fill(Wire::from_client(), deflate);
            let mut server = fill(Wire::from_server(), deflate);
            if deflate {
                client.close(Some(1000), 0);
                server.close(Some(1001), 30);
            } else {
                client.close(None, 0);
                server.close(Some(1013), 123);
            }
            Conversation::new(deflate, client, server)
        })
        .into()
}

#[test]
fn small_frames_count_the_same_at_every_split_and_in_every_buffer_size() {
    for conversation in conversations(small) {
        for role in ROLES {
            for buffer in BUFFERS {
                for split in 0..conversation.length() {
                    let mut observed = Observed::new(role).in_buffers_of(buffer);
                    conversation.feed_split(&mut observed, split);
                    conversation.assert_counted(&observed, (role, buffer, split));
                }
            }
        }
    }
}

#[test]
fn large_frames_count_the_same_split_in_and_around_every_header() {
    for conversation in conversations(large) {
        let places = conversation.places_of_interest();
        for role in ROLES {
            for buffer in BUFFERS {
                for &split in &places {
                    let mut observed = Observed::new(role).in_buffers_of(buffer);
                    conversation.feed_split(&mut observed, split);
                    conversation.assert_counted(&observed, (role, buffer, split));
                }
            }
        }
    }
}

#[test]
fn large_frames_count_the_same_at_every_split() {
    for conversation in conversations(large) {
        let [request, response, frames @ ..] = &conversation.turns[..] else { panic!("a handshake first") };
        let upgraded = ROLES.map(|role| {
            let mut observed = Observed::new(role);
            observed.client(&request.1);
            observed.server(&response.1);
            observed
        });
        let rest = Conversation { turns: frames.to_vec(), ..conversation.clone() };
        for split in 0..rest.length() {
            let mut observed = upgraded[split % 2].clone();
            rest.feed_split(&mut observed, split);
            rest.assert_counted(&observed, split);
        }
    }
}

#[test]
fn sessions_count_the_same_in_calls_of_one_to_seventeen_bytes() {
    for conversation in conversations(small).iter().chain(&conversations(large)) {
        for role in ROLES {
            for size in 1..=17 {
                for passing in [true, false] {
                    let mut observed = Observed::new(role);
                    observed.passing = passing;
                    for (by_client, bytes) in &conversation.turns {
                        for part in bytes.chunks(size) {
                            if *by_client { observed.client(part) } else { observed.server(part) }
                        }
                    }
                    conversation.assert_counted(&observed, (role, "calls of", size));
                }
            }
        }
    }
}

#[test]
fn calls_of_which_none_is_passed_are_read_at_every_split() {
    for conversation in conversations(small) {
        for buffer in BUFFERS {
            for split in 0..conversation.length() {
                let role = ROLES[split % 2];
                let mut session = Session::new(role);
                let mut connection = Observed::new(role).connection;
                let mut start = 0;
                for (by_client, bytes) in &conversation.turns {
                    let request = role.request_direction();
                    let direction = if *by_client { request } else { request.opposite() };
                    let cut = split.saturating_sub(start).min(bytes.len());
                    for part in [&bytes[..cut], &bytes[cut..]].into_iter().filter(|part| !part.is_empty()) {
                        let desync =
                            session.feed(direction, &mut Buffers::new(part, buffer), &mut connection);
                        assert_eq!(desync, None);
                    }
                    start += bytes.len();
                }
                let [from_client, from_server] =
                    [role.request_direction(), role.request_direction().opposite()]
                        .map(|direction| connection.websocket().streams[direction as usize]);
                assert_eq!(from_client, conversation.client.expected, "{role:?}, {buffer}, {split}");
                assert_eq!(from_server, conversation.server.expected, "{role:?}, {buffer}, {split}");
            }
        }
    }
}

#[test]
fn a_clients_frames_are_sent_by_a_client_and_received_by_a_server() {
    let mut wire = Wire::from_client();
    wire.message(MessageType::Text, 5);
    for (role, direction) in [(Role::Client, Direction::Sent), (Role::Server, Direction::Received)] {
        let mut observed = Observed::upgraded(role, false);
        observed.client(&wire.bytes);
        assert_eq!(observed.connection.websocket().streams[direction as usize], wire.expected);
        assert_eq!(
            observed.connection.websocket().streams[direction.opposite() as usize],
            StreamCounters::ZERO
        );
    }
}

#[test]
fn an_unfragmented_message_is_oversized_as_soon_as_its_header_is_complete() {
    let mut wire = Wire::from_server();
    wire.message(MessageType::Binary, 5_000_000);
    let header = wire.edges[1];
    for cut in 0..=header {
        let mut observed = Observed::upgraded(Role::Client, false);
        observed.server(&wire.bytes[..cut]);
        let seen = u32::from(cut == header);
        assert_eq!(observed.by_server().oversized, [0, seen, 0], "{cut} bytes");
        assert_eq!(observed.by_server().messages, [[0; 2]; 2], "{cut} bytes");
        observed.server(&wire.bytes[cut..header]);
        observed.server(&wire.bytes[header..]);
        assert_eq!(observed.by_server(), wire.expected, "{cut} bytes");
        assert_eq!(observed.oversized[Direction::Received as usize], [(5_000_000, 1)]);
    }
}

#[test]
fn a_message_is_oversized_once_in_the_category_of_all_its_fragments() {
    let sizes = [
        (vec![999_999], None),
        (vec![1_000_000], Some(0)),
        (vec![999_999, 1], Some(0)),
        (vec![1_000_000, 3_999_999], Some(0)),
        (vec![4_999_999, 0, 1], Some(1)),
        (vec![1_000_000, 8_999_999], Some(1)),
        (vec![1_000_000, 8_999_999, 1], Some(2)),
        (vec![10_000_001], Some(2)),
    ];
    for (sizes, category) in sizes {
        let mut wire = Wire::from_client();
        wire.fragments(MessageType::Text, false, &sizes, &[(PING, 2)]);
        let mut counts = [0; 3];
        if let Some(category) = category {
            counts[category] = 1;
        }
        assert_eq!(wire.expected.oversized, counts, "the builder's own count");
        let mut observed = Observed::upgraded(Role::Server, false);
        for part in wire.bytes.chunks(1 << 18) {
            observed.client(part);
        }
        assert_eq!(observed.by_client(), wire.expected, "{sizes:?}");
        assert_eq!(observed.oversized[Direction::Received as usize], wire.oversized, "{sizes:?}");
    }
}

#[test]
fn the_first_close_frame_tells_the_code_and_one_without_a_code_has_none() {
    let closes: [(&[Option<u16>], u32); 6] = [
        (&[None], 1),
        (&[Some(1000)], 1000),
        (&[Some(4999), Some(1000)], 4999),
        (&[None, Some(1000)], 1),
        (&[Some(0)], 1),
        (&[Some(65_535)], 65_535),
    ];
    for (codes, expected) in closes {
        for masked in [true, false] {
            let mut wire = Wire::new(masked);
            for &code in codes {
                wire.close(code, 3);
            }
            assert_eq!(wire.expected.close, expected, "the builder's own count");
            for size in [1, 3, 200] {
                let mut observed = Observed::upgraded(Role::Client, false);
                for part in wire.bytes.chunks(size) {
                    if masked { observed.client(part) } else { observed.server(part) }
                }
                let counted = if masked { observed.by_client() } else { observed.by_server() };
                assert_eq!(counted, wire.expected, "{codes:?}");
            }
        }
    }
}

#[test]
fn whatever_code_a_close_frame_has_the_frames_behind_it_count() {
    for code in [0, 1, 2, 999, 1000, 0xFFFF] {
        for reason in [0, 1, 123] {
            let mut wire = Wire::from_client();
            wire.close(Some(code), reason).message(MessageType::Text, 9).control(PONG, 0);
            let mut observed = Observed::upgraded(Role::Server, false);
            observed.client(&wire.bytes);
            assert_eq!(observed.by_client(), wire.expected, "{code}, {reason} bytes of reason");
        }
    }
}

#[test]
fn a_close_frame_of_one_byte_has_no_code() {
    let mut wire = Wire::from_client();
    wire.raw(CLOSE, true, Form::Shortest, &[3]);
    wire.count_frame(Opcode::Close, 1);
    wire.expected.close = 1;
    wire.control(PING, 3);
    for size in [1, 2, 100] {
        let mut observed = Observed::upgraded(Role::Client, false);
        for part in wire.bytes.chunks(size) {
            observed.client(part);
        }
        assert_eq!(observed.by_client(), wire.expected);
    }
}
