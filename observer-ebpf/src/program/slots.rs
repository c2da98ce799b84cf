//! Slots, which are the entries of `CONNECTIONS`: taken when a connection appears, shown, continued, retired.

use aya_ebpf::helpers::generated::{bpf_map_update_elem, bpf_ringbuf_query};
use observer_ebpf::layout::connection::{
    Connection, FLAG_CONTINUATION, FLAG_CONTINUED, FLAGS_KEPT, Owner, Phase,
};
use observer_ebpf::layout::socket::{Socket, UNTRACKED};

use crate::globals::{CAPACITY, MAX_CONNECTIONS};
use crate::maps::{BLANK, CONNECTIONS, CONTROL, FREE, RETIRED, UNIX_PATHS};
use crate::{addresses, assembly, libraries, losses};

/// The slot of a tracked connection.
#[inline(always)]
pub fn slot(index: u32) -> Option<&'static mut Connection> {
    // SAFETY: the memory is the map's. The agent reads it at any time, word by word, and the other
    // direction's program may write it: each counter has but one writer at a time, and none is a reference
    // that another relies on.
    CONNECTIONS.get_ptr_mut(index).map(|slot| unsafe { &mut *slot })
}

/// Takes a slot for one more connection, if there may be one more.
#[inline(always)]
pub fn admit() -> Option<(u32, &'static mut Connection)> {
    let control = CONTROL.get_ptr_mut(0)?;
    // SAFETY: the field is there.
    let tracked = unsafe { &raw mut (*control).tracked };
    let limit = u64::from(MAX_CONNECTIONS.load());
    // SAFETY: aligned, and only written atomically.
    if unsafe { tracked.read_volatile() } >= limit {
        return None;
    }
    // Another processor may have come first.
    // SAFETY: a field of a map's entry.
    let taken = if unsafe { assembly::fetch_add(tracked, 1) } < limit { take() } else { None };
    if taken.is_none() {
        // SAFETY: a field of a map's entry; adding the largest value takes one away.
        unsafe { assembly::add(tracked, u64::MAX) };
    }
    taken
}

/// Takes an unused slot, blank but for its number.
#[inline(always)]
fn take() -> Option<(u32, &'static mut Connection)> {
    let control = CONTROL.get_ptr_mut(0)?;
    // SAFETY: the fields are there.
    let (used, last_id) = unsafe { (&raw mut (*control).used, &raw mut (*control).last_id) };
    let index = match FREE.pop() {
        Ok(Some(index)) => index,
        _ => {
            let capacity = u64::from(CAPACITY.load());
            // SAFETY: aligned, and only written atomically.
            if unsafe { used.read_volatile() } >= capacity {
                return None;
            }
            // SAFETY: a field of a map's entry.
            let next = unsafe { assembly::fetch_add(used, 1) };
            if next >= capacity {
                return None;
            }
            next as u32
        }
    };
    let blank = BLANK.get_ptr(0)?;
    // SAFETY: key and value are as the map has them.
    unsafe {
        bpf_map_update_elem(
            (&raw const CONNECTIONS).cast_mut().cast(),
            (&raw const index).cast_mut().cast(),
            blank.cast_mut().cast(),
            0,
        );
    }
    let connection = slot(index)?;
    // SAFETY: a field of a map's entry.
    connection.id = unsafe { assembly::fetch_add(last_id, 1) } + 1;
    Some((index, connection))
}

/// Takes over the kernel's count of segments sent again (`tcp_sock.total_retrans`). It goes back to 0 when a
/// connect has failed, and then tells nothing.
#[inline(always)]
pub fn take_retransmits(total: u32, connection: &mut Connection) {
    connection.retransmits = connection.retransmits.max(total.saturating_sub(connection.retransmits_before));
}

/// Shows a filled slot to the agent.
#[inline(always)]
pub fn publish(connection: &mut Connection, phase: Phase) {
    assembly::order_writes();
    // SAFETY: the field is there; a volatile write stays behind those before it.
    unsafe { (&raw mut connection.phase).write_volatile(phase as u8) };
}

/// How much of `RETIRED` may fill before the agent is woken ahead of its time.
const RETIRED_WAKE: u64 = 4096 * 16;

/// Ends the tracking of a connection.
#[inline(always)]
pub fn retire(socket: &mut Socket) {
    let index = socket.index;
    if index == UNTRACKED {
        return;
    }
    socket.index = UNTRACKED;
    if let Some(connection) = slot(index) {
        libraries::forget(socket, connection);
    }
    if let Some(control) = CONTROL.get_ptr_mut(0) {
        // SAFETY: a field of a map's entry; adding the largest value takes one away.
        unsafe { assembly::add(&raw mut (*control).tracked, u64::MAX) };
    }
    hand_back(index);
}

/// Gives a slot to the agent, for good.
#[inline(always)]
fn hand_back(index: u32) {
    let ring = (&raw const RETIRED).cast_mut().cast();
    // `BPF_RB_AVAIL_DATA`, then `BPF_RB_FORCE_WAKEUP` or `BPF_RB_NO_WAKEUP` (`include/uapi/linux/bpf.h`).
    // SAFETY: a ring buffer that the verifier knows.
    let flags = if unsafe { bpf_ringbuf_query(ring, 0) } > RETIRED_WAKE { 2 } else { 1 };
    if RETIRED.output(u64::from(index), flags).is_err() {
        // There is room for every slot; if not for this one, the agent finds it by its pass.
        losses::event_lost();
    }
}

/// Continues the connection in a fresh slot.
#[inline(always)]
pub fn roll_over(socket: &mut Socket) {
    let memory = slot(socket.index).map_or(0, |before| before.tls.memory);
    roll_over_slot(socket);
    // Not from there, which takes much of the stack.
    libraries::go_on(socket, memory);
}

#[inline(never)]
fn roll_over_slot(socket: &mut Socket) {
    if let Some(before) = slot(socket.index) {
        continue_in_another(socket, before, before.owner);
    }
}

#[inline(always)]
pub fn continue_in_another(
    socket: &mut Socket,
    before: &mut Connection,
    owner: Owner,
) -> Option<&'static mut Connection> {
    let (index, next) = take()?;
    next.role = before.role;
    next.protocol = before.protocol;
    next.flags = (before.flags & FLAGS_KEPT) | FLAG_CONTINUATION;
    next.family = before.family;
    next.local_port = before.local_port;
    next.remote_port = before.remote_port;
    next.lost = before.lost;
    next.pending = before.pending;
    next.netns = before.netns;
    next.pass = before.pass;
    next.seen_ns = before.seen_ns;
    next.retransmits_before = before.retransmits_before + before.retransmits;
    next.owner = owner;
    next.comm = before.comm;
    next.local = before.local;
    next.remote = before.remote;
    next.client = before.client;
    next.client_port = before.client_port;
    socket.session.carry_over(before, next);
    if let Some(path) = UNIX_PATHS.get_ptr(socket.index) {
        addresses::set_path(index, path);
    }
    before.flags |= FLAG_CONTINUED;
    publish(next, Phase::from_u8(before.phase));
    hand_back(socket.index);
    socket.index = index;
    // TCP's counts start anew with those of the slot.
    socket.based = 0;
    Some(next)
}
