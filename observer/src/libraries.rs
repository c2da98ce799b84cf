//! TLS libraries that processes use, and where uprobes can be put in them.
//!
//! A library is told by the functions that it defines, never by its file's name: a program that has one linked into it,
//! as Node has, is one, too. Files come from whoever runs a process here, also in containers, and are read with
//! privileges. So all that is read of a file, and all that is done with it, is bounded, and a file that makes no sense
//! is a failure with a reason. What cannot be bounded from here is how long it takes to read from a file system that
//! is served by a program or another host; so this is no work for a thread that others wait for.
//!
//! ```text
//! mapped ──► elf ──► kind, points, layout
//! files      where    which library it is, on which
//! mapped     its      instructions of its functions probes
//! to be run  functions  cost least, and where its sessions
//!                     have what tells whose they are
//! ```
//!
//! [`functions`] has what a library may define, and what each is for: to read another family is rows there.

pub mod elf;
pub mod functions;
mod kind;
pub mod layout;
pub mod mapped;
pub mod points;
mod x86_64;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use elf::{Bytes, Elf, Symbols};
use mapped::MappedFile;

pub use functions::{Family, Function};
pub use mapped::{Device, FileId};
pub use observer_ebpf::layout::library::{Kind, ResultPlace, SessionLayout};
pub use points::{Exit, Point, Points};

/// Files that are looked into at a time, at most. A host with a hundred containers maps some thousand.
pub const FILES: usize = 4096;
/// How long files are looked into at a time: once it is over, no other file is begun. A host's usual files take a
/// second or two. Some are made to take long.
pub const TIME: Duration = Duration::from_secs(20);
/// Bytes of the longest function that is taken to do no more than to go on to another. Debian's `gnutls_record_send` has 10;
/// what would have that of the other one within would have some hundred.
const WAY: u64 = 64;

/// A TLS library in a file that processes have mapped.
#[derive(Debug)]
pub struct Library {
    /// Which library it is.
    pub kind: Kind,
    /// Its version, as far as its symbols tell: `3` or `1.1`.
    pub version: Option<String>,
    /// The file's path, as a process that maps it has it.
    pub path: PathBuf,
    /// A path to the file from outside that process: below `/proc/PID/root`, or in `/proc/PID/map_files`. It lasts as
    /// long as the process, and may lead to another file by the time that it is used.
    pub open_path: PathBuf,
    /// The file itself. Its path `/proc/self/fd/…` leads to it as long as this is open, whatever becomes of processes.
    pub file: File,
    /// Which file it is.
    pub id: FileId,
    /// The processes that had mapped it to be executed, in order.
    pub pids: Vec<u32>,
    /// Where to put probes on each function that it has, of one family. One that reads and one that writes are always
    /// among them.
    pub functions: BTreeMap<Function, Points>,
    /// Where its sessions have what tells whose they are, if that is known. If not, those whose records go through
    /// memory are nobody's.
    pub layout: Option<SessionLayout>,
}

/// Why something could not be looked into.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What a process has mapped could not be read, or the file could not be opened.
    #[error("cannot open or read it: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It is an ELF file whose functions could not be found.
    #[error(transparent)]
    Elf(#[from] elf::Error),
}

/// What could not be looked into.
#[derive(Debug)]
pub struct Failure {
    /// The file, as a process that maps it has it, or a process's maps.
    pub path: PathBuf,
    /// Why.
    pub reason: Error,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The libraries.
    pub libraries: Vec<Library>,
    /// What could not be looked into.
    pub failures: Vec<Failure>,
    /// All files that were looked into, or for which this was tried. Files of processes that ended meanwhile are not
    /// among them.
    pub looked_at: BTreeSet<FileId>,
    /// How many files and mappings of further files were left out because of [`FILES`] and [`TIME`].
    pub left_out: usize,
}

/// Finds the TLS libraries that any process below `proc` has mapped, but for files in `known`.
pub fn find(proc: &Path, known: &BTreeSet<FileId>) -> Found {
    match mapped::pids(proc) {
        Ok(pids) => find_of(proc, &pids, known),
        Err(error) => {
            let failure = Failure { path: proc.to_owned(), reason: error.into() };
            Found { failures: vec![failure], ..Found::default() }
        }
    }
}

