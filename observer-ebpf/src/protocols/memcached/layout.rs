//! Counters of a Memcached session ("Protocol", `doc/protocol.txt` of memcached).
//!
//! As for Redis, counts are 32 bits wide, and before one can overflow the connection goes on in a fresh slot
//! ([`Counters::is_full`]).

pub use crate::protocols::redis::layout::{LATENCY_BOUNDS, LATENCY_BUCKETS};

named! {
    /// The commands that are told apart.
    pub Command, COMMANDS:
    Other "other",
    Add "add",
    Append "append",
    CacheMemlimit "cache_memlimit",
    Cas "cas",
    Decr "decr",
    Delete "delete",
    FlushAll "flush_all",
    Gat "gat",
    Gats "gats",
    Get "get",
    Gets "gets",
    Incr "incr",
    LruCrawler "lru_crawler",
    Ma "ma",
    Md "md",
    Me "me",
    Mg "mg",
    Mn "mn",
    Ms "ms",
    Prepend "prepend",
    Quit "quit",
    Replace "replace",
    Set "set",
    Slabs "slabs",
    Stats "stats",
    Touch "touch",
    Verbosity "verbosity",
    Version "version",
    Watch "watch",
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Nanoseconds of all in [`Counters::gets`].
    pub get_ns: u64,
    /// Nanoseconds of all in [`Counters::sets`].
    pub set_ns: u64,
    /// `get`, `gets`, `gat`, `gats` and `mg`, from the command to the last line of its reply, by bucket of
    /// [`LATENCY_BOUNDS`].
    pub gets: [u32; LATENCY_BUCKETS],
    /// `set` and `ms`, likewise.
    pub sets: [u32; LATENCY_BUCKETS],
    /// Commands sent, by [`Command`].
    pub commands: [u32; COMMANDS],
    /// Keys found that could not be counted by prefix, for want of room.
    pub hits_other: u32,
    /// Keys not found, likewise.
    pub misses_other: u32,
    /// Replies that could not be told to belong to their commands: more commands were in flight than are kept. Their
    /// hits, misses and latencies are not counted.
    pub unmatched: u32,
    /// What [`Counters::is_full`] looks at: commands and keys counted, at least.
    pub counted: u32,
}

const _: () = assert!(size_of::<Counters>() == 16 + 4 * (2 * LATENCY_BUCKETS + COMMANDS + 4));
const _: () = assert!(COMMANDS.is_multiple_of(2), "of whole words, without padding");

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        get_ns: 0,
        set_ns: 0,
        gets: [0; LATENCY_BUCKETS],
        sets: [0; LATENCY_BUCKETS],
        commands: [0; COMMANDS],
        hits_other: 0,
        misses_other: 0,
        unmatched: 0,
        counted: 0,
    };

    /// Whether a count may overflow soon.
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.counted > u32::MAX / 2
    }
}

views!(memcached, memcached_mut, Memcached);
