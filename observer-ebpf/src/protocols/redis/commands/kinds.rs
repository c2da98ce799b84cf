//! What the arguments of commands are, and their replies.
//!
//! Tables, indexed by [`Command`]: where a code is compared with one command after another, the verifier follows each
//! way on its own.

use super::Unit;
use super::queue_uses::{ASKS_LENGTH, PUTS, SETS_GROUP, TAKES, names_queue, queue_use_of};
use crate::protocols::redis::layout::{COMMANDS, Command};
use crate::protocols::redis::{BLOCKING, TURNS};
use crate::stream::pipeline::ALONE;

/// As many entries as a code's low seven bits can tell apart, so that no index is out of bounds.
pub(super) const ENTRIES: usize = 128;
const _: () = assert!(COMMANDS <= ENTRIES);

/// A table of what a `const fn` tells of each command's code; zeroes behind.
macro_rules! by_command {
    ($of:ident) => {{
        let mut table = [0; ENTRIES];
        let mut at = 0;
        while at < COMMANDS {
            table[at] = $of(at as u8);
            at += 1;
        }
        table
    }};
}
pub(super) use by_command;

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// Of no interest.
    Other = 0,
    /// A key whose prefix is told.
    Key = 1,
    /// A value that is written.
    Value = 2,
    /// What may be an option, or a number of interest.
    Word = 3,
}

/// What argument `index` (from 1) of a command is; the name, which is argument 0, is [`Argument::Other`].
#[inline(always)]
pub(super) fn argument(code: u8, index: u32) -> Argument {
    match (ARGUMENTS[usize::from(code) % ENTRIES] >> (2 * place(index))) & 3 {
        0 => Argument::Other,
        1 => Argument::Key,
        2 => Argument::Value,
        _ => Argument::Word,
    }
}

/// The places of arguments that are told apart: 0 to 3, then those with an even index, then those with an odd one.
const PLACES: u32 = 6;

#[inline(always)]
const fn place(index: u32) -> u32 {
    if index < 4 { index } else { 4 + (index & 1) }
}

/// By [`Command`] and [`place`], two bits each: an [`Argument`].
static ARGUMENTS: [u16; ENTRIES] = by_command!(arguments_of);

const fn arguments_of(code: u8) -> u16 {
    let mut arguments = 0;
    let mut index = 1;
    while index < PLACES {
        arguments |= (argument_of(code, index) as u16) << (2 * place(index));
        index += 1;
    }
    arguments
}

const fn argument_of(code: u8, index: u32) -> Argument {
    if is_many(code) || (finds_one(code) && index == 1) || names_queue(code, index) {
        Argument::Key
    } else if is_value(code, index) {
        Argument::Value
    } else if is_word(code, index) {
        Argument::Word
    } else {
        Argument::Other
    }
}

const fn is_value(code: u8, index: u32) -> bool {
    let third = code == Command::Setex as u8 || code == Command::Psetex as u8;
    (third && index == 3) || (sets_one(code) && index == 2) || (sets_many(code) && index.is_multiple_of(2))
}

const fn is_word(code: u8, index: u32) -> bool {
    (code == Command::Set as u8 && index > 2)
        || (code == Command::Getex as u8 && index > 1)
        || (code == Command::Client as u8 && index <= 2)
        || (code == Command::Replconf as u8 && index == 1)
        || may_block(code)
        || (queue_use_of(code) & SETS_GROUP != 0 && (index == 1 || index == 4))
        || (code == Command::Select as u8 && index == 1)
        || (index == 2 && second_argument(code) != Unit::None as u8)
}

/// By [`Command`]: a [`Unit`], of the second argument.
static UNITS: [u8; ENTRIES] = by_command!(second_argument);

const fn second_argument(code: u8) -> u8 {
    let unit = if code == Command::Setex as u8 || code == Command::Expire as u8 {
        Unit::Seconds
    } else if code == Command::Psetex as u8 || code == Command::Pexpire as u8 {
        Unit::Milliseconds
    } else if code == Command::Expireat as u8 {
        Unit::AtSecond
    } else if code == Command::Pexpireat as u8 {
        Unit::AtMillisecond
    } else {
        Unit::None
    };
    unit as u8
}

