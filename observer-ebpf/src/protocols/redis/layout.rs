//! Counters and state of a Redis session ("Redis serialization protocol specification" and "Commands" in the
//! Redis documentation).
//!
//! As for WebSocket, counts are 32 bits wide, and before one can overflow the connection goes on in a fresh
//! slot ([`Counters::is_full`]).

/// Upper bounds, inclusive, in nanoseconds, of the buckets of latencies; the last bucket is what lies above.
pub static LATENCY_BOUNDS: [u64; 5] = [100_000, 500_000, 1_000_000, 5_000_000, 10_000_000];
/// Buckets of latencies.
pub const LATENCY_BUCKETS: usize = 6;

/// As [`LATENCY_BOUNDS`], in bytes, of the values that are written.
pub static SIZE_BOUNDS: [u64; 8] = [16, 64, 256, 1024, 4096, 16_384, 65_536, 1_048_576];
/// Buckets of sizes.
pub const SIZE_BUCKETS: usize = 9;

/// As [`LATENCY_BOUNDS`], in milliseconds, of the times to live that are given.
pub static TTL_BOUNDS: [u64; 8] = [1_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000, 86_400_000];
/// Buckets of times to live.
pub const TTL_BUCKETS: usize = 9;

named! {
    /// The commands that are told apart, named as `INFO commandstats` names them.
    pub Command, COMMANDS:
    Other "other",
    Append "append",
    Auth "auth",
    Blmove "blmove",
    Blmpop "blmpop",
    Blpop "blpop",
    Brpop "brpop",
    Brpoplpush "brpoplpush",
    Bzmpop "bzmpop",
    Bzpopmax "bzpopmax",
    Bzpopmin "bzpopmin",
    Client "client",
    Command "command",
    Config "config",
    Decr "decr",
    Decrby "decrby",
    Del "del",
    Discard "discard",
    Echo "echo",
    Eval "eval",
    Evalsha "evalsha",
    Exec "exec",
    Exists "exists",
    Expire "expire",
    Expireat "expireat",
    Get "get",
    Getdel "getdel",
    Getex "getex",
    Getset "getset",
    Hdel "hdel",
    Hello "hello",
    Hget "hget",
    Hgetall "hgetall",
    Hincrby "hincrby",
    Hmget "hmget",
    Hset "hset",
    Incr "incr",
    Incrby "incrby",
    Info "info",
    Keys "keys",
    Llen "llen",
    Lmove "lmove",
    Lmpop "lmpop",
    Lpop "lpop",
    Lpush "lpush",
    Lrange "lrange",
    Lrem "lrem",
    Mget "mget",
    Monitor "monitor",
    Mset "mset",
    Msetnx "msetnx",
    Multi "multi",
    Pexpire "pexpire",
    Pexpireat "pexpireat",
    Ping "ping",
    Psetex "psetex",
    Psubscribe "psubscribe",
    Psync "psync",
    Publish "publish",
    Punsubscribe "punsubscribe",
    Quit "quit",
    Replconf "replconf",
    Reset "reset",
    Rpop "rpop",
    Rpoplpush "rpoplpush",
    Rpush "rpush",
    Sadd "sadd",
    Scan "scan",
    Select "select",
    Set "set",
    Setex "setex",
    Setnx "setnx",
    Sismember "sismember",
    Smembers "smembers",
    Srem "srem",
    Ssubscribe "ssubscribe",
    Subscribe "subscribe",
    Sunsubscribe "sunsubscribe",
    Sync "sync",
    Ttl "ttl",
    Type "type",
    Unlink "unlink",
    Unsubscribe "unsubscribe",
    Unwatch "unwatch",
    Wait "wait",
    Watch "watch",
    Xack "xack",
    Xadd "xadd",
    Xautoclaim "xautoclaim",
    Xgroup "xgroup",
    Xread "xread",
    Xreadgroup "xreadgroup",
    Zadd "zadd",
    Zrange "zrange",
    Zrangebyscore "zrangebyscore",
    Zrem "zrem",
    Zscore "zscore",
}

named! {
    /// The kinds of errors that are told apart, by the first word of the message.
    pub ErrorKind, ERROR_KINDS:
    Other "other",
    Err "ERR",
    Ask "ASK",
    Busy "BUSY",
    Busygroup "BUSYGROUP",
    Busykey "BUSYKEY",
    Clusterdown "CLUSTERDOWN",
    Crossslot "CROSSSLOT",
    Denied "DENIED",
    Execabort "EXECABORT",
    Inprog "INPROG",
    Loading "LOADING",
    Masterdown "MASTERDOWN",
    Misconf "MISCONF",
    Moved "MOVED",
    Noauth "NOAUTH",
    Nogroup "NOGROUP",
    Noperm "NOPERM",
    Noproto "NOPROTO",
    Noreplicas "NOREPLICAS",
    Noscript "NOSCRIPT",
    Oom "OOM",
    Readonly "READONLY",
    Tryagain "TRYAGAIN",
    Unblocked "UNBLOCKED",
    Unkillable "UNKILLABLE",
    Wrongpass "WRONGPASS",
    Wrongtype "WRONGTYPE",
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The connection is no session, or first seen in the middle with nothing said since.
    None = 0,
    /// Commands and replies.
    Session = 1,
    /// It has subscribed, in RESP2: messages come without commands.
    Subscribed = 2,
    /// A replica's, or a monitor's: not looked at further.
    Ignored = 3,
}

