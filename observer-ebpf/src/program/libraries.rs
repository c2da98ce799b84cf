//! What processes send and receive through a TLS library, read where the library takes or returns it.
//!
//! Nothing tells whose plaintext a call of a library has. But a library that moves its records on a socket itself does so
//! inside the call, on the same thread: that socket's connection is the session's ([`nested`]). So a call is kept with its
//! thread from its first instruction ([`enter`]) to its result ([`leave`]), and sessions are known by their address in their
//! process. Where the records go through memory instead, the client's hello tells ([`hellos`]). A session that neither tells
//! the connection of has its plaintext left out.

mod hellos;
mod notice;
mod rooms;
mod sessions;

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::connection::{Connection, FLAG_ADOPTED, FLAG_UNREAD_START};
use observer_ebpf::layout::library::{Cookie, Function, Plaintext, PlaintextKey};
use observer_ebpf::layout::socket::Socket;
use observer_ebpf::layout::{Direction, Protocol};
use observer_ebpf::protocols::tls::layout::Memory;

use crate::globals::LIBRARIES;
use crate::kernel::Task;
use crate::task_storage::TaskStorage;
use crate::{names, slots};

/// A call of a library that a thread is in.
#[repr(C)]
pub struct LibraryCall {
    /// The session's address.
    session: u64,
    /// The buffer's.
    buffer: u64,
    /// Where the function stores how many bytes it has moved; 0 if it returns that.
    count_at: u64,
    /// The connection on whose socket bytes have moved inside the call; 0 if none have.
    id: u64,
    /// Its slot.
    index: u32,
    /// The [`Function`]; 0 while the thread is in none.
    function: u32,
    /// The library's number.
    library: u32,
    /// 1 if other calls had moved records of the connection before.
    is_late: u32,
    /// Once it is over: bytes of plaintext that it has taken or returned, and a [`Direction`].
    bytes: u32,
    direction: u32,
}

/// The call that each thread is in.
#[btf_map]
static LIBRARY_CALLS: TaskStorage<LibraryCall> = TaskStorage::new();

/// Processes that read or wrote in a session of which the connection is not known, by their number in the agent's pid
/// namespace. A kernel that has no room for one more forgets the one that was noted first.
#[btf_map]
static LIBRARY_USERS: LruHashMap<u32, u64, 1> = LruHashMap::new();

/// Notes that a process uses a library, and that it is not known for which connection.
#[inline(never)]
fn note_user(task: Task) {
    // SAFETY: a map that the verifier knows, with such keys, whose values are numbers.
    unsafe { names::give((&raw const LIBRARY_USERS).cast_mut().cast(), &task.owner_to_agent().tgid, 1) };
}

/// What a function is called with.
pub struct Arguments {
    /// The session's address.
    pub session: u64,
    /// The buffer's address.
    pub buffer: u64,
    /// How long it is; the lower half, where that is an `int`.
    pub length: u64,
    /// Where a function that stores how many bytes it has moved does so.
    pub count_at: u64,
}

/// Whether a function that begins inside of a call in the same session is a part of that.
#[inline(always)]
const fn is_part(call: &LibraryCall, function: u8) -> bool {
    // `BoringSSL` reads by peeking first: it is the read that counts. And what is uncorked was counted as it was taken.
    function == Function::Peek as u8
        || function == Function::Part as u8
        || call.function == Function::Uncork as u32
}

/// Whether a function's length is an `int`.
#[inline(always)]
const fn has_signed_length(function: u8) -> bool {
    function == Function::Read as u8 || function == Function::Write as u8
}

/// A thread begins a call.
#[inline(always)]
pub fn enter(cookie: Cookie, arguments: &Arguments) {
    let task = Task::current();
    let function = cookie.function();
    if function == Function::Free as u8 {
        sessions::forget(&sessions::key(arguments.session, task));
        return;
    }
    let Some(call) = LIBRARY_CALLS.get_or_create(task) else { return };
    let is_inside = call.function != 0 && call.session == arguments.session;
    if is_inside && is_part(call, function) {
        return;
    }
    let moves = Function::moves(function);
    if has_signed_length(function) && (arguments.length as i32) < 0 {
        // The library refuses it, and may do so without passing where its result would be looked at.
        call.function = 0;
        return;
    }
    call.session = arguments.session;
    call.buffer = arguments.buffer;
    if function == Function::Send as u8 && arguments.buffer == 0 {
        call.buffer = sessions::kept(arguments.session, task);
    }
    call.count_at = if matches!(moves, Some((_, true))) { arguments.count_at } else { 0 };
    call.id = 0;
    call.library = u32::from(cookie.library());
    call.is_late = 0;
    call.function = u32::from(function);
}

/// A socket is gone, and with it the session of its own: unless that has made place for another one under its address. A
/// socket may be there long after its process has closed it.
#[inline(never)]
pub fn forget(socket: &Socket, connection: &Connection) {
    if LIBRARIES.load() == 0 || socket.plaintext_of == 0 {
        return;
    }
    let key = PlaintextKey::new(socket.plaintext_of, &socket.owner);
    if sessions::plaintext(&key).is_some_and(|plaintext| plaintext.id == connection.id) {
        sessions::forget(&key);
    }
}

