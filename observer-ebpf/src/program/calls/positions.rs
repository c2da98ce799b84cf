//! Where the bytes of a call lie in TCP's stream, held against where those of the last call ended: so bytes that moved
//! unseen are found, and those that were counted twice.

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::Connection;
use observer_ebpf::layout::losses::{Desync, Unread};
use observer_ebpf::layout::socket::{Position, Socket};

use super::lock;
use crate::globals::OFFSET_SOCK_STATE;
use crate::kernel::{Sock, Tcp};
use crate::losses;
use crate::stream::Stream;

/// A look at TCP's own position costs a call of a helper. It is taken whenever a stream crosses a multiple of two to
/// the power of this many bytes, even if nothing else asks for it.
const CHECK_EVERY_BITS: u32 = 20;

/// Goes `bytes` further, to where the call should end. Tells whether TCP is to be asked if it does: where two threads
/// met, where the last position was not certain, and now and then.
#[inline(always)]
pub fn advance(socket: &mut Socket, direction: Direction, bytes: u32) -> bool {
    let at = direction as usize;
    let start = socket.positions[at];
    let end = start.wrapping_add(bytes);
    socket.positions[at] = end;
    let is_due = (start ^ end) >> CHECK_EVERY_BITS != 0;
    is_due || socket.locks.contended[at] != 0 || socket.positioned[at] != Position::Exact as u8
}

/// Compares where the call's bytes end in TCP's stream with where they should, and steps over what lies between. Tells
/// how many of them, from the first on, were stepped over and counted before the call was over: they are not to be
/// looked at.
#[inline(never)]
pub fn check(
    sk: Sock,
    socket: &mut Socket,
    connection: &mut Connection,
    bytes: u32,
    direction: Direction,
) -> u32 {
    let at = direction as usize;
    let contended = lock::take_contended(&mut socket.locks, direction);
    connection.bytes[at] += contended;
    let was_contended = contended != 0;
    let tcp = Tcp::new(sk);
    let expected = socket.positions[at];
    let was = socket.positioned[at];
    socket.positioned[at] = Position::Exact as u8;
    let mut stream = Stream { session: &mut socket.session, connection, direction };
    let Some(tcp) = tcp else {
        // No positions: another thread's bytes were not seen here, and cannot be placed.
        if was_contended {
            stream.miss(u64::MAX, Desync::Concurrent);
        }
        return 0;
    };
    let position = tcp.position(direction);
    socket.positions[at] = position;
    let gap = position.wrapping_sub(expected);
    if was == Position::Unknown as u8 || gap == 0 {
        return 0;
    }
    if gap == 1 && tcp.has_end(sk.read(OFFSET_SOCK_STATE.load()), direction) {
        // The stream's end, which is no byte.
        return 0;
    }
    if (gap as i32) < 0 {
        // Another call's look, or the refresh pass's at a call that waited for more, went further.
        let known = gap.wrapping_neg().min(bytes);
        stream.connection.bytes[at] -= u64::from(known);
        return known;
    }
    if was_contended {
        stream.miss(u64::from(gap), Desync::Concurrent);
        return 0;
    }
    stream.connection.bytes[at] += u64::from(gap);
    losses::unread(Unread::Splice, u64::from(gap));
    stream.miss(u64::from(gap), Desync::Gap);
    // Unless they are those of a call that is not over.
    socket.positioned[at] = Position::Provisional as u8;
    0
}

/// [`check`], where a call of which some bytes are known is not looked at, but stepped over. Tells whether the call is
/// still to be looked at.
#[inline(never)]
pub fn check_whole(
    sk: Sock,
    socket: &mut Socket,
    connection: &mut Connection,
    bytes: u32,
    direction: Direction,
) -> bool {
    let known = check(sk, socket, connection, bytes, direction);
    let left = bytes - known;
    if known != 0 && left != 0 {
        losses::unread(Unread::Other, u64::from(left));
        Stream { session: &mut socket.session, connection, direction }.miss(u64::from(left), Desync::Gap);
    }
    known == 0
}
