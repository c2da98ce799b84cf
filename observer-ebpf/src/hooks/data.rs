//! `sock:sock_send_length` and `sock:sock_recv_length` (`include/trace/events/sock.h`, since 6.3): every
//! send and receive on a socket, after it happened, in the caller's context. What is done with one that was
//! seen in another way is here, too.
//!
//! A normal call takes no more than the socket's state, the call's registers, and one read of the
//! process's memory; one inside a payload, or of a protocol that is not looked at, takes less.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::layout::Direction;
use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::health::{Desync, Unread};
use observer_ebpf::layout::socket::{DOUBTED, POSITIONED, Socket, UNPOSITIONED, UNTRACKED};
use observer_ebpf::wire::session::Stage;
use observer_ebpf::wire::source::Source as _;

use crate::connections::{self, Origin};
use crate::globals::{OFFSET_SOCK_FAMILY, OFFSET_SOCK_PROTOCOL, OFFSET_SOCK_TYPE};
use crate::health;
use crate::kernel::{Sock, Task, Tcp};
use crate::maps::BUFFERS;
use crate::parts;

/// `SOCK_STREAM` (`include/linux/net.h`).
const STREAM: u16 = 1;
/// `AF_UNIX`.
const UNIX: u16 = observer_ebpf::layout::connection::AF_UNIX;
/// `IPPROTO_TCP`, and `IPPROTO_MPTCP` (`include/uapi/linux/in.h`).
const TCP: u16 = 6;
const MPTCP: u16 = 262;
/// `MSG_OOB`, `MSG_PEEK` and `MSG_ERRQUEUE` (`include/linux/socket.h`): bytes that are not, or stay, in the
/// stream.
const NOT_TAKEN: i32 = 0x1 | 0x2 | 0x2000;
/// `MSG_TRUNC`: taken from the stream, and not stored anywhere.
const DISCARD: i32 = 0x20;

/// A send.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(context: BtfTracePointContext) -> i32 {
    let direction = Direction::Sent;
    moved(Sock(context.arg(0)), context.arg(1), 0, direction, direction as u32, true);
    0
}

/// A receive.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(context: BtfTracePointContext) -> i32 {
    let direction = Direction::Received;
    moved(Sock(context.arg(0)), context.arg(1), context.arg(2), direction, direction as u32, true);
    0
}

/// `result` bytes moved on a socket, or none. `room` is the element of `BUFFERS` that is the calling program's
/// alone. With `ample_stack`, a call's first bytes are read before a parser asks for them, which saves a call, and
/// `io_uring`'s requests are looked for: both take stack that kernels before 6.3 do not have.
#[inline(always)]
pub fn moved(sk: Sock, result: i32, flags: i32, direction: Direction, room: u32, ample_stack: bool) {
    if result <= 0 || flags & NOT_TAKEN != 0 || sk.read::<u16>(OFFSET_SOCK_TYPE.load()) != STREAM {
        return;
    }
    let bytes = result as u32;
    let task = Task::current();
    let Some(socket) = connections::socket(sk).or_else(|| first_use(sk, task)) else { return };
    if socket.index == UNTRACKED {
        return;
    }
    if socket.owner != task.owner() {
        connections::hand_over(socket, task);
    }
    let Some(connection) = connections::connection(socket.index) else { return };
    if !connections::lock(socket, direction) {
        // Whoever has it goes on without these bytes.
        connections::count_contended(socket, direction, u64::from(bytes));
        return;
    }
    connection.bytes[direction as usize] += u64::from(bytes);
    let call = Call { task, bytes, stored: flags & DISCARD == 0, room, ample_stack };
    follow(sk, &call, socket, connection, direction);
    connections::unlock(socket, direction);
    let is_full = if socket.session.has_messages(direction) {
        connection.details.postgres().is_full()
    } else if socket.session.has_commands(direction) {
        connection.details.redis().is_full()
    } else {
        connection.details.websocket()[direction as usize].is_full()
    };
    if is_full {
        connections::roll_over(socket);
    }
}

/// A socket without state: one that nothing announced, as UNIX sockets are not.
#[inline(never)]
fn first_use(sk: Sock, task: Task) -> Option<&'static mut Socket> {
    let family: u16 = sk.read(OFFSET_SOCK_FAMILY.load());
    let protocol: u16 = sk.read(OFFSET_SOCK_PROTOCOL.load());
    let stream = family == UNIX || protocol == TCP || protocol == MPTCP;
    // A socket that no process has as a descriptor is the kernel's own: what moves there is not the
    // caller's buffer.
    if !connections::is_observed(family) || !stream || sk.file().is_null() {
        return None;
    }
    connections::track(sk, Origin::without_state(sk, task), Some(task), Phase::Open)
}

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

/// Leads the direction's parser over the call's bytes.
#[inline(always)]
fn follow(sk: Sock, call: &Call, socket: &mut Socket, connection: &mut Connection, direction: Direction) {
    let bytes = call.bytes;
    let expected = socket.positions[direction as usize];
    socket.positions[direction as usize] = expected.wrapping_add(bytes);
    let settled = socket.session.is_settled(direction);
    // A look at TCP's own position costs a call. It is taken where a stream could have come apart: inside
    // a frame, after two threads met, and now and then.
    let contended = socket.contended[direction as usize] != 0;
    let crossed = (expected ^ expected.wrapping_add(bytes)) >> 20 != 0;
    let mut known = 0;
    if !settled || crossed || contended || socket.positioned[direction as usize] != POSITIONED {
        if call.ample_stack {
            known = check_position(sk, socket, connection, bytes, direction);
        } else if !check_whole(sk, socket, connection, bytes, direction) {
            return;
        }
    }
    let left = bytes - known;
    if left == 0 || socket.session.pass(direction, left, connection) {
        return;
    }
    let located =
        if call.stored { read(sk, call, known, socket, connection, direction) } else { Err(Unread::Other) };
    let desync = match located {
        Ok(desync) => {
            if settled && !socket.session.is_settled(direction) {
                // It led into a frame: was it in the right place?
                check_position(sk, socket, connection, bytes, direction);
            }
            desync
        }
        Err(reason) => {
            health::unread(reason, u64::from(left));
            socket.session.miss(direction, u64::from(left), Desync::Unread, connection)
        }
    };
    if let Some(reason) = desync {
        health::desync(socket.session.protocol(), reason);
    }
}

