//! An address in text, a byte at a time (RFC 4291, section 2.2, and dotted decimals).

/// An address in hand. Its bytes move in from below, so that no place in it depends on what came before.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Address {
    /// Its bytes so far, or those behind `::`: a number of two words, the greater one first.
    bytes: [u64; 2],
    /// Those in front of `::`, where they belong in the whole.
    front: [u64; 2],
    /// The group in hand, in decimal.
    decimal: u32,
    /// The same in hexadecimal.
    hexadecimal: u32,
    /// How many bytes there are in `bytes`, and how many in `front`.
    count: u8,
    front_count: u8,
    /// 1 behind `::`.
    is_split: u8,
    /// Colons in a row up to here.
    colons: u8,
    dots: u8,
    /// Digits of the group in hand.
    digits: u8,
    /// 1 if one of them is a letter.
    has_letter: u8,
    /// 1 if there is a zero in front of others.
    has_zero: u8,
}

/// What comes before an IPv4 address that is mapped into IPv6 (RFC 4291, section 2.5.5.2).
const MAPPED: u64 = 0xFFFF << 32;

impl Address {
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.bytes = [0; 2];
        self.front = [0; 2];
        self.count = 0;
        self.front_count = 0;
        self.is_split = 0;
        self.colons = 0;
        self.dots = 0;
        self.start_group();
    }

    #[inline(always)]
    fn start_group(&mut self) {
        self.decimal = 0;
        self.hexadecimal = 0;
        self.digits = 0;
        self.has_letter = 0;
        self.has_zero = 0;
    }

    /// Adds a byte of the address itself.
    #[inline(always)]
    pub(super) fn push(&mut self, byte: u8) {
        let [high, low] = self.bytes;
        self.bytes = [high << 8 | low >> 56, low << 8 | u64::from(byte)];
        self.count = self.count.wrapping_add(1);
    }

    /// The bytes that were pushed, which are as many as an address has.
    #[inline(always)]
    pub(super) const fn whole(&self, is_v6: bool) -> [u64; 2] {
        let [high, low] = self.bytes;
        if is_v6 { [high, low] } else { [0, MAPPED | low] }
    }

    /// Takes in a character of its text; false if there is none such there.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8, is_v6: bool) -> bool {
        match byte {
            b'.' => {
                self.dots = self.dots.wrapping_add(1);
                self.end_octet()
            }
            b':' => is_v6 && self.take_colon(),
            _ => self.take_digit(byte),
        }
    }

    #[inline(always)]
    fn take_digit(&mut self, byte: u8) -> bool {
        let decimal = byte.wrapping_sub(b'0');
        let letter = (byte | 0x20).wrapping_sub(b'a');
        let is_letter = letter < 6;
        let value = if is_letter { letter + 10 } else { decimal };
        // A colon alone does not start an address.
        let is_led = self.colons == 1 && self.count == 0 && self.is_split == 0;
        self.colons = 0;
        self.has_letter |= u8::from(is_letter);
        self.has_zero |= u8::from(self.digits != 0 && self.hexadecimal == 0);
        self.decimal = self.decimal.wrapping_mul(10).wrapping_add(u32::from(value));
        self.hexadecimal = self.hexadecimal.wrapping_mul(16).wrapping_add(u32::from(value));
        self.digits = self.digits.wrapping_add(1);
        (is_letter || decimal < 10) && !is_led && self.digits <= 4
    }

    #[inline(always)]
    fn take_colon(&mut self) -> bool {
        if self.digits > 0 {
            self.colons = 1;
            self.end_group();
            return self.dots == 0;
        }
        self.colons = self.colons.wrapping_add(1);
        if self.colons == 2 {
            let is_first = self.is_split == 0;
            self.split();
            return is_first;
        }
        // The first of two at the start.
        self.colons == 1 && self.count == 0 && self.is_split == 0 && self.dots == 0
    }

    /// `::`: what follows ends the address.
    #[inline(always)]
    fn split(&mut self) {
        let [high, low] = self.bytes;
        let up = 16u32.wrapping_sub(u32::from(self.count));
        let bits = (8 * up) & 63;
        // Up by `up` bytes; a shift by 64 is split in two.
        self.front =
            if up >= 8 { [low << bits, 0] } else { [high << bits | (low >> 1) >> (63 - bits), low << bits] };
        self.front_count = self.count;
        self.bytes = [0; 2];
        self.count = 0;
        self.is_split = 1;
    }

    /// A group of four hexadecimal digits is over.
    #[inline(always)]
    fn end_group(&mut self) {
        self.push((self.hexadecimal >> 8) as u8);
        self.push(self.hexadecimal as u8);
        self.start_group();
    }

    /// A decimal is over; false if it is none.
    #[inline(always)]
    fn end_octet(&mut self) -> bool {
        let is_octet = self.digits != 0 && self.has_letter == 0 && self.has_zero == 0 && self.decimal <= 255;
        self.push(self.decimal as u8);
        self.start_group();
        is_octet
    }

    /// The text is over: the address, IPv6 or mapped into it, if it was one.
    #[inline(always)]
    pub(super) fn end(&mut self, is_v6: bool) -> Option<[u64; 2]> {
        let ends_well = if self.dots != 0 || !is_v6 {
            self.end_octet() && self.dots == 3
        } else if self.digits > 0 {
            self.end_group();
            true
        } else {
            // Only `::` may be the last thing.
            self.colons == 2
        };
        if !ends_well {
            return None;
        }
        let count = u32::from(self.count) + u32::from(self.front_count);
        if !is_v6 {
            return (count == 4).then(|| self.whole(false));
        }
        let [high, low] = self.bytes;
        let [front_high, front_low] = self.front;
        // `::` stands for one group at least.
        let fits = if self.is_split != 0 { count <= 14 } else { count == 16 };
        fits.then_some([high | front_high, low | front_low])
    }
}
