//! The buffers of a call, and the window through which they are read.
//!
//! `sock_send_length` and `sock_recv_length` tell how many bytes moved and on which socket, not where the bytes are. The
//! caller is still in its system call, whose number and arguments `bpf_task_pt_regs` gives, so no system call has to be
//! hooked. What knows better where bytes are, as `calls/io_uring.rs` does, says so with [`Buffers::hold_one`] or
//! [`Buffers::hold_vectors`].

use core::ffi::c_void;

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::macros::btf_map;
use observer_ebpf::layout::Direction;
use observer_ebpf::layout::losses::Unread;
use observer_ebpf::stream::bytes::{Scratch, hide_field};
use observer_ebpf::stream::prefix::Work;

use super::patience::Patience;
use super::registers::{self, Registers, number};
use crate::globals::OFFSET_TASK_FLAGS;
use crate::host::repeat;
use crate::kernel::{IO_WORKER, KERNEL_THREAD, Task};
use crate::{assembly, losses};

/// What one call is read through, and what is put together meanwhile: one for each program that sees calls, none of
/// which runs within itself.
#[btf_map]
pub static BUFFERS: PerCpuArray<Buffers, 1> = PerCpuArray::new();

/// Bytes read at once. A KiB costs 20 ns more than 16 bytes do, and every header in it is then free; four
/// cost another 45, which is well spent where a call has more of them.
const WINDOW: u32 = 4096;
const FIRST_WINDOW: u32 = 1024;
/// `struct iovec`s read at once.
const VECTORS: u32 = 8;
/// The most `struct iovec`s that a call takes (`UIO_MAXIOV` in `include/uapi/linux/uio.h`).
pub const VECTORS_MAX: u32 = 1024;

/// Room for one call's bytes and how they are being read. It lives in a map, as does all that is read at
/// a variable offset.
#[repr(C)]
pub struct Buffers {
    /// What is read of the call's bytes, and room behind it: 16 bytes can be loaded from any of them.
    window: [u8; WINDOW as usize + 16],
    /// Base and length of the vectors in reach.
    vectors: [[u64; 2]; VECTORS as usize],
    /// Where the vectors are; 0 if there is but one buffer.
    vectors_at: u64,
    /// The address of the current buffer.
    base: u64,
    /// The socket's address, where `io_uring`'s requests are looked for.
    sk: u64,
    /// 1 if the vectors are the kernel's own copy.
    vectors_in_kernel: u32,
    /// Its own index in [`BUFFERS`]: that of the program which uses it.
    room: u32,
    /// How many vectors the call has.
    vectors_count: u32,
    /// The vector after the current one.
    vectors_next: u32,
    /// The call's offset at which the current buffer starts, and that at which it ends.
    from: u32,
    to: u32,
    /// The call's offset at which the window starts, and that at which it ends.
    start: u32,
    stop: u32,
    /// How many bytes the call moved, and how many of them have been dealt with.
    end: u32,
    position: u32,
    /// 1 once some of them could not be read.
    failed: u32,
    /// The number of a queue for which something was noted, to be done once the call has been taken in; 0 if there is none.
    late_queue: u32,
    /// Whether memory is worth waiting for.
    patience: Patience,
    /// Whose they are: a slot, and a `Direction`.
    index: u32,
    direction: u32,
    /// When it was, once that was asked for; 0 before.
    now_ns: u64,
    scratch: Scratch,
    work: Work,
}

impl Buffers {
    /// Something was noted for a queue; 0 once it is done.
    #[inline(always)]
    pub const fn set_late_queue(&mut self, queue: u32) {
        self.late_queue = queue;
    }

    /// The number of a queue for which something was noted; 0 if there is none.
    #[inline(always)]
    pub fn late_queue(&self) -> u32 {
        hide_field(&self.late_queue)
    }

