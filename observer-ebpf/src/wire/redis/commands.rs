//! What a client says.

use super::queue::{ALONE, KEYS, Run};
use super::text::{self, Prefix};
use super::{COUNT_MAX, Head, Header, LENGTH_MAX, Part, Redis};
use crate::layout::connection::Connection;
use crate::layout::health::Desync;
use crate::layout::redis::{self, Command, PREFIX_NONE, PREFIX_OTHER, SIZE_BOUNDS, State, TTL_BOUNDS};
use crate::wire::source::{STEPS_MAX, Source, low_bytes, recall};

/// The longest name, number or option that is looked at.
const WORD_MAX: u32 = 16;
/// How far into a key is looked for its prefix.
const KEY_MAX: u32 = redis::PREFIX_MAX as u32 + 1;
/// How far it is looked whether a key has a separator at all; one beyond is taken for a long prefix.
const SCAN_MAX: u32 = 4096;

/// What the bytes of an argument, or of an inline command, are looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Look {
    /// Nothing.
    Over = 0,
    /// A command's name.
    Name = 1,
    /// A key's prefix.
    Key = 2,
    /// A separator, far into a key.
    Scan = 3,
    /// An option, or a number.
    Word = 4,
    /// An inline command's name.
    InlineName = 5,
    /// What separates its words.
    InlineBlank = 6,
    /// Its first argument.
    InlineKey = 7,
    /// Another argument.
    InlineWord = 8,
}

/// What a number that is an argument means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Unit {
    /// Nothing.
    None = 0,
    /// A time to live in seconds, and so on.
    Seconds = 1,
    Milliseconds = 2,
    /// When it ends, since 1970.
    AtSecond = 3,
    AtMillisecond = 4,
}

/// Which replies the client has asked for (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Wanted {
    All = 0,
    None = 1,
    /// All but the next one.
    NotNext = 2,
}

/// The client's stream.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Commands {
    head: Head,
    /// The first bytes of what is looked at, zeroes behind.
    text: [u64; 5],
    /// The last prefix, zeroes behind.
    known: [u64; 4],
    /// Its number, and its length; 0 if there is none.
    known_number: u32,
    known_length: u32,
    /// The number of the prefix of the key that was seen last.
    number: u32,
    /// Bytes of the argument in progress that have not passed, with the two behind it.
    skip: u32,
    /// Arguments of the command that are still to come, and the number of the one in progress.
    args: u32,
    index: u32,
    /// Bytes of the argument in progress that are looked at, and how many there are in `text`.
    wanted: u8,
    text_length: u8,
    head_length: u8,
    /// A [`Look`].
    look: u8,
    /// A [`Command`].
    command: u8,
    /// 1 once the command is in the queue.
    pushed: u8,
    /// A [`Unit`], of the next argument.
    unit: u8,
    /// 1 if the command has a time to live, keeps one, or is one that cannot have.
    lives: u8,
    /// Whether the keys of the command have found no room in the queue.
    keyless: u8,
    /// A [`Wanted`].
    replies: u8,
    /// 1 behind `CLIENT REPLY`.
    client_reply: u8,
    reserved: [u8; 5],
}

impl Commands {
    pub(super) const START: Self = Self {
        head: Head::EMPTY,
        text: [0; 5],
        known: [0; 4],
        known_number: 0,
        known_length: 0,
        number: 0,
        skip: 0,
        args: 0,
        index: 0,
        wanted: 0,
        text_length: 0,
        head_length: 0,
        look: Look::Over as u8,
        command: 0,
        pushed: 0,
        unit: 0,
        lives: 0,
        keyless: 0,
        replies: Wanted::All as u8,
        client_reply: 0,
        reserved: [0; 5],
    };

    #[inline(always)]
    const fn is(&self, look: Look) -> bool {
        self.look == look as u8
    }

    #[inline(always)]
    const fn is_inline(&self) -> bool {
        self.look >= Look::InlineName as u8
    }

    #[inline(always)]
    pub(super) const fn is_between(&self) -> bool {
        self.skip == 0 && self.head_length == 0 && self.args == 0 && !self.is_inline()
    }

    /// The bytes of a value that is not looked at, if the stream is in one.
    #[inline(always)]
    pub(super) const fn unread(&mut self) -> Option<&mut u32> {
        if self.skip > 0 && self.is(Look::Over) { Some(&mut self.skip) } else { None }
    }

