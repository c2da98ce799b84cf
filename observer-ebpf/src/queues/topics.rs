//! Topics of Kafka, as a parser tells of them to whoever follows queues.

use super::Queues;
use crate::layout::connection::Connection;
use crate::stream::prefix::Text;

/// What is told of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// Somebody asks for the messages from [`Told::offset`] on.
    Fetching = 0,
    /// The high watermark is [`Told::offset`].
    Watermark = 1,
    /// A batch was delivered, from [`Told::offset`] to [`Told::last`].
    Delivered = 2,
    /// [`Told::offset`] is to be read next by whoever goes on.
    Committed = 3,
    /// What was last to be written is at [`Told::offset`] and behind it.
    Written = 4,
    /// [`Told::offset`] was to be read next before.
    Known = 5,
    /// A batch is to be written, with as many offsets as there are from [`Told::offset`] to [`Told::last`].
    Writing = 6,
}

/// Something told of a partition. It lies in the parser's state, as a function gets no more than five arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Told {
    /// An offset, by [`Told::event`].
    pub offset: u64,
    /// The offset of a batch's last message.
    pub last: u64,
    /// When a batch's latest message was written, in milliseconds since 1970; 0 if that is not known.
    pub written_ms: u64,
    /// The number of the topic, or of the consumer group of the topic.
    pub queue: u32,
    /// The partition's own number.
    pub partition: u32,
    /// Messages of a batch, which may be fewer than its offsets.
    pub records: u32,
    /// An [`Event`].
    pub event: u32,
}

/// The key of a name that other messages than those which use it tell: of a topic, by its id; of a consumer group, by the
/// client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct LearntKey {
    /// An id of 16 bytes, or a checksum of the client's own name in both.
    pub id: [u64; 2],
    /// Of a group, the client's address where it is not this host's own.
    pub address: [u64; 2],
    /// Of a group, the thread-group id of the connection's process, and one bit above; of a topic 0.
    pub process: u64,
}

/// Where topics of Kafka are told apart and followed.
pub trait Topics: Queues {
    /// The number of the topic of this name at a connection's server, as [`Queues::stream`];
    /// [`OTHER_TOPIC`](super::layout::OTHER_TOPIC) if there is no place for it.
    fn topic(&mut self, connection: &mut Connection, name: &Text, length: u32) -> u32;

    /// The number of a consumer group of a topic, by those of both, likewise.
    fn topic_group(&mut self, connection: &mut Connection, topic: u32, group: u32) -> u32;

    /// Keeps a name that is told now and used later. A client that names several groups has none that is known.
    fn learn(&mut self, key: &LearntKey, name: &Text, length: u32);

    /// The number of the topic or of the group whose name was learnt; [`NONE`](crate::layout::names::NONE) if it was not.
    fn learnt(&mut self, connection: &mut Connection, key: &LearntKey) -> u32;

    /// Takes note of something told of a partition. Of [`Event::Fetching`], whether there are messages, as far as known. Of
    /// topics that have no place, messages are counted that are delivered, and no more.
    fn follow(&mut self, connection: &mut Connection, told: &Told) -> bool;
}
