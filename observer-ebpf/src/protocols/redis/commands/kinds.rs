//! What the arguments of commands are, and their replies.

use super::Unit;
use crate::protocols::redis::layout::Command;

/// Whether argument `index` is a key whose prefix is told.
#[inline(always)]
pub(super) const fn is_key(code: u8, index: u32) -> bool {
    is_many(code) || (is_one(code) && index == 1)
}

/// Whether the reply tells of one key whether it was found.
#[inline(always)]
pub(in crate::protocols::redis) const fn is_one(code: u8) -> bool {
    code == Command::Get as u8
        || code == Command::Hget as u8
        || code == Command::Getex as u8
        || code == Command::Getdel as u8
}

/// Whether the reply tells that of several keys, which are all arguments.
#[inline(always)]
pub(super) const fn is_many(code: u8) -> bool {
    code == Command::Mget as u8 || code == Command::Exists as u8
}

/// Whether argument `index` is a value that is written.
#[inline(always)]
pub(super) const fn is_value(code: u8, index: u32) -> bool {
    let third = code == Command::Setex as u8 || code == Command::Psetex as u8;
    let second = code == Command::Set as u8 || code == Command::Setnx as u8 || code == Command::Getset as u8;
    let even = code == Command::Mset as u8 || code == Command::Msetnx as u8;
    (third && index == 3) || (second && index == 2) || (even && index.is_multiple_of(2))
}

/// Whether argument `index` may be an option or a number that is of interest.
#[inline(always)]
pub(super) const fn is_word(code: u8, index: u32) -> bool {
    (code == Command::Set as u8 && index > 2)
        || (code == Command::Getex as u8 && index > 1)
        || (code == Command::Client as u8 && index <= 2)
        || (index == 2 && unit_of(code) != Unit::None as u8)
}

/// What the second argument of a command means.
#[inline(always)]
pub(super) const fn unit_of(code: u8) -> u8 {
    if code == Command::Setex as u8 || code == Command::Expire as u8 {
        Unit::Seconds as u8
    } else if code == Command::Psetex as u8 || code == Command::Pexpire as u8 {
        Unit::Milliseconds as u8
    } else if code == Command::Expireat as u8 {
        Unit::AtSecond as u8
    } else if code == Command::Pexpireat as u8 {
        Unit::AtMillisecond as u8
    } else {
        Unit::None as u8
    }
}

/// Whether a command goes into the queue with an argument rather than with its name.
#[inline(always)]
pub(super) const fn waits(code: u8) -> bool {
    is_one(code) || code == Command::Client as u8
}

/// Whether what follows is no longer commands and replies.
#[inline(always)]
pub(super) const fn is_left_alone(code: u8) -> bool {
    code == Command::Monitor as u8
        || code == Command::Sync as u8
        || code == Command::Psync as u8
        || code == Command::Replconf as u8
}

/// Whether a command is answered once for each of its channels.
#[inline(always)]
pub(in crate::protocols::redis) const fn is_subscription(code: u8) -> bool {
    code == Command::Subscribe as u8
        || code == Command::Psubscribe as u8
        || code == Command::Ssubscribe as u8
        || code == Command::Unsubscribe as u8
        || code == Command::Punsubscribe as u8
        || code == Command::Sunsubscribe as u8
}

/// Of how many words at most a command has nothing of interest but its key and its value; 0 if that is not so.
pub(super) const fn plain_words(code: u8) -> u8 {
    let special = is_many(code)
        || is_subscription(code)
        || is_left_alone(code)
        || unit_of(code) != Unit::None as u8
        || code == Command::Client as u8
        || code == Command::Mset as u8
        || code == Command::Msetnx as u8;
    if special {
        0
    } else if code == Command::Getex as u8 {
        2
    } else {
        3
    }
}

/// Whether a reply says no more than whether a key was found, and how long the command took.
pub(in crate::protocols::redis) const fn is_plainly_answered(code: u8) -> bool {
    !(is_many(code)
        || is_subscription(code)
        || is_left_alone(code)
        || code == Command::Exec as u8
        || code == Command::Reset as u8
        || code == Command::Info as u8)
}
