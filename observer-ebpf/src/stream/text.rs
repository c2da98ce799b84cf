//! What is made of texts of a few words of eight bytes: numbers and lines, without a loop over their
//! bytes.

use super::bytes::low_bytes;

/// A byte in each place of a word.
#[inline(always)]
pub(crate) const fn everywhere(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

const HIGH: u64 = everywhere(0x80);
const LOW: u64 = everywhere(0x7F);

/// Where `byte` is first in `word`; 8 if nowhere.
#[inline(always)]
pub(crate) const fn find(word: u64, byte: u8) -> u32 {
    let found = marks_of(word, everywhere(byte));
    // The lowest bit set, times a word that has the number of each place at the top once shifted there.
    let lowest = (found & found.wrapping_neg()) >> 7;
    let place = lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56;
    if found == 0 { 8 } else { place as u32 }
}

/// The same in two words; 16 if nowhere.
#[inline(always)]
pub(crate) const fn find_in_two(lo: u64, hi: u64, byte: u8) -> u32 {
    let place = find(lo, byte);
    if place < 8 { place } else { 8 + find(hi, byte) }
}

/// The bytes of a word that are the one which `bytes` has [`everywhere`]: the highest bit of each. Of those only the
/// first is certain.
#[inline(always)]
pub(crate) const fn marks_of(word: u64, bytes: u64) -> u64 {
    let zero = word ^ bytes;
    zero.wrapping_sub(everywhere(1)) & !zero & HIGH
}

/// A bit for each byte of a word that has its highest bit set, and no other.
#[inline(always)]
pub(crate) const fn bits_of(marks: u64) -> u64 {
    // Each lowest bit of a byte, times a word that has the highest byte take one after the other.
    (marks >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// A word in which each sequence of six bits, of which there are 64, is somewhere (a de Bruijn sequence).
const SEQUENCES: u64 = 0x0218_A392_CD3D_5DBF;

/// Where in it the sequence is that has a number.
static SEQUENCE_AT: [u8; 64] = {
    let mut all = [0; 64];
    let mut at = 0u8;
    while at < 64 {
        all[((SEQUENCES << at) >> 58) as usize] = at;
        at += 1;
    }
    all
};

/// The number of the lowest bit that is set, if any is. The instruction set has no instruction for it.
#[inline(always)]
pub(crate) const fn lowest_bit(bits: u64) -> u32 {
    let lowest = bits & bits.wrapping_neg();
    SEQUENCE_AT[(lowest.wrapping_mul(SEQUENCES) >> 58) as usize] as u32
}

/// The number that the last `digits` (1 to 8) bytes of `word` spell, if they do.
#[inline(always)]
const fn digits(word: u64, digits: u32) -> Option<u64> {
    // A shift by 64 is split in two.
    let values = (word ^ everywhere(b'0')) & !(low_bytes(u64::MAX, 8 - digits));
    let beyond = (values | values.wrapping_add(everywhere(6))) & everywhere(0xF0);
    if beyond != 0 {
        return None;
    }
    let pairs = (values.wrapping_mul(10).wrapping_add(values >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF)
}

/// The number that the first `length` bytes of two words spell, if they do: 1 to 16 digits.
#[inline(always)]
pub(crate) const fn number(lo: u64, hi: u64, length: u32) -> Option<u64> {
    if length == 0 || length > 16 {
        return None;
    }
    if length <= 8 {
        return digits(shifted_up(lo, 8 - length), length);
    }
    let first = length - 8;
    let rest = shifted_down(lo, first) | shifted_up(hi, 8 - first);
    match (digits(shifted_up(lo, 8 - first), first), digits(rest, 8)) {
        (Some(first), Some(rest)) => Some(first * 100_000_000 + rest),
        _ => None,
    }
}

/// Without its first `bytes` (at most 8).
#[inline(always)]
pub(crate) const fn shifted_down(word: u64, bytes: u32) -> u64 {
    (word >> (4 * bytes)) >> (4 * bytes)
}

#[inline(always)]
const fn shifted_up(word: u64, bytes: u32) -> u64 {
    (word << (4 * bytes)) << (4 * bytes)
}

/// A text of at most 16 bytes as two words.
pub(crate) const fn words(text: &str) -> (u64, u64) {
    let text = text.as_bytes();
    let (mut lo, mut hi) = (0, 0);
    let mut at = 0;
    while at < text.len() && at < 16 {
        if at < 8 {
            lo |= (text[at] as u64) << (8 * at);
        } else {
            hi |= (text[at] as u64) << (8 * (at - 8));
        }
        at += 1;
    }
    (lo, hi)
}

/// The bytes of a word that are `byte`: the highest bit of each.
#[inline(always)]
pub(crate) const fn equals_of(word: u64, byte: u8) -> u64 {
    let difference = word ^ everywhere(byte);
    !(((difference & LOW) + LOW) | difference) & HIGH
}

/// The bytes of a word that lie between two of ASCII, which are inclusive: the highest bit of each.
#[inline(always)]
pub(crate) const fn between(word: u64, first: u8, last: u8) -> u64 {
    let above = (word & LOW).wrapping_add(everywhere(0x80 - first));
    let beyond = (word & LOW).wrapping_add(everywhere(0x7F - last));
    above & !beyond & !word & HIGH
}

/// The sum of a word's bytes, if it is less than 256.
#[inline(always)]
pub(crate) const fn sum_of_bytes(word: u64) -> u32 {
    (word.wrapping_mul(everywhere(1)) >> 56) as u32
}

/// The bytes of a word that are digits: the highest bit of each.
#[inline(always)]
pub(crate) const fn digits_of(word: u64) -> u64 {
    let value = word ^ everywhere(b'0');
    !(((value & LOW) + everywhere(0x7F - 9)) | value) & HIGH
}

/// How many of the first `length` bytes are in word number `word`.
#[inline(always)]
pub(crate) const fn within(length: u32, word: u32) -> u32 {
    let behind = length.saturating_sub(8 * word);
    if behind < 8 { behind } else { 8 }
}

/// Which of a text's first `length` bytes (less than 64) are in its word number `word` and are no printable ASCII: a bit
/// for each, of which only the first is certain. Several words' are put together before they are looked at: each branch
/// here would be another way into all that follows for the verifier.
#[inline(always)]
pub(crate) const fn unprintable(text: u64, length: u32, word: u32) -> u64 {
    let valid = ((1 << (length & 63)) - 1) >> (8 * word);
    bits_of(unprintable_of(text)) & valid
}

/// The bytes of a word that are no printable ASCII: the highest bit of each. Of those only the first is certain.
#[inline(always)]
const fn unprintable_of(word: u64) -> u64 {
    let controls = word.wrapping_sub(everywhere(b' ')) & !word & HIGH;
    (word & HIGH) | controls | marks_of(word, everywhere(0x7F))
}

/// Whether the first `length` bytes of a word are printable ASCII.
#[inline(always)]
pub(crate) const fn is_printable(word: u64, length: u32) -> bool {
    let mask = low_bytes(u64::MAX, length);
    unprintable_of((word & mask) | (everywhere(b' ') & !mask)) == 0
}
