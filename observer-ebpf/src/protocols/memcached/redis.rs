//! A connection that has begun with commands which Redis has as well, in a line, and is answered by Redis: what was
//! counted is Redis', and its parser goes on with the commands that await their replies.

use super::Memcached;
use super::layout::{COMMANDS, Command};
use crate::layout::connection::Connection;
use crate::layout::{Side, Zeroes as _};
use crate::protocols::redis::layout::{COMMANDS as REDIS_COMMANDS, Command as RedisCommand};
use crate::stream::bytes::{Bytes, Scratch, hide_field};
use crate::stream::parser::Parser as _;
use crate::stream::pipeline::{KEYS, RUNS};
use crate::stream::text::words;

/// Redis' numbers of commands, by memcached's: of those that have the same name, else that of any other.
static SAME: [u8; 32] = {
    assert!(COMMANDS <= 32);
    let mut same = [RedisCommand::Other as u8; 32];
    let mut at = 0;
    while at < COMMANDS {
        let mut with = 0;
        while with < REDIS_COMMANDS {
            let (ours, theirs) = (words(Command::NAMES[at]), words(RedisCommand::NAMES[with]));
            if ours.0 == theirs.0 && ours.1 == theirs.1 {
                same[at] = with as u8;
            }
            with += 1;
        }
        at += 1;
    }
    same
};

impl Memcached {
    /// Makes the commands that await their replies, and what was counted of them, Redis'. False if the next command has
    /// begun already: then it is not known where the one after it will start.
    ///
    /// Of values that were set, sizes and times to live have not been counted.
    #[inline(always)]
    pub(super) fn hand_over<S: Bytes>(&mut self, source: &mut S, connection: &mut Connection) -> bool {
        if !self.is_between(Side::Client) {
            return false;
        }
        connection.details.clear();
        let counters = connection.details.redis_mut();
        counters.asked = self.asked;
        *source.scratch() = Scratch::default();
        S::repeat(RUNS, || {
            let scratch = source.scratch();
            let Some(run) = self.pipeline.run_mut(scratch.messages) else { return false };
            let units = run.end.wrapping_sub(scratch.left as u32);
            scratch.messages += 1;
            scratch.left = u64::from(run.end);
            run.code = SAME[usize::from(hide_field(&run.code)) & 31];
            if !run.has(KEYS) {
                let counters = connection.details.redis_mut();
                counters.counted = counters.counted.wrapping_add(units);
                if let Some(count) = counters.commands.get_mut(usize::from(hide_field(&run.code))) {
                    *count = count.wrapping_add(units);
                }
            }
            true
        });
        true
    }
}
