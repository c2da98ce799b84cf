//! Which functions an ELF file defines, and where in the file they are.
//!
//! Read are files of 64 bits, little-endian, for x86-64 or aarch64, by their tables of sections. The numbers in them
//! are `object`'s; the reading is not, because it holds whole tables in memory, or maps the file, in which case whoever
//! cuts the file short kills the agent. Here, tables are read through a small buffer, once and in order: first the
//! names, to find where the wanted ones are, and then the symbols that have those. So whatever the file says, no more
//! than [`TABLE`] bytes of each of four tables are read, and some hundred KiB of memory are in use.

mod read;
mod symbols;

use object::elf;

pub use read::Bytes;
use read::{u16_at, u32_at, u64_at};
pub use symbols::{Symbol, Symbols};

/// Bytes of the longest table of names or symbols that is read. Node has one of 8 MiB.
pub const TABLE: u64 = 64 << 20;
/// Sections and segments that are read of a file, at most. Usual ones have 40 and 14.
const HEADERS: u16 = 2048;
/// Bytes of the headers (`Elf64_Ehdr`, `Elf64_Phdr`, `Elf64_Shdr`).
const FILE_HEADER: usize = 64;
const SEGMENT: u16 = 56;
const SECTION: u16 = 64;

/// Why a file's functions could not be found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not start as an ELF file does.
    #[error("it is no ELF file")]
    NotElf,
    /// It could not be read, or it ends early.
    #[error("cannot read {what}: {error}")]
    Read {
        /// Which part of it.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not of 64 bits and little-endian.
    #[error("programs of 32 bits, and big-endian ones, are not supported")]
    Class,
    /// It is for another machine than those supported; `e_machine` in its header says which.
    #[error("programs for machine {0} of ELF are not supported")]
    Machine(u16),
    /// A table is larger than any that is taken.
    #[error("{what} has {count}, and no more than {limit} are read")]
    TooLarge {
        /// The table.
        what: &'static str,
        /// Its length: bytes of tables of names and symbols, else entries.
        count: u64,
        /// How long it may be.
        limit: u64,
    },
    /// It contradicts itself.
    #[error("{0}")]
    Malformed(&'static str),
}

/// A machine that programs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// aarch64, little-endian.
    Aarch64,
}

/// A part of the file that is mapped with execute permission.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Where it is in memory, relative to the file's other parts.
    address: u64,
    offset: u64,
    size: u64,
}

/// A section of the file, as far as it matters here.
#[derive(Clone, Copy, Debug)]
struct Section {
    kind: u32,
    offset: u64,
    size: u64,
    /// The number of the section that it refers to: a table of symbols' names.
    link: usize,
}

/// An ELF file's headers.
#[derive(Debug)]
pub struct Elf<'a, B: ?Sized> {
    bytes: &'a B,
    machine: Machine,
    segments: Vec<Segment>,
    sections: Vec<Section>,
}

impl<'a, B: Bytes + ?Sized> Elf<'a, B> {
    /// Reads the headers.
    pub fn read(bytes: &'a B) -> Result<Self, Error> {
        let mut header = [0; FILE_HEADER];
        let identity = read::exactly(bytes, 0, &mut header[..elf::ELFMAG.len()], "the file's start");
        // What is shorter is none either.
        if identity.is_err() || !header.starts_with(&elf::ELFMAG) {
            return Err(Error::NotElf);
        }
        read::exactly(bytes, 0, &mut header, "the file's header")?;
        if header[4] != elf::ELFCLASS64 || header[5] != elf::ELFDATA2LSB {
            return Err(Error::Class);
        }
        let machine = match u16_at(&header, 18) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_AARCH64 => Machine::Aarch64,
            other => return Err(Error::Machine(other)),
        };
        let table = |offset: usize, size: usize, count: usize, entry: u16, what| {
            let (size, count) = (u16_at(&header, size), u16_at(&header, count));
            if count > HEADERS {
                return Err(Error::TooLarge { what, count: count.into(), limit: HEADERS.into() });
            }
            if count > 0 && size != entry {
                return Err(Error::Malformed("its headers are of another size than those of ELF"));
            }
            let mut table = vec![0; usize::from(count) * usize::from(entry)];
            read::exactly(bytes, u64_at(&header, offset), &mut table, what)?;
            Ok(table)
        };
        let segments = table(32, 54, 56, SEGMENT, "the table of segments")?;
        let sections = table(40, 58, 60, SECTION, "the table of sections")?;
        Ok(Self {
            bytes,
            machine,
            segments: segments.chunks_exact(SEGMENT.into()).filter_map(segment).collect(),
            sections: sections.chunks_exact(SECTION.into()).map(section).collect(),
        })
    }

    /// The machine that the file is for.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Where in the file the code at an address is, if all `size` bytes of it are in one executable segment.
    fn offset(&self, address: u64, size: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = address.checked_sub(segment.address)?;
            let end = within.checked_add(size)?;
            (within < segment.size && end <= segment.size).then(|| segment.offset.checked_add(within))?
        })
    }

    /// A function's code: all of it, but no more than `limit` bytes. Of a function whose size is not known, as much as
    /// one instruction may have.
    pub fn code(&self, symbol: &Symbol, limit: usize) -> Result<Vec<u8>, Error> {
        /// Bytes of the longest instruction of x86-64.
        const INSTRUCTION: u64 = 15;
        let size = if symbol.size == 0 { INSTRUCTION } else { symbol.size };
        let mut code = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(limit)];
        read::exactly(self.bytes, symbol.offset, &mut code, "a function")?;
        Ok(code)
    }
}

/// A segment, if it is executable.
fn segment(header: &[u8]) -> Option<Segment> {
    let is_code = u32_at(header, 0) == elf::PT_LOAD && u32_at(header, 4) & elf::PF_X != 0;
    let (offset, address, size) = (u64_at(header, 8), u64_at(header, 16), u64_at(header, 32));
    is_code.then_some(Segment { address, offset, size })
}

fn section(header: &[u8]) -> Section {
    Section {
        kind: u32_at(header, 4),
        offset: u64_at(header, 24),
        size: u64_at(header, 32),
        link: u32_at(header, 40) as usize,
    }
}

#[cfg(test)]
pub(super) mod made;
#[cfg(test)]
mod tests;
