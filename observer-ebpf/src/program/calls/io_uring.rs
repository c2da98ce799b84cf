//! `io_uring`'s requests: which of them moved the bytes of a send or receive that no system call's registers tell of,
//! and where those bytes are.
//!
//! A request is carried out by the thread that submits it; or, if its socket was not ready, later on by a thread that
//! works for the ring; or by a worker of the kernel's, which knows what it is at. So a thread's last requests are
//! kept, and the last that wait for a socket. That one of them is what is being carried out shows in the request
//! itself: it has that socket, and its iterator has gone on over as many bytes as moved, which another's has not.
//! Where none is found, the bytes are not read.
//!
//! Since Linux 6.10 every request to send or receive has its `struct msghdr` in `struct io_async_msghdr`
//! (`io_uring/net.c`); before, some had it on the kernel's stack, out of reach.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Direction;

use crate::globals::{
    OFFSET_FILE_PRIVATE_DATA, OFFSET_ITERATOR_ADDRESS, OFFSET_ITERATOR_KIND, OFFSET_ITERATOR_OFFSET,
    OFFSET_MESSAGE_ITERATOR, OFFSET_MESSAGE_VECTORS, OFFSET_REQUEST_DATA, OFFSET_REQUEST_FILE,
    OFFSET_REQUEST_OPCODE, OFFSET_REQUEST_WORK, OFFSET_SOCKET_SK, OFFSET_TASK_FLAGS, OFFSET_TASK_WORKER,
    OFFSET_WORKER_WORK,
};
use crate::host::repeat;
use crate::kernel::{IO_WORKER, Sock, Task, probe};

use super::buffers::{Buffers, VECTORS_MAX};

/// The last requests of a thread, or those that wait for a socket: what is submitted to be carried out one after the
/// other is found as long as it is no more. A power of two.
const KEPT: usize = 8;

/// Requests by the thread that submitted them, and by the socket that they wait for. What was used least makes room.
#[btf_map]
static REQUESTS: LruHashMap<u64, Requests, 1> = LruHashMap::new();

/// `ITER_UBUF` and `ITER_IOVEC` of `enum iter_type` (`include/linux/uio.h`).
const ONE_BUFFER: u8 = 0;
const VECTORS: u8 = 1;
/// Bytes of a `struct iovec`.
const VECTOR: u64 = 16;

/// A `struct io_kiocb`, by its address. It may be gone, and its memory be another's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Request(pub u64);

/// A thread's, or a socket's.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Requests {
    /// A ring of them; 0 is none.
    last: [u64; KEPT],
    /// How many there have been.
    count: u64,
}

/// The direction in which a request moves bytes, by its number (`enum io_uring_op` in
/// `include/uapi/linux/io_uring.h`); none of other requests.
#[inline(always)]
pub const fn direction(opcode: u8) -> Option<Direction> {
    match opcode {
        // `SENDMSG`, `SEND`, `SEND_ZC` and `SENDMSG_ZC`.
        9 | 26 | 47 | 48 => Some(Direction::Sent),
        // `RECVMSG` and `RECV`.
        10 | 27 => Some(Direction::Received),
        _ => None,
    }
}

/// This thread's key in [`REQUESTS`]: its number, which is below any address.
#[inline(always)]
pub fn thread() -> u64 {
    bpf_get_current_pid_tgid() & 0xffff_ffff
}

/// Keeps a request by a thread or by a socket's address.
#[inline(always)]
pub fn note(key: u64, request: Request) {
    let Some(requests) = REQUESTS.get_ptr_mut(key) else {
        let mut first = Requests { last: [0; KEPT], count: 1 };
        first.last[0] = request.0;
        // Where there is no room, its bytes are counted as unread.
        let _ = REQUESTS.insert(key, first, 0);
        return;
    };
    // SAFETY: an entry of the map. A socket's may be written by two processors at once, one of whose requests is
    // not found then.
    let requests = unsafe { &mut *requests };
    if requests.last[requests.count.wrapping_sub(1) as usize & (KEPT - 1)] == request.0 {
        // A spare program sees what the first one has seen.
        return;
    }
    let place = requests.count as usize & (KEPT - 1);
    requests.last[place] = request.0;
    requests.count += 1;
}

impl Request {
    #[inline(always)]
    fn read<T: Copy + Default>(self, offset: u32) -> T {
        probe(self.0 as *const u8, offset)
    }

    /// The address of its `struct sock`; of what is not a socket, none or anything.
    #[inline(always)]
    pub fn socket(self) -> Option<u64> {
        let file: u64 = self.read(OFFSET_REQUEST_FILE.load());
        let socket: u64 = probe(file as *const u8, OFFSET_FILE_PRIVATE_DATA.load());
        let sk: u64 = probe(socket as *const u8, OFFSET_SOCKET_SK.load());
        (sk != 0).then_some(sk)
    }

