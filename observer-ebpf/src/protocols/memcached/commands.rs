//! What a client says.

use super::layout::Command;
use super::line::{self, End, Grammar, UNKNOWN_WORD, Word};
use super::{DATA_MAX, Memcached};
use crate::layout::buckets::add;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;
use crate::layout::names::{NONE, OTHER};
use crate::layout::{Side, Zeroes};
use crate::stream::bytes::{Bytes, Host, hide_field, pass};
use crate::stream::names::Keys;
use crate::stream::pipeline::{ALONE, KEYS, Run};
use crate::stream::prefix::LastPrefix;
use crate::stream::text::words;
use crate::stream::vocabulary::Vocabulary;

static COMMANDS: Vocabulary<128, 32> = Vocabulary::new(&Command::NAMES, 0xA894_8C89_3B61_8677);

/// The longest name of a command.
const NAME_MAX: u32 = 16;

/// The last word of a command that is not answered.
const NO_REPLY: (u64, u64) = words("noreply");
/// The flag of a meta command that makes it quiet: it is answered only if there is something to say.
const QUIET: (u64, u64) = words("q");

/// The run's commands are quiet: which of them are not answered shows when another one is.
pub(super) const MAY_BE_SILENT: u8 = 32;

/// How a command's words are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// From this word on, keys.
    Keys(u32),
    /// `mg`: a key, then flags.
    Lookup,
    /// This word tells how many bytes of data come behind the line.
    Data(u32),
    /// Nothing is looked at but whether a reply is wanted.
    Line,
}

/// The [`Shape`] of a command, by its number.
#[inline(always)]
pub(super) const fn shape(code: u8) -> Shape {
    const GET: u8 = Command::Get as u8;
    const GETS: u8 = Command::Gets as u8;
    const GAT: u8 = Command::Gat as u8;
    const GATS: u8 = Command::Gats as u8;
    const MG: u8 = Command::Mg as u8;
    const MS: u8 = Command::Ms as u8;
    match code {
        GET | GETS => Shape::Keys(1),
        GAT | GATS => Shape::Keys(2),
        MG => Shape::Lookup,
        MS => Shape::Data(2),
        _ if is_classic_write(code) => Shape::Data(4),
        _ => Shape::Line,
    }
}

/// Whether it is one of the commands that write and are not meta commands.
#[inline(always)]
pub(super) const fn is_classic_write(code: u8) -> bool {
    code == Command::Set as u8
        || code == Command::Add as u8
        || code == Command::Replace as u8
        || code == Command::Append as u8
        || code == Command::Prepend as u8
        || code == Command::Cas as u8
}

/// Whether it is a meta command that may be quiet.
#[inline(always)]
pub(super) const fn is_meta(code: u8) -> bool {
    code == Command::Mg as u8
        || code == Command::Ms as u8
        || code == Command::Md as u8
        || code == Command::Ma as u8
}

/// The client's stream.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Commands {
    word: Word,
    last: LastPrefix,
    /// Bytes of data that the line tells of.
    data: u32,
    /// Keys of the line so far.
    keys: u32,
    /// The number of the prefix of the last of them.
    number: u32,
    /// A [`Command`].
    command: u8,
    /// 1 if no reply is wanted.
    silent: u8,
    /// 1 if the command is quiet.
    quiet: u8,
    /// 1 if the line tells how many bytes of data come.
    has_data: u8,
    /// 1 if the line is not as it should be: the server takes no data then.
    refused: u8,
    /// 1 if the keys of the command have found no room in the pipeline.
    keyless: u8,
    /// 1 behind a quiet command, until one whose reply is surely its own.
    behind_quiet: u8,
    reserved: [u8; 5],
}

// SAFETY: of integers only, without padding.
unsafe impl Zeroes for Commands {}

