//! What a client says.

mod arguments;
mod inline;
mod kinds;
mod plain;
mod queue_uses;
mod queues;
mod streams;

pub(super) use self::kinds::{Kind, finds_one, is_subscription};
pub(super) use self::queue_uses::QueueUse;
use self::queues::LastQueue;
pub(super) use self::queues::Puts;
pub(super) use self::streams::FROM_TAIL;
use super::{COUNT_MAX, Header, LENGTH_MAX, Redis, Subprogram};
use crate::layout::Zeroes;
use crate::layout::connection::Connection;
use crate::layout::losses::Desync;

use crate::queues::{Queues, layout};
use crate::stream::bytes::{Bytes, ITERATIONS_MAX, hide_field, is_done, pass};
use crate::stream::carry::Carry;
use crate::stream::names::Keys;
use crate::stream::prefix::{LastPrefix, Text};
use crate::stream::text::find_in_two;

/// The longest name, number or option that is looked at.
const WORD_MAX: u32 = 16;
/// How far it is looked whether a key has a separator at all; a longer one is taken to have one.
const SCAN_MAX: u32 = 65_536;

/// What the bytes of an argument, or of an inline command, are looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum CommandField {
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
    /// An argument that is looked at.
    InlineText = 7,
    /// Another one.
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
    /// How many entries of a stream.
    Entries = 5,
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
    carry: Carry,
    /// The first bytes of what is looked at, zeroes behind.
    text: Text,
    last: LastPrefix,
    /// The number of the prefix of the key that was seen last.
    number: u32,
    /// Bytes of the argument in progress that have not passed, with the two behind it; of an inline command's,
    /// those that have.
    skip: u32,
    /// Arguments of the command that are still to come, and the number of the one in progress.
    args: u32,
    index: u32,
    /// Bytes of the argument in progress that are looked at, and how many there are in `text`.
    wanted: u8,
    text_length: u8,
    carried: u8,
    /// A [`CommandField`].
    look: u8,
    /// A [`Command`](super::layout::Command).
    command: u8,
    /// 1 once the command is in the pipeline.
    pushed: u8,
    /// A [`Unit`], of the next argument.
    unit: u8,
    /// 1 if the command has a time to live, keeps one, or is one that cannot have.
    lives: u8,
    /// Whether the keys of the command have found no room in the pipeline.
    keyless: u8,
    /// A [`Wanted`].
    replies: u8,
    /// 1 behind `CLIENT REPLY`; 2 if the command has no reply because of what it says.
    client_reply: u8,
    /// [`BLOCKING`](super::BLOCKING) if an option of the command makes it one that waits; `READS_STREAMS` and so on, of one
    /// that reads streams.
    blocks: u8,
    /// The database that the session has selected, or [`ANY_DB`].
    db: u16,
    /// The number of the queue that messages are put into, or that entries are read of or acknowledged in.
    queue: u16,
    /// The number of the stream that the command has named, and of its group's name; 0 before.
    stream: u16,
    group: u16,
    /// How many entries of a stream the command asks for; 0 if for any number of them. Of one that sets a group: where to.
    count: u32,
    /// Milliseconds since 1970 at which an entry was added that is acknowledged; 0 if its id does not tell.
    added_ms: u64,
    /// The queue that a command named last: the next one most often does so, too.
    last_queue: LastQueue,
    /// What has been put into a queue by commands like the last one.
    pub(super) puts: Puts,
}

/// [`Commands::db`] where it is not known.
const ANY_DB: u16 = u16::MAX;

// SAFETY: of integers only, without padding.
unsafe impl Zeroes for Commands {}

impl Commands {
    /// All zeroes.
    pub(super) const START: Self = Self {
        carry: Carry::EMPTY,
        text: Text::NONE,
        last: LastPrefix::NONE,
        number: 0,
        skip: 0,
        args: 0,
        index: 0,
        wanted: 0,
        text_length: 0,
        carried: 0,
        look: CommandField::Over as u8,
        command: 0,
        pushed: 0,
        unit: 0,
        lives: 0,
        keyless: 0,
        replies: Wanted::All as u8,
        client_reply: 0,
        blocks: 0,
        db: 0,
        queue: 0,
        stream: 0,
        group: 0,
        count: 0,
        added_ms: 0,
        last_queue: LastQueue::NONE,
        puts: Puts::NONE,
    };

    /// Nothing of a command has been seen, and the database that the session has selected is not known.
    #[inline(always)]
    pub(super) fn resume(&mut self) {
        self.clear();
        self.db = ANY_DB;
    }

    /// Forgets the command in progress.
    #[inline(always)]
    pub(super) fn lose(&mut self) {
        let db = self.db;
        self.clear();
        self.db = db;
    }

    /// The database that the session has selected, as [`QueueKey`](crate::queues::layout::QueueKey) has it.
    #[inline(always)]
    pub(super) fn database(&self) -> u32 {
        let db = hide_field(&self.db);
        if db == ANY_DB { layout::ANY_DB } else { u32::from(db) }
    }

    #[inline(always)]
    const fn is(&self, field: CommandField) -> bool {
        self.look == field as u8
    }

    #[inline(always)]
    const fn is_inline(&self) -> bool {
        self.look >= CommandField::InlineName as u8
    }

    #[inline(always)]
    pub(super) const fn is_between(&self) -> bool {
        self.skip == 0 && self.carried == 0 && self.args == 0 && !self.is_inline()
    }

