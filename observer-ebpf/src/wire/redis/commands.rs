//! What a client says.

mod arguments;
mod inline;
mod kinds;
mod whole;

pub(super) use self::kinds::{is_one, is_plainly_answered, is_subscription};
use super::{COUNT_MAX, Header, LENGTH_MAX, Part, Redis, pass_unread, text};
use crate::layout::Zeroes;
use crate::layout::connection::Connection;
use crate::layout::health::Desync;
use crate::layout::redis;
use crate::wire::head::Head;
use crate::wire::source::{STEPS_MAX, Source, low_bytes};

/// The longest name, number or option that is looked at.
const WORD_MAX: u32 = 16;
/// How far into a key is looked for its prefix.
const KEY_MAX: u32 = redis::PREFIX_MAX as u32 + 1;
/// How far it is looked whether a key has a separator at all; a longer one is taken to have one.
const SCAN_MAX: u32 = 65_536;

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
    /// Bytes of the argument in progress that have not passed, with the two behind it; of an inline command's,
    /// those that have.
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

// SAFETY: of integers only, without padding.
unsafe impl Zeroes for Commands {}

impl Commands {
    /// All zeroes.
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
        self.head = Head::of(lo, hi, have);
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
        self.clear();
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

    /// A command comes.
    #[inline(always)]
    fn begin(&mut self, code: u8) {
        self.command = code;
        self.unit = Unit::None as u8;
        self.lives = 0;
        self.keyless = 0;
        self.client_reply = 0;
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
    /// Takes a command of which all is in reach, or what is not looked at; else asks for the other steps. Goes at
    /// least one byte further, then.
    #[inline(always)]
    pub(super) fn step_whole<S: Source>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
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
            pass_unread(Some(skip), source);
            return 0;
        }
        if self.commands.is_inline() {
            return Part::Inline.asked();
        }
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        if self.commands.is_between() && self.take_whole(source, connection, at, available) {
            return 0;
        }
        Part::Commands.asked()
    }

    /// Takes what is in reach: an argument's bytes, or a header. Goes at least one byte further.
    #[inline(always)]
    pub(super) fn step_commands<S: Source>(&mut self, source: &mut S, connection: &mut Connection) -> u32 {
        let at = source.position();
        let Ok(available) = source.window(at) else { return Desync::code(Some(Desync::Unread)) };
        let commands = &mut self.commands;
        let mut over = false;
        let behind;
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
                return Part::Inline.asked();
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
        source.go_to(behind);
        if over { Part::Argument.asked() } else { 0 }
    }
}
