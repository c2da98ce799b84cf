//! The programs: what each is for, how it is attached, and how that went.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::path::Path;

use aya::maps::{MapData, PerCpuArray, RingBuf, Stack};
use aya::programs::{BtfTracePoint, FExit, Iter, Program};
use aya::{Btf, Ebpf, EbpfLoader};
use observer_ebpf::layout::connection::UnixPath;
use observer_ebpf::layout::health::Health;
use observer_ebpf::layout::settings::Thresholds;
use serde::Serialize;

use crate::kernel::iterator::Iterator;
use crate::kernel::members::{self, Facts, Offsets};
use crate::kernel::{namespaces, needs, privileges};
use crate::redis::prefixes;
use crate::snapshot::Arena;

/// The program, as `cargo xtask build` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer-program.o"));

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// To a tracepoint of its name, by its type information.
    Tracepoint,
    /// To the exit of a function of its name.
    Exit,
    /// As an iterator over this.
    Iterator(&'static str),
}

/// How sends and receives are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the tracepoints that all of them pass.
    Tracepoints,
    /// By the exits of the functions that do it, where there are no such tracepoints.
    Exits,
}

/// A program.
#[derive(Clone, Copy, Debug)]
struct Design {
    name: &'static str,
    kind: Kind,
    /// The only way of seeing sends and receives that it is for, if it is.
    way: Option<Way>,
    gives: &'static str,
    /// Without it there is nothing to observe, or no end to what is.
    essential: bool,
    /// Whether it is there for `io_uring`'s requests only, and left out where those cannot be read.
    for_requests: bool,
    since: &'static str,
}

impl Design {
    const fn tracepoint(name: &'static str, since: &'static str, gives: &'static str) -> Self {
        let kind = Kind::Tracepoint;
        Self { name, kind, way: None, gives, essential: false, for_requests: false, since }
    }

    const fn exit(name: &'static str, gives: &'static str, essential: bool) -> Self {
        let way = Some(Way::Exits);
        Self { name, kind: Kind::Exit, way, gives, essential, for_requests: false, since: EXITS_SINCE }
    }

    const fn iterator(
        name: &'static str,
        over: &'static str,
        since: &'static str,
        gives: &'static str,
    ) -> Self {
        Self { kind: Kind::Iterator(over), ..Self::tracepoint(name, since, gives) }
    }

    const fn calls(self) -> Self {
        Self { way: Some(Way::Tracepoints), ..self.essential() }
    }

    const fn requests(self) -> Self {
        Self { way: Some(Way::Tracepoints), for_requests: true, ..self }
    }

    const fn essential(self) -> Self {
        Self { essential: true, ..self }
    }
}

/// The first kernel that can attach to a function's exit, and has all else that is needed.
const EXITS_SINCE: &str = if cfg!(target_arch = "aarch64") { "6.4" } else { "5.17" };

impl Way {
    /// What `observer check` says of it.
    const fn tells(self) -> &'static str {
        match self {
            Self::Tracepoints => "tracepoints of sends and receives",
            Self::Exits => {
                "exits of the functions that send and receive, as this kernel has no tracepoints there"
            }
        }
    }

    /// The programs of it, and those of any.
    fn designs(self) -> impl std::iter::Iterator<Item = Design> {
        DESIGNS.into_iter().filter(move |design| design.way.is_none_or(|way| way == self))
    }
}

const DESIGNS: [Design; 14] = [
    Design::tracepoint("sock_send_length", "6.3", "what is sent").calls(),
    Design::tracepoint("sock_recv_length", "6.3", "what is received").calls(),
    Design::exit("inet_sendmsg", "what is sent", true),
    Design::exit("inet_recvmsg", "what is received", true),
    Design::exit("inet6_sendmsg", "what is sent over IPv6", false),
    Design::exit("inet6_recvmsg", "what is received over IPv6", false),
    Design::exit("unix_stream_sendmsg", "what is sent over UNIX sockets", false),
    Design::exit("unix_stream_recvmsg", "what is received over UNIX sockets", false),
    Design::tracepoint("io_uring_submit_req", "6.10", "messages that io_uring moves at once").requests(),
    Design::tracepoint("io_uring_poll_arm", "6.10", "messages that io_uring waits for").requests(),
    Design::tracepoint(
        "inet_sock_set_state",
        "4.16",
        "TCP connections opening and closing, and the latency of connect",
    ),
    Design::tracepoint("tcp_destroy_sock", "4.16", "the end of TCP sockets"),
    Design::iterator(
        "adopt",
        "task_file",
        "5.11",
        "connections that were open before the agent, and idle ones",
    ),
    Design::iterator(
        "refresh",
        "bpf_sk_storage_map",
        "5.9",
        "the end of UNIX connections, round-trip times, retransmits, and bytes that moved unseen",
    )
    .essential(),
];

