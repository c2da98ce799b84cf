//! The two texts that are looked at: an error's fields for its SQLSTATE, and a statement for its first word.
//! A byte at a time, as far as what is looked for is likely to be.

use super::layout::QueryKind;
use crate::stream::bytes::low_bytes;

/// How far into a text is looked.
const REACH: u16 = 512;

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum At {
    /// Not looked at.
    Over = 0,
    /// Of a prepared statement's name, which ends with a zero byte.
    Name = 1,
    /// Between words.
    Blank = 2,
    /// Behind a `-` between words.
    Dash = 3,
    /// In a comment that ends with the line.
    Line = 4,
    /// Behind a `/` between words.
    Slash = 5,
    /// In a comment that ends with `*/`, and may hold others.
    Comment = 6,
    /// Behind a `*` in one.
    Star = 7,
    /// Behind a `/` in one.
    CommentSlash = 8,
    /// In the first word.
    Word = 9,
    /// An error's field: its type.
    Field = 10,
    /// In a field that is not looked at.
    Value = 11,
    /// The SQLSTATE's first character.
    Code = 12,
    /// Its second.
    CodeSecond = 13,
    /// An error without fields.
    Plain = 14,
}

/// A text in progress.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Text {
    /// The first word's letters so far, in lower case, at most eight; or the SQLSTATE's first.
    word: u64,
    /// Bytes that are still looked at.
    left: u16,
    /// An [`At`].
    at: u8,
    /// How many letters `word` has.
    letters: u8,
    /// How many comments are open.
    depth: u8,
    reserved: [u8; 3],
}

impl Text {
    /// Nothing to look at.
    pub(super) const NONE: Self = Self::new(At::Over);
    /// A statement.
    pub(super) const STATEMENT: Self = Self::new(At::Blank);
    /// A prepared statement's name, and the statement.
    pub(super) const NAMED_STATEMENT: Self = Self::new(At::Name);
    /// An error's fields.
    pub(super) const FIELDS: Self = Self::new(At::Field);
    /// An error that is plain text.
    pub(super) const PLAIN: Self = Self::new(At::Plain);

    const fn new(at: At) -> Self {
        Self { word: 0, left: REACH, at: at as u8, letters: 0, depth: 0, reserved: [0; 3] }
    }

    /// Whether there is nothing more to look at.
    #[inline(always)]
    pub(super) const fn is_over(&self) -> bool {
        self.at == At::Over as u8
    }

    /// A byte of an error's fields ("Error and Notice Message Fields"). Tells the SQLSTATE's class once.
    #[inline(always)]
    pub(super) fn push_field(&mut self, byte: u8) -> Option<[u8; 2]> {
        let mut class = None;
        let next = match self.at {
            at if at == At::Field as u8 => match byte {
                0 => At::Over,
                b'C' => At::Code,
                _ => At::Value,
            },
            at if at == At::Value as u8 => {
                if byte == 0 {
                    At::Field
                } else {
                    At::Value
                }
            }
            at if at == At::Code as u8 => {
                self.word = u64::from(byte);
                if byte == 0 { At::Field } else { At::CodeSecond }
            }
            at if at == At::Plain as u8 => At::Over,
            _ => {
                class = Some([self.word as u8, byte]);
                At::Over
            }
        };
        self.go(next);
        class
    }

    /// A byte of a statement, or of its name. Tells what the statement does once.
    #[inline(always)]
    pub(super) fn push_statement(&mut self, byte: u8) -> Option<QueryKind> {
        let letter = (byte | 0x20).is_ascii_lowercase();
        let next = match self.at {
            at if at == At::Name as u8 => {
                if byte == 0 {
                    At::Blank
                } else {
                    At::Name
                }
            }
            at if at == At::Line as u8 => {
                if byte == b'\n' || byte == b'\r' {
                    At::Blank
                } else {
                    At::Line
                }
            }
            at if at == At::Dash as u8 => {
                if byte == b'-' {
                    At::Line
                } else {
                    At::Over
                }
            }
            at if at == At::Slash as u8 => {
                self.depth = 1;
                if byte == b'*' { At::Comment } else { At::Over }
            }
            at if at == At::Comment as u8 || at == At::Star as u8 || at == At::CommentSlash as u8 => {
                self.comment(byte)
            }
            at if at == At::Word as u8 => {
                if letter {
                    self.add(byte);
                    At::Word
                } else {
                    self.go(At::Over);
                    let ends = self.letters == 6 && !is_word(byte);
                    return Some(if ends { kind(self.word) } else { QueryKind::Other });
                }
            }
            _ => match byte {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C | b'(' | b';' => At::Blank,
                b'-' => At::Dash,
                b'/' => At::Slash,
                _ if letter => {
                    self.add(byte);
                    At::Word
                }
                _ => At::Over,
            },
        };
        self.go(next);
        None
    }

    #[inline(always)]
    fn comment(&mut self, byte: u8) -> At {
        let star = self.at == At::Star as u8;
        let slash = self.at == At::CommentSlash as u8;
        if star && byte == b'/' {
            self.depth -= u8::from(self.depth > 0);
            return if self.depth == 0 { At::Blank } else { At::Comment };
        }
        if slash && byte == b'*' {
            self.depth = self.depth.saturating_add(1);
            return At::Comment;
        }
        match byte {
            b'*' => At::Star,
            b'/' => At::CommentSlash,
            _ => At::Comment,
        }
    }

    #[inline(always)]
    fn add(&mut self, byte: u8) {
        self.word |= u64::from(byte | 0x20) << (8 * (self.letters & 7));
        self.letters = if self.letters < 8 { self.letters + 1 } else { 9 };
    }

    #[inline(always)]
    fn go(&mut self, next: At) {
        self.left = self.left.saturating_sub(1);
        self.at = if self.left == 0 { At::Over } else { next } as u8;
    }
}

/// What a statement does that starts with these bytes: all there are, or at least seven. `None` if it does
/// not start with its first word.
#[inline(always)]
pub(super) fn first_word(text: u64, available: u32) -> Option<QueryKind> {
    let text = low_bytes(text, if available < 8 { available } else { 8 });
    if !(text as u8 | 0x20).is_ascii_lowercase() {
        return None;
    }
    let behind = (text >> 48) as u8;
    let goes_on = (behind | 0x20).is_ascii_lowercase() || is_word(behind);
    Some(if goes_on { QueryKind::Other } else { kind((text | 0x2020_2020_2020_2020) & 0xFFFF_FFFF_FFFF) })
}

/// Whether a byte that is no ASCII letter goes on with a word.
#[inline(always)]
const fn is_word(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// What a command did, by the first bytes of its tag.
#[inline(always)]
pub(super) fn tag(text: u64) -> QueryKind {
    let found = kind((text | 0x2020_2020_2020_2020) & 0xFFFF_FFFF_FFFF);
    if (text >> 48) as u8 == b' ' { found } else { QueryKind::Other }
}

#[inline(always)]
const fn kind(word_in_lower_case: u64) -> QueryKind {
    const SELECT: u64 = u64::from_le_bytes(*b"select\0\0");
    const INSERT: u64 = u64::from_le_bytes(*b"insert\0\0");
    const UPDATE: u64 = u64::from_le_bytes(*b"update\0\0");
    const DELETE: u64 = u64::from_le_bytes(*b"delete\0\0");
    match word_in_lower_case {
        SELECT => QueryKind::Select,
        INSERT => QueryKind::Insert,
        UPDATE => QueryKind::Update,
        DELETE => QueryKind::Delete,
        _ => QueryKind::Other,
    }
}
