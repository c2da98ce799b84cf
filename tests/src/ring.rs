//! Requests of `io_uring`, one at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use io_uring::{IoUring, cqueue, squeue};

/// Who carries a request out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// The thread that submits it, at once or when its socket is ready.
    Thread,
    /// A worker of the kernel's, which waits for the socket.
    Worker,
    /// A thread of the kernel's that looks for requests.
    Poller,
}

/// Milliseconds that such a thread looks for more before it sleeps.
const POLLER_IDLE_MS: u32 = 100;

thread_local! {
    static RINGS: RefCell<BTreeMap<By, IoUring>> = const { RefCell::new(BTreeMap::new()) };
}

/// A ring.
///
/// # Errors
///
/// If the kernel has none for this process.
pub fn ring(by: By) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    if by == By::Poller {
        builder.setup_sqpoll(POLLER_IDLE_MS);
    }
    builder.build(64)
}

/// Has a request carried out, with a ring of this thread; tells its result once it needs nothing of the thread's any
/// more. What the request points to must be there until then.
///
/// # Errors
///
/// What the request ends with.
pub fn request(by: By, entry: &squeue::Entry) -> io::Result<usize> {
    RINGS.with_borrow_mut(|rings| {
        let ring = match rings.entry(by) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => place.insert(ring(by)?),
        };
        let flags = if by == By::Worker { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        // SAFETY: what it points to is there until it is complete, which is waited for below.
        unsafe { ring.submission().push(&entry.clone().flags(flags)) }.map_err(io::Error::other)?;
        let mut result = completion(ring)?;
        if cqueue::more(result.1) {
            // The kernel has done with the buffer, too.
            result.1 = completion(ring)?.1;
        }
        usize::try_from(result.0).map_err(|_| io::Error::from_raw_os_error(-result.0))
    })
}

/// The next completion's result and flags.
///
/// # Errors
///
/// If it cannot be waited for.
pub fn completion(ring: &mut IoUring) -> io::Result<(i32, u32)> {
    loop {
        if let Some(entry) = ring.completion().next() {
            return Ok((entry.result(), entry.flags()));
        }
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
}