/// Threads and sockets whose requests of `io_uring` are looked for at once.
const REQUESTS: u32 = 16_384;

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
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections tracked at once.
    pub max_connections: u32,
    /// When a message is oversized.
    pub thresholds: Thresholds,
    /// What ends the prefix of a Redis key.
    pub redis_separator: u8,
    /// Prefixes of Redis keys told apart.
    pub redis_max_prefixes: u32,
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
    pub way: &'static str,
    /// Members that this kernel's structures do not have, with what is not known without each.
    pub missing_members: Vec<String>,
    /// Connections, to be read at any time.
    pub arena: Arena,
    /// Elements of the arena to use again.
    pub free: Stack<MapData, u32>,
    /// Elements of the arena whose socket is gone.
    pub retired: RingBuf<MapData>,
    /// Oversized messages.
    pub events: RingBuf<MapData>,
    /// Paths of UNIX connections.
    pub unix_paths: aya::maps::HashMap<MapData, u32, PathValue>,
    /// Keys of Redis found and not found, by prefix.
    pub redis_prefixes: prefixes::Maps,
    /// What the program could not do.
    pub health: PerCpuArray<MapData, HealthValue>,
    /// Finds sockets and their processes.
    pub adopt: Option<Iterator>,
    /// Finds which sockets are still there.
    pub refresh: Option<Iterator>,
    ebpf: Ebpf,
}

impl fmt::Debug for Probes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Probes").field("probes", &self.probes).finish_non_exhaustive()
    }
}

/// [`UnixPath`] as a map's value.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PathValue(pub UnixPath);

// SAFETY: integers only, without padding.
unsafe impl aya::Pod for PathValue {}

/// [`Health`] as a map's value.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct HealthValue(pub Health);

// SAFETY: integers only, without padding.
unsafe impl aya::Pod for HealthValue {}

/// Elements beyond the connections tracked at once: room for those that closed since the agent looked.
fn capacity(max_connections: u32) -> u32 {
    max_connections.saturating_add(max_connections / 4).saturating_add(8192)
}

