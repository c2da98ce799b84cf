//! Counters of an HTTP connection.

use crate::layout::connection::{Connection, Details};
use crate::protocols::Protocol;

/// What is known of an HTTP connection. What a WebSocket counts begins with it, as every WebSocket was HTTP before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Responses with status 429 (RFC 6585, section 4) at the start of a call.
    pub too_many_requests: u32,
    /// Zero.
    pub reserved: u32,
}

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self { too_many_requests: 0, reserved: 0 };
}

impl Details {
    /// As what `http` counts, whether or not that is what is in there.
    #[inline(always)]
    pub const fn http(&self) -> &Counters {
        // SAFETY: of integers only, without padding, as all views are.
        unsafe { &self.http }
    }

    /// As [`Details::http`].
    #[inline(always)]
    pub const fn http_mut(&mut self) -> &mut Counters {
        // SAFETY: of integers only, without padding, as all views are.
        unsafe { &mut self.http }
    }
}

impl Connection {
    /// Its counters as HTTP, if the connection speaks that, or did before it became a WebSocket; else zeroes.
    pub fn http(&self) -> &Counters {
        if self.protocol == Protocol::Http as u8 {
            self.details.http()
        } else if self.protocol == Protocol::WebSocket as u8 {
            &self.details.websocket().http
        } else {
            &Counters::ZERO
        }
    }
}