impl Commands {
    /// All zeroes.
    pub(super) const START: Self = Self {
        word: Word::NONE,
        last: LastPrefix::NONE,
        data: 0,
        keys: 0,
        number: 0,
        command: 0,
        silent: 0,
        quiet: 0,
        has_data: 0,
        refused: 0,
        keyless: 0,
        behind_quiet: 0,
        reserved: [0; 5],
    };

    #[inline(always)]
    pub(super) const fn is_at_start(&self) -> bool {
        self.word.is_at_start()
    }

    /// A call begins.
    #[inline(always)]
    pub(super) fn refresh<S: Keys>(&mut self, source: &S) {
        self.last.refresh(source);
    }

    /// Keeps the first bytes of the connection until more come.
    #[inline(always)]
    pub(super) fn keep(&mut self, first: u64, kept: u32) {
        self.word.keep(first, kept);
    }

    /// The word in progress is a command's name.
    #[inline(always)]
    fn begin(&mut self) -> Result<(), Desync> {
        self.data = 0;
        self.keys = 0;
        self.number = NONE;
        self.silent = 0;
        self.quiet = 0;
        self.has_data = 0;
        self.refused = 0;
        self.keyless = 0;
        if self.word.length() == 0 || self.word.length() > NAME_MAX || !self.word.first().is_ascii_lowercase()
        {
            return Err(Desync::Header);
        }
        let (lo, hi) = self.word.start();
        self.command = COMMANDS.number(lo, hi);
        Ok(())
    }

    /// The word in progress tells how many bytes of data come.
    #[inline(always)]
    fn take_data_length(&mut self) -> Result<(), Desync> {
        if self.refused != 0 {
            return Ok(());
        }
        let Some(data) = self.word.number() else { return Err(Desync::Header) };
        if data > DATA_MAX {
            return Err(Desync::Length);
        }
        self.data = data as u32;
        self.has_data = 1;
        Ok(())
    }
}

impl Memcached {
    /// Takes what is in reach of a call of the client's: goes at least one byte further.
    #[inline(always)]
    pub(super) fn take_command<S: Keys>(
        &mut self,
        source: &mut S,
        connection: &mut Connection,
    ) -> Result<(), Desync> {
        let skip = &mut self.skip[Side::Client as usize];
        if *skip > 0 {
            pass(skip, source);
            return Ok(());
        }
        let commands = &mut self.commands;
        let separator = source.separator();
        let end = commands.word.read(source, separator)?;
        if end == End::None {
            let is_name = commands.word.index == 0;
            // With the carriage return behind it, which may have come alone.
            let is_too_long = is_name && commands.word.length() > NAME_MAX + 1;
            return if is_too_long { Err(Desync::Header) } else { Ok(()) };
        }
        if commands.word.index == 0 {
            commands.begin()?;
        } else if commands.word.length() > 0 {
            self.take_argument(source, connection)?;
        }
        if end == End::Line {
            self.end_line(source, connection);
        }
        self.commands.word.next(end);
        Ok(())
    }

    /// The word in progress is not the first of its line.
    #[inline(always)]
    fn take_argument<S: Keys>(&mut self, source: &mut S, connection: &Connection) -> Result<(), Desync> {
        let commands = &mut self.commands;
        let code = hide_field(&commands.command);
        let index = hide_field(&commands.word.index);
        let shape = shape(code);
        let is_key = match shape {
            Shape::Keys(first) => index >= first,
            Shape::Lookup => index == 1,
            Shape::Data(_) | Shape::Line => false,
        };
        if is_key {
            let number = commands.word.prefix_number(&mut commands.last, source);
            self.take_key(code, number, source, connection);
            return Ok(());
        }
        match shape {
            Shape::Data(place) if index == place => return commands.take_data_length(),
            Shape::Data(4) if index == 3 => {
                // When the item expires: a number, which may be negative.
                let first = commands.word.first();
                commands.refused = u8::from(!(first.is_ascii_digit() || first == b'-'));
            }
            Shape::Keys(_) | Shape::Lookup | Shape::Data(_) | Shape::Line => {}
        }
        if is_meta(code) {
            commands.quiet |= u8::from(index > 1 && commands.word.is(QUIET));
        } else {
            // The only argument of this one is a key.
            let may_be_key = index == 1 && code == Command::Delete as u8;
            commands.silent = u8::from(!may_be_key && commands.word.is(NO_REPLY));
        }
        Ok(())
    }