/// The same, of these processes only.
pub fn find_of(proc: &Path, pids: &[u32], known: &BTreeSet<FileId>) -> Found {
    let since = Instant::now();
    let mapped = mapped::files(proc, pids, known, FILES);
    let mut found = Found { left_out: mapped.left_out, ..Found::default() };
    found
        .failures
        .extend(mapped.failures.into_iter().map(|(path, error)| Failure { path, reason: error.into() }));
    for file in mapped.files {
        if since.elapsed() > TIME {
            found.left_out += 1;
            continue;
        }
        let (id, path) = (file.id, file.path.clone());
        let pids = file.pids.clone();
        match libraries(proc, file) {
            Ok(libraries) => found.libraries.extend(libraries),
            // Nobody has it any more.
            Err(Error::Unreadable(_)) if !pids.iter().any(|pid| proc.join(pid.to_string()).exists()) => {
                continue;
            }
            Err(reason) => found.failures.push(Failure { path, reason }),
        }
        found.looked_at.insert(id);
    }
    found
}

/// The TLS libraries that are in a file: mostly none, and several where they are linked into one program.
fn libraries(proc: &Path, mapped: MappedFile) -> Result<Vec<Library>, Error> {
    let (open_path, file) = mapped::open(proc, &mapped)?;
    let MappedFile { id, path, pids, .. } = mapped;
    let of = |facts| {
        let Facts { kind, version, functions, layout } = facts;
        let (path, open_path, pids) = (path.clone(), open_path.clone(), pids.clone());
        Ok(Library { kind, version, path, open_path, file: file.try_clone()?, id, pids, functions, layout })
    };
    Facts::of(&file)?.into_iter().map(of).collect()
}

/// What a file's bytes tell of a library in it.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    kind: Kind,
    version: Option<String>,
    functions: BTreeMap<Function, Points>,
    layout: Option<SessionLayout>,
}

impl Facts {
    /// Looks into a file. Nothing if there is no TLS library in it.
    fn of<B: Bytes + ?Sized>(bytes: &B) -> Result<Vec<Self>, elf::Error> {
        let elf = match Elf::read(bytes) {
            Ok(elf) => elf,
            // Processes map other files, too, such as archives of classes.
            Err(elf::Error::NotElf) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let probed = Function::ALL.map(Function::name).into_iter();
        let names: Vec<&str> = probed.chain(kind::MARKS).chain(layout::FUNCTIONS).collect();
        let needed = Family::ALL.map(|family| family.needed().map(Function::name));
        let Some(symbols) = elf.functions(&names, &needed)? else { return Ok(Vec::new()) };
        let is_there = |family: &Family| {
            family.needed().into_iter().all(|function| symbols.get(function.name()).is_some())
        };
        let families = Family::ALL.into_iter().filter(is_there);
        families.map(|family| Self::of_family(&elf, &symbols, family)).collect()
    }

    /// Of the library of a family, whose needed functions are there.
    fn of_family<B: Bytes + ?Sized>(
        elf: &Elf<'_, B>,
        symbols: &Symbols,
        family: Family,
    ) -> Result<Self, elf::Error> {
        let symbol_version = elf.version(symbols, family.needed()[0].name());
        let mut functions = BTreeMap::new();
        for function in Function::ALL.into_iter().filter(|function| function.family() == family) {
            let Some(symbol) = symbols.get(function.name()) else { continue };
            let is_way = |to: Function| symbols.get(to.name()).is_some() && (1..=WAY).contains(&symbol.size);
            if function.goes_on_to().is_some_and(is_way) {
                continue;
            }
            let code = elf.code(symbol, points::LONGEST)?;
            let is_whole = symbol.size == code.len() as u64;
            let look = if is_whole { points::find } else { points::first };
            functions.insert(function, look(elf.machine(), function, &code, symbol.offset));
        }
        Ok(Self {
            kind: kind::of(family, |name| symbols.get(name).is_some(), symbol_version.as_deref()),
            version: symbol_version.as_deref().and_then(kind::version),
            functions,
            layout: if family == Family::Openssl { layout(elf, symbols) } else { None },
        })
    }
}

/// The layout of a library's sessions. What it is found by is read only for this: if it cannot be read, or if it is not
/// known where it ends, the library is one all the same.
fn layout<B: Bytes + ?Sized>(elf: &Elf<'_, B>, symbols: &Symbols) -> Option<SessionLayout> {
    let code = |name| {
        let symbol = symbols.get(name)?;
        let code = elf.code(symbol, points::LONGEST).ok()?;
        (symbol.size == code.len() as u64).then_some(code)
    };
    let (client_random, is_server) = (code(layout::CLIENT_RANDOM)?, code(layout::IS_SERVER)?);
    layout::find(elf.machine(), layout::Code { client_random: &client_random, is_server: &is_server })
}

#[cfg(test)]
mod tests;
