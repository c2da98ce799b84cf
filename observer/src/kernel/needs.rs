//! Which of the globals that are set before loading each program reads, by the object's own relocations: what
//! depends on a member that this kernel does not have, and what does not.

use std::collections::{BTreeMap, BTreeSet};

use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind, SymbolKind};

/// Bytes of an instruction (`struct bpf_insn` in `include/uapi/linux/bpf.h`).
const INSTRUCTION: u64 = 8;
/// `BPF_JMP | BPF_CALL`, with `BPF_PSEUDO_CALL` as its source: a call of another function here.
const CALL: u8 = 0x85;
const PSEUDO_CALL: u8 = 1;
/// `BPF_LD | BPF_IMM | BPF_DW`: an immediate of 64 bits, or an address.
const LD_IMM64: u8 = 0x18;

/// Where a function starts: the number of its section, and a place in it.
type Place = (usize, u64);

/// What a function refers to.
#[derive(Debug, Default)]
struct Function {
    end: u64,
    globals: BTreeSet<String>,
    calls: BTreeSet<Place>,
}

/// The globals that each program reads, itself or in a function that it calls, by the program's name.
///
/// # Errors
///
/// If the object cannot be read, in a line.
pub fn globals(object: &[u8]) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let file = ElfFile64::<object::Endianness>::parse(object).map_err(|error| error.to_string())?;
    let mut names = BTreeMap::new();
    let mut functions: BTreeMap<Place, Function> = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let (Some(section), Ok(name)) = (symbol.section_index(), symbol.name()) else { continue };
        let place = (section.0, symbol.address());
        names.insert(name.to_owned(), place);
        functions.entry(place).or_default().end = symbol.address() + symbol.size();
    }
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        refer(&file, &section, &mut functions)?;
    }
    names.into_iter().map(|(name, place)| Ok((name, reached(&functions, place)?))).collect()
}

/// Notes what a section's instructions refer to, for the function that each is in.
fn refer<'data>(
    file: &ElfFile64<'data, object::Endianness>,
    section: &object::read::elf::ElfSection64<'data, '_, object::Endianness>,
    functions: &mut BTreeMap<Place, Function>,
) -> Result<(), String> {
    let own = section.index().0;
    let code = section.data().map_err(|error| error.to_string())?;
    let mut relocations: BTreeMap<u64, object::SymbolIndex> = BTreeMap::new();
    for (at, relocation) in section.relocations() {
        if let RelocationTarget::Symbol(symbol) = relocation.target() {
            relocations.insert(at, symbol);
        }
    }
    for (index, instruction) in code.chunks_exact(INSTRUCTION as usize).enumerate() {
        let &[opcode, registers, _, _, a, b, c, d] = instruction else { continue };
        let at = index as u64 * INSTRUCTION;
        let is_call = opcode == CALL && registers >> 4 == PSEUDO_CALL;
        if !is_call && opcode != LD_IMM64 {
            continue;
        }
        let imm = i64::from(i32::from_le_bytes([a, b, c, d]));
        // A call tells how many instructions lie between; an address, how many bytes.
        let distance = if is_call { (imm + 1) * INSTRUCTION.cast_signed() } else { imm };
        let function = functions.range_mut(..=(own, at)).next_back();
        let Some((_, function)) = function.filter(|((of, _), found)| *of == own && at < found.end) else {
            return Err(format!("the instruction at {at} of section {own} is in no function"));
        };
        let Some(&symbol) = relocations.get(&at) else {
            // Within the section, and known when it was written.
            if is_call {
                function.calls.insert((own, at.wrapping_add_signed(distance)));
            }
            continue;
        };
        let symbol = file.symbol_by_index(symbol).map_err(|error| error.to_string())?;
        let Some(of) = symbol.section_index() else { continue };
        let kind = file.section_by_index(of).map_err(|error| error.to_string())?.kind();
        if kind == SectionKind::Text {
            function.calls.insert((of.0, symbol.address().wrapping_add_signed(distance)));
        } else if let Ok(name) = symbol.name() {
            function.globals.insert(name.to_owned());
        }
    }
    Ok(())
}

/// The globals of a function and of all that it leads to.
fn reached(functions: &BTreeMap<Place, Function>, from: Place) -> Result<BTreeSet<String>, String> {
    let mut seen = BTreeSet::from([from]);
    let mut next = vec![from];
    let mut globals = BTreeSet::new();
    while let Some(place) = next.pop() {
        let function = functions.get(&place).ok_or_else(|| format!("there is no function at {place:?}"))?;
        globals.extend(function.globals.iter().cloned());
        next.extend(function.calls.iter().copied().filter(|&place| seen.insert(place)));
    }
    Ok(globals)
}