impl State {
    /// The state stored as `value`; anything unknown is [`State::None`].
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Session,
            2 => Self::Subscribed,
            3 => Self::Ignored,
            _ => Self::None,
        }
    }
}

/// What is known of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Nanoseconds of all in [`Counters::gets`].
    pub get_ns: u64,
    /// Nanoseconds of all in [`Counters::sets`].
    pub set_ns: u64,
    /// Bytes of all in [`Counters::sizes`].
    pub value_bytes: u64,
    /// Milliseconds of all in [`Counters::ttls`].
    pub ttl_ms: u64,
    /// `used_memory` in the newest `INFO` reply that told it.
    pub memory_used: u64,
    /// `maxmemory` in the newest `INFO` reply that told it; 0 where there is none.
    pub memory_limit: u64,
    /// `evicted_keys` in the newest `INFO` reply that told it.
    pub evicted_keys: u64,
    /// `CLOCK_MONOTONIC` of the reply that told `memory_used`; 0 while none did.
    pub memory_ns: u64,
    /// Likewise, of `memory_limit`.
    pub limit_ns: u64,
    /// Likewise, of `evicted_keys`.
    pub evicted_ns: u64,
    /// `GET`s by bucket of [`LATENCY_BOUNDS`].
    pub gets: [u32; LATENCY_BUCKETS],
    /// `SET`s.
    pub sets: [u32; LATENCY_BUCKETS],
    /// Commands sent, by [`Command`].
    pub commands: [u32; COMMANDS],
    /// Error replies, those inside the reply to `EXEC` included, by [`ErrorKind`].
    pub errors: [u32; ERROR_KINDS],
    /// Values written, by bucket of [`SIZE_BOUNDS`].
    pub sizes: [u32; SIZE_BUCKETS],
    /// Times to live given, by bucket of [`TTL_BOUNDS`].
    pub ttls: [u32; TTL_BUCKETS],
    /// Values written without a time to live.
    pub writes_without_ttl: u32,
    /// Keys found that could not be counted by prefix, for want of room.
    pub hits_other: u32,
    /// Keys not found, likewise.
    pub misses_other: u32,
    /// Replies that could not be told to belong to their commands: more commands were in flight than are kept.
    /// Their hits, misses and latencies are not counted.
    pub unmatched: u32,
    /// Commands so far that have a reply, written by the client's direction.
    pub asked: u32,
    /// How many of them are answered, written by the server's direction.
    pub answered: u32,
    /// What [`Counters::is_full`] looks at: commands, values and keys counted, at least.
    pub counted: u32,
    /// A [`State`].
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Of [`Counters::asked`], commands that wait by their nature (`BLPOP` and its kin, `XREAD` with `BLOCK`, `WAIT`).
    pub waits_asked: u16,
    /// Of [`Counters::answered`], likewise.
    pub waits_answered: u16,
}

const _: () = assert!(
    size_of::<Counters>()
        == 80 + 4 * (2 * LATENCY_BUCKETS + COMMANDS + ERROR_KINDS + SIZE_BUCKETS + TTL_BUCKETS + 7) + 8
);

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        get_ns: 0,
        set_ns: 0,
        value_bytes: 0,
        ttl_ms: 0,
        memory_used: 0,
        memory_limit: 0,
        evicted_keys: 0,
        memory_ns: 0,
        limit_ns: 0,
        evicted_ns: 0,
        gets: [0; LATENCY_BUCKETS],
        sets: [0; LATENCY_BUCKETS],
        commands: [0; COMMANDS],
        errors: [0; ERROR_KINDS],
        sizes: [0; SIZE_BUCKETS],
        ttls: [0; TTL_BUCKETS],
        writes_without_ttl: 0,
        hits_other: 0,
        misses_other: 0,
        unmatched: 0,
        asked: 0,
        answered: 0,
        counted: 0,
        state: State::None as u8,
        reserved: [0; 3],
        waits_asked: 0,
        waits_answered: 0,
    };

    /// Whether a count may overflow soon.
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.counted > u32::MAX / 2
    }

    /// Whether a command is unanswered, in a session that answers commands, and none that is waits by its nature.
    pub const fn is_active(&self) -> bool {
        self.asked != self.answered && self.state == State::Session as u8 && !self.is_blocked()
    }

    /// Whether a command is unanswered that waits by its nature.
    pub const fn is_blocked(&self) -> bool {
        self.waits_asked != self.waits_answered && self.state == State::Session as u8
    }
}

views!(redis, redis_mut, Redis);
