//! Requests that await their responses, in order.

use crate::stream::bytes::hide_field;

/// How many are kept: a power of two.
pub(super) const REQUESTS: u32 = 32;

/// [`Request::flags`]: there were messages for a Fetch when it was sent.
pub(super) const HAS_MESSAGES: u8 = 1;

/// A request.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Request {
    /// When it was sent.
    pub(super) start_ns: u64,
    /// Its correlation id.
    pub(super) correlation: u32,
    /// Its API key and version, of which greater ones than there are have no place here.
    pub(super) key: u8,
    pub(super) version: u8,
    /// [`HAS_MESSAGES`].
    pub(super) flags: u8,
    /// 1 if it is one.
    pub(super) is_one: u8,
}

/// Requests in flight.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct InFlight {
    requests: [Request; REQUESTS as usize],
    /// The one whose response is being read.
    pub(super) answered: Request,
    /// Requests so far. Written by the client's direction.
    pushed: u32,
    /// How many of them are answered, or are not going to be. Written by the server's direction.
    popped: u32,
}

impl InFlight {
    /// Nothing is in flight.
    #[inline(always)]
    pub(super) const fn reset(&mut self) {
        self.pushed = 0;
        self.popped = 0;
        self.answered.is_one = 0;
    }

    /// Adds a request, if there is room.
    #[inline(always)]
    pub(super) fn push(&mut self, request: Request) {
        if self.pushed.wrapping_sub(hide_field(&self.popped)) >= REQUESTS {
            return;
        }
        self.requests[(self.pushed & (REQUESTS - 1)) as usize] = request;
        // The other direction may look at once: what it sees is complete.
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
        self.pushed = self.pushed.wrapping_add(1);
    }

    /// Takes back the last one, if its correlation id is this: it has no response.
    #[inline(always)]
    pub(super) fn take_back(&mut self, correlation: u32) {
        let before = self.pushed.wrapping_sub(1);
        let last = &self.requests[(before & (REQUESTS - 1)) as usize];
        if self.pushed != hide_field(&self.popped) && last.correlation == correlation {
            self.pushed = before;
        }
    }

    /// Marks the last one, if its correlation id is this.
    #[inline(always)]
    pub(super) fn mark(&mut self, correlation: u32, flag: u8) {
        let last = &mut self.requests[(self.pushed.wrapping_sub(1) & (REQUESTS - 1)) as usize];
        if last.correlation == correlation {
            last.flags |= flag;
        }
    }

    /// Whether the oldest has this correlation id: then it is [`InFlight::answered`].
    #[inline(always)]
    pub(super) fn is_next(&mut self, correlation: u32) -> bool {
        let request = &self.requests[(self.popped & (REQUESTS - 1)) as usize];
        let is_next = self.popped != hide_field(&self.pushed) && request.correlation == correlation;
        if is_next {
            self.answered = Request { is_one: 1, ..*request };
            self.popped = self.popped.wrapping_add(1);
        }
        is_next
    }

    /// Takes the oldest for one that is not answered, if it was sent before the one with a correlation id. Those count up.
    #[inline(always)]
    pub(super) fn drop_before(&mut self, correlation: u32) -> bool {
        let request = &self.requests[(self.popped & (REQUESTS - 1)) as usize];
        let is_before = (request.correlation.wrapping_sub(correlation)).cast_signed() < 0;
        if self.popped == hide_field(&self.pushed) || !is_before {
            self.answered.is_one = 0;
            return false;
        }
        self.popped = self.popped.wrapping_add(1);
        true
    }

    /// Whether one of them may have this correlation id: whether it is one from that of the oldest to that of the last.
    #[inline(always)]
    pub(super) fn has(&self, correlation: u32) -> bool {
        let (popped, pushed) = (hide_field(&self.popped), hide_field(&self.pushed));
        let first = self.requests[(popped & (REQUESTS - 1)) as usize].correlation;
        let last = self.requests[(pushed.wrapping_sub(1) & (REQUESTS - 1)) as usize].correlation;
        popped != pushed && correlation.wrapping_sub(first) <= last.wrapping_sub(first)
    }
}
