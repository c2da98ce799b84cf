//! Kafka ("Kafka protocol guide", kafka.apache.org/protocol).
//!
//! ```text
//!   client:  size │ API key, version, correlation id, client id │ body        Produce, Fetch, OffsetCommit …
//!   server:  size │ correlation id │ body                                      in the order of the requests
//! ```
//!
//! Every message says how long it is, so that nothing in a body can put a stream out of sync. Bodies of a few kinds are
//! looked into, in all known versions (`schema.rs`, `reader.rs`): which partitions of which topics are written, read and
//! acknowledged, and how far. Of messages' own bytes nothing is looked at but the header of each record batch, which tells
//! how many records there are and when the latest was written, whether they are compressed or not.
//!
//! **Likely.** Until the first response a connection is only likely Kafka's, and bodies are not looked into.
//!
//! **In the middle.** Where a connection is first seen in the middle, it is told by a call of whole requests. A stream is in
//! sync again at a call that begins with such a request, or with a response to one that is in flight.

mod actions;
mod detect;
mod in_flight;
pub mod layout;
mod reader;
mod resync;
mod schema;

use self::in_flight::InFlight;
use self::reader::{ACT, GO_ON, Reader, WAIT};
use self::schema::REQUEST_AT;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::names::NONE;
use crate::layout::{Direction, Role, Side};
use crate::protocols::Protocol;
use crate::queues::topics::{LearntKey, Told, Topics};
use crate::stream::bytes::{Bytes, ITERATIONS_MAX, hide_field};
use crate::stream::parser::{Opening, Outcome, Parse, Parser, StreamId};
use crate::stream::subprograms::{Looks, Runs, Subprograms};

/// Fields in one iteration of the loop over a call's bytes.
const AT_ONCE: u32 = 4;

/// Bytes of the shortest request behind its size: key, version, correlation id, and a client id that is null.
const REQUEST_LEAST: u32 = 10;
/// The same of a response: a correlation id.
const RESPONSE_LEAST: u32 = 4;

/// One side's stream, and what is known of the message in hand.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Stream {
    reader: Reader,
    /// What is told of the partition in hand.
    told: Told,
    /// The name that is learnt or looked up.
    learnt: LearntKey,
    /// The correlation id.
    correlation: u32,
    /// The numbers of the topic and of the consumer group.
    topic: u32,
    group: u32,
    /// 1 while out of sync.
    lost: u8,
    /// Of a request, 1 if a broker has sent it, as replicas do.
    is_replica: u8,
    /// Of a stream that is out of sync, 1 if the last call was a size alone, which the reader's slot has.
    has_size: u8,
    reserved: u8,
}

impl Stream {
    #[inline(always)]
    fn reset(&mut self, lost: u8) {
        self.reader.begin();
        self.lost = lost;
        self.has_size = 0;
        self.is_replica = 0;
        self.topic = NONE;
        self.group = NONE;
    }
}

/// Both directions of a connection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Kafka {
    in_flight: InFlight,
    client: Stream,
    server: Stream,
    /// A checksum of the client's own name.
    client_id: [u64; 2],
    /// 1 before the first response.
    tentative: u8,
    /// 1 once the first response is one.
    confirmed: u8,
    reserved: [u8; 6],
}

const _: () = assert!(align_of::<Kafka>() == 8 && size_of::<Kafka>().is_multiple_of(8));

/// Functions that the verifier checks each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprogram {
    /// Takes in a call of the client's: [`Outcome::code`].
    ClientCall,
    /// Takes in a call of the server's.
    ServerCall,
    /// Takes what is in reach of a call of the client's: whether it goes on, needs more bytes, or has something done; or
    /// [`Desync::code`] of what went wrong.
    ClientStep,
    /// The same of the server's.
    ServerStep,
    /// Does what the client's message asks for: [`Desync::code`].
    ClientAction,
    /// The same of the server's.
    ServerAction,
    /// Whether the client's stream is found again: 1 if it is.
    ClientResync,
    /// The same of the server's.
    ServerResync,
}

impl Subprograms for Kafka {
    type Subprogram = Subprogram;
}

impl Kafka {
    #[inline(always)]
    fn reset(&mut self, lost: u8) {
        self.in_flight.reset();
        self.client.reset(lost);
        self.server.reset(lost);
        self.client_id = [0; 2];
        self.tentative = 0;
        self.confirmed = 0;
    }