    /// A key of a command that may have several: one alone is in its command's run, several are runs of their own.
    #[inline(always)]
    fn take_key<S: Keys>(&mut self, code: u8, number: u32, source: &mut S, connection: &Connection) {
        let commands = &mut self.commands;
        let before = commands.number as u16;
        commands.number = number;
        commands.keys = commands.keys.saturating_add(1);
        if commands.keys == 1 {
            return;
        }
        let start_ns = source.now_ns();
        let keys = |prefix| Run { start_ns, end: 0, prefix, code, flags: KEYS };
        if commands.keys == 2 {
            let command = Run { start_ns, end: 0, prefix: before, code, flags: ALONE };
            self.asked = self.asked.wrapping_add(1);
            let is_kept = self.pipeline.push(1, command, connection.id, source)
                && self.pipeline.push(1, keys(before), connection.id, source);
            commands.keyless = u8::from(!is_kept);
        }
        if commands.keyless == 0 {
            let is_kept = self.pipeline.push(1, keys(number as u16), connection.id, source);
            commands.keyless = u8::from(!is_kept);
        }
    }

    /// A line is over.
    #[inline(always)]
    fn end_line<S: Host>(&mut self, source: &mut S, connection: &mut Connection) {
        let commands = &mut self.commands;
        let code = hide_field(&commands.command);
        if commands.has_data != 0 {
            self.skip[Side::Client as usize] = commands.data + 2;
        }
        let counters = connection.details.memcached_mut();
        counters.counted = counters.counted.wrapping_add(1);
        add(&mut counters.commands, usize::from(code));
        if code == Command::Watch as u8 {
            // From here on the server writes its log.
            self.ignored = 1;
        }
        let is_quiet = commands.quiet != 0;
        if is_quiet {
            commands.behind_quiet = 1;
        } else if commands.behind_quiet != 0 {
            commands.behind_quiet = 0;
            // A reply may be this command's or a quiet one's before it.
            self.unmatched |= u8::from(is_meta(code));
        }
        let has_pushed = commands.keys > 1;
        if commands.silent != 0 || has_pushed || code == Command::Quit as u8 {
            return;
        }
        // Which of several quiet lookups a reply is to is not known, only how many were found.
        let is_anyones = is_quiet && code == Command::Mg as u8;
        let prefix = if is_anyones { OTHER } else { commands.number } as u16;
        let flags = if is_quiet { MAY_BE_SILENT } else { 0 };
        self.asked = self.asked.wrapping_add(1);
        let run = Run { start_ns: source.now_ns(), end: 0, prefix, code, flags };
        let is_kept = self.pipeline.push(1, run, connection.id, source);
        self.unmatched |= u8::from(is_quiet && !is_kept);
    }
}

/// A client's lines.
enum Lines {}

impl Grammar for Lines {
    #[inline(always)]
    fn code(lo: u64, hi: u64) -> u8 {
        let code = COMMANDS.number(lo, hi);
        if code == Command::Other as u8 { UNKNOWN_WORD } else { code }
    }

    #[inline(always)]
    fn data(code: u8) -> u32 {
        if let Shape::Data(place) = shape(code) { place } else { 0 }
    }

    #[inline(always)]
    fn is_last(_code: u8) -> bool {
        true
    }
}

/// Whether a call consists of whole commands whose names are known.
#[inline(always)]
pub(super) fn is_whole<S: Bytes>(source: &mut S) -> bool {
    line::is_whole::<Lines, S>(source)
}
