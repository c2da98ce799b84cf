//! Sessions of libraries, and the connections whose plaintext they have.

use aya_ebpf::btf_maps::{Array, HashMap};
use aya_ebpf::helpers::generated::bpf_map_delete_elem;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::connection::{Connection, FLAG_CONTINUATION, FLAG_CONTINUED, Phase};
use observer_ebpf::layout::library::{Plaintext, PlaintextKey};
use observer_ebpf::layout::losses::{Desync, Unread};
use observer_ebpf::layout::socket::Locks;
use observer_ebpf::layout::{Direction, Role};

use super::{LibraryCall, rooms};
use crate::calls::buffers::BUFFERS;
use crate::calls::lock;
use crate::kernel::Task;
use crate::stream::Stream;
use crate::{losses, names, slots};

/// Plaintext of each session. All room is there beforehand: a program has little memory at once.
#[btf_map]
static PLAINTEXTS: HashMap<PlaintextKey, Plaintext, 1> = HashMap::new();

/// One as it is at first.
#[btf_map]
static BLANK_PLAINTEXT: Array<Plaintext, 1> = Array::new();

/// The key of a session in a task's process.
#[inline(always)]
pub fn key(session: u64, task: Task) -> PlaintextKey {
    PlaintextKey::new(session, &task.owner())
}

/// What is known of a session.
#[inline(always)]
pub fn plaintext(key: &PlaintextKey) -> Option<&'static mut Plaintext> {
    // SAFETY: what it holds is read and written by whoever has its direction.
    unsafe { names::lookup::<_, Plaintext>((&raw const PLAINTEXTS).cast_mut().cast(), key).as_mut() }
}

/// A send has taken nothing of a buffer: it may be made again without saying where that is.
#[inline(never)]
pub fn keep(session: u64, task: Task, buffer: u64) {
    if let Some(plaintext) = plaintext(&key(session, task)) {
        plaintext.kept = buffer;
    }
}

/// The buffer of the latest send in a session that has taken nothing; 0 if there is none. What is in it by now may be
/// something else: the library has what it was.
#[inline(never)]
pub fn kept(session: u64, task: Task) -> u64 {
    plaintext(&key(session, task)).map_or(0, |plaintext| plaintext.kept)
}

/// A session is gone, or begins anew.
#[inline(always)]
pub fn forget(key: &PlaintextKey) {
    // SAFETY: a map that the verifier knows, and a key as it has them.
    unsafe {
        bpf_map_delete_elem(
            (&raw const PLAINTEXTS).cast_mut().cast(),
            core::ptr::from_ref(key).cast_mut().cast(),
        )
    };
}

/// A session's bytes have moved on a connection, which is its own from now on.
#[inline(never)]
pub fn link(key: &PlaintextKey, index: u32, id: u64, is_late: bool) {
    let Some(connection) = slots::slot(index) else { return };
    if connection.id != id {
        return;
    }
    // SAFETY: a map that the verifier knows, with such keys and values; what it holds is written by whoever has it.
    let plaintext = unsafe {
        names::entry((&raw const PLAINTEXTS).cast_mut().cast(), key, || BLANK_PLAINTEXT.get_ptr(0))
            .and_then(|plaintext: *mut Plaintext| plaintext.as_mut())
    };
    let Some(plaintext) = plaintext else {
        // There is no place for one more: what is spoken stays what records have told.
        connection.pending = 0;
        return;
    };
    if plaintext.id == id {
        return;
    }
    // Of a session that is not known yet, another process has begun it, or it was forgotten.
    let was_begun = connection.flags & FLAG_CONTINUATION != 0 || connection.tls.plaintext != [0; 2];
    let is_late = is_late || (plaintext.id == 0 && was_begun);
    let before = slots::slot(plaintext.index).filter(|before| before.id == plaintext.id);
    let goes_on = connection.flags & FLAG_CONTINUATION != 0 && plaintext.id != 0;
    if goes_on {
        if let Some(before) = before {
            plaintext.session.carry_over(before, connection);
        }
    } else {
        let is_open =
            |before: &mut Connection| before.phase == Phase::Open as u8 && before.flags & FLAG_CONTINUED == 0;
        if plaintext.id != 0 && before.is_some_and(is_open) {
            // It reads on one connection and writes on another: nobody can tell what is whose.
            return;
        }
        plaintext.session.start_inside(connection.protocol, Role::from_u8(connection.role), is_late);
        plaintext.locks = Locks::FREE;
        plaintext.kept = 0;
        if is_late {
            connection.lost = [1; 2];
        }
    }
    plaintext.index = index;
    plaintext.id = id;
}

/// A session has taken or returned plaintext.
#[inline(always)]
pub fn feed(plaintext: &mut Plaintext, call: &mut LibraryCall) {
    let Some(connection) = slots::slot(plaintext.index) else { return };
    if !begin(plaintext, connection, call) {
        return;
    }
    let direction = Direction::from_code(call.direction);
    let mut stream = Stream { session: &mut plaintext.session, connection, direction };
    let is_passed = stream.pass(call.bytes);
    if !is_passed || stream.session.owes(direction) {
        read(&mut stream, call, if is_passed { 0 } else { call.bytes });
    }
    if stream.is_full() {
        stream.connection.tls.full = 1;
    }
    lock::unlock(&mut plaintext.locks, direction);
}

/// Takes a direction's stream for this call, and steps over what others have moved meanwhile. False if it is not to be had.
///
/// A function of its own: what it takes of the stack is then not taken while a parser runs.
#[inline(never)]
fn begin(plaintext: &mut Plaintext, connection: &mut Connection, call: &mut LibraryCall) -> bool {
    let bytes = u64::from(call.bytes);
    call.index = plaintext.index;
    if connection.id != plaintext.id || connection.flags & FLAG_CONTINUED != 0 {
        losses::unread(Unread::Other, bytes);
        return false;
    }
    let direction = Direction::from_code(call.direction);
    if !lock::lock(&mut plaintext.locks, direction) {
        lock::count_contended(&mut plaintext.locks, direction, bytes);
        return false;
    }
    let contended = lock::take_contended(&mut plaintext.locks, direction);
    let told = &mut connection.tls.plaintext[direction as usize];
    *told = told.wrapping_add(bytes).wrapping_add(contended);
    if contended != 0 {
        Stream { session: &mut plaintext.session, connection, direction }.miss(contended, Desync::Concurrent);
    }
    true
}

/// Feeds a call's plaintext to the parser, if any is left to look at, and counts a message that has passed unread.
#[inline(always)]
fn read(stream: &mut Stream<'_>, call: &LibraryCall, left: u32) {
    let Some(room) = rooms::take() else {
        if left != 0 {
            stream.unread(Unread::Other, u64::from(left));
        }
        return;
    };
    let Some(buffers) = BUFFERS.get_ptr_mut(room) else {
        rooms::give_back(room);
        return;
    };
    // SAFETY: this run has taken the room.
    let buffers = unsafe { &mut *buffers };
    buffers.hold_plaintext(call.index, stream.direction, room, call.buffer, left);
    if left != 0 {
        buffers.read_first();
        stream.feed(buffers);
    }
    if stream.session.owes(stream.direction) {
        stream.settle(buffers);
    }
    rooms::give_back(buffers.room());
}
