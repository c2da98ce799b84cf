//! The functions of a file by their names, and the versions of their symbols.

use std::collections::BTreeMap;

use object::elf;

use super::read::{self, u16_at, u32_at, u64_at};
use super::{Bytes, Elf, Error, Section, TABLE};

/// Bytes of a symbol (`Elf64_Sym`), of its version, and of what describes a version (`Elf64_Verdef`).
const SYMBOL: u64 = 24;
const VERSION: u64 = 2;
const DESCRIPTION: usize = 20;
/// Bytes that are read at a time: a whole number of symbols.
const CHUNK: u64 = SYMBOL << 12;
/// Places where names may be, of all those wanted. A table has each name once, or as the end of others.
const PLACES: usize = 4096;
/// Versions that are looked through for a symbol's.
const VERSIONS: usize = 256;
/// Bytes of the longest version that is read.
const LONGEST_VERSION: usize = 64;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its address, as in the file.
    pub address: u64,
    /// Where it is in the file, in bytes.
    pub offset: u64,
    /// How many bytes it has, or 0 where the file does not say.
    pub size: u64,
    /// Its number in its table.
    number: u64,
}

/// Functions that were found in one of a file's tables, by name.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    found: BTreeMap<&'static str, Symbol>,
    is_dynamic: bool,
}

impl Symbols {
    /// The function of this name.
    pub fn get(&self, name: &str) -> Option<&Symbol> {
        self.found.get(name)
    }
}

