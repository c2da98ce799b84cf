//! What the running kernel's own type information tells: offsets of members of its structures, and what it has.
//!
//! The program reads a member at a constant offset, which is set here before it is loaded: no header of any
//! kernel is compiled in. The table of members is [`observer_ebpf::members`], which the program has its constants from, too.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use btfparse::{Offset, Readable, TypeInformation, TypeVariant};

/// Where the kernel shows its type information.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// A member that the program reads.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The global that takes its offset.
    pub global: &'static str,
    /// The structure.
    pub structure: &'static str,
    /// The path to the member.
    pub path: &'static str,
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.structure, self.path)
    }
}

/// Makes a list of members of each group of the table. Where either of two members will do, it is in the list twice.
macro_rules! members {
    ($(#[$doc:meta])* $group:ident: $($global:ident = $structure:ident $(. $path:ident)+ $(| $other:ident)*;)*) => {
        $(#[$doc])*
        const $group: &[Member] = &[$(
            Member {
                global: stringify!($global),
                structure: stringify!($structure),
                path: path!($($path)+),
            },
            $(
                Member {
                    global: stringify!($global),
                    structure: stringify!($structure),
                    path: stringify!($other),
                },
            )*
        )*];
    };
}

macro_rules! path {
    ($first:ident $($rest:ident)*) => { concat!(stringify!($first) $(, ".", stringify!($rest))*) };
}

observer_ebpf::kernel_members!(members);
#[cfg(target_arch = "x86_64")]
observer_ebpf::kernel_registers_x86_64!(members);
#[cfg(target_arch = "aarch64")]
observer_ebpf::kernel_registers_aarch64!(members);

/// Whether a member is one by which requests of `io_uring` are looked at, which other programs do without.
fn is_for_requests(member: &Member) -> bool {
    IO_URING.iter().any(|one| one.global == member.global)
}

/// Every member that the programs read.
fn members() -> impl Iterator<Item = &'static Member> {
    MEMBERS.iter().chain(REGISTERS).chain(IO_URING)
}

/// Those that programs do without, by their global, and what is not known then.
const DISPENSABLE: [(&str, &str); 5] = [
    ("OFFSET_SOCK_ERR", "reasons for which connects fail"),
    ("OFFSET_TCP_IS_MPTCP", "subflows of MPTCP"),
    ("OFFSET_MPTCP_SERVER_SIDE", "the server's ends of MPTCP"),
    ("OFFSET_TCP_SRTT_US", "round-trip times"),
    ("OFFSET_TCP_TOTAL_RETRANS", "retransmits"),
];

/// Why members could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel shows no type information.
    #[error("cannot read {VMLINUX}: {0}; the kernel must be built with CONFIG_DEBUG_INFO_BTF=y")]
    Unreadable(std::io::Error),
    /// What it shows cannot be understood.
    #[error("cannot parse {VMLINUX}: {0}")]
    Unparsable(String),
    /// The kernel cannot run the program.
    #[error("this kernel has no bpf_loop, without which no stream can be parsed; Linux 5.17 or newer has it")]
    TooOld,
}

/// The helper of all that are needed that came last (5.17), in `enum bpf_func_id`.
const NEWEST_HELPER: &str = "BPF_FUNC_loop";
/// The type of the tracepoint that every send passes (6.3); that of a receive came with it.
const TRACEPOINT: &str = "btf_trace_sock_send_length";

/// An offset by the name of the global that takes it.
pub type Offsets = Vec<(&'static str, u32)>;

/// What there is.
#[derive(Debug)]
pub struct KernelFacts {
    /// Where members are.
    pub offsets: Offsets,
    /// Those that this kernel does not have, and programs need.
    pub missing: Vec<Member>,
    /// Those that it does not have and programs do without, each with what is not known then.
    pub dispensable: Vec<String>,
    /// Whether there are tracepoints of every send and receive.
    pub has_tracepoints: bool,
    /// Whether requests of `io_uring` can be read.
    pub has_requests: bool,
}

/// A file's bytes, as the parser wants them.
struct Image(Vec<u8>);

impl Readable for Image {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = from.checked_add(buffer.len()).and_then(|to| self.0.get(from..to));
        match bytes {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(btfparse::Error::new(btfparse::ErrorKind::EOF, "the image ends early")),
        }
    }
}

/// Finds it out from type information at `path`.
pub fn resolve(path: &Path) -> Result<KernelFacts, Error> {
    let image = Image(std::fs::read(path).map_err(Error::Unreadable)?);
    let types = TypeInformation::new(&image).map_err(|error| Error::Unparsable(format!("{error:?}")))?;
    // By a name of their own: a name may be that of a function or of a forward declaration as well.
    let mut structures: HashMap<String, Vec<u32>> = HashMap::new();
    let mut has_loops = false;
    for (&id, kind) in types.get() {
        match kind {
            TypeVariant::Struct(_) => {
                let name = types.name_of(id).unwrap_or_default();
                if members().any(|member| member.structure == name) {
                    structures.entry(name).or_default().push(id);
                }
            }
            TypeVariant::Enum(values) => {
                has_loops |= values.named_value_list().iter().any(|value| value.name == NEWEST_HELPER);
            }
            _ => {}
        }
    }
    if !has_loops {
        return Err(Error::TooOld);
    }
    let mut offsets = Offsets::new();
    let mut missing: Vec<Member> = Vec::new();
    let mut dispensable = Vec::new();
    for member in members() {
        let mut found = structures.get(member.structure).into_iter().flatten();
        match found.find_map(|&structure| offset_of(&types, structure, member)) {
            Some(offset) => offsets.push((member.global, offset)),
            None => match DISPENSABLE.iter().find(|(global, _)| *global == member.global) {
                Some((_, effect)) => dispensable.push(format!("no {member}: {effect} are not known")),
                None => missing.push(*member),
            },
        }
    }
    missing.retain(|member| offsets.iter().all(|(global, _)| *global != member.global));
    let (requests, missing): (Vec<_>, Vec<_>) = missing.into_iter().partition(is_for_requests);
    if !requests.is_empty() {
        // All or none: the program looks at one of them only, to tell whether it may go by the others.
        offsets.retain(|(global, _)| IO_URING.iter().all(|member| member.global != *global));
        let names = requests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        dispensable.push(format!("no {names}: what io_uring sends and receives is counted, not parsed"));
    }
    let has_tracepoints = types.id_of(TRACEPOINT).is_some();
    Ok(KernelFacts { offsets, missing, dispensable, has_tracepoints, has_requests: requests.is_empty() })
}

fn offset_of(types: &TypeInformation, structure: u32, member: &Member) -> Option<u32> {
    match types.offset_of(structure, member.path).ok()?.1 {
        Offset::ByteOffset(offset) => Some(offset),
        Offset::BitOffsetAndSize(..) => None,
    }
}