    /// Keeps the first `have` bytes of a line until more come.
    #[inline(always)]
    pub(super) fn keep(&mut self, lo: u64, hi: u64, have: u32) {
        let (lo, hi) = text::low_of_two(lo, hi, have);
        self.head.bytes = [lo, hi];
        self.head_length = have as u8;
    }

    /// Whether a call consists of whole commands, arrays of bulk strings. Where a stream is out of step, or a
    /// connection not known, that is where it is found again.
    #[inline(always)]
    pub(super) fn is_whole<S: Source>(&mut self, source: &mut S) -> bool {
        self.args = 0;
        source.go_to(0);
        let mut sound = true;
        let finished = S::repeat(STEPS_MAX, || {
            let at = source.position();
            let left = source.end().saturating_sub(at);
            let available = source.window(at).unwrap_or(0);
            let (lo, hi) = source.words(at);
            let have = if available < 16 { available } else { 16 };
            sound = false;
            let Ok(Some(Header { kind, value: Some(value), length })) = Header::read(lo, hi, have) else {
                return false;
            };
            let starts = self.args == 0;
            let behind = if starts {
                if kind != b'*' || value == 0 || value > COUNT_MAX {
                    return false;
                }
                self.args = value as u32;
                u64::from(length)
            } else {
                if kind != b'$' || value > LENGTH_MAX {
                    return false;
                }
                self.args -= 1;
                u64::from(length) + value + 2
            };
            if behind > u64::from(left) {
                return false;
            }
            sound = true;
            source.go_to(at + behind as u32);
            source.position() < source.end()
        });
        source.go_to(0);
        let whole = finished && sound && self.args == 0;
        *self = Self::START;
        whole
    }
}

/// Takes in a word of text: where it starts at once, or a byte at a time.
macro_rules! gather {
    ($stream:expr, $source:expr, $at:expr, $available:expr) => {{
        let wanted = u32::from($stream.wanted);
        if $stream.text_length == 0 && $available >= wanted {
            let (first, second) = $source.words($at);
            $stream.text[0] = low_bytes(first, text::within(wanted, 0));
            $stream.text[1] = low_bytes(second, text::within(wanted, 1));
            if wanted > 16 {
                let (third, fourth) = $source.words($at + 16);
                $stream.text[2] = low_bytes(third, text::within(wanted, 2));
                $stream.text[3] = low_bytes(fourth, text::within(wanted, 3));
                let (fifth, _) = $source.words($at + 32);
                $stream.text[4] = low_bytes(fifth, text::within(wanted, 4));
            }
            $stream.text_length = wanted as u8;
            wanted
        } else {
            let (first, _) = $source.words($at);
            $stream.add(first as u8);
            1
        }
    }};
}

impl Commands {
    /// Adds a byte to the text, if there is room.
    #[inline(always)]
    fn add(&mut self, byte: u8) {
        let length = u32::from(self.text_length);
        if let Some(word) = self.text.get_mut((length >> 3) as usize) {
            *word |= u64::from(byte) << (8 * (length & 7));
            self.text_length += 1;
        }
    }

    /// Starts to look at `wanted` bytes.
    #[inline(always)]
    fn look_at(&mut self, look: Look, wanted: u32) {
        self.text = [0; 5];
        self.text_length = 0;
        self.wanted = wanted as u8;
        self.look = look as u8;
    }
}

