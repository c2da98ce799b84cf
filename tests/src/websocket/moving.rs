//! Messages that are sent from memory whose pages the kernel moves.
//!
//! While pages are being moved nobody can reach them. A process that touches one sleeps until it is back; a program that
//! looks at what the process has just sent cannot.

use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{io, mem, ptr, slice, thread};

use anyhow::{Context as _, anyhow, ensure};

use super::bench::Bench;
use super::calls::{Pair, Receiving, Sending};
use super::sides;
use super::traffic::Opcode;
use super::wire::{REQUEST, RESPONSE, Wire};
use crate::metrics::unparsed;

const WRITE: Sending = Sending::Write(usize::MAX);
const READ: Receiving = Receiving::Read(1 << 16);

/// Bytes of a huge page, and of a page.
const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;
/// How long the pages stay where they are before they are moved again.
const PAUSE: Duration = Duration::from_millis(1);
/// How long it may take until they have been moved as often as is asked for.
const PATIENCE: Duration = Duration::from_secs(60);

/// By which call a message is sent.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// One of those that take an address.
    Address(Sending),
    /// `sendmsg`, with all that it takes in the memory that is moved.
    Message,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How often the pages were moved while messages were sent.
    pub moves: u32,
    /// Messages that the agent says it could not read.
    pub unread: u32,
}

/// Memory of which the kernel is asked to make a huge page, again and again.
struct Memory(Range<usize>);

impl Memory {
    fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // Twice as much, so that a huge page fits in.
        // SAFETY: memory that nothing else has.
        let start = unsafe { libc::mmap(ptr::null_mut(), 2 * HUGE, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = Self(start.expose_provenance()..start.expose_provenance() + 2 * HUGE);
        // SAFETY: as above.
        advise(unsafe { libc::madvise(memory.place(0), HUGE, libc::MADV_HUGEPAGE) })?;
        Ok(memory)
    }

    /// Where the huge page is.
    fn start(&self) -> usize {
        self.0.start.next_multiple_of(HUGE)
    }

    /// A place in its first page.
    fn place<T>(&self, offset: usize) -> *mut T {
        ptr::with_exposed_provenance_mut(self.start() + offset)
    }

    /// Puts bytes into its first page.
    fn put(&self, offset: usize, bytes: &[u8]) -> &[u8] {
        let place: *mut u8 = self.place(offset);
        // SAFETY: the page is there as long as this is, and nobody writes to these bytes any more.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            slice::from_raw_parts(place, bytes.len())
        }
    }

    /// Has all its pages moved into a huge one, which then is pages again, for one of them is given back.
    fn make_move(&self) -> io::Result<()> {
        // SAFETY: the second page, of which nothing is used.
        unsafe { self.place::<u8>(PAGE).write_volatile(1) };
        // SAFETY: as above.
        advise(unsafe { libc::madvise(self.place(PAGE), PAGE, libc::MADV_DONTNEED) })?;
        // SAFETY: what the pages hold stays the same.
        advise(unsafe { libc::madvise(self.place(0), HUGE, libc::MADV_COLLAPSE) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: nothing borrows from it any more.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.0.start), self.0.len()) };
    }
}

fn advise(outcome: libc::c_int) -> io::Result<()> {
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends one message after another, until the pages that they are sent from have been moved so often. The agent must count
/// each, or say that it could not read its bytes.
///
/// # Errors
///
/// If the agent says anything else, or the kernel makes no huge pages.
pub fn exchange(bench: &mut Bench, by: By, moves: u32) -> anyhow::Result<Outcome> {
    let memory = Memory::new().and_then(|memory| memory.make_move().map(|()| memory)).context(
        "the kernel makes no huge pages (/sys/kernel/mm/transparent_hugepage/enabled), so it moves none",
    )?;
    let mut message = Wire::client();
    message.message(Opcode::Binary, 60);
    let bytes = memory.put(0, &message.bytes);
    let header = prepare(&memory, bytes);
    let before = unparsed(&bench.agent.scrape()?, "fault");
    let pair = Pair::tcp("127.0.0.1")?;
    pair.ask(REQUEST, WRITE, READ)?;
    pair.answer(RESPONSE, WRITE, READ)?;
    bench.count(REQUEST.len(), RESPONSE.len());
    bench.open(1);

    let is_over = AtomicBool::new(false);
    let made = AtomicU32::new(0);
    let sent = thread::scope(|scope| {
        let pages = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                // Not where a page is in use for a moment.
                if memory.make_move().is_ok() {
                    made.fetch_add(1, Relaxed);
                }
                thread::sleep(PAUSE);
            }
        });
        let send = || {
            let mut sent = 0;
            let started = Instant::now();
            while made.load(Relaxed) < moves {
                ensure!(started.elapsed() < PATIENCE, "the kernel has moved the pages {made:?} times only");
                match by {
                    By::Address(sending) => pair.client.send(bytes, sending)?,
                    // SAFETY: the header says where the bytes are.
                    By::Message => match unsafe { libc::sendmsg(pair.client.as_raw_fd(), header, 0) } {
                        count if count == bytes.len().cast_signed() => {}
                        _ => return Err(io::Error::last_os_error()).context("sendmsg"),
                    },
                }
                pair.server.receive(bytes.len(), READ)?;
                sent += 1;
            }
            Ok::<u32, anyhow::Error>(sent)
        };
        let outcome = send();
        is_over.store(true, Relaxed);
        pages.join().map_err(|_| anyhow!("the mover panicked"))?;
        outcome
    })?;

    let unread = unparsed(&bench.agent.scrape()?, "fault") - before;
    let size = bytes.len() as f64;
    let unread_messages = (0..=sent).find(|&messages| f64::from(messages) * size == unread);
    let unread_messages =
        unread_messages.with_context(|| format!("{unread} bytes were unread, of messages of {size}"))?;
    bench.count(bytes.len() * sent as usize, 0);
    bench.client.sent.add_all(&message.traffic, sent - unread_messages);
    bench.server.received.add_all(&message.traffic, sent);
    sides::settle(&bench.agent, &[&bench.client, &bench.server])?;
    drop(pair);
    bench.close("none");
    sides::settle(&bench.agent, &[&bench.client, &bench.server])?;
    Ok(Outcome { moves: made.into_inner(), unread: unread_messages })
}

/// Puts what `sendmsg` takes behind the bytes that it is to send.
fn prepare(memory: &Memory, bytes: &[u8]) -> *const libc::msghdr {
    let vector: *mut libc::iovec = memory.place(1024);
    let header: *mut libc::msghdr = memory.place(2048);
    // SAFETY: there is room for both in the page; numbers and pointers, all of which may be zero.
    unsafe {
        vector.write(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = vector;
        message.msg_iovlen = 1;
        header.write(message);
    }
    header
}