    /// Finds the buffers of the call that moved `end` bytes of the connection at `index`, or why they cannot
    /// be read.
    #[inline(always)]
    pub fn locate(&mut self, task: Task, direction: Direction, end: u32, index: u32) -> Result<(), Unread> {
        self.begin(direction, end, index);
        let registers = Registers::of(task);
        let nr = registers.number();
        let in_call = registers.in_call();
        let second = registers.second();
        let sent = matches!(direction, Direction::Sent);
        let single = if sent {
            nr == number::WRITE || nr == number::SENDTO
        } else {
            nr == number::READ || nr == number::RECVFROM
        };
        if single && in_call {
            self.hold_one(second);
            return Ok(());
        }
        let vectors = if sent {
            nr == number::WRITEV || nr == number::PWRITEV2
        } else {
            nr == number::READV || nr == number::PREADV2
        };
        let message = if sent { nr == number::SENDMSG } else { nr == number::RECVMSG };
        if !in_call || !(vectors || message) {
            return Err(why_not(task, nr, in_call));
        }
        let (at, count) = if vectors {
            (second, registers.third())
        } else {
            if !self.read_message(second) && buffers_reread_message(self, second) == 0 {
                return Err(Unread::Fault);
            }
            let [at, count] = self.vectors[0];
            (at, count)
        };
        let count = if count > u64::from(VECTORS_MAX) { VECTORS_MAX } else { count as u32 };
        self.hold_vectors(at, count, false);
        Ok(())
    }

    /// Reads where the vectors of a `struct user_msghdr` are, and their number, into the first of those in reach.
    #[inline(always)]
    fn read_message(&mut self, message: u64) -> bool {
        let to = self.vectors[0].as_mut_ptr().cast();
        // `msg_iov` and `msg_iovlen` (`include/linux/socket.h`).
        let from = (message + 16) as *const c_void;
        // SAFETY: the destination has room for two words; the helper may be given any address.
        unsafe { bpf_probe_read_user(to, 16, from) == 0 }
    }

    /// There is nothing to be read of the call that has just moved bytes of the connection at `index`.
    #[inline(always)]
    pub fn hold_none(&mut self, index: u32, direction: Direction, room: u32) {
        self.begin(direction, 0, index);
        self.room = room;
    }

    /// The buffer of a call of a library that has taken or returned `end` bytes of plaintext of the connection at `index`.
    #[inline(always)]
    pub fn hold_plaintext(&mut self, index: u32, direction: Direction, room: u32, address: u64, end: u32) {
        self.begin(direction, end, index);
        self.room = room;
        self.hold_one(address);
    }

    /// A call that has moved `end` bytes of the connection at `index`.
    #[inline(always)]
    fn begin(&mut self, direction: Direction, end: u32, index: u32) {
        self.end = end;
        self.position = 0;
        self.start = 0;
        self.stop = 0;
        self.from = 0;
        self.failed = 0;
        self.now_ns = 0;
        self.index = index;
        self.direction = direction as u32;
    }

    /// Keeps the socket's address, where `io_uring`'s requests are looked for.
    #[inline(always)]
    pub fn set_sk(&mut self, sk: u64) {
        self.sk = sk;
    }

    /// What [`Buffers::set_sk`] has kept.
    #[inline(always)]
    pub fn sk(&self) -> u64 {
        self.sk
    }

    /// The slot of the connection whose bytes they are.
    #[inline(always)]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The call's direction, by its number.
    #[inline(always)]
    pub fn direction(&self) -> u32 {
        self.direction
    }