/// Reads the call's bytes, but for those that are known, and hands them to the session.
#[inline(always)]
fn read(
    sk: Sock,
    call: &Call,
    known: u32,
    socket: &mut Socket,
    connection: &mut Connection,
    direction: Direction,
) -> Result<Option<Desync>, Unread> {
    let Some(buffers) = BUFFERS.get_ptr_mut(call.room) else { return Err(Unread::Other) };
    // SAFETY: this processor's element for this program: nothing else uses it while the program runs.
    let buffers = unsafe { &mut *buffers };
    if let Err(reason) = buffers.locate(call.task, direction, call.bytes, socket.index) {
        let is_request = call.ample_stack && matches!(reason, Unread::IoUring);
        if !is_request || !buffers.locate_request(sk) {
            return Err(reason);
        }
    }
    if call.ample_stack {
        buffers.read_single();
    }
    if known != 0 {
        buffers.go_to(known);
    }
    let session = &raw mut socket.session;
    let way = direction as u32;
    if !socket.session.has_frames(direction) {
        let stages = [parts::open, parts::tell, parts::message, parts::scan, parts::search];
        for (stage, run) in Stage::ALL.into_iter().zip(stages) {
            if socket.session.is_at(direction, stage) {
                run(session, connection, buffers, way);
            }
        }
        if socket.session.has_messages(direction) {
            let code = if socket.session.is_answer(direction) {
                parts::server_messages(session, connection, buffers, way)
            } else {
                parts::client_messages(session, connection, buffers, way)
            };
            return Ok(Desync::from_code(code));
        }
        if socket.session.has_commands(direction) {
            let code = if socket.session.is_answer(direction) {
                parts::server_replies(session, connection, buffers, way)
            } else {
                parts::client_commands(session, connection, buffers, way)
            };
            return Ok(Desync::from_code(code));
        }
        if !socket.session.has_frames(direction) || buffers.is_done() {
            return Ok(None);
        }
    }
    let mut desync = socket.session.first_frame(direction, buffers, connection);
    if desync.is_none() && !buffers.is_done() {
        desync = Desync::from_code(parts::run_frames(session, connection, buffers, way));
    }
    socket.session.end_call(direction, connection);
    Ok(desync)
}

/// Compares where the call's bytes lie in TCP's stream with where the last one ended. Tells how many of them, from
/// the first on, were stepped over and counted before the call was over: they are not to be looked at.
#[inline(never)]
fn check_position(
    sk: Sock,
    socket: &mut Socket,
    connection: &mut Connection,
    bytes: u32,
    direction: Direction,
) -> u32 {
    let contended = connections::take_contended(socket, direction);
    connection.bytes[direction as usize] += contended;
    let contended = contended != 0;
    let Some(position) = Tcp::new(sk).map(|tcp| tcp.position(direction)) else {
        // No positions: another thread's bytes were not seen here, and cannot be placed.
        if contended
            && let Some(reason) = socket.session.miss(direction, u64::MAX, Desync::Concurrent, connection)
        {
            health::desync(socket.session.protocol(), reason);
        }
        socket.positioned[direction as usize] = POSITIONED;
        return 0;
    };
    let expected = socket.positions[direction as usize];
    socket.positions[direction as usize] = position;
    let was = socket.positioned[direction as usize];
    socket.positioned[direction as usize] = POSITIONED;
    let gap = position.wrapping_sub(expected);
    if was == UNPOSITIONED || gap == 0 {
        return 0;
    }
    if (gap as i32) < 0 {
        // Another call's look, or the refresh pass's at a call that waited for more, went further.
        let known = gap.wrapping_neg().min(bytes);
        connection.bytes[direction as usize] -= u64::from(known);
        return known;
    }
    let reason = if contended { Desync::Concurrent } else { Desync::Gap };
    if !contended {
        connection.bytes[direction as usize] += u64::from(gap);
        health::unread(Unread::Splice, u64::from(gap));
        // Unless they are those of a call that is not over.
        socket.positioned[direction as usize] = DOUBTED;
    }
    if let Some(reason) = socket.session.miss(direction, u64::from(gap), reason, connection) {
        health::desync(socket.session.protocol(), reason);
    }
    0
}

/// The same where a call of which some bytes are known is not looked at, but stepped over. Tells whether it is to be.
#[inline(never)]
fn check_whole(
    sk: Sock,
    socket: &mut Socket,
    connection: &mut Connection,
    bytes: u32,
    direction: Direction,
) -> bool {
    let known = check_position(sk, socket, connection, bytes, direction);
    let left = bytes - known;
    if known != 0 && left != 0 {
        health::unread(Unread::Other, u64::from(left));
        if let Some(reason) = socket.session.miss(direction, u64::from(left), Desync::Gap, connection) {
            health::desync(socket.session.protocol(), reason);
        }
    }
    known == 0
}
