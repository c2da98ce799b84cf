//! Probes on TLS libraries, in whose functions plaintext is read.

use std::any::Any;
use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use observer_ebpf::layout::library::{self, Cookie};
use serde::Serialize;

use super::chain;
use super::load::program;
use crate::libraries::{self, Exit, FileId, Found, Function, Kind, Library, ResultPlace};

/// A library in which plaintext is read, or one that could not be looked into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attached {
    /// Its path, as its processes name it.
    pub path: String,
    /// The number of its file; 0 of one that could not be looked into.
    pub inode: u64,
    /// Which library it is, as in metrics.
    pub library: &'static str,
    /// Its version, as far as its functions tell.
    pub version: Option<String>,
    /// How many probes stand on it.
    pub probes: usize,
    /// How many of them the kernel steps over one instruction at a time, which takes several times as long.
    pub stepped: usize,
    /// Processes that had it mapped when it was looked at.
    pub processes: Vec<u32>,
    /// Why it is not read, or not all of it.
    pub reason: Option<String>,
}

/// Attaches probes to libraries, each file once.
#[derive(Default)]
pub(super) struct Attacher {
    /// Files that have been looked into.
    known: BTreeSet<FileId>,
    /// What keeps probes attached.
    links: Vec<Box<dyn Any>>,
}

impl Attacher {
    /// Attaches to what all processes have mapped now.
    pub(super) fn attach_all(&mut self, ebpf: &mut Ebpf) -> Vec<Attached> {
        let found = libraries::find(Path::new("/proc"), &self.known);
        self.attach(ebpf, found)
    }

    /// What keeps probes attached.
    pub(super) fn into_links(self) -> Vec<Box<dyn Any>> {
        self.links
    }

    fn attach(&mut self, ebpf: &mut Ebpf, found: Found) -> Vec<Attached> {
        self.known.extend(found.looked_at);
        let mut attached = Vec::new();
        for library in found.libraries {
            attached.push(self.attach_library(ebpf, &library));
        }
        for failure in found.failures {
            log::debug!(
                "{} was not looked into for a TLS library: {}",
                failure.path.display(),
                failure.reason
            );
        }
        if found.left_out > 0 {
            log::warn!("{} mapped files were not looked into for TLS libraries", found.left_out);
        }
        attached
    }

    fn attach_library(&mut self, ebpf: &mut Ebpf, library: &Library) -> Attached {
        let mut attached = Attached {
            path: library.path.display().to_string(),
            inode: library.id.inode,
            library: library.kind.label(),
            version: library.version.clone(),
            probes: 0,
            stepped: 0,
            processes: library.pids.clone(),
            reason: None,
        };
        // By its descriptor: another file may have its name by now.
        let path = format!("/proc/self/fd/{}", library.file.as_raw_fd());
        for (&function, points) in &library.functions {
            let exit = match points.exit {
                Exit::At { offset, result } => Some((
                    if moves(function) { "library_result" } else { "library_end" },
                    offset,
                    place(result),
                )),
                Exit::Return => {
                    let name = if moves(function) { "library_return" } else { "library_end_return" };
                    Some((name, points.entry.offset, Some(library::ResultPlace::Returned)))
                }
                Exit::Unneeded => None,
            };
            // The end first: a call that begins before both are there is not one whose end is never seen.
            let enter = ("library_enter", points.entry.offset, Some(library::ResultPlace::Returned));
            for (name, offset, place) in exit.into_iter().chain([enter]) {
                let outcome =
                    place.ok_or_else(|| "its result is out of reach".to_owned()).and_then(|place| {
                        self.attach_one(ebpf, name, &path, offset, cookie(library.kind, function, place))
                    });
                match outcome {
                    Ok(()) => attached.probes += 1,
                    Err(reason) => {
                        attached.reason.get_or_insert_with(|| format!("{}: {reason}", function.name()));
                    }
                }
            }
            attached.stepped += usize::from(!points.entry.emulated);
        }
        match &attached.reason {
            Some(reason) => log::warn!("cannot read all that is encrypted with {}: {reason}", attached.path),
            None => log::info!("reads what is encrypted with {}", attached.path),
        }
        attached
    }

    fn attach_one(
        &mut self,
        ebpf: &mut Ebpf,
        name: &str,
        path: &str,
        offset: u64,
        cookie: Cookie,
    ) -> Result<(), String> {
        let program: &mut UProbe = program(ebpf, name)?;
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(cookie.number()),
        };
        let link = program
            .attach(point, path, UProbeScope::AllProcesses)
            .and_then(|id| program.take_link(id))
            .map_err(|error| chain(&error))?;
        self.links.push(Box::new(link));
        Ok(())
    }
}

/// Whether a function takes or returns plaintext for good.
const fn moves(function: Function) -> bool {
    match function {
        Function::Read
        | Function::Write
        | Function::ReadEx
        | Function::WriteEx
        | Function::ReadEarlyData
        | Function::WriteEarlyData => true,
        Function::Peek
        | Function::PeekEx
        | Function::DoHandshake
        | Function::Shutdown
        | Function::Clear
        | Function::Free => false,
    }
}

/// Where the program finds a result.
fn place(result: ResultPlace) -> Option<library::ResultPlace> {
    match result {
        ResultPlace::Eax => Some(library::ResultPlace::Returned),
        ResultPlace::EaxThenStackWord(offset) => {
            u16::try_from(offset).ok().map(library::ResultPlace::StackWord)
        }
    }
}

/// What a probe is told.
const fn cookie(kind: Kind, function: Function, place: library::ResultPlace) -> Cookie {
    let library = match kind {
        Kind::Openssl => library::Library::OpenSsl,
        Kind::Boringssl => library::Library::BoringSsl,
        Kind::Libressl => library::Library::LibreSsl,
        Kind::AwsLc => library::Library::AwsLc,
        Kind::Unknown => library::Library::Other,
    };
    let function = match function {
        Function::Read => library::Function::Read,
        Function::ReadEx | Function::ReadEarlyData => library::Function::ReadEx,
        Function::Write => library::Function::Write,
        Function::WriteEx | Function::WriteEarlyData => library::Function::WriteEx,
        Function::Peek | Function::PeekEx => library::Function::Peek,
        Function::DoHandshake => library::Function::Handshake,
        Function::Shutdown => library::Function::Shutdown,
        Function::Clear | Function::Free => library::Function::Free,
    };
    Cookie::new(library, function, place)
}