impl<B: Bytes + ?Sized> Elf<'_, B> {
    /// Finds which of `names` are names of functions that the file defines. They are looked for among the symbols that
    /// others may link with; and if no group of `needed` is there whole, among all symbols, if the file still has those.
    /// `None` if in neither place any is.
    pub fn functions<const N: usize>(
        &self,
        names: &[&'static str],
        needed: &[[&'static str; N]],
    ) -> Result<Option<Symbols>, Error> {
        for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
            let Some(section) = self.sections.iter().find(|section| section.kind == kind) else { continue };
            let found = self.search(section, names)?;
            if needed.iter().any(|group| group.iter().all(|name| found.contains_key(name))) {
                return Ok(Some(Symbols { found, is_dynamic: kind == elf::SHT_DYNSYM }));
            }
        }
        Ok(None)
    }

    /// Looks for functions in a table of symbols.
    fn search(
        &self,
        section: &Section,
        names: &[&'static str],
    ) -> Result<BTreeMap<&'static str, Symbol>, Error> {
        let strings = self.strings(section)?;
        let places = self.places(&strings, names)?;
        let mut found = BTreeMap::new();
        if places.is_empty() {
            return Ok(found);
        }
        self.chunks(section, "the table of symbols", |from, chunk| {
            for (number, symbol) in (from / SYMBOL..).zip(chunk.chunks_exact(SYMBOL as usize)) {
                let Some(&name) = places.get(&u32_at(symbol, 0)) else { continue };
                let (defined_in, address, size) = (u16_at(symbol, 6), u64_at(symbol, 8), u64_at(symbol, 16));
                let is_function = symbol[4] & 0xf == elf::STT_FUNC;
                let is_defined = defined_in != elf::SHN_UNDEF && defined_in < elf::SHN_LORESERVE;
                if is_function && is_defined && !found.contains_key(name) {
                    let offset = self
                        .offset(address, size.max(1))
                        .ok_or(Error::Malformed("a function is not in an executable segment"))?;
                    found.insert(name, Symbol { address, offset, size, number });
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The table with the names of a table of symbols.
    fn strings(&self, section: &Section) -> Result<Section, Error> {
        let strings = self.sections.get(section.link).filter(|strings| strings.kind == elf::SHT_STRTAB);
        strings.copied().ok_or(Error::Malformed("a table of symbols has no names"))
    }

    /// Where in a table of names the wanted ones are. One may be the end of a longer one: no byte is wasted.
    fn places(
        &self,
        strings: &Section,
        names: &[&'static str],
    ) -> Result<BTreeMap<u32, &'static str>, Error> {
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut places = BTreeMap::new();
        // What came last, and may be the start of a name that goes on in the next chunk.
        let mut text: Vec<u8> = Vec::new();
        self.chunks(strings, "the table of names", |from, chunk| {
            let kept = text.len();
            let starts_at = from - kept as u64;
            text.extend_from_slice(chunk);
            let mut end = kept;
            while let Some(length) = text[end..].iter().position(|&byte| byte == 0) {
                end += length;
                for name in names.iter().filter(|name| text[..end].ends_with(name.as_bytes())) {
                    if places.len() == PLACES {
                        return Err(Error::Malformed("a table of names has the same name again and again"));
                    }
                    // Tables are shorter than 2^32 bytes, see TABLE.
                    places.insert((starts_at + (end - name.len()) as u64) as u32, *name);
                }
                end += 1;
            }
            text.drain(..text.len().saturating_sub(longest));
            Ok(())
        })?;
        Ok(places)
    }

    /// Reads a section chunk by chunk, each with where in the section it starts.
    fn chunks(
        &self,
        section: &Section,
        what: &'static str,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if section.size > TABLE {
            return Err(Error::TooLarge { what, count: section.size, limit: TABLE });
        }
        let mut buffer = vec![0; section.size.min(CHUNK) as usize];
        let mut from = 0;
        while from < section.size {
            let chunk = &mut buffer[..(section.size - from).min(CHUNK) as usize];
            let offset = section.offset.checked_add(from).ok_or(Error::Malformed("a section has no end"))?;
            read::exactly(self.bytes, offset, chunk, what)?;
            take(from, chunk)?;
            from += chunk.len() as u64;
        }
        Ok(())
    }

    /// The version of a function's symbol, such as `OPENSSL_3.0.0`. `None` if it has none, or if what the file says of
    /// it makes no sense.
    pub fn version(&self, symbols: &Symbols, name: &str) -> Option<String> {
        let symbol = symbols.get(name).filter(|_| symbols.is_dynamic)?;
        let versions = self.sections.iter().find(|section| section.kind == elf::SHT_GNU_VERSYM)?;
        let described = self.sections.iter().find(|section| section.kind == elf::SHT_GNU_VERDEF)?;
        let strings = self.sections.get(described.link)?;
        let at = symbol.number.checked_mul(VERSION).filter(|at| at + VERSION <= versions.size)?;
        let mut version = [0; VERSION as usize];
        self.bytes.read_at(versions.offset.checked_add(at)?, &mut version).ok()?;
        let version = u16_at(&version, 0) & elf::VERSYM_VERSION;
        let mut at = described.offset;
        for _ in 0..VERSIONS {
            let mut description = [0; DESCRIPTION];
            self.bytes.read_at(at, &mut description).ok()?;
            // Its number, where its names are, and where the next is.
            let (number, names, next) =
                (u16_at(&description, 4), u32_at(&description, 12), u32_at(&description, 16));
            if number == version {
                let mut name = [0; 4];
                self.bytes.read_at(at.checked_add(names.into())?, &mut name).ok()?;
                return self.string(strings.offset.checked_add(u32_at(&name, 0).into())?);
            }
            at = at.checked_add(next.into()).filter(|_| next != 0)?;
        }
        None
    }

    /// A short text of letters, digits and marks that ends with 0.
    fn string(&self, offset: u64) -> Option<String> {
        let mut text = Vec::new();
        for at in 0..=LONGEST_VERSION as u64 {
            let mut byte = [0];
            self.bytes.read_at(offset.checked_add(at)?, &mut byte).ok()?;
            match byte {
                [0] => return String::from_utf8(text).ok(),
                [byte] if byte.is_ascii_graphic() => text.push(byte),
                _ => return None,
            }
        }
        None
    }
}