/// What the second argument of a command means: a [`Unit`].
#[inline(always)]
pub(super) fn unit_of(code: u8) -> u8 {
    UNITS[usize::from(code) % ENTRIES]
}

/// The reply tells of one key whether it was found.
const FINDS_ONE: u8 = 1 << 0;
/// The reply tells that of several keys, which are all arguments.
const FINDS_MANY: u8 = 1 << 1;
/// The command goes into the pipeline with an argument rather than with its name.
const WAITS: u8 = 1 << 2;
/// The reply says no more than whether a key was found, and how long the command took.
const PLAINLY_ANSWERED: u8 = 1 << 3;
/// The command writes as many values as it has keys.
const SETS_MANY: u8 = 1 << 4;
/// The command writes one value, and may do so without a time to live.
const SETS_ONE: u8 = 1 << 5;
/// The command puts messages into a queue, takes some out of one, or asks how many there are: see [`QueueUse`](super::QueueUse).
const HAS_QUEUE: u8 = 1 << 6;
/// The reply to such a command says no more than how many messages there are, or that one was taken.
const PLAIN_WITH_QUEUE: u8 = 1 << 7;

/// By [`Command`]: the flags above.
static FLAGS: [u8; ENTRIES] = by_command!(flags_of);

const fn flags_of(code: u8) -> u8 {
    let mut flags = 0;
    if finds_one(code) {
        flags |= FINDS_ONE | WAITS;
    }
    if is_many(code) {
        flags |= FINDS_MANY;
    }
    if depends_on_words(code) || names_queue(code, 1) {
        flags |= WAITS;
    }
    if queue_use_of(code) != 0 {
        flags |= HAS_QUEUE;
    }
    if queue_use_of(code) & (PUTS | ASKS_LENGTH | TAKES) != 0 && names_queue(code, 1) && !names_queue(code, 2)
    {
        flags |= PLAIN_WITH_QUEUE;
    }
    let special = code == Command::Exec as u8 || code == Command::Reset as u8 || code == Command::Info as u8;
    if !special && run_flags_of(code) == 0 && queue_use_of(code) == 0 {
        flags |= PLAINLY_ANSWERED;
    }
    if sets_many(code) {
        flags |= SETS_MANY;
    }
    if sets_one(code) {
        flags |= SETS_ONE;
    }
    flags
}

/// Whether the reply tells of one key whether it was found. As a comparison for the same reason as
/// [`is_subscription`].
#[inline(always)]
pub(in crate::protocols::redis) const fn finds_one(code: u8) -> bool {
    code == Command::Get as u8
        || code == Command::Hget as u8
        || code == Command::Getex as u8
        || code == Command::Getdel as u8
}

const fn is_many(code: u8) -> bool {
    code == Command::Mget as u8 || code == Command::Exists as u8
}

/// Whether what follows is no longer commands and replies, once the command has been accepted.
const fn turns(code: u8) -> bool {
    code == Command::Monitor as u8 || code == Command::Sync as u8 || code == Command::Psync as u8
}

/// Whether the command is one that is not answered before something happens, or a time is over.
const fn blocks(code: u8) -> bool {
    code == Command::Blmove as u8
        || code == Command::Blmpop as u8
        || code == Command::Blpop as u8
        || code == Command::Brpop as u8
        || code == Command::Brpoplpush as u8
        || code == Command::Bzmpop as u8
        || code == Command::Bzpopmax as u8
        || code == Command::Bzpopmin as u8
        || code == Command::Wait as u8
}

/// Whether it is such a one with the option `BLOCK`.
pub(super) const fn may_block(code: u8) -> bool {
    code == Command::Xread as u8 || code == Command::Xreadgroup as u8
}

/// Whether it changes which database the session has selected.
const fn selects(code: u8) -> bool {
    code == Command::Select as u8 || code == Command::Reset as u8
}

/// Whether its words tell what becomes of its reply.
const fn depends_on_words(code: u8) -> bool {
    code == Command::Client as u8
        || code == Command::Replconf as u8
        || may_block(code)
        || queue_use_of(code) & SETS_GROUP != 0
}

/// By [`Command`]: flags of the [`Run`](crate::stream::pipeline::Run)s of a command.
static RUN_FLAGS: [u8; ENTRIES] = by_command!(run_flags_of);

