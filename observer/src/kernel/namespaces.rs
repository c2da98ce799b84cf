//! Whether this process is in the host's namespaces (`namespaces(7)`), and what it cannot see where it is not.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde::Serialize;

/// The host's namespaces have numbers of their own (`include/linux/proc_ns.h`): `PROC_USER_INIT_INO`,
/// `PROC_PID_INIT_INO`, `PROC_CGROUP_INIT_INO`.
const HOST_USER: u64 = 0xEFFF_FFFD;
const HOST_PID: u64 = 0xEFFF_FFFC;
const HOST_CGROUP: u64 = 0xEFFF_FFFB;

/// A namespace of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Whether it is the host's.
    pub host: bool,
    /// What cannot be seen, and what to do, where it is not.
    pub effect: Option<&'static str>,
}

impl Namespace {
    const fn new(host: bool, effect: &'static str) -> Self {
        Self { host, effect: if host { None } else { Some(effect) } }
    }
}

/// The namespace of process ids.
pub fn pid() -> Namespace {
    Namespace::new(
        is("pid", HOST_PID),
        "not the host's: processes outside it are shown by their name with pid 0 and no container, and their \
         connections from before the agent once they are used; run the agent in the host's (hostPID: true, --pid=host)",
    )
}

/// The namespace of control groups.
pub fn cgroup() -> Namespace {
    Namespace::new(
        is("cgroup", HOST_CGROUP),
        "not the host's: processes in the agent's own container are shown without it",
    )
}

/// The number of the pid namespace; 0 for the host's.
pub fn pid_number() -> u32 {
    // A namespace's number has 32 bits.
    if is("pid", HOST_PID) { 0 } else { number("pid").unwrap_or_default() as u32 }
}

/// Whether the user namespace is the host's: the only one whose capabilities let load programs.
pub fn is_host_user() -> bool {
    is("user", HOST_USER)
}

/// Unknown (no `/proc`) counts as the host's.
fn is(kind: &str, host: u64) -> bool {
    number(kind).is_none_or(|number| number == host)
}

fn number(kind: &str) -> Option<u64> {
    fs::metadata(format!("/proc/self/ns/{kind}")).ok().map(|namespace| namespace.ino())
}