impl Redis {
    /// Takes what is in reach: an argument's bytes, or a header. Goes at least one byte further.
    #[inline(always)]
    pub(super) fn step_commands<S: Source>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let at = source.position();
        let left = source.end().saturating_sub(at);
        if left == 0 {
            return 0;
        }
        if self.ignored != 0 {
            source.go_to(at + left);
            return 0;
        }
        let commands = &mut self.commands;
        if let Some(skip) = commands.unread() {
            let bytes = if *skip < left { *skip } else { left };
            *skip -= bytes;
            source.go_to(at + bytes);
            return 0;
        }
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        if commands.is_inline() {
            return source.run_part(Part::Inline, self, connection);
        }
        let mut over = false;
        let mut behind;
        if commands.skip > 0 {
            let taken;
            if commands.is(Look::Scan) {
                let (lo, hi) = source.words(at);
                let rest = commands.skip.saturating_sub(2);
                taken = {
                    let most = if available < 16 { available } else { 16 };
                    if rest < most { rest.max(1) } else { most }
                };
                let found = text::find_in_two(lo, hi, source.separator()) < taken;
                commands.wanted |= u8::from(found);
                over = found || taken >= rest;
            } else {
                taken = gather!(commands, source, at, available);
                over = commands.text_length >= commands.wanted;
            }
            commands.skip = commands.skip.saturating_sub(taken);
            behind = at + taken;
        } else {
            let (lo, hi) = source.words(at);
            let reach = if available < 16 { available } else { 16 };
            let before = u32::from(commands.head_length);
            let (lo, hi, have) = commands.head.join(commands.head_length, lo, hi, reach);
            if commands.args == 0 && lo as u8 != b'*' {
                self.begin_inline();
                return source.run_part(Part::Inline, self, connection);
            }
            match Header::read(lo, hi, have) {
                Ok(Some(header)) => {
                    behind = at + header.length.saturating_sub(before);
                    commands.head = Head::EMPTY;
                    commands.head_length = 0;
                    if commands.args == 0 {
                        // An empty array, or none, is nothing to a server.
                        let count = header.value.unwrap_or(0);
                        if count > COUNT_MAX {
                            return Desync::code(Some(Desync::Length));
                        }
                        commands.args = count as u32;
                        commands.index = 0;
                        commands.pushed = 0;
                    } else {
                        let length = header.value.unwrap_or(u64::MAX);
                        if header.kind != b'$' {
                            return Desync::code(Some(Desync::Header));
                        }
                        if length > LENGTH_MAX {
                            return Desync::code(Some(Desync::Length));
                        }
                        over = self.begin_argument(length as u32, connection);
                    }
                }
                Ok(None) => {
                    commands.keep(lo, hi, have);
                    behind = at + (have - before);
                }
                Err(desync) => return Desync::code(Some(desync)),
            }
        }
        if over {
            source.run_part(Part::Argument, self, connection);
            let left = source.end().saturating_sub(behind);
            if let Some(skip) = self.commands.unread() {
                let bytes = if *skip < left { *skip } else { left };
                *skip -= bytes;
                behind += bytes;
            }
        }
        source.go_to(behind);
        0
    }

    /// An argument of `length` bytes comes next. True if it is of no interest.
    #[inline(always)]
    fn begin_argument(&mut self, length: u32, connection: &mut Connection) -> bool {
        let commands = &mut self.commands;
        commands.skip = length + 2;
        let index = commands.index;
        let code = commands.command;
        let mut look = Look::Over;
        let mut wanted = 0;
        if index == 0 {
            commands.command = Command::Other as u8;
            commands.unit = Unit::None as u8;
            commands.lives = 0;
            commands.keyless = 0;
            commands.client_reply = 0;
            if length <= WORD_MAX {
                look = Look::Name;
                wanted = length;
            }
        } else if is_key(code, index) {
            look = Look::Key;
            wanted = if length < KEY_MAX { length } else { KEY_MAX };
        } else if is_value(code, index) {
            count_value(connection, length);
        } else if is_word(code, index) && length <= WORD_MAX {
            look = Look::Word;
            wanted = length;
        }
        commands.look_at(look, wanted);
        wanted == 0
    }

    /// All of an argument has been seen that is looked at.
    #[inline(always)]
    pub(super) fn end_look<S: Source>(&mut self, source: &mut S, connection: &mut Connection) {
        let commands = &mut self.commands;
        let [first, second, ..] = commands.text;
        let length = u32::from(commands.text_length);
        let look = commands.look;
        commands.look = Look::Over as u8;
        let is_name = commands.index == 0;
        commands.number = PREFIX_NONE;
        let mut is_key = false;
        if is_name {
            let named = look == Look::Name as u8 && length > 0;
            commands.command =
                if named { text::command(first, second, length) } else { Command::Other as u8 };
        } else if look == Look::Key as u8 || look == Look::Scan as u8 {
            if !self.end_key(look, source) {
                return;
            }
            is_key = true;
        } else if look == Look::Word as u8 {
            self.end_word(first, second, length, source, connection);
        }
        let commands = &mut self.commands;
        commands.index = commands.index.wrapping_add(1);
        commands.args = commands.args.saturating_sub(1);
        let code = recall(&commands.command);
        let (args, last) = (commands.args, commands.args == 0);
        if commands.pushed == 0 && (last || is_key || (is_name && !waits(code))) {
            self.push(code, args, source, connection);
        } else if is_key {
            self.push_keys(code, 1, source);
        }
        if last {
            self.end_command(connection);
        }
    }

    /// A key, or its start, is in the text. False if more of it has to be looked at.
    #[inline(always)]
    fn end_key<S: Source>(&mut self, look: u8, source: &mut S) -> bool {
        let commands = &mut self.commands;
        let number = if look == Look::Scan as u8 {
            if commands.wanted != 0 { PREFIX_OTHER } else { PREFIX_NONE }
        } else {
            match text::prefix(&commands.text, source.separator()) {
                Prefix::Without if commands.skip > 2 => {
                    if commands.skip <= SCAN_MAX {
                        commands.look = Look::Scan as u8;
                        commands.wanted = 0;
                        return false;
                    }
                    PREFIX_OTHER
                }
                Prefix::Without => PREFIX_NONE,
                Prefix::Other => PREFIX_OTHER,
                Prefix::Is(length) => self.number(length, source),
            }
        };
        self.commands.number = number;
        true
    }

    /// Keys of the command that was queued last.
    #[inline(always)]
    fn push_keys<S: Source>(&mut self, code: u8, units: u32, source: &mut S) {
        if self.commands.keyless != 0 {
            return;
        }
        let prefix = self.commands.number as u16;
        let run = Run { start_ns: source.now_ns(), end: 0, prefix, code, flags: KEYS };
        if !self.queue.push(units, run) {
            self.commands.keyless = 1;
        }
    }

    /// The number of the prefix of `length` bytes in the text.
    #[inline(always)]
    fn number<S: Source>(&mut self, length: u32, source: &mut S) -> u32 {
        let commands = &mut self.commands;
        let mut words = [0; 4];
        let mut same = commands.known_length == length;
        let mut at = 0;
        while at < 4 {
            words[at] = low_bytes(commands.text[at], text::within(length, at as u32));
            same &= words[at] == commands.known[at];
            at += 1;
        }
        if !same {
            commands.known = words;
            commands.known_length = length;
            let number = source.prefix(&redis::Prefix::new(words, u64::from(length)));
            // The queue has room for 16 bits.
            commands.known_number = if number <= 0xFFFF { number } else { PREFIX_OTHER };
        }
        commands.known_number
    }

    /// An option or a number of at most 16 bytes.
    #[inline(always)]
    fn end_word<S: Source>(
        &mut self,
        lo: u64,
        hi: u64,
        length: u32,
        source: &mut S,
        connection: &mut Connection,
    ) {
        const EX: u64 = text::words("ex").0;
        const PX: u64 = text::words("px").0;
        const EXAT: u64 = text::words("exat").0;
        const PXAT: u64 = text::words("pxat").0;
        const KEEPTTL: u64 = text::words("keepttl").0;
        const PERSIST: u64 = text::words("persist").0;
        const REPLY: u64 = text::words("reply").0;
        const ON: u64 = text::words("on").0;
        const OFF: u64 = text::words("off").0;
        const SKIP: u64 = text::words("skip").0;
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
        let unit = if commands.index == 2 { unit_of(code) } else { recall(&commands.unit) };
        commands.unit = Unit::None as u8;
        if unit != Unit::None as u8 {
            if let Some(number) = text::number(lo, hi, length) {
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
    fn end_command(&mut self, connection: &mut Connection) {
        let commands = &self.commands;
        let code = commands.command;
        let values = if code == Command::Mset as u8 || code == Command::Msetnx as u8 {
            commands.index.saturating_sub(1) / 2
        } else {
            u32::from(
                (code == Command::Set as u8 && commands.lives == 0 && commands.index > 2)
                    || (code == Command::Setnx as u8 || code == Command::Getset as u8) && commands.index > 2,
            )
        };
        if values > 0 {
            let counters = connection.details.redis_mut();
            counters.writes_without_ttl = counters.writes_without_ttl.wrapping_add(values);
        }
    }

    /// Counts a command, and waits for its reply. `args` is how many arguments are still to come.
    #[inline(always)]
    fn push<S: Source>(&mut self, code: u8, args: u32, source: &mut S, connection: &mut Connection) {
        let counters = connection.details.redis_mut();
        if let Some(count) = counters.commands.get_mut(usize::from(code)) {
            *count = count.wrapping_add(1);
        }
        counters.counted = counters.counted.wrapping_add(1);
        let commands = &mut self.commands;
        commands.pushed = 1;
        if is_left_alone(code) {
            self.ignored = 1;
            counters.state = State::Ignored as u8;
            return;
        }
        let said = commands.client_reply == 2;
        if !said && commands.replies == Wanted::NotNext as u8 {
            commands.replies = Wanted::All as u8;
            commands.keyless = 1;
            return;
        }
        if said || commands.replies == Wanted::None as u8 {
            commands.keyless = 1;
            return;
        }
        // One reply for each channel.
        let units = if is_subscription(code) && args > 0 { args } else { 1 };
        let alone = is_subscription(code) || is_many(code);
        let run = Run {
            start_ns: source.now_ns(),
            end: 0,
            prefix: commands.number as u16,
            code,
            flags: if alone { ALONE } else { 0 },
        };
        counters.asked = counters.asked.wrapping_add(units);
        commands.keyless = u8::from(!self.queue.push(units, run));
    }

    /// A line comes that is no array's: an inline command.
    #[inline(always)]
    fn begin_inline(&mut self) {
        let commands = &mut self.commands;
        commands.index = 0;
        commands.pushed = 0;
        commands.look_at(Look::InlineName, WORD_MAX);
        // Bytes that are kept are of the name, or else were told not to be of one.
        let kept = u32::from(commands.head_length);
        (commands.text[0], commands.text[1]) = (commands.head.bytes[0], commands.head.bytes[1]);
        commands.text_length = kept as u8;
        commands.head = Head::EMPTY;
        commands.head_length = 0;
    }

    /// Bytes of an inline command.
    #[inline(always)]
    pub(super) fn read_inline<S: Source>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let at = source.position();
        let available = source.window(at).map_err(|_| Desync::Unread)?;
        let (lo, hi) = source.words(at);
        if self.commands.is(Look::InlineWord) {
            let reach = if available < 16 { available } else { 16 };
            let end = text::find_in_two(lo, hi, b'\n').min(text::find_in_two(lo, hi, b' '));
            if end > 0 {
                source.go_to(at + end.min(reach));
                return Ok(());
            }
        }
        source.go_to(at + 1);
        self.read_inline_byte(lo as u8, source, connection)
    }

    #[inline(always)]
    fn read_inline_byte<S: Source>(
        &mut self,
        byte: u8,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let commands = &mut self.commands;
        let in_name = commands.is(Look::InlineName);
        let is_end = byte == b'\n';
        let is_blank = is_end || matches!(byte, b' ' | b'\t' | b'\r');
        if !is_blank {
            if commands.is(Look::InlineBlank) {
                commands.index = commands.index.wrapping_add(1);
                let look = if commands.index == 1 { Look::InlineKey } else { Look::InlineWord };
                commands.look = look as u8;
            }
            if in_name {
                // No name has any other: this is no command.
                if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'"' | b'\'')) {
                    return Err(Desync::Header);
                }
                commands.wanted = commands.wanted.saturating_sub(1);
                commands.add(byte);
            } else if commands.is(Look::InlineKey) {
                commands.wanted = commands.wanted.saturating_add(1);
                if u32::from(commands.text_length) < KEY_MAX {
                    commands.add(byte);
                }
            }
            return Ok(());
        }
        if in_name {
            let length = u32::from(commands.text_length);
            if length == 0 {
                if is_end {
                    // Nothing to a server.
                    commands.look = Look::Over as u8;
                }
                return Ok(());
            }
            let [first, second, ..] = commands.text;
            commands.command =
                if length <= WORD_MAX { text::command(first, second, length) } else { Command::Other as u8 };
            commands.client_reply = 0;
            commands.look_at(Look::InlineBlank, 0);
        } else {
            commands.look = Look::InlineBlank as u8;
        }
        if is_end {
            self.end_inline(source, connection);
        }
        Ok(())
    }

    /// An inline command is complete. Its values and times to live are not looked at.
    #[inline(always)]
    fn end_inline<S: Source>(&mut self, source: &mut S, connection: &mut Connection) {
        self.commands.look = Look::Over as u8;
        let code = recall(&self.commands.command);
        let args = self.commands.index;
        self.commands.number = PREFIX_NONE;
        if args > 0 && is_key(code, 1) {
            let quoted = matches!(self.commands.text[0] as u8, b'"' | b'\'');
            let number = match text::prefix(&self.commands.text, source.separator()) {
                _ if quoted => PREFIX_OTHER,
                Prefix::Without if u32::from(self.commands.wanted) > KEY_MAX => PREFIX_OTHER,
                Prefix::Without => PREFIX_NONE,
                Prefix::Other => PREFIX_OTHER,
                Prefix::Is(length) => self.number(length, source),
            };
            self.commands.number = number;
        }
        self.push(code, args, source, connection);
        if is_many(code) && args > 0 {
            if args > 1 {
                self.commands.number = PREFIX_OTHER;
            }
            self.push_keys(code, args, source);
        }
    }
}

