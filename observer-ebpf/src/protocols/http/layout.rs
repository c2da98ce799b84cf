//! Counters of an HTTP connection, and what is counted of requests by name.
//!
//! Requests are counted by process and server, method, route and status, however many connections there are: in a map,
//! whose keys are [`RequestKey`] and whose values are [`RequestCounts`]. A connection's slot shows the request that is
//! being answered, or that is to be answered next.

use core::ops::AddAssign;

use crate::layout::buckets::bucket;
use crate::layout::connection::{Connection, Details};
use crate::layout::names::Namespace;
use crate::protocols::Protocol;
use crate::stream::bytes::hide_field;

/// Upper bounds, inclusive, of times in nanoseconds.
pub static TIME_BOUNDS: [u64; 11] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Upper bounds, inclusive, of sizes of bodies in bytes.
pub static SIZE_BOUNDS: [u64; 7] = [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Upper bounds, inclusive, of how long streams last, in nanoseconds.
pub static STREAM_BOUNDS: [u64; 7] = [
    1_000_000_000,
    10_000_000_000,
    60_000_000_000,
    300_000_000_000,
    900_000_000_000,
    3_600_000_000_000,
    14_400_000_000_000,
];

named! {
    /// Methods of RFC 9110, section 9, and of RFC 5789.
    pub Method, METHODS:
    Other "other",
    Get "GET",
    Head "HEAD",
    Post "POST",
    Put "PUT",
    Delete "DELETE",
    Connect "CONNECT",
    Options "OPTIONS",
    Trace "TRACE",
    Patch "PATCH",
}

impl Method {
    /// The method stored as `value`; anything unknown is [`Method::Other`].
    pub const fn from_u8(value: u8) -> Self {
        let mut at = 0;
        while at < METHODS {
            if Self::ALL[at] as u8 == value {
                return Self::ALL[at];
            }
            at += 1;
        }
        Self::Other
    }
}

/// The longest template of a route, in bytes: 96 of a path, and what stands for the rest of it.
pub const ROUTE_MAX: usize = 104;

/// Where a route's number is found: a key of the `ROUTES` map, whose values are numbers from
/// [`FIRST`](crate::layout::names::FIRST) on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RouteKey {
    /// The template, UTF-8; zeroes behind `length`.
    pub bytes: [u8; ROUTE_MAX],
    /// Bytes used.
    pub length: u32,
    /// The number of the process and the server, from `SERVICES`.
    pub service: u32,
}

const _: () = assert!(size_of::<RouteKey>() == 112);

/// Routes, as a kind of names.
#[derive(Clone, Copy, Debug)]
pub enum Routes {}

impl Namespace for Routes {
    type Counts = RequestCounts;
    const PLACE: usize = 1;
}

/// Authorities, as a kind of names.
#[derive(Clone, Copy, Debug)]
pub enum Authorities {}

impl Namespace for Authorities {
    type Counts = RequestCounts;
    const PLACE: usize = 2;
}

/// A segment of a given template, at a node of their tree: a key of the `TEMPLATE_TREE` map, whose values are nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct TreeKey {
    /// The segment; zeroes behind `length`, and for [`ANY`].
    pub bytes: [u8; 32],
    /// Bytes of it, or [`ANY`].
    pub length: u32,
    /// The node, [`ROOT`] at the start of a path.
    pub node: u32,
}

/// [`TreeKey::length`] of any segment that the node does not name.
pub const ANY: u32 = u32::MAX;

/// The first node.
pub const ROOT: u32 = 1;

/// A template that ends at a node: a value of the `TEMPLATES` map, whose keys are nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GivenTemplate {
    /// Its text, zeroes behind `length`.
    pub bytes: [u8; ROUTE_MAX],
    /// Bytes used.
    pub length: u64,
}

/// The number of a route that no request has been answered for, but for those that found nothing.
pub const UNMATCHED: u32 = crate::layout::names::NONE;

/// What requests are counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RequestKey {
    /// The number of the process and the server, from `SERVICES`.
    pub service: u32,
    /// The number of a route, [`UNMATCHED`], [`OTHER`](crate::layout::names::OTHER) or
    /// [`CROWDED`](crate::layout::names::CROWDED).
    pub route: u16,
    /// The number of an authority; [`NONE`](crate::layout::names::NONE) where there is none.
    pub authority: u16,
    /// The status; 0 without a response.
    pub status: u16,
    /// A [`Method`].
    pub method: u8,
    /// Zero.
    pub reserved: u8,
}

const _: () = assert!(size_of::<RequestKey>() == 12);

/// Words of [`RequestCounts`]: a power of two, so that a masked place is in bounds.
pub const WORDS: usize = 64;

