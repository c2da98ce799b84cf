//! Probes on TLS libraries, in whose functions plaintext is read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use aya::Ebpf;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::programs::{ProbeKind, UProbe};
use observer_ebpf::layout::library::Cookie;
use serde::{Deserialize, Serialize};

use super::chain;
use super::load::program;
use crate::libraries::{self, Exit, Failure, FileId, Found, Library, ResultPlace, mapped};

/// A library in which plaintext is read, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Its path, as its processes name it.
    pub path: String,
    /// The number of its file.
    pub inode: u64,
    /// Which library it is, as in metrics.
    pub library: String,
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

/// Files that are looked for to tell whether any process maps them still, at most.
const MAPPED: usize = 65_536;

/// Attaches probes to libraries, each file once.
#[derive(Default)]
pub(super) struct Attacher {
    /// Files that have been looked into.
    known: BTreeSet<FileId>,
    /// Processes of which it could not be read what they have mapped.
    pub(super) unreadable: usize,
    /// Programs as they are attached where functions return, by name.
    returning: BTreeMap<&'static str, UProbe>,
    /// What keeps probes attached, by file.
    links: BTreeMap<FileId, Links>,
}

impl Attacher {
    /// Attaches to what all processes have mapped now.
    pub(super) fn attach_all(&mut self, ebpf: &mut Ebpf) -> Vec<Attached> {
        let found = libraries::find(Path::new("/proc"), &self.known);
        self.attach(ebpf, found)
    }

    /// Attaches to what a process has mapped now.
    pub(super) fn attach_of(&mut self, ebpf: &mut Ebpf, pid: u32) -> Vec<Attached> {
        let found = libraries::find_of(Path::new("/proc"), &[pid], &self.known);
        self.attach(ebpf, found)
    }

    /// Lets go of files that no process maps any more, and forgets which others there were. Tells their numbers.
    pub(super) fn let_go(&mut self) -> Vec<u64> {
        let proc = Path::new("/proc");
        let Ok(pids) = mapped::pids(proc) else { return Vec::new() };
        let mapped = mapped::files(proc, &pids, &BTreeSet::new(), MAPPED);
        // What a process that may not be looked at has mapped was not attached to for its sake.
        let is_unknown = |error: &io::Error| error.kind() != io::ErrorKind::PermissionDenied;
        if mapped.left_out > 0 || mapped.failures.iter().any(|(_, error)| is_unknown(error)) {
            // Who still has a file may be in what could not be read.
            return Vec::new();
        }
        let there: BTreeSet<FileId> = mapped.files.iter().map(|file| file.id).collect();
        self.known.retain(|id| there.contains(id));
        let gone: Vec<FileId> = self.links.keys().filter(|id| !there.contains(id)).copied().collect();
        let ended: Vec<Links> = gone.iter().filter_map(|id| self.links.remove(id)).collect();
        Links::all(ended);
        gone.into_iter().map(|id| id.inode).collect()
    }

    /// What keeps probes attached.
    pub(super) fn into_links(self) -> Links {
        Links::all(self.links.into_values())
    }

    fn attach(&mut self, ebpf: &mut Ebpf, found: Found) -> Vec<Attached> {
        self.known.extend(found.looked_at);
        let mut attached = Vec::new();
        for library in found.libraries {
            attached.push(self.attach_library(ebpf, &library));
        }
        let is_of_process = |failure: &&Failure| failure.path.ends_with("maps");
        self.unreadable = found.failures.iter().filter(is_of_process).count();
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
            library: library.kind.label().to_owned(),
            version: library.version.clone(),
            probes: 0,
            stepped: 0,
            processes: library.pids.clone(),
            reason: None,
        };
        if library.layout.is_none() {
            log::debug!("sessions of {} whose records go through memory are not told apart", attached.path);
        }
        // By its descriptor: another file may have its name by now.
        let path = format!("/proc/self/fd/{}", library.file.as_raw_fd());
        for (&function, points) in &library.functions {
            let does = function.does();
            let name = if does.moves_plaintext() { "library_result" } else { "library_end" };
            let returned = ResultPlace::Returned;
            let exit = match points.exit {
                Exit::At { offset, result } => Some((name, ProbeKind::Entry, offset, result)),
                Exit::Return => Some((name, ProbeKind::Return, points.entry.offset, returned)),
                Exit::Unneeded => None,
            };
            // The end first: a call that begins before both are there is not one whose end is never seen.
            let enter = ("library_enter", ProbeKind::Entry, points.entry.offset, returned);
            for (name, kind, offset, place) in exit.into_iter().chain([enter]) {
                let cookie = Cookie::new(library.kind, does, place, library.layout);
                let outcome = self.attach_one(ebpf, (name, kind), &path, offset, cookie);
                match outcome {
                    Ok(link) => {
                        attached.probes += 1;
                        self.links.entry(library.id).or_default().0.push(link);
                    }
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

    /// A program, to be attached where functions return. It is the very program that is attached to instructions: to the
    /// kernel that is no difference, and the verifier has gone through it once.
    fn returning(&mut self, ebpf: &mut Ebpf, name: &'static str) -> Result<&mut UProbe, String> {
        match self.returning.entry(name) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                let loaded: &mut UProbe = program(ebpf, name)?;
                let info = loaded.info().map_err(|error| chain(&error))?;
                // SAFETY: a program that is attached to probes, of which this is one kind.
                let program = unsafe { UProbe::from_program_info(info, name.into(), ProbeKind::Return) };
                Ok(place.insert(program.map_err(|error| chain(&error))?))
            }
        }
    }

    fn attach_one(
        &mut self,
        ebpf: &mut Ebpf,
        (name, kind): (&'static str, ProbeKind),
        path: &str,
        offset: u64,
        cookie: Cookie,
    ) -> Result<UProbeLink, String> {
        let program: &mut UProbe = match kind {
            ProbeKind::Entry => program(ebpf, name)?,
            ProbeKind::Return => self.returning(ebpf, name)?,
        };
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: Some(cookie.number()),
        };
        let link = program
            .attach(point, path, UProbeScope::AllProcesses)
            .and_then(|id| program.take_link(id))
            .map_err(|error| chain(&error))?;
        Ok(link)
    }
}

/// How many threads let go of probes at a time.
const LET_GO_AT_ONCE: usize = 32;

/// What keeps probes attached, until it is dropped.
///
/// The kernel waits a tenth of a second for each probe that it takes off, until nobody can be in it any more
/// (`uprobe_unregister_sync`), and a host may have hundreds. So they are let go of by many threads at once.
#[derive(Default)]
pub(super) struct Links(Vec<UProbeLink>);

impl Links {
    /// Those of all of these.
    fn all(links: impl IntoIterator<Item = Self>) -> Self {
        Self(links.into_iter().flat_map(|mut links| std::mem::take(&mut links.0)).collect())
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        let each = self.0.len().div_ceil(LET_GO_AT_ONCE);
        std::thread::scope(|scope| {
            while !self.0.is_empty() {
                let some = self.0.split_off(self.0.len().saturating_sub(each));
                // Where there is no thread to be had, they go with this one.
                let _ = std::thread::Builder::new().spawn_scoped(scope, || drop(some));
            }
        });
    }
}