/// Whether argument `index` is a key whose prefix is told.
#[inline(always)]
const fn is_key(code: u8, index: u32) -> bool {
    is_many(code) || (is_one(code) && index == 1)
}

/// Whether the reply tells of one key whether it was found.
#[inline(always)]
pub(super) const fn is_one(code: u8) -> bool {
    code == Command::Get as u8
        || code == Command::Hget as u8
        || code == Command::Getex as u8
        || code == Command::Getdel as u8
}

/// Whether the reply tells that of several keys, which are all arguments.
#[inline(always)]
const fn is_many(code: u8) -> bool {
    code == Command::Mget as u8 || code == Command::Exists as u8
}

/// Whether argument `index` is a value that is written.
#[inline(always)]
const fn is_value(code: u8, index: u32) -> bool {
    let third = code == Command::Setex as u8 || code == Command::Psetex as u8;
    let second = code == Command::Set as u8 || code == Command::Setnx as u8 || code == Command::Getset as u8;
    let even = code == Command::Mset as u8 || code == Command::Msetnx as u8;
    (third && index == 3) || (second && index == 2) || (even && index.is_multiple_of(2))
}

/// Whether argument `index` may be an option or a number that is of interest.
#[inline(always)]
const fn is_word(code: u8, index: u32) -> bool {
    (code == Command::Set as u8 && index > 2)
        || (code == Command::Getex as u8 && index > 1)
        || (code == Command::Client as u8 && index <= 2)
        || (index == 2 && unit_of(code) != Unit::None as u8)
}

