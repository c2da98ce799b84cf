//! Counters and state of a Postgres session ("Frontend/Backend Protocol" in the `PostgreSQL` documentation).
//!
//! As for WebSocket, counts are 32 bits wide, and before one can overflow the connection goes on in a fresh
//! slot ([`Counters::is_full`]).

/// Upper bounds, inclusive, in nanoseconds, of the buckets of query durations; the last bucket is what lies
/// above.
pub static QUERY_BOUNDS: [u64; 8] =
    [1_000_000, 5_000_000, 10_000_000, 50_000_000, 100_000_000, 500_000_000, 1_000_000_000, 5_000_000_000];
/// Buckets of query durations.
pub const QUERY_BUCKETS: usize = 9;

/// Upper bounds of the buckets for durations of transactions, in nanoseconds.
pub static TRANSACTION_BOUNDS: [u64; 10] = [
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
    300_000_000_000,
];
/// Buckets of transaction durations.
pub const TRANSACTION_BUCKETS: usize = 11;

/// What a query does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum QueryKind {
    /// `SELECT`
    Select = 0,
    /// `INSERT`
    Insert = 1,
    /// `UPDATE`
    Update = 2,
    /// `DELETE`
    Delete = 3,
    /// Anything else, or not told.
    Other = 4,
}

impl QueryKind {
    /// All, in the order of the arrays.
    pub const ALL: [Self; 5] = [Self::Select, Self::Insert, Self::Update, Self::Delete, Self::Other];
}

/// Where a session is, by what its server said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// The connection is no session: not Postgres, a request to cancel, or first seen in the middle and
    /// nothing said since.
    None = 0,
    /// Not authenticated yet: no `ReadyForQuery` so far.
    Waiting = 1,
    /// Outside a transaction.
    Idle = 2,
    /// Inside one.
    InTransaction = 3,
    /// Inside one that has failed.
    Failed = 4,
    /// Streaming replication, physical or logical, from `CopyBothResponse` to the next `ReadyForQuery`.
    Replication = 5,
}

impl State {
    /// The state stored as `value`; anything unknown is [`State::None`].
    pub const fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Waiting,
            2 => Self::Idle,
            3 => Self::InTransaction,
            4 => Self::Failed,
            5 => Self::Replication,
            _ => Self::None,
        }
    }
}

/// Errors of one SQLSTATE class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ErrorClass {
    /// Its two characters; zeroes where none is counted yet.
    pub class: [u8; 2],
    /// Zero.
    pub reserved: u16,
    /// `ErrorResponse` messages.
    pub count: u32,
}

/// Classes told apart on one connection; errors of more are counted in the last place, whose class is
/// then [`OTHER_CLASSES`].
pub const ERROR_CLASSES: usize = 8;
/// What stands for more classes than [`ERROR_CLASSES`], and for errors that tell none.
pub const OTHER_CLASSES: [u8; 2] = *b"??";

/// Requests in flight whose start is kept. Past that, a request's time is counted from the oldest start that
/// is: too short, never too long.
pub const STARTS: usize = 32;

/// What is known of a session.
///
/// The agent copies it word by word from its beginning on, while the program writes. So a number stands before what it
/// is the number of: what is read behind it is as new, or newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Requests so far that a `ReadyForQuery` ends, written by the client's direction; one that has only
    /// begun is among them.
    pub asked: u32,
    /// How many of them are over, written by the server's direction.
    pub answered: u32,
    /// A [`State`].
    pub state: u8,
    /// Zero.
    pub reserved: [u8; 5],
    /// The SQLSTATE's class of the first error before the first `ReadyForQuery`; zeroes while there was none.
    pub refused: [u8; 2],
    /// `CLOCK_MONOTONIC` when the transaction in progress, or else the last one, was first seen: at the `ReadyForQuery`
    /// that entered it, unless that was not seen.
    pub transaction_began_ns: u64,
    /// `CLOCK_MONOTONIC` when requests began, by the number that `asked` was then, modulo [`STARTS`].
    pub starts: [u64; STARTS],
    /// From the connection's start to its first `ReadyForQuery`, in nanoseconds; 0 while there was none, and
    /// where the start was not seen.
    pub acquire_ns: u64,
    /// Nanoseconds of all queries, by [`QueryKind`].
    pub query_ns: [u64; 5],
    /// Nanoseconds of all transactions.
    pub transaction_ns: u64,
    /// Queries by [`QueryKind`] and bucket of [`QUERY_BOUNDS`].
    pub queries: [[u32; QUERY_BUCKETS]; 5],
    /// Transactions by bucket of [`TRANSACTION_BOUNDS`].
    pub transactions: [u32; TRANSACTION_BUCKETS],
    /// Errors by class.
    pub errors: [ErrorClass; ERROR_CLASSES],
}

const _: () = assert!(size_of::<Counters>() == 24 + 8 * STARTS + 56 + 180 + 44 + 64);

impl Counters {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        asked: 0,
        answered: 0,
        state: State::None as u8,
        reserved: [0; 5],
        refused: [0; 2],
        transaction_began_ns: 0,
        starts: [0; STARTS],
        acquire_ns: 0,
        query_ns: [0; 5],
        transaction_ns: 0,
        queries: [[0; QUERY_BUCKETS]; 5],
        transactions: [0; TRANSACTION_BUCKETS],
        errors: [ErrorClass { class: [0; 2], reserved: 0, count: 0 }; ERROR_CLASSES],
    };

    /// Whether a count may overflow soon.
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.answered > u32::MAX / 2
    }

    /// Whether a request is unanswered.
    pub const fn is_active(&self) -> bool {
        self.asked != self.answered
    }

    /// Where in [`Counters::starts`], and in what else is kept of as many requests, the oldest unanswered request is; or,
    /// where more are unanswered than are kept, the oldest of those that are, and that it is not the one.
    #[inline(always)]
    pub const fn oldest(&self) -> (usize, bool) {
        let is_kept = self.asked.wrapping_sub(self.answered) as usize <= STARTS;
        let number = if is_kept { self.answered } else { self.asked };
        (number as usize & (STARTS - 1), is_kept)
    }

    /// When the oldest unanswered query began, as far as that is kept: `CLOCK_MONOTONIC` in nanoseconds.
    pub fn query_began_ns(&self) -> Option<u64> {
        let is_query = self.is_active() && State::from_u8(self.state) != State::Replication;
        is_query.then(|| self.starts[self.oldest().0])
    }

    /// When the transaction in progress was first seen: `CLOCK_MONOTONIC` in nanoseconds.
    pub fn transaction_seen_ns(&self) -> Option<u64> {
        let is_inside = matches!(State::from_u8(self.state), State::InTransaction | State::Failed);
        is_inside.then_some(self.transaction_began_ns)
    }
}

views!(postgres, postgres_mut, Postgres);