/// What is counted of requests: numbers in the places that are named here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct RequestCounts {
    /// All of them.
    pub words: [u64; WORDS],
}

/// [`RequestCounts`]: requests that are over.
pub const REQUESTS: usize = 0;
/// Events of event streams.
pub const EVENTS: usize = 1;
/// From first byte of the request to last of the response: nanoseconds of all, then how many by bucket of
/// [`TIME_BOUNDS`].
pub const DURATIONS: usize = 2;
/// To the first byte of the response, likewise.
pub const FIRST_BYTES: usize = DURATIONS + 2 + TIME_BOUNDS.len();
/// Bodies of requests: bytes of all, then how many by bucket of [`SIZE_BOUNDS`].
pub const REQUEST_SIZES: usize = FIRST_BYTES + 2 + TIME_BOUNDS.len();
/// Bodies of responses, likewise.
pub const RESPONSE_SIZES: usize = REQUEST_SIZES + 2 + SIZE_BOUNDS.len();
/// Streams: nanoseconds of all, then how many by bucket of [`STREAM_BOUNDS`].
pub const STREAMS: usize = RESPONSE_SIZES + 2 + SIZE_BOUNDS.len();
/// Connections that ended before the answer was whole, by [`Ending`].
pub const ENDINGS: usize = STREAMS + 2 + STREAM_BOUNDS.len();

const _: () = assert!(ENDINGS + Ending::ALL.len() <= WORDS);

/// How a connection ended before the answer was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Ending {
    /// One end closed it.
    Closed = 0,
    /// The other end reset it.
    Reset = 1,
    /// TCP gave up waiting for the other end.
    Timeout = 2,
}

impl Ending {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Reset, Self::Timeout];
}

impl Default for RequestCounts {
    fn default() -> Self {
        Self { words: [0; WORDS] }
    }
}

impl AddAssign for RequestCounts {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in self.words.iter_mut().zip(other.words) {
            *sum += more;
        }
    }
}

impl RequestCounts {
    /// Adds a request that was answered whole.
    pub fn add(&mut self, done: &Done) {
        done.each(|place, amount| self.words[place & (WORDS - 1)] += amount);
    }

    /// The sum of what was observed, and how many there were in each of `N` buckets.
    pub fn observed<const N: usize>(&self, place: usize) -> (u64, [u64; N]) {
        (self.words[place], core::array::from_fn(|bucket| self.words[(place + 1 + bucket) & (WORDS - 1)]))
    }
}

/// What was measured of a request that was answered whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Done {
    /// Nanoseconds from the first byte of the request to the last one of the response.
    pub duration_ns: u64,
    /// Nanoseconds to the first byte of the response.
    pub first_byte_ns: u64,
    /// Nanoseconds from the response's first byte to its last.
    pub response_ns: u64,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's.
    pub response_bytes: u64,
    /// 1 if it was a stream, which has lasted, and not taken its time.
    pub is_stream: u64,
    /// 1 if the times are known.
    pub is_timed: u64,
    /// 1 if the size of the request's body is known.
    pub is_sized: u64,
}

impl Done {
    /// Of an answer whose last byte was there at `end_ns`, and which is a stream if it has taken `stream_after_ns`.
    #[inline(always)]
    pub fn of(current: &Current, end_ns: u64, stream_after_ns: u64) -> Self {
        let (start_ns, first_ns) = (hide_field(&current.start_ns), hide_field(&current.first_ns));
        Self {
            duration_ns: end_ns.saturating_sub(start_ns),
            first_byte_ns: first_ns.saturating_sub(start_ns),
            response_ns: end_ns.saturating_sub(first_ns),
            request_bytes: hide_field(&current.request_bytes),
            response_bytes: hide_field(&current.response_bytes),
            is_stream: u64::from(current.is_stream(end_ns, stream_after_ns)),
            is_timed: u64::from(current.kind & UNTIMED == 0),
            is_sized: u64::from(current.kind & UNSIZED == 0),
        }
    }

    /// Tells what it adds to which places of [`RequestCounts`].
    #[inline(always)]
    pub fn each(&self, mut add: impl FnMut(usize, u64)) {
        let timed = hide_field(&self.is_timed) & 1;
        let stream = timed & hide_field(&self.is_stream);
        let request = timed ^ stream;
        add(REQUESTS, 1);
        add(DURATIONS, hide_field(&self.duration_ns) * request);
        add(DURATIONS + 1 + bucket(&TIME_BOUNDS, hide_field(&self.duration_ns)), request);
        add(FIRST_BYTES, hide_field(&self.first_byte_ns) * timed);
        add(FIRST_BYTES + 1 + bucket(&TIME_BOUNDS, hide_field(&self.first_byte_ns)), timed);
        let sized = hide_field(&self.is_sized) & 1;
        add(REQUEST_SIZES, hide_field(&self.request_bytes) * sized);
        add(REQUEST_SIZES + 1 + bucket(&SIZE_BOUNDS, hide_field(&self.request_bytes)), sized);
        add(RESPONSE_SIZES, hide_field(&self.response_bytes));
        add(RESPONSE_SIZES + 1 + bucket(&SIZE_BOUNDS, hide_field(&self.response_bytes)), 1);
        add(STREAMS, hide_field(&self.response_ns) * stream);
        add(STREAMS + 1 + bucket(&STREAM_BOUNDS, hide_field(&self.response_ns)), stream);
    }
}