    /// Bytes that the call moved.
    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.end
    }

    /// They are in one buffer.
    #[inline(always)]
    pub fn hold_one(&mut self, address: u64) {
        self.vectors_at = 0;
        self.base = address;
        self.to = self.end;
    }

    /// They are in as many buffers as there are vectors at an address, of the process's or of the kernel's own copy.
    #[inline(always)]
    pub fn hold_vectors(&mut self, address: u64, count: u32, in_kernel: bool) {
        self.vectors_at = address;
        self.vectors_in_kernel = u32::from(in_kernel);
        self.vectors_count = count;
        self.vectors_next = 0;
        self.to = 0;
    }

    /// Fills the window with the call's first bytes, for which it waits where they cannot be read. Should that be in vain, a
    /// parser will ask for them once more.
    #[inline(always)]
    pub fn read_first(&mut self) {
        let size = if self.vectors_at == 0 { self.read_on(0) } else { buffers_refill(self, 0) };
        if size == 0 {
            buffers_wait(self);
        }
    }

    /// How many of them have been dealt with.
    #[inline(always)]
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Goes to `position`.
    #[inline(always)]
    pub fn go_to(&mut self, position: u32) {
        self.position = position;
    }

    /// When the call was, as asked for by `clock` the first time.
    #[inline(always)]
    pub fn time(&mut self, clock: impl FnOnce() -> u64) -> u64 {
        if self.now_ns == 0 {
            self.now_ns = clock();
        }
        self.now_ns
    }

    /// Keeps the index of the program's entry in the maps that have one for each program that sees calls.
    #[inline(always)]
    pub fn set_room(&mut self, room: u32) {
        self.room = room;
    }

    /// The index of the program's entry in the maps that have one for each program that sees calls.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        self.room
    }

    /// What is put together of a cache key.
    #[inline(always)]
    pub const fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    /// See [`Scratch`].
    #[inline(always)]
    pub fn scratch(&mut self) -> &mut Scratch {
        &mut self.scratch
    }

    /// How many bytes the window holds from `offset` on, if they are enough for any header, or all there are.
    #[inline(always)]
    pub fn held(&self, offset: u32, header_max: u32) -> Option<u32> {
        if offset < self.start || offset >= self.stop {
            return None;
        }
        let available = self.stop - offset;
        if available >= header_max || self.stop == self.to { Some(available) } else { None }
    }

    /// Sixteen bytes of the window from `offset` on: of those in its first [`WINDOW`], there always are as many.
    #[inline(always)]
    pub fn words(&self, offset: u32) -> (u64, u64) {
        let at = (offset.wrapping_sub(self.start) & (WINDOW - 1)) as usize;
        // SAFETY: the window has room for 16 bytes from any of its first `WINDOW` on.
        unsafe {
            let from = self.window.as_ptr().add(at);
            (assembly::load(from), assembly::load(from.add(8)))
        }
    }

    /// Goes on to the next vector; false if there is none or it cannot be read.
    #[inline(always)]
    fn next_vector(&mut self) -> bool {
        let next = self.vectors_next;
        if self.vectors_at == 0 || next >= self.vectors_count {
            return false;
        }
        let place = next % VECTORS;
        if place == 0 {
            let left = self.vectors_count - next;
            let size = if left >= VECTORS { VECTORS * 16 } else { (left & (VECTORS - 1)) * 16 };
            let at = self.vectors_at + u64::from(next) * 16;
            let to = self.vectors.as_mut_ptr().cast();
            // SAFETY: the destination has room for `VECTORS`; the helpers may be given any address.
            let read = unsafe {
                if self.vectors_in_kernel == 0 {
                    bpf_probe_read_user(to, size, at as *const c_void)
                } else {
                    bpf_probe_read_kernel(to, size, at as *const c_void)
                }
            };
            if read != 0 {
                return false;
            }
        }
        let Some(&[base, length]) = self.vectors.get(place as usize) else { return false };
        self.base = base;
        self.from = self.to;
        let room = self.end.saturating_sub(self.to);
        self.to += if length < u64::from(room) { length as u32 } else { room };
        self.vectors_next = next + 1;
        true
    }

    /// Makes the buffer that holds `offset` the current one.
    #[inline(always)]
    fn seek(&mut self, offset: u32) -> bool {
        if offset >= self.from && offset < self.to {
            return true;
        }
        if offset < self.from {
            self.vectors_next = 0;
            self.from = 0;
            self.to = 0;
        }
        let mut more = true;
        repeat(VECTORS_MAX, || {
            more = self.next_vector();
            more && offset >= self.to
        });
        more && offset < self.to
    }

    /// Fills the window from `offset` on; tells how many bytes it holds then, 0 if they cannot be read.
    #[inline(always)]
    fn refill(&mut self, offset: u32) -> u32 {
        if self.seek(offset) { self.read_on(offset) } else { 0 }
    }

    /// The same where the current buffer holds `offset`.
    #[inline(always)]
    fn read_on(&mut self, offset: u32) -> u32 {
        // Out of memory, for the verifier of 6.1: it cannot follow a caller's number through these comparisons.
        let left = hide_field(&self.to) - offset;
        let most = if self.stop == 0 { FIRST_WINDOW } else { WINDOW };
        let size = if left > most { most } else { left };
        let address = self.base + u64::from(offset - self.from);
        // SAFETY: the window has room for `WINDOW`; the helper may be given any address.
        let read =
            unsafe { bpf_probe_read_user(self.window.as_mut_ptr().cast(), size, address as *const c_void) };
        if read != 0 {
            // The helper has cleared what the window held.
            self.start = offset;
            self.stop = offset;
            return 0;
        }
        self.start = offset;
        self.stop = offset + size;
        size
    }
}

