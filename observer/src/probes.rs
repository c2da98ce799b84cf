//! The programs: what each is for, how it is attached, and how that went.

pub mod follow;
pub mod libraries;
mod load;
mod maps;
mod names;
mod programs;

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;
use std::rc::Rc;

use aya::maps::{MapData, PerCpuArray, RingBuf, Stack};
use aya::{Btf, Ebpf};
use observer_ebpf::layout::control::Thresholds;
use serde::Serialize;

use self::follow::Follower;
use self::libraries::{Attached, Attacher};
use self::load::{attach_exit, attach_iterator, attach_tracepoint, capacity, create, lacking, load_programs};
use self::maps::{LossesValue, PathValue, clone_of, typed};
use self::names::{give, names, skip};
use self::programs::{DataPath, Kind, LIBRARY_PROGRAMS, PROGRAMS, ProgramSpec};
use crate::config::Reading;
use crate::kernel::bpf_iter::BpfIter;
use crate::kernel::members::{self, KernelFacts};
use crate::kernel::{preemption, privileges};
use crate::names::Names;
use crate::names::templates::Tree;
use crate::protocols::tls::PlaintextUse;
use crate::queues::Pattern;
use crate::snapshot::{Arena, Control};

/// The program, as `cargo xtask build` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer-program.o"));

/// How a program is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Its name; a tracepoint's is the tracepoint's.
    pub name: &'static str,
    /// `up` or `down`.
    pub state: State,
    /// Why it is down.
    pub reason: Option<String>,
    /// What is not known without it.
    pub gives: &'static str,
    /// Instructions that the verifier went through.
    pub verified_instructions: Option<u32>,
}

/// Whether a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Up,
    /// It is not.
    Down,
}

/// What the program is built with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections tracked at once.
    pub max_connections: u32,
    /// When a message is oversized.
    pub thresholds: Thresholds,
    /// What ends a segment of a cache key.
    pub key_separator: u8,
    /// Segments of a cache key that make its prefix.
    pub key_segments: u32,
    /// Leading segments that are stepped over, each of at most 32 bytes.
    pub key_skips: Vec<String>,
    /// Prefixes of cache keys told apart.
    pub max_prefixes: u32,
    /// Routes of HTTP told apart for each process and server.
    pub http_max_routes: u32,
    /// How long a response of HTTP without length takes at least to be a stream, in nanoseconds.
    pub http_stream_after_ns: u64,
    /// Routes that come first.
    pub http_routes: Tree,
    /// Names of lists that are queues in any case.
    pub queues: Vec<Pattern>,
    /// Which TLS libraries are read.
    pub tls: Reading,
}

/// Why nothing can be observed here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This binary has no program in it.
    #[error("this binary was built without its BPF program; build it with: cargo xtask build")]
    NotBuiltIn,
    /// Capabilities are missing.
    #[error(
        "loading BPF programs needs {0}, which this process lacks; run it as root, as in: sudo observer run, or as a service that has them"
    )]
    Privileges(String),
    /// The kernel's structures are not known.
    #[error("{0}")]
    Members(#[from] members::Error),
    /// The kernel's type information could not be loaded.
    #[error("cannot load the kernel's type information: {0}")]
    TypeInformation(#[from] aya::BtfError),
    /// The maps could not be made.
    #[error("cannot create the BPF maps: {0}")]
    Maps(String),
    /// What the program needs of the kernel could not be told.
    #[error("cannot read this binary's own BPF program: {0}")]
    Object(String),
    /// A program without which there is nothing to observe reads what this kernel does not have.
    #[error("{name} cannot be loaded: {reason}")]
    Lacks {
        /// Its name.
        name: &'static str,
        /// What there is not.
        reason: String,
    },
    /// The process that attaches to libraries does not start.
    #[error(
        "cannot start the process that attaches to TLS libraries: {0}; it needs CAP_SYS_ADMIN, without which --tls start may do"
    )]
    Follow(std::io::Error),
    /// A program without which there is nothing to observe is down.
    #[error("{name} cannot be attached, which needs Linux {since} or newer: {reason}")]
    Essential {
        /// Its name.
        name: &'static str,
        /// The first kernel that has what it needs.
        since: &'static str,
        /// What happened.
        reason: String,
    },
}