/// Bytes of an encrypted connection have moved: if inside a call of a library, the session of that call is the connection's.
#[inline(never)]
pub fn nested(socket: &mut Socket, connection: &mut Connection, direction: Direction) {
    let task = Task::current();
    let at = direction as usize;
    let tls = &mut connection.tls;
    let moved = tls.application[at].wrapping_sub(tls.read[at]).wrapping_sub(tls.unread[at]);
    let Some(call) = LIBRARY_CALLS.get(task).filter(|call| call.function != 0) else {
        if tls.memory == Memory::Late as u8 {
            tls.read[at] = tls.read[at].wrapping_add(moved);
        } else {
            tls.unread[at] = tls.unread[at].wrapping_add(moved);
        }
        outside(socket, connection, task);
        return;
    };
    tls.read[at] = tls.read[at].wrapping_add(moved);
    if tls.library == 0 {
        let is_late = tls.unread != [0; 2] || !is_whole(connection);
        call.is_late = u32::from(is_late);
        begin_reading(connection, call.library as u8, is_late);
    }
    socket.plaintext_of = call.session;
    call.index = socket.index;
    call.id = connection.id;
}

/// Whether a connection was seen from its first byte on.
#[inline(always)]
const fn is_whole(connection: &Connection) -> bool {
    connection.flags & (FLAG_ADOPTED | FLAG_UNREAD_START) == 0
}

/// A connection's plaintext is read from now on, in a library.
#[inline(always)]
const fn begin_reading(connection: &mut Connection, library: u8, is_late: bool) {
    connection.tls.library = library;
    if !is_late && connection.protocol == Protocol::Tls as u8 {
        // What is inside will tell what is spoken.
        connection.pending = 1;
    }
}

/// Bytes of an encrypted connection have moved, outside of any call of a library.
#[inline(always)]
fn outside(socket: &mut Socket, connection: &Connection, task: Task) {
    if connection.tls.library == 0 {
        hellos::note(socket, connection, task);
        notice::unread(task);
    } else if connection.tls.memory != Memory::No as u8 && socket.plaintext_of == 0 {
        socket.plaintext_of = hellos::session_of(socket, connection, task);
    }
}

/// A connection goes on in another slot, and so does the session whose records go through memory. That of another process
/// is not known.
#[inline(never)]
pub fn go_on(socket: &Socket, memory: u8) {
    if LIBRARIES.load() == 0 || memory == Memory::No as u8 || socket.plaintext_of == 0 {
        return;
    }
    let key = PlaintextKey::new(socket.plaintext_of, &socket.owner);
    let Some(connection) = slots::slot(socket.index) else { return };
    if sessions::plaintext(&key).is_some() {
        sessions::link(&key, socket.index, connection.id, false);
        connection.tls.memory = memory;
    }
}

/// A call is over, or its result is known: `result` is what the function returns, or the word that it goes on to return.
#[inline(always)]
pub fn leave(cookie: Cookie, result: i32) {
    let Some(call) = end(cookie, result) else { return };
    let Some(plaintext) = plaintext_of(call) else { return };
    sessions::feed(plaintext, call);
}

/// Ends the call that the thread is in, and tells it, if any plaintext was moved.
///
/// A function of its own, as is [`plaintext_of`]: what they take of the stack is not taken while a parser runs.
#[inline(never)]
fn end(cookie: Cookie, result: i32) -> Option<&'static mut LibraryCall> {
    let task = Task::current();
    let call = LIBRARY_CALLS.get(task)?;
    let function = cookie.function();
    if call.function != u32::from(function) {
        return None;
    }
    call.function = 0;
    link(task, call, cookie);
    let (direction, is_stored) = Function::moves(function)?;
    if result <= 0 {
        if function == Function::Send as u8 {
            sessions::keep(call.session, task, call.buffer);
        }
        return None;
    }
    call.direction = direction as u32;
    call.bytes = if is_stored {
        // SAFETY: the helper may be given any address.
        unsafe { bpf_probe_read_user(call.count_at as *const u64) }.unwrap_or_default() as u32
    } else {
        result as u32
    };
    if call.bytes == 0 { None } else { Some(call) }
}

/// The plaintext of the session that a call was made in. None if nobody knows whose connection that is of.
#[inline(never)]
fn plaintext_of(call: &LibraryCall) -> Option<&'static mut Plaintext> {
    let task = Task::current();
    let plaintext = sessions::plaintext(&sessions::key(call.session, task));
    if plaintext.is_none() {
        note_user(task);
    }
    plaintext
}

/// A call has ended, inside which bytes may have moved.
#[inline(always)]
fn link(task: Task, call: &LibraryCall, cookie: Cookie) {
    let key = sessions::key(call.session, task);
    if call.id != 0 {
        sessions::link(&key, call.index, call.id, call.is_late != 0);
    } else if sessions::plaintext(&key).is_none() {
        hellos::link(cookie, call.session, task);
    }
}

/// As [`leave`], for functions that move no plaintext.
#[inline(always)]
pub fn leave_without_plaintext(cookie: Cookie) {
    let task = Task::current();
    let Some(call) = LIBRARY_CALLS.get(task) else { return };
    if call.function == u32::from(cookie.function()) {
        call.function = 0;
        link(task, call, cookie);
    }
}