/// [`Current::kind`]: the response has a length, or no body.
pub const SIZED: u8 = 1;
/// [`Current::kind`]: its body comes in chunks.
pub const CHUNKED: u8 = 2;
/// [`Current::kind`]: its body ends with the connection.
pub const UNTIL_CLOSE: u8 = 3;
/// [`Current::kind`]: these bits of it are one of those.
pub const FRAMING: u8 = 3;
/// [`Current::kind`]: it is an event stream.
pub const EVENT_STREAM: u8 = 4;
/// [`Current::kind`]: it was whole, and has not been counted yet.
pub const ENDED: u8 = 8;
/// [`Current::kind`]: the times are not known.
pub const UNTIMED: u8 = 16;
/// [`Current::kind`]: the size of the request's body is not known.
pub const UNSIZED: u8 = 32;

/// The request that is being answered, or that is to be answered next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Current {
    /// `CLOCK_MONOTONIC` of its first byte.
    pub start_ns: u64,
    /// That of the first byte of the response; 0 before.
    pub first_ns: u64,
    /// That of the last byte so far of a body that ends with the connection; 0 before.
    pub last_ns: u64,
    /// Bytes of its body.
    pub request_bytes: u64,
    /// Bytes of the response's, so far, where that has no length; else in all.
    pub response_bytes: u64,
    /// As in [`RequestKey`].
    pub route: u16,
    /// See `route`.
    pub authority: u16,
    /// See `route`; 0 before the response's head is over.
    pub status: u16,
    /// See `route`.
    pub method: u8,
    /// [`SIZED`] and so on.
    pub kind: u8,
}

impl Current {
    /// Whether the answer is a stream at `now_ns`: of events, or without length and as long under way as `stream_after_ns`.
    #[inline(always)]
    pub fn is_stream(&self, now_ns: u64, stream_after_ns: u64) -> bool {
        let framing = self.kind & FRAMING;
        let is_unsized = framing != SIZED && framing != 0;
        let first_ns = hide_field(&self.first_ns);
        let age = now_ns.saturating_sub(first_ns);
        self.kind & EVENT_STREAM != 0 || (is_unsized && first_ns != 0 && age >= stream_after_ns)
    }

    /// Nothing known.
    pub const NONE: Self = Self {
        start_ns: 0,
        first_ns: 0,
        last_ns: 0,
        request_bytes: 0,
        response_bytes: 0,
        route: 0,
        authority: 0,
        status: 0,
        method: 0,
        kind: 0,
    };
}

/// What is known of an HTTP connection. What a WebSocket counts begins with it, as every WebSocket was HTTP before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Responses with status 429 (RFC 6585, section 4).
    pub too_many_requests: u32,
    /// Requests so far, written by the client's direction.
    pub asked: u32,
    /// How many of them are over, written by the server's direction.
    pub answered: u32,
    /// Requests whose answers could not be told, and answers whose requests could not.
    pub unmatched: u32,
    /// Requests past the bound of those in flight, whose times are not known.
    pub untimed: u32,
    /// Requests that there was no room to count.
    pub left_out: u16,
    /// 1 if those in flight are not all of one route, method and authority. Written by the client's direction.
    pub differ: u8,
    /// Zero.
    pub reserved: u8,
    /// Of those that are not over, the oldest.
    pub current: Current,
}

const _: () = assert!(size_of::<Counters>() == 72);

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        too_many_requests: 0,
        asked: 0,
        answered: 0,
        unmatched: 0,
        untimed: 0,
        left_out: 0,
        differ: 0,
        reserved: 0,
        current: Current::NONE,
    };

    /// Requests that are not over.
    pub const fn in_flight(&self) -> u32 {
        self.asked.wrapping_sub(self.answered)
    }

    /// `CLOCK_MONOTONIC` of the first byte of the oldest request that is not over, if there is one and that was seen.
    pub const fn waiting_since_ns(&self) -> Option<u64> {
        let start_ns = self.current.start_ns;
        if self.in_flight() > 0 && start_ns > 0 { Some(start_ns) } else { None }
    }
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
