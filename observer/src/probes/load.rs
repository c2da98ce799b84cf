//! Loading and attaching the programs.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;

use aya::maps::MapData;
use aya::programs::{BtfTracePoint, FExit, Iter, Program};
use aya::{Btf, Ebpf, EbpfLoader};
use observer_ebpf::layout::library::ROOMS;

use super::programs::{Kind, ProgramSpec};
use super::{Error, OBJECT, Settings, chain};
use crate::config::Reading;
use crate::kernel::bpf_iter::BpfIter;
use crate::kernel::members::{KernelFacts, Offsets};
use crate::kernel::{namespaces, needs};

/// Threads and sockets whose requests of `io_uring` are looked for at once.
const REQUESTS: u32 = 16_384;

/// Sessions of TLS libraries that are read at once.
const PLAINTEXTS: u32 = 16_384;
/// Hellos by which sessions are told whose records go through memory: from when one is sent until its session is known.
const HELLOS: u32 = 8192;
/// Processes of which it is known that they use a library, and for which it is known when they were looked at.
const USERS: u32 = 4096;
/// See [`USERS`].
const LOOKED_AT: u32 = 16_384;

/// Slots: one for each of the connections tracked at once, and room for those that closed since the agent looked.
pub(super) fn capacity(max_connections: u32) -> u32 {
    max_connections.saturating_add(max_connections / 4).saturating_add(8192)
}

/// Bytes of a ring that has room for a record of 8 bytes, with its header of 8, for each of `slots`.
fn ring_size(slots: u32) -> u32 {
    (u64::from(slots) * 16).next_power_of_two().clamp(4096, 1 << 30) as u32
}

/// Makes the maps, and all else that programs need before they are loaded.
pub(super) fn create(
    settings: &Settings,
    offsets: &Offsets,
    specs: &[ProgramSpec],
    btf: &Btf,
) -> Result<Ebpf, Error> {
    let slots = capacity(settings.max_connections);
    let separator = u32::from(settings.key_separator);
    let skips = settings.key_skips.len() as u32;
    let tree = &settings.http_routes;
    let templates = tree.ends.len() as u32;
    let pid_namespace = namespaces::pid_number();
    let (requests, calls): (Vec<&ProgramSpec>, Vec<&ProgramSpec>) =
        specs.iter().filter(|spec| spec.data_path.is_some()).partition(|spec| spec.for_requests);
    let has_spares = u32::from(specs.iter().any(|spec| spec.spare_of.is_some()));
    let reads_libraries = specs.iter().any(|spec| spec.kind == Kind::Library);
    // A run on a library shares some with others on its processor; each other program has one of its own.
    let library_room = calls.len() as u32;
    let rooms = library_room + if reads_libraries { ROOMS } else { 0 };
    let plaintexts = if reads_libraries { settings.max_connections.min(PLAINTEXTS) } else { 1 };
    // See the program's `LIBRARIES`.
    let libraries: u32 = match settings.tls {
        Reading::Off => 0,
        Reading::Start => 1,
        Reading::Follow => 2,
    };
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        // aya has no handle for storage of tasks, which nobody here reads.
        .allow_unsupported_maps()
        .override_global("MAX_CONNECTIONS", &settings.max_connections, true)
        .override_global("CAPACITY", &slots, true)
        .override_global("THRESHOLD_MEDIUM", &settings.thresholds.medium, true)
        .override_global("THRESHOLD_LARGE", &settings.thresholds.large, true)
        .override_global("THRESHOLD_HUGE", &settings.thresholds.huge, true)
        .override_global("KEY_SEPARATOR", &separator, true)
        .override_global("KEY_SEGMENTS", &settings.key_segments, true)
        .override_global("KEY_SKIPS_COUNT", &skips, true)
        .override_global("HAS_SPARES", &has_spares, true)
        .override_global("PID_NAMESPACE", &pid_namespace, true)
        .override_global("LIBRARIES", &libraries, true)
        .override_global("LIBRARY_ROOM", &library_room, true)
        .map_max_entries("PLAINTEXTS", plaintexts)
        .map_max_entries("HELLOS", if reads_libraries { HELLOS } else { 1 })
        .map_max_entries("LIBRARY_USERS", if reads_libraries { USERS } else { 1 })
        .map_max_entries("LOOKED_AT", if settings.tls == Reading::Follow { LOOKED_AT } else { 1 })
        .map_max_entries("BUFFERS", rooms)
        .map_max_entries("SERVICE_KEYS", rooms)
        .map_max_entries("NAME_KEYS", rooms)
        .map_max_entries("QUEUE_KEYS", rooms)
        .map_max_entries("LEARNT_KEYS", rooms)
        .map_max_entries("NEW_LEARNT", rooms)
        .map_max_entries("REQUESTS", if requests.is_empty() { 1 } else { REQUESTS })
        .override_global("HTTP_MAX_ROUTES", &settings.http_max_routes, true)
        .override_global("HTTP_STREAM_AFTER_NS", &settings.http_stream_after_ns, true)
        .override_global("HTTP_TEMPLATES", &templates, true)
        .map_max_entries("TEMPLATE_TREE", (tree.edges.len() as u32).max(1))
        .map_max_entries("TEMPLATES", (tree.ends.len() as u32).max(1))
        .map_max_entries("TREE_KEYS", rooms)
        .map_max_entries("ROUTE_KEYS", rooms)
        .map_max_entries("AUTHORITY_KEYS", rooms)
        .map_max_entries("PREFIXES", settings.max_prefixes)
        .map_max_entries("FREE_PREFIXES", settings.max_prefixes)
        .map_max_entries("CONNECTIONS", slots)
        .map_max_entries("FREE", slots)
        .map_max_entries("UNIX_PATHS", slots)
        .map_max_entries("RETIRED", ring_size(slots));
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
pub(super) fn lacking(facts: &KernelFacts) -> Result<BTreeMap<String, String>, Error> {
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
pub(super) fn load_programs(
    ebpf: &mut Ebpf,
    specs: &[ProgramSpec],
    btf: &Btf,
    lacks: &BTreeMap<String, String>,
) -> BTreeMap<String, Result<(), String>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = ebpf
            .programs_mut()
            .filter_map(|(name, program)| {
                let spec = *specs.iter().find(|spec| spec.name == name)?;
                let lacks = lacks.get(name);
                let load = move || match lacks {
                    Some(members) => Err(format!("this kernel has no {members}, which it reads")),
                    None => load_program(spec, program, btf),
                };
                Some((name.to_owned(), scope.spawn(load)))
            })
            .collect();
        let joined =
            |outcome: std::thread::Result<_>| outcome.unwrap_or_else(|_| Err("it panicked".to_owned()));
        threads.into_iter().map(|(name, thread)| (name, joined(thread.join()))).collect()
    })
}

