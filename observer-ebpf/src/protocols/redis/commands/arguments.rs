//! What is made of a command's arguments.

use super::QueueUse;
use super::kinds::{Argument, Kind, argument, is_subscription, run_flags, unit_of};
use super::{ANY_DB, CommandField, SCAN_MAX, Unit, WORD_MAX, Wanted};
use crate::layout::Side;
use crate::layout::buckets::{add, bucket};
use crate::layout::connection::Connection;
use crate::layout::names::{NONE, OTHER};
use crate::protocols::redis::layout::{Command, SIZE_BOUNDS, TTL_BOUNDS};
use crate::protocols::redis::text;
use crate::protocols::redis::{BLOCKING, Redis};
use crate::queues::Queues;
use crate::stream::bytes::{Host, hide_field, low_bytes};
use crate::stream::names::Keys;
use crate::stream::pipeline::{KEYS, Run, SUMMED};
use crate::stream::prefix::{KEY_MAX, UNDECIDED};
use crate::stream::text::{number, words};

impl Redis {
    /// An argument of `length` bytes comes next. True if it is of no interest.
    #[inline(always)]
    pub(super) fn begin_argument(&mut self, length: u32, connection: &mut Connection) -> bool {
        let commands = &mut self.commands;
        commands.skip = length + 2;
        let index = commands.index;
        let code = commands.command;
        let mut look = CommandField::Over;
        let mut wanted = 0;
        if index == 0 {
            commands.begin(Command::Other as u8);
            if length <= WORD_MAX {
                look = CommandField::Name;
                wanted = length;
            }
        } else {
            match argument(code, index) {
                Argument::Key => {
                    look = CommandField::Key;
                    wanted = if length < KEY_MAX { length } else { KEY_MAX };
                }
                Argument::Value => count_value(connection, length),
                Argument::Word if length <= WORD_MAX => {
                    look = CommandField::Word;
                    wanted = length;
                }
                Argument::Word | Argument::Other => {}
            }
            if commands.awaits_stream() {
                look = CommandField::Key;
                wanted = if length < KEY_MAX { length } else { KEY_MAX };
            }
        }
        commands.look_at(look, wanted);
        wanted == 0
    }

    /// All of an argument has been seen that is looked at. Tells whether it is known now how the command uses a queue.
    #[inline(always)]
    pub(in crate::protocols::redis) fn end_look<S: Keys + Queues>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> bool {
        let commands = &mut self.commands;
        let [first, second, ..] = commands.text.words;
        let length = u32::from(commands.text_length);
        let look = commands.look;
        commands.look = CommandField::Over as u8;
        let is_name = commands.index == 0;
        commands.number = NONE;
        let mut is_key = false;
        if is_name {
            let named = look == CommandField::Name as u8 && length > 0;
            commands.command =
                if named { text::command(first, second, length) } else { Command::Other as u8 };
        } else if look == CommandField::Key as u8 || look == CommandField::Scan as u8 {
            if !self.end_key(look, source, connection) {
                return false;
            }
            is_key = true;
        } else if look == CommandField::Word as u8 {
            self.end_word(first, second, length, source, connection);
        }
        let commands = &mut self.commands;
        commands.index = commands.index.wrapping_add(1);
        commands.args = commands.args.saturating_sub(1);
        let code = hide_field(&commands.command);
        let (args, last) = (commands.args, commands.args == 0);
        // How many messages are put into a queue is known with the last of them; what is read of which stream, with the last
        // argument; and what is acknowledged, with its id.
        let queue_use = QueueUse::of(code);
        let is_later = queue_use.is_known_last();
        let is_id = !queue_use.acknowledges() || commands.index > 3;
        let is_key = is_key && (last || !is_later) && is_id;
        if commands.pushed == 0 && (last || is_key || (is_name && !Kind::of(code).waits())) {
            if Kind::of(code).has_queue() {
                return true;
            }
            self.push(code, args, source, connection);
        } else if is_key {
            self.push_keys(code, 1, source, connection);
        }
        if last {
            self.end_command(connection);
        }
        false
    }

    /// A key, or its start, is in the text. False if more of it has to be looked at.
    #[inline(always)]
    fn end_key<S: Keys + Queues>(&mut self, look: u8, source: &mut S, connection: &mut Connection) -> bool {
        let commands = &mut self.commands;
        let code = hide_field(&commands.command);
        if QueueUse::of(code).is_of_streams() {
            commands.number = u32::from(commands.queue);
            return true;
        }
        if Kind::of(code).has_queue() {
            let length = u32::from(commands.text_length);
            let is_whole = commands.skip <= 2;
            let takes = QueueUse::of(code).takes();
            // Where messages are moved to, they are put.
            let takes = takes && commands.index == 1;
            let number = if is_whole && length > 0 {
                let db = commands.database();
                source.queue(connection, &self.commands.text, length, db, takes)
            } else {
                OTHER
            };
            self.commands.number = number;
            self.commands.queue = number as u16;
            return true;
        }
        let number = if look == CommandField::Scan as u8 {
            if commands.wanted != 0 { OTHER } else { NONE }
        } else {
            let length = u32::from(commands.text_length);
            let number = source.prefix(&commands.text, &mut commands.last, length, commands.skip <= 2);
            if number == UNDECIDED && commands.skip <= SCAN_MAX {
                commands.look = CommandField::Scan as u8;
                commands.wanted = 0;
                return false;
            }
            if number == UNDECIDED { OTHER } else { number }
        };
        self.commands.number = number;
        true
    }