    /// The bytes of a value that is not looked at, if the stream is in one.
    #[inline(always)]
    pub(super) const fn unread(&mut self) -> Option<&mut u32> {
        if self.skip > 0 && self.is(CommandField::Over) { Some(&mut self.skip) } else { None }
    }

    /// A call begins.
    #[inline(always)]
    pub(super) fn refresh<S: Keys + Queues>(&mut self, source: &S) {
        self.last.refresh(source);
        self.last_queue.refresh(source);
        self.puts = Puts::NONE;
    }

    /// Keeps the first `have` bytes of a line until more come.
    #[inline(always)]
    pub(super) fn keep(&mut self, lo: u64, hi: u64, have: u32) {
        self.carry = Carry::of(lo, hi, have);
        self.carried = have as u8;
    }
}

/// Whether a call consists of whole commands, arrays of bulk strings.
#[inline(always)]
pub(super) fn is_whole<S: Bytes>(source: &mut S) -> bool {
    source.scratch().left = 0;
    source.go_to(0);
    let mut sound = true;
    let finished = S::repeat(ITERATIONS_MAX, || {
        let at = source.position();
        let rest = source.end().saturating_sub(at);
        let available = source.window(at).unwrap_or(0);
        let (lo, hi) = source.words(at);
        let have = if available < 16 { available } else { 16 };
        sound = false;
        let Ok(Some(Header { kind, value: Some(value), length })) = Header::read(lo, hi, have) else {
            return false;
        };
        let arguments = &mut source.scratch().left;
        let behind = if *arguments == 0 {
            if kind != b'*' || value == 0 || value > COUNT_MAX {
                return false;
            }
            *arguments = value;
            u64::from(length)
        } else {
            if kind != b'$' || value > LENGTH_MAX {
                return false;
            }
            *arguments -= 1;
            u64::from(length) + value + 2
        };
        if behind > u64::from(rest) {
            return false;
        }
        sound = true;
        source.go_to(at + behind as u32);
        !is_done(source)
    });
    source.go_to(0);
    finished && sound && source.scratch().left == 0
}

/// Takes in a word of text: where it starts at once, or a byte at a time.
macro_rules! gather {
    ($stream:expr, $source:expr, $at:expr, $available:expr) => {{
        let wanted = u32::from($stream.wanted);
        if $stream.text_length == 0 && $available >= wanted {
            $stream.gather($at, wanted, $source);
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
        if let Some(word) = self.text.words.get_mut((length >> 3) as usize) {
            *word |= u64::from(byte) << (8 * (length & 7));
            self.text_length += 1;
        }
    }

    /// A command comes.
    #[inline(always)]
    fn begin(&mut self, code: u8) {
        self.command = code;
        self.unit = Unit::None as u8;
        self.lives = 0;
        self.keyless = 0;
        self.client_reply = 0;
        self.blocks = 0;
        self.queue = 0;
        self.stream = 0;
        self.group = 0;
        self.count = 0;
    }

    /// Starts to look at `wanted` bytes.
    #[inline(always)]
    fn look_at(&mut self, field: CommandField, wanted: u32) {
        self.text = Text::NONE;
        self.text_length = 0;
        self.wanted = wanted as u8;
        self.look = field as u8;
    }
}

impl Redis {
    /// Takes a command of which all is in reach, or what is not looked at, and goes at least one byte further; or asks for
    /// another subprogram.
    #[inline(always)]
    pub(super) fn plain_command<S: Keys>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let at = source.position();
        let left = source.end().saturating_sub(at);
        if left == 0 {
            return 0;
        }
        if self.ignored != 0 {
            source.go_to(at + left);
            return 0;
        }
        if let Some(skip) = self.commands.unread() {
            pass(skip, source);
            return 0;
        }
        if self.commands.is_inline() {
            return Subprogram::Inline.asked();
        }
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        if self.commands.is_between() {
            return self.take_plain_command(source, connection, at, available);
        }
        Subprogram::Command.asked()
    }

    /// Takes what is in reach: an argument's bytes, or a header. Goes at least one byte further.
    #[inline(always)]
    pub(super) fn command<S: Keys>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let at = source.position();
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        let commands = &mut self.commands;
        let mut over = false;
        let behind;
        if commands.skip > 0 {
            let taken;
            if commands.is(CommandField::Scan) {
                let (lo, hi) = source.words(at);
                let rest = commands.skip.saturating_sub(2);
                taken = {
                    let most = if available < 16 { available } else { 16 };
                    if rest < most { rest.max(1) } else { most }
                };
                let found = find_in_two(lo, hi, source.separator()) < taken;
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
            let before = u32::from(commands.carried);
            let (lo, hi, have) = commands.carry.join(commands.carried, lo, hi, reach);
            if commands.args == 0 && lo as u8 != b'*' {
                self.begin_inline();
                return Subprogram::Inline.asked();
            }
            match Header::read(lo, hi, have) {
                Ok(Some(header)) => {
                    behind = at + header.length.saturating_sub(before);
                    commands.carry = Carry::EMPTY;
                    commands.carried = 0;
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
        source.go_to(behind);
        if !over {
            return 0;
        }
        if self.commands.has_stream_key() { Subprogram::StreamKey } else { Subprogram::Argument }.asked()
    }
}
