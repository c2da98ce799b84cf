//! Sessions whose records go through memory: the library never touches a socket, and whoever calls it moves the records on
//! one, as Node.js and Python's `asyncio` do. The hello of the client tells whose they are: its random is on the socket in
//! the clear, and in the session, at both ends.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_map_update_elem;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Role;
use observer_ebpf::layout::connection::{Connection, Phase};
use observer_ebpf::layout::library::Cookie;
use observer_ebpf::layout::socket::Socket;
use observer_ebpf::protocols::tls::layout::{Memory, TLS_1_3};

use super::{begin_reading, is_whole, sessions};
use crate::kernel::Task;
use crate::{names, slots};

/// A client's hello, as one of both ends has it.
#[repr(C)]
struct HelloKey {
    /// The first half of its random.
    random: [u64; 2],
    /// The process that moves it: its thread-group id in the host's pid namespace.
    tgid: u32,
    /// 1 if it is the server's end.
    is_server: u32,
}

/// The connection that it was on.
#[repr(C)]
struct Hello {
    /// The connection's number; 0 if several have had the same random, which nobody can tell apart.
    id: u64,
    /// The address of the library's session; 0 before it is known.
    session: u64,
    /// The connection's slot.
    index: u32,
    /// Zero.
    reserved: u32,
}

/// Hellos that were seen in the clear, of which the kernel forgets the oldest.
#[btf_map]
static HELLOS: LruHashMap<HelloKey, Hello, 1> = LruHashMap::new();

/// What is known of a hello.
#[inline(always)]
fn hello(key: &HelloKey) -> Option<&'static mut Hello> {
    // SAFETY: a map that the verifier knows, with such keys and values; fields are numbers that are written whole.
    unsafe { names::lookup::<_, Hello>((&raw const HELLOS).cast_mut().cast(), key).as_mut() }
}

/// The key of the hello that has moved on a socket.
#[inline(always)]
fn key_of(socket: &mut Socket, connection: &Connection, task: Task) -> Option<HelloKey> {
    let random = socket.session.client_random()?;
    let is_server = u32::from(connection.role == Role::Server as u8);
    Some(HelloKey { random, tgid: task.owner().tgid, is_server })
}

/// Bytes of a connection have moved whose session is not known: its hello may have been among them.
#[inline(never)]
pub fn note(socket: &mut Socket, connection: &Connection, task: Task) {
    if connection.tls.application != [0; 2] {
        // It was noted before.
        return;
    }
    let Some(key) = key_of(socket, connection, task) else { return };
    if let Some(known) = hello(&key) {
        if known.id == connection.id || known.id == 0 {
            return;
        }
        let is_open = |other: &mut Connection| other.id == known.id && other.phase == Phase::Open as u8;
        if slots::slot(known.index).is_some_and(is_open) {
            // Whoever sends it anew is not to be taken for the first, nor is anybody after that.
            known.id = 0;
            return;
        }
    }
    let noted = Hello { id: connection.id, session: 0, index: socket.index, reserved: 0 };
    // SAFETY: a map that the verifier knows, with a key and a value as it has them.
    unsafe {
        bpf_map_update_elem(
            (&raw const HELLOS).cast_mut().cast(),
            (&raw const key).cast_mut().cast(),
            (&raw const noted).cast_mut().cast(),
            0,
        )
    };
}

/// The address of the session that a connection's records are of; 0 if it is not known.
#[inline(never)]
pub fn session_of(socket: &mut Socket, connection: &Connection, task: Task) -> u64 {
    key_of(socket, connection, task)
        .and_then(|key| hello(&key))
        .filter(|known| known.id == connection.id)
        .map_or(0, |known| known.session)
}

/// A call of a session has ended whose connection is not known, and no bytes have moved on a socket inside: the session's
/// random may tell it.
#[inline(never)]
pub fn link(cookie: Cookie, session: u64, task: Task) {
    let Some(key) = key_in(cookie, session, task) else { return };
    let Some(known) = hello(&key) else { return };
    // What was another session's once does not become this one's, which may have the random of before it was cleared.
    if known.id == 0 || known.session != 0 {
        return;
    }
    let Some(connection) = slots::slot(known.index) else { return };
    if connection.id != known.id {
        return;
    }
    let is_late = is_late(connection);
    let session_key = sessions::key(session, task);
    sessions::link(&session_key, known.index, known.id, is_late);
    if sessions::plaintext(&session_key).is_none() {
        return;
    }
    known.session = session;
    connection.tls.memory = if is_late { Memory::Late } else { Memory::All } as u8;
    begin_reading(connection, cookie.library(), is_late);
}

/// Whether plaintext of a session may have moved before now. If probes have stood on its functions from its hello on, this
/// is the end of the first call since the hello was on the socket. A client has then sent nothing but the hello, and a
/// server nothing at all. What a client has received may be the server's part of the handshake, which in TLS 1.3 is in
/// application records.
#[inline(always)]
fn is_late(connection: &Connection) -> bool {
    let [sent, received] = connection.tls.application;
    let is_handshake = connection.tls.version >= TLS_1_3 && connection.role != Role::Server as u8;
    sent != 0 || (received != 0 && !is_handshake) || !is_whole(connection)
}

/// The key of the hello that a session has begun with. None if the library does not tell where sessions have it.
#[inline(always)]
fn key_in(cookie: Cookie, session: u64, task: Task) -> Option<HelloKey> {
    let layout = cookie.layout()?;
    let part = match layout.part {
        // SAFETY: the helper may be given any address.
        Some(at) => unsafe { bpf_probe_read_user((session + u64::from(at)) as *const u64) }.ok()?,
        None => session,
    };
    // SAFETY: as above.
    let random = unsafe { bpf_probe_read_user((part + u64::from(layout.random)) as *const [u64; 2]) }.ok()?;
    // SAFETY: as above.
    let is_server =
        unsafe { bpf_probe_read_user((session + u64::from(layout.is_server)) as *const u32) }.ok()?;
    if random == [0; 2] {
        return None;
    }
    Some(HelloKey { random, tgid: task.owner().tgid, is_server: u32::from(is_server != 0) })
}