/// What the second argument of a command means.
#[inline(always)]
const fn unit_of(code: u8) -> u8 {
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
const fn waits(code: u8) -> bool {
    is_one(code) || code == Command::Client as u8
}

/// Whether what follows is no longer commands and replies.
#[inline(always)]
const fn is_left_alone(code: u8) -> bool {
    code == Command::Monitor as u8
        || code == Command::Sync as u8
        || code == Command::Psync as u8
        || code == Command::Replconf as u8
}

/// Whether a command is answered once for each of its channels.
#[inline(always)]
pub(super) const fn is_subscription(code: u8) -> bool {
    code == Command::Subscribe as u8
        || code == Command::Psubscribe as u8
        || code == Command::Ssubscribe as u8
        || code == Command::Unsubscribe as u8
        || code == Command::Punsubscribe as u8
        || code == Command::Sunsubscribe as u8
}

#[inline(always)]
fn count_value(connection: &mut Connection, length: u32) {
    let counters = connection.details.redis_mut();
    counters.value_bytes = counters.value_bytes.saturating_add(u64::from(length));
    counters.counted = counters.counted.wrapping_add(1);
    super::add(&mut counters.sizes, super::bucket(&SIZE_BOUNDS, u64::from(length)));
}

#[inline(always)]
fn count_ttl<S: Source>(unit: u8, number: u64, source: &mut S, connection: &mut Connection) {
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
    super::add(&mut counters.ttls, super::bucket(&TTL_BOUNDS, milliseconds));
}