/// The loaded programs, and the maps they share with the agent. Dropping it detaches them.
pub struct Probes {
    /// How each program is.
    pub probes: Vec<Probe>,
    /// How sends and receives are seen.
    pub data_path: &'static str,
    /// Members that this kernel's structures do not have, with what is not known without each.
    pub missing_members: Vec<String>,
    /// Connections, to be read at any time.
    pub arena: Arena,
    /// Slots to use again.
    pub free: Stack<MapData, u32>,
    /// Slots whose socket is gone.
    pub retired: RingBuf<MapData>,
    /// Oversized messages.
    pub events: RingBuf<MapData>,
    /// Paths of UNIX connections.
    pub unix_paths: aya::maps::HashMap<MapData, u32, PathValue>,
    /// What is counted by name.
    pub names: Names,
    /// What the program could not do.
    pub losses: PerCpuArray<MapData, LossesValue>,
    /// Finds sockets and their processes.
    pub adopt: Option<BpfIter>,
    /// Finds which sockets are still there.
    pub refresh: Option<BpfIter>,
    /// TLS libraries in which plaintext is read.
    pub libraries: Vec<Attached>,
    /// Processes of which it could not be read what they have mapped.
    pub unreadable_processes: usize,
    /// Which are to be read.
    reading: Reading,
    /// Processes that use one, and it is not known for which connection.
    library_users: aya::maps::HashMap<MapData, u32, u64>,
    /// The program's own log, until somebody takes it.
    program_log: Option<ProgramLog>,
    /// What attaches to libraries that are mapped later.
    follower: Option<Follower>,
    /// What keeps programs attached.
    links: Vec<Box<dyn Any>>,
    /// Programs that are loaded, by name. Their instructions and all else that `aya` keeps of them, some megabytes, are not
    /// needed any more.
    descriptors: Vec<(&'static str, OwnedFd)>,
}

/// The program's own log, or why there is none.
type ProgramLog = Result<aya_log::EbpfLogger<&'static dyn log::Log>, aya_log::Error>;

impl fmt::Debug for Probes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { probes, links, .. } = self;
        formatter
            .debug_struct("Probes")
            .field("probes", probes)
            .field("links", &links.len())
            .finish_non_exhaustive()
    }
}

/// Loads and attaches everything that can be. Not all need be [`State::Up`] afterwards, but what is
/// essential is.
pub fn load(settings: &Settings) -> Result<Probes, Error> {
    if OBJECT.is_empty() {
        return Err(Error::NotBuiltIn);
    }
    let missing = privileges::missing();
    if !missing.is_empty() {
        return Err(Error::Privileges(missing.join(", ")));
    }
    let facts = members::resolve(Path::new(members::VMLINUX))?;
    let data_path = if facts.has_tracepoints { DataPath::Tracepoints } else { DataPath::Exits };
    let btf = Btf::from_sys_fs()?;
    let of_libraries = if settings.tls == Reading::Off { &[][..] } else { &LIBRARY_PROGRAMS };
    let specs: Vec<ProgramSpec> = data_path
        .programs()
        .filter(|spec| is_wanted(spec, &facts, preemption::of_programs()))
        .chain(of_libraries.iter().copied())
        .collect();
    let mut ebpf = create(settings, &facts.offsets, &specs, &btf)?;
    let control = Control::new(clone_of(&ebpf, "CONTROL")?)
        .map_err(|error| Error::Maps(format!("cannot map CONTROL into memory: {error}")))?;
    let control = Rc::new(control);
    // Before the first name comes: they find a place from the start.
    let names = names(&mut ebpf, Rc::clone(&control), settings)?;
    skip(&ebpf, &settings.key_skips)?;
    give(&ebpf, &settings.http_routes)?;

    let lacks = lacking(&facts)?;
    let mut loaded = load_programs(&mut ebpf, &specs, &btf, &lacks);
    let mut probes = Vec::with_capacity(PROGRAMS.len());
    let mut adopt = None;
    let mut refresh = None;
    let sockets = clone_of(&ebpf, "SOCKETS")?;
    let mut links: Vec<Box<dyn Any>> = Vec::new();
    let mut descriptors = Vec::new();
    for spec in specs {
        let outcome = loaded.remove(spec.name).unwrap_or_else(|| Err("it is not in the object".to_owned()));
        let outcome = outcome.and_then(|()| match spec.kind {
            Kind::Tracepoint => attach_tracepoint(&mut ebpf, spec.name).map(|link| links.push(link)),
            Kind::Exit => attach_exit(&mut ebpf, spec.name).map(|link| links.push(link)),
            Kind::Iterator(_) => {
                let map = (spec.name == "refresh").then_some(&sockets);
                attach_iterator(&mut ebpf, spec.name, map).map(|iterator| {
                    let place = if spec.name == "refresh" { &mut refresh } else { &mut adopt };
                    *place = Some(iterator);
                })
            }
            // To whatever libraries there are, below.
            Kind::Library => Ok(()),
        });
        if let (Err(reason), true) = (&outcome, spec.essential) {
            let ProgramSpec { name, since, .. } = spec;
            let reason = reason.clone();
            return Err(if lacks.contains_key(name) {
                Error::Lacks { name, reason }
            } else {
                Error::Essential { name, since, reason }
            });
        }
        let descriptor = ebpf.program(spec.name).and_then(|program| program.fd().ok());
        if let Some(descriptor) = descriptor.and_then(|program| program.as_fd().try_clone_to_owned().ok()) {
            descriptors.push((spec.name, descriptor));
        }
        let verified = ebpf
            .program(spec.name)
            .and_then(|program| program.info().ok())
            .and_then(|info| info.verified_instruction_count());
        probes.push(Probe {
            name: spec.name,
            state: if outcome.is_ok() { State::Up } else { State::Down },
            reason: outcome.err(),
            gives: spec.gives,
            verified_instructions: verified,
        });
    }

    let mut attacher = Attacher::default();
    let libraries = if settings.tls == Reading::Off { Vec::new() } else { attacher.attach_all(&mut ebpf) };
    let unreadable_processes = attacher.unreadable;

    let slots = capacity(settings.max_connections);
    let arena = Arena::new(clone_of(&ebpf, "CONNECTIONS")?, control, slots);
    let mut loaded = Probes {
        probes,
        data_path: data_path.tells(),
        missing_members: facts.dispensable,
        arena,
        free: typed(&mut ebpf, "FREE")?,
        retired: typed(&mut ebpf, "RETIRED")?,
        events: typed(&mut ebpf, "EVENTS")?,
        unix_paths: typed(&mut ebpf, "UNIX_PATHS")?,
        names,
        losses: typed(&mut ebpf, "LOSSES")?,
        adopt,
        refresh,
        libraries,
        unreadable_processes,
        reading: settings.tls,
        library_users: typed(&mut ebpf, "LIBRARY_USERS")?,
        program_log: Some(aya_log::EbpfLogger::init(&mut ebpf)),
        links,
        descriptors,
        follower: None,
    };
    loaded.keep(attacher, ebpf)?;
    Ok(loaded)
}