    /// Keys of the command that was queued last.
    #[inline(always)]
    pub(super) fn push_keys<S: Host>(
        &mut self,
        code: u8,
        units: u32,
        source: &mut S,
        connection: &Connection,
    ) {
        if self.commands.keyless != 0 {
            return;
        }
        let prefix = self.commands.number as u16;
        let flags = if code == Command::Exists as u8 { KEYS | SUMMED } else { KEYS };
        let now_ns = source.now_ns();
        let start_ns = if code == Command::Xack as u8 { self.commands.added_ms } else { now_ns };
        let run = Run { start_ns, end: 0, prefix, code, flags };
        if !self.pipeline.push(units, run, connection.id, source) {
            self.commands.keyless = 1;
        }
    }

    /// An option or a number of at most 16 bytes.
    #[inline(always)]
    pub(super) fn end_word<S: Host>(
        &mut self,
        lo: u64,
        hi: u64,
        length: u32,
        source: &mut S,
        connection: &mut Connection,
    ) {
        const EX: u64 = words("ex").0;
        const PX: u64 = words("px").0;
        const EXAT: u64 = words("exat").0;
        const PXAT: u64 = words("pxat").0;
        const KEEPTTL: u64 = words("keepttl").0;
        const PERSIST: u64 = words("persist").0;
        const REPLY: u64 = words("reply").0;
        const ON: u64 = words("on").0;
        const OFF: u64 = words("off").0;
        const SKIP: u64 = words("skip").0;
        const ACK: u64 = words("ack").0;
        let commands = &mut self.commands;
        let code = commands.command;
        let option = if length <= 8 { low_bytes(lo | 0x2020_2020_2020_2020, length) } else { 0 };
        if code == Command::Client as u8 {
            if commands.index == 1 {
                commands.client_reply = u8::from(option == REPLY);
            } else if commands.client_reply != 0 {
                // Said with the command itself: `ON` has a reply, the others have none.
                if option == ON {
                    commands.replies = Wanted::All as u8;
                } else if option == OFF || option == SKIP {
                    let off = commands.replies == Wanted::None as u8;
                    commands.client_reply = 2;
                    if option == OFF {
                        commands.replies = Wanted::None as u8;
                    } else if !off {
                        commands.replies = Wanted::NotNext as u8;
                    }
                }
            }
            return;
        }
        if code == Command::Replconf as u8 {
            if option == ACK {
                // It has no reply. Only a replica says so: one first seen in the middle is known by that.
                commands.client_reply = 2;
                if self.lost[Side::Server as usize] != 0 {
                    self.turn(connection);
                }
            }
            return;
        }
        if code == Command::Xread as u8 || code == Command::Xreadgroup as u8 {
            commands.end_read_word(option, lo, hi, length);
            return;
        }
        if code == Command::Xgroup as u8 {
            commands.end_group_word(option, length, lo as u8);
            return;
        }
        if code == Command::Select as u8 {
            commands.db = match number(lo, hi, length) {
                Some(db) if db < u64::from(ANY_DB) => db as u16,
                _ => ANY_DB,
            };
            return;
        }
        let unit = if commands.index == 2 { unit_of(code) } else { hide_field(&commands.unit) };
        commands.unit = Unit::None as u8;
        if unit != Unit::None as u8 {
            if let Some(number) = number(lo, hi, length) {
                count_ttl(unit, number, source, connection);
            }
            return;
        }
        commands.unit = match option {
            EX => Unit::Seconds,
            PX => Unit::Milliseconds,
            EXAT => Unit::AtSecond,
            PXAT => Unit::AtMillisecond,
            _ => Unit::None,
        } as u8;
        if commands.unit != Unit::None as u8 || option == KEEPTTL || option == PERSIST {
            commands.lives = 1;
        }
    }

    /// A command is complete.
    #[inline(always)]
    pub(super) fn end_command(&mut self, connection: &mut Connection) {
        let commands = &self.commands;
        let kind = Kind::of(commands.command);
        let values = if kind.sets_many() {
            commands.index.saturating_sub(1) / 2
        } else {
            u32::from(kind.sets_one() && commands.lives == 0 && commands.index > 2)
        };
        if values > 0 {
            count_without_life(connection, values);
        }
    }

    /// Counts a command, and waits for its reply. `args` is how many arguments are still to come.
    #[inline(always)]
    pub(super) fn push<S: Host>(&mut self, code: u8, args: u32, source: &mut S, connection: &mut Connection) {
        count_command(code, connection);
        let is_answered = self.is_answered();
        if code == Command::Reset as u8 {
            self.commands.db = 0;
        }
        if !is_answered {
            return;
        }
        // One reply for each channel.
        let units = if is_subscription(code) && args > 0 { args } else { 1 };
        let flags = run_flags(code) | (self.commands.blocks & BLOCKING);
        self.await_reply(code, units, flags, source, connection);
    }

