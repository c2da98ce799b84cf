//! What a call on a socket is: how many bytes it moved, whose it is, where its bytes are, and where they lie in the
//! stream. What they say is for [`Stream`] to find out.
//!
//! [`moved`] is where every way of seeing a call ends: tracepoints (`hooks/data.rs`), and the exits of functions
//! (`hooks/exits.rs`). A normal call takes no more than the socket's state, the call's registers, and one read of the
//! process's memory; one inside a payload, or of a protocol that is not looked at, takes less.

pub mod buffers;
pub mod io_uring;
pub mod lock;
mod patience;
mod positions;
mod registers;
pub mod spares;

use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::losses::Unread;
use observer_ebpf::layout::socket::{Socket, UNTRACKED};

use self::buffers::{BUFFERS, Buffers};
use self::spares::Instance;
use crate::globals::LIBRARIES;
use crate::kernel::{Sock, Task};
use crate::sockets::Origin;
use crate::stream::Stream;
use crate::{libraries, owners, slots, sockets};

/// `MSG_OOB`, `MSG_PEEK` and `MSG_ERRQUEUE` (`include/linux/socket.h`): bytes that are not, or stay, in the
/// stream.
const NOT_TAKEN: i32 = 0x1 | 0x2 | 0x2000;
/// `MSG_TRUNC`: taken from the stream, and not stored anywhere.
const DISCARD: i32 = 0x20;

/// A call that moved bytes.
struct Call {
    task: Task,
    bytes: u32,
    /// Whether the bytes are in the caller's buffers.
    stored: bool,
    /// Where they are read through.
    room: u32,
    /// Whether there is stack for what takes more of it.
    ample_stack: bool,
}

/// How a call came to be seen.
#[derive(Clone, Copy)]
pub struct Seen {
    /// Whether bytes were sent or received.
    pub direction: Direction,
    /// Which of the two programs on the hook sees it.
    pub instance: Instance,
    /// The entry of `BUFFERS` that is the program's alone.
    pub room: u32,
    /// Whether there is stack for what takes more of it, which kernels before 6.3 do not have: a call's first bytes are
    /// read before a parser asks for them, which saves a call, and `io_uring`'s requests are looked for.
    pub ample_stack: bool,
}

/// `result` bytes moved on a socket, or none.
#[inline(always)]
pub fn moved(sk: Sock, result: i32, flags: i32, seen: Seen) {
    if result <= 0 || flags & NOT_TAKEN != 0 || !sockets::is_stream(sk) {
        return;
    }
    let Seen { direction, instance, room, ample_stack } = seen;
    let bytes = result as u32;
    let task = Task::current();
    if !spares::takes(instance, task, sk, bytes, direction) {
        return;
    }
    let Some(socket) = sockets::socket(sk).or_else(|| first_use(sk, task)) else { return };
    if socket.index == UNTRACKED {
        return;
    }
    if socket.owner != task.owner() {
        owners::hand_over(socket, task);
    }
    let Some(connection) = slots::slot(socket.index) else { return };
    if !lock::lock(&mut socket.locks, direction) {
        // Whoever has it goes on without these bytes.
        lock::count_contended(&mut socket.locks, direction, u64::from(bytes));
        return;
    }
    connection.bytes[direction as usize] += u64::from(bytes);
    let call = Call { task, bytes, stored: flags & DISCARD == 0, room, ample_stack };
    take(sk, &call, socket, connection, direction);
    if socket.session.owes(direction) {
        settle(&call, socket, connection, direction);
    }
    if LIBRARIES.load() != 0 && connection.is_encrypted() {
        libraries::nested(socket, connection, direction);
    }
    lock::unlock(&mut socket.locks, direction);
    if (Stream { session: &mut socket.session, connection, direction }).is_full() {
        slots::roll_over(socket);
    }
}

/// A socket without state: one that nothing announced, as UNIX sockets are not.
#[inline(never)]
fn first_use(sk: Sock, task: Task) -> Option<&'static mut Socket> {
    // A socket that no process has as a descriptor is the kernel's own: what moves there is not the
    // caller's buffer.
    if !sockets::is_observed(sk) || sk.file().is_null() {
        return None;
    }
    sockets::track(sk, Origin::without_state(sk, task), Some(task), Phase::Open)
}

/// Counts a message that has passed unread.
#[inline(always)]
fn settle(call: &Call, socket: &mut Socket, connection: &mut Connection, direction: Direction) {
    let Some(buffers) = BUFFERS.get_ptr_mut(call.room) else { return };
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let buffers = unsafe { &mut *buffers };
    buffers.hold_none(socket.index, direction, call.room);
    Stream { session: &mut socket.session, connection, direction }.settle(buffers);
}

/// Leads the direction's parser over the call's bytes.
#[inline(always)]
fn take(sk: Sock, call: &Call, socket: &mut Socket, connection: &mut Connection, direction: Direction) {
    let bytes = call.bytes;
    let is_doubtful = positions::advance(socket, direction, bytes);
    let was_settled = socket.session.is_settled(direction);
    let mut known = 0;
    if is_doubtful || !was_settled {
        if call.ample_stack {
            known = positions::check(sk, socket, connection, bytes, direction);
        } else if !positions::check_whole(sk, socket, connection, bytes, direction) {
            return;
        }
    }
    let left = bytes - known;
    let mut stream = Stream { session: &mut socket.session, connection, direction };
    if left == 0 || stream.pass(left) {
        return;
    }
    match locate(sk, call, known, socket.index, direction) {
        Ok(buffers) => {
            stream.feed(buffers);
            if was_settled && !stream.is_settled() {
                // The call ends inside a message: was that one in the right place?
                positions::check(sk, socket, connection, bytes, direction);
            }
        }
        Err(reason) => stream.unread(reason, u64::from(left)),
    }
}

/// Finds the call's buffers, and goes past the bytes that are known; or tells why they cannot be read.
#[inline(always)]
fn locate(
    sk: Sock,
    call: &Call,
    known: u32,
    index: u32,
    direction: Direction,
) -> Result<&'static mut Buffers, Unread> {
    if !call.stored {
        return Err(Unread::Other);
    }
    let Some(buffers) = BUFFERS.get_ptr_mut(call.room) else { return Err(Unread::Other) };
    // SAFETY: this processor's entry for this program: nothing else uses it while the program runs.
    let buffers = unsafe { &mut *buffers };
    buffers.set_room(call.room);
    if let Err(reason) = buffers.locate(call.task, direction, call.bytes, index) {
        let is_request = call.ample_stack && matches!(reason, Unread::IoUring);
        if !is_request || !io_uring::locate(buffers, sk) {
            return Err(reason);
        }
    }
    if call.ample_stack {
        buffers.read_first();
    }
    if known != 0 {
        buffers.go_to(known);
    }
    Ok(buffers)
}
