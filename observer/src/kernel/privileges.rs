//! What this process may do (`capabilities(7)`): what loading needs, and how it is given up afterwards.
//!
//! `docs/privileges.md` tells what each capability is for.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use rustix::thread::{self, CapabilitySet, CapabilitySets};
use serde::Serialize;

use super::namespaces;

/// Without them no program is loaded (`bpf_prog_load` and `map_create` in `kernel/bpf/syscall.c`).
const TO_LOAD: [CapabilitySet; 2] = [CapabilitySet::BPF, CapabilitySet::PERFMON];

/// The capability to read other users' processes below a `/proc` that hides them (`hidepid` in `proc(5)`).
const TO_LOOK: CapabilitySet = CapabilitySet::SYS_PTRACE;

/// What attaching probes to libraries needs: to open the event that a probe is (`perf_event_open` asks for
/// `CAP_SYS_ADMIN` since 6.16), to attach a program to it, and to look at what others have mapped, whoever may read that.
const TO_ATTACH: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH);

/// How long threads that have ended may take to go.
const THREADS_END: Duration = Duration::from_millis(500);

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel, or what filters its calls, refused.
    #[error(
        "cannot {0}: {1}; the filter of system calls, if there is one, must allow capget, capset and prctl"
    )]
    Refused(&'static str, rustix::io::Errno),
    /// Capabilities belong to threads, and another one still has some.
    #[error("a thread of this process still holds capabilities: {0}")]
    Held(String),
}

/// What this process may still do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Privileges {
    /// Its capabilities.
    pub capabilities: Vec<String>,
    /// Whether it can never gain any (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
}

impl Privileges {
    /// As they are now, of the thread that asks: all have the same.
    pub fn now() -> Self {
        Self {
            capabilities: thread::capabilities(None).map(|sets| names(sets.permitted)).unwrap_or_default(),
            no_new_privileges: thread::no_new_privs().unwrap_or_default(),
        }
    }
}

/// What this process lacks for loading and running. Unknown (no `capget`) counts as nothing.
pub fn missing() -> Vec<String> {
    let Ok(sets) = thread::capabilities(None) else { return Vec::new() };
    if sets.effective.intersects(TO_LOAD[0] | TO_LOAD[1] | CapabilitySet::SYS_ADMIN)
        && !namespaces::is_host_user()
    {
        return vec![
            "CAP_BPF and CAP_PERFMON of the host: it runs in a user namespace, where they do not count"
                .into(),
        ];
    }
    lacking(sets.effective, others_are_hidden())
}

fn lacking(effective: CapabilitySet, hidden: bool) -> Vec<String> {
    // CAP_SYS_ADMIN allows whatever the others do.
    let is_admin = effective.contains(CapabilitySet::SYS_ADMIN);
    let mut lacking: Vec<String> =
        TO_LOAD.into_iter().filter(|&one| !is_admin && !effective.contains(one)).flat_map(names).collect();
    if hidden && !effective.contains(TO_LOOK) {
        lacking
            .extend(names(TO_LOOK).into_iter().map(|name| format!("{name} (/proc hides others' processes)")));
    }
    lacking
}

/// Gives up, for good, whatever is not needed once all programs are attached, in every thread there is. Those
/// that are made later inherit what is left.
///
/// To be called by a process with one thread: more may have ended, but none may be.
pub fn give_up() -> Result<Privileges, Error> {
    let kept = keep(if others_are_hidden() { TO_LOOK } else { CapabilitySet::empty() })?;
    await_threads(kept)?;
    Ok(Privileges::now())
}

/// Keeps, for good, what attaching probes to files of other processes needs, of what this process has.
///
/// To be called by a process with one thread.
pub fn keep_for_attaching() -> Result<(), Error> {
    keep(TO_ATTACH).map(drop)
}

/// Gives up, for good, all capabilities but those of `wanted` that this thread has. Tells which these are.
fn keep(wanted: CapabilitySet) -> Result<CapabilitySet, Error> {
    let refused = |what| move |errno| Error::Refused(what, errno);
    thread::set_no_new_privs(true).map_err(refused("set no_new_privs"))?;
    let sets = thread::capabilities(None).map_err(refused("tell capabilities"))?;
    thread::clear_ambient_capability_set().map_err(refused("clear the ambient capabilities"))?;
    // Of no use to a process that gains nothing when it executes a program, and to be had with this only.
    if sets.effective.contains(CapabilitySet::SETPCAP) {
        clear_bounding_set().map_err(refused("clear the bounding set"))?;
    }
    let kept = sets.permitted & wanted;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    thread::set_capabilities(None, sets).map_err(refused("give up capabilities"))?;
    Ok(kept)
}