    #[inline(always)]
    const fn stream(&self, side: Side) -> &Stream {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    #[inline(always)]
    const fn stream_mut(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Runs through the bytes of a call of the client's, or of the server's.
    #[inline(always)]
    fn run_call<const SERVER: bool, S: Runs<Self>>(
        &mut self,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> Outcome {
        let side = if SERVER { Side::Server } else { Side::Client };
        let mut resynced = false;
        if self.stream(side).lost != 0 {
            let resync = const { if SERVER { Subprogram::ServerResync } else { Subprogram::ClientResync } };
            if source.run(resync, self, stream, connection) == 0 {
                return Outcome::SAME;
            }
            resynced = true;
        }
        let mut code = GO_ON;
        let finished = S::repeat(ITERATIONS_MAX / AT_ONCE, || {
            (0..AT_ONCE).all(|_| {
                code = source.run(
                    const { if SERVER { Subprogram::ServerStep } else { Subprogram::ClientStep } },
                    self,
                    stream,
                    connection,
                );
                if code == ACT {
                    code = source.run(
                        const { if SERVER { Subprogram::ServerAction } else { Subprogram::ClientAction } },
                        self,
                        stream,
                        connection,
                    );
                }
                code == GO_ON
            })
        });
        if SERVER && self.confirmed != 0 {
            self.confirmed = 0;
            return Outcome::CONFIRMED;
        }
        if finished && code == WAIT {
            return if resynced { Outcome::RESYNCED } else { Outcome::SAME };
        }
        if self.tentative != 0 {
            return Outcome::became(Protocol::Unknown);
        }
        self.lose(side, connection);
        Outcome::lost(Desync::from_code(code).unwrap_or(Desync::Bound))
    }

    /// Runs a subprogram.
    #[inline(always)]
    pub fn run_subprogram<S: Runs<Self> + Topics>(
        &mut self,
        subprogram: Subprogram,
        stream: StreamId,
        source: &mut S,
        connection: &mut Connection,
    ) -> u32 {
        match subprogram {
            Subprogram::ClientCall => self.run_call::<false, S>(stream, source, connection).code(),
            Subprogram::ServerCall => self.run_call::<true, S>(stream, source, connection).code(),
            Subprogram::ClientStep => self.client.reader.step(source),
            Subprogram::ServerStep => self.server.reader.step(source),
            Subprogram::ClientAction => self.act_on_request(source, connection),
            Subprogram::ServerAction => self.act_on_response(source, connection),
            Subprogram::ClientResync => u32::from(self.resync::<false, S>(source)),
            Subprogram::ServerResync => u32::from(self.resync::<true, S>(source)),
        }
    }
}

impl Parser for Kafka {
    #[inline(always)]
    fn start(&mut self, opening: Opening, _role: Role, connection: &mut Connection) {
        self.reset(0);
        self.tentative = u8::from(opening.tentative);
        self.client.reader.keep(opening.first, opening.kept, REQUEST_AT);
        connection.pending = self.tentative;
    }

    #[inline(always)]
    fn resume(&mut self, _role: Role, _connection: &mut Connection) {
        self.reset(1);
    }

    #[inline(always)]
    fn is_between(&self, side: Side) -> bool {
        self.stream(side).reader.is_between()
    }

    #[inline(always)]
    fn is_lost(&self, side: Side) -> bool {
        self.stream(side).lost != 0
    }

    #[inline(always)]
    fn is_tentative(&self) -> bool {
        self.tentative != 0
    }

    #[inline(always)]
    fn pass(&mut self, stream: StreamId, bytes: u64, _connection: &mut Connection) -> Option<Outcome> {
        let stream = self.stream_mut(stream.side);
        let passes = stream.lost == 0 && stream.reader.can_pass(bytes) && stream.reader.miss(bytes);
        if passes { Some(Outcome::SAME) } else { None }
    }

    /// What moves unseen within a message is stepped over with the rest of that.
    #[inline(always)]
    fn miss(&mut self, stream: StreamId, bytes: u64, why: Desync, connection: &mut Connection) -> Outcome {
        let side = stream.side;
        if self.stream(side).lost != 0 {
            return Outcome::SAME;
        }
        if self.stream_mut(side).reader.miss(bytes) {
            if matches!(side, Side::Server) && self.server.reader.left == 0 {
                // It has ended just now, and is only found to be over later.
                self.in_flight.answered.is_one = 0;
            }
            return Outcome::SAME;
        }
        if self.tentative != 0 {
            return Outcome::became(Protocol::Unknown);
        }
        self.lose(side, connection);
        Outcome::lost(why)
    }

    #[inline(always)]
    fn lose(&mut self, side: Side, _connection: &mut Connection) {
        self.stream_mut(side).reset(1);
    }

    #[inline(always)]
    fn is_whole<S: Bytes>(_side: Side, source: &mut S) -> bool {
        resync::is_request(source)
    }

    #[inline(always)]
    fn is_full(connection: &Connection, _direction: Direction) -> bool {
        connection.details.kafka().is_full()
    }

    #[inline(always)]
    fn carry_over(_before: &Connection, _next: &mut Connection) {}
}

impl<S: Runs<Self> + Looks<Self> + Topics> Parse<S> for Kafka {
    #[inline(always)]
    fn run(&mut self, stream: StreamId, source: &mut S, connection: &mut Connection) -> Outcome {
        Outcome::from_code(match stream.side {
            Side::Client => source.run(Subprogram::ClientCall, self, stream, connection),
            Side::Server => source.run(Subprogram::ServerCall, self, stream, connection),
        })
    }
}

/// The numbers of a consumer group and of a topic, as those of a queue.
#[inline(always)]
fn is_known(number: u32) -> bool {
    number > crate::queues::layout::OTHER_TOPIC
}

/// A word of a checksum, with another one added.
#[inline(always)]
const fn mix(sum: u64, word: u64) -> u64 {
    (sum ^ word).wrapping_mul(0xFF51_AFD7_ED55_8CCD).rotate_left(29)
}

impl Kafka {
    /// Keeps a checksum of the client's own name, and tells whether brokers are called so.
    #[inline(always)]
    fn keep_client(&mut self) -> bool {
        let text = &self.client.reader.text;
        let mut sums = [u64::from(hide_field(&self.client.reader.text_length)), 0x9E37_79B9_7F4A_7C15];
        let mut at = 0;
        while at < 8 {
            let word = text.word_at(at);
            sums = [mix(sums[0], word), mix(sums[1], word.rotate_left(32))];
            at += 1;
        }
        self.client_id = sums;
        // `broker-1-fetcher-0` and so on: what Apache's brokers call themselves where they fetch as replicas.
        text.word_at(0) & 0x00FF_FFFF_FFFF_FFFF == u64::from_le_bytes(*b"broker-\0")
    }
}
