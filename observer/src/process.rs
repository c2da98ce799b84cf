//! From the kernel's word on a process to what operators call it: its name, its number, its container.

mod container;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use observer_ebpf::layout::connection::Owner;

use self::container::container_of;

/// What operators call a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Its leader's name (`/proc/PID/comm`) when it first used one of its connections.
    pub name: String,
    /// Its container's 12-character id, or its name where its control group has no id; empty outside one.
    pub container: String,
    /// Thread-group id in the agent's pid namespace; 0 outside.
    pub pid: u32,
    /// When it started, so that a number used again is another process; [`OUTSIDE`] of the namespace.
    pub start_ns: u64,
}

/// The name of what has no process: connections that nobody has accepted yet.
pub const NOBODY: &str = "unknown";

/// [`Identity::start_ns`] of processes outside the agent's pid namespace: all of one name are one, for which is
/// which cannot be looked up.
pub const OUTSIDE: u64 = u64::MAX;

/// Looks processes up in `/proc`, once each.
#[derive(Debug)]
pub struct Processes {
    proc: PathBuf,
    ticks_per_second: u64,
    known: HashMap<Owner, Rc<Identity>>,
}

impl Processes {
    /// Looks them up below `proc`.
    pub fn new(proc: &Path) -> Self {
        // SAFETY: no arguments that could be wrong.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Self {
            proc: proc.to_owned(),
            ticks_per_second: u64::try_from(ticks).ok().filter(|&ticks| ticks > 0).unwrap_or(100),
            known: HashMap::new(),
        }
    }

    /// Who `owner` is. `comm` is its leader's name as the kernel had it when it used the connection: what
    /// `/proc/PID/comm` tells by now may be another program's, executed since.
    pub fn identify(&mut self, owner: Owner, comm: [u8; 16]) -> Rc<Identity> {
        if let Some(known) = self.known.get(&owner) {
            return Rc::clone(known);
        }
        let name = if owner.start_ns == 0 {
            NOBODY.to_owned()
        } else {
            String::from_utf8_lossy(comm.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
        };
        if owner.tgid == 0 && owner.start_ns != 0 {
            // Not kept: nothing would tell when to forget it.
            return Rc::new(Identity { name, container: String::new(), pid: 0, start_ns: OUTSIDE });
        }
        let container =
            self.read(owner, "cgroup").and_then(|cgroups| container_of(&cgroups)).unwrap_or_default();
        let identity = Rc::new(Identity { name, container, pid: owner.tgid, start_ns: owner.start_ns });
        self.known.insert(owner, Rc::clone(&identity));
        identity
    }

    /// Whether the process still runs; unknown of those outside, of which one may always run.
    pub fn is_alive(&self, pid: u32, start_ns: u64) -> bool {
        if start_ns == OUTSIDE {
            return true;
        }
        let stat = fs::read_to_string(self.proc.join(pid.to_string()).join("stat")).unwrap_or_default();
        started(&stat).is_some_and(|ticks| self.ticks(start_ns) == ticks)
    }

    /// Forgets who is not `needed`.
    pub fn retain(&mut self, needed: impl Fn(&Identity) -> bool) {
        self.known.retain(|_, identity| needed(identity));
    }

    /// Reads a file of the process's, if it is this process that has the number.
    fn read(&self, owner: Owner, file: &str) -> Option<String> {
        let directory = self.proc.join(owner.tgid.to_string());
        let bytes = fs::read(directory.join(file)).ok()?;
        // Looked at afterwards, so that it was this process while the file was read.
        self.is_alive(owner.tgid, owner.start_ns).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As `/proc/PID/stat` tells a time (`nsec_to_clock_t` in `kernel/time/time.c`).
    fn ticks(&self, nanoseconds: u64) -> u64 {
        nanoseconds / (1_000_000_000 / self.ticks_per_second)
    }
}

/// The agent itself: its name, its container or nothing, and its network namespace.
pub fn own() -> (String, String, u32) {
    let read = |file: &str| fs::read_to_string(Path::new("/proc/self").join(file)).unwrap_or_default();
    let netns = fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino() as u32);
    (read("comm").trim_end().to_owned(), container_of(&read("cgroup")).unwrap_or_default(), netns)
}

/// Field 22, `starttime`, of `/proc/PID/stat`. The name before it may hold anything, spaces and brackets
/// included, so fields are counted from its end.
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use observer_ebpf::layout::connection::Owner;

    use super::{Processes, started};

    #[test]
    fn start_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 1 2";
        assert_eq!(started(stat), Some(98765));
        assert_eq!(started(""), None);
    }

    #[test]
    fn a_name_is_text_whatever_its_bytes_are() {
        let mut processes = Processes::new(Path::new("/nonexistent"));
        // `prctl` cuts names at 15 bytes, be it inside a character; and any bytes will do.
        for (tgid, comm, name) in [
            (1, *b"abcdefghijklmn\xc3\0", "abcdefghijklmn\u{fffd}"),
            (2, *b"abcdefghijk\xf0\x9f\x98\0\0", "abcdefghijk\u{fffd}"),
            (3, *b"a\"b\\c\nd\r\t\x01e\0\0\0\0\0", "a\"b\\c\nd\r\t\u{1}e"),
            (4, *b"\xff\xfe\0late\0\0\0\0\0\0\0\0\0", "\u{fffd}\u{fffd}"),
            (5, [0; 16], ""),
            (6, [b'x'; 16], "xxxxxxxxxxxxxxxx"),
        ] {
            let owner = Owner { start_ns: 1, tgid, exec_id: 1 };
            assert_eq!(processes.identify(owner, comm).name, name);
        }
    }
}
