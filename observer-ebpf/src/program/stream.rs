//! Feeding one direction of a connection: what is the same for bytes that a call on a socket has moved, and for those
//! that come another way.
//!
//! Whoever feeds it has the direction to itself, and says where the bytes are by a [`Buffers`].

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::losses::{Desync, Unread};
use observer_ebpf::stream::session::Session;

use crate::calls::buffers::Buffers;
use crate::losses;
use crate::queues::queue_catch_up;
use crate::subprograms::session_miss;

/// One direction of a connection.
pub struct Stream<'a> {
    /// The state of its parser.
    pub session: &'a mut Session,
    /// Where it counts.
    pub connection: &'a mut Connection,
    /// Which of the connection's two streams it is.
    pub direction: Direction,
}

impl Stream<'_> {
    /// Whether it stands between two messages, or is of no interest.
    #[inline(always)]
    pub fn is_settled(&mut self) -> bool {
        self.session.is_settled(self.direction)
    }

    /// Steps over so many bytes, if they need no look: tells whether that was so.
    #[inline(always)]
    pub fn pass(&mut self, bytes: u32) -> bool {
        self.session.pass(self.direction, bytes, self.connection)
    }

    /// Takes in bytes, from the position of the buffers on.
    #[inline(always)]
    pub fn feed(&mut self, buffers: &mut Buffers) {
        let desync = self.session.feed(self.direction, buffers, self.connection);
        self.note(desync);
        if buffers.late_queue() != 0 {
            queue_catch_up(buffers);
        }
    }

    /// Counts a message that has passed unread.
    #[inline(always)]
    pub fn settle(&mut self, buffers: &mut Buffers) {
        self.session.settle(self.direction, buffers, self.connection);
    }

    /// Steps over bytes that moved unseen: harmless inside a payload, else a desync.
    #[inline(always)]
    pub fn miss(&mut self, bytes: u64, why: Desync) {
        let code = session_miss(
            self.session,
            self.connection,
            self.direction as u32,
            Desync::code(Some(why)),
            bytes,
        );
        self.note(Desync::from_code(code));
    }

    /// Steps over bytes that cannot be read.
    #[inline(always)]
    pub fn unread(&mut self, reason: Unread, bytes: u64) {
        losses::unread(reason, bytes);
        self.miss(bytes, Desync::Unread);
    }

    /// Whether a count may overflow soon.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.session.is_full(self.direction, self.connection)
    }

    #[inline(always)]
    fn note(&self, desync: Option<Desync>) {
        if let Some(reason) = desync {
            losses::desync(self.session.protocol(), reason);
        }
    }
}
