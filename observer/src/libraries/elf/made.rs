//! ELF files that tests make up.

/// A file of 64 bits with functions in its tables of symbols.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made {
    /// `.dynsym`: names, and code where they are defined.
    pub(crate) dynamic: Vec<(&'static str, Option<Vec<u8>>)>,
    /// `.symtab`, which is left out if there is nothing in it.
    pub(crate) all: Vec<(&'static str, Option<Vec<u8>>)>,
    /// The version of each dynamic symbol.
    pub(crate) version: Option<&'static str>,
}

/// How far addresses are from places in the file.
pub(crate) const BASE: u64 = 0x40_0000;

impl Made {
    /// A library with these dynamic symbols.
    pub(crate) fn with(dynamic: &[(&'static str, Option<&[u8]>)]) -> Self {
        let dynamic = dynamic.iter().map(|(name, code)| (*name, code.map(<[u8]>::to_vec))).collect();
        Self { dynamic, ..Self::default() }
    }

    /// The file, for this machine of ELF.
    pub(crate) fn bytes(&self, machine: u16) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        let mut sections = vec![(0_u32, 0_u64, 0_u64, 0_u32)];
        for (kind, symbols) in [(11, &self.dynamic), (2, &self.all)] {
            if symbols.is_empty() {
                continue;
            }
            let (mut names, mut table) = (vec![0_u8], vec![0_u8; 24]);
            for (name, code) in symbols {
                let address = BASE + bytes.len() as u64;
                table.extend((names.len() as u32).to_le_bytes());
                // A global function, in a section or in none.
                table.extend([0x12, 0, u8::from(code.is_some()), 0]);
                table.extend(if code.is_some() { address } else { 0 }.to_le_bytes());
                table.extend((code.as_ref().map_or(0, Vec::len) as u64).to_le_bytes());
                names.extend(name.as_bytes());
                names.push(0);
                bytes.extend(code.iter().flatten());
            }
            if kind == 11 && self.version.is_some() {
                self.versions(&mut bytes, &mut names, &mut sections);
            }
            let link = sections.len() as u32 + 1;
            sections.push((kind, bytes.len() as u64, table.len() as u64, link));
            bytes.extend(table);
            sections.push((3, bytes.len() as u64, names.len() as u64, 0));
            bytes.extend(names);
        }
        let table = bytes.len() as u64;
        for (kind, offset, size, link) in &sections {
            let mut header = [0; 64];
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&offset.to_le_bytes());
            header[32..40].copy_from_slice(&size.to_le_bytes());
            header[40..44].copy_from_slice(&link.to_le_bytes());
            bytes.extend(header);
        }
        head(&mut bytes, machine, table, sections.len() as u16);
        bytes
    }

    /// Adds the versions of dynamic symbols: all have the second, and the first is the file's own.
    fn versions(&self, bytes: &mut Vec<u8>, names: &mut Vec<u8>, sections: &mut Vec<(u32, u64, u64, u32)>) {
        let count = self.dynamic.len() + 1;
        sections.push((0x6fff_ffff, bytes.len() as u64, 2 * count as u64, 0));
        // The highest bit says that it is not the default.
        bytes.extend([2, 0x80].repeat(count));
        let own = sections.len() as u32;
        sections.push((0x6fff_fffd, bytes.len() as u64, 56, own + 2));
        for (number, next) in [(1_u16, 28_u32), (2, 0)] {
            bytes.extend([1, 0, 0, 0]);
            bytes.extend(number.to_le_bytes());
            bytes.extend([1, 0, 0, 0, 0, 0]);
            bytes.extend(20_u32.to_le_bytes());
            bytes.extend(next.to_le_bytes());
            bytes.extend((names.len() as u32).to_le_bytes());
            bytes.extend([0; 4]);
            names.extend(
                if number == 1 { "libssl.so.3" } else { self.version.unwrap_or_default() }.as_bytes(),
            );
            names.push(0);
        }
    }
}

/// Writes the header, and a segment that has all of the file.
fn head(bytes: &mut [u8], machine: u16, sections: u64, count: u16) {
    let length = bytes.len() as u64;
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16..18].copy_from_slice(&3_u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[40..48].copy_from_slice(&sections.to_le_bytes());
    for (at, number) in [(52, 64), (54, 56), (56, 1), (58, 64), (60, count)] {
        bytes[at..at + 2].copy_from_slice(&number.to_le_bytes());
    }
    bytes[64..72].copy_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
    bytes[80..88].copy_from_slice(&BASE.to_le_bytes());
    bytes[96..104].copy_from_slice(&length.to_le_bytes());
    bytes[104..112].copy_from_slice(&length.to_le_bytes());
}
