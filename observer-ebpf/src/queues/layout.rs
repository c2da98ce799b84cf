//! What both halves know of message queues: which they are, and what is counted of them.

use core::ops::AddAssign;

pub use super::deque::Deque;
pub use super::partition::{Partition, PartitionKey};
use crate::layout::names::Namespace;

/// How many queues have a place at a time.
pub const PLACES: u32 = 128;

/// How many of those places are for lists of which nothing has been taken yet: they may be no queues, and there may be
/// any number of them.
pub const TRIAL_PLACES: u32 = 32;

/// The longest key of a list that is told apart, in bytes.
pub const KEY_MAX: u32 = 64;

/// [`QueueKey::db`] where it is not known which database a connection has selected.
pub const ANY_DB: u32 = u32::MAX;

/// Keys of queues, of which only so many have a place at a time.
#[derive(Clone, Copy, Debug)]
pub enum QueueKeys {}

impl Namespace for QueueKeys {
    type Counts = QueueCounts;
    const PLACE: usize = 3;
}

/// What a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum System {
    /// A list of Redis, which has a [`Deque`].
    RedisList = 1,
    /// A stream of Redis, by its key.
    RedisStream = 2,
    /// The name of consumer groups, whatever stream they are of. It is no queue by itself.
    Group = 3,
    /// A consumer group of a stream: [`QueueKey::server`] has the numbers of the stream and of the group's name.
    StreamGroup = 4,
    /// A topic of Kafka.
    KafkaTopic = 5,
    /// A consumer group of a topic: [`QueueKey::server`] has the numbers of the topic and of the group's name.
    TopicGroup = 6,
}

impl System {
    /// The system stored as `value`, if there is one.
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::RedisList),
            2 => Some(Self::RedisStream),
            3 => Some(Self::Group),
            4 => Some(Self::StreamGroup),
            5 => Some(Self::KafkaTopic),
            6 => Some(Self::TopicGroup),
            _ => None,
        }
    }

    /// A label's value for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RedisList => "redis_list",
            Self::RedisStream | Self::Group | Self::StreamGroup => "redis_stream",
            Self::KafkaTopic | Self::TopicGroup => "kafka",
        }
    }
}

/// A queue: a key of the `QUEUES` map, whose values are numbers. A number tells the queue's place: see [`place_of`].
///
/// What a server's end sees of a queue, and what clients on this host see of it, are two: other clients may be elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct QueueKey {
    /// Of a server's end, when its process started and its thread-group id; of clients' ends, the server's address, or a
    /// checksum of a UNIX socket's path.
    pub server: [u64; 2],
    /// The server's port, host byte order; 0 of a server's end.
    pub port: u32,
    /// The network namespace, where the address is one of this host alone; else 0.
    pub netns: u32,
    /// The number of the database, or [`ANY_DB`].
    pub db: u32,
    /// A [`System`].
    pub system: u32,
    /// Bytes of the list's or the stream's key, or of the group's name.
    pub length: u32,
    /// Zero.
    pub reserved: u32,
    /// The key or the name, zeroes behind.
    pub bytes: [u8; KEY_MAX as usize],
}

const _: () = assert!(size_of::<QueueKey>() == 40 + KEY_MAX as usize && align_of::<QueueKey>() == 8);

/// The number of streams that have no place or no name of their own.
pub const OTHER_STREAM: u32 = 3;

/// The number of topics that have no place or no name of their own.
pub const OTHER_TOPIC: u32 = 4;

/// The place of the queue that has a number: an index of `DEQUES`. When a place goes to another queue, its number changes
/// by [`PLACES`], so that what is still on its way for the one before does not count for the next.
#[inline(always)]
pub const fn place_of(number: u32) -> u32 {
    number & (PLACES - 1)
}

const _: () = assert!(PLACES.is_power_of_two());

/// Upper bounds, inclusive, in nanoseconds, of the buckets of ages; the last bucket is what lies above.
pub static AGE_BOUNDS: [u64; 7] =
    [100_000_000, 500_000_000, 1_000_000_000, 5_000_000_000, 10_000_000_000, 30_000_000_000, 60_000_000_000];
/// Buckets of ages.
pub const AGE_BUCKETS: usize = 8;

/// What a process has done with a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct QueueCounts {
    /// Messages put into it.
    pub put: u64,
    /// Messages taken out of it.
    pub taken: u64,
    /// Of these, those whose age is not known.
    pub unknown: u64,
    /// Nanoseconds of all in [`QueueCounts::ages`].
    pub age_ns: u64,
    /// Messages taken out, by bucket of [`AGE_BOUNDS`] of their age.
    pub ages: [u64; AGE_BUCKETS],
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Nanoseconds of all in [`QueueCounts::latencies`].
    pub latency_ns: u64,
    /// Messages acknowledged, by bucket of [`AGE_BOUNDS`] of their age then.
    pub latencies: [u64; AGE_BUCKETS],
}

impl AddAssign for QueueCounts {
    fn add_assign(&mut self, other: Self) {
        self.put += other.put;
        self.taken += other.taken;
        self.unknown += other.unknown;
        self.age_ns += other.age_ns;
        self.acknowledged += other.acknowledged;
        self.latency_ns += other.latency_ns;
        let (ages, latencies) =
            (self.ages.iter_mut().zip(other.ages), self.latencies.iter_mut().zip(other.latencies));
        for (count, more) in ages.chain(latencies) {
            *count += more;
        }
    }
}