/// [`Buffers::read_message`], tried again for a while, as a subprogram: 1 if it was read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn buffers_reread_message(buffers: *mut Buffers, message: u64) -> u32 {
    // SAFETY: null, or this processor's entry for this program: nothing else uses it while the program runs.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    let mut is_read = false;
    let patience = hide_field(&buffers.patience);
    buffers.patience = patience.try_on(|| {
        is_read = buffers.read_message(message);
        is_read
    });
    u32::from(is_read)
}

/// Why the bytes of a call cannot be read from its registers.
#[inline(never)]
fn why_not(task: Task, nr: u64, in_call: bool) -> Unread {
    let flags: u32 = task.read(OFFSET_TASK_FLAGS.load());
    if flags & KERNEL_THREAD != 0 {
        Unread::Other
    } else if flags & IO_WORKER != 0 || !in_call || nr == number::IO_URING_ENTER {
        Unread::IoUring
    } else if registers::is_32_bit(task) {
        Unread::Compat
    } else if nr == number::SENDFILE || nr == number::SPLICE {
        Unread::Splice
    } else {
        Unread::Other
    }
}

/// [`Buffers::refill`], as a subprogram.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn buffers_refill(buffers: *mut Buffers, offset: u32) -> u32 {
    // SAFETY: null, or this processor's entry for this program: nothing else uses it while the program runs.
    unsafe { buffers.as_mut() }.map_or(0, |buffers| buffers.refill(offset))
}

/// Waits until a call's first bytes can be read, and fills the window with them.
///
/// Only where a call is begun with, before a parser has taken most of the stack.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn buffers_wait(buffers: *mut Buffers) -> u32 {
    // SAFETY: as above.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    let mut size = 0;
    let patience = hide_field(&buffers.patience);
    buffers.patience = patience.try_on(|| {
        size = buffers.refill(0);
        size != 0
    });
    size
}

/// Counts the call's bytes from `offset` on, which a parser has asked for in vain.
///
/// A function of its own: what it takes of the stack is then not taken while memory is read.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn buffers_fail(buffers: *mut Buffers, offset: u32) -> u32 {
    // SAFETY: as above.
    let Some(buffers) = (unsafe { buffers.as_mut() }) else { return 0 };
    if buffers.failed == 0 {
        buffers.failed = 1;
        losses::unread(Unread::Fault, u64::from(buffers.end.saturating_sub(offset)));
    }
    0
}