/// Bytes of a ring that has room for a record of 8 bytes, with its header of 8, for each of `elements`.
fn ring_size(elements: u32) -> u32 {
    (u64::from(elements) * 16).next_power_of_two().clamp(4096, 1 << 30) as u32
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
    let way = if facts.has_tracepoints { Way::Tracepoints } else { Way::Exits };
    let btf = Btf::from_sys_fs()?;
    let designs: Vec<Design> =
        way.designs().filter(|design| facts.has_requests || !design.for_requests).collect();
    let mut ebpf = create(settings, &facts.offsets, &designs, &btf)?;

    let lacks = lacking(&facts)?;
    let mut loaded = load_programs(&mut ebpf, &designs, &btf, &lacks);
    let mut probes = Vec::with_capacity(DESIGNS.len());
    let mut adopt = None;
    let mut refresh = None;
    let sockets = clone_of(&ebpf, "SOCKETS")?;
    for design in designs {
        let outcome = loaded.remove(design.name).unwrap_or_else(|| Err("it is not in the object".to_owned()));
        let outcome = outcome.and_then(|()| match design.kind {
            Kind::Tracepoint => attach_tracepoint(&mut ebpf, design.name),
            Kind::Exit => attach_exit(&mut ebpf, design.name),
            Kind::Iterator(_) => {
                let map = (design.name == "refresh").then_some(&sockets);
                attach_iterator(&mut ebpf, design.name, map).map(|iterator| {
                    let place = if design.name == "refresh" { &mut refresh } else { &mut adopt };
                    *place = Some(iterator);
                })
            }
        });
        if let (Err(reason), true) = (&outcome, design.essential) {
            let Design { name, since, .. } = design;
            let reason = reason.clone();
            return Err(if lacks.contains_key(name) {
                Error::Lacks { name, reason }
            } else {
                Error::Essential { name, since, reason }
            });
        }
        let verified = ebpf
            .program(design.name)
            .and_then(|program| program.info().ok())
            .and_then(|info| info.verified_instruction_count());
        probes.push(Probe {
            name: design.name,
            state: if outcome.is_ok() { State::Up } else { State::Down },
            reason: outcome.err(),
            gives: design.gives,
            verified_instructions: verified,
        });
    }

    let elements = capacity(settings.max_connections);
    let arena = Arena::new(clone_of(&ebpf, "CONNECTIONS")?, clone_of(&ebpf, "CONTROL")?, elements)
        .map_err(|error| Error::Maps(format!("cannot map them into memory: {error}")))?;
    Ok(Probes {
        probes,
        way: way.tells(),
        missing_members: facts.dispensable,
        arena,
        free: typed(&mut ebpf, "FREE")?,
        retired: typed(&mut ebpf, "RETIRED")?,
        events: typed(&mut ebpf, "EVENTS")?,
        unix_paths: typed(&mut ebpf, "UNIX_PATHS")?,
        redis_prefixes: prefixes::Maps::new(clone_of(&ebpf, "PREFIXES")?, clone_of(&ebpf, "PREFIX_COUNTS")?)
            .map_err(|error| Error::Maps(chain(&error)))?,
        health: typed(&mut ebpf, "HEALTH")?,
        adopt,
        refresh,
        ebpf,
    })
}

impl Probes {
    /// Connects the program's own log to this process's, if it has one.
    pub fn logger(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, aya_log::Error> {
        aya_log::EbpfLogger::init(&mut self.ebpf)
    }
}

impl Probes {
    /// Runs of programs that the kernel left out, as the program was running on that processor already
    /// (`recursion_misses` in `bpf_prog_show_fdinfo`, `kernel/bpf/syscall.c`).
    pub fn missed_runs(&self) -> u64 {
        let programs = DESIGNS.iter().filter_map(|design| self.ebpf.program(design.name)?.fd().ok());
        programs.map(|program| missed_runs(program.as_fd().as_raw_fd())).sum()
    }
}

fn missed_runs(descriptor: RawFd) -> u64 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
    let count = info.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

fn create(settings: &Settings, offsets: &Offsets, designs: &[Design], btf: &Btf) -> Result<Ebpf, Error> {
    let elements = capacity(settings.max_connections);
    let separator = u32::from(settings.redis_separator);
    let pid_namespace = namespaces::pid_number();
    let (requests, calls): (Vec<&Design>, Vec<&Design>) =
        designs.iter().filter(|design| design.way.is_some()).partition(|design| design.for_requests);
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .override_global("MAX_CONNECTIONS", &settings.max_connections, true)
        .override_global("CAPACITY", &elements, true)
        .override_global("THRESHOLD_MEDIUM", &settings.thresholds.medium, true)
        .override_global("THRESHOLD_LARGE", &settings.thresholds.large, true)
        .override_global("THRESHOLD_HUGE", &settings.thresholds.huge, true)
        .override_global("REDIS_SEPARATOR", &separator, true)
        .override_global("PID_NAMESPACE", &pid_namespace, true)
        .map_max_entries("BUFFERS", calls.len() as u32)
        .map_max_entries("REQUESTS", if requests.is_empty() { 1 } else { REQUESTS })
        .map_max_entries("PREFIXES", settings.redis_max_prefixes)
        .map_max_entries("CONNECTIONS", elements)
        .map_max_entries("FREE", elements)
        .map_max_entries("UNIX_PATHS", elements)
        .map_max_entries("RETIRED", ring_size(elements));
    for (global, offset) in offsets {
        loader.override_global(global, offset, false);
    }
    loader.load(OBJECT).map_err(|error| Error::Maps(explained(chain(&error))))
}

/// Capabilities are there: what else refuses?
fn explained(mut reason: String) -> String {
    if reason.contains("Operation not permitted") {
        reason.push_str("; a filter of system calls (seccomp) or the kernel's lockdown forbids bpf");
    }
    reason
}

/// What this kernel does not have of what each program reads, by its name; only programs that lack something.
fn lacking(facts: &Facts) -> Result<BTreeMap<String, String>, Error> {
    if facts.missing.is_empty() {
        return Ok(BTreeMap::new());
    }
    let needs = needs::globals(OBJECT).map_err(Error::Object)?;
    let lacks = |globals: &BTreeSet<String>| {
        let missing = facts.missing.iter().filter(|member| globals.contains(member.global));
        missing.map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let all = needs.into_iter().map(|(name, globals)| (name, lacks(&globals)));
    Ok(all.filter(|(_, lacks)| !lacks.is_empty()).collect())
}

/// Loads each of these programs that lacks nothing, all at once: what takes time is the verifier, which
/// uses one processor for each. Tells how it went, by name.
fn load_programs(
    ebpf: &mut Ebpf,
    designs: &[Design],
    btf: &Btf,
    lacks: &BTreeMap<String, String>,
) -> BTreeMap<String, Result<(), String>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = ebpf
            .programs_mut()
            .filter_map(|(name, program)| {
                let design = *designs.iter().find(|design| design.name == name)?;
                let lacks = lacks.get(name);
                let load = move || match lacks {
                    Some(members) => Err(format!("this kernel has no {members}, which it reads")),
                    None => load_program(design, program, btf),
                };
                Some((name.to_owned(), scope.spawn(load)))
            })
            .collect();
        let joined =
            |outcome: std::thread::Result<_>| outcome.unwrap_or_else(|_| Err("it panicked".to_owned()));
        threads.into_iter().map(|(name, thread)| (name, joined(thread.join()))).collect()
    })
}

