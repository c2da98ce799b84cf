//! How commands use lists and streams as queues: a table, as those of what their arguments are.

use super::kinds::{ENTRIES, by_command, may_block};
use crate::protocols::redis::layout::{COMMANDS, Command};
use crate::queues::End;

/// Of a use of a queue, in two bits: at which [`End`] that is.
const END: u16 = 3;
/// The command puts messages in, as many as it has values.
pub(super) const PUTS: u16 = 1 << 2;
/// It asks how many messages there are.
pub(super) const ASKS_LENGTH: u16 = 1 << 3;
/// It takes messages out.
pub(super) const TAKES: u16 = 1 << 4;
/// The reply names the queue that they are taken out of: the command may name several.
const REPLY_NAMES: u16 = 1 << 5;
/// What is taken out is put into another queue.
const MOVES: u16 = 1 << 6;
/// It adds an entry to a stream.
const ADDS: u16 = 1 << 7;
/// It reads entries of streams.
const READS: u16 = 1 << 8;
/// It acknowledges some.
const ACKNOWLEDGES: u16 = 1 << 9;
/// It takes messages out of the middle of a list, as many as the reply says.
const REMOVES: u16 = 1 << 10;
/// It says from where on a consumer group of a stream is delivered entries.
pub(super) const SETS_GROUP: u16 = 1 << 11;
/// It is delivered entries that others have been delivered before.
const CLAIMS: u16 = 1 << 12;

pub(super) const fn queue_use_of(code: u8) -> u16 {
    let (left, right) = (End::Left as u16, End::Right as u16);
    if code == Command::Lpush as u8 {
        PUTS | left
    } else if code == Command::Rpush as u8 {
        PUTS | right
    } else if code == Command::Llen as u8 {
        ASKS_LENGTH
    } else if code == Command::Lpop as u8 {
        TAKES | left
    } else if code == Command::Rpop as u8 {
        TAKES | right
    } else if code == Command::Blpop as u8 {
        TAKES | REPLY_NAMES | left
    } else if code == Command::Brpop as u8 {
        TAKES | REPLY_NAMES | right
    } else if code == Command::Lmpop as u8 || code == Command::Blmpop as u8 {
        TAKES | REPLY_NAMES
    } else if code == Command::Rpoplpush as u8 || code == Command::Brpoplpush as u8 {
        TAKES | MOVES | right
    } else if code == Command::Lmove as u8 || code == Command::Blmove as u8 {
        TAKES | MOVES
    } else if code == Command::Xadd as u8 {
        ADDS
    } else if may_block(code) {
        READS
    } else if code == Command::Xack as u8 {
        ACKNOWLEDGES
    } else if code == Command::Xgroup as u8 {
        SETS_GROUP
    } else if code == Command::Xautoclaim as u8 {
        CLAIMS
    } else if code == Command::Lrem as u8 {
        REMOVES
    } else {
        0
    }
}

/// Whether an argument of a command names a queue, or a part of one: which keys a command that reads streams has, its other
/// words tell.
pub(super) const fn names_queue(code: u8, index: u32) -> bool {
    let queue_use = queue_use_of(code);
    if queue_use & READS != 0 {
        return code == Command::Xreadgroup as u8 && index == 2;
    }
    if queue_use & ACKNOWLEDGES != 0 {
        return true;
    }
    if queue_use & SETS_GROUP != 0 {
        return index == 2 || index == 3;
    }
    if queue_use & CLAIMS != 0 {
        return index == 1 || index == 2;
    }
    let is_named = queue_use != 0 && queue_use & REPLY_NAMES == 0;
    is_named && (index == 1 || (index == 2 && queue_use & MOVES != 0))
}

/// By [`Command`]: how it uses a queue.
static QUEUE_USES: [u16; ENTRIES] = by_command!(queue_use_of);

/// How a command uses a queue, if it does.
#[derive(Clone, Copy)]
pub(in crate::protocols::redis) struct QueueUse(u16);

impl QueueUse {
    /// That of the command with this code.
    #[inline(always)]
    pub(in crate::protocols::redis) fn of(code: u8) -> Self {
        Self(QUEUE_USES[usize::from(code) % ENTRIES])
    }

    /// Whether it puts messages in, as many as it has values.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn puts(self) -> bool {
        self.0 & PUTS != 0
    }

    /// Whether it asks how many messages there are.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn asks_length(self) -> bool {
        self.0 & ASKS_LENGTH != 0
    }

    /// Whether it takes messages out.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn takes(self) -> bool {
        self.0 & TAKES != 0
    }

    /// Whether the reply names the queue, and not the command.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn reply_names(self) -> bool {
        self.0 & REPLY_NAMES != 0
    }

    /// Whether what is taken out is put into another queue.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn moves(self) -> bool {
        self.0 & MOVES != 0
    }

    /// Whether it takes messages out of the middle of a list.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn removes(self) -> bool {
        self.0 & REMOVES != 0
    }

    /// Whether it uses streams rather than lists.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn is_of_streams(self) -> bool {
        self.0 & (ADDS | READS | ACKNOWLEDGES | SETS_GROUP | CLAIMS) != 0
    }

    /// Whether it adds an entry to a stream.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn adds(self) -> bool {
        self.0 & ADDS != 0
    }

    /// Whether it reads entries of streams.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn reads(self) -> bool {
        self.0 & READS != 0
    }

    /// Whether it says from where on a consumer group is delivered entries.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn sets_group(self) -> bool {
        self.0 & SETS_GROUP != 0
    }

    /// Whether it is delivered entries that others have been delivered before.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn claims(self) -> bool {
        self.0 & CLAIMS != 0
    }

    /// Whether how it uses a stream is known with its last argument only.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn is_known_last(self) -> bool {
        self.0 & (PUTS | READS | SETS_GROUP | CLAIMS) != 0
    }

    /// Whether it acknowledges some.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn acknowledges(self) -> bool {
        self.0 & ACKNOWLEDGES != 0
    }

    /// At which end that is.
    #[inline(always)]
    pub(in crate::protocols::redis) const fn end(self) -> End {
        End::from_u8((self.0 & END) as u8)
    }
}