const fn run_flags_of(code: u8) -> u8 {
    if turns(code) {
        ALONE | TURNS
    } else if is_subscription(code) || is_many(code) {
        // It may need more than one reply, or one that is matched key by key.
        ALONE
    } else if blocks(code) {
        BLOCKING
    } else {
        0
    }
}

/// The flags of a command's runs.
#[inline(always)]
pub(super) fn run_flags(code: u8) -> u8 {
    RUN_FLAGS[usize::from(code) % ENTRIES]
}

/// Whether a command is answered once for each of its channels.
///
/// Where a reply is matched with its command this is asked of a run that may not be there: a load from a table, which
/// LLVM moves before that is known, would be one from an address that was never set, and the verifier refuses it.
#[inline(always)]
pub(in crate::protocols::redis) const fn is_subscription(code: u8) -> bool {
    code == Command::Subscribe as u8
        || code == Command::Psubscribe as u8
        || code == Command::Ssubscribe as u8
        || code == Command::Unsubscribe as u8
        || code == Command::Punsubscribe as u8
        || code == Command::Sunsubscribe as u8
}

const fn sets_one(code: u8) -> bool {
    code == Command::Set as u8 || code == Command::Setnx as u8 || code == Command::Getset as u8
}

const fn sets_many(code: u8) -> bool {
    code == Command::Mset as u8 || code == Command::Msetnx as u8
}

/// The flags of a command.
#[derive(Clone, Copy)]
pub(in crate::protocols::redis) struct Kind(u8);

impl Kind {
    /// Those of the command with this code.
    #[inline(always)]
    pub(in crate::protocols::redis) fn of(code: u8) -> Self {
        Self(FLAGS[usize::from(code) % ENTRIES])
    }

    /// Whether the reply tells of one key whether it was found.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn finds_one(self) -> bool {
        self.0 & FINDS_ONE != 0
    }

    /// Whether the reply tells that of several keys, which are all arguments.
    #[inline(always)]
    pub(super) const fn finds_many(self) -> bool {
        self.0 & FINDS_MANY != 0
    }

    /// Whether a command goes into the pipeline with an argument rather than with its name.
    #[inline(always)]
    pub(super) const fn waits(self) -> bool {
        self.0 & WAITS != 0
    }

    /// Whether a reply says no more than whether a key was found, and how long the command took.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn is_plainly_answered(self) -> bool {
        self.0 & PLAINLY_ANSWERED != 0
    }

    /// Whether a reply says no more of a queue than how many messages there are, or that one was taken.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn is_plain_with_queue(self) -> bool {
        self.0 & PLAIN_WITH_QUEUE != 0
    }

    /// Whether a command uses a queue: see [`QueueUse`](super::QueueUse).
    #[inline(always)]
    pub(in crate::protocols::redis) const fn has_queue(self) -> bool {
        self.0 & HAS_QUEUE != 0
    }

    /// Whether a command writes as many values as it has keys.
    #[inline(always)]
    pub(super) const fn sets_many(self) -> bool {
        self.0 & SETS_MANY != 0
    }

    /// Whether a command writes one value, and may do so without a time to live.
    #[inline(always)]
    pub(super) const fn sets_one(self) -> bool {
        self.0 & SETS_ONE != 0
    }
}

/// By [`Command`]: of how many words at most a command has nothing of interest but its key and its value; 0 if that is
/// not so.
static PLAIN_WORDS: [u8; ENTRIES] = by_command!(plain_words_of);

const fn plain_words_of(code: u8) -> u8 {
    // Those that use a queue, and name it, are taken at once as well, but elsewhere.
    let is_named = queue_use_of(code) & (PUTS | ASKS_LENGTH | TAKES) != 0 && !names_queue(code, 2);
    let special = run_flags_of(code) != 0
        || sets_many(code)
        || (queue_use_of(code) != 0 && !is_named)
        || selects(code)
        || second_argument(code) != Unit::None as u8
        || depends_on_words(code);
    if special {
        0
    } else if code == Command::Getex as u8 || (is_named && queue_use_of(code) & PUTS == 0) {
        2
    } else {
        3
    }
}

/// Of how many words at most a command has nothing of interest but its key and its value; 0 if that is not so.
#[inline(always)]
pub(super) fn plain_words(code: u8) -> u8 {
    PLAIN_WORDS[usize::from(code) % ENTRIES]
}
