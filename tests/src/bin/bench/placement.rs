//! Which processors the two ends of a load may use.

use std::fmt;
use std::io;

use anyhow::Context as _;

/// Where both ends run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Placement {
    /// On one processor: what a call costs shows in full, and nothing waits for a processor to wake.
    One,
    /// Wherever the scheduler puts them. Its choice, and how deep an idle processor sleeps, make most of what
    /// differs from run to run.
    Any,
}

impl Placement {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::One, Self::Any];

    /// Does something whose processes are placed so.
    pub(crate) fn apply<T>(self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let before = affinity()?;
        if let Self::One = self {
            // SAFETY: a set is integers only; without any is a value of it.
            let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
            // SAFETY: numbers below `CPU_SETSIZE`, and a set of our own.
            let last = (0..libc::CPU_SETSIZE as usize).rfind(|&cpu| unsafe { libc::CPU_ISSET(cpu, &before) });
            // SAFETY: the same.
            unsafe { libc::CPU_SET(last.context("no processor may be used")?, &mut one) };
            set_affinity(&one)?;
        }
        let outcome = work();
        set_affinity(&before)?;
        outcome
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::One => "both ends on one processor",
            Self::Any => "where the scheduler puts them",
        })
    }
}

/// The processors that this thread, and what it starts, may use.
fn affinity() -> anyhow::Result<libc::cpu_set_t> {
    // SAFETY: integers only.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: this thread, and a set of that size.
    let outcome = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    anyhow::ensure!(outcome == 0, "cannot tell the processors: {}", io::Error::last_os_error());
    Ok(set)
}

fn set_affinity(set: &libc::cpu_set_t) -> anyhow::Result<()> {
    // SAFETY: this thread, and a set of that size.
    let outcome = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    anyhow::ensure!(outcome == 0, "cannot choose a processor: {}", io::Error::last_os_error());
    Ok(())
}
