//! Message queues: lists of Redis that are pushed at one end and popped at the other, and streams of Redis.
//!
//! ```text
//!   RPUSH q m5 ──►  m4 m3 m2 m1  ──► LPOP q        the n-th out is the n-th in
//!   :5              └─ 5 ─┘          $2 m1         age of m1: now less when it was pushed
//! ```
//!
//! No message tells when it was sent, and none needs to: of a [`Deque`](deque::Deque) it is kept when each message was
//! put in, by its order. A push's reply tells how long the list is then, by which what was not seen, as a script's pops,
//! is found out.
//!
//! A push counts from when the server receives it, which it does in the order in which it executes commands, and a pop
//! from its reply, which alone tells whether there was anything to pop.
//!
//! The age of an entry of a stream is by its id, which begins with the time at which the server added it. How many entries a
//! consumer group has not been delivered yet is found out at the server's end, which sees all that are added and delivered:
//! there a stream has a deque, and a group a place in it.

pub mod deque;
pub mod layout;
pub mod partition;
pub mod topics;

use self::deque::{Asked, Expected};
use crate::layout::connection::Connection;
use crate::stream::bytes::Host;
use crate::stream::prefix::Text;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// Not said: the one at which messages are taken.
    Any = 0,
    /// `L`, the list's head.
    Left = 1,
    /// `R`, its tail.
    Right = 2,
}

impl End {
    /// The end stored as `value`; anything unknown is [`End::Any`].
    #[inline(always)]
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Left,
            2 => Self::Right,
            _ => Self::Any,
        }
    }
}

/// What happens to a stream, or to a consumer group of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Followed {
    /// An entry is added to a stream.
    Added = 0,
    /// The server has not added so many.
    NotAdded = 1,
    /// A command comes that uses a group of the stream of this number.
    Asked = 2,
    /// A group is delivered so many entries for the first time.
    Delivered = 3,
    /// It is to be delivered what is added after the command.
    Begun = 4,
    /// It is somewhere else in the stream, or not there any more.
    Lost = 5,
}

/// Where queues are told apart and followed.
pub trait Queues: Host {
    /// Changes whenever the agent has taken queues' places: a number that was kept from before may be another queue's.
    fn queues_epoch(&self) -> u32;

    /// The number of the queue that the first `length` bytes of a text name, in database `db` of a connection's server.
    /// Where it has none it gets one, if messages are taken out of it, or if there is a place left for lists that may be
    /// queues. [`CROWDED`](crate::layout::names::CROWDED) if there is none.
    fn queue(&mut self, connection: &mut Connection, key: &Text, length: u32, db: u32, takes: bool) -> u32;

    /// `count` messages are put in at an end. Tells what [`Queues::compare`] is to be told with the reply, if it is to be.
    fn put(&mut self, queue: u32, end: End, count: u32) -> Option<Expected>;

    /// The server has not taken them.
    fn refuse(&mut self, queue: u32, end: End, count: u32);

    /// `count` messages have gone from anywhere in it.
    fn remove(&mut self, queue: u32, count: u32);

    /// The server has taken `count` messages of a connection's.
    fn count_put(&mut self, connection: &mut Connection, queue: u32, count: u32);

    /// The server says that there are `length` messages, where `expected` is what [`Queues::put`] told.
    fn compare(&mut self, queue: u32, expected: Expected, length: u32);

    /// `count` messages have been taken out at an end.
    fn take(&mut self, connection: &mut Connection, queue: u32, end: End, count: u32);

    /// The number of the stream of this key, as [`Queues::queue`]; [`OTHER_STREAM`](layout::OTHER_STREAM) if there is no
    /// place for it.
    fn stream(&mut self, connection: &mut Connection, key: &Text, length: u32, db: u32) -> u32;

    /// The number of the name of a consumer group, likewise.
    fn group(&mut self, connection: &mut Connection, name: &Text, length: u32) -> u32;

    /// The number of a consumer group of a stream, by those of both, likewise.
    fn stream_group(&mut self, connection: &mut Connection, stream: u32, group: u32) -> u32;

    /// Something has happened to a stream or to a consumer group, where the command has `asked`. At the server's end only.
    /// Tells the lower half of the tail of the group's stream.
    fn follow_stream(&mut self, queue: u32, what: Followed, count: u32, asked: Asked) -> u32;

    /// An entry of a stream has been delivered, so long after it was added, if that is known.
    fn deliver(&mut self, connection: &mut Connection, queue: u32, age_ns: Option<u64>);

    /// As many have been acknowledged.
    fn acknowledge(&mut self, connection: &mut Connection, queue: u32, count: u32, age_ns: Option<u64>);
}