fn load_program(design: Design, program: &mut Program, btf: &Btf) -> Result<(), String> {
    let outcome = match (design.kind, program) {
        (Kind::Tracepoint, Program::BtfTracePoint(program)) => program.load(design.name, btf),
        (Kind::Exit, Program::FExit(program)) => program.load(design.name, btf),
        (Kind::Iterator(over), Program::Iter(program)) => program.load(over, btf),
        _ => return Err("it is of another type in the object".to_owned()),
    };
    outcome.map_err(|error| chain(&error))
}

fn attach_tracepoint(ebpf: &mut Ebpf, name: &str) -> Result<(), String> {
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    program.attach().map_err(|error| chain(&error))?;
    Ok(())
}

fn attach_exit(ebpf: &mut Ebpf, name: &str) -> Result<(), String> {
    let program: &mut FExit = program(ebpf, name)?;
    program.attach().map_err(|error| chain(&error))?;
    Ok(())
}

fn attach_iterator(ebpf: &mut Ebpf, name: &str, map: Option<&MapData>) -> Result<Iterator, String> {
    let program: &mut Iter = program(ebpf, name)?;
    let descriptor = program.fd().map_err(|error| chain(&error))?;
    Iterator::attach(descriptor.as_fd(), map.map(|map| map.fd().as_fd())).map_err(|error| chain(&error))
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or("it is not in the object")?;
    program.try_into().map_err(|error: aya::programs::ProgramError| error.to_string())
}

/// Takes a map out of the object, as a map of its type.
fn typed<M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, Error> {
    let map = ebpf.take_map(name).ok_or_else(|| Error::Maps(format!("{name} is not in the object")))?;
    M::try_from(map).map_err(|error| Error::Maps(format!("{name}: {}", chain(&error))))
}

/// Another handle to a map.
fn clone_of(ebpf: &Ebpf, name: &'static str) -> Result<MapData, Error> {
    use aya::maps::Map;
    let Some(Map::Array(data) | Map::HashMap(data) | Map::SkStorage(data)) = ebpf.map(name) else {
        return Err(Error::Maps(format!("{name} is not in the object")));
    };
    let descriptor =
        data.fd().as_fd().try_clone_to_owned().map_err(|error| Error::Maps(error.to_string()))?;
    MapData::from_fd(descriptor).map_err(|error| Error::Maps(chain(&error)))
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
