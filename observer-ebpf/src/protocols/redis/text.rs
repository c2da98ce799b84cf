//! Names of commands, and of kinds of errors.

use super::layout::{Command, ErrorKind};
use crate::stream::bytes::low_of_two;
use crate::stream::text::{everywhere, find_in_two};
use crate::stream::vocabulary::Vocabulary;

static COMMANDS: Vocabulary<512, 128> = Vocabulary::new(&Command::NAMES, 0xDAE6_A2EA_161A_14C1);
static ERRORS: Vocabulary<128, 32> = Vocabulary::new(&ErrorKind::NAMES, 0xDA94_E3E8_AB73_738F);

/// The [`Command`] of a name of at most 16 bytes, whatever its case, by its number.
#[inline(always)]
pub(super) fn command(lo: u64, hi: u64, length: u32) -> u8 {
    let case = everywhere(0x20);
    let (lo, hi) = low_of_two(lo | case, hi | case, length);
    COMMANDS.number(lo, hi)
}

/// The [`ErrorKind`] of a message that starts with these 16 bytes, or as many as there are, by its number.
#[inline(always)]
pub(super) fn error_kind(lo: u64, hi: u64) -> u8 {
    let mut length = find_in_two(lo, hi, b' ');
    let end = find_in_two(lo, hi, b'\r');
    if end < length {
        length = end;
    }
    let (lo, hi) = low_of_two(lo, hi, length);
    ERRORS.number(lo, hi)
}