/// Whether a program of the data path is loaded on this kernel.
const fn is_wanted(spec: &ProgramSpec, facts: &KernelFacts, is_preemptible: bool) -> bool {
    (facts.has_requests || !spec.for_requests) && (is_preemptible || spec.spare_of.is_none())
}

impl Probes {
    /// The program's own log, which is connected to this process's, or why it has none. Only the first to ask gets it.
    pub fn take_log(&mut self) -> Option<ProgramLog> {
        self.program_log.take()
    }

    /// Keeps what is attached to libraries, or has another process keep it, and attach more.
    fn keep(&mut self, attacher: Attacher, ebpf: Ebpf) -> Result<(), Error> {
        if self.reading == Reading::Follow {
            self.follower = Some(Follower::start(ebpf, attacher).map_err(Error::Follow)?);
        } else {
            self.links.push(Box::new(attacher.into_links()));
        }
        Ok(())
    }

    /// Has a process looked at for TLS libraries, if what is mapped later is followed.
    pub fn look_at(&mut self, pid: u32) {
        if let Some(follower) = &mut self.follower {
            follower.look_at(pid);
        }
    }

    /// Takes in what the process has told that attaches to libraries.
    pub fn hear_follower(&mut self) {
        if let Some(follower) = &mut self.follower
            && let Err(error) = follower.hear(&mut self.libraries)
        {
            log::error!(
                "no more TLS libraries will be read, as the process that attaches to them is gone: {error}"
            );
            self.follower = None;
            self.libraries.clear();
        }
    }

    /// The pid of the process that attaches to libraries, if there is one.
    pub fn follower(&self) -> Option<u32> {
        self.follower.as_ref().map(|follower| follower.pid)
    }

    /// What is known of processes that use TLS libraries.
    pub fn plaintext_use(&self) -> PlaintextUse {
        let mut users: HashSet<u32> =
            self.libraries.iter().flat_map(|library| &library.processes).copied().collect();
        if self.reading != Reading::Off {
            users.extend(self.library_users.keys().filter_map(Result::ok));
        }
        PlaintextUse { reading: self.reading, users }
    }

    /// Runs of programs that the kernel left out, as the program was running on that processor already
    /// (`recursion_misses` in `bpf_prog_show_fdinfo`, `kernel/bpf/syscall.c`), and that no spare one took.
    pub fn missed_runs(&self) -> u64 {
        let has_spare =
            |name| PROGRAMS.iter().any(|spec| spec.spare_of == Some(name) && self.descriptor(spec).is_some());
        let last = PROGRAMS.iter().filter(|spec| !has_spare(spec.name));
        last.filter_map(|spec| self.descriptor(spec)).map(missed_runs).sum()
    }

    /// The descriptor of a program that is loaded.
    fn descriptor(&self, spec: &ProgramSpec) -> Option<RawFd> {
        let loaded = self.descriptors.iter().find(|(name, _)| *name == spec.name);
        loaded.map(|(_, descriptor)| descriptor.as_raw_fd())
    }
}

fn missed_runs(descriptor: RawFd) -> u64 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    let count = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

/// An error with its causes in one line. The verifier's log, which may be long, is cut to its end.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.contains(&next_text) {
            text = format!("{text}: {next_text}");
        }
        cause = next.source();
    }
    for line in text.lines() {
        log::debug!("{line}");
    }
    let summary = ["processed ", "stack depth ", "verification time "];
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !summary.iter().any(|start| line.starts_with(start)))
        .collect();
    match lines.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first, .., last] => format!("{first} … {last}"),
    }
}