fn load_program(spec: ProgramSpec, program: &mut Program, btf: &Btf) -> Result<(), String> {
    let outcome = match (spec.kind, program) {
        (Kind::Tracepoint, Program::BtfTracePoint(program)) => program.load(spec.hook(), btf),
        (Kind::Exit, Program::FExit(program)) => program.load(spec.hook(), btf),
        (Kind::Iterator(over), Program::Iter(program)) => program.load(over, btf),
        (Kind::Library, Program::UProbe(program)) => program.load(),
        _ => return Err("it is of another type in the object".to_owned()),
    };
    outcome.map_err(|error| chain(&error))
}

/// Attaches a loaded program, for as long as what is returned lives.
pub(super) fn attach_tracepoint(ebpf: &mut Ebpf, name: &str) -> Result<Box<dyn Any>, String> {
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    let link = program.attach().and_then(|id| program.take_link(id));
    Ok(Box::new(link.map_err(|error| chain(&error))?))
}

/// See [`attach_tracepoint`].
pub(super) fn attach_exit(ebpf: &mut Ebpf, name: &str) -> Result<Box<dyn Any>, String> {
    let program: &mut FExit = program(ebpf, name)?;
    let link = program.attach().and_then(|id| program.take_link(id));
    Ok(Box::new(link.map_err(|error| chain(&error))?))
}

/// See [`attach_tracepoint`]. `map` is what it goes over, if that is a map.
pub(super) fn attach_iterator(ebpf: &mut Ebpf, name: &str, map: Option<&MapData>) -> Result<BpfIter, String> {
    let program: &mut Iter = program(ebpf, name)?;
    let descriptor = program.fd().map_err(|error| chain(&error))?;
    BpfIter::attach(descriptor.as_fd(), map.map(|map| map.fd().as_fd())).map_err(|error| chain(&error))
}

/// A program of the object, of the type that it is expected to be of.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or("it is not in the object")?;
    program.try_into().map_err(|error: aya::programs::ProgramError| error.to_string())
}
