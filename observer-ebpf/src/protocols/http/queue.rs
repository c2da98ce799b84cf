//! Requests in flight, in order: pushed by the client's direction, answered by the server's, which may be at work at the
//! same time.
//!
//! Past a bound only their number is kept, with what they have alike: their times are not known then.

use super::layout::{Method, UNMATCHED, UNSIZED, UNTIMED};
use crate::layout::names::OTHER;
use crate::stream::bytes::hide_field;

/// Requests that are kept with all that is known of them.
pub(super) const LENGTH: u32 = 16;

/// [`Request::flags`]: its route has no number yet, and is the one that waits for one.
pub(super) const IS_CANDIDATE: u8 = 1;
/// [`Request::flags`]: its times are not known.
pub(super) const IS_UNTIMED: u8 = 2;
/// [`Request::flags`]: requests of several methods were past the bound, and this may be of any of them.
pub(super) const IS_MIXED: u8 = 8;
/// [`Request::flags`]: its stream fell out of sync within its body, whose size is not known.
pub(super) const IS_UNSIZED: u8 = 4;

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Request {
    /// `CLOCK_MONOTONIC` of its first byte.
    pub(super) start_ns: u64,
    /// Bytes of its body so far.
    pub(super) bytes: u64,
    /// The number of its route.
    pub(super) route: u16,
    /// The number of its authority.
    pub(super) authority: u16,
    /// A [`Method`].
    pub(super) method: u8,
    /// [`IS_CANDIDATE`] and so on.
    pub(super) flags: u8,
    pub(super) reserved: u16,
}

impl Request {
    pub(super) const NONE: Self =
        Self { start_ns: 0, bytes: 0, route: 0, authority: 0, method: 0, flags: 0, reserved: 0 };

    /// What is not known of it: bits of [`Current::kind`](super::layout::Current::kind).
    #[inline(always)]
    pub(super) const fn unknown(&self) -> u8 {
        const { assert!(UNTIMED == IS_UNTIMED << 3 && UNSIZED == IS_UNSIZED << 3) };
        (self.flags & (IS_UNTIMED | IS_UNSIZED)) << 3
    }
}

/// The requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Requests {
    all: [Request; LENGTH as usize],
    /// How many have been pushed and answered, of those that are kept.
    pushed: u32,
    popped: u32,
    /// Likewise, of those past the bound.
    pushed_beyond: u32,
    popped_beyond: u32,
    /// What those past the bound have alike.
    beyond: Request,
}

impl Requests {
    pub(super) const NONE: Self = Self {
        all: [Request::NONE; LENGTH as usize],
        pushed: 0,
        popped: 0,
        pushed_beyond: 0,
        popped_beyond: 0,
        beyond: Request::NONE,
    };

    /// Nothing is in flight.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.popped = hide_field(&self.pushed);
        self.popped_beyond = hide_field(&self.pushed_beyond);
    }

    /// Adds a request. False if it is past the bound.
    #[inline(always)]
    pub(super) fn push(&mut self, request: Request) -> bool {
        let beyond = hide_field(&self.pushed_beyond);
        let is_first = beyond == hide_field(&self.popped_beyond);
        let pushed = hide_field(&self.pushed);
        if is_first && pushed.wrapping_sub(hide_field(&self.popped)) < LENGTH {
            self.all[(pushed & (LENGTH - 1)) as usize] = request;
            // The other direction may look at once: what it sees is complete.
            core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
            self.pushed = pushed.wrapping_add(1);
            return true;
        }
        let flags = request.flags & !IS_CANDIDATE | IS_UNTIMED;
        if is_first {
            self.beyond = Request { start_ns: 0, bytes: 0, flags, ..request };
        } else {
            if self.beyond.method != request.method {
                self.beyond.method = Method::Other as u8;
                self.beyond.flags |= IS_MIXED;
            }
            if self.beyond.route != request.route {
                self.beyond.route = OTHER as u16;
            }
            if self.beyond.authority != request.authority {
                self.beyond.authority = OTHER as u16;
            }
        }
        self.pushed_beyond = beyond.wrapping_add(1);
        false
    }

    /// Whether a request is of the same route, method and authority as the one before it.
    #[inline(always)]
    pub(super) fn is_alike(&self, request: &Request) -> bool {
        let newest = &self.all[(hide_field(&self.pushed).wrapping_sub(1) & (LENGTH - 1)) as usize];
        let waits = |request: &Request| request.flags & IS_CANDIDATE != 0;
        hide_field(&newest.route) == request.route
            && hide_field(&newest.authority) == request.authority
            && hide_field(&newest.method) == request.method
            && waits(newest) == waits(request)
    }

    /// The body of the newest request goes on.
    #[inline(always)]
    pub(super) fn add_bytes(&mut self, bytes: u64) {
        let pushed = hide_field(&self.pushed);
        if hide_field(&self.pushed_beyond) == hide_field(&self.popped_beyond) {
            let newest = &mut self.all[(pushed.wrapping_sub(1) & (LENGTH - 1)) as usize];
            newest.bytes = newest.bytes.wrapping_add(bytes);
        }
    }

    /// How long the newest request's body is will not be known.
    #[inline(always)]
    pub(super) fn lose_size(&mut self) {
        if hide_field(&self.pushed_beyond) == hide_field(&self.popped_beyond) {
            let newest = (hide_field(&self.pushed).wrapping_sub(1) & (LENGTH - 1)) as usize;
            self.all[newest].flags |= IS_UNSIZED;
        }
    }

    /// The oldest request, if there is one.
    #[inline(always)]
    pub(super) fn front(&self) -> Option<Request> {
        let popped = hide_field(&self.popped);
        if hide_field(&self.pushed) != popped {
            return Some(self.all[(popped & (LENGTH - 1)) as usize]);
        }
        if hide_field(&self.pushed_beyond) == hide_field(&self.popped_beyond) {
            return None;
        }
        Some(self.beyond)
    }

    /// The oldest request is over.
    #[inline(always)]
    pub(super) fn pop(&mut self) {
        let popped = hide_field(&self.popped);
        if hide_field(&self.pushed) != popped {
            self.popped = popped.wrapping_add(1);
        } else if hide_field(&self.pushed_beyond) != hide_field(&self.popped_beyond) {
            self.popped_beyond = self.popped_beyond.wrapping_add(1);
        }
    }

    /// Has the oldest request be of this route, of which nothing waits any more.
    #[inline(always)]
    pub(super) fn settle_route(&mut self, route: u16) {
        let oldest = &mut self.all[(hide_field(&self.popped) & (LENGTH - 1)) as usize];
        oldest.route = route;
        oldest.flags &= !IS_CANDIDATE;
    }

    /// Leaves only the newest request, and tells how many it has left out.
    #[inline(always)]
    pub(super) fn keep_newest(&mut self) -> u32 {
        let beyond = hide_field(&self.pushed_beyond).wrapping_sub(hide_field(&self.popped_beyond));
        let kept = hide_field(&self.pushed).wrapping_sub(hide_field(&self.popped));
        if beyond > 0 {
            self.popped = hide_field(&self.pushed);
            self.popped_beyond = hide_field(&self.pushed_beyond).wrapping_sub(1);
            return kept.wrapping_add(beyond - 1);
        }
        if kept == 0 {
            return 0;
        }
        self.popped = hide_field(&self.pushed).wrapping_sub(1);
        kept - 1
    }
}

const _: () = assert!(UNMATCHED == 0, "a request of no route is all zeroes");