    /// The same of a command that uses a queue, as soon as it is known how.
    #[inline(always)]
    pub(in crate::protocols::redis) fn push_queue_use<S: Queues>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let code = hide_field(&self.commands.command);
        count_command(code, connection);
        let is_answered = self.is_answered();
        let queue_use = QueueUse::of(code);
        let mut start_ns = source.now_ns();
        if queue_use.puts() || queue_use.asks_length() {
            let commands = &mut self.commands;
            let values = if queue_use.puts() { commands.index.saturating_sub(2) } else { 0 };
            let queue = u32::from(hide_field(&commands.queue));
            commands.number = queue;
            start_ns = self.put_messages(queue, queue_use, values, is_answered, source, connection);
        } else if queue_use.is_of_streams() {
            let queue = u32::from(hide_field(&self.commands.queue));
            self.commands.number = queue;
            start_ns = self.follow_command(queue, queue_use, start_ns, source, connection);
        }
        if is_answered {
            let flags = run_flags(code) | (self.commands.blocks & BLOCKING);
            self.await_reply_to(start_ns, code, 1, flags, source, connection);
        }
    }

    /// Whether the command that is complete has a reply.
    #[inline(always)]
    fn is_answered(&mut self) -> bool {
        let commands = &mut self.commands;
        commands.pushed = 1;
        let said = commands.client_reply == 2;
        if !said && commands.replies == Wanted::NotNext as u8 {
            commands.replies = Wanted::All as u8;
            commands.keyless = 1;
            return false;
        }
        if said || commands.replies == Wanted::None as u8 {
            commands.keyless = 1;
            return false;
        }
        true
    }

    /// Waits for the reply to a command, or for one to each of its channels.
    #[inline(always)]
    pub(super) fn await_reply<S: Host>(
        &mut self,
        code: u8,
        units: u32,
        flags: u8,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let start_ns = source.now_ns();
        self.await_reply_to(start_ns, code, units, flags, source, connection);
    }

    /// The same, where a run has something else than when its commands were sent.
    #[inline(always)]
    pub(super) fn await_reply_to<S: Host>(
        &mut self,
        start_ns: u64,
        code: u8,
        units: u32,
        flags: u8,
        source: &mut S,
        connection: &mut Connection,
    ) {
        let prefix = self.commands.number as u16;
        let run = Run { start_ns, end: 0, prefix, code, flags };
        let is_kept = self.pipeline.push(units, run, connection.id, source);
        let counters = connection.details.redis_mut();
        counters.asked = counters.asked.wrapping_add(units);
        self.commands.keyless = u8::from(!is_kept);
        if flags & BLOCKING != 0 && is_kept {
            counters.waits_asked = counters.waits_asked.wrapping_add(1);
        }
    }
}

/// Counts a command.
#[inline(always)]
pub(super) fn count_command(code: u8, connection: &mut Connection) {
    let counters = connection.details.redis_mut();
    // Before 6.8 the verifier forgets that a copy of the code is as small as the code: this is the only one.
    let code = hide_field(&code);
    if let Some(count) = counters.commands.get_mut(usize::from(code)) {
        *count = count.wrapping_add(1);
    }
    counters.counted = counters.counted.wrapping_add(1);
}

/// Counts writes without a time to live.
#[inline(always)]
pub(super) fn count_without_life(connection: &mut Connection, writes: u32) {
    let counters = connection.details.redis_mut();
    counters.writes_without_ttl = counters.writes_without_ttl.wrapping_add(writes);
}

#[inline(always)]
pub(super) fn count_value(connection: &mut Connection, length: u32) {
    let counters = connection.details.redis_mut();
    counters.value_bytes = counters.value_bytes.saturating_add(u64::from(length));
    counters.counted = counters.counted.wrapping_add(1);
    add(&mut counters.sizes, bucket(&SIZE_BOUNDS, u64::from(length)));
}

#[inline(always)]
fn count_ttl<S: Host>(unit: u8, number: u64, source: &mut S, connection: &mut Connection) {
    let seconds = unit == Unit::Seconds as u8 || unit == Unit::AtSecond as u8;
    // Sixteen digits, and three more, are not too many.
    let mut milliseconds = if seconds { number.wrapping_mul(1000) } else { number };
    if unit == Unit::AtSecond as u8 || unit == Unit::AtMillisecond as u8 {
        let now = source.wall_ns() / 1_000_000;
        if now == 0 {
            return;
        }
        milliseconds = milliseconds.saturating_sub(now);
    }
    let counters = connection.details.redis_mut();
    counters.ttl_ms = counters.ttl_ms.saturating_add(milliseconds);
    counters.counted = counters.counted.wrapping_add(1);
    add(&mut counters.ttls, bucket(&TTL_BOUNDS, milliseconds));
}