fn clear_bounding_set() -> rustix::io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match thread::capability_is_in_bounding_set(one) {
            Ok(true) => thread::remove_capability_from_bounding_set(one)?,
            Ok(false) => {}
            // Past the last one that this kernel has.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Waits until no thread has more than `kept`: those that helped to load have ended, but may be there still.
fn await_threads(kept: CapabilitySet) -> Result<(), Error> {
    let step = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    loop {
        let held = held_by_threads() - kept;
        if held.is_empty() {
            return Ok(());
        }
        if waited >= THREADS_END {
            return Err(Error::Held(names(held).join(", ")));
        }
        sleep(step);
        waited += step;
    }
}

/// All that any thread of this process may do.
fn held_by_threads() -> CapabilitySet {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    threads
        // One that cannot be read has ended.
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .filter_map(|status| permitted(&status))
        .fold(CapabilitySet::empty(), |all, one| all | one)
}

fn permitted(status: &str) -> Option<CapabilitySet> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapPrm:"))?;
    u64::from_str_radix(line.trim(), 16).ok().map(CapabilitySet::from_bits_retain)
}

/// Whether other users' processes cannot be read below `/proc`, but with [`TO_LOOK`].
fn others_are_hidden() -> bool {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    are_hidden(&read("/proc/self/mountinfo"), &read("/proc/self/status"))
}

/// By how `/proc` is mounted (`has_pid_permissions` in `fs/proc/base.c`), and the groups that a process is in.
fn are_hidden(mounts: &str, status: &str) -> bool {
    // `36 35 98:0 /root /mount/point … - type source options`; what was mounted last is what is seen.
    let of_proc = |line: &str| line.split(' ').nth(4) == Some("/proc");
    let Some(mount) = mounts.lines().rfind(|line| of_proc(line)) else { return false };
    let options = mount.rsplit(' ').next().unwrap_or_default();
    let option =
        |name: &str| options.split(',').find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    match option("hidepid") {
        None | Some("0" | "off") => false,
        // No group is excepted.
        Some("4" | "ptraceable") => true,
        Some(_) => !is_in_group(status, option("gid").unwrap_or("0")),
    }
}

/// By `/proc/PID/status`: the last of `Gid:` is that for files.
fn is_in_group(status: &str, group: &str) -> bool {
    let line = |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let of_files = line("Gid:").split_ascii_whitespace().nth(3);
    of_files == Some(group) || line("Groups:").split_ascii_whitespace().any(|one| one == group)
}

/// As everybody writes them: `CAP_BPF`.
fn names(set: CapabilitySet) -> Vec<String> {
    let mut known = set.iter_names();
    let mut names: Vec<String> = known.by_ref().map(|(name, _)| format!("CAP_{name}")).collect();
    let rest = known.remaining().bits();
    names.extend((0..u64::BITS).filter(|bit| rest >> bit & 1 == 1).map(|bit| format!("capability {bit}")));
    names
}

#[cfg(test)]
mod tests {
    use rustix::thread::CapabilitySet;

    use super::{are_hidden, lacking, names, permitted};

    #[test]
    fn each_capability_that_is_not_there_is_named() {
        let both = CapabilitySet::BPF | CapabilitySet::PERFMON;
        assert_eq!(lacking(CapabilitySet::empty(), false), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(lacking(CapabilitySet::BPF, false), ["CAP_PERFMON"]);
        assert_eq!(lacking(CapabilitySet::PERFMON, false), ["CAP_BPF"]);
        assert_eq!(lacking(both, false), [""; 0]);
        assert_eq!(lacking(both, true), ["CAP_SYS_PTRACE (/proc hides others' processes)"]);
        assert_eq!(lacking(both | CapabilitySet::SYS_PTRACE, true), [""; 0]);
        assert_eq!(lacking(CapabilitySet::SYS_ADMIN, false), [""; 0]);
    }

    #[test]
    fn proc_hides_processes_by_its_options_and_the_groups_one_is_in() {
        let mounts = |options: &str| {
            format!(
                "23 28 0:21 / /proc rw,relatime shared:13 - proc proc rw{options}\n\
                 31 23 0:27 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw,fd=29\n"
            )
        };
        let status = "Gid:\t100\t100\t100\t100\nGroups:\t4 27 \n";
        let root = "Gid:\t0\t0\t0\t0\nGroups:\t \n";
        let are_hidden_to = |options, status| are_hidden(&mounts(options), status);
        for hidden in
            [",hidepid=2", ",hidepid=invisible", ",hidepid=1", ",hidepid=noaccess", ",gid=5,hidepid=2"]
        {
            assert!(are_hidden_to(hidden, status), "{hidden}");
        }
        for group in [",gid=27,hidepid=2", ",gid=100,hidepid=invisible", "", ",hidepid=off", ",hidepid=0"] {
            assert!(!are_hidden_to(group, status), "{group}");
        }
        assert!(!are_hidden_to(",hidepid=2", root), "whose group is the one that is excepted by default");
        assert!(are_hidden_to(",hidepid=ptraceable", root) && are_hidden_to(",gid=27,hidepid=4", status));
        assert!(!are_hidden("", status), "no /proc");
    }

    #[test]
    fn what_a_thread_may_do_is_read_as_the_kernel_tells_it() {
        let status =
            "Name:\tx\nCapInh:\t0000000000000001\nCapPrm:\t000000c000000000\nCapEff:\t0000000000000000\n";
        assert_eq!(permitted(status).map(names), Some(vec!["CAP_PERFMON".to_owned(), "CAP_BPF".to_owned()]));
        assert_eq!(permitted("Name:\tx\n"), None);
        assert_eq!(names(CapabilitySet::from_bits_retain(1 << 60)), ["capability 60"]);
    }
}