    /// Whether the request is what has just moved a call's bytes; if so, the call's buffers are known then.
    #[inline(always)]
    fn take(self, buffers: &mut Buffers) -> bool {
        let direction = direction(self.read(OFFSET_REQUEST_OPCODE.load()));
        let message: u64 = self.read(OFFSET_REQUEST_DATA.load());
        if direction.is_none_or(|direction| direction as u32 != buffers.direction())
            || message == 0
            || self.socket() != Some(buffers.sk())
        {
            return false;
        }
        let iterator = (message as *const u8).wrapping_add(OFFSET_MESSAGE_ITERATOR.load() as usize);
        let end = u64::from(buffers.len());
        let address: u64 = probe(iterator, OFFSET_ITERATOR_ADDRESS.load());
        let gone: u64 = probe(iterator, OFFSET_ITERATOR_OFFSET.load());
        match probe::<u8>(iterator, OFFSET_ITERATOR_KIND.load()) {
            ONE_BUFFER if gone >= end => {
                buffers.hold_one(address + (gone - end));
                true
            }
            VECTORS => {
                let Some((first, count)) = vectors_before(address, gone, end) else { return false };
                buffers.hold_vectors(first, count, true);
                true
            }
            // Pages that the kernel holds, as those of registered buffers.
            _ => false,
        }
    }
}

/// Where the vectors start that an iterator has gone over, and their number: it is `gone` bytes into the one at
/// `address`, and has gone over `end` in all. None if those do not start with a vector.
#[inline(always)]
fn vectors_before(address: u64, gone: u64, end: u64) -> Option<(u64, u32)> {
    let mut first = address;
    let mut sum = gone;
    let mut count = u32::from(gone > 0);
    repeat(VECTORS_MAX, || {
        if sum >= end {
            return false;
        }
        first -= VECTOR;
        // `iov_len`.
        sum += probe::<u64>(first as *const u8, 8);
        count += 1;
        true
    });
    (sum == end).then_some((first, count))
}

/// Finds the buffers of a call that `io_uring` has made, once [`Buffers::locate`] has told so; false if they cannot be
/// found.
#[inline(always)]
pub fn locate(buffers: &mut Buffers, sk: Sock) -> bool {
    buffers.set_sk(sk.0 as u64);
    io_uring_find(buffers) != 0
}

/// [`find`], as a subprogram: 1 if the buffers are known now.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn io_uring_find(buffers: *mut Buffers) -> u32 {
    // SAFETY: null, or this processor's entry for this program: nothing else uses it while the program runs.
    unsafe { buffers.as_mut() }.map_or(0, |buffers| u32::from(find(buffers)))
}

/// [`Request::take`], as a subprogram: 1 if the buffers are known now.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn io_uring_take(buffers: *mut Buffers, request: u64) -> u32 {
    // SAFETY: as above.
    unsafe { buffers.as_mut() }.map_or(0, |buffers| u32::from(Request(request).take(buffers)))
}

/// Finds the request that has just moved a call's bytes, and with it the call's buffers; false if there is none.
#[inline(always)]
fn find(buffers: &mut Buffers) -> bool {
    if OFFSET_MESSAGE_VECTORS.load() == 0 {
        // Before 6.10; or something else is not as it is known here, and all these offsets are zero.
        return false;
    }
    let task = Task::current();
    if task.read::<u32>(OFFSET_TASK_FLAGS.load()) & IO_WORKER != 0 {
        let worker: u64 = task.read(OFFSET_TASK_WORKER.load());
        let work: u64 = probe(worker as *const u8, OFFSET_WORKER_WORK.load());
        let request = work.wrapping_sub(u64::from(OFFSET_REQUEST_WORK.load()));
        if work != 0 && io_uring_take(buffers, request) != 0 {
            return true;
        }
    }
    let own = last(thread());
    let waiting = last(buffers.sk());
    for back in 0..KEPT {
        for requests in [&own, &waiting] {
            let request = requests[back];
            if request != 0 && io_uring_take(buffers, request) != 0 {
                return true;
            }
        }
    }
    false
}

/// What is kept by a key, the newest first.
#[inline(always)]
fn last(key: u64) -> [u64; KEPT] {
    // SAFETY: an entry of the map, of integers only, whatever they are.
    let Some(requests) = (unsafe { REQUESTS.get(key) }) else { return [0; KEPT] };
    let mut last = [0; KEPT];
    for (back, request) in last.iter_mut().enumerate() {
        let place = requests.count.wrapping_sub(1 + back as u64) as usize & (KEPT - 1);
        *request = requests.last[place];
    }
    last
}
